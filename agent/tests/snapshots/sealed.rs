//! **sealed** — a chain of snapshots that only its recipients read: saved from a live member, restored, and
//! refused where the key is another.

use super::{
    Place,
    bucket::{Bucket, NoTable},
    common::{self, Cluster, etcd_dir, etcdctl, etcdctl_ok, wait_for},
    plan, start,
};
use age::{secrecy::ExposeSecret as _, x25519::Identity};
use agent::{
    adapters::{
        boot_clock::BootClock, disk::Disk, etcd_client::EtcdClient, etcdutl::Etcdutl, swap::Swap,
    },
    driver::{Ports, Site, performer::Performer, seal::Seal},
    ports::service::{Service, ServiceError},
};
use async_trait::async_trait;
use protocol::{
    cluster::{Digest, Instance, Slot},
    effect::{Effect, Save, Start},
    event::{Failure, FailureKind, Outcome},
    manifest::{Manifest, Reason},
    observation::Process,
    plan::Plan,
    source,
};
use std::{sync::Arc, time::Duration};

const PATIENCE: Duration = Duration::from_secs(10);
/// What must not be read in the bucket.
const SECRET: &str = "a secret of the cluster that nobody else may read";

/// A member that somebody else runs.
struct Runs;

#[async_trait]
impl Service for Runs {
    async fn state(&self) -> Process {
        Process::Running { quarantined: false }
    }

    async fn start(&self, _: &Start) -> Result<(), ServiceError> {
        Err(ServiceError("it is not ours".into()))
    }

    async fn stop(&self) -> Result<(), ServiceError> {
        Err(ServiceError("it is not ours".into()))
    }
}

/// The hands of an agent beside a member; what it restores goes to `place`.
fn hands(cluster: &Cluster, bucket: &Arc<Bucket>, place: &Place, seal: Seal) -> Performer {
    let state_dir = place.root.path().join("state");
    let ports = Ports {
        clock: Arc::new(BootClock),
        store: bucket.clone(),
        registry: Arc::new(NoTable),
        etcd: Arc::new(EtcdClient::new(PATIENCE, PATIENCE)),
        service: Arc::new(Runs),
        machine: Arc::new(Disk::new("s0", place.data(), &state_dir)),
        snapshots: Arc::new(Etcdutl::new(etcd_dir(), place.data())),
    };
    let site = Site {
        prefix: "p".into(),
        name: "s0".into(),
        instance: Instance("i".into()),
        client_url: cluster.members[0].client.clone(),
        socket: state_dir.join("etcd.sock"),
        state_dir,
        incremental: true,
        seal,
        hold: None,
    };
    Performer::new(ports, site, "u", Slot(0))
}

/// Seals for the identity, and opens with it.
fn seal_of(identity: &Identity) -> Seal {
    let text = identity.to_string();
    let seal = Seal::for_recipients(&[identity.to_public()]);
    let seal = seal.opened_by(text.expose_secret()).expect("an identity");
    seal.prove().expect("it opens what it seals");
    seal
}

async fn saved(hands: &Performer, save: Save) -> Manifest {
    let outcome = hands.perform(&Effect::Save(Box::new(save))).await;
    let Outcome::Saved(manifest) = outcome else { panic!("not saved: {outcome:?}") };
    manifest
}

async fn verified(hands: &Performer, manifest: &Manifest) -> Result<(), Failure> {
    let outcome = hands.perform(&Effect::Verify(source::from_manifest(manifest, 0))).await;
    if let Outcome::Failed(failure) = outcome {
        return Err(failure);
    }
    assert!(matches!(outcome, Outcome::Ok), "not verified: {outcome:?}");
    Ok(())
}

fn extending() -> Save {
    Save { chain: Some("c".into()), ..Save::whole(Reason::Timer, 1) }
}

/// Whether the bytes hold the secret, as etcd and whoever looks with an editor would show it.
fn tells(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
}

