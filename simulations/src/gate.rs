//! **gate** — attacks the core with its [mutants](protocol::mutant): each must break an invariant that
//! the sound core keeps. One that lives shows a hole in the checkers.
//!
//! Comes from `explore --mutants`. Goes to a table: which layer noticed, after how much. Two layers are
//! asked, the explorer's sub-models and then the simulator's seeds. What killed a mutant last time
//! stands in `simulations/mutants.txt` and is tried first; it is a matter of speed only, for the search
//! goes on without it.

use crate::{
    explore::{
        self,
        submodels::{self, SubModel},
    },
    pace::Pace,
    simulate::{Options, runs},
};
use protocol::mutant::Mutant;
use std::panic::catch_unwind;

/// How a mutant was noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// By which layer and where: a sub-model's name, or a seed.
    pub by: Layer,
    /// After how many states, or seeds.
    pub after: u64,
    /// What broke.
    pub broken: String,
}

/// A checker, and where in it a mutant was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// A sub-model of the explorer.
    Explore(&'static str),
    /// A seed of the simulator.
    Simulate(u64),
}

/// How long things go wrong in a seed, in minutes.
pub const MINUTES: u64 = 10;

/// Most states of a sub-model that are tried for one mutant.
const STATES: u64 = 200_000;

/// What killed mutants before.
const KNOWN: &str = include_str!("../mutants.txt");

/// The options of one seed: three, four or five members.
pub fn options(seed: u64) -> Options {
    Options::drawn(seed, Options::seats(seed), Pace::Quick, MINUTES)
}

/// Searches for something that `mutant` breaks and the sound core does not: where it was found last,
/// then in every sub-model, then in `seeds` seeds.
pub fn attack(mutant: Mutant, seeds: u64) -> Option<Kill> {
    if let Some(kill) = known(mutant).and_then(|layer| notices(mutant, layer)) {
        return Some(kill);
    }
    let models = submodels::ALL.iter().filter(|sub| !sub.breaks).map(|sub| sub.name);
    let found = models.map(Layer::Explore).find_map(|layer| notices(mutant, layer));
    found.or_else(|| {
        (0..seeds).find_map(|seed| {
            let kill = notices(mutant, Layer::Simulate(seed))?;
            Some(Kill { after: seed + 1, ..kill })
        })
    })
}

/// `NAME explore SUB-MODEL` or `NAME simulate SEED`.
fn known(mutant: Mutant) -> Option<Layer> {
    let words = |line: &'static str| line.split(' ').collect::<Vec<_>>();
    KNOWN.lines().map(words).find_map(|words| match words.as_slice() {
        [name, "explore", model] if *name == mutant.name() => Some(Layer::Explore(model)),
        [name, "simulate", seed] if *name == mutant.name() => {
            Some(Layer::Simulate(seed.parse().ok()?))
        }
        _ => None,
    })
}

fn notices(mutant: Mutant, layer: Layer) -> Option<Kill> {
    Mutant::switch(Some(mutant));
    let attacked = check(layer);
    Mutant::switch(None);
    let (broken, after) = attacked?;
    // what the sound core breaks as well says nothing of the mutant
    check(layer).is_none().then_some(Kill { by: layer, after, broken })
}

/// What breaks there, and after how much.
fn check(layer: Layer) -> Option<(String, u64)> {
    match layer {
        Layer::Simulate(seed) => Some((runs::run(options(seed), false).broken?, 1)),
        Layer::Explore(name) => {
            let sub = submodels::ALL.iter().find(|sub| sub.name == name)?.clone().with_members(3);
            catch_unwind(|| explored(&sub)).unwrap_or_else(|_| Some(("an assertion".into(), 0)))
        }
    }
}

fn explored(sub: &SubModel) -> Option<(String, u64)> {
    let report = explore::run(sub, Some(STATES));
    let unshown = || format!("never comes to {:?}", report.unseen);
    let broken = match &report.violation {
        Some((name, _)) => (*name).to_owned(),
        None if report.exhausted && !report.unseen.is_empty() => unshown(),
        None => return None,
    };
    Some((broken, report.unique))
}
