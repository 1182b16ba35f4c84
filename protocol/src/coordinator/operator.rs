//! **operator** — the operator's words, each weighed against the present scene, recorded by one
//! conditional write of one field, and answered once that is done.
//!
//! Comes from the agent's local socket, or from a command that found no agent. Goes to the table.

use super::{Coordinator, Scene, Turn, sourcing::SALVAGE};
use crate::{
    adopting, change,
    cluster::{Instance, Slot},
    effect::{Effect, Lane},
    event::{Command, Outcome, Ticket},
    explanation::{Code, Note},
    fence,
    limits::{BECAUSE_MAX, WORD_PATIENCE},
    manifest::{Manifest, Reason},
    mutant::{self, Mutant},
    registry::{
        Approval, Attest, Change, Ctrl, Parked, Phase, Request, Why, Written,
        adoption::{self, Adoption},
    },
    tally::Verdict,
    time::Moment,
};
use alloc::{borrow::Cow, boxed::Box, string::String, vec::Vec};

/// The answer to an operator's word.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Told {
    /// It is on record: watch `status`.
    Accepted(Note),
    /// The snapshot that was asked for is in the bucket.
    Saved(Box<Manifest>),
    /// Not now or not at all, with the reason and what would help.
    Refused(Note),
}

/// Words that were heard and not answered yet, in the order they were said. A word is answered
/// when it is done, never before: an answer that comes first could be wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Words {
    open: Vec<Word>,
    told: Vec<(Ticket, Told)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Word {
    ticket: Ticket,
    command: Command,
    heard: Moment,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Not weighed yet, or to be weighed again: what it was weighed against has changed.
    Waiting,
    /// Its record is being written; the note is the answer if it is applied.
    Writing(Change, Note),
    /// Its snapshot is being taken.
    Saving,
}

impl Words {
    /// Takes a new word.
    pub(super) fn hear(&mut self, now: Moment, ticket: Ticket, command: Command) {
        self.open.push(Word { ticket, command, heard: now, state: State::Waiting });
    }

    /// Takes what an effect brought, if a word waits for it.
    pub(super) fn learn(&mut self, effect: &Effect, outcome: &Outcome) {
        let told = &mut self.told;
        self.open.retain_mut(|word| {
            let answer = word.answer(effect, outcome);
            let done = answer.is_some();
            told.extend(answer.map(|answer| (word.ticket, answer)));
            !done
        });
    }
}

impl Word {
    /// The answer that an outcome settles. A write that was refused is weighed again, because
    /// somebody else was faster; one without an answer may have been applied.
    fn answer(&mut self, effect: &Effect, outcome: &Outcome) -> Option<Told> {
        match (&self.state, effect) {
            (State::Writing(change, note), Effect::Write(written)) if change == written => {
                let note = note.clone();
                self.written(outcome, note)
            }
            (State::Saving, Effect::Save(save)) if save.reason == Reason::Hand => saved(outcome),
            (State::Waiting | State::Writing(..) | State::Saving, _) => None,
        }
    }

    fn written(&mut self, outcome: &Outcome, note: Note) -> Option<Told> {
        if *outcome == Outcome::Written(Written::Applied) {
            return Some(Told::Accepted(note));
        }
        if *outcome == Outcome::Written(Written::Refused) {
            self.state = State::Waiting;
            return None;
        }
        let text = "whether it was put on record is not known; \
                    look at `requorum status` before you say it again";
        Some(Told::Refused(Note::new(Code::Retrying, text)))
    }
}

fn saved(outcome: &Outcome) -> Option<Told> {
    if let Outcome::Saved(manifest) = outcome {
        return Some(Told::Saved(manifest.clone().into()));
    }
    let Outcome::Failed(failure) = outcome else { return None };
    let text = alloc::format!("the save failed: {}", failure.text);
    Some(Told::Refused(Note::new(Code::Unable, text)))
}

impl Coordinator {
    /// Weighs what waits, begins what may be begun, and hands the answers out.
    pub(super) fn speak(&mut self, now: Moment, turn: &mut Turn) {
        for mut word in core::mem::take(&mut self.words.open) {
            if word.state != State::Saving && word.state != State::Waiting {
                self.words.open.push(word); // its record is being written
            } else if let Some(refusal) = self.weigh(now, &mut word, turn) {
                self.words.told.push((word.ticket, Told::Refused(refusal)));
            } else {
                self.words.open.push(word);
            }
        }
        turn.told = core::mem::take(&mut self.words.told);
    }

