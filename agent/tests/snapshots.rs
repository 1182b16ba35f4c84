//! **snapshots** — etcd's own tools on real snapshots: inspected, restored, salvaged, rehearsed, sealed.

mod common;
#[path = "snapshots/bucket.rs"]
mod bucket;
#[path = "snapshots/rehearsal.rs"]
mod rehearsal;
#[path = "snapshots/sealed.rs"]
mod sealed;

use agent::{
    adapters::{etcdutl::Etcdutl, wal_log},
    ports::snapshots::{Proven, SnapshotError, Snapshots},
};
use common::{Cluster, etcd_dir, etcdctl, etcdctl_ok, free_port, number, wait_for};
use protocol::{
    cluster::{Digest, Seat, Slot},
    plan::Plan,
    registry::Source,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};

/// A snapshot of a live member, with one key `a` = `b` and a long value.
fn snapshot(cluster: &Cluster) -> PathBuf {
    let member = &cluster.members[0];
    member.put("a", "b");
    member.put("long", &"v".repeat(20_000));
    let file = cluster.root.path().join("snapshot.db");
    etcdctl_ok(&member.client, &["snapshot", "save", file.to_str().expect("a plain path")]);
    file
}

fn plan(seats: usize, bump: u64) -> Plan {
    let seat = |at: u8| Seat {
        slot: Slot(at),
        name: format!("s{at}"),
        peer_url: format!("http://127.0.0.1:{}", free_port()),
        client_url: format!("http://127.0.0.1:{}", free_port()),
    };
    Plan {
        uid: "uid".to_owned(),
        inc: 2,
        attempt: 1,
        epoch: 1,
        token: "uid-2-0123456789abcdef".to_owned(),
        seats: (0..seats).map(|at| seat(u8::try_from(at).expect("few seats"))).collect(),
        source: Source { object: None, revision: 3, bump, live_keys: None, size: 0 },
        fallbacks: Vec::new(),
        loss: 0,
        because: "a test".to_owned(),
    }
}

/// The places of one member, and its tools.
struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { root: tempfile::tempdir().expect("a scratch directory") }
    }

    fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    fn tools(&self) -> Etcdutl {
        Etcdutl::new(etcd_dir(), self.data())
    }
}

#[tokio::test]
async fn a_good_snapshot_is_told_from_a_bad_one() {
    let cluster = Cluster::start(1, &[]);
    let file = snapshot(&cluster);
    let place = Place::new();
    let tools = place.tools();
    let good = tools.inspect(&file).await.expect("a good snapshot");
    assert_eq!((good.revision, good.trailer_matches), (3, true));
    assert!(good.total_keys >= 2);

    let bytes = fs::read(&file).expect("the snapshot");
    let mut bent = bytes.clone();
    let inside = bytes.windows(100).position(|window| window == [b'v'; 100]).expect("the value");
    bent[inside + 50] ^= 1;
    let bad = place.root.path().join("bad.db");
    let cut_pages = &bytes[..bytes.len() / 2 / 512 * 512 + 32];
    let garbage = vec![7; 5120 + 32];
    let all: [&[u8]; 5] = [&bent, &bytes[..bytes.len() - 100], cut_pages, &garbage, b""];
    for (at, content) in all.into_iter().enumerate() {
        fs::write(&bad, content).expect("a bad snapshot");
        let verdict = tools.inspect(&bad).await;
        assert!(matches!(verdict, Err(SnapshotError::Bad(_))), "{at}: {verdict:?}");
    }
    // Without its trailer, as `member/snap/db` is: nothing vouches for the content.
    fs::write(&bad, &bytes[..bytes.len() - 32]).expect("a database file");
    assert!(!tools.inspect(&bad).await.expect("readable").trailer_matches);
    fs::write(&bad, &bytes[..bytes.len() / 8192 * 4096]).expect("half a database");
    let verdict = tools.inspect(&bad).await;
    assert!(matches!(verdict, Err(SnapshotError::Bad(_))), "a crash is the file's: {verdict:?}");
    let absent = tools.inspect(&place.root.path().join("absent")).await;
    assert!(matches!(absent, Err(SnapshotError::Failed(_))), "{absent:?}");
}