#[tokio::test]
async fn a_sealed_chain_is_read_by_its_recipients_alone() {
    let cluster = Cluster::start(1, &[]);
    let (bucket, place) = (Arc::new(Bucket::default()), Place::new());
    let identity = Identity::generate();
    let mine = hands(&cluster, &bucket, &place, seal_of(&identity));
    let member = &cluster.members[0];
    for key in 0..50 {
        member.put(&format!("before/{key}"), SECRET);
    }
    let base = saved(&mine, extending()).await;
    member.put("after", SECRET);
    let end = saved(&mine, extending()).await;
    let by_hand = saved(&mine, Save::whole(Reason::Hand, 1)).await;
    assert!(base.needs.is_empty() && by_hand.needs.is_empty(), "each is a whole file");
    assert_eq!(end.needs, std::slice::from_ref(&base.data), "laid over the base");
    for (key, bytes) in bucket.objects().iter() {
        assert!(!tells(bytes), "{key} is readable");
        assert!(!key.ends_with(".db"), "{key}: nothing is exported unasked");
    }
    for manifest in [&base, &end, &by_hand] {
        verified(&mine, manifest).await.expect("it is whole");
    }

    let others = hands(&cluster, &bucket, &place, seal_of(&Identity::generate()));
    let none = hands(&cluster, &bucket, &place, Seal::default());
    for (hands, named) in [(&others, "does not hold"), (&none, "is not set")] {
        let failure = verified(hands, &end).await.expect_err("another's key");
        assert_eq!(failure.kind, FailureKind::Unavailable, "it says nothing of the data");
        assert!(failure.text.contains("REQUORUM_SNAPSHOT_IDENTITY_FILE"), "{}", failure.text);
        assert!(failure.text.contains(named), "{}", failure.text);
    }
    damaged_is_told_from_sealed(&bucket, &base, [&mine, &others]).await;
    comes_back(&mine, &place, &end).await;
}

/// Whoever reads it: what is damaged is damaged, with the key or without it.
async fn damaged_is_told_from_sealed(bucket: &Bucket, of: &Manifest, whose: [&Performer; 2]) {
    let key = format!("p/u/{}", of.data);
    let whole = bucket.objects()[&key].clone();
    bucket.objects().entry(key.clone()).and_modify(|bytes| bytes[60] ^= 1);
    for hands in whose {
        let failure = verified(hands, of).await.expect_err("it is damaged");
        assert_eq!(failure.kind, FailureKind::Bad, "{}", failure.text);
        assert!(failure.text.contains(&of.data), "{}", failure.text);
    }
    bucket.objects().insert(key, whole);
}

/// The end of the chain becomes a member that holds what was saved.
async fn comes_back(hands: &Performer, place: &Place, end: &Manifest) {
    let source = source::from_manifest(end, 0);
    let (plan, digest) = (Plan { source, ..plan(1, 0) }, Digest::of(b"the plan"));
    let restored = hands.perform(&Effect::Restore(Box::new(plan.clone()), digest)).await;
    assert!(matches!(restored, Outcome::Ok), "{restored:?}");
    Swap::new(&place.data(), &digest.short(), 2, 1).finish().expect("swapped in");
    let seat = &plan.seats[0];
    let _running: common::Guard = start(place, seat);
    wait_for("the restored member", || {
        etcdctl(&seat.client_url, &["get", "after"]).status.success().then_some(())
    });
    for key in ["before/0", "before/49", "after"] {
        let value = etcdctl_ok(&seat.client_url, &["get", key, "--print-value-only"]);
        assert_eq!(value.trim(), SECRET, "{key}");
    }
}

#[tokio::test]
async fn a_plain_copy_is_exported_where_that_is_asked_for() {
    let cluster = Cluster::start(1, &[]);
    let (bucket, place) = (Arc::new(Bucket::default()), Place::new());
    let mine = hands(&cluster, &bucket, &place, seal_of(&Identity::generate()));
    cluster.members[0].put("a", SECRET);
    let regular = saved(&mine, extending()).await;
    assert!(!bucket.objects().values().any(|bytes| tells(bytes)), "what is not exported is sealed");
    cluster.members[0].put("b", SECRET);
    let exported = saved(&mine, Save { export: true, ..extending() }).await;
    assert!(regular.data.ends_with(".pack") && exported.data.ends_with(".db"));
    let copy = bucket.objects().get("p/exported/etcd-snapshots/snapshot.db").cloned();
    assert_eq!(copy.map(|bytes| Digest::of(&bytes)), Some(exported.sha256));
    cluster.members[0].put("c", SECRET);
    let end = saved(&mine, extending()).await;
    assert_eq!(end.needs, [exported.data], "the chain goes on over it, sealed");
    verified(&mine, &end).await.expect("it is whole");
}
