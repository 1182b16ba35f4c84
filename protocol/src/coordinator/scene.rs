//! **scene** — one consistent picture: what the records say, what this machine shows, what the
//! votes say, all young enough to act on. The phases decide on a scene and on nothing else.

use super::{Coordinator, Policy};
use crate::{
    cluster::{Member, Slot},
    effect::Effect,
    explanation::{Code, Note},
    limits::Timers,
    mutant::{self, Mutant},
    observation::{Answer, Data, InAttempt, LogState, Look, Process, Status},
    plan::Plan,
    registry::{Ctrl, Owner, Records, SlotRecord},
    time::Moment,
};
use alloc::borrow::Cow;

/// What a phase wants next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Do this.
    Do(Effect, Note),
    /// Do nothing further down the list: this must come first.
    Wait(Note),
}

impl Step {
    pub(super) fn act(
        effect: Effect,
        code: Code,
        text: impl Into<Cow<'static, str>>,
    ) -> Option<Self> {
        Some(Self::Do(effect, Note::new(code, text)))
    }

    pub(super) fn wait(code: Code, text: impl Into<Cow<'static, str>>) -> Option<Self> {
        Some(Self::Wait(Note::new(code, text)))
    }
}

/// One picture of everything.
pub(super) struct Scene<'a> {
    pub(super) now: Moment,
    pub(super) core: &'a Coordinator,
    pub(super) ctrl: &'a Ctrl,
    pub(super) records: &'a Records,
    pub(super) look: &'a Look,
    /// When the look was begun.
    pub(super) looked_at: Moment,
    /// My seat.
    pub(super) slot: Slot,
    /// My seat's record.
    pub(super) mine: &'a SlotRecord,
}

