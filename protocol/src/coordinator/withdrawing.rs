//! **withdrawing** — a replacement that can't be finished is taken back: its learner leaves etcd's list,
//! and the seat stays without a voter until a machine speaks for it.
//!
//! Comes in: an operator's `abort`, or another seat that waits while nobody starts the learner: etcd
//! has one learner at a time, so a machine that never comes would hold up every other replacement.
//!
//! A learner votes on nothing, so nothing is lost with it, and no call that is still under way can do
//! harm: its promotion was never asked for, and its removal finds it gone. An earlier leader that was
//! paused may *add* one again, for the peer URL is free; that is a [stray](Scene::is_stray), which is
//! removed as soon as it is in the way.

use super::{Scene, Step, operator::Heard};
use crate::{
    change,
    effect::{Effect, Listed},
    explanation::{Code, Note},
    mutant::{self, Mutant},
    registry::{Ctrl, Operation, Stage},
};
use alloc::string::String;

impl Scene<'_> {
    /// The learner's machine has been silent for T_replace, and another seat could be refilled.
    pub(super) fn give_way(&self, op: &Operation, listed: &[Listed]) -> Option<Step> {
        let book = &self.core.known.book;
        let silent =
            self.vote(op.slot).is_none() && book.unchanged_for(op.slot) >= self.timers().replace;
        if !silent || mutant::is(Mutant::NeverGivesWay) {
            return None;
        }
        let next = self.candidates().find(|candidate| self.has_room(candidate, listed))?;
        let (late, next) = (self.name(op.slot), self.name(next.slot));
        let text = alloc::format!("{late} does not come; its learner makes way for {next}");
        self.write_operation(self.called_off(op), text)
    }

    fn called_off(&self, op: &Operation) -> Ctrl {
        let op = Some(Operation { stage: Stage::CalledOff, ..op.clone() });
        Ctrl { op, intent: None, ..self.ctrl.clone() }
    }

    /// The leader's last stage: the learner out of etcd's list, then the operation off the record.
    pub(super) fn take_back(&self, at_seat: Option<&Listed>) -> Option<Step> {
        if let Some(learner) = at_seat.filter(|member| member.learner) {
            let effect = Effect::RemoveMember(learner.id);
            return Step::act(effect, Code::Replacing, "removes the learner again");
        }
        let after = Ctrl { op: None, intent: None, ..self.ctrl.clone() };
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
            Stage::Removed | Stage::Added => {
                let text = alloc::format!(
                    "the replacement of {name} is called off: its seat holds no voter until it is refilled"
                );
                let note = Note::new(Code::Requested, text);
                Ok((change::word(self.ctrl, self.called_off(op)), note))
            }
            Stage::Intent => refused(alloc::format!(
                "the member of {name} is being taken out, which is not undone; say it again in a moment"
            )),
            Stage::Promoting => refused(alloc::format!(
                "the new member of {name} runs and is being promoted; there is nothing to call off"
            )),
            Stage::CalledOff => {
                refused(alloc::format!("the replacement of {name} is being called off already"))
            }
        }
    }
}
