//! **common** — real etcd for tests: members on free ports of 127.0.0.1, killed when dropped.
//!
//! In: the binaries in `REQUORUM_ETCD_DIR`, or those that `.ci/tools` put into
//! `target/tools/etcd/bin`. Out: running members, their tools' answers, and etcd's own word on a
//! log. Nothing outlives the test: processes end with their guards, files with their directory.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]
#![allow(clippy::disallowed_methods, reason = "tests start processes")]

pub mod dirs;

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// Far longer than anything here takes; only a hang meets it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where etcd, etcdctl and etcdutl are.
pub fn etcd_dir() -> PathBuf {
    let dir = std::env::var_os("REQUORUM_ETCD_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/etcd/bin"),
        PathBuf::from,
    );
    assert!(
        dir.join("etcd").exists(),
        "no etcd in {}: run .ci/tools, or set REQUORUM_ETCD_DIR",
        dir.display()
    );
    dir.canonicalize().expect("a directory that exists has a canonical path")
}

/// Waits until `what` gives something.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "still waiting: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port nobody listens on just now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
    listener.local_addr().expect("a bound address").port()
}

/// A child that is killed and reaped when it is dropped.
pub struct Guard(pub Child);

impl Drop for Guard {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// One etcd member.
pub struct Member {
    pub name: String,
    pub dir: PathBuf,
    pub client: String,
    pub peer: String,
    log: PathBuf,
    flags: Vec<String>,
    process: Option<Guard>,
}

impl Member {
    fn new(root: &Path, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            dir: root.join(name),
            client: format!("http://127.0.0.1:{}", free_port()),
            peer: format!("http://127.0.0.1:{}", free_port()),
            log: root.join(format!("{name}.log")),
            flags: Vec::new(),
            process: None,
        }
    }

    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).expect("a log file");
        let mut command = Command::new(etcd_dir().join("etcd"));
        command
            .args(["--name", &self.name, "--data-dir"])
            .arg(&self.dir)
            .args(["--listen-client-urls", &self.client, "--advertise-client-urls", &self.client])
            .args(["--listen-peer-urls", &self.peer, "--initial-advertise-peer-urls", &self.peer])
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log);
        self.process = Some(Guard(command.spawn().expect("etcd starts")));
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    pub fn member_dir(&self) -> PathBuf {
        self.dir.join("member")
    }

    /// `endpoint status` as JSON: the object below `Status`.
    pub fn status(&self) -> Option<serde_json::Value> {
        let out = etcdctl(&self.client, &["endpoint", "status", "-w", "json"]);
        let all: serde_json::Value = serde_json::from_slice(&out.stdout).ok()?;
        all.get(0)?.get("Status").cloned()
    }

    /// Waits until it answers a linearizable read.
    pub fn ready(&self) {
        wait_for(&format!("{} to be healthy", self.name), || {
            etcdctl(&self.client, &["get", "any"]).status.success().then_some(())
        });
    }

    /// Writes; again if an election came between.
    pub fn put(&self, key: &str, value: &str) {
        wait_for("a write", || {
            etcdctl(&self.client, &["put", key, value]).status.success().then_some(())
        });
    }

    pub fn get(&self, key: &str) -> String {
        let out = etcdctl(&self.client, &["get", key, "--print-value-only"]);
        assert!(out.status.success(), "get: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).trim_end().to_owned()
    }

    /// Member id in etcd.
    pub fn id(&self) -> u64 {
        number(&self.status().expect("a status"), &["header", "member_id"])
    }
}

/// A number deep in a document.
pub fn number(document: &serde_json::Value, path: &[&str]) -> u64 {
    let found = path.iter().try_fold(document, |at, key| at.get(key));
    found.and_then(serde_json::Value::as_u64).unwrap_or(0)
}

/// Runs etcdctl to its end.
pub fn etcdctl(endpoint: &str, arguments: &[&str]) -> Output {
    Command::new(etcd_dir().join("etcdctl"))
        .args(["--endpoints", endpoint, "--dial-timeout", "1s", "--command-timeout", "20s"])
        .args(arguments)
        .output()
        .expect("etcdctl runs")
}

