//! **engine** — breadth first through everything that can happen: whatever breaks is found by a
//! shortest way to it.
//!
//! Comes in: a [`Model`]. Goes out: a [`Search`]: how many states there are, what they showed, and
//! the way to the first one that breaks a property. States are kept whole and compared whole: a
//! hash decides only where to look, so two states are never taken for one. They stand in the
//! order in which they were found, which makes the list of them the queue as well.

use std::{
    hash::{Hash, Hasher},
    time::{Duration, Instant},
};

/// Something to be explored.
pub trait Model {
    /// Everything that makes a difference to what can happen next.
    type State: Clone + Eq + Hash;
    /// One thing that can happen.
    type Action: Clone;

    /// Where it begins.
    fn init(&self) -> Self::State;
    /// What can happen in `state`.
    fn actions(&self, state: &Self::State, into: &mut Vec<Self::Action>);
    /// What becomes of `state`; `None`: nothing does.
    fn next(&self, state: &Self::State, action: &Self::Action) -> Option<Step<Self::State>>;
    /// The name of what `state` breaks of that which must `always` hold.
    fn broken(&self, state: &Self::State) -> Option<&'static str>;
    /// What `state` shows of that which must hold `sometimes`, a bit each.
    fn shows(&self, state: &Self::State) -> u64;
}

/// What an action came to.
#[derive(Clone, Debug)]
pub struct Step<S> {
    /// The new state.
    pub state: S,
    /// What the step itself showed of that which must hold `sometimes`.
    pub shows: u64,
    /// The name of what the step itself broke.
    pub broken: Option<&'static str>,
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Search<A> {
    /// Different states.
    pub unique: u64,
    /// States made, the same one counted each time.
    pub generated: u64,
    /// Steps to the last state.
    pub depth: u32,
    /// Everything that was shown.
    pub shows: u64,
    /// Whether every state was seen; otherwise the bound on states was reached.
    pub exhausted: bool,
    /// What broke, and the shortest way to it.
    pub broken: Option<(&'static str, Vec<A>)>,
    /// How long it took.
    pub took: Duration,
}

/// States in the order of their discovery, found by hash.
struct Visited<S> {
    states: Vec<S>,
    parents: Vec<u32>,
    /// Index of a state plus one; zero is free. A power of two, at most half full.
    places: Vec<u32>,
}

impl<S: Clone + Eq + Hash> Visited<S> {
    fn new() -> Self {
        Self { states: Vec::new(), parents: Vec::new(), places: vec![0; 1 << 12] }
    }

    fn place(&self, state: &S) -> Result<usize, usize> {
        let mask = self.places.len() - 1;
        let mut hasher = Mixer(0);
        state.hash(&mut hasher);
        let mut at = hasher.finish() as usize & mask;
        loop {
            match self.places[at] {
                0 => return Err(at),
                index if self.states[index as usize - 1] == *state => return Ok(at),
                _taken => at = (at + 1) & mask,
            }
        }
    }

    /// Whether it is new.
    fn insert(&mut self, state: S, parent: u32) -> bool {
        let Err(place) = self.place(&state) else { return false };
        self.states.push(state);
        self.parents.push(parent);
        self.places[place] = u32::try_from(self.states.len()).expect("fewer than 2^32 states");
        if self.states.len() * 2 > self.places.len() {
            self.grow();
        }
        true
    }

    fn grow(&mut self) {
        self.places = vec![0; self.places.len() * 2];
        for index in 0..self.states.len() {
            let (Ok(place) | Err(place)) = self.place(&self.states[index]);
            self.places[place] = index as u32 + 1;
        }
    }
}

/// A fast hash; it need not resist anybody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
        self.0 = product as u64 ^ (product >> 64) as u64 ^ self.0.rotate_left(23);
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(u64::from(byte));
    }

    fn write_u16(&mut self, word: u16) {
        self.write_u64(u64::from(word));
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 29
    }
}

/// Explores `model` until everything was seen, something broke, or `bound` states were found.
pub fn explore<M: Model>(model: &M, bound: u64) -> Search<M::Action> {
    let began = Instant::now();
    let mut visited = Visited::new();
    visited.insert(model.init(), u32::MAX);
    let mut found = Search {
        unique: 0,
        generated: 1,
        depth: 0,
        shows: 0,
        exhausted: true,
        broken: None,
        took: Duration::ZERO,
    };
    let (mut actions, mut at, mut level_ends) = (Vec::new(), 0, 1);
    while at < visited.states.len() {
        if at == level_ends {
            level_ends = visited.states.len();
            found.depth += 1;
        }
        let state = visited.states[at].clone();
        found.shows |= model.shows(&state);
        let ends = model.broken(&state).map(|name| (name, None));
        if let Some((name, last)) = ends
            .or_else(|| expand(model, &state, at as u32, &mut actions, &mut visited, &mut found))
        {
            found.broken = Some((name, way(model, &visited, at, last)));
            break;
        }
        at += 1;
        if visited.states.len() as u64 >= bound {
            found.exhausted = false;
            break;
        }
    }
    found.unique = visited.states.len() as u64;
    found.took = began.elapsed();
    found
}

