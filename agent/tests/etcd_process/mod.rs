//! **etcd_process** — real etcd on loopback for contract tests; ends with its guard.
//!
//! Goes to the tests: running members on free ports of 127.x addresses. Every process started
//! here is killed by its pid and awaited when its [`Member`] is dropped, also on panic.

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Longest wait for a condition: generous, since the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Members and the directory that holds them.
pub(crate) struct Cluster {
    pub(crate) members: Vec<Member>,
    dir: tempfile::TempDir,
}

/// One etcd process.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) client_url: String,
    pub(crate) peer_url: String,
    data_dir: PathBuf,
    process: Option<Child>,
}

impl Cluster {
    /// A place for members and nobody in it.
    pub(crate) fn empty() -> Self {
        Self { members: Vec::new(), dir: tempfile::tempdir().expect("a temporary directory") }
    }

    /// `n` members that serve linearizable reads.
    pub(crate) async fn start(n: u8) -> Self {
        let mut cluster = Self::empty();
        cluster.members = (1..=n).map(|i| Member::planned(cluster.dir(), i)).collect();
        let initial = cluster.initial();
        for member in &mut cluster.members {
            member.start(&initial, "new", &member.client_url.clone());
        }
        for member in &cluster.members {
            in_the_end(&format!("{} serves", member.name), async || {
                let options = etcd_client::ConnectOptions::new().with_timeout(PATIENCE / 30);
                let url = [member.client_url.as_str()];
                let mut client = etcd_client::Client::connect(url, Some(options)).await.ok()?;
                client.get("x", None).await.ok()
            })
            .await;
        }
        cluster
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts a removed member again with an empty data dir, as the learner it was added as.
    pub(crate) fn rejoin(&mut self, index: usize) {
        let initial = self.initial();
        let member = &mut self.members[index];
        std::fs::remove_dir_all(&member.data_dir).expect("its data dir goes");
        member.start(&initial, "existing", &member.client_url.clone());
    }

    fn initial(&self) -> String {
        let pairs: Vec<String> =
            self.members.iter().map(|m| format!("{}={}", m.name, m.peer_url)).collect();
        pairs.join(",")
    }
}

impl Member {
    fn planned(dir: &Path, number: u8) -> Self {
        let host = format!("127.0.0.{number}");
        let name = format!("etcd{number}");
        Self {
            client_url: free_url(&host),
            peer_url: free_url(&host),
            data_dir: dir.join(&name),
            name,
            process: None,
        }
    }

    /// A running single member whose only client URL is a unix socket.
    pub(crate) fn quarantined(dir: &Path, socket: &Path) -> Self {
        let mut member = Self::planned(dir, 1);
        let initial = format!("{}={}", member.name, member.peer_url);
        member.start(&initial, "new", &format!("unix://{}", socket.display()));
        member
    }

    fn start(&mut self, initial: &str, state: &str, listen: &str) {
        let log = std::fs::File::create(self.data_dir.with_extension("log")).expect("a log");
        let process = Command::new(tool("etcd"))
            .args(["--name", &self.name, "--initial-cluster", initial])
            .args(["--initial-cluster-state", state, "--heartbeat-interval", "50"])
            .args(["--election-timeout", "500", "--listen-peer-urls", &self.peer_url])
            .args(["--initial-advertise-peer-urls", &self.peer_url])
            .args(["--listen-client-urls", listen, "--advertise-client-urls", &self.client_url])
            .arg("--data-dir")
            .arg(&self.data_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("etcd starts");
        self.process = Some(process);
    }

    /// SIGSTOP, and waits until all its threads stand still: a signal is only a request.
    pub(crate) fn pause(&self) {
        let pid = Pid::from_child(self.process.as_ref().expect("it was started"));
        kill_process(pid, Signal::STOP).expect("our own child");
        let stands = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid), stands).expect("our own child");
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Both fail only for a child that was waited for already; nobody else does.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Asks again until the answer is there.
pub(crate) async fn in_the_end<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The revision inside a snapshot file, by etcd's own tool.
pub(crate) fn snapshot_revision(file: &Path) -> u64 {
    let output = Command::new(tool("etcdutl"))
        .args(["snapshot", "status", "-w", "json"])
        .arg(file)
        .output()
        .expect("etcdutl runs");
    let document: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("etcdutl prints JSON");
    document["revision"].as_u64().expect("a revision")
}

fn tool(name: &str) -> PathBuf {
    let dir = std::env::var_os("REQUORUM_ETCD_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/etcd/bin"),
        PathBuf::from,
    );
    let path = dir.join(name);
    assert!(
        path.exists(),
        "{} is absent: set REQUORUM_ETCD_DIR to the directory of etcd >= 3.5.10",
        path.display()
    );
    path
}

fn free_url(host: &str) -> String {
    let listener = TcpListener::bind((host, 0)).expect("a loopback address");
    format!("http://{}", listener.local_addr().expect("it is bound"))
}