/// Runs etcdctl and expects success; its standard output.
pub fn etcdctl_ok(endpoint: &str, arguments: &[&str]) -> String {
    let out = etcdctl(endpoint, arguments);
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// A cluster; its directory and processes end with it.
pub struct Cluster {
    pub members: Vec<Member>,
    pub token: String,
    pub root: tempfile::TempDir,
}

impl Cluster {
    /// `size` members `m0`.. started and ready, each with these extra flags.
    pub fn start(size: usize, flags: &[&str]) -> Self {
        let root = tempfile::tempdir().expect("a scratch directory");
        let mut members: Vec<Member> =
            (0..size).map(|at| Member::new(root.path(), &format!("m{at}"))).collect();
        let token = format!("token-{}", free_port());
        let all = initial_cluster(&members);
        for member in &mut members {
            member.flags = ["--initial-cluster", &all, "--initial-cluster-token", &token]
                .iter()
                .chain(flags)
                .map(ToString::to_string)
                .collect();
            member.start();
        }
        let cluster = Self { members, token, root };
        cluster.members.iter().for_each(Member::ready);
        cluster
    }

    /// Adds a learner and starts it; its place among the members.
    pub fn add_learner(&mut self, flags: &[&str]) -> usize {
        let mut member = Member::new(self.root.path(), &format!("m{}", self.members.len()));
        let url = format!("--peer-urls={}", member.peer);
        let add = ["member", "add", &member.name, "--learner", &url];
        // Refused until all voters have been connected for 5 s.
        wait_for("the learner to be added", || {
            etcdctl(&self.members[0].client, &add).status.success().then_some(())
        });
        let all = format!("{},{}={}", initial_cluster(&self.members), member.name, member.peer);
        member.flags = ["--initial-cluster", &all, "--initial-cluster-state", "existing"]
            .iter()
            .chain(flags)
            .map(ToString::to_string)
            .collect();
        member.start();
        wait_for("the learner to answer", || member.status());
        self.members.push(member);
        self.members.len() - 1
    }

    /// Waits until all agree on one index, twice in a row: nothing is under way any more.
    pub fn settle(&self) -> u64 {
        let mut before = 0;
        wait_for("the cluster to settle", || {
            std::thread::sleep(Duration::from_millis(300));
            let indexes: Vec<u64> = self
                .members
                .iter()
                .map(|member| member.status().map_or(0, |status| number(&status, &["raftIndex"])))
                .collect();
            let same = indexes[0] > 0 && indexes.iter().all(|index| *index == indexes[0]);
            let still = same && indexes[0] == before;
            before = indexes[0];
            still.then_some(before)
        })
    }

    pub fn kill_all(&mut self) {
        self.members.iter_mut().for_each(Member::kill);
    }
}

/// `--initial-cluster` of these.
pub fn initial_cluster(members: &[Member]) -> String {
    let pairs: Vec<String> =
        members.iter().map(|member| format!("{}={}", member.name, member.peer)).collect();
    pairs.join(",")
}

/// Copies a directory, sparse where it may be.
pub fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").args(["-a", "--sparse=always"]).arg(from).arg(to).status();
    assert!(done.expect("cp runs").success(), "copy {}", from.display());
}

/// What etcd itself says of a log when it starts on a copy: (commit, last index, last term).
pub fn etcds_word(member_dir: &Path) -> (u64, u64, u64) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let data = scratch.path().join("data");
    std::fs::create_dir(&data).expect("a new directory");
    copy(member_dir, &data.join("member"));
    let log = scratch.path().join("log");
    let out = File::create(&log).expect("a log file");
    let child = Command::new(etcd_dir().join("etcd"))
        .current_dir(scratch.path())
        .args(["--data-dir", "data", "--listen-client-urls", "unix://c.sock:0"])
        .args(["--advertise-client-urls", "http://127.0.0.1:1"])
        .args(["--listen-peer-urls", "http://127.0.0.1:0"])
        .args(["--initial-advertise-peer-urls", "http://127.0.0.1:0"])
        .args(["--initial-cluster", "default=http://127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(out.try_clone().expect("a second handle of the log"))
        .stderr(out)
        .spawn()
        .expect("etcd starts");
    let mut guard = Guard(child);
    wait_for("etcd to say what its log holds", || {
        let text = std::fs::read_to_string(&log).expect("etcd's log");
        let found = text.lines().find_map(new_raft);
        let ended = guard.0.try_wait().expect("a child of ours").is_some();
        assert!(found.is_some() || !ended, "etcd refused the copy: {text}");
        found
    })
}

/// `newRaft 8e9e05c52164694d [peers: [], term: 2, commit: 4, applied: 0, lastindex: 4, lastterm: 2]`
fn new_raft(line: &str) -> Option<(u64, u64, u64)> {
    let fields = line.split_once("newRaft ")?.1;
    let number = |name: &str| -> Option<u64> {
        let rest = fields.split_once(name)?.1;
        rest.split(|digit: char| !digit.is_ascii_digit()).next()?.parse().ok()
    };
    Some((number(" commit: ")?, number("lastindex: ")?, number("lastterm: ")?))
}
