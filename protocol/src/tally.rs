//! **tally** — turns the votes in hand into one verdict on the cluster.
//!
//! Comes from [`vote`](crate::vote). Goes to the election and to every phase that asks who is
//! alive.
//!
//! Intuition: we are counting voices in the dark. A silent member is not a dead one, so silence
//! never counts; only a member that itself says "I see no quorum", again and again, counts, and
//! one voice that proves a living quorum silences the rest (protocol.md 1.1).
//!
//! Claims: T1 a vote counts only if we ourselves saw its number rise; T2 time during which we
//! could not read accrues no evidence; T3 a fresh healthy vote is a veto.

use crate::{
    cluster::{Nonce, Slot, blocking},
    limits::{REVISION_MAX, SLOTS_MAX, Timers},
    registry::{Ctrl, Phase, Records},
    time::{Moment, Span},
    vote::{Health, Vote},
};
use alloc::{collections::BTreeSet, sync::Arc, vec::Vec};

/// What we have heard, by seat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Book {
    /// By the number of the seat.
    heard: [Option<Heard>; SLOTS_MAX],
    read_at: Option<Moment>,
    /// Since when our reading has had no gap.
    reading_since: Option<Moment>,
    /// The highest revision in any vote ever read.
    highest: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Heard {
    vote: Arc<Vote>,
    /// We saw its number rise since our last outage.
    risen: bool,
    /// When it last rose.
    risen_at: Moment,
    /// Since when each vote of it was a failure, without a gap.
    failing_since: Option<Moment>,
    /// When it was first seen in its present state, risen or not: the age of its silence.
    unchanged_since: Moment,
}

impl Heard {
    /// T1: we ourselves saw it rise, and not too long ago.
    fn is_fresh(&self, now: Moment, timers: &Timers) -> bool {
        self.risen && now.since(self.risen_at) <= timers.lin
    }
}

/// The state of the cluster as far as votes can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// A fresh proof of a living quorum.
    QuorumAlive,
    /// A blocking number of members failed for the whole confirm window, and nobody proves life.
    QuorumLost,
    /// Neither.
    Pending,
}

impl Book {
    /// Takes one successful read of the votes, begun at `asked`.
    pub fn record(&mut self, asked: Moment, votes: &[Arc<Vote>], timers: &Timers) {
        if self.read_at.is_none_or(|before| asked.since(before) > timers.gap) {
            self.forget_freshness(asked);
            self.reading_since = Some(asked);
        }
        self.read_at = Some(asked);
        for vote in votes {
            if vote.revision <= REVISION_MAX {
                self.highest = self.highest.max(vote.revision);
            }
            self.hear(asked, vote);
        }
        for heard in self.heard.iter_mut().flatten() {
            if !heard.is_fresh(asked, timers) {
                heard.failing_since = None;
            }
        }
    }

    /// T2: after an outage of ours everybody must be heard anew.
    fn forget_freshness(&mut self, asked: Moment) {
        for heard in self.heard.iter_mut().flatten() {
            heard.risen = false;
            heard.failing_since = None;
            heard.unchanged_since = asked;
        }
    }

    fn hear(&mut self, asked: Moment, vote: &Arc<Vote>) {
        let Some(seat) = self.heard.get_mut(usize::from(vote.slot.0)) else { return };
        let Some(heard) = seat else {
            let failing_since = None;
            let first = Heard {
                vote: Arc::clone(vote),
                risen: false,
                risen_at: asked,
                failing_since,
                unchanged_since: asked,
            };
            *seat = Some(first);
            return;
        };
        let same_voice = heard.vote.nonce == vote.nonce;
        if same_voice && vote.seq <= heard.vote.seq {
            return; // the same vote, or an older one applied late
        }
        heard.unchanged_since = asked;
        if !same_voice {
            // a new process: its first vote may be as old as the bucket, so it must rise first
            *heard = Heard {
                vote: Arc::clone(vote),
                risen: false,
                risen_at: asked,
                failing_since: None,
                unchanged_since: asked,
            };
            return;
        }
        let moved = heard.vote.inc != vote.inc;
        heard.vote = Arc::clone(vote);
        heard.risen = true;
        heard.risen_at = asked;
        heard.failing_since = match (vote.health.is_failure(), heard.failing_since) {
            (false, _) => None,
            (true, Some(since)) if !moved => Some(since),
            (true, _) => Some(asked),
        };
    }

    fn heard(&self, slot: Slot) -> Option<&Heard> {
        self.heard.get(usize::from(slot.0))?.as_ref()
    }

    /// The vote of `slot`, if it is fresh at `now` (T1).
    pub fn fresh(&self, slot: Slot, now: Moment, timers: &Timers) -> Option<&Vote> {
        self.heard(slot).filter(|heard| heard.is_fresh(now, timers)).map(|heard| &*heard.vote)
    }

    /// The last vote of `slot` ever read, however old.
    pub fn last(&self, slot: Slot) -> Option<&Vote> {
        self.heard(slot).map(|heard| &*heard.vote)
    }

