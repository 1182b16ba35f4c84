//! **watch** — what must never happen, checked at every write of the table and every change of a
//! machine (protocol.md 1.11). Comes from the [world](super::world), which keeps the first breach.

use super::{etcd, machine::Machine, world::World};
use protocol::{
    cluster::{ClusterId, MemberId, quorum},
    observation::InAttempt,
    registry::{Ctrl, Evidence, Fence, Phase, Records},
};
use std::collections::{BTreeMap, BTreeSet};

/// What was seen so far.
#[derive(Default)]
pub(crate) struct Watch {
    /// The records of each uid that was ever written: a founding has losers.
    tables: BTreeMap<String, Records>,
    /// The one outcome of each attempt.
    decisions: BTreeMap<u64, Phase>,
    /// Clusters whose incarnation is over.
    over: BTreeMap<ClusterId, u64>,
    /// Acknowledged writes that must still be there: (cluster, revision, number).
    kept: Vec<(ClusterId, u64, u64)>,
    /// Acknowledged writes that a commit declared lost.
    pub(crate) declared_lost: u64,
    /// The highest revision that a client was told.
    served: u64,
    /// Restores committed.
    pub(crate) restores: u64,
    /// Attempts called off.
    pub(crate) aborts: u64,
    /// For each machine: whether its member last answered a linearizable read, and when.
    pub(crate) proof: BTreeMap<usize, (bool, u128)>,
    /// For each machine: whether it was stopped although it had long seen a quorum.
    pub(crate) stopped_healthy: BTreeMap<usize, bool>,
}

impl Watch {
    /// The records of the cluster that was founded.
    pub(crate) fn records(&self) -> Option<&Records> {
        let lives = |records: &&Records| records.ctrl.as_ref().is_some_and(|ctrl| ctrl.inc > 0);
        self.tables.values().find(lives)
    }

    /// What a cluster acknowledged up to a revision and nobody declared lost.
    pub(crate) fn acknowledged(&self, of: ClusterId, up_to: u64) -> impl Iterator<Item = u64> {
        let kept = self.kept.iter().filter(move |(cluster, at, _)| *cluster == of && *at <= up_to);
        kept.map(|(_, _, number)| *number)
    }
}

impl World {
    /// The table was written: `after` are the records of `uid` now.
    pub(super) fn watch_write(&mut self, uid: String, after: Records) {
        let before = self.watch.tables.insert(uid, after.clone());
        let lives = self
            .watch
            .tables
            .values()
            .filter(|records| records.ctrl.as_ref().is_some_and(|ctrl| ctrl.inc > 0));
        if lives.count() > 1 {
            self.violate("S4: two clusters were founded under one prefix".to_owned());
        }
        let Some(ctrl) = &after.ctrl else { return };
        let before = before.unwrap_or_default();
        let saver = |records: &Records| records.save.as_ref().map(|saver| saver.member);
        if saver(&before).is_some_and(|member| Some(member) != saver(&after)) {
            self.shelf.handovers += 1;
        }
        for (slot, record) in &after.slots {
            let old = before.slot(*slot).fence.as_ref();
            if let Some(fence) = record.fence.as_ref().filter(|fence| old != Some(*fence)) {
                self.say("", format!("fence of {slot}: {}", fence.kind.name()));
                self.watch_fence(fence, ctrl);
            }
        }
        if let Some(old) = &before.ctrl {
            self.watch_ctrl(old, ctrl, &after);
        }
    }

    /// S4, S7, S9, S11: one decision an attempt, and what may rise only rises.
    fn watch_ctrl(&mut self, old: &Ctrl, new: &Ctrl, records: &Records) {
        let epoch = |ctrl: &Ctrl| ctrl.lease.as_ref().map_or(0, |lease| lease.epoch);
        if epoch(new) < epoch(old) {
            self.violate(format!("S9: the epoch fell from {} to {}", epoch(old), epoch(new)));
        }
        let decision =
            |ctrl: &Ctrl| Ctrl { version: 0, lease: None, op_id: String::new(), ..ctrl.clone() };
        if decision(new) != decision(old) && new.version != old.version + 1 {
            self.violate(format!(
                "S9: {:?} was written over what its author had not read",
                new.phase
            ));
        }
        if new.inc < old.inc || new.attempt < old.attempt || new.version < old.version {
            self.violate(format!("S11: inc {} attempt {} fell", old.inc, old.attempt));
        }
        if new.phase != old.phase {
            self.say("", format!("{:?} inc {} attempt {}", new.phase, new.inc, new.attempt));
            self.watch_decision(old, new, records);
        }
    }

