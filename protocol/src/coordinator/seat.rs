//! **seat** — taking the seat, and the promises that bind this machine in whatever phase.
//!
//! The order below is the order of obligations: first what forbids (retire, kill), then what
//! frees (unmark), then the phase's own part (protocol.md 1.4 "Boot rule", 1.8 "Agent part").

use super::{Scene, Step};
use crate::{
    change,
    effect::{Effect, Lane},
    explanation::Code,
    mutant::{self, Mutant},
    observation::InAttempt,
    registry::{Owner, Phase},
};

impl Scene<'_> {
    /// This machine's own part of the turn.
    pub(super) fn member_part(&self) -> Option<Step> {
        if let Some(effect) = self.core.lanes.running(Lane::Machine) {
            let text = alloc::format!("this machine is being changed: {}", effect.name());
            return Step::wait(Code::Blind, text);
        }
        self.keep_promises()
            .or_else(|| self.take_seat())
            .or_else(|| self.remember())
            .or_else(|| self.own_phase_part())
            .or_else(|| self.replacement_part())
            .or_else(|| self.keep_running())
    }

    fn own_phase_part(&self) -> Option<Step> {
        match self.ctrl.phase {
            Phase::Genesis => self.adopt_my_member(),
            Phase::Fencing => self.consent(),
            Phase::Idle | Phase::Aborted => None,
            Phase::Committed
            | Phase::Restoring
            | Phase::Starting
            | Phase::Verifying
            | Phase::Open
            | Phase::Healing => self.restore_part(),
        }
    }

    /// Retire what is over, kill what is forbidden, take back what was called off.
    fn keep_promises(&self) -> Option<Step> {
        let attested = self.i_am_attested_away();
        let over = if attested { self.ctrl.inc } else { self.ctrl.inc.saturating_sub(1) };
        if self.look.memory.retired < over && !mutant::is(Mutant::NeverRetired) {
            let text = alloc::format!("incarnation {over} is over for this machine");
            return Step::act(Effect::Retire(over), Code::Fenced, text);
        }
        // the disk was emptied under us: a promise that only memory keeps is written again
        if self.marker() > self.look.memory.marker {
            let marker = self.marker()?;
            return Step::act(
                Effect::Mark(marker),
                Code::Fenced,
                "writes a promise again that the disk lost",
            );
        }
        let runs = !self.is_stopped();
        let inc = self.data_inc().or_else(|| self.ran_inc());
        // these two would be hidden by what follows
        let stops = !mutant::is(Mutant::MarkedWhileRunning) && !mutant::is(Mutant::NoSecondLook);
        if runs && stops && inc.is_some_and(|inc| self.is_forbidden(inc)) {
            return Step::act(Effect::Stop, Code::Fenced, "stops an etcd that a promise forbids");
        }
        self.unmark()
    }

    /// The seat's member may no longer run here because an operator said that this machine is gone.
    pub(super) fn i_am_attested_away(&self) -> bool {
        let named = self
            .mine
            .attest
            .as_ref()
            .is_some_and(|attest| attest.instance == self.core.me.instance);
        named && self.records.is_attested(self.slot, self.ctrl.inc)
    }

    /// Boot rule 1: a marker {j, a} is taken back only where `ctrl` says of j itself that a or a
    /// later attempt was aborted; never by word of another incarnation.
    fn unmark(&self) -> Option<Step> {
        let marker = self.marker()?;
        if mutant::is(Mutant::UnmarkUnasked) && self.ctrl.phase != Phase::Fencing {
            return Step::act(Effect::Unmark(marker), Code::Recoverable, "nobody was asked");
        }
        let aborted = self.ctrl.aborted?;
        let same = self.ctrl.inc == marker.inc && aborted.inc == marker.inc;
        let freed = (same || mutant::is(Mutant::UnmarkByAnyIncarnation))
            && aborted.attempt >= marker.attempt
            && (self.ctrl.phase == Phase::Aborted || !mutant::is(Mutant::UnmarkWhileAborted));
        // an open attempt would ask for the promise again at once
        let asked_again = self.ctrl.phase == Phase::Fencing;
        if !freed || asked_again {
            return None;
        }
        let text = alloc::format!("attempt {} was called off", aborted.attempt);
        Step::act(Effect::Unmark(marker), Code::Recoverable, text)
    }

    fn take_seat(&self) -> Option<Step> {
        // a fence of this seat binds whoever sits on it, and the machine that it speaks of even before it
        // has the seat: it is adopted before anything else (boot rule 3)
        if (self.owner().is_some() || self.i_ran())
            && let Some(step) = self.adopt_fence()
        {
            return Some(step);
        }
        if self.owner().is_some() {
            return None;
        }
        let free = match &self.mine.owner {
            None => true,
            // an earlier process of this machine, unless it still speaks: then it is another machine
            // with our name; one that took the seat from this very process is waited out
            Some(owner) if owner.instance == self.core.me.instance && !self.core.known.seated => {
                self.is_still()
            }
            Some(_) => self.is_abandoned(),
        };
        if !free {
            // the machine that ran the member may fence and run it without owning the seat
            return if self.i_ran() { None } else { self.waits_for_seat() };
        }
        let owner = Owner {
            instance: self.core.me.instance.clone(),
            nonce: self.core.me.nonce.clone(),
            rvn: self.core.fresh("owner"),
        };
        Step::act(
            Effect::Write(change::claim(self.slot, self.mine, owner)),
            Code::Leading,
            "takes its seat",
        )
    }

    fn waits_for_seat(&self) -> Option<Step> {
        let earlier = self.mine.owner.as_ref().map(|owner| &owner.instance);
        if earlier == Some(&self.core.me.instance) && !self.core.known.seated && !self.speaks() {
            return Step::wait(Code::Blind, "watches whether an earlier agent of it still speaks");
        }
        Step::wait(Code::SeatTaken, self.who_took_it())
    }

    /// Somebody was heard to speak for the seat since we listen.
    fn speaks(&self) -> bool {
        self.core.known.book.speaks(self.slot, &self.core.me.nonce, self.now, self.timers())
    }

    /// The seat's votes have not moved for two of their periods: in one a living agent's would have.
    fn is_still(&self) -> bool {
        self.core.known.book.unchanged_for(self.slot) >= self.timers().vote.times(2)
    }

    pub(super) fn who_took_it(&self) -> alloc::string::String {
        let name = &self.core.me.name;
        let owner = self.mine.owner.as_ref().map(|owner| &owner.instance);
        match owner.filter(|instance| **instance == self.core.me.instance) {
            Some(instance) => alloc::format!(
                "another agent took {name} as instance {instance}, which is this one's too: give each \
                 machine a REQUORUM_INSTANCE of its own, and start this agent again"
            ),
            None => alloc::format!(
                "machine {} speaks for {name}; this one waits until that falls silent, or until \
                 `requorum attest {name} --because ...`",
                owner.map_or("?", |instance| instance.0.as_str())
            ),
        }
    }

    /// The seat's votes have not moved for ttl + margin under our own eyes (protocol.md 1.4).
    fn is_abandoned(&self) -> bool {
        if mutant::is(Mutant::SeatForEver) {
            return false;
        }
        let timers = self.timers();
        let watch = timers.lease_ttl + timers.lease_margin;
        self.core.known.book.unchanged_for(self.slot) >= watch.max(timers.lin)
    }

    fn adopt_fence(&self) -> Option<Step> {
        let fence = self.mine.fence.as_ref().filter(|_| !mutant::is(Mutant::FenceNotAdopted))?;
        let fenced = InAttempt { inc: fence.inc, attempt: fence.attempt };
        let aborted = self.ctrl.aborted;
        let over = aborted
            .is_some_and(|aborted| aborted.inc == fence.inc && aborted.attempt >= fence.attempt);
        let binds = fence.inc == self.ctrl.inc && !over;
        if !binds || self.marker() >= Some(fenced) {
            return None;
        }
        if !self.is_stopped() {
            return Step::act(Effect::Stop, Code::Fenced, "stops an etcd whose seat is fenced");
        }
        Step::act(Effect::Mark(fenced), Code::Fenced, "takes over the promise of its seat")
    }

    fn remember(&self) -> Option<Step> {
        let memory = &self.look.memory;
        if memory.uid.is_none() || memory.slot != Some(self.slot) {
            let effect = Effect::RememberSeat(self.ctrl.uid.clone(), self.slot);
            return Step::act(effect, Code::AllWell, "remembers its cluster and seat");
        }
        if self.ctrl.opened && memory.opened < self.ctrl.inc {
            let effect = Effect::RememberOpened(self.ctrl.inc);
            return Step::act(effect, Code::Opening, "remembers that clients may come in");
        }
        None
    }
}
