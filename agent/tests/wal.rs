//! **wal** — our reader of etcd's log against logs that real etcd wrote.
//!
//! The oracle is etcd itself: started on a copy of the same log, it prints the commit index, last
//! index and last term that it read from it.

mod common;

use agent::adapters::wal_log::{head, summary};
use common::{Cluster, etcdctl, etcdctl_ok, etcds_word, initial_cluster, number, wait_for};
use protocol::{cluster::MemberId, observation::LogSummary};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

/// Reads a log and holds it against etcd's word.
fn agreed(member_dir: &Path) -> LogSummary {
    let ours = summary(member_dir).expect("a log that etcd reads");
    let read = (ours.commit, ours.last_index, ours.last_term);
    assert_eq!(read, etcds_word(member_dir), "(commit, last index, last term), ours and etcd's");
    ours
}

fn ids(cluster: &Cluster, of: &[usize]) -> Vec<MemberId> {
    let mut ids: Vec<MemberId> = of.iter().map(|at| MemberId(cluster.members[*at].id())).collect();
    ids.sort_unstable();
    ids
}

fn only_wal(member_dir: &Path) -> PathBuf {
    let mut found = wal_files(member_dir);
    assert_eq!(found.len(), 1);
    found.remove(0)
}

fn wal_files(member_dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(member_dir.join("wal"))
        .expect("a log directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "wal"))
        .collect();
    found.sort();
    found
}

/// Bytes until only zeros follow.
fn used(wal: &[u8]) -> usize {
    wal.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1)
}

/// A small fixed generator, so that a failure comes back.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % bound as u64).expect("below a usize")
    }
}

#[test]
fn a_quiet_cluster_of_three() {
    let mut cluster = Cluster::start(3, &[]);
    cluster.members[0].put("a", "b");
    let index = cluster.settle();
    let all = ids(&cluster, &[0, 1, 2]);
    let statuses: Vec<_> =
        cluster.members.iter().map(|member| member.status().expect("a status")).collect();
    cluster.kill_all();
    for (member, status) in cluster.members.iter().zip(statuses) {
        let log = agreed(&member.member_dir());
        assert_eq!(log.last_index, index);
        assert_eq!(log.last_term, number(&status, &["raftTerm"]));
        assert_eq!(log.configs, std::slice::from_ref(&all));
        let head = head(&member.member_dir()).expect("a head");
        assert_eq!(head.member_id.0, number(&status, &["header", "member_id"]));
        assert_eq!(head.cluster_id.0, number(&status, &["header", "cluster_id"]));
    }
}

#[test]
fn killed_under_load_then_cut_and_bent() {
    let mut cluster = Cluster::start(3, &[]);
    let all = ids(&cluster, &[0, 1, 2]);
    let stop = AtomicBool::new(false);
    let endpoint = cluster.members[0].client.clone();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (stop, endpoint) = (&stop, &endpoint);
            scope.spawn(move || {
                let value = "v".repeat(900);
                let mut round = 0;
                while !stop.load(Ordering::Relaxed) {
                    round += 1;
                    etcdctl(endpoint, &["put", &format!("{writer}/{round}"), &value]);
                }
            });
        }
        wait_for("some load", || {
            let status = cluster.members[0].status()?;
            (number(&status, &["raftIndex"]) > 60).then_some(())
        });
        cluster.kill_all();
        stop.store(true, Ordering::Relaxed);
    });
    for member in &cluster.members {
        assert_eq!(agreed(&member.member_dir()).configs, std::slice::from_ref(&all));
    }
    let victim = cluster.members[0].member_dir();
    cut_anywhere(&victim);
    bent_anywhere(&victim);
}

/// Cut where you like: what is left reads as etcd reads it, or isn't read at all.
fn cut_anywhere(victim: &Path) {
    let whole = summary(victim).expect("the whole log");
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let copy = scratch.path().join("member");
    common::copy(victim, &copy);
    let wal = only_wal(&copy);
    let bytes = fs::read(&wal).expect("the log's bytes");
    let used = used(&bytes);
    let mut dice = Dice(1);
    let mut read = 0;
    for round in 0..300 {
        let cut = 1 + dice.below(used - 1);
        fs::write(&wal, &bytes[..cut]).expect("a cut log");
        if let Ok(log) = summary(&copy) {
            read += 1;
            assert!(log.last_index <= whole.last_index, "cut at {cut}");
            if round % 60 == 0 {
                agreed(&copy);
            }
        }
        // The same cut as a power loss leaves it: the preallocated rest is zero.
        let mut zeroed = bytes[..cut].to_vec();
        zeroed.resize(used + 4096, 0);
        fs::write(&wal, &zeroed).expect("a zeroed log");
        if let Ok(log) = summary(&copy) {
            assert!(log.last_index <= whole.last_index, "zeros from {cut}");
        }
    }
    assert!(read > 200, "a cut is an end, not damage: {read}");
    // Byte by byte through the last frame's end, its padding to a multiple of 8 included.
    let end = used.next_multiple_of(8);
    for cut in end - 12..=end {
        fs::write(&wal, &bytes[..cut]).expect("a cut log");
        agreed(&copy);
    }
}

