//! Exhaustive search over the real core: every order in which things can happen, within bounds that
//! are said, and the shortest way to whatever breaks an invariant.
//!
//! Comes in: a [`submodels::SubModel`]. Goes out: a [`Report`]. Start reading with `submodels`
//! (what is tried), then `invariants` (what must hold), `agent` (how a turn of the real core is
//! taken), `options` and `happening` (what can happen), `engine` (the search).

mod action;
mod agent;
pub mod command;
#[cfg(feature = "stateright")]
pub mod crosscheck;
pub mod engine;
mod etcd;
pub mod faults;
mod happening;
mod intern;
mod invariants;
mod machine;
mod options;
mod membership;
mod parts;
mod prelude;
mod raft;
mod store;
pub mod submodels;
mod symmetry;
mod voices;
pub mod witness;
mod words;
mod world;
mod writes;

pub use action::{Action, Mishap, Raft, Word};
pub use agent::Mood;
pub use world::State;

use engine::{Model, Search, Step};

use std::{sync::Mutex, time::Duration};
use submodels::SubModel;
use witness::Witness;
use world::World;

/// A sub-model as the engine sees it. What was met is remembered behind a lock, so that a turn of
/// the core is taken once.
pub struct Explored {
    world: Mutex<World>,
    first: State,
}

impl Explored {
    /// The model of `sub`.
    pub fn new(sub: &SubModel) -> Self {
        let world = World::new(sub);
        Self { first: world.first.clone(), world: Mutex::new(world) }
    }

    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().expect("nobody ends while holding it")
    }
}

impl Model for Explored {
    type State = State;
    type Action = Action;

    fn init(&self) -> State {
        self.first.clone()
    }

    fn actions(&self, state: &State, into: &mut Vec<Action>) {
        self.world().options(state, into);
    }

    fn next(&self, state: &State, action: &Action) -> Option<Step<State>> {
        self.world().happen(state, *action)
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        self.world().judged(state).0
    }

    fn shows(&self, state: &State) -> u64 {
        self.world().judged(state).1
    }
}

/// What became of one sub-model.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its name.
    pub name: &'static str,
    /// Different states.
    pub unique: u64,
    /// States made.
    pub generated: u64,
    /// Steps to the last of them.
    pub depth: u32,
    /// Whether every state within the stated faults was seen.
    pub exhausted: bool,
    /// Turns of the real core that were taken.
    pub turns: usize,
    /// What broke, and the shortest way to it, in words.
    pub violation: Option<(&'static str, Vec<String>)>,
    /// What it showed.
    pub seen: Vec<Witness>,
    /// What it should have shown and did not.
    pub unseen: Vec<Witness>,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// Whether the sub-model came out as it must.
    pub fn is_right(&self, sub: &SubModel) -> bool {
        match &self.violation {
            Some((name, _)) => sub.breaks && *name == invariants::OLD_QUORUM,
            None => !sub.breaks && (self.unseen.is_empty() || !self.exhausted),
        }
    }
}

/// Explores `sub`, to its bound or to `bound` states, whichever is less.
pub fn run(sub: &SubModel, bound: Option<u64>) -> Report {
    let model = Explored::new(sub);
    let bound = bound.map_or(sub.bounds.states, |bound| bound.min(sub.bounds.states));
    let Search { unique, generated, depth, shows, exhausted, broken, took } =
        engine::explore(&model, bound);
    let violation = broken.map(|(name, way)| (name, words::walkthrough(&model, &way)));
    let unseen = |witness: &&Witness| shows & witness.bit() == 0;
    Report {
        name: sub.name,
        unique,
        generated,
        depth,
        exhausted,
        turns: model.world().turns.len(),
        violation,
        seen: Witness::ALL.iter().filter(|witness| !unseen(witness)).copied().collect(),
        unseen: sub.shows.iter().filter(unseen).copied().collect(),
        took,
    }
}