    /// For how long the vote of `slot` was seen not to change; for a claim (protocol.md 1.4). It ends
    /// at our last read: what was said since, while we were paused perhaps, nobody told us yet. A seat
    /// that never voted counts from the first read of ours.
    pub fn unchanged_for(&self, slot: Slot) -> Span {
        let since = self.heard(slot).map(|heard| heard.unchanged_since).or(self.reading_since);
        let seen = since.zip(self.read_at);
        seen.map_or(Span(0), |(since, read_at)| read_at.since(since))
    }

    /// How long ago the vote of `slot` last rose.
    pub fn age(&self, slot: Slot, now: Moment) -> Option<Span> {
        self.heard(slot).filter(|heard| heard.risen).map(|heard| now.since(heard.risen_at))
    }

    /// Since when the votes of `slot` have all been failures; `None` if they are not, or not fresh.
    pub fn failing_since(&self, slot: Slot, now: Moment, timers: &Timers) -> Option<Moment> {
        self.heard(slot).filter(|heard| heard.is_fresh(now, timers))?.failing_since
    }

    /// Whether a fresh vote proves a living quorum of incarnation `inc` (T3).
    pub fn veto(&self, inc: u64, now: Moment, timers: &Timers) -> bool {
        self.heard
            .iter()
            .flatten()
            .filter(|heard| heard.is_fresh(now, timers))
            .map(|heard| &heard.vote)
            .any(|vote| vote.inc == inc && vote.health == Health::Healthy)
    }

    /// Whether some process other than `me` was heard to speak for `slot` lately.
    pub fn speaks(&self, slot: Slot, me: &Nonce, now: Moment, timers: &Timers) -> bool {
        self.fresh(slot, now, timers).is_some_and(|vote| vote.nonce != *me)
    }

    /// The highest revision anybody was ever heard to vote: a lower bound of what clients may have
    /// seen. A vote above [`REVISION_MAX`] is not believed.
    pub const fn highest_revision(&self) -> u64 {
        self.highest
    }

    /// When the votes were last read; `None`: never, and what was said before is not known.
    pub const fn read_at(&self) -> Option<Moment> {
        self.read_at
    }

    /// Whether anybody but `me` was ever heard here.
    pub fn hears_others(&self, me: &Nonce) -> bool {
        self.heard.iter().flatten().any(|heard| heard.risen && heard.vote.nonce != *me)
    }

    /// Manifest keys that votes point to.
    pub fn manifests(&self) -> Vec<alloc::string::String> {
        self.heard.iter().flatten().filter_map(|heard| heard.vote.manifest.clone()).collect()
    }

    /// Members that count as failed: those whose votes failed for the whole confirm window, and
    /// those whose machine an operator attested to be gone. The window begins at `served` at the
    /// earliest: before clients were let in, a member that waited for the others had failed nobody.
    pub fn failed(
        &self,
        ctrl: &Ctrl,
        records: &Records,
        served: Moment,
        now: Moment,
        timers: &Timers,
    ) -> BTreeSet<Slot> {
        let confirmed = |slot: Slot| {
            let since = self.failing_since(slot, now, timers).map(|since| since.max(served));
            let vote = self.fresh(slot, now, timers).filter(|vote| vote.inc == ctrl.inc);
            let health = vote.map(|vote| vote.health);
            since.is_some_and(|since| now.since(since) >= timers.confirm)
                && health.is_some_and(|health| counts_in(ctrl.phase, health))
        };
        ctrl.members
            .iter()
            .map(|member| member.slot)
            .filter(|slot| confirmed(*slot) || records.is_attested(*slot, ctrl.inc))
            .collect()
    }

    /// The verdict (protocol.md 1.1). Fewer failed members than a blocking set can't be fenced
    /// into one, so less than that is `Pending`, and nothing is stopped for it.
    pub fn verdict(
        &self,
        ctrl: &Ctrl,
        records: &Records,
        served: Moment,
        now: Moment,
        timers: &Timers,
    ) -> Verdict {
        if self.veto(ctrl.inc, now, timers) {
            return Verdict::QuorumAlive;
        }
        let failed = self.failed(ctrl, records, served, now, timers).len();
        if !ctrl.members.is_empty() && failed >= blocking(ctrl.members.len()) {
            Verdict::QuorumLost
        } else {
            Verdict::Pending
        }
    }
}

