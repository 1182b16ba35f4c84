//! **crosscheck** — the same model in another engine, Stateright: the counts must be equal, and the
//! two are timed side by side.
//!
//! Comes in: a sub-model that is explored to its end. Goes out: states and user-CPU seconds of
//! each engine. Both take every turn of the real core themselves, once each.

use super::{Explored, engine, engine::Model as _, submodels::SubModel, world::State};
use stateright::{Checker, Model, Property};
use std::fs;

/// One engine's run.
#[derive(Clone, Copy, Debug)]
pub struct Lap {
    /// Different states.
    pub unique: u64,
    /// States made.
    pub generated: u64,
    /// User-CPU seconds.
    pub seconds: f64,
}

impl Lap {
    /// States made in a user-CPU second.
    pub fn rate(&self) -> f64 {
        self.generated as f64 / self.seconds.max(0.01)
    }
}

/// Both runs.
#[derive(Clone, Copy, Debug)]
pub struct Race {
    /// Ours.
    pub ours: Lap,
    /// Stateright's.
    pub theirs: Lap,
}

/// Runs both; `None`: the sub-model does not end within the bound, and there is nothing to compare.
pub fn race(sub: &SubModel, bound: Option<u64>) -> Option<Race> {
    let bound = bound.map_or(sub.bounds.states, |bound| bound.min(sub.bounds.states));
    let before = user_seconds();
    let search = engine::explore(&Explored::new(sub), bound);
    let between = user_seconds();
    if !search.exhausted || search.broken.is_some() {
        return None;
    }
    let (unique, generated) = (search.unique, search.generated);
    let ours = Lap { unique, generated, seconds: between - before };
    let began = user_seconds();
    let checker = Other(Explored::new(sub)).checker().threads(1).spawn_bfs().join();
    let theirs = Lap {
        unique: checker.unique_state_count() as u64,
        generated: checker.state_count() as u64,
        seconds: user_seconds() - began,
    };
    Some(Race { ours, theirs })
}

/// User time of this process so far, as the kernel counts it: a hundred ticks a second.
fn user_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().nth(11).and_then(|ticks| ticks.parse::<u32>().ok());
    ticks.map_or(0.0, f64::from) / 100.0
}

struct Other(Explored);

impl Model for Other {
    type State = State;
    type Action = super::Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.0.init()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<super::Action>) {
        self.0.actions(state, actions);
    }

    fn next_state(&self, state: &State, action: super::Action) -> Option<State> {
        self.0.next(state, &action).map(|step| step.state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("sound", |model: &Self, state| model.0.broken(state).is_none())]
    }
}