impl<'a> Scene<'a> {
    pub(super) const fn timers(&self) -> &'a Timers {
        &self.core.policy.timers
    }

    pub(super) const fn policy(&self) -> &'a Policy {
        &self.core.policy
    }

    pub(super) fn data(&self) -> &'a Data {
        &self.look.data
    }

    /// My claim on the seat, if it stands.
    pub(super) fn owner(&self) -> Option<&Owner> {
        self.mine.owner.as_ref().filter(|owner| owner.nonce == self.core.me.nonce)
    }

    /// Whether this machine ran the seat's member of the present incarnation.
    pub(super) fn i_ran(&self) -> bool {
        let me = &self.core.me.instance;
        let anybody = mutant::is(Mutant::RanByOwner) && self.owner().is_some();
        self.mine
            .ran
            .as_ref()
            .is_some_and(|ran| ran.inc == self.ctrl.inc && (ran.instance == *me || anybody))
    }

    /// Whether nobody ever ran this seat in the present incarnation.
    pub(super) fn nobody_ran(&self) -> bool {
        self.mine.ran.as_ref().is_none_or(|ran| ran.inc < self.ctrl.inc)
    }

    /// The member that the records give my seat.
    pub(super) fn my_member(&self) -> Option<Member> {
        self.ctrl.members.iter().copied().find(|member| member.slot == self.slot)
    }

    /// Which incarnation the data in place, or the process that runs, belongs to. A process on a
    /// deleted directory is what the memory says it ran. `None`: nobody can tell, or it is foreign.
    pub(super) fn data_inc(&self) -> Option<u64> {
        if self.foreign_data().is_some() {
            return None;
        }
        match &self.data().log {
            LogState::Present { cluster_id, .. } if Some(*cluster_id) == self.ctrl.cluster_id => {
                Some(self.ctrl.inc)
            }
            LogState::Present { .. } => self.noted_inc(),
            LogState::Missing | LogState::Unreadable(_) => self.ran_inc(),
        }
    }

    fn noted_inc(&self) -> Option<u64> {
        self.data().belongs.as_ref().map(|belongs| belongs.inc).or_else(|| self.ran_inc())
    }

    /// What speaks against taking the data in place for this machine's own, although it should be:
    /// another cluster's, or another member's of this one. It is neither started nor counted.
    pub(super) fn foreign_data(&self) -> Option<alloc::string::String> {
        if mutant::is(Mutant::StartForeign) {
            return None;
        }
        let LogState::Present { cluster_id, member_id } = self.data().log else { return None };
        let cluster = self.ctrl.cluster_id?;
        let ran = self.mine.ran.as_ref().filter(|_| self.i_ran())?;
        let whose = if cluster_id != cluster && self.noted_inc() == Some(self.ctrl.inc) {
            alloc::format!("of etcd cluster {cluster_id}, not {cluster}")
        } else if cluster_id == cluster
            && member_id != ran.member_id
            && self.ctrl.op.as_ref().is_none_or(|op| op.slot != self.slot)
            && self.ctrl.drift.is_none()
        {
            // while this seat is refilled, or members were changed by hand, it may be the new one
            alloc::format!("of etcd member {member_id}, not {}", ran.member_id)
        } else {
            return None;
        };
        Some(alloc::format!(
            "the data dir holds a member {whose}: it is left alone; is the right volume mounted? If the \
             member was replaced by hand: `requorum replace {}`",
            self.core.me.name
        ))
    }

    pub(super) fn ran_inc(&self) -> Option<u64> {
        let remembered = self.look.memory.ran.as_ref().map(|ran| ran.inc);
        let recorded = self
            .mine
            .ran
            .as_ref()
            .filter(|ran| ran.instance == self.core.me.instance)
            .map(|ran| ran.inc);
        remembered.max(recorded)
    }

    /// The promise this machine is bound by: the highest that memory or disk knows.
    pub(super) fn marker(&self) -> Option<InAttempt> {
        self.look.memory.marker.max(self.core.known.marker)
    }

    /// Whether a promise forbids this machine to run data of incarnation `inc` (boot rule 1).
    pub(super) fn is_forbidden(&self, inc: u64) -> bool {
        if mutant::is(Mutant::BootIgnoresMarker) {
            return false;
        }
        let retired = self.look.memory.retired.max(self.core.known.retired);
        inc <= retired || self.marker().is_some_and(|marker| inc <= marker.inc)
    }

    /// etcd's answer, if it belongs to the present incarnation.
    pub(super) fn answer(&self) -> Option<&'a Status> {
        match &self.look.etcd {
            Answer::Status(status) if Some(status.cluster_id) == self.ctrl.cluster_id => {
                Some(status)
            }
            Answer::Status(_) | Answer::Refused { .. } | Answer::Silent => None,
        }
    }

    /// My own member just proved a living quorum.
    pub(super) fn i_see_a_quorum(&self) -> bool {
        self.answer().is_some_and(|status| status.linearizable)
    }

    /// Anybody proves a living quorum.
    pub(super) fn quorum_lives(&self) -> bool {
        self.i_see_a_quorum() || self.core.known.book.veto(self.ctrl.inc, self.now, self.timers())
    }

    /// etcd was proven stopped in the latest look.
    pub(super) fn is_stopped(&self) -> bool {
        self.look.process.is_stopped()
    }

    /// An operator stopped this machine's member after it had served clients in the present incarnation.
    /// What was restored since is the agents' to start: nobody but them knows when.
    pub(super) fn is_kept_down(&self) -> bool {
        self.look.process == Process::StoppedByOperator && self.look.memory.opened >= self.ctrl.inc
    }

    /// "When data is lost" (protocol.md 1.4): on the file system it ran on, which can be written,
    /// neither a log nor a swap under way. Any doubt is no loss.
    pub(super) fn data_is_lost(&self) -> bool {
        let data = self.data();
        let same_fs = self.mine.ran.as_ref().is_some_and(|ran| data.fs.as_ref() == Some(&ran.fs));
        let same_fs = same_fs || mutant::is(Mutant::UnmountedIsLost);
        let gone = same_fs && data.writable && data.swap.is_none();
        gone && data.log == LogState::Missing && !self.never_started()
    }

    /// This process put `ran` on record itself and has not started the member since. Only then an
    /// empty data dir is a beginning: in any other case it had a log once, and votes in it.
    pub(super) fn never_started(&self) -> bool {
        let unstarted = self.core.known.unstarted.as_ref();
        unstarted.is_some() && unstarted == self.mine.ran.as_ref()
    }

    /// The pinned plan of the present incarnation, once it was fetched.
    pub(super) fn plan(&self) -> Option<&'a Plan> {
        let (pin, plan) = self.core.known.plan.as_ref()?;
        (Some(pin) == self.ctrl.plan.as_ref()).then_some(plan)
    }

    /// The plan's member in place is mine and of this plan.
    pub(super) fn holds_plan(&self, plan: &Plan) -> bool {
        matches!(self.data().log, LogState::Present { cluster_id, .. } if cluster_id == plan.cluster_id())
    }

    /// A seat's fresh vote.
    pub(super) fn vote(&self, slot: Slot) -> Option<&'a crate::vote::Vote> {
        self.core.known.book.fresh(slot, self.now, self.timers())
    }

    /// The seats that an agent speaks for just now.
    pub(super) fn live_slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.ctrl.seats.iter().map(|seat| seat.slot).filter(|slot| self.vote(*slot).is_some())
    }

    /// A seat's name for a sentence.
    pub(super) fn name(&self, slot: Slot) -> alloc::string::String {
        self.ctrl.seat(slot).map_or_else(|| alloc::format!("seat {slot}"), |seat| seat.name.clone())
    }
}
