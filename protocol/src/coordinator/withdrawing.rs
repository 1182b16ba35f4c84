//! **withdrawing** — a replacement that can't be finished is taken back: its learner leaves etcd's list,
//! and the seat stays without a voter until a machine speaks for it.
//!
//! Comes in: an operator's `abort`, or another seat that waits while nobody starts the learner: etcd
//! has one learner at a time, so a machine that never comes would hold up every other replacement.
//!
//! A learner votes on nothing, so nothing is lost with it, and no call that is still under way can do
//! harm: where its promotion may have been asked for it is taken out first, intended to vote until etcd
//! lists it no more, and a late removal finds it gone. An earlier leader that was
//! paused may *add* one again, for the peer URL is free; that is a [stray](Scene::is_stray), which is
//! removed as soon as it is in the way.

use super::{Scene, Step, candidates::Candidate, operator::Heard, reconciling::unrecorded};
use crate::{
    change,
    effect::{Effect, Listed},
    explanation::{Code, Note},
    mutant::{self, Mutant},
    registry::{Ctrl, Operation, Stage},
    vote::Health,
};
use alloc::string::String;

/// How many T_replace an operation may stand still whose machine speaks: joining and its first start may
/// take several calls, each up to its own deadline.
const STANDSTILL: u64 = 6;

impl Scene<'_> {
    /// The learner's machine has been silent for T_replace, or the operation has stood still for several
    /// while no etcd runs there, and another seat could be refilled.
    pub(super) fn give_way(&self, op: &Operation, listed: &[Listed]) -> Option<Step> {
        let (known, patience) = (&self.core.known, self.timers().replace);
        let since = known.version_since.map(|(_, since)| since);
        let stands_still =
            since.is_some_and(|since| self.now.since(since) >= patience.times(STANDSTILL));
        let late = match self.vote(op.slot) {
            None => known.book.unchanged_for(op.slot) >= patience,
            Some(vote) => stands_still && vote.health != Health::NoQuorum,
        };
        if !late || mutant::is(Mutant::NeverGivesWay) {
            return None;
        }
        let next = self.next_beside(op, listed)?;
        let (late, next) = (self.name(op.slot), self.name(next.slot));
        let text = alloc::format!("{late} does not come; its learner makes way for {next}");
        self.write_operation(self.called_off(op), text)
    }

    /// Another seat that could be refilled now.
    pub(super) fn next_beside(&self, op: &Operation, listed: &[Listed]) -> Option<Candidate> {
        let mut others = self.candidates().filter(|candidate| candidate.slot != op.slot);
        others.find(|candidate| self.has_room(candidate, listed))
    }

    /// A learner whose promotion may be under way is taken out first, as one that is begun again; the
    /// operation is called off after that.
    pub(super) fn called_off(&self, op: &Operation) -> Ctrl {
        if let Some(added) = op.added.filter(|_| op.stage == Stage::Promoting) {
            return self.begun_again(op, added);
        }
        let op = Some(Operation { stage: Stage::CalledOff, ..op.clone() });
        Ctrl { op, intent: None, ..self.ctrl.clone() }
    }

    /// The leader's last stage: the learner out of etcd's list, then the operation off the record. One
    /// that was promoted by hand meanwhile is no voter that anybody recorded.
    pub(super) fn take_back(&self, at_seat: Option<&Listed>) -> Option<Step> {
        if let Some(learner) = at_seat.filter(|member| member.learner) {
            let effect = Effect::RemoveMember(learner.id);
            return Step::act(effect, Code::Replacing, "removes the learner again");
        }
        let drift = at_seat.map(unrecorded).or_else(|| self.ctrl.drift.clone());
        let after = Ctrl { op: None, intent: None, drift, ..self.ctrl.clone() };
        self.write_operation(after, "the replacement is called off")
    }

    /// A learner at a seat of ours that was never started. At its own seat it is taken up, at any other
    /// it is removed before one is added.
    pub(super) fn is_stray(&self, listed: &Listed) -> bool {
        let ours = self.ctrl.seats.iter().any(|seat| seat.peer_url == listed.peer_url);
        listed.learner && !listed.started && ours
    }

    /// An operator calls the replacement off.
    pub(super) fn weigh_withdrawal(&self, op: &Operation) -> Heard {
        let name = self.name(op.slot);
        let refused = |why: String| Err(Note::new(Code::ReplaceWaits, why));
        match op.stage {
            Stage::Removed | Stage::Added | Stage::Promoting => {
                let text = if op.stage == Stage::Promoting {
                    alloc::format!(
                        "the new member of {name} is taken out again, and another added: to leave the \
                         seat without a voter, say it again then"
                    )
                } else {
                    alloc::format!(
                        "the replacement of {name} is called off: its seat holds no voter until it is \
                         refilled"
                    )
                };
                let note = Note::new(Code::Requested, text);
                Ok((change::word(self.ctrl, self.called_off(op)), note))
            }
            Stage::Intent => refused(alloc::format!(
                "the member of {name} is being taken out, which is not undone: say it again once it is out \
                 (`requorum status` says what it waits for)"
            )),
            Stage::CalledOff => refused(alloc::format!(
                "the replacement of {name} is being called off already; `requorum status` says what it \
                 waits for"
            )),
        }
    }
}
