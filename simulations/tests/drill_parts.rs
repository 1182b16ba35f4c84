//! **drill_parts** — machines, load, verdict and timeline of the drill, on real etcd.
//!
//! The agent's part is taken by three lines of shell that start etcd from the same environment, so
//! that what is tested here is the drill and nothing else. Needs etcd in `REQUORUM_ETCD_DIR`
//! (default `target/tools/etcd/bin`).

use serde_json::json;
use simulations::drill::{
    host::{Host, Wipe},
    process::etcds_below,
    timeline::{Said, Timeline},
    trouble::{Trouble, until},
    verdict::{self, Checks},
    writer::{Writer, key},
};
use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixListener,
};

const PATIENCE: Duration = Duration::from_secs(60);
/// etcd reads its ETCD_ variables itself; `setsid` as the agent does, so that etcd outlives it.
const STAND_IN: &str = "#!/bin/sh\nsetsid \"$REQUORUM_ETCD_DIR/etcd\" &\nexec sleep 3600\n";

struct Machines {
    hosts: Vec<Host>,
    dir: tempfile::TempDir,
}

fn etcd_dir() -> PathBuf {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/etcd/bin");
    let dir = std::env::var_os("REQUORUM_ETCD_DIR").map_or(fetched, PathBuf::from);
    assert!(
        dir.join("etcd").exists(),
        "{} has no etcd: set REQUORUM_ETCD_DIR to the directory of etcd >= 3.5.10",
        dir.display()
    );
    dir
}

/// A loopback network of this test alone, told apart by pid and number.
fn network(test: u8) -> impl Fn(u8) -> Ipv4Addr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    move |last| Ipv4Addr::new(127, high % 20 + 221, low, test * 16 + last)
}

async fn machines(test: u8, n: u8) -> Machines {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let binary = dir.path().join("stand-in");
    fs::write(&binary, STAND_IN).expect("written");
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).expect("made executable");
    let ip = network(test);
    for last in 1..=n {
        for port in [2379, 2380] {
            TcpListener::bind((ip(last), port)).expect("a free loopback port");
        }
    }
    let initial: Vec<String> =
        (1..=n).map(|last| format!("etcd{last}=http://{}:2380", ip(last))).collect();
    let mut env = BTreeMap::new();
    env.insert("ETCD_INITIAL_CLUSTER".into(), initial.join(","));
    env.insert("REQUORUM_ETCD_DIR".into(), etcd_dir().display().to_string());
    let mut hosts = Vec::new();
    for last in 1..=n {
        let name = format!("etcd{last}");
        let home = dir.path().join(&name);
        let made = Host::new(name, &ip(last).to_string(), home, binary.clone(), env.clone());
        let mut host = made.expect("directories");
        host.start_agent().expect("it starts");
        hosts.push(host);
    }
    let machines = Machines { hosts, dir };
    for host in &machines.hosts {
        in_the_end(&format!("{} serves", host.name), async || {
            verdict::members(&host.client_url).await.ok()
        })
        .await;
    }
    machines
}

async fn in_the_end<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    until(what, PATIENCE, async || Ok(look().await)).await.expect("it comes about")
}

