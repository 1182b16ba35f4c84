//! **prelude** — where a sub-model begins that begins late: one way of many to a phase of the first
//! restore, so that the search is spent on what comes after it.
//!
//! Comes in: a quorum's data lost. Goes out: the state in which the phase was just put on record. The
//! sub-models that begin before it try every other way.

use super::{
    action::Action,
    agent::Mood,
    faults::Allowance,
    world::{State, World},
};
use protocol::registry::Phase;

/// More steps than any restore takes.
const STEPS: usize = 1000;

impl World {
    /// The first restore up to `phase`: whoever can go on without waiting does, the lowest machine
    /// first, and only where nobody can a window passes.
    pub(super) fn restored(&mut self, phase: Phase) -> State {
        let allowed = self.first.left;
        let mut state = State { left: Allowance::any(), ..self.first.clone() };
        for _ in 0..STEPS {
            let ctrl = self.ctrl(&state);
            if (ctrl.inc, ctrl.phase) == (2, phase) {
                return State { left: allowed, ..state };
            }
            let ways = self.ways(&state);
            let next = ways.into_iter().find_map(|action| self.happen(&state, action));
            state = next.expect("a restore goes on").state;
        }
        unreachable!("a restore comes to {}", phase.name())
    }

    /// What agents may do, in the order in which it is preferred.
    fn ways(&self, state: &State) -> Vec<Action> {
        let waits = |at: &usize| !self.agents.get(state.agents[*at]).pending.is_empty();
        let (asked, free): (Vec<usize>, Vec<usize>) = (0..self.sub.members).partition(waits);
        let done = asked.into_iter().map(|at| Action::Perform(at, 0));
        let turns = |mood| free.iter().map(move |at| Action::Turn(*at, mood));
        done.chain(turns(Mood::Patient)).chain(turns(Mood::Hasty)).collect()
    }
}
