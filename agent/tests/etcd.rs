//! **etcd** — the port's contract, on real etcd processes.
//!
//! Needs etcd >= 3.5.10 in `REQUORUM_ETCD_DIR` (default `target/tools/etcd/bin`).

mod etcd_process;

use agent::{
    adapters::etcd_client::EtcdClient,
    ports::{
        etcd::{Door, Etcd as _, Streamed},
        object_store::Moved,
    },
};
use etcd_client::{AlarmAction, AlarmOptions, AlarmType, Client, Txn, TxnOp};
use etcd_process::{Cluster, Member, in_the_end};
use protocol::{
    cluster::Digest,
    observation::{Alarm, Answer, Status},
};
use std::{path::Path, time::Duration};

fn adapter() -> EtcdClient {
    EtcdClient::new(Duration::from_secs(2), Duration::from_secs(2))
}

async fn status(door: &Door) -> Status {
    match adapter().probe(door).await {
        Answer::Status(status) => status,
        Answer::Refused { .. } | Answer::Silent => panic!("{door:?} is silent"),
    }
}

/// A snapshot, written to a file.
async fn taken(door: &Door, file: &Path) -> Result<Streamed, String> {
    let mut snapshot = adapter().snapshot(door).await.map_err(|error| error.0)?;
    let mut bytes = Vec::new();
    while snapshot.next(&mut bytes).await? {}
    let whole = Moved { size: bytes.len() as u64, sha256: Digest::of(&bytes) };
    assert_eq!(snapshot.moved(), whole);
    std::fs::write(file, bytes).expect("a snapshot file");
    Ok(snapshot.streamed().expect("all has come"))
}