    fn watch_decision(&mut self, old: &Ctrl, new: &Ctrl, records: &Records) {
        let decision = match new.phase {
            Phase::Committed | Phase::Aborted => new.phase,
            Phase::Genesis
            | Phase::Idle
            | Phase::Fencing
            | Phase::Restoring
            | Phase::Starting
            | Phase::Verifying
            | Phase::Open
            | Phase::Healing => return,
        };
        if let Some(earlier) = self.watch.decisions.insert(new.attempt, decision) {
            self.violate(format!("S4: attempt {} was {earlier:?} before", new.attempt));
        }
        if decision == Phase::Aborted {
            self.watch.aborts += 1;
            return;
        }
        if new.inc != old.inc + 1 {
            self.violate(format!("S4: inc {} follows inc {}", new.inc, old.inc));
        }
        let Some(cluster) = old.cluster_id.filter(|_| old.inc > 0) else { return };
        self.watch.restores += 1;
        self.watch.over.insert(cluster, old.inc);
        let revision = new.source.as_ref().map_or(0, |source| source.revision);
        let before = self.watch.kept.len();
        self.watch.kept.retain(|(_, at, _)| *at <= revision);
        self.watch.declared_lost += (before - self.watch.kept.len()) as u64;
        self.watch_blocking(old, records);
    }

    /// S5, S7, S8: each fence that counts is a promise that stands, they leave no quorum, and what
    /// is intact would not have made one.
    fn watch_blocking(&mut self, old: &Ctrl, records: &Records) {
        let counts = |fence: &&Fence| fence.inc == old.inc && fence.attempt == old.attempt;
        let mut fenced = BTreeSet::new();
        let mut intact = 0;
        let mut breaches = Vec::new();
        for (slot, record) in &records.slots {
            let Some(fence) = record.fence.as_ref().filter(counts) else { continue };
            fenced.extend(record.ran.as_ref().map(|ran| ran.member_id));
            intact += usize::from(fence.kind == Evidence::Consent && fence.log.is_some());
            let machine = self.machines.iter().find(|machine| machine.instance == fence.instance);
            if let Some(machine) = machine.filter(|_| fence.kind != Evidence::Attested)
                && let Some(breach) = broken_promise(machine, fence)
            {
                breaches.push(format!("S5: slot {slot} counts for a commit, but {breach}"));
            }
        }
        if old.is_guarded() && intact >= quorum(old.members.len()) {
            breaches.push(format!("S8: {intact} intact members only had to be started again"));
        }
        let free = |voters: &[MemberId]| voters.iter().filter(|id| !fenced.contains(id)).count();
        for store in self.machines.iter().filter_map(|machine| machine.volume.member.as_ref()) {
            let peers = store.peers();
            let voters: Vec<_> =
                peers.iter().filter(|peer| !peer.learner).map(|peer| peer.id).collect();
            if Some(store.cluster) == old.cluster_id && free(&voters) >= quorum(voters.len()) {
                breaches.push(format!("S7: a quorum of {voters:?} is left unfenced"));
            }
        }
        breaches.into_iter().for_each(|breach| self.violate(breach));
    }

    /// S2: the promise is durable and etcd is stopped before the fence of the attempt under way is
    /// written. A fence that arrives after its attempt was called off says nothing any more.
    fn watch_fence(&mut self, fence: &Fence, ctrl: &Ctrl) {
        let current =
            ctrl.inc == fence.inc && ctrl.attempt == fence.attempt && ctrl.phase == Phase::Fencing;
        let machine = self.machines.iter().find(|machine| machine.instance == fence.instance);
        let Some(machine) = machine.filter(|_| current && fence.kind != Evidence::Attested) else {
            return;
        };
        if let Some(breach) = broken_promise(machine, fence) {
            self.violate(format!("S2: a fence was written, but {breach}"));
        }
    }

    /// S1: once an incarnation is over, none of it has a leader, and what of it could start without
    /// the stores is no quorum.
    pub(super) fn watch_clusters(&mut self) {
        let mut breaches = Vec::new();
        for (cluster, inc) in &self.watch.over {
            let mut able = BTreeSet::new();
            let mut voters = BTreeSet::new();
            for machine in &self.machines {
                let Some(store) = machine.volume.member.as_ref().filter(|s| s.cluster == *cluster)
                else {
                    continue;
                };
                if machine.etcd.as_ref().is_some_and(|etcd| etcd.leader.is_some()) {
                    breaches.push(format!("S1: {} serves inc {inc}, which is over", machine.name));
                }
                if machine.etcd.is_some() || may_start(machine, *inc) {
                    able.insert(store.id);
                }
                voters.extend(store.peers().iter().filter(|peer| !peer.learner).map(|p| p.id));
            }
            if !voters.is_empty() && able.len() >= quorum(voters.len()) {
                breaches.push(format!("S1: a quorum of inc {inc}, which is over, could start"));
            }
        }
        breaches.into_iter().for_each(|breach| self.violate(breach));
    }

