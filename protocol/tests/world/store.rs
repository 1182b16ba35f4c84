//! **store** — the lock table and the bucket, as bytes: whatever is read here went through the wire.

use protocol::{
    cluster::{Digest, Slot},
    effect::Founding,
    manifest::Manifest,
    plan::Plan,
    registry::{Change, Pin, Records, Written},
    vote::Vote,
    wire,
};
use std::{collections::BTreeMap, sync::Arc};

/// Table and bucket of the one prefix.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) tables: BTreeMap<String, wire::Table>,
    pub(crate) objects: BTreeMap<String, Vec<u8>>,
    pub(crate) contents: BTreeMap<String, Vec<u64>>,
    writes: u64,
}

impl Store {
    /// The uid that `cluster.json` names.
    pub(crate) fn uid(&self) -> Option<String> {
        let bytes = self.objects.get(&wire::Keys::cluster_json("p"))?;
        Some(wire::parse_cluster(bytes).expect("we wrote it").uid)
    }

    pub(crate) fn found(&mut self, founding: &Founding) -> String {
        let key = wire::Keys::cluster_json("p");
        self.objects.entry(key).or_insert_with(|| wire::encode_cluster(founding));
        self.uid().expect("it was just written")
    }

    pub(crate) fn records(&self, uid: &str) -> Records {
        let Some(table) = self.tables.get(uid) else {
            return Records::default();
        };
        wire::parse_records(table.read()).expect("what was written can be read")
    }

    pub(crate) fn write(&mut self, uid: &str, change: &Change) -> Written {
        self.writes += 1;
        let change = wire::changed(change, &format!("op-{}", self.writes));
        self.tables.entry(uid.to_owned()).or_default().write(&change)
    }

    pub(crate) fn exchange(&mut self, uid: &str, mine: Option<&Vote>, seats: u8) -> Vec<Arc<Vote>> {
        let keys = wire::Keys::new("p", uid);
        if let Some(vote) = mine {
            self.objects.insert(keys.vote(vote.slot), wire::encode_vote(vote));
        }
        (0..seats)
            .filter_map(|slot| self.objects.get(&keys.vote(Slot(slot))))
            .map(|bytes| wire::parse_vote(bytes).expect("what was written can be read").into())
            .collect()
    }

    pub(crate) fn put_plan(&mut self, plan: &Plan) -> Pin {
        let sha256 = wire::plan_digest(plan);
        let key = wire::Keys::plan(plan.inc, plan.attempt, plan.epoch, &sha256);
        self.objects.insert(format!("p/{}/{key}", plan.uid), wire::encode_plan(plan));
        Pin { key, sha256 }
    }

    pub(crate) fn plan(&self, uid: &str, pin: &Pin) -> Option<Plan> {
        let bytes = self.objects.get(&format!("p/{uid}/{}", pin.key))?;
        assert_eq!(Digest::of(bytes), pin.sha256, "the plan is what was pinned");
        Some(wire::parse_plan(bytes).expect("what was written can be read"))
    }

    pub(crate) fn put_snapshot(&mut self, manifest: &Manifest, keys: Vec<u64>) {
        self.contents.insert(format!("{}", manifest.sha256), keys);
        let key = format!("p/{}/{}", manifest.uid, manifest.key());
        self.objects.insert(key, wire::encode_manifest(manifest));
    }

    pub(crate) fn manifests(&self, uid: &str, inc: u64) -> Vec<Manifest> {
        let folder = format!("p/{uid}/{}", Manifest::folder(inc));
        self.objects
            .iter()
            .filter(|(key, _)| key.starts_with(&folder))
            .map(|(_, bytes)| wire::parse_manifest(bytes).expect("what was written can be read"))
            .collect()
    }
}
