//! **stores** — the lock table and the bucket. Conditions are judged on the wire's own rows, as
//! DynamoDB would; objects are written once or over the version that was read, as S3 would.

use protocol::{
    cluster::{Digest, Slot},
    effect::Founding,
    manifest::Manifest,
    plan::Plan,
    registry::{Change, Pin, Records, Written},
    vote::Vote,
    wire,
};
use std::{collections::BTreeMap, rc::Rc, sync::Arc};

/// The rows of one uid, and how they read.
#[derive(Clone, Debug, Default)]
struct Rows {
    table: wire::Table,
    read: Option<Arc<Records>>,
}

/// The lock table.
#[derive(Clone, Debug, Default)]
pub struct LockTable {
    clusters: BTreeMap<String, Rows>,
    ops: u64,
}

impl LockTable {
    /// One consistent read.
    pub fn records(&self, uid: &str) -> Arc<Records> {
        let read = self.clusters.get(uid).and_then(|rows| rows.read.clone());
        read.unwrap_or_default()
    }

    /// A tag for a write, as the driver makes one: its repetitions bear the same.
    pub fn tag(&mut self) -> String {
        self.ops += 1;
        format!("op-{}", self.ops)
    }

    /// Judges one conditional write.
    pub fn write(&mut self, uid: &str, change: &Change, tag: &str) -> Written {
        let wire = wire::changed(change, tag);
        let rows = self.clusters.entry(uid.to_owned()).or_default();
        let written = rows.table.write(&wire);
        if written == Written::Applied {
            let read = wire::parse_records(rows.table.read());
            rows.read = Some(read.expect("what the core wrote can be read").into());
        }
        written
    }
}

/// A snapshot's data.
#[derive(Clone, Debug)]
pub struct Content {
    /// Its keys, oldest first.
    pub keys: Rc<Vec<u64>>,
    /// A digest of them.
    pub sum: u64,
    /// It can be read and is whole.
    pub sound: bool,
}

/// The bucket.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    uid: Option<String>,
    /// The seats' votes with the version of each object.
    votes: BTreeMap<Slot, (u64, Arc<Vote>)>,
    plans: BTreeMap<String, Plan>,
    /// Manifests, and when each was written.
    manifests: BTreeMap<String, (u64, Manifest)>,
    /// Data, by digest.
    pub contents: BTreeMap<Digest, Content>,
    versions: u64,
}

impl Bucket {
    /// What `cluster.json` names.
    pub fn uid(&self) -> Option<&str> {
        self.uid.as_deref()
    }

    /// Writes `cluster.json` if it is absent; who won.
    pub fn found(&mut self, founding: &Founding) -> String {
        self.uid.get_or_insert_with(|| founding.uid.clone()).clone()
    }

    /// Writes a vote over the version that its writer knows; the new version, or `None` for a 412.
    pub fn put_vote(&mut self, vote: &Vote, known: Option<u64>) -> Option<u64> {
        if self.votes.get(&vote.slot).map(|(version, _)| *version) != known {
            return None;
        }
        self.versions += 1;
        self.votes.insert(vote.slot, (self.versions, vote.clone().into()));
        Some(self.versions)
    }

    /// The version of a seat's vote.
    pub fn vote_version(&self, slot: Slot) -> Option<u64> {
        self.votes.get(&slot).map(|(version, _)| *version)
    }

    /// All votes.
    pub fn votes(&self) -> impl Iterator<Item = &Arc<Vote>> {
        self.votes.values().map(|(_, vote)| vote)
    }

    /// Writes a plan once.
    pub fn put_plan(&mut self, plan: &Plan) -> Pin {
        let sha256 = wire::plan_digest(plan);
        let key = wire::Keys::plan(plan.inc, plan.attempt, plan.epoch, &sha256);
        self.plans.entry(key.clone()).or_insert_with(|| plan.clone());
        Pin { key, sha256 }
    }

    /// The plan under a key, if it is the pinned one.
    pub fn plan(&self, pin: &Pin) -> Option<&Plan> {
        self.plans.get(&pin.key).filter(|plan| wire::plan_digest(plan) == pin.sha256)
    }

    /// Publishes a snapshot: data first, then its manifest.
    pub fn put_snapshot(&mut self, at: u64, manifest: &Manifest, content: Content) {
        self.contents.entry(manifest.sha256).or_insert(content);
        self.manifests.entry(manifest.key()).or_insert_with(|| (at, manifest.clone()));
    }

    /// The manifests of an incarnation that a LIST shows which is behind by all that was written
    /// after `seen`, and those that are pointed to.
    pub fn manifests(&self, inc: u64, seen: u64, pointers: &[String]) -> Vec<Manifest> {
        let of_it = self.manifests.iter().filter(|(_, (_, manifest))| manifest.inc == inc);
        let shown = of_it.filter(|(key, (at, _))| *at <= seen || pointers.contains(key));
        shown.map(|(_, (_, manifest))| manifest.clone()).collect()
    }

    /// Data that can be read.
    pub fn sound(&self, sha256: &Digest) -> Option<&Content> {
        self.contents.get(sha256).filter(|content| content.sound)
    }
}