    /// S3, S24: what clients are told comes from the incarnation that is not over, and rises.
    pub(super) fn watch_served(&mut self, cluster: ClusterId, revision: u64, number: u64) {
        if self.watch.over.contains_key(&cluster) {
            self.violate("S3: an incarnation that is over acknowledged a write".to_owned());
        }
        if revision <= self.watch.served {
            self.violate(format!("S24: clients saw {} before {revision}", self.watch.served));
        }
        self.watch.served = revision;
        self.watch.kept.push((cluster, revision, number));
    }

    /// S6, S11, S14: etcd is about to be started on machine `at`.
    pub(super) fn watch_start(&mut self, at: usize, quarantined: bool) {
        let machine = &self.machines[at];
        let Some(ran) = machine.root.ran.clone() else {
            return self.violate(format!("S11: {} starts before `ran` is kept", machine.name));
        };
        let name = machine.name.clone();
        if !may_start(machine, ran.inc) {
            self.violate(format!("S6: {name} starts inc {}, which it may not", ran.inc));
        }
        let Some(ctrl) = self.ctrl() else { return };
        if ctrl.inc == ran.inc && !ctrl.opened && !quarantined {
            self.violate(format!("S14: {name} lets clients into inc {} before OPEN", ran.inc));
        }
    }

    /// S6: a promise is taken back only after the attempt was called off.
    pub(super) fn watch_unmark(&mut self, at: usize, marker: InAttempt) {
        let aborted = self.ctrl().and_then(|ctrl| ctrl.aborted);
        let called_off = aborted.is_some_and(|aborted| {
            aborted.inc > marker.inc
                || (aborted.inc == marker.inc && aborted.attempt >= marker.attempt)
        });
        if !called_off {
            let name = self.machines[at].name.clone();
            self.violate(format!("S6: {name} takes back its promise {marker:?} by itself"));
        }
    }

    /// S20: who sees a quorum promises nothing to a guarded attempt.
    pub(super) fn watch_mark(&mut self, at: usize) {
        let guarded = self.ctrl().is_some_and(Ctrl::is_guarded);
        let healthy = self.watch.stopped_healthy.get(&at).copied().unwrap_or(false);
        if guarded && healthy {
            let name = self.machines[at].name.clone();
            self.violate(format!("S20: {name} sees a quorum and promises not to run"));
        }
    }

    /// S13: every acknowledged write is there, or was declared lost by a commit.
    pub(super) fn watch_end(&mut self) {
        let leads = |machine: &&Machine| machine.etcd.as_ref().is_some_and(|e| e.leader.is_some());
        let store = self.machines.iter().find(leads).and_then(|m| m.volume.member.as_ref());
        let keys: BTreeSet<u64> = store.map(etcd::Store::keys).into_iter().flatten().collect();
        let lost: Vec<u64> = self
            .watch
            .kept
            .iter()
            .map(|(_, _, number)| *number)
            .filter(|number| !keys.contains(number))
            .collect();
        if !lost.is_empty() {
            self.violate(format!("S13: acknowledged writes are lost in silence: {lost:?}"));
        }
    }
}

/// What of a promise does not stand.
fn broken_promise(machine: &Machine, fence: &Fence) -> Option<String> {
    let promised = InAttempt { inc: fence.inc, attempt: fence.attempt };
    if machine.memory().marker < Some(promised) {
        return Some(format!("{} has not promised it durably", machine.name));
    }
    let runs =
        machine.etcd.is_some() && machine.root.ran.as_ref().is_none_or(|r| r.inc <= fence.inc);
    runs.then(|| format!("{} still runs etcd", machine.name))
}

/// Whether the boot rule lets a member of `inc` start here without the stores (protocol.md 1.4).
fn may_start(machine: &Machine, inc: u64) -> bool {
    let memory = machine.memory();
    memory.ran.as_ref().is_some_and(|ran| ran.inc == inc)
        && memory.retired < inc
        && memory.marker.is_none_or(|marker| marker.inc < inc)
}
