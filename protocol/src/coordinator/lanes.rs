//! **lanes** — what has been asked and not answered yet, and when a lane may be tried again.
//!
//! Retry timing is a decision, so it lives here as data: after a failure a lane rests for a poll
//! period, doubled with each failure in a row up to sixteen (design.md 1.10).

use crate::{
    effect::{Effect, Lane},
    event::FailureKind,
    limits::Timers,
    time::{Moment, Span},
};
use alloc::collections::BTreeMap;

/// All lanes of one agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Lanes {
    busy: [Option<Effect>; Lane::COUNT],
    failures: BTreeMap<Lane, u32>,
    not_before: BTreeMap<Lane, Moment>,
    /// Failures in a row that say something about this agent and not about what it asked for, and
    /// when the last one was.
    hampered: BTreeMap<Lane, (u32, Moment)>,
}

impl Lanes {
    /// Whether `lane` can take an effect now.
    pub(super) fn is_free(&self, lane: Lane, now: Moment) -> bool {
        self.running(lane).is_none()
            && self.not_before.get(&lane).is_none_or(|moment| now >= *moment)
    }

    /// What runs in `lane`.
    pub(super) fn running(&self, lane: Lane) -> Option<&Effect> {
        self.busy[lane as usize].as_ref()
    }

    /// Occupies the effect's lane.
    pub(super) fn begin(&mut self, effect: &Effect) {
        let before = self.busy[effect.lane() as usize].replace(effect.clone());
        assert!(
            before.is_none(),
            "one effect a lane: {before:?} still runs, {effect:?} was asked for"
        );
    }

    /// Frees the lane; `None` if nothing ran there (an answer nobody waits for).
    pub(super) fn end(&mut self, lane: Lane) -> Option<Effect> {
        self.busy[lane as usize].take()
    }

    /// Lets the lane rest after a failure.
    pub(super) fn failed(&mut self, lane: Lane, now: Moment, kind: FailureKind, timers: &Timers) {
        let failures = self.failures.entry(lane).or_insert(0);
        let rest = timers.poll.times(1 << (*failures).min(4));
        *failures = failures.saturating_add(1);
        self.not_before.insert(lane, now + rest);
        if kind != FailureKind::Bad {
            let before = self.hampered.get(&lane).map_or(0, |(failures, _)| *failures);
            self.hampered.insert(lane, (before.saturating_add(1), now));
        }
    }

    /// Whether a lane failed at least `often` in a row, the last time less than `pause` ago.
    pub(super) fn is_failing(&self, lane: Lane, now: Moment, often: u32, pause: Span) -> bool {
        let hampered = self.hampered.get(&lane);
        hampered.is_some_and(|(failures, at)| *failures >= often && now.since(*at) < pause)
    }

    /// Forgets what was held against this agent: it has begun anew.
    pub(super) fn pardon(&mut self) {
        self.hampered.clear();
    }

    /// Another attempt, phase or plan: what it asks to be moved is asked for the first time. Else the
    /// pauses of the last attempt's failures could take up all the time that this one has.
    pub(super) fn move_anew(&mut self) {
        self.failures.remove(&Lane::Data);
        self.not_before.remove(&Lane::Data);
    }

    /// Forgets earlier failures.
    pub(super) fn succeeded(&mut self, lane: Lane) {
        self.failures.remove(&lane);
        self.not_before.remove(&lane);
        self.hampered.remove(&lane);
    }

    /// Forgets every failure, and what runs stays.
    #[cfg(debug_assertions)]
    pub(super) fn forget_failures(&mut self) {
        let busy = core::mem::take(&mut self.busy);
        *self = Self { busy, ..Self::default() };
    }

    /// The next moment at which a resting lane may be tried again.
    pub(super) fn next_try(&self, now: Moment) -> Option<Moment> {
        self.not_before.values().copied().filter(|moment| *moment > now).min()
    }
}
