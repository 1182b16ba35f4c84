//! **words** — a counterexample as a numbered story.
//!
//! Comes in: the actions that lead to it. Goes out: a line each, with what the agents began.

use super::{
    Explored,
    action::{Action, Mishap, Raft, Word},
    agent::Mood,
    engine::Model as _,
    world::{State, World, seat_name},
};
use protocol::{effect::Effect, registry::Change};

/// The story of `way`.
pub(super) fn walkthrough(model: &Explored, way: &[Action]) -> Vec<String> {
    let mut state = model.init();
    let mut lines = Vec::new();
    for (number, action) in way.iter().enumerate() {
        let line = model.world().line(&state, *action);
        let next = model.next(&state, action).map(|step| step.state);
        let began = next.as_ref().map(|next| model.world().began(&state, next, *action));
        lines.push(format!("{:>3}  {line}{}", number + 1, began.unwrap_or_default()));
        if let Some(next) = next {
            state = next;
        }
    }
    lines
}

/// A write in a word or two.
fn name(change: &Change) -> String {
    format!("the write \"{}\"", change.name)
}

impl World {
    fn machine_name(&self, state: &State, at: usize) -> String {
        self.machine(state, at).instance.0.clone()
    }

    fn effect(&self, state: &State, at: usize, index: usize) -> String {
        let effect = &self.agents.get(state.agents[at]).pending[index];
        if let Effect::Write(change) = effect {
            return name(change);
        }
        format!("\"{}\"", effect.name())
    }

    fn line(&self, state: &State, action: Action) -> String {
        let who = |at| self.machine_name(state, at);
        let effect = |at, index| self.effect(state, at, index);
        match action {
            Action::Turn(at, mood) => format!("{} takes a turn{}", who(at), how(mood)),
            Action::Say(at, word) => format!("an operator tells {} to {}", who(at), order(word)),
            Action::Perform(at, index) => format!("{}: {} is done", who(at), effect(at, index)),
            Action::PerformUnheard(at, index) => {
                format!("{}: {} is done, and the answer is lost", who(at), effect(at, index))
            }
            Action::PerformTwice(at, index) => {
                format!("{}: {} is done, a copy stays on its way", who(at), effect(at, index))
            }
            Action::GiveUp(at, index) => {
                format!("{} gives {} up, which stays on its way", who(at), effect(at, index))
            }
            Action::Land(place) => {
                format!("{} lands late", name(self.change(state.under_way[place])))
            }
            Action::Crash(at) => format!("{}: the agent ends", who(at)),
            Action::CrashLate(at) => {
                format!("{}: the agent ends, its write stays on its way", who(at))
            }
            Action::StartAgent(at) => format!("{}: an agent begins", who(at)),
            Action::Befall(mishap) => self.mishap(state, mishap),
            Action::Raft(action) => self.between_members(state, action),
        }
    }

    fn mishap(&self, state: &State, mishap: Mishap) -> String {
        let who = |at| self.machine_name(state, at);
        match mishap {
            Mishap::Kill(at) => format!("{}: etcd is killed", who(at)),
            Mishap::PowerCut(at) => format!("{} loses its power", who(at)),
            Mishap::Wipe(at) => format!("{}: the data volume is emptied", who(at)),
            Mishap::Destroy(at, false) => format!("{} is terminated with its disks", who(at)),
            Mishap::Destroy(at, true) => format!("{} is terminated, its volume survives", who(at)),
            Mishap::Replace(seat) => format!("a new machine takes the name {}", seat_name(seat)),
            Mishap::MoveVolume(from, to) => {
                format!("the volume of {} is mounted on {}", who(from), who(to))
            }
            Mishap::LoseRoot(at) => format!("{} loses its root disk", who(at)),
            Mishap::Unmount(at) => format!("{}: the data volume is unmounted", who(at)),
            Mishap::Mount(at) => format!("{}: the data volume is mounted again", who(at)),
            Mishap::AskGate(at) => format!("{}: the gate lets etcd start", who(at)),
            Mishap::Fork(at) => format!("{}: etcd is forked behind the gate", who(at)),
        }
    }

    fn between_members(&self, state: &State, action: Raft) -> String {
        let who = |at| self.machine_name(state, at);
        match action {
            Raft::Put(at) => format!("a client writes through {}", who(at)),
            Raft::Append(from, to) => {
                format!("{}'s log reaches {}, which acknowledges it", who(from), who(to))
            }
            Raft::Commit(at) => format!("{} counts its acknowledgements", who(at)),
            Raft::CatchUp(at) => format!("{}'s member hears what it missed", who(at)),
            Raft::Elect(at) => format!("{} wins an election", who(at)),
            Raft::Remove(at, seat) => {
                format!("{} is asked by hand to remove {}'s member", who(at), seat_name(seat))
            }
        }
    }

    /// What an agent asked for in its turn.
    fn began(&self, before: &State, after: &State, action: Action) -> String {
        let (Action::Turn(at, _) | Action::Say(at, _)) = action else { return String::new() };
        let had = &self.agents.get(before.agents[at]).pending;
        let new: Vec<String> = self
            .agents
            .get(after.agents[at])
            .pending
            .iter()
            .enumerate()
            .filter(|(_, pending)| !had.contains(pending))
            .map(|(index, _)| self.effect(after, at, index))
            .collect();
        if new.is_empty() { String::new() } else { format!(" and asks for {}", new.join(", ")) }
    }
}

const fn how(mood: Mood) -> &'static str {
    match mood {
        Mood::Patient => "",
        Mood::Hasty => ", every window has passed",
        Mood::Alarmed => ", every voice tells of failure",
        Mood::Deaf => ", hearing nobody else",
        Mood::Cut => ", the stores are silent",
    }
}

fn order(word: Word) -> String {
    match word {
        Word::Attest(seat) => format!("attest that {}'s machine is gone", seat_name(seat)),
        Word::Replace(seat) => format!("replace {}'s member", seat_name(seat)),
        Word::Rollback => "roll back".to_owned(),
        Word::Pause => "pause".to_owned(),
        Word::Resume => "resume".to_owned(),
        Word::CallOff => "call off what is under way".to_owned(),
    }
}
