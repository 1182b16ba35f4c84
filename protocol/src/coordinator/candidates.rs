//! **candidates** — whose seat is refilled next, by ourselves or by an operator's word, and whether it may
//! be now (protocol.md 1.9).
//!
//! Comes in: votes, records, etcd's own list. Goes to [`replacing`](super::replacing), which begins with
//! the first that has room, and to [`withdrawing`](super::withdrawing), which makes room for one.

use super::{Mode, Scene, Step, operator::Heard};
use crate::{
    change,
    cluster::{Member, MemberId, Seat, Slot, quorum},
    effect::Listed,
    explanation::{Code, Note},
    mutant::{self, Mutant},
    registry::{Ctrl, Operation, Stage},
    tally::Verdict,
    vote::Health,
};
use alloc::{borrow::Cow, string::String, vec::Vec};

/// A seat to refill.
#[derive(Clone, Copy)]
pub(super) struct Candidate {
    pub(super) slot: Slot,
    /// The member that leaves, if the seat has one.
    pub(super) removed: Option<MemberId>,
    pub(super) because: &'static str,
}

impl Scene<'_> {
    /// Whether there is a seat to refill by ourselves.
    pub(super) fn wants_replacement(&self) -> bool {
        self.quorum_lives() && self.candidates().next().is_some()
    }

    /// The seats to refill by ourselves: those of voters that are lost first, for an empty one, whose
    /// refilling may have come to nothing just now, costs no quorum.
    pub(super) fn candidates(&self) -> impl Iterator<Item = Candidate> {
        let on = self.policy().mode != Mode::Off;
        let all = move || {
            let seats = self.ctrl.seats.iter().filter(move |_| on);
            seats.filter_map(|seat| self.candidate(seat))
        };
        let lost = all().filter(|candidate| candidate.removed.is_some());
        lost.chain(all().filter(|candidate| candidate.removed.is_none()))
    }

    /// A seat whose own agent has said for T_replace that its data is gone, that an operator attested
    /// away and that has a new agent, or that holds no voter at all.
    fn candidate(&self, seat: &Seat) -> Option<Candidate> {
        let slot = seat.slot;
        let vote = self.vote(slot).filter(|vote| vote.health.is_failure())?;
        if self.is_attested_away(slot) {
            return None; // that machine never runs this incarnation again
        }
        let member = self.ctrl.members.iter().find(|member| member.slot == slot);
        self.core.known.book.failing_since(slot, self.now, self.timers())?;
        let because = match (member, vote.health) {
            (Some(_), Health::DataLost) if self.has_failed_long(slot) => "its data is lost",
            (Some(_), Health::NeverRan) if self.records.is_attested(slot, self.ctrl.inc) => {
                "its machine was attested to be gone"
            }
            (None, Health::DataLost | Health::NeverRan | Health::Stopped) => {
                "the seat holds no voter"
            }
            (Some(_) | None, _) => return None,
        };
        Some(Candidate { slot, removed: member.map(|member| member.id), because })
    }

    /// The machine that speaks for a seat is one that an operator attested to be gone.
    pub(super) fn is_attested_away(&self, slot: Slot) -> bool {
        let attest =
            self.records.slot(slot).attest.as_ref().filter(|attest| attest.inc == self.ctrl.inc);
        let speaker = self.vote(slot).map(|vote| &vote.instance);
        attest.is_some_and(|attest| speaker == Some(&attest.instance))
    }

    /// The member on record has failed for T_replace; what was said before it was put there was
    /// said of another.
    pub(super) fn has_failed_long(&self, slot: Slot) -> bool {
        let known = &self.core.known;
        let failing = known.book.failing_since(slot, self.now, self.timers());
        let recorded = known.ran_since.get(&slot).map(|(_, since)| *since);
        let since = failing.map(|since| since.max(recorded.unwrap_or(since)));
        since.is_some_and(|since| self.now.since(since) >= self.timers().replace)
    }

    /// S18: of the other voters a quorum is healthy, and more than one where there are more. It is
    /// etcd's voters that count: members changed by hand are on record no more, or not yet.
    pub(super) fn has_room(&self, candidate: &Candidate, listed: &[Listed]) -> bool {
        let stays = |member: &&Listed| !member.learner && Some(member.id) != candidate.removed;
        let others = listed.iter().filter(stays).count();
        let healthy = listed.iter().filter(stays).filter(|member| self.serves(member.id)).count();
        healthy >= quorum(others) && (others <= 1 || healthy > 1)
    }

    /// What an operation that was begun while there was room waits for, before a voter is taken out that
    /// may live (S18): one that is gone costs nothing. The operation is not ended, for the removal
    /// may be under way already.
    pub(super) fn await_room(
        &self,
        op: &Operation,
        leaves: MemberId,
        listed: &[Listed],
    ) -> Option<Step> {
        let votes = listed.iter().any(|member| member.id == leaves && !member.learner);
        let candidate = Candidate { slot: op.slot, removed: Some(leaves), because: "" };
        let edge = mutant::is(Mutant::ReplacesAtTheEdge);
        if !votes || edge || self.is_gone(op.slot) || self.has_room(&candidate, listed) {
            return None;
        }
        let missed = listed.iter().filter(|member| !member.learner && member.id != leaves);
        let missed = missed.filter(|member| !self.serves(member.id));
        let missed = missed.map(|member| alloc::format!("{} at {}", member.id, member.peer_url));
        let text = alloc::format!(
            "{} is not taken out now: too few of the others are healthy; bring back {}, or say \
             `etcdctl member remove` of one that is gone for good",
            self.name(op.slot),
            missed.collect::<Vec<String>>().join(", ")
        );
        Step::wait(Code::ReplaceWaits, text)
    }

    /// The member of a seat will not run again: its agent has said so for T_replace, or its machine was
    /// attested to be gone.
    fn is_gone(&self, slot: Slot) -> bool {
        self.vote(slot).is_some_and(|vote| match vote.health {
            Health::DataLost => self.has_failed_long(slot),
            Health::NeverRan => self.records.is_attested(slot, self.ctrl.inc),
            Health::Healthy
            | Health::NoQuorum
            | Health::Stopped
            | Health::StoppedByOperator
            | Health::Unmounted
            | Health::Unknown => false,
        })
    }

    /// The member of a seat runs, as far as its agent says: a voter or a learner.
    pub(super) fn runs(&self, slot: Slot) -> bool {
        let runs = |health| matches!(health, Health::Healthy | Health::NoQuorum);
        self.vote(slot).is_some_and(|vote| vote.inc == self.ctrl.inc && runs(vote.health))
    }

    fn serves(&self, id: MemberId) -> bool {
        let voter = self.ctrl.members.iter().find(|voter| voter.id == id);
        voter.is_some_and(|voter| self.is_healthy(voter.slot))
    }

    fn is_healthy(&self, slot: Slot) -> bool {
        self.vote(slot)
            .is_some_and(|vote| vote.inc == self.ctrl.inc && vote.health == Health::Healthy)
    }

    /// An operator's word begins a replacement, or lets one go on where its volume is away.
    pub(super) fn weigh_replace(&self, slot: Slot, because: String) -> Heard {
        // the word is said of what was seen: the volume is away, and what is mounted now is used
        let elsewhere = self.vote(slot).is_some_and(|vote| vote.health == Health::Unmounted);
        let its = self.ctrl.op.as_ref().filter(|op| op.slot == slot);
        let waits = its.filter(|op| op.stage != Stage::CalledOff && elsewhere && !op.elsewhere);
        if let Some(refusal) = self.why_no_replacement(slot, waits.is_some()) {
            return Err(refusal);
        }
        let begun = || {
            let members = &self.ctrl.members;
            let (its, others): (Vec<Member>, Vec<Member>) =
                members.iter().partition(|member| member.slot == slot);
            let removed = its.first().map(|member| member.id);
            let op =
                Operation { slot, removed, added: None, stage: Stage::Intent, elsewhere, because };
            Ctrl { op: Some(op), intent: Some(others), ..self.ctrl.clone() }
        };
        let after = match waits {
            Some(op) => {
                let op = Some(Operation { elsewhere, ..op.clone() });
                Ctrl { op, ..self.ctrl.clone() }
            }
            None => begun(),
        };
        let aside = if elsewhere {
            "its volume is not mounted, and the new member runs on what is mounted now"
        } else {
            "its old data is kept aside"
        };
        let text = alloc::format!("{} is being replaced; {aside}", self.name(slot));
        Ok((change::word(self.ctrl, after), Note::new(Code::Replacing, text)))
    }

    /// Why an operator's word begins no replacement, if so; `begun`: it only lets one go on.
    fn why_no_replacement(&self, slot: Slot, begun: bool) -> Option<Note> {
        let refuse = |why: Cow<'static, str>| Some(Note::new(Code::ReplaceWaits, why));
        if let Some(why) = &self.ctrl.paused {
            let text = alloc::format!("paused: {why}; say `requorum resume` first");
            return Some(Note::new(Code::Paused, text)); // S19
        }
        let other = self.ctrl.op.as_ref().filter(|_| !begun && !mutant::is(Mutant::TwoOperations));
        if let Some(other) = other {
            let text = alloc::format!(
                "{} is being replaced, and one member is at a time: wait for it, or say `requorum abort`",
                self.name(other.slot)
            );
            return refuse(text.into());
        }
        if self.verdict() != Verdict::QuorumAlive {
            return refuse("no quorum is proven alive; a replacement would make it worse".into());
        }
        if self.is_attested_away(slot) {
            let text = alloc::format!(
                "the machine of {} was attested to be gone and never runs this incarnation again: give it \
                 a new REQUORUM_INSTANCE, an empty state directory and an empty data dir",
                self.name(slot)
            );
            return refuse(text.into());
        }
        if self.vote(slot).is_none() {
            let text =
                alloc::format!("no agent speaks for {}; start one on it first", self.name(slot));
            return refuse(text.into());
        }
        let others = self.ctrl.members.iter().filter(|member| member.slot != slot);
        let says = |slot| self.vote(slot).is_some_and(|vote| vote.health == Health::Healthy);
        let healthy = others.filter(|member| says(member.slot)).count();
        // who serves nobody is missed by nobody; how many of the others etcd needs, its own list says
        // where members were changed by hand
        let counts = self.ctrl.drift.is_none() || says(slot);
        let too_few = !begun && counts && healthy < quorum(self.ctrl.members.len());
        if too_few && !mutant::is(Mutant::ReplacesAtTheEdge) {
            let text = "too few of the other members are healthy to take this one out";
            return refuse(text.into());
        }
        None
    }
}
