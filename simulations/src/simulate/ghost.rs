//! **ghost** — what an all-knowing onlooker notes: what was committed where, what clients were told,
//! which decisions were made. No agent ever reads it; the invariants are said in its terms.

use super::Sim;
use crate::world::etcd::Entry;
use protocol::{
    cluster::{ClusterId, Digest, MemberId, Slot},
    manifest::Manifest,
    observation::{Check, InAttempt},
    vote::Health,
};
use std::collections::{BTreeMap, BTreeSet};

/// One incarnation's etcd cluster.
#[derive(Default)]
pub(super) struct Life {
    /// The entries that were ever committed, in order.
    pub(super) committed: Vec<(u64, Entry)>,
    /// How much of its leader's log each member was last seen to have durably.
    pub(super) durable: BTreeMap<MemberId, usize>,
    /// Writes that clients were told of, with their revisions.
    pub(super) acked: Vec<(u64, u64)>,
    /// Where its key space began.
    pub(super) base_revision: u64,
}

/// What was decided of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Committed,
    Aborted,
}

/// What happened at least once: a checker that never gets there proves nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Witness(pub BTreeMap<&'static str, u64>);

/// All that was noted.
#[derive(Default)]
pub(super) struct Ghost {
    pub(super) writes: u64,
    pub(super) lives: BTreeMap<ClusterId, Life>,
    /// The etcd clusters of each incarnation that was ever the present one.
    pub(super) clusters: BTreeMap<u64, BTreeSet<ClusterId>>,
    /// Members that were started once.
    pub(super) started: BTreeSet<MemberId>,
    pub(super) decisions: BTreeMap<InAttempt, Decision>,
    /// The highest revision that clients were shown, by incarnation.
    pub(super) shown: BTreeMap<u64, u64>,
    /// Manifests published, with the moment.
    pub(super) manifests: Vec<(u64, Manifest)>,
    /// Incarnations that were opened to clients.
    pub(super) opened: BTreeSet<u64>,
    /// When a fault last began or ended.
    pub(super) troubled_at: u64,
    /// When the present attempt was opened.
    pub(super) opened_at: u64,
    /// The members fenced by the commit that ended each incarnation, with the last index of the log
    /// that each showed.
    pub(super) fenced: BTreeMap<u64, BTreeMap<MemberId, Option<u64>>>,
    /// What each seat last reported of its restored member, by the plan.
    pub(super) reports: BTreeMap<(Digest, Slot), Check>,
    /// Snapshots that could not be read for a while: to pass them over is no fault.
    pub(super) spoilt: BTreeSet<Digest>,
    /// The member whose log was last read on each machine.
    pub(super) logs_read: BTreeMap<usize, MemberId>,
    /// What was last voted from each machine.
    pub(super) votes: BTreeMap<usize, (Slot, Health, u64)>,
    pub(super) witness: Witness,
}

impl Ghost {
    pub(super) fn is_committed(&self, cluster: ClusterId, index: usize, term: u64) -> bool {
        let entry = self.lives.get(&cluster).and_then(|life| life.committed.get(index - 1));
        entry.is_some_and(|(of, _)| *of == term)
    }

    /// The incarnation of an etcd cluster, if it was ever the present one.
    pub(super) fn incarnation(&self, cluster: ClusterId) -> Option<u64> {
        self.clusters.iter().find(|(_, all)| all.contains(&cluster)).map(|(inc, _)| *inc)
    }

    pub(super) fn saw(&mut self, what: &'static str) {
        *self.witness.0.entry(what).or_default() += 1;
    }
}

impl Sim {
    /// A leader commits the entry at `index`: with it all before it.
    pub(super) fn committed(&mut self, leader: usize, cluster: ClusterId, index: usize) {
        let Some(store) = self.machines[leader].dir().member.as_ref() else { return };
        let at = |index| Some((store.log.term(index), store.log.entry(index)?.clone()));
        let (Some(entry), revision) = (at(index), store.revision()) else { return };
        let life = self.ghost.lives.entry(cluster).or_default();
        if life.committed.is_empty() {
            life.base_revision = store.base_revision;
        }
        while life.committed.len() + 1 < index {
            life.committed.extend(at(life.committed.len() + 1));
        }
        match life.committed.get(index - 1) {
            Some(known) if *known != entry => {
                self.broke(format!("raft itself: two entries committed at index {index}"));
                return;
            }
            Some(_) => return,
            None => life.committed.push(entry.clone()),
        }
        if let Entry::Put(number) = entry.1 {
            life.acked.push((revision, number));
            self.check_acknowledged(leader, cluster, index, &entry, revision);
        }
    }

    /// The member on `machine` has appended.
    pub(super) fn appended(&mut self, machine: usize) {
        let Some((_, store)) = self.machines[machine].running() else { return };
        let life = self.ghost.lives.entry(store.cluster).or_default();
        life.durable.insert(store.id, store.log.len());
    }

    pub(super) fn saved(&mut self, manifest: &Manifest) {
        self.ghost.manifests.push((self.now, manifest.clone()));
    }
}