/// All that follows from one state; the first step that breaks something ends it.
fn expand<M: Model>(
    model: &M,
    state: &M::State,
    at: u32,
    actions: &mut Vec<M::Action>,
    visited: &mut Visited<M::State>,
    found: &mut Search<M::Action>,
) -> Option<(&'static str, Option<M::Action>)> {
    actions.clear();
    model.actions(state, actions);
    for action in actions.iter() {
        let Some(step) = model.next(state, action) else { continue };
        found.generated += 1;
        found.shows |= step.shows;
        if let Some(name) = step.broken {
            return Some((name, Some(action.clone())));
        }
        visited.insert(step.state, at);
    }
    None
}

/// The actions that lead to the state at `at`, and `last` after them.
fn way<M: Model>(
    model: &M,
    visited: &Visited<M::State>,
    mut at: usize,
    last: Option<M::Action>,
) -> Vec<M::Action> {
    let mut way: Vec<M::Action> = last.into_iter().collect();
    while let Some(parent) = visited.parents.get(at).filter(|parent| **parent != u32::MAX) {
        let (before, after) = (&visited.states[*parent as usize], &visited.states[at]);
        let mut actions = Vec::new();
        model.actions(before, &mut actions);
        let leads = |action: &M::Action| {
            model.next(before, action).is_some_and(|step| step.state == *after)
        };
        let action = actions.into_iter().find(leads);
        way.push(action.expect("each state but the first was made by an action"));
        at = *parent as usize;
    }
    way.reverse();
    way
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two-phase commit with three resource managers, as Stateright's example has it: 288 states.
    struct TwoPhaseCommit;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    enum Manager {
        Working,
        Prepared,
        Committed,
        Aborted,
    }

    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct Commit {
        managers: [Manager; 3],
        /// The coordinator's decision.
        decided: Option<bool>,
        /// Whose "prepared" it took.
        taken: [bool; 3],
        /// "Prepared" that was sent; messages are never lost.
        sent: [bool; 3],
    }

    #[derive(Clone, Copy, Debug)]
    enum Act {
        Take(usize),
        Decide(bool),
        Prepare(usize),
        GiveUp(usize),
        Obey(usize),
    }

    impl Model for TwoPhaseCommit {
        type State = Commit;
        type Action = Act;

        fn init(&self) -> Commit {
            let no = [false; 3];
            Commit { managers: [Manager::Working; 3], decided: None, taken: no, sent: no }
        }

        fn actions(&self, state: &Commit, into: &mut Vec<Act>) {
            if state.decided.is_none() {
                into.push(Act::Decide(false));
                into.extend((state.taken == [true; 3]).then_some(Act::Decide(true)));
                into.extend((0..3).filter(|at| state.sent[*at]).map(Act::Take));
            }
            for at in 0..3 {
                if state.managers[at] == Manager::Working {
                    into.extend([Act::Prepare(at), Act::GiveUp(at)]);
                }
                into.extend(state.decided.map(|_| Act::Obey(at)));
            }
        }

        fn next(&self, state: &Commit, action: &Act) -> Option<Step<Commit>> {
            let mut state = state.clone();
            match *action {
                Act::Take(at) => state.taken[at] = true,
                Act::Decide(commit) => state.decided = Some(commit),
                Act::Prepare(at) => {
                    state.managers[at] = Manager::Prepared;
                    state.sent[at] = true;
                }
                Act::GiveUp(at) => state.managers[at] = Manager::Aborted,
                Act::Obey(at) => {
                    let committed = state.decided == Some(true);
                    state.managers[at] =
                        if committed { Manager::Committed } else { Manager::Aborted };
                }
            }
            Some(Step { state, shows: 0, broken: None })
        }

        fn broken(&self, state: &Commit) -> Option<&'static str> {
            let any = |manager| state.managers.contains(&manager);
            (any(Manager::Committed) && any(Manager::Aborted)).then_some("consistent")
        }

        fn shows(&self, state: &Commit) -> u64 {
            u64::from(state.managers == [Manager::Committed; 3])
                | u64::from(state.managers == [Manager::Aborted; 3]) << 1
        }
    }

    #[test]
    fn two_phase_commit_has_the_states_that_everybody_finds() {
        let search = explore(&TwoPhaseCommit, u64::MAX);
        assert_eq!((search.unique, search.shows, search.broken.is_none()), (288, 0b11, true));
        assert!(search.exhausted);
    }

    #[test]
    fn a_bound_is_said_to_be_one() {
        let search = explore(&TwoPhaseCommit, 100);
        assert!(!search.exhausted && search.unique >= 100);
    }
}
