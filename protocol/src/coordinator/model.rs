//! **model** — one mind in the hands of an explorer that tries every order of things. It exists
//! where debug assertions do, so never in a release.
//!
//! Comes in: at each turn what the explorer chose to be true of time and of the others' voices.
//! Goes out: a mind that has forgotten all that its next turn learns anew, so that two histories
//! which leave the same promises behind are one state and not two.
//!
//! Time is no number here. A turn is taken with timers of which every window has passed, or none;
//! whatever was noted "since" some moment was noted since for ever. That is what "a timer may
//! fire" means, and it is more than any clock allows.

use super::{Coordinator, Turn};
use crate::{
    effect::{Effect, Lane},
    event::{Command, Event, Outcome, Ticket},
    lease::Watch,
    limits::Timers,
    observation::{InAttempt, Look},
    registry::{Lease, Phase},
    tally::Book,
    time::{Moment, Span},
    vote::Vote,
};

/// The one moment of the model.
pub const NOW: Moment = Moment(1_000_000);

/// What a turn finds, beside what it reads.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
    /// Which windows have passed.
    pub timers: Timers,
    /// What fresh names are made of: the same only where the same name is meant.
    pub seed: u64,
    /// The voices heard; each counts as fresh.
    pub votes: &'a [Vote],
    /// The lease that was watched in silence for long enough, if one was.
    pub silent: Option<&'a Lease>,
}

/// No window passes.
pub const PATIENT: Timers = windows(Span(u64::MAX / 8));

/// Every window has passed; what is fresh this very moment is still fresh.
pub const HASTY: Timers =
    Timers { lin: Span(1), lease_ttl: Span(2), lease_margin: Span(1), ..windows(Span(0)) };

const fn windows(window: Span) -> Timers {
    Timers {
        poll: Span(1),
        vote: Span(1),
        lin: window,
        confirm: window,
        gather: window,
        permanent: window,
        fence: window,
        drain: window,
        lease_ttl: window,
        lease_renew: Span(u64::MAX / 8),
        lease_margin: window,
        gap: Span(u64::MAX / 8),
        restore: window,
        recover: window,
        replace: window,
        snapshot: Span(0),
        peer_check: window,
        export: window,
        alone: window,
        reconcile: Span(1),
    }
}

impl Coordinator {
    /// Makes the occasion true of the turn that begins.
    pub fn begin_turn(&mut self, occasion: &Occasion<'_>) {
        self.policy.timers = occasion.timers;
        self.counter = occasion.seed;
        let known = &mut self.known;
        known.book = Book::default();
        for (at, seq) in [(Moment(0), 1), (NOW, 2)] {
            let said = occasion.votes.iter().map(|vote| Vote { seq, ..vote.clone() }.into());
            let said: alloc::vec::Vec<_> = said.collect();
            known.book.record(at, &said, &self.policy.timers);
        }
        known.votes_asked = Some(NOW);
        known.discover_asked = Some(NOW);
        if let Some(lease) = occasion.silent {
            known.watch.record(Moment(0), Some(lease), &self.policy.timers);
        }
    }

    /// Hears an operator, reads the table, then looks at the machine, and decides once it knows all
    /// of it: what it would decide in between is to wait.
    pub fn look_around_at_once(
        &mut self,
        said: Option<Command>,
        table: Outcome,
        look: Look,
    ) -> Turn {
        if let Some(command) = said {
            self.words.hear(NOW, Ticket(0), command);
        }
        self.known.read_asked = Some(NOW);
        self.known.look_asked = Some(NOW);
        let lane = Lane::Look;
        self.lanes.begin(&Effect::ReadRegistry);
        self.absorb(NOW, Lane::Registry, NOW, table);
        self.lanes.begin(&Effect::Look { check_at: None });
        self.handle(NOW, Event::Done { lane, asked: NOW, outcome: Outcome::Looked(look) })
    }

    /// Takes an answer between two turns. Nothing is decided by it: after each the table or the
    /// machine must be read first.
    pub fn hear(&mut self, lane: Lane, outcome: Outcome) {
        self.absorb(NOW, lane, NOW, outcome);
        self.end_turn();
    }

    /// Forgets what no later turn can ask for. Incarnations, attempts and epochs never go back and a
    /// member's id never returns, so of what the records show to be over two minds may remember
    /// different things and do the same for ever. Before the next read of the table nothing is decided,
    /// and an answer that comes between two turns finds no records here: then everything is kept.
    fn forget_what_is_over(&mut self) {
        let known = &mut self.known;
        let Some((_, records)) = &known.records else { return };
        let Some(ctrl) = &records.ctrl else { return };
        let seat = ctrl.seat_named(&self.me.name);
        let mine = seat.map(|seat| records.slot(seat.slot));
        let now = InAttempt { inc: ctrl.inc, attempt: ctrl.attempt };
        let open = ctrl.phase == Phase::Fencing;
        // the last snapshot is taken in FENCING, before the promise
        let promised = known.marker >= Some(now);
        known.last_words = known.last_words.filter(|of| open && *of == now.attempt && !promised);
        known.bad.retain(|(of, _)| *of == now.attempt);
        // the log is read for a fence; the first one of an attempt stands
        let fence = mine.and_then(|mine| mine.fence.as_ref());
        let fenced = fence.is_some_and(|fence| fence.attempt >= now.attempt);
        known.log.take_if(|(of, _)| !open || *of != now.attempt || fenced);
        let ran = mine.and_then(|mine| mine.ran.as_ref());
        known.unstarted.take_if(|unstarted| ran != Some(unstarted));
        // a lease that another took, or that was let go, comes back under a higher epoch only
        let lease = ctrl.lease.as_ref().filter(|lease| !lease.released);
        let epoch = lease.filter(|lease| lease.nonce == self.me.nonce).map(|lease| lease.epoch);
        if known.watch.epoch() != epoch {
            known.watch = Watch::default();
        }
    }

    /// Forgets what the next turn learns anew, and when anything was.
    pub fn end_turn(&mut self) {
        self.policy.timers = PATIENT;
        self.counter = 0;
        self.lanes.forget_failures();
        self.forget_what_is_over();
        let known = core::mem::take(&mut self.known);
        self.known = super::known::Known {
            uid: known.uid,
            proven: known.proven,
            discovered: known.discovered,
            seated: known.seated,
            must_read: true,
            must_look: true,
            marker: known.marker,
            retired: known.retired,
            kept: known.kept.map(|(promise, _)| (promise, NOW)),
            unstarted: known.unstarted,
            watch: known.watch.held_only(NOW),
            log: known.log,
            last_words: known.last_words,
            saved: known.saved.map(|(_, manifest)| (NOW, manifest)),
            save_asked: known.save_asked,
            bad: known.bad,
            unable: known.unable,
            disarmed: known.disarmed,
            ..super::known::Known::default()
        };
    }
}

impl Watch {
    /// What is held, as if it was won at `now`; of the others' leases nothing is remembered.
    fn held_only(self, now: Moment) -> Self {
        let mut watch = Self::default();
        if let Some(epoch) = self.epoch() {
            watch.won(now, epoch);
        }
        watch
    }
}
