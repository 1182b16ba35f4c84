//! **operator** — the operator's words, each checked, recorded by one conditional write of one
//! field, and answered. Words are asked for at the agent's local socket.

use super::{Coordinator, Scene, Turn};
use crate::{
    change,
    cluster::Slot,
    effect::Effect,
    event::Command,
    explanation::{Code, Note},
    registry::{Attest, Change, Ctrl, Operation, Phase, Request, Stage},
    tally::Verdict,
    time::Moment,
};
use alloc::{string::String, vec::Vec};

/// The answer to an operator's word.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Told {
    /// It is being recorded: watch `status`.
    Accepted(Note),
    /// Not now or not at all, with the reason and what would help.
    Refused(Note),
}

impl Coordinator {
    /// Checks a word against the present scene and, if it may be, asks for its record.
    pub(super) fn hear_operator(&mut self, now: Moment, command: Command) -> Told {
        if command == Command::Save {
            self.known.save_asked = true;
            return Told::Accepted(Note::new(
                Code::Saving,
                "a snapshot is taken as soon as this member answers",
            ));
        }
        let heard = self.scene(now).map_or_else(Err, |scene| scene.weigh(command));
        match heard {
            Ok((change, note)) => {
                self.known.words.push(change);
                Told::Accepted(note)
            }
            Err(note) => Told::Refused(note),
        }
    }

    /// Takes the next recorded word into the registry lane, if it is free.
    pub(super) fn speak(&mut self, now: Moment, turn: &mut Turn) {
        let effect = Effect::Write(match self.known.words.first() {
            Some(change) => change.clone(),
            None => return,
        });
        if self.begin(now, effect, turn) {
            self.known.words.remove(0);
        }
    }
}

type Heard = Result<(Change, Note), Note>;

fn refuse<T>(code: Code, text: impl Into<String>) -> Result<T, Note> {
    Err(Note::new(code, text))
}

impl Scene<'_> {
    fn weigh(&self, command: Command) -> Heard {
        let word = |after: Ctrl, text: &str| {
            Ok((change::word(self.ctrl, after), Note::new(Code::Requested, text)))
        };
        let ctrl = || self.ctrl.clone();
        match command {
            Command::Save => refuse(Code::Saving, "a save needs no record"),
            Command::Restore(request) => self.weigh_restore(request),
            Command::Attest { slot, by, because } => self.weigh_attest(slot, by, because),
            Command::Replace { slot, because } => self.weigh_replace(slot, because),
            Command::Approve { attempt }
                if self.ctrl.phase == Phase::Fencing && attempt == self.ctrl.attempt =>
            {
                word(Ctrl { approved: Some(attempt), ..ctrl() }, "approved")
            }
            Command::Approve { .. } => refuse(
                Code::ApprovalNeeded,
                "no such attempt waits; `requorum status` shows the one that does",
            ),
            Command::Abort if self.ctrl.phase == Phase::Fencing => Ok((
                change::word(self.ctrl, change_target(change::abort(self.ctrl))),
                Note::new(Code::Requested, "the attempt is called off"),
            )),
            Command::Abort => {
                refuse(Code::AllWell, "no attempt is open; there is nothing to call off")
            }
            Command::Pause { because } => word(Ctrl { paused: Some(because), ..ctrl() }, "paused"),
            Command::Resume => word(Ctrl { paused: None, ..ctrl() }, "resumed"),
        }
    }

    fn weigh_restore(&self, request: Request) -> Heard {
        let alive = self.verdict() == Verdict::QuorumAlive;
        if alive && !request.rollback {
            let text = "a quorum lives (S8): a restore would throw its newer writes away; \
                        say `requorum restore --rollback` if that is what you want";
            return refuse(Code::QuorumAlive, text);
        }
        if self.ctrl.request.is_some() {
            return refuse(
                Code::Requested,
                "a restore is asked for already; see `requorum status`",
            );
        }
        let scope: Vec<Slot> = if request.rollback {
            self.ctrl.members.iter().map(|member| member.slot).collect()
        } else {
            Vec::new()
        };
        let request = Request { scope, attempt: None, ..request };
        let after = Ctrl { request: Some(request), ..self.ctrl.clone() };
        Ok((
            change::word(self.ctrl, after),
            Note::new(Code::Requested, "the restore is asked for; `requorum status -w 2` shows it"),
        ))
    }

    /// Refused while a fresh vote of that machine says that it lives (protocol.md 1.7).
    fn weigh_attest(&self, slot: Slot, by: String, because: String) -> Heard {
        let record = self.records.slot(slot);
        let Some(ran) = record.ran.as_ref() else {
            return refuse(
                Code::NoSeat,
                alloc::format!("{} never ran; there is nothing to attest", self.name(slot)),
            );
        };
        let speaks = self.vote(slot).is_some_and(|vote| vote.instance == ran.instance);
        if speaks {
            let text = alloc::format!(
                "{} still votes from machine {}; it is not gone",
                self.name(slot),
                ran.instance
            );
            return refuse(Code::SeatTaken, text);
        }
        let attest = Attest { inc: self.ctrl.inc, instance: ran.instance.clone(), by, because };
        let text = alloc::format!(
            "on record: machine {} of {} never runs this incarnation again",
            ran.instance,
            self.name(slot)
        );
        Ok((change::attest(slot, &record, attest), Note::new(Code::Requested, text)))
    }

    fn weigh_replace(&self, slot: Slot, because: String) -> Heard {
        let member =
            self.ctrl.members.iter().find(|member| member.slot == slot).map(|member| member.id);
        let others: Vec<_> =
            self.ctrl.members.iter().copied().filter(|member| member.slot != slot).collect();
        if self.ctrl.op.is_some() {
            return refuse(Code::ReplaceWaits, "another member is being replaced; one at a time");
        }
        if self.verdict() != Verdict::QuorumAlive {
            return refuse(
                Code::ReplaceWaits,
                "no quorum is proven alive; a replacement would make it worse",
            );
        }
        if self.vote(slot).is_none() {
            return refuse(
                Code::ReplaceWaits,
                alloc::format!("no agent speaks for {}; start one on it first", self.name(slot)),
            );
        }
        let healthy = others.iter().filter(|member| {
            self.vote(member.slot).is_some_and(|vote| vote.health == crate::vote::Health::Healthy)
        });
        if healthy.count() < crate::cluster::quorum(self.ctrl.members.len()) {
            return refuse(
                Code::ReplaceWaits,
                "too few of the other members are healthy to take this one out",
            );
        }
        let op = Operation { slot, removed: member, added: None, stage: Stage::Intent, because };
        let after = Ctrl { op: Some(op), intent: Some(others), ..self.ctrl.clone() };
        let text =
            alloc::format!("{} is being replaced; its old data is kept aside", self.name(slot));
        Ok((change::word(self.ctrl, after), Note::new(Code::Replacing, text)))
    }
}

/// What a change makes of `ctrl`.
fn change_target(change: Change) -> Ctrl {
    match change.record {
        crate::registry::RecordChange::Ctrl { after, .. } => after,
        crate::registry::RecordChange::Slot { .. } => unreachable!("an abort changes ctrl"),
    }
}
