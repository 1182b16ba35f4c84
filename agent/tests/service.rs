//! **service** — the process adapter with real etcd: started, adopted, proven stopped.

mod common;

use agent::{
    adapters::{etcd_command::ExecConfig, exec::Exec},
    ports::{machine::Machine, service::Service},
};
use common::{dirs::Dirs, etcd_dir, free_port, wait_for};
use protocol::{
    cluster::{MemberId, cluster_id, member_id},
    effect::{Expected, Join, Start},
    observation::{LogState, Process},
};
use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Command,
};

/// A member under our own supervision; stopped when dropped, also when the test fails.
struct Supervised {
    dirs: Dirs,
    config: ExecConfig,
}

/// The only member of a cluster that was founded at this peer URL.
fn founder(peer_url: &str) -> Expected {
    let id = member_id(peer_url, "token");
    Expected { member_id: id, cluster_id: Some(cluster_id([id])) }
}

impl Supervised {
    fn new() -> Self {
        let dirs = Dirs::new();
        let url = || format!("http://127.0.0.1:{}", free_port());
        let (peer_url, client_url) = (url(), url());
        let config = ExecConfig {
            etcd_dir: etcd_dir(),
            data_dir: dirs.data(),
            state_dir: dirs.state(),
            socket: dirs.state().join("etcd.sock"),
            name: "a".to_owned(),
            peer_url: peer_url.clone(),
            listen_peer_urls: vec![peer_url],
            client_urls: vec![client_url.clone()],
            advertise_client_urls: vec![client_url],
            secure: false,
            environment: Vec::new(),
            extra_args: Vec::new(),
        };
        Self { dirs, config }
    }

    fn exec(&self) -> Exec {
        Exec::new(self.config.clone())
    }

    fn founding(&self, quarantined: bool) -> Start {
        let join = Join {
            initial_cluster: format!("a={}", self.config.peer_url),
            token: "token".to_owned(),
            existing: false,
        };
        Start { quarantined, member: self.member(), join: Some(join) }
    }

    fn member(&self) -> Expected {
        founder(&self.config.peer_url)
    }

    fn with_data(&self) -> Start {
        Start { quarantined: false, member: self.member(), join: None }
    }

    /// Waits until etcd answers at this endpoint.
    fn answers(&self, endpoint: &str) {
        wait_for("etcd to answer", || {
            common::etcdctl(endpoint, &["get", "a"]).status.success().then_some(())
        });
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        let exec = self.exec();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            _ = runtime.block_on(exec.stop());
        })
        .join()
        .expect("the member is stopped");
    }
}

const OPEN: Process = Process::Running { quarantined: false };
const QUARANTINED: Process = Process::Running { quarantined: true };

#[tokio::test]
async fn etcd_is_started_adopted_stopped_and_started_again() {
    let member = Supervised::new();
    let exec = member.exec();
    assert_eq!(exec.state().await, Process::Stopped);
    assert!(exec.start(&member.with_data()).await.is_err(), "no data");
    exec.start(&member.founding(true)).await.expect("started");
    assert_eq!(exec.state().await, QUARANTINED);
    assert!(exec.start(&member.founding(true)).await.is_err(), "it runs already");
    let lock = fs::File::open(member.dirs.state().join("etcd.lock")).expect("the start lock");
    assert!(lock.try_lock().is_err(), "etcd itself holds the lock it was forked with");
    let socket = format!("unix://{}", exec.socket().display());
    member.answers(&socket);
    let address = member.config.client_urls[0].strip_prefix("http://").expect("a plain URL");
    assert!(std::net::TcpStream::connect(address).is_err(), "no client gets in");
    common::etcdctl_ok(&socket, &["put", "a", "b"]);
    assert!(matches!(member.dirs.disk().data().await.log, LogState::Present { .. }));

    let adopter = member.exec();
    assert_eq!(adopter.state().await, QUARANTINED);
    adopter.stop().await.expect("stopped by another");
    assert_eq!(exec.state().await, Process::Stopped, "no zombie counts");
    assert!(member.dirs.disk().read_log().await.expect("a log").last_index > 2);

    let foreign = Expected { member_id: MemberId(7), cluster_id: None };
    let refused = adopter.start(&Start { member: foreign, ..member.with_data() }).await;
    assert!(refused.is_err(), "another member's data");
    assert_eq!(exec.state().await, Process::Stopped);
    adopter.start(&member.with_data()).await.expect("started with its data");
    member.answers(&member.config.client_urls[0]);
    assert_eq!(exec.state().await, OPEN);
    assert_eq!(common::etcdctl_ok(&member.config.client_urls[0], &["get", "a"]).trim(), "a\nb");
    exec.stop().await.expect("stopped");
    exec.stop().await.expect("stopped already");
    assert_eq!(exec.state().await, Process::Stopped);
}

