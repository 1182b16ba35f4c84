//! **rehearsal** — what a rehearsed snapshot shows is what was recorded, or it is refused; and nothing
//! is left of it.

use super::{Place, common};
use agent::{
    adapters::etcdutl::Etcdutl,
    ports::snapshots::{Expected, Rehearsed, SnapshotError, Snapshots as _, Verdict},
};
use common::{Cluster, Member, etcdctl_ok, number};
use protocol::observation::Check;
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// A snapshot with live keys, tombstones and a compaction, one of the tombstones at the revision
/// compacted to; and what its member recorded of it.
fn recorded() -> (Cluster, PathBuf, Expected) {
    let cluster = Cluster::start(1, &[]);
    let member = &cluster.members[0];
    for key in 0..8 {
        member.put(&format!("key/{key}"), "first"); // revisions 2 to 9
    }
    etcdctl_ok(&member.client, &["del", "key/3"]); // 10
    etcdctl_ok(&member.client, &["del", "key/4"]); // 11
    etcdctl_ok(&member.client, &["compact", "11", "--physical"]);
    member.put("key/4", &"v".repeat(20_000)); // 12
    member.put("key/5", "second"); // 13
    etcdctl_ok(&member.client, &["del", "key/6"]); // 14
    let file = cluster.root.path().join("rehearsed.db");
    etcdctl_ok(&member.client, &["snapshot", "save", file.to_str().expect("a plain path")]);
    let (hash_kv, compact) = hash_kv(member, 14);
    let check = Check { revision: 14, hash_kv, live_keys: 6 };
    let expected = Expected {
        revision: 14,
        check: Some(check),
        compact: Some(compact),
        live_keys: Some(check.live_keys),
    };
    (cluster, file, expected)
}

fn hash_kv(member: &Member, revision: u64) -> (u32, u64) {
    let revision = format!("--rev={revision}");
    let said = etcdctl_ok(&member.client, &["endpoint", "hashkv", &revision, "-w", "json"]);
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let hash = number(&said[0], &["HashKV", "hash"]);
    let compact = number(&said[0], &["HashKV", "compact_revision"]);
    (u32::try_from(hash).expect("32 bits"), compact)
}

/// Processes that speak of `root`, in their arguments or as the place where they stand.
fn processes(root: &Path) -> Vec<String> {
    let root = root.to_str().expect("a plain path");
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    let own = std::process::id().to_string();
    all.filter(|entry| entry.file_name() != own.as_str())
        .filter_map(|entry| {
            let arguments = fs::read(entry.path().join("cmdline")).ok()?;
            let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
            let at = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
            (arguments.contains(root) || at.starts_with(root)).then_some(arguments)
        })
        .collect()
}

