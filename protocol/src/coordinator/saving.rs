//! **saving** — snapshots: by the clock, by hand, and at once when a quorum seems lost.
//!
//! Comes in: the record of whose turn it is, the votes, what this member holds. Goes out: a claim of the
//! next turn, or a save.
//!
//! Intuition: while a quorum lives one member saves for all and goes on doing so, because two members'
//! files have hardly a block in common (etcd.md 8): its chain of differences ends when another takes
//! over. The record `save` says who it is, and that it lives. It is no lock: two may save in a change of
//! hands; keys are immutable, so that costs a file and nothing else.

use super::{Scene, Step};
use crate::{
    change,
    cluster::Slot,
    effect::{Effect, Save},
    explanation::Code,
    limits::{SAVE_PERIOD_MAX, SAVE_SHARE, TURNS_MISSED},
    manifest::{Doubt, Reason},
    registry::{Phase, Saver, adoption},
    time::{Moment, Span},
    vote::Health,
};
use alloc::{boxed::Box, string::String, vec::Vec};

impl Scene<'_> {
    /// The saver's part of the turn.
    pub(super) fn saver_part(&self) -> Option<Step> {
        self.owner()?;
        self.answer().filter(|status| !status.learner)?;
        if self.core.known.save_asked {
            let why = "saves a snapshot because the operator asked";
            return Step::act(self.save(Reason::Hand, None), Code::Saving, why);
        }
        if self.quorum_lives() {
            return self.regular_save();
        }
        let suspects =
            self.ctrl.phase == Phase::Idle && self.is_failing_long() && !self.holds_nothing_new();
        let why = "a quorum seems lost: saves what this member holds";
        suspects.then(|| Step::act(self.save(Reason::Suspicion, None), Code::Saving, why)).flatten()
    }

    /// A save of the present incarnation. Whole files need nothing but themselves, so whatever is saved
    /// in a plight, or for an operator, is whole.
    pub(super) fn save(&self, reason: Reason, chain: Option<String>) -> Effect {
        let known = &self.core.known;
        let due = |last: Option<Moment>, period| {
            last.is_none_or(|last: Moment| self.now.since(last) >= period)
        };
        let regular = matches!(reason, Reason::Timer | Reason::Hand);
        let by_clock = reason == Reason::Timer && due(known.exported, self.timers().export);
        let asks = regular && due(known.peers_asked, self.timers().peer_check);
        Effect::Save(Box::new(Save {
            reason,
            inc: self.ctrl.inc,
            chain,
            export: self.core.policy.exports && (by_clock || reason == Reason::Hand),
            peers: if asks { self.peers() } else { Vec::new() },
            source_keys: self.ctrl.source.as_ref().and_then(|source| source.live_keys),
            adopted: self.ctrl.adopted.clone(),
        }))
    }

    /// Where the other members' clients come in.
    fn peers(&self) -> Vec<String> {
        let others = self.ctrl.members.iter().filter(|member| member.slot != self.slot);
        others
            .filter_map(|member| self.ctrl.seat(member.slot))
            .map(|seat| seat.client_url.clone())
            .collect()
    }

    /// Half the confirm window has passed without a quorum: the snapshot should be ready when it ends.
    fn is_failing_long(&self) -> bool {
        let since = self.core.known.book.failing_since(self.slot, self.now, self.timers());
        since.is_some_and(|since| self.now.since(since) >= self.timers().confirm.half())
    }

    fn holds_nothing_new(&self) -> bool {
        let applied = self.answer().map_or(0, |status| status.applied);
        let saved = self.core.known.saved.as_ref();
        saved.is_some_and(|(_, saved)| saved.inc == self.ctrl.inc && saved.applied >= applied)
    }

    /// The clock's saves: whoever has the turn uses it, whoever may claims the next.
    fn regular_save(&self) -> Option<Step> {
        let at_rest = self.is_at_rest();
        let off = self.timers().snapshot.0 == 0 || self.records.save_unreadable;
        if off || !at_rest || !self.i_see_a_quorum() {
            return None;
        }
        match self.open_turn() {
            Some(saver) if !self.holds_nothing_new() => {
                let effect = self.save(Reason::Timer, Some(saver.chain.clone()));
                Step::act(effect, Code::Saving, "saves a snapshot: it is time")
            }
            Some(_) | None => self.claim_turn(),
        }
    }

    fn is_at_rest(&self) -> bool {
        matches!(self.ctrl.phase, Phase::Idle | Phase::Healing) && self.ctrl.opened
    }

    /// The latest snapshot is whole, and no restore would choose it by itself: each agent tells, by the vote
    /// of the seat that saves.
    pub(super) fn doubts(&self) -> Option<Step> {
        let (key, doubt) = self.latest().filter(|_| self.is_at_rest())?;
        let doubt = doubt.filter(|_| !adoption::is_of_key(&self.ctrl.adopted, &key))?;
        let text = alloc::format!(
            "the latest snapshot is doubtful ({}) and no restore chooses it; if all is as it should be: \
             `requorum snapshot adopt {key} --force {} --because TEXT`",
            doubt.name(),
            doubt.name()
        );
        Step::wait(Code::DoubtfulSnapshot, text)
    }

    /// Key and doubt of the snapshot that was saved last: the saver's, or where none is known of it our own.
    fn latest(&self) -> Option<(String, Option<Doubt>)> {
        let saver = self.records.save.as_ref().map(|saver| saver.member);
        let vote = saver.filter(|saver| *saver != self.slot);
        let vote = vote.and_then(|saver| self.core.known.book.last(saver));
        let said = vote.filter(|vote| vote.inc == self.ctrl.inc);
        let said = said.and_then(|vote| Some((vote.manifest.clone()?, vote.doubt)));
        let saved = self.core.known.saved.as_ref().map(|(_, manifest)| manifest);
        let mine = saved.filter(|manifest| manifest.inc == self.ctrl.inc);
        said.or_else(|| mine.map(|manifest| (manifest.key(), manifest.doubt)))
    }

    /// The turn that this process claimed, until it has saved something in it.
    fn open_turn(&self) -> Option<&Saver> {
        let (rvn, claimed) = self.core.known.claimed.as_ref()?;
        let saver = self.records.save.as_ref().filter(|saver| saver.rvn == *rvn)?;
        let saved = self.core.known.saved.as_ref();
        let used = saved.is_some_and(|(at, saved)| saved.inc == self.ctrl.inc && *at >= *claimed);
        (!used).then_some(saver)
    }

    fn claim_turn(&self) -> Option<Step> {
        let claimed = self.core.known.claimed.as_ref();
        let before = self.records.save.as_ref();
        let mine = |saver: &Saver| claimed.filter(|(rvn, _)| *rvn == saver.rvn);
        let (chain, passed) = match before.and_then(|saver| Some((saver, mine(saver)?))) {
            Some((_, (_, at))) if self.now.since(*at) < self.save_period() => return None,
            Some((saver, _)) => (saver.chain.clone(), Vec::new()), // it saved, or there is nothing new
            None => (self.core.fresh("chain"), self.taken_over(before)?),
        };
        let (rvn, period) = (self.core.fresh("turn"), self.save_period());
        let next = Saver { member: self.slot, rvn, chain, period, passed };
        let text = if period > self.timers().snapshot {
            alloc::format!(
                "claims the next turn to save; a save takes so long that one is made each {} s only",
                period.0 / 1000
            )
        } else {
            "claims the next turn to save".into()
        };
        Step::act(Effect::Write(change::save_turn(before, next)), Code::Saving, text)
    }

    /// How often is saved: a save that takes long is made less often.
    fn save_period(&self) -> Span {
        let share = self.core.known.save_took.times(SAVE_SHARE).min(SAVE_PERIOD_MAX);
        self.timers().snapshot.max(share)
    }

    /// The seats that sit out if this member takes the turn over now; `None`: it is not to. An earlier process
    /// on this seat is followed when it stood still for a period, for one that ends again and again must not
    /// begin a chain each time; but only once, for it may be the save that ends it. Another member is followed
    /// when it is unwell besides, or stood still for too long.
    fn taken_over(&self, before: Option<&Saver>) -> Option<Vec<Slot>> {
        let Some(saver) = before else {
            return (self.next_saver(&[]) == Some(self.slot)).then(Vec::new);
        };
        let still = self.core.known.saver_since.as_ref().map(|(_, since)| self.now.since(*since));
        let still = still.unwrap_or(Span(0));
        let rested = still >= self.timers().snapshot;
        let twice = saver.passed.contains(&saver.member);
        let mut passed = saver.passed.clone();
        passed.extend(Some(saver.member).filter(|_| !twice));
        if saver.member == self.slot && !twice {
            return rested.then_some(passed);
        }
        let unwell = saver.member != self.slot && !self.is_well(saver.member);
        let stuck = still >= self.save_period().max(saver.period).times(TURNS_MISSED);
        let due = stuck || (rested && (unwell || twice));
        let (next, passed) = self.after(saver, passed).filter(|_| due)?;
        (next == self.slot).then_some(passed)
    }

    /// Who saves after one that did not, and who sits out then. Where all who are well have had their turn,
    /// each gets another: what failed may have been the bucket.
    fn after(&self, saver: &Saver, passed: Vec<Slot>) -> Option<(Slot, Vec<Slot>)> {
        let sitting = [passed, alloc::vec![saver.member], Vec::new()];
        let mut next = sitting.into_iter().filter_map(|out| Some((self.next_saver(&out)?, out)));
        next.next()
    }

    /// The lowest healthy member that is not etcd's leader, which has enough to do; the leader where
    /// there is no other. Of those that don't sit out.
    fn next_saver(&self, sits_out: &[Slot]) -> Option<Slot> {
        let leader = self.answer().and_then(|status| status.leader);
        let well = self.ctrl.members.iter().filter(|member| {
            let well = member.slot == self.slot || self.is_well(member.slot);
            well && !sits_out.contains(&member.slot)
        });
        let next = well.min_by_key(|member| (Some(member.id) == leader, member.slot));
        next.map(|member| member.slot)
    }

    fn is_well(&self, slot: Slot) -> bool {
        self.vote(slot)
            .is_some_and(|vote| vote.inc == self.ctrl.inc && vote.health == Health::Healthy)
    }

    /// The lowest seat that is healthy does for all what one has to do.
    pub(super) fn is_first_healthy(&self) -> bool {
        let mut slots = self.ctrl.members.iter().map(|member| member.slot);
        slots.find(|slot| self.is_well(*slot)) == Some(self.slot)
    }
}