#[tokio::test]
async fn restored_members_have_the_plans_identity_and_the_bumped_content() {
    let cluster = Cluster::start(1, &[]);
    let file = snapshot(&cluster);
    let plan = plan(3, 1_000_000_000);
    let digest = Digest::of(b"the plan");
    let places = [Place::new(), Place::new(), Place::new()];
    let mut running = Vec::new();
    for (place, (seat, member)) in places.iter().zip(plan.seats.iter().zip(plan.members())) {
        let half = place.data().join(".requorum/new").join(digest.short());
        fs::create_dir_all(half.join("work/member/snap")).expect("what a crash left");
        place.tools().restore(&proven(&file), &seat.name, &plan, digest).await.expect("restored");
        place.tools().restore(&proven(&file), &seat.name, &plan, digest).await.expect("it is done");
        let head = wal_log::head(&half.join("member")).expect("a log");
        assert_eq!((head.cluster_id, head.member_id), (plan.cluster_id(), member.id));
        agent::adapters::swap::Swap::new(&place.data(), &digest.short(), 2, 1)
            .finish()
            .expect("swapped in");
        running.push(start(place, seat));
    }
    for seat in &plan.seats {
        wait_for("the restored cluster", || {
            etcdctl(&seat.client_url, &["get", "a"]).status.success().then_some(())
        });
        let value = etcdctl_ok(&seat.client_url, &["get", "a", "--print-value-only"]);
        assert_eq!(value.trim(), "b");
        let status = etcdctl_ok(&seat.client_url, &["endpoint", "status", "-w", "json"]);
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        let header = &status[0]["Status"]["header"];
        assert_eq!(number(header, &["revision"]), plan.agreed_revision());
        assert_eq!(number(header, &["cluster_id"]), plan.cluster_id().0);
    }
}

fn digest_of(file: &Path) -> Digest {
    Digest::of(&fs::read(file).expect("a file"))
}

/// The file as whoever downloaded it hands it on.
fn proven(file: &Path) -> Proven {
    let digest = digest_of(file);
    Proven::new(file, &digest, &digest).expect("it is what it is")
}