impl Machines {
    fn urls(&self) -> Vec<String> {
        self.hosts.iter().map(|host| host.client_url.clone()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_found_and_what_is_missing_is_told() {
    let machines = machines(0, 3).await;
    let mut writer = Writer::start(&machines.urls());
    in_the_end("writes are acknowledged", async || (writer.acknowledged() > 50).then_some(()))
        .await;
    writer.rest().await.expect("it rests");
    let rested = writer.acknowledged();
    let content = verdict::read_all(&machines.urls()).await.expect("readable");
    assert_eq!(writer.acknowledged(), rested, "a resting load writes nothing");
    let oracle = writer.so_far();
    let mut checks = Checks::default();
    verdict::always(&mut checks, &oracle, &content);
    assert_eq!(checks.failed(), 0, "{checks:?}");
    assert!(verdict::lost(&oracle, &content).is_empty());
    let hosts = machines.hosts.iter();
    let all: Vec<_> = hosts.map(|host| (host.name.clone(), host.client_url.clone())).collect();
    let hashes = verdict::hashes(&all).await.expect("all answer");
    verdict::same_content(&mut checks, &hashes);
    assert_eq!((checks.failed(), hashes.len()), (0, 3), "{checks:?}");

    let url = &machines.hosts[0].client_url;
    let mut client = simulations::drill::writer::connect(url).await.expect("a client");
    client.delete(key(oracle.acks[7].number), None).await.expect("deleted");
    let content = verdict::read_all(&machines.urls()).await.expect("readable");
    let lost: Vec<u64> = verdict::lost(&oracle, &content).iter().map(|ack| ack.number).collect();
    assert_eq!(lost, [oracle.acks[7].number]);

    writer.go_on();
    in_the_end("it goes on", async || (writer.acknowledged() > rested).then_some(())).await;
    assert!(writer.stop().await.acks.len() > rested);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_load_finds_the_members_that_live() {
    let machines = machines(1, 3).await;
    let writer = Writer::start(&machines.urls());
    in_the_end("writes are acknowledged", async || (writer.acknowledged() > 20).then_some(()))
        .await;
    machines.hosts[0].pause_etcd().expect("paused");
    let before = writer.acknowledged();
    in_the_end("the others go on", async || (writer.acknowledged() > before + 20).then_some(()))
        .await;
    machines.hosts[1].kill_etcd().expect("killed");
    let oracle = writer.stop().await;
    assert!(!oracle.unknown.is_empty(), "writes in flight to the paused one have no answer");
    assert!(oracle.acks.iter().all(|ack| !oracle.unknown.contains(&ack.number)));
    assert!(verdict::read_all(&machines.urls()).await.is_err(), "no quorum, no reading");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_struck_in_every_way_and_leaves_nothing_behind() {
    let mut machines = machines(2, 1).await;
    let home = machines.dir.path().join("etcd1");
    let host = &mut machines.hosts[0];
    fs::write(host.state_dir().join("marker"), "1").expect("written");
    let socket = std::os::unix::net::UnixListener::bind(host.socket()).expect("a socket");
    let etcd = host.etcd_pid().expect("it runs");
    assert_eq!(etcds_below(&home), [etcd]);

    host.wipe(Wipe::Data).expect("wiped");
    assert_eq!(host.etcd_pid(), None);
    assert_eq!(fs::read_dir(host.data_dir()).expect("it is there").count(), 0);
    assert!(host.state_dir().join("marker").exists(), "only the data volume");
    assert_eq!(host.agent_ended(), None, "the agent lives on");

    host.wipe(Wipe::DataAndState).expect("wiped");
    assert!(!host.state_dir().join("marker").exists());
    assert!(host.socket().exists(), "the living agent can still be asked");
    drop(socket);

    host.kill_agent();
    host.start_agent().expect("again");
    assert!(host.start_agent().is_err(), "not twice");
    in_the_end("etcd runs again", async || host.etcd_pid()).await;
    let url = host.client_url.clone();
    in_the_end("etcd serves again", async || verdict::members(&url).await.ok()).await;
    host.delete_data().expect("deleted under it");
    assert!(host.etcd_pid().is_some(), "it runs on");
    let instance = host.env()["REQUORUM_INSTANCE"].clone();
    host.vanish().expect("gone");
    assert!(host.etcd_pid().is_none() && !host.data_dir().exists());
    host.fresh_machine().expect("another");
    assert_ne!(host.env()["REQUORUM_INSTANCE"], instance);
    host.start_agent().expect("it starts");
    in_the_end("its etcd runs", async || host.etcd_pid()).await;
    drop(machines.hosts);
    assert!(etcds_below(&home).is_empty(), "dropped, everything has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_ends_by_itself_is_told_of() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let home = dir.path().join("etcd1");
    let binary = PathBuf::from("/bin/false");
    let made = Host::new("etcd1".into(), "127.0.0.1", home, binary, BTreeMap::new());
    let mut host = made.expect("directories");
    host.start_agent().expect("it starts");
    let told = in_the_end("its end is seen", async || host.agent_ended()).await;
    assert!(told.contains("etcd1"), "{told}");
    let output = host.run(&["status"]).await.expect("it can be run");
    assert!(!output.status.success());
    let asked = simulations::drill::status::ask(&host.socket()).await;
    assert!(asked.is_err(), "nobody listens: {asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_read_from_what_the_agents_say() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = dir.path().join("agent.sock");
    let document = Arc::new(Mutex::new(json!({"phase": "idle", "inc": 1, "attempt": 0})));
    let serving =
        tokio::spawn(serve(UnixListener::bind(&socket).expect("bound"), document.clone()));
    let lines = Arc::new(Mutex::new(Vec::new()));
    let heard = lines.clone();
    let tell = Arc::new(move |said| {
        if let Said::Line(line) = said {
            heard.lock().expect("no panic in a teller").push(line);
        }
    });
    let timeline = Timeline::follow(vec![dir.path().join("nobody.sock"), socket], tell);
    in_the_end("idle is seen", async || timeline.latest()).await;
    timeline.cut();
    let leader = json!({"name": "etcd2", "epoch": 4});
    for (inc, phase) in [(1, "fencing"), (2, "committed"), (2, "open"), (2, "idle")] {
        *document.lock().expect("no panic") = json!({
            "phase": phase, "inc": inc, "attempt": 1, "leader": leader, "source": {"revision": 77},
        });
        in_the_end("it is seen", async || (timeline.latest()?.phase() == phase).then_some(()))
            .await;
    }
    // An agent that has not read the latest yet must not turn the time back.
    *document.lock().expect("no panic") = json!({"phase": "fencing", "inc": 1, "attempt": 1});
    let figures = timeline.figures(|_| None);
    let order = [figures.detect, figures.elect, figures.fence, figures.restore];
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{figures:?}");
    assert_eq!(figures.first_write, None);
    assert_eq!(timeline.source_revision(), Some(77));
    assert_eq!(timeline.leader().map(|leader| leader.epoch), Some(4));
    assert_eq!(lines.lock().expect("no panic").len(), 5, "{lines:?}");
    serving.abort();
}

async fn serve(listener: UnixListener, document: Arc<Mutex<serde_json::Value>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).await.expect("a request");
        assert_eq!(line, "{\"request\":\"status\"}\n");
        let answer = format!("{}\n", document.lock().expect("no panic"));
        stream.write_all(answer.as_bytes()).await.expect("answered");
    }
}

#[tokio::test]
async fn a_wait_in_vain_says_what_for() {
    let waited: Result<(), Trouble> = until("pigs fly", Duration::ZERO, async || Ok(None)).await;
    assert_eq!(waited, Err(Trouble("waited 0 s in vain until pigs fly".into())));
}