    /// Weighs a word against the present scene; the reason if it is refused. Without a scene it
    /// waits for a moment: most often a read is under way.
    fn weigh(&mut self, now: Moment, word: &mut Word, turn: &mut Turn) -> Option<Note> {
        let running = self.lanes.running(Lane::Data);
        if matches!(running, Some(Effect::Save(save)) if save.reason == Reason::Hand) {
            return None; // whatever becomes of it is the answer
        }
        let scene = match self.scene(now) {
            Ok(scene) => scene,
            Err(_) if word.state == State::Saving => return None,
            Err(note) => {
                let passing = matches!(note.code, Code::Blind | Code::StoreUnreachable);
                let waits = passing && now.since(word.heard) < WORD_PATIENCE;
                return (!waits).then_some(note);
            }
        };
        if word.command == Command::Save {
            let refused = scene.weigh_save();
            self.known.save_asked = refused.is_none();
            word.state = State::Saving;
            return refused;
        }
        match scene.weigh(word.command.clone()) {
            Ok((change, note)) => {
                if self.begin(now, Effect::Write(change.clone()), turn) {
                    word.state = State::Writing(change, note);
                }
                None
            }
            Err(note) => Some(note),
        }
    }
}

/// The write that a word comes to and what is answered then, or why it is refused.
pub(super) type Heard = Result<(Change, Note), Note>;

fn refuse<T>(code: Code, text: impl Into<Cow<'static, str>>) -> Result<T, Note> {
    Err(Note::new(code, text))
}