fn start(place: &Place, seat: &Seat) -> common::Guard {
    let child = Command::new(etcd_dir().join("etcd"))
        .args(["--name", &seat.name, "--data-dir"])
        .arg(place.data())
        .args(["--listen-peer-urls", &seat.peer_url])
        .args(["--initial-advertise-peer-urls", &seat.peer_url])
        .args(["--listen-client-urls", &seat.client_url])
        .args(["--advertise-client-urls", &seat.client_url])
        .args(["--initial-cluster", &format!("{}={}", seat.name, seat.peer_url)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    common::Guard(child.expect("etcd starts"))
}

#[tokio::test]
async fn a_damaged_snapshot_is_not_restored() {
    let cluster = Cluster::start(1, &[]);
    let file = snapshot(&cluster);
    let sound = digest_of(&file);
    let mut bytes = fs::read(&file).expect("the snapshot");
    let inside = bytes.windows(100).position(|window| window == [b'v'; 100]).expect("the value");
    bytes[inside] ^= 1;
    fs::write(&file, bytes).expect("a bent snapshot");
    let (place, plan, digest) = (Place::new(), plan(1, 0), Digest::of(b"plan"));
    assert_eq!(Proven::new(&file, &digest_of(&file), &sound), None, "it is not what it should be");
    // what was proven and can't be restored all the same leaves nothing that looks restored
    fs::write(&file, &fs::read(&file).expect("the snapshot")[..5_000]).expect("a stump");
    let refused = place.tools().restore(&proven(&file), "s0", &plan, digest).await;
    assert!(matches!(refused, Err(SnapshotError::Bad(_))), "{refused:?}");
    let dir = place.data().join(".requorum/new").join(digest.short());
    assert!(!dir.join("complete").exists());
    let nobody = place.tools().restore(&proven(&file), "nobody", &plan, digest).await;
    assert!(matches!(nobody, Err(SnapshotError::Failed(_))), "{nobody:?}");
}

#[tokio::test]
async fn an_old_or_absent_tool_is_named() {
    let cluster = Cluster::start(1, &[]);
    let file = snapshot(&cluster);
    let (place, plan, digest) = (Place::new(), plan(1, 0), Digest::of(b"plan"));
    let tools = Etcdutl::new(place.root.path(), place.data());
    let absent = tools.restore(&proven(&file), "s0", &plan, digest).await;
    assert!(matches!(&absent, Err(SnapshotError::Failed(why)) if why.contains("can't be run")));
    let script = "#!/bin/sh\necho 'etcdutl version: 3.5.9'\n";
    let tool = place.root.path().join("etcdutl");
    fs::write(&tool, script).expect("an old tool");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&tool, mode).expect("executable");
    let old = tools.restore(&proven(&file), "s0", &plan, digest).await;
    assert!(matches!(&old, Err(SnapshotError::Failed(why)) if why.contains("3.5.10")), "{old:?}");
}

#[tokio::test]
async fn a_killed_members_copy_holds_every_acknowledged_key() {
    let mut cluster = Cluster::start(1, &[]);
    cluster.members[0].put("first", "1");
    let acknowledged = AtomicU64::new(0);
    let endpoint = cluster.members[0].client.clone();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 1.. {
                let key = format!("k{round}");
                if !etcdctl(&endpoint, &["put", &key, "v"]).status.success() {
                    return;
                }
                acknowledged.store(round, Ordering::Relaxed);
            }
        });
        wait_for("some writes", || (acknowledged.load(Ordering::Relaxed) > 20).then_some(()));
        cluster.kill_all();
        writer.join().expect("the writer");
    });
    let member = &cluster.members[0];
    let before = contents(&member.member_dir());
    let tools = Etcdutl::new(etcd_dir(), &member.dir);
    leave_a_salvage_behind(&tools, &member.member_dir());
    let file = tools.scratch().join("salvaged.db");
    tools.salvage(&file).await.expect("salvaged");
    assert_eq!(contents(&member.member_dir()), before, "S16: the member itself is untouched");
    let left: Vec<_> = fs::read_dir(tools.scratch()).expect("scratch").flatten().collect();
    assert_eq!(left.len(), 1, "nothing but the snapshot is left: {left:?}");
    let inspected = tools.inspect(&file).await.expect("a good snapshot");
    assert!(inspected.trailer_matches);

    let (place, plan, digest) = (Place::new(), plan(1, 0), Digest::of(b"plan"));
    place.tools().restore(&proven(&file), "s0", &plan, digest).await.expect("restored");
    agent::adapters::swap::Swap::new(&place.data(), &digest.short(), 2, 1).finish().expect("in");
    let seat = &plan.seats[0];
    let _running = start(&place, seat);
    wait_for("the restored member", || {
        etcdctl(&seat.client_url, &["get", "first"]).status.success().then_some(())
    });
    let last = format!("k{}", acknowledged.load(Ordering::Relaxed));
    for key in ["first", "k1", &last] {
        let value = etcdctl_ok(&seat.client_url, &["get", key, "--print-value-only"]);
        assert!(!value.trim().is_empty(), "{key}");
    }
}

/// What an agent leaves that was killed while it salvaged: a copy, and an etcd that runs on it.
fn leave_a_salvage_behind(tools: &Etcdutl, member: &Path) {
    let dir = tools.scratch().join("salvage-left");
    fs::create_dir_all(&dir).expect("a copy's directory");
    common::copy(member, &dir.join("member"));
    let mut child = Command::new(etcd_dir().join("etcd"))
        .args(["--force-new-cluster", "--listen-client-urls", "unix://s.sock:0", "--data-dir"])
        .arg(&dir)
        .args(["--advertise-client-urls", "http://127.0.0.1:1"])
        .args(["--listen-peer-urls", "http://127.0.0.1:0"])
        .current_dir(&dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd starts");
    wait_for("the leftover to run", || dir.join("s.sock:0").exists().then_some(()));
    // Reaps it once the salvage has killed it; were it not killed, the salvage would fail first.
    std::thread::spawn(move || child.wait());
}

/// Names, sizes and times of change of all files below.
fn contents(dir: &Path) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let metadata = entry.metadata().expect("an entry");
        if metadata.is_dir() {
            found.extend(contents(&entry.path()));
        } else {
            found.push((entry.path(), metadata.len(), metadata.modified().expect("a time")));
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_member_that_etcd_refuses_is_bad_not_busy() {
    let mut cluster = Cluster::start(1, &[]);
    cluster.kill_all();
    let member = &cluster.members[0];
    fs::write(member.member_dir().join("snap/db"), vec![9; 65_536]).expect("a damaged database");
    let tools = Etcdutl::new(etcd_dir(), &member.dir);
    let refused = tools.salvage(&tools.scratch().join("salvaged.db")).await;
    assert!(matches!(refused, Err(SnapshotError::Bad(_))), "{refused:?}");
}
