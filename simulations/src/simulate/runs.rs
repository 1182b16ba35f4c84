//! **runs** — one seed from beginning to end, and what it came to.

use super::{Options, Sim, ghost::Witness};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a run came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Which invariant broke, or what did not come back; `None`: all held.
    pub broken: Option<String>,
    /// The hash of its story.
    pub trace: u64,
    /// Events it took.
    pub events: u64,
    /// Simulated milliseconds.
    pub simulated: u64,
    /// What happened in it.
    pub witness: Witness,
    /// Its story, if it was asked for.
    pub story: Vec<String>,
}

impl Verdict {
    /// The invariant's name, such as `S1`: what a smaller run must break too.
    pub fn invariant(&self) -> Option<&str> {
        self.broken.as_deref().map(|text| text.split([':', ' ']).next().unwrap_or(text))
    }
}

/// Plays one seed: the phase of faults, then the one of recovery. An assertion of the core that fails
/// is a finding like any other.
pub fn run(options: Options, told: bool) -> Verdict {
    let mut sim = Sim::new(options, told);
    let played = catch_unwind(AssertUnwindSafe(|| play(&mut sim)));
    if let Err(panic) = played {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        sim.broke(format!("panic: {}", text.unwrap_or_default()));
    }
    Verdict {
        broken: sim.broken.clone(),
        trace: sim.trace(),
        events: sim.events,
        simulated: sim.now,
        witness: sim.ghost.witness.clone(),
        story: sim.story.take().unwrap_or_default(),
    }
}

fn play(sim: &mut Sim) {
    let until = sim.options.safety;
    while sim.step(until) {}
    if sim.broken.is_some() {
        return;
    }
    sim.calm_down();
    if let Err(missing) = sim.come_back() {
        sim.broke(missing);
    }
}