/// One wrong bit: damage, or in bytes that carry nothing.
fn bent_anywhere(victim: &Path) {
    let whole = summary(victim).expect("the whole log");
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let copy = scratch.path().join("member");
    common::copy(victim, &copy);
    let wal = only_wal(&copy);
    let mut bytes = fs::read(&wal).expect("the log's bytes");
    let used = used(&bytes);
    bytes.truncate(used + 4096);
    let mut dice = Dice(2);
    let mut places: Vec<(usize, usize)> =
        (0..800).map(|_| (dice.below(used), dice.below(8))).collect();
    // A longer length turns what follows into one record that seems torn. Only its head tells, and
    // where that lies across two sectors it is the most easily missed.
    let lengths = frames(&bytes[..used]);
    let across = lengths.iter().filter(|at| (**at + 8) % 512 >= 496);
    for at in across.chain(lengths.iter().rev().take(5)) {
        places.extend((0..24).map(|bit| (at + bit / 8, bit % 8)));
    }
    let mut damaged = 0;
    for (at, bit) in &places {
        bytes[*at] ^= 1 << bit;
        fs::write(&wal, &bytes).expect("a bent log");
        match summary(&copy) {
            Ok(log) => assert_eq!(log, whole, "bit {bit} of byte {at} passed unseen"),
            Err(_) => damaged += 1,
        }
        bytes[*at] ^= 1 << bit;
    }
    assert!(damaged > 600, "most bits carry something: {damaged}");
}

/// Where the frames begin: 8 bytes of length, of which the low 56 bits count, filled up to 8.
fn frames(wal: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(field) = wal.get(at..at + 8) {
        found.push(at);
        let length =
            field[..7].iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
        at += 8 + length.next_multiple_of(8);
    }
    found
}

#[test]
fn a_learner_is_added_promoted_and_another_removed() {
    let mut cluster = Cluster::start(3, &[]);
    let three = ids(&cluster, &[0, 1, 2]);
    let learner = cluster.add_learner(&[]);
    let id = format!("{:x}", cluster.members[learner].id());
    let live = wait_for("the learner in the log", || {
        let log = summary(&cluster.members[1].member_dir()).ok()?;
        (log.commit >= 4).then_some(log)
    });
    assert_eq!(live.configs, std::slice::from_ref(&three), "a learner doesn't count");

    let endpoint = cluster.members[1].client.clone();
    wait_for("the promotion", || {
        etcdctl(&endpoint, &["member", "promote", &id]).status.success().then_some(())
    });
    let four = ids(&cluster, &[0, 1, 2, 3]);
    cluster.settle();
    let log = summary(&cluster.members[1].member_dir()).expect("a quiet log");
    assert_eq!(log.configs, sorted([three, four.clone()]));

    let gone = format!("{:x}", cluster.members[0].id());
    let rest = ids(&cluster, &[1, 2, 3]);
    wait_for("the removal", || {
        etcdctl(&endpoint, &["member", "remove", &gone]).status.success().then_some(())
    });
    cluster.members.remove(0);
    cluster.members[0].put("a", "b");
    cluster.settle();
    cluster.kill_all();
    for member in &cluster.members {
        assert_eq!(agreed(&member.member_dir()).configs, sorted([four.clone(), rest.clone()]));
    }
}

fn sorted<const N: usize>(mut configs: [Vec<MemberId>; N]) -> Vec<Vec<MemberId>> {
    configs.sort_unstable();
    configs.to_vec()
}

