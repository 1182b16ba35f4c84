//! **membership** — what becomes of etcd's member list and of the data of members that leave it, checked
//! at the moment a change is carried out: S16, S17 and S18 of protocol.md 1.11.
//!
//! Comes from calls to etcd ([`remote`](super::remote)) and to machines ([`perform`](super::perform)). Goes to
//! the verdict. A call may be carried out long after it was decided on; what a fault has changed since
//! is no fault of the core.

use super::Sim;
use crate::world::etcd::{Peer, Store, voters};
use protocol::{cluster::quorum, effect::Effect};

/// How long things must have been quiet for the core to be bound by how they are, in milliseconds with
/// quick windows: as long as votes live and calls take.
const QUIET: u64 = 6_000;

/// The same where some calls take very long.
const QUIET_AND_SLOW: u64 = 26_000;

impl Sim {
    /// S17: etcd's members change only within the operation that is on record, and it never has two
    /// learners. S18: the members that live are no fewer than a quorum of the voters if they were enough
    /// before.
    pub(super) fn check_membership(&mut self, leader: usize, before: &[Peer], after: &[Peer]) {
        if before == after {
            self.ghost.saw("late membership call");
            return;
        }
        self.ghost.saw("membership");
        if self.records().ctrl.as_ref().is_none_or(|ctrl| ctrl.op.is_none()) {
            self.broke("S17: etcd's members change beside any operation on record".to_owned());
        }
        let learners = |peers: &[Peer]| peers.iter().filter(|peer| peer.learner).count();
        if learners(after) > learners(before) && learners(after) > 1 {
            self.broke("S17: a second learner is added".to_owned());
        }
        let slow = self.options.rates.slow > 0 && !self.calm;
        let quiet = if slow { QUIET_AND_SLOW } else { QUIET } * self.options.pace.stretch();
        if self.now < self.ghost.troubled_at + quiet {
            return;
        }
        self.ghost.saw("membership after a quiet while");
        let live = |peers: &[Peer]| {
            let all = voters(peers);
            (all.iter().filter(|id| self.reaches(leader, **id)).count(), quorum(all.len()))
        };
        let ((were, needed), (are, need)) = (live(before), live(after));
        if were >= needed && are < need {
            self.broke(format!(
                "S18: {were} of {needed} voters lived, {are} of {need} do after it"
            ));
        }
    }

    /// S16: what a seat's voter has is neither moved aside nor swapped out while its incarnation is the
    /// present one: it may be all that is left.
    pub(super) fn check_kept(&mut self, machine: usize, effect: &Effect) {
        if !matches!(effect, Effect::MoveAside { .. } | Effect::Swap { .. }) {
            return;
        }
        let records = self.records();
        let member = self.machines[machine].dir().member.as_ref();
        let (Some(ctrl), Some(store)) = (&records.ctrl, member) else { return };
        let voter = |store: &Store| {
            let present = ctrl.cluster_id == Some(store.cluster);
            present && ctrl.members.iter().any(|member| member.id == store.id)
        };
        if voter(store) {
            let name = self.machines[machine].instance.0.clone();
            self.broke(format!("S16: {name} puts the data of a member that votes out of the way"));
        }
    }

    /// S16: no member is restored where its agent saw that the volume it ran on is away: once mounted
    /// again, that would hide it.
    pub(super) fn check_restored(&mut self, agent: usize) {
        let agent = &self.agents[agent];
        let machine = &self.machines[agent.machine];
        let its_own = machine.root.ran.as_ref().filter(|ran| ran.instance == machine.instance);
        let Some(ran) = its_own else { return };
        let elsewhere = agent.saw_empty.as_ref().is_some_and(|fs| *fs != ran.fs);
        if elsewhere && self.detached().any(|volume| volume.fs == ran.fs) {
            let name = machine.instance.0.clone();
            self.broke(format!("S16: {name} restores a member where its volume is to be mounted"));
        }
    }

    /// S16: nothing that a data volume held is gone after a change that was asked for.
    pub(super) fn kept(&self, machine: usize) -> usize {
        let dir = self.machines[machine].dir();
        dir.aside.len() + dir.restored.len() + usize::from(dir.member.is_some())
    }
}
