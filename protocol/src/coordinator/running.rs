//! **running** — when this machine's etcd is started, and how clients are let in.
//!
//! A member is started only by the machine that `ran` names, with data of the present
//! incarnation, no promise against it, and its own durable copy of `ran` (boot rules 2 and 3).
//! Without the remembered `opened` it starts in quarantine (boot rule 4).

use super::{Scene, Step};
use crate::{
    cluster::{MemberId, Slot},
    effect::{Effect, Expected, Join, Start},
    explanation::Code,
    mutant::{self, Mutant},
    observation::{LogState, Process, Ran},
    registry::Phase,
    vote::Health,
};

impl Scene<'_> {
    /// Keeps the member of the present incarnation running.
    pub(super) fn keep_running(&self) -> Option<Step> {
        if let Some(text) = self.foreign_data() {
            return Step::wait(Code::Foreign, text);
        }
        if self.i_am_attested_away() {
            let text = alloc::format!(
                "an operator attested that this machine is gone: it never runs incarnation {} again; \
                 to use it, give it a new REQUORUM_INSTANCE, an empty state directory and an empty data dir",
                self.ctrl.inc
            );
            return Step::wait(Code::Fenced, text);
        }
        if !self.i_ran()
            || self.data_inc() != Some(self.ctrl.inc)
            || self.is_forbidden(self.ctrl.inc)
        {
            return None;
        }
        let ran = self.mine.ran.as_ref()?;
        if self.look.memory.ran.as_ref() != Some(ran) && !mutant::is(Mutant::StartUnrecorded) {
            // root state lost, or a crash between the write of `ran` and its copy (boot rule 3)
            return Step::act(
                Effect::RememberRan(ran.clone()),
                Code::Starting,
                "copies `ran` to the root disk",
            );
        }
        match self.look.process {
            Process::Unknown => Step::wait(
                Code::Blind,
                "it can't be shown whether etcd runs; it is not started twice",
            ),
            Process::Stopped | Process::StoppedByOperator
                if self.data().log == LogState::Missing && self.beginning(ran).is_none() =>
            {
                // an empty member under a known id would forget what it voted for: it is replaced,
                // or its incarnation restored, but never begun anew
                let text = if self.never_started() {
                    "the member that was to begin here was called off; its seat is refilled in its turn"
                } else if self.data_is_lost() {
                    "its data is gone; it is not started empty"
                } else {
                    "its data dir is empty and not on the file system it ran on: is the volume mounted?"
                };
                Step::wait(Code::DataLost, text)
            }
            Process::Stopped | Process::StoppedByOperator
                if self.holds_another_than(ran.member_id) =>
            {
                // members were changed by hand; a fence of this seat would stand for the one on record
                let text = "the data dir holds another member than the one on record: start it by \
                            hand if it was put here by hand, and say `requorum replace` of this node";
                Step::wait(Code::Foreign, text)
            }
            Process::StoppedByOperator if self.is_kept_down() => Step::wait(
                Code::StoppedByOperator,
                "an operator stopped etcd here: it is no failure, and only an operator starts it again, \
                 or `requorum restore --rollback` said on any node",
            ),
            Process::Stopped | Process::StoppedByOperator => self.start(ran),
            Process::Running { quarantined: true } if self.may_open() => self.open(),
            Process::Running { quarantined: false } if self.lets_in_too_early() => Step::act(
                Effect::Stop,
                Code::Restarting,
                "stops an etcd that lets clients in before the restored members were compared",
            ),
            Process::Running { .. } => self.disarm(),
        }
    }

    fn holds_another_than(&self, id: MemberId) -> bool {
        self.held().is_some_and(|held| held != id) && !mutant::is(Mutant::StartForeign)
    }

    /// The member whose log lies in the data dir.
    pub(super) fn held(&self) -> Option<MemberId> {
        self.data().log.owner().map(|(_, member_id)| member_id)
    }

    /// How a member without a log begins, if it may: a founder of an empty cluster that never had one, by
    /// the plan that it is on record for. A learner begins as one, or not at all.
    fn beginning(&self, ran: &Ran) -> Option<Join> {
        let pinned = self.ctrl.plan.as_ref().is_some_and(|pin| pin.sha256.short() == ran.plan);
        let plan = self.plan().filter(|plan| pinned && plan.source.object.is_none())?;
        let initial_cluster = plan.initial_cluster();
        let join = Join { initial_cluster, token: plan.token.clone(), existing: false };
        self.never_started().then_some(join)
    }

    fn start(&self, ran: &Ran) -> Option<Step> {
        if self.core.known.rests(self.now, self.timers()) {
            return Step::wait(
                Code::Restarting,
                "etcd ended right after its start; it is tried again in a moment",
            );
        }
        let join = self.beginning(ran).filter(|_| self.data().log == LogState::Missing);
        let quarantined =
            self.look.memory.opened < self.ctrl.inc && !mutant::is(Mutant::StartUnquarantined);
        let seen = self.held().filter(|_| mutant::is(Mutant::StartForeign));
        let member =
            Expected { member_id: seen.unwrap_or(ran.member_id), cluster_id: self.ctrl.cluster_id };
        Step::act(
            Effect::Start(Start { quarantined, member, join }),
            Code::Restarting,
            "starts etcd with its data",
        )
    }

    /// Clients could write what a next attempt would not know of. The agent started it in quarantine and
    /// something opened it: a unit that reads other variables last, or a script that drops them.
    fn lets_in_too_early(&self) -> bool {
        matches!(self.ctrl.phase, Phase::Starting | Phase::Verifying) && !self.may_open()
    }

    fn may_open(&self) -> bool {
        self.look.memory.opened >= self.ctrl.inc
    }

    /// Restarts the member with its client URLs, one member at a time: the lowest seat first, the
    /// others when it serves again. A seat that stays silent is not waited for, nor one that has
    /// been waited for a whole confirm window.
    fn open(&self) -> Option<Step> {
        let ahead =
            self.ctrl.members.iter().map(|member| member.slot).filter(|slot| *slot < self.slot);
        let waiting_for = ahead.into_iter().find(|slot| self.is_opening(*slot));
        match waiting_for {
            Some(slot) if self.in_phase() < self.timers().confirm => Step::wait(
                Code::Opening,
                alloc::format!("lets {} come back with its client URLs first", self.name(slot)),
            ),
            Some(_) | None => Step::act(
                Effect::Stop,
                Code::Opening,
                "restarts etcd out of quarantine, with its client URLs",
            ),
        }
    }

    fn is_opening(&self, slot: Slot) -> bool {
        self.vote(slot).is_some_and(|vote| {
            let here = vote.inc == self.ctrl.inc;
            let coming =
                matches!(vote.health, Health::Healthy | Health::NoQuorum | Health::Stopped);
            here && coming && (vote.quarantined || vote.health != Health::Healthy)
        })
    }

    /// NOSPACE alarms survive a restore under the old member's id and keep refusing writes
    /// (etcd.md 3.2); they are disarmed once. CORRUPT never is.
    fn disarm(&self) -> Option<Step> {
        let status = self.answer()?;
        let stale = status.alarms.contains(&crate::observation::Alarm::NoSpace);
        let done = self.core.known.disarmed >= self.ctrl.inc;
        let fresh_restore = self.ctrl.source.as_ref().is_some_and(|source| source.object.is_some());
        if !stale || done || !fresh_restore || !status.linearizable {
            return None;
        }
        Step::act(
            Effect::DisarmNoSpace,
            Code::Opening,
            "disarms a NOSPACE alarm of the old incarnation",
        )
    }
}