#[test]
fn a_restored_member() {
    let cluster = Cluster::start(1, &[]);
    cluster.members[0].put("a", "b");
    let file = cluster.root.path().join("snapshot.db");
    let text = file.to_str().expect("a plain path");
    etcdctl_ok(&cluster.members[0].client, &["snapshot", "save", text]);
    let seats: Vec<(String, String)> =
        (0..3).map(|at| (format!("s{at}"), format!("http://127.0.0.1:{}", 10_000 + at))).collect();
    let all: Vec<String> = seats.iter().map(|(name, url)| format!("{name}={url}")).collect();
    let mut expected: Vec<MemberId> =
        seats.iter().map(|(_, url)| protocol::cluster::member_id(url, "fresh")).collect();
    expected.sort_unstable();
    let dir = cluster.root.path().join("restored");
    let done = Command::new(common::etcd_dir().join("etcdutl"))
        .args(["snapshot", "restore", text, "--name", "s0", "--initial-cluster", &all.join(",")])
        .args(["--initial-cluster-token", "fresh", "--initial-advertise-peer-urls", &seats[0].1])
        .args(["--bump-revision", "1000000000", "--mark-compacted", "--data-dir"])
        .arg(&dir)
        .output()
        .expect("etcdutl runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let log = agreed(&dir.join("member"));
    assert_eq!((log.commit, log.last_index, log.last_term), (3, 3, 1));
    assert_eq!(log.configs, [expected.clone()]);
    let head = head(&dir.join("member")).expect("a head");
    assert_eq!(head.member_id, protocol::cluster::member_id(&seats[0].1, "fresh"));
    assert_eq!(head.cluster_id, protocol::cluster::cluster_id(expected));
}

#[test]
fn snapshots_several_files_and_a_follower_that_was_sent_one() {
    let flags = ["--snapshot-count", "50", "--experimental-snapshot-catchup-entries", "5"];
    let mut cluster = Cluster::start(3, &flags);
    let all = ids(&cluster, &[0, 1, 2]);
    cluster.members[2].kill();
    let value = cluster.root.path().join("value");
    fs::write(&value, vec![b'v'; 1 << 20]).expect("a value of 1 MiB");
    let endpoint = cluster.members[0].client.clone();
    for round in 0..140 {
        // Again where an election came between: the disk is busy.
        wait_for("a write of 1 MiB", || {
            let mut put = Command::new(common::etcd_dir().join("etcdctl"));
            put.args(["--endpoints", &endpoint, "put", &format!("key{}", round % 7)]);
            let done = put.stdin(fs::File::open(&value).expect("the value")).output();
            done.expect("etcdctl runs").status.success().then_some(())
        });
    }
    cluster.members[2].start();
    cluster.members[2].ready();
    cluster.settle();
    cluster.kill_all();
    for member in &cluster.members {
        assert_eq!(agreed(&member.member_dir()).configs, std::slice::from_ref(&all));
    }
    let old = cluster.members[0].member_dir();
    assert!(wal_files(&old).len() >= 2, "several files");
    let whole = summary(&old).expect("the whole log");
    purged(&old, &whole);
    damaged_in_the_middle(&old);
}

/// The oldest file purged, as etcd does in time: nothing we say changes, but that it no longer tells
/// what came before the founders.
fn purged(member_dir: &Path, whole: &LogSummary) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let copy = scratch.path().join("member");
    common::copy(member_dir, &copy);
    fs::remove_file(&wal_files(&copy)[0]).expect("the oldest file");
    let purged = agreed(&copy);
    assert!(whole.settled && !purged.settled);
    let (places, settled) = (whole.places.clone(), whole.settled);
    assert_eq!(&LogSummary { places, settled, ..purged.clone() }, whole);
    for snap in fs::read_dir(copy.join("snap")).expect("snapshots") {
        let path = snap.expect("an entry").path();
        if path.extension().is_some_and(|ext| ext == "snap") {
            fs::write(path, b"damaged").expect("a damaged snapshot");
        }
    }
    assert_eq!(summary(&copy), Ok(purged), "the log names the voters itself");
}

/// A tear is an end in the last file only.
fn damaged_in_the_middle(member_dir: &Path) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let copy = scratch.path().join("member");
    common::copy(member_dir, &copy);
    let first = wal_files(&copy).remove(0);
    let size = fs::metadata(&first).expect("the first file").len();
    let file = fs::File::options().write(true).open(&first).expect("the first file");
    file.set_len(size / 2).expect("a cut file");
    assert!(summary(&copy).is_err());
    fs::remove_file(&wal_files(&copy)[0]).expect("the first file");
    fs::remove_dir_all(copy.join("snap")).expect("the snapshots");
    let missing = fs::read_dir(copy.join("wal")).expect("the log").count();
    assert!(missing > 0);
    fs::remove_dir_all(copy.join("wal")).expect("the log");
    fs::create_dir(copy.join("wal")).expect("an empty log directory");
    assert!(summary(&copy).is_err());
    assert!(head(&copy).is_err());
}

#[test]
fn the_helper_knows_its_cluster() {
    let cluster = Cluster::start(1, &[]);
    let members = &cluster.members;
    let expected = protocol::cluster::member_id(&members[0].peer, &cluster.token);
    assert_eq!(members[0].id(), expected.0);
    assert!(initial_cluster(members).starts_with("m0=http://127.0.0.1:"));
}