/// While restored members start, one that has not run yet or waits for the others has failed
/// nobody: a download outlasts any confirm window. Only lost data counts then; T_restore bounds
/// the rest (`start_over`).
const fn counts_in(phase: Phase, health: Health) -> bool {
    match phase {
        Phase::Starting => matches!(health, Health::DataLost),
        Phase::Verifying => !matches!(health, Health::NeverRan),
        Phase::Genesis
        | Phase::Idle
        | Phase::Fencing
        | Phase::Aborted
        | Phase::Committed
        | Phase::Restoring
        | Phase::Open
        | Phase::Healing => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::{Instance, Member, MemberId},
        vote::Vote,
    };

    const TIMERS: Timers = Timers::PRODUCTION;

    fn vote(slot: u8, seq: u64, health: Health) -> Arc<Vote> {
        Arc::new(Vote {
            slot: Slot(slot),
            instance: Instance("i".into()),
            nonce: Nonce("n".into()),
            seq,
            inc: 1,
            health,
            quarantined: false,
            revision: 0,
            manifest: None,
            doubt: None,
        })
    }

    #[test]
    fn a_vote_counts_only_after_it_rose() {
        let mut book = Book::default();
        book.record(Moment(0), &[vote(0, 7, Health::Healthy)], &TIMERS);
        assert!(!book.veto(1, Moment(0), &TIMERS), "it may be as old as the bucket");
        book.record(Moment(5_000), &[vote(0, 8, Health::Healthy)], &TIMERS);
        assert!(book.veto(1, Moment(5_000), &TIMERS));
        assert!(!book.veto(2, Moment(5_000), &TIMERS), "of another incarnation");
        assert!(!book.veto(1, Moment(20_001), &TIMERS), "no longer fresh");
    }

    #[test]
    fn an_older_vote_applied_late_is_ignored() {
        let mut book = Book::default();
        for (at, seq, health) in
            [(0, 1, Health::NoQuorum), (5, 3, Health::NoQuorum), (9, 2, Health::Healthy)]
        {
            book.record(Moment(at * 1000), &[vote(0, seq, health)], &TIMERS);
        }
        assert!(!book.veto(1, Moment(9_000), &TIMERS));
    }

    #[test]
    fn our_own_outage_is_held_against_nobody() {
        let mut book = Book::default();
        for second in 0..=12 {
            book.record(Moment(second * 5_000), &[vote(0, second, Health::NoQuorum)], &TIMERS);
        }
        assert_eq!(book.failing_since(Slot(0), Moment(60_000), &TIMERS), Some(Moment(5_000)));
        book.record(Moment(90_000), &[vote(0, 13, Health::NoQuorum)], &TIMERS);
        assert_eq!(book.failing_since(Slot(0), Moment(90_000), &TIMERS), Some(Moment(90_000)));
    }

    #[test]
    fn the_highest_revision_is_never_forgotten_and_nonsense_never_believed() {
        let mut book = Book::default();
        let said = |seq, revision| {
            let vote = vote(0, seq, Health::Healthy);
            Arc::new(Vote { revision, ..(*vote).clone() })
        };
        book.record(Moment(0), &[said(1, 900)], &TIMERS);
        book.record(Moment(5_000), &[said(2, 0)], &TIMERS);
        assert_eq!(book.highest_revision(), 900, "a restarted agent knows less");
        book.record(Moment(10_000), &[said(3, i64::MAX as u64)], &TIMERS);
        assert_eq!(book.highest_revision(), 900);
    }

    #[test]
    fn a_seat_that_never_voted_is_watched_from_our_first_read_on() {
        let mut book = Book::default();
        assert_eq!(book.unchanged_for(Slot(2)), Span(0));
        book.record(Moment(5_000), &[], &TIMERS);
        book.record(Moment(10_000), &[], &TIMERS);
        assert_eq!(book.unchanged_for(Slot(2)), Span(5_000));
    }

    #[test]
    fn a_pause_of_ours_is_no_silence_of_theirs() {
        let mut book = Book::default();
        book.record(Moment(0), &[vote(0, 1, Health::Healthy)], &TIMERS);
        book.record(Moment(5_000), &[vote(0, 1, Health::Healthy)], &TIMERS);
        // an hour later nothing new was read: the watch is as long as it was
        assert_eq!(book.unchanged_for(Slot(0)), Span(5_000));
        book.record(Moment(3_600_000), &[vote(0, 1, Health::Healthy)], &TIMERS);
        assert_eq!(book.unchanged_for(Slot(0)), Span(0), "the watch was broken");
    }

    #[test]
    fn what_failed_before_clients_were_let_in_is_counted_from_then() {
        let seats = Vec::new();
        let members =
            (0..3).map(|slot| Member { slot: Slot(slot), id: MemberId(u64::from(slot)) }).collect();
        let phase = Phase::Healing;
        let seated = Ctrl::seated("uid".into(), seats);
        let ctrl = Ctrl { inc: 1, opened: true, phase, members, ..seated };
        let records = Records::default();
        let mut book = Book::default();
        for second in 0..=30 {
            let votes = [vote(0, second, Health::NoQuorum), vote(1, second, Health::NoQuorum)];
            book.record(Moment(second * 5_000), &votes, &TIMERS);
        }
        let verdict =
            |served| book.verdict(&ctrl, &records, Moment(served), Moment(150_000), &TIMERS);
        assert_eq!(verdict(90_000), Verdict::QuorumLost);
        assert_eq!(verdict(90_001), Verdict::Pending);
    }

    #[test]
    fn silence_ends_a_failure() {
        let mut book = Book::default();
        for second in 0..=12 {
            book.record(Moment(second * 5_000), &[vote(0, second, Health::DataLost)], &TIMERS);
        }
        for second in 13..=16 {
            book.record(Moment(second * 5_000), &[], &TIMERS);
        }
        assert_eq!(book.failing_since(Slot(0), Moment(80_000), &TIMERS), None);
    }
}