fn assert_nothing_left(place: &Place) {
    let running = processes(&place.data());
    assert!(running.is_empty(), "{running:?}");
    let left: Vec<_> = fs::read_dir(place.tools().scratch()).expect("scratch").flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Expects a refusal that says all of these words.
fn assert_bad(outcome: &Result<Rehearsed, SnapshotError>, words: &[&str]) {
    let Err(SnapshotError::Bad(why)) = outcome else { panic!("it was not refused: {outcome:?}") };
    assert!(words.iter().all(|word| why.contains(word)), "{words:?}: {why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_snapshot_shows_what_was_recorded() {
    let (_cluster, file, expected) = recorded();
    assert_eq!(expected.compact, Some(11));
    let place = Place::new();
    let sound = place.tools().rehearse(&file, &expected).await;
    assert_eq!(sound, Ok(Rehearsed { hash_kv: Verdict::Same, live_keys: Verdict::Same }));
    assert_nothing_left(&place);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_compared_is_named_and_is_not_the_same() {
    let (_cluster, file, expected) = recorded();
    let place = Place::new();
    // Another compact revision: then the hash may well differ, and that says nothing.
    let check = expected.check.map(|check| Check { hash_kv: !check.hash_kv, ..check });
    let other = Expected { check, compact: Some(10), live_keys: None, ..expected };
    let shown = place.tools().rehearse(&file, &other).await.expect("no difference is known");
    let Verdict::Unknown(why) = &shown.hash_kv else { panic!("{shown:?}") };
    assert!(why.contains("to 11") && why.contains("at 10"), "{why}");
    let Verdict::Unknown(why) = &shown.live_keys else { panic!("{shown:?}") };
    assert!(why.contains("live keys"), "{why}");
    assert_nothing_left(&place);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_difference_is_refused_and_named() {
    let (_cluster, file, expected) = recorded();
    let (place, check) = (Place::new(), expected.check.expect("recorded"));
    let tools = place.tools();
    let hash_kv = check.hash_kv ^ 1;
    let other = Expected { check: Some(Check { hash_kv, ..check }), ..expected };
    let refused = tools.rehearse(&file, &other).await;
    let values = [check.hash_kv.to_string(), hash_kv.to_string()];
    assert_bad(&refused, &["HashKV at revision 14", &values[0], &values[1]]);
    assert_nothing_left(&place);

    let refused = tools.rehearse(&file, &Expected { revision: 13, ..expected }).await;
    assert_bad(&refused, &["revision", "14", "13"]);
    let refused = tools.rehearse(&file, &Expected { live_keys: Some(7), ..expected }).await;
    assert_bad(&refused, &["live keys", "6", "7"]);
    assert_nothing_left(&place);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bit_of_a_value_is_enough() {
    let (_cluster, file, expected) = recorded();
    let place = Place::new();
    let mut bytes = fs::read(&file).expect("the snapshot");
    // bbolt writes pages anew and leaves the old ones, so the value may stand there more than once.
    let begins = |at: &usize| bytes[*at] != b'v' && bytes[at + 1..].starts_with(&[b'v'; 100]);
    let copies: Vec<usize> = (0..bytes.len() - 1).filter(begins).collect();
    assert!(!copies.is_empty(), "the value is in the file");
    copies.iter().for_each(|at| bytes[at + 50] ^= 1);
    let bent = place.root.path().join("bent.db");
    fs::write(&bent, &bytes).expect("a bent snapshot");
    assert_bad(&place.tools().rehearse(&bent, &expected).await, &["checksum"]);
    // Where the checksum goes along, as if the bit had been bent before it was taken.
    let end = bytes.len() - 32;
    let sum = Sha256::digest(&bytes[..end]);
    bytes[end..].copy_from_slice(&sum);
    fs::write(&bent, &bytes).expect("a bent snapshot");
    assert_bad(&place.tools().rehearse(&bent, &expected).await, &["HashKV"]);
    assert_nothing_left(&place);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_asks_for_a_user_is_unknown() {
    let (cluster, file, expected) = recorded();
    let client = &cluster.members[0].client;
    etcdctl_ok(client, &["user", "add", "root:secret"]);
    etcdctl_ok(client, &["user", "grant-role", "root", "root"]);
    etcdctl_ok(client, &["auth", "enable"]);
    fs::remove_file(&file).expect("the one without users");
    let to = file.to_str().expect("a plain path");
    etcdctl_ok(client, &["--user", "root:secret", "snapshot", "save", to]);
    let place = Place::new();
    let shown = place.tools().rehearse(&file, &expected).await.expect("it restores");
    for verdict in [shown.hash_kv, shown.live_keys] {
        assert!(matches!(&verdict, Verdict::Unknown(why) if why.contains("user")), "{verdict:?}");
    }
    assert_nothing_left(&place);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_when_nobody_waits_any_more() {
    let (_cluster, file, expected) = recorded();
    let place = Place::new();
    let (tools, data) = (place.tools(), place.data());
    let runs = |what: &str| processes(&data).iter().any(|process| process.contains(what));
    let is_done = |at: &str| {
        let dirs = fs::read_dir(tools.scratch()).expect("scratch").flatten();
        dirs.into_iter().any(|dir| dir.path().join(at).exists())
    };
    let moments: [(&str, &dyn Fn() -> bool); 4] = [
        ("it restores", &|| runs("etcdutl snapshot restore") || is_done("data")),
        ("etcd starts", &|| is_done("etcd.log")),
        ("etcd runs", &|| is_done("s.sock:0")),
        ("it is restored again, bumped", &|| runs("--bump-revision")),
    ];
    for (what, has_come) in moments {
        let come = async {
            while !has_come() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            done = tools.rehearse(&file, &expected) => panic!("before {what}: {done:?}"),
            () = come => {}
        }
        assert_nothing_left(&place);
    }
    // What an agent leaves that is killed: nobody drops anything.
    fs::create_dir_all(tools.scratch().join("rehearsal-left/data/member")).expect("a leftover");
    let sound = tools.rehearse(&file, &expected).await.expect("it is as sound as before");
    assert_eq!(sound.hash_kv, Verdict::Same);
    assert_nothing_left(&place);
}

#[tokio::test]
async fn a_full_disk_is_not_the_files_fault() {
    let place = Place::new();
    let tool = place.root.path().join("etcdutl");
    let script = r#"#!/bin/sh
case "$1 $2" in
"version ") echo 'etcdutl version: 3.5.30' ;;
"snapshot status") echo '{"hash":1,"revision":14,"totalKey":3,"totalSize":512}' ;;
*) echo 'Error: write data/member/snap/db: no space left on device' >&2; exit 1 ;;
esac
"#;
    fs::write(&tool, script).expect("a tool");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&tool, mode).expect("executable");
    let file = place.root.path().join("any.db");
    fs::write(&file, [0; 512]).expect("a file");
    let expected = Expected { revision: 14, check: None, compact: None, live_keys: None };
    let tools = Etcdutl::new(place.root.path(), place.data());
    let full = tools.rehearse(&file, &expected).await;
    assert!(matches!(full, Err(SnapshotError::NoSpace(_))), "{full:?}");
    assert_nothing_left(&place);
}
