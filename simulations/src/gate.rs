//! **gate** — attacks the core with its [mutants](protocol::mutant): each must break an invariant that
//! the sound core keeps. One that lives shows a hole in the checkers.
//!
//! Comes from `simulate --mutants`. Goes to a table: which layer noticed, after how much. The seeds that
//! killed a mutant last time stand in `simulations/mutants.txt` and are tried first; they are a matter
//! of speed only, for the search goes on without them.

use crate::simulate::{Options, runs};
use protocol::mutant::Mutant;

/// How a mutant was noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// The seed whose story shows it.
    pub seed: u64,
    /// How many seeds were played before.
    pub seeds: u64,
    /// What broke.
    pub broken: String,
}

/// How long things go wrong for a mutant, in milliseconds.
pub const MINUTES: u64 = 10;

/// The seeds that killed mutants before.
const KNOWN: &str = include_str!("../mutants.txt");

/// The options of one seed of the gate: three, four or five members.
pub fn options(seed: u64) -> Options {
    let members = 3 + usize::try_from(seed % 3).unwrap_or(0);
    Options::drawn(seed, members, MINUTES * 60_000)
}

/// Plays seeds until one breaks an invariant under `mutant` and none without it; at most `most`.
pub fn attack(mutant: Mutant, most: u64) -> Option<Kill> {
    let known = KNOWN.lines().filter_map(|line| line.split_once(' '));
    let known = known.filter(|(name, _)| *name == mutant.name());
    let first: Vec<u64> = known.filter_map(|(_, seed)| seed.trim().parse().ok()).collect();
    for (seeds, seed) in first.into_iter().chain(0..most).enumerate() {
        Mutant::switch(Some(mutant));
        let attacked = runs::run(options(seed), false);
        Mutant::switch(None);
        let Some(broken) = attacked.broken else { continue };
        if runs::run(options(seed), false).broken.is_none() {
            return Some(Kill { seed, seeds: seeds as u64, broken });
        }
    }
    None
}