#[tokio::test]
async fn an_etcd_that_somebody_else_started_is_ours_too() {
    for by_environment in [false, true] {
        let member = Supervised::new();
        let mut command = Command::new(etcd_dir().join("etcd"));
        let url = format!("http://127.0.0.1:{}", free_port());
        command.args(["--listen-peer-urls", &url, "--listen-client-urls"]);
        command.args([&member.config.client_urls[0], "--advertise-client-urls", &url]);
        command.args(["--initial-advertise-peer-urls", &url]);
        command.args(["--initial-cluster", &format!("default={url}")]);
        if by_environment {
            command.env("ETCD_DATA_DIR", "data").current_dir(member.dirs.root.path());
        } else {
            command.arg("--data-dir").arg(member.dirs.data().join("../data"));
        }
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut foreign = common::Guard(command.spawn().expect("etcd starts"));
        // A process that has only just begun may be in doubt; it is never "stopped".
        let begun = std::time::Instant::now();
        loop {
            let state = member.exec().state().await;
            assert_ne!(state, Process::Stopped, "{by_environment}");
            if state == OPEN {
                break;
            }
            assert!(begun.elapsed().as_secs() < 60, "in doubt for ever: {by_environment}");
            tokio::task::yield_now().await;
        }
        member.exec().stop().await.expect("stopped");
        assert_eq!(foreign.0.wait().expect("a child").signal(), Some(9));
        assert_eq!(member.exec().state().await, Process::Stopped);
    }
}

#[tokio::test]
async fn other_members_on_this_machine_are_left_alone() {
    let (one, two) = (Supervised::new(), Supervised::new());
    one.exec().start(&one.founding(false)).await.expect("started");
    assert_eq!(two.exec().state().await, Process::Stopped);
    two.exec().stop().await.expect("nothing to stop");
    assert_eq!(one.exec().state().await, OPEN);
}

#[tokio::test]
async fn in_doubt_it_is_unknown() {
    let member = Supervised::new();
    let port = member.config.peer_url.rsplit(':').next().expect("a port");
    let listener = std::net::TcpListener::bind(format!("127.0.0.1:{port}")).expect("the peer port");
    assert_eq!(member.exec().state().await, Process::Unknown, "the peer port is open");
    assert!(member.exec().start(&member.founding(false)).await.is_err());
    drop(listener);
    let db = member.dirs.data().join("member/snap/db");
    fs::create_dir_all(db.parent().expect("a directory")).expect("a member");
    let file = fs::File::create(&db).expect("a database");
    file.lock().expect("a lock");
    assert_eq!(member.exec().state().await, Process::Unknown, "the database is locked");
    drop(file);
    assert_eq!(member.exec().state().await, Process::Stopped);
}

#[tokio::test]
async fn a_socket_path_that_is_too_long_is_said() {
    let mut member = Supervised::new();
    member.config.socket = member.dirs.root.path().join("s".repeat(100)).join("etcd.sock");
    let refused = member.exec().start(&member.founding(true)).await.expect_err("too long");
    assert!(refused.0.contains("shorter directory"), "{refused}");
}

/// Not a test of its own: the agent of the next one, in a process of its own, which starts etcd
/// and is gone in the same instant.
#[tokio::test]
async fn agent_that_dies() {
    let Ok(text) = std::env::var("REQUORUM_TEST_AGENT") else { return };
    let parts: Vec<&str> = text.split('|').collect();
    let config = ExecConfig {
        etcd_dir: etcd_dir(),
        data_dir: PathBuf::from(parts[0]),
        state_dir: PathBuf::from(parts[1]),
        socket: PathBuf::from(parts[1]).join("etcd.sock"),
        name: "a".to_owned(),
        peer_url: parts[2].to_owned(),
        listen_peer_urls: vec![parts[2].to_owned()],
        client_urls: vec![parts[3].to_owned()],
        advertise_client_urls: vec![parts[3].to_owned()],
        secure: false,
        environment: Vec::new(),
        extra_args: Vec::new(),
    };
    let join = Join {
        initial_cluster: format!("a={}", parts[2]),
        token: "token".to_owned(),
        existing: false,
    };
    let start = Start { quarantined: false, member: founder(parts[2]), join: Some(join) };
    Exec::new(config).start(&start).await.expect("started");
    std::process::abort();
}

#[tokio::test]
async fn a_new_agent_stops_what_a_killed_one_just_spawned() {
    for _ in 0..3 {
        let member = Supervised::new();
        let config = &member.config;
        let paths = [config.data_dir.display(), config.state_dir.display()];
        let urls = [&config.peer_url, &config.client_urls[0]];
        let text = format!("{}|{}|{}|{}", paths[0], paths[1], urls[0], urls[1]);
        let died = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "agent_that_dies"])
            .env("REQUORUM_TEST_AGENT", text)
            .output()
            .expect("an agent");
        assert_eq!(died.status.signal(), Some(6), "{}", String::from_utf8_lossy(&died.stdout));
        let exec = member.exec();
        assert_ne!(exec.state().await, Process::Stopped, "it was started");
        exec.stop().await.expect("stopped");
        assert_eq!(exec.state().await, Process::Stopped);
        assert!(!mentioned(&config.data_dir), "no process is left");
    }
}

/// Whether any process names this directory.
fn mentioned(dir: &Path) -> bool {
    let name = dir.to_str().expect("a plain path");
    fs::read_dir("/proc").expect("/proc").flatten().any(|entry| {
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains(name)
    })
}