impl Scene<'_> {
    fn weigh(&self, command: Command) -> Heard {
        let word = |after: Ctrl, text: &'static str| {
            Ok((change::word(self.ctrl, after), Note::new(Code::Requested, text)))
        };
        let ctrl = || self.ctrl.clone();
        match command {
            Command::Save => refuse(Code::Saving, "a save needs no record"),
            Command::Restore(request) => self.weigh_restore(request),
            Command::Attest { slot, by, because } => self.weigh_attest(slot, by, because),
            Command::Replace { slot, because } => self.weigh_replace(slot, because),
            Command::Approve { attempt } => self.weigh_approval(attempt),
            Command::Abort if self.ctrl.phase == Phase::Fencing => {
                let after = change_target(change::abort(self.ctrl));
                word(Ctrl { request: None, ..after }, "the attempt is called off")
            }
            Command::Abort if self.ctrl.request.is_some() => {
                word(Ctrl { request: None, ..ctrl() }, "the request is withdrawn")
            }
            Command::Abort => match &self.ctrl.op {
                Some(op) => self.weigh_withdrawal(op),
                None => refuse(
                    Code::AllWell,
                    "no attempt is open and nobody is being replaced; there is nothing to call off",
                ),
            },
            Command::Adopt { sha256, inc, by, because, said } => {
                let now = self.ctrl.inc;
                self.weigh_adoption(inc, Adoption { sha256, inc: now, by, because, said })
            }
            Command::Pause { because } => word(Ctrl { paused: Some(because), ..ctrl() }, "paused"),
            Command::Resume => word(Ctrl { paused: None, ..ctrl() }, "resumed"),
        }
    }

    /// Why no snapshot can be taken here now, if so.
    fn weigh_save(&self) -> Option<Note> {
        if self.owner().is_none() {
            let text = alloc::format!("another machine speaks for {}", self.core.me.name);
            return Some(Note::new(Code::SeatTaken, text));
        }
        let text = match self.answer() {
            None => "this node's etcd does not answer; `requorum check` looks at all of them",
            Some(status) if status.learner => {
                "this node's member is a learner; save on another node"
            }
            Some(_) => return None,
        };
        Some(Note::new(Code::Unable, text))
    }

    fn weigh_adoption(&self, of: u64, adoption: Adoption) -> Heard {
        if let Some(refusal) = adopting::refusal(self.ctrl, of) {
            return Err(refusal);
        }
        if !adoption::is_short(&adoption.because) {
            let text = alloc::format!(
                "the reason is longer than the {BECAUSE_MAX} bytes that are kept with a snapshot; say it again \
                 in fewer words"
            );
            return refuse(Code::DoubtfulSnapshot, text);
        }
        let adopted = adoption::joined(self.ctrl, adoption, of);
        let after = Ctrl { adopted, ..self.ctrl.clone() };
        Ok((change::word(self.ctrl, after), adopting::promise(self.ctrl)))
    }

    /// Consent is to what the attempt waits for now, and to nothing that it may ask later.
    fn weigh_approval(&self, attempt: u64) -> Heard {
        let asks = matches!(self.ctrl.phase, Phase::Fencing | Phase::Restoring);
        let open = asks && attempt == self.ctrl.attempt;
        match self.ctrl.parked.filter(|_| open) {
            Some(Parked::Approval(Why::NoSource)) => refuse(
                Code::NoSnapshot,
                "there is nothing to restore that could be approved: bring back a machine that has \
                 data, or a snapshot, or say `requorum abort`",
            ),
            Some(parked @ Parked::Approval(_)) => {
                let mut after = self.ctrl.clone();
                let asked = || self.best_survivor(&fence::standing(self.ctrl, self.records));
                let about = (parked == SALVAGE).then(asked).flatten().map(|(slot, _)| slot);
                let approval = Approval { attempt, parked, about };
                after
                    .approved
                    .retain(|other| *other != approval && !mutant::is(Mutant::ConsentOverwritten));
                after.approved.push(approval); // an attempt may have to ask for several things
                Ok((change::word(self.ctrl, after), Note::new(Code::Requested, "approved")))
            }
            Some(Parked::MinMembers) => refuse(
                Code::MinMembers,
                "the attempt waits for agents, not for consent: start agents on the missing seats",
            ),
            None => refuse(
                Code::ApprovalNeeded,
                "no such attempt waits for consent; `requorum status` shows what does",
            ),
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
        let folder = Manifest::folder(self.ctrl.inc);
        if let Some(named) = request.source.as_ref().filter(|key| !key.starts_with(&folder)) {
            let text = alloc::format!(
                "{named} is no manifest of incarnation {}: those are called {folder}REVISION-SHA.json",
                self.ctrl.inc
            );
            return refuse(Code::NoSnapshot, text);
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
        if self.vote(slot).is_some_and(|vote| vote.instance == ran.instance) {
            let text = alloc::format!(
                "{} still votes from machine {}; it is not gone",
                self.name(slot),
                ran.instance
            );
            return refuse(Code::SeatTaken, text);
        }
        if !self.is_silent(slot, &ran.instance) {
            let text = alloc::format!(
                "the votes were not watched long enough to tell that {} is silent; say it again in {} s",
                self.name(slot),
                self.timers().lin.0.div_ceil(1000)
            );
            return refuse(Code::Retrying, text);
        }
        let attest = Attest { inc: self.ctrl.inc, instance: ran.instance.clone(), by, because };
        let text = alloc::format!(
            "on record: machine {} of {} never runs this incarnation again",
            ran.instance,
            self.name(slot)
        );
        Ok((change::attest(slot, record, attest), Note::new(Code::Requested, text)))
    }

    /// We read the votes without a gap for so long that a living agent's would have risen. Where
    /// another machine votes for the seat, `machine` lost it and has no voice: before that it was
    /// silent for longer than this (`is_abandoned`).
    fn is_silent(&self, slot: Slot, machine: &Instance) -> bool {
        let book = &self.core.known.book;
        let reads = book.read_at().is_some_and(|at| self.now.since(at) <= self.timers().gap);
        let succeeded = self.vote(slot).is_some_and(|vote| vote.instance != *machine)
            && !mutant::is(Mutant::SuccessorSilences);
        reads && (succeeded || book.unchanged_for(slot) >= self.timers().lin)
    }
}

/// What a change makes of `ctrl`.
fn change_target(change: Change) -> Ctrl {
    match *change.record {
        crate::registry::RecordChange::Ctrl { after, .. } => after,
        crate::registry::RecordChange::Slot { .. } | crate::registry::RecordChange::Save { .. } => {
            unreachable!("an abort changes ctrl")
        }
    }
}