async fn put(url: &str, keys: u32) -> u64 {
    let mut client = Client::connect([url], None).await.expect("a client of a running member");
    let mut revision = 0;
    for key in 0..keys {
        let answer = client.put(format!("key/{key}"), "value", None).await.expect("a put");
        revision = answer.header().expect("a header").revision();
    }
    u64::try_from(revision).expect("a revision")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_proves_itself_and_members_agree_on_their_content() {
    let cluster = Cluster::start(3).await;
    let head = put(&cluster.members[0].client_url, 20).await;
    let mut hashes = Vec::new();
    for member in &cluster.members {
        let door = Door::Client(member.client_url.clone());
        let seen = in_the_end("the member has applied all", async || {
            Some(status(&door).await).filter(|seen| seen.revision == head)
        })
        .await;
        assert!(seen.linearizable, "{}", member.name);
        assert!(seen.leader.is_some() && !seen.learner && seen.alarms.is_empty());
        assert!(seen.term > 0 && seen.applied > 0);
        assert!(seen.version.starts_with("3."), "{}", seen.version);
        let check = adapter().check(&door, head).await.expect("a check at the head");
        assert_eq!((check.revision, check.live_keys), (head, 20));
        assert_eq!(adapter().live_keys(&door, head).await, Ok(20));
        let (revision, _, hash) = adapter().hash_kv(&door, 0).await.expect("a hash");
        assert_eq!((revision, hash), (head, check.hash_kv));
        hashes.push(hash);
        assert!(adapter().check(&door, head + 1).await.is_err(), "the future has no hash");
        assert!(adapter().live_keys(&door, head + 1).await.is_err(), "nor a count");
    }
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "{hashes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_a_member_still_answers_and_still_gives_a_snapshot() {
    let mut cluster = Cluster::start(3).await;
    let head = put(&cluster.members[0].client_url, 5).await;
    let door = Door::Client(cluster.members[0].client_url.clone());
    in_the_end("the survivor knows of all writes", async || {
        Some(status(&door).await).filter(|seen| seen.revision == head)
    })
    .await;
    cluster.members[1].kill();
    cluster.members[2].kill();

    let seen = status(&door).await;
    assert!(!seen.linearizable);
    assert_eq!(seen.revision, head);
    let check = adapter().check(&door, head).await.expect("its own content is readable");
    assert_eq!(check.live_keys, 5);
    assert!(adapter().members(&door).await.is_err(), "a list without a quorum is no list");
    assert!(adapter().compact(&door, 0).await.is_err());

    let file = cluster.dir().join("snapshot.db");
    let streamed = taken(&door, &file).await.expect("a snapshot");
    assert!(streamed.applied > 0 && streamed.term > 0);
    assert_eq!((etcd_process::snapshot_revision(&file), streamed.revision), (head, head));
}

/// Where etcd knows users it tells nothing to whoever names none. That is no silence, as long as a quorum
/// answers: a read is refused only then.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_asks_for_a_user_refuses_and_is_not_silent() {
    let mut cluster = Cluster::start(3).await;
    let url = cluster.members[0].client_url.clone();
    let mut client = Client::connect([&url], None).await.expect("a client of a running member");
    client.role_add("root").await.expect("a role");
    client.user_add("root", "secret", None).await.expect("a user");
    client.user_grant_role("root", "root").await.expect("the role is the user's");
    client.auth_enable().await.expect("users are asked for");
    let door = Door::Client(url);
    let answer = adapter().probe(&door).await;
    assert!(
        matches!(&answer, Answer::Refused { why, quorum: Some(true) } if why.contains("user name")),
        "{answer:?}"
    );
    assert!(adapter().members(&door).await.is_err(), "we are nobody");
    cluster.members[1].kill();
    cluster.members[2].kill();
    let answer = adapter().probe(&door).await;
    assert!(matches!(answer, Answer::Refused { quorum: Some(false), .. }), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_and_a_paused_member_are_silent() {
    let mut cluster = Cluster::start(3).await;
    let paused = Door::Client(cluster.members[1].client_url.clone());
    cluster.members[1].pause();
    assert_eq!(adapter().probe(&paused).await, Answer::Silent);
    let error = adapter().members(&paused).await.expect_err("it can't answer");
    assert!(error.0.contains("no answer within"), "{error}");
    cluster.members[1].kill();
    assert_eq!(adapter().probe(&paused).await, Answer::Silent);
    let file = cluster.dir().join("snapshot.db");
    taken(&paused, &file).await.expect_err("nobody is there");
    assert_eq!(adapter().probe(&Door::Client("no url".into())).await, Answer::Silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_replaced_and_each_step_may_be_repeated() {
    let mut cluster = Cluster::start(3).await;
    let door = Door::Client(cluster.members[0].client_url.clone());
    let victim = status(&Door::Client(cluster.members[2].client_url.clone())).await;
    cluster.members[2].kill();
    for _ in 0..2 {
        in_the_end("the dead voter is removed", async || {
            adapter().remove(&door, victim.member_id).await.ok()
        })
        .await;
    }
    assert_eq!(adapter().members(&door).await.expect("a list").len(), 2);

    let voter_url = cluster.members[1].peer_url.clone();
    let refused = adapter().add_learner(&door, &voter_url).await.expect_err("a voter is there");
    assert!(refused.0.contains("remove it first"), "{refused}");
    let peer_url = cluster.members[2].peer_url.clone();
    // etcd 3.5.10-3.5.29 refuses until all voters were connected for five seconds.
    let id = in_the_end("the learner is added", async || {
        adapter().add_learner(&door, &peer_url).await.ok()
    })
    .await;
    assert_eq!(adapter().add_learner(&door, &peer_url).await, Ok(id));
    let listed = adapter().members(&door).await.expect("a list");
    let learner = listed.iter().find(|member| member.id == id).expect("it is listed");
    assert!(learner.learner && !learner.started && learner.peer_url == peer_url);
    assert!(listed.iter().filter(|member| member.id != id).all(|member| member.started));

    cluster.rejoin(2);
    for _ in 0..2 {
        in_the_end("the learner is promoted", async || adapter().promote(&door, id).await.ok())
            .await;
    }
    let listed = adapter().members(&door).await.expect("a list");
    assert!(listed.iter().all(|member| !member.learner && member.started), "{listed:?}");
    assert!(adapter().promote(&door, victim.member_id).await.is_err(), "nobody of that id");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_no_space_is_disarmed() {
    let cluster = Cluster::start(1).await;
    let url = cluster.members[0].client_url.clone();
    let door = Door::Client(url.clone());
    let id = status(&door).await.member_id.0;
    let mut client = Client::connect([url], None).await.expect("a client");
    for kind in [AlarmType::Nospace, AlarmType::Corrupt] {
        let mut options = AlarmOptions::new();
        options.with_member(id);
        client.alarm(AlarmAction::Activate, kind, Some(options)).await.expect("an alarm");
    }
    assert_eq!(status(&door).await.alarms, [Alarm::NoSpace, Alarm::Corrupt]);
    for _ in 0..2 {
        adapter().disarm_no_space(&door).await.expect("disarmed");
        assert_eq!(status(&door).await.alarms, [Alarm::Corrupt]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_compacted_and_the_file_defragmented() {
    let cluster = Cluster::start(1).await;
    let door = Door::Client(cluster.members[0].client_url.clone());
    let head = put(&cluster.members[0].client_url, 30).await;
    assert_eq!(adapter().compact(&door, head + 5).await, Ok(0), "nothing that old");
    for _ in 0..2 {
        assert_eq!(adapter().compact(&door, 10).await, Ok(head - 10));
    }
    assert!(adapter().live_keys(&door, head - 11).await.is_err(), "it is gone");
    assert_eq!(adapter().live_keys(&door, head).await, Ok(30));
    let (_, compacted, _) = adapter().hash_kv(&door, head).await.expect("a hash");
    assert_eq!(compacted, head - 10);
    adapter().defragment(&door).await.expect("defragmented");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarantined_member_is_reached_through_its_socket_alone() {
    let mut cluster = Cluster::empty();
    let socket = cluster.dir().join("quarantine.sock");
    let member = Member::quarantined(cluster.dir(), &socket);
    cluster.members.push(member);
    let door = Door::Socket(socket);
    let seen = in_the_end("it serves", async || match adapter().probe(&door).await {
        Answer::Status(status) if status.linearizable => Some(status),
        Answer::Status(_) | Answer::Refused { .. } | Answer::Silent => None,
    })
    .await;
    let listed = adapter().members(&door).await.expect("a list");
    assert_eq!(listed[0].id, seen.member_id);
    let (revision, _, _) = adapter().hash_kv(&door, 0).await.expect("a hash");
    assert_eq!(revision, seen.revision);
    let file = cluster.dir().join("snapshot.db");
    let streamed = taken(&door, &file).await.expect("a snapshot");
    assert_eq!(streamed.revision, etcd_process::snapshot_revision(&file));
    cluster.members[0].kill();
    assert_eq!(adapter().probe(&door).await, Answer::Silent, "no old connection answers");
}

/// etcd's own tool walks the whole file; the stream is read once, page by page.
#[tokio::test(flavor = "multi_thread")]
async fn the_revision_is_read_from_the_stream_as_etcdutl_reads_it_from_the_file() {
    let cluster = Cluster::start(1).await;
    let url = cluster.members[0].client_url.clone();
    let door = Door::Client(url.clone());
    let mut client = Client::connect([&url], None).await.expect("a client of a running member");
    let file = cluster.dir().join("shape.db");
    let same = async |shape: &str| {
        let streamed = taken(&door, &file).await.expect("a snapshot");
        assert_eq!(streamed.revision, etcd_process::snapshot_revision(&file), "{shape}");
        streamed.revision
    };
    same("empty").await;
    put(&url, 3).await;
    same("a bucket that lies inside its page").await;
    for round in 0..40_u32 {
        let puts = (0..100).map(|key| TxnOp::put(format!("{round}/{key}"), "v", None));
        client.txn(Txn::new().and_then(puts.collect::<Vec<_>>())).await.expect("a txn");
    }
    same("branches; many keys at one revision").await;
    client.delete("key/1", None).await.expect("a delete");
    let before = same("a tombstone at the end").await;
    for kilobytes in [3, 5, 70, 1_000] {
        client.put("large", vec![b'v'; kilobytes << 10], None).await.expect("a put");
        same("a last key pages behind the beginning of its leaf").await;
    }
    assert!(same("again").await > before);
    for name in (0..12).map(|n| format!("{n}-{}", "n".repeat(90))) {
        client.role_add(name.clone()).await.expect("a role");
        client.user_add(name, "secret", None).await.expect("a user");
        client.lease_grant(600, None).await.expect("a lease");
    }
    same("a root of several pages").await;
    adapter().compact(&door, 0).await.expect("compacted");
    for round in 0..50_u32 {
        put(&url, 20).await;
        if round % 10 == 0 {
            same("free pages that still look like what they were").await;
        }
    }
    adapter().defragment(&door).await.expect("defragmented");
    same("defragmented").await;
}
