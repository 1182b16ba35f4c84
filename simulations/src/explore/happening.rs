//! **happening** — what becomes of a state by one action.
//!
//! Comes in: a state and an action that can happen in it. Goes out: the next state, what that
//! showed, and the name of what it broke, if it broke something.

use super::{
    action::{Action, Mishap, Word},
    agent::{Mood, failed},
    engine::Step,
    etcd::Run,
    faults::Fault,
    invariants::LAPSED_PROMISE,
    machine::{Machine, Volume},
    witness::Witness,
    world::{Answer, State, Turned, World, seat_name},
};
use protocol::{
    effect::Effect,
    event::{FailureKind, Outcome},
    registry::{Row, Written},
};

pub(super) type After = Option<Step<State>>;

pub(super) fn step(state: State) -> After {
    Some(Step { state, shows: 0, broken: None })
}

impl World {
    /// What `action` makes of `before`.
    pub(super) fn happen(&mut self, before: &State, action: Action) -> After {
        match action {
            Action::Turn(at, mood) => self.take(before, at, mood, None),
            Action::Say(at, word) => self.say(before, at, word),
            Action::Perform(at, index) => self.perform(before, at, index, true),
            Action::PerformUnheard(at, index) => {
                let state = spend(before, Fault::LoseAnswer)?;
                self.perform(&state, at, index, false)
            }
            Action::PerformTwice(at, index) => {
                let mut state = spend(before, Fault::Twice)?;
                self.put_under_way(&mut state, at, index);
                self.perform(&state, at, index, true)
            }
            Action::GiveUp(at, index) => {
                let mut state = spend(before, Fault::Late)?;
                self.put_under_way(&mut state, at, index);
                self.answer(&mut state, at, index, Answer::Written(Written::Unknown));
                step(state)
            }
            Action::Land(place) => {
                let mut state = before.clone();
                let change = std::mem::take(&mut state.under_way[place]);
                state.under_way.sort_unstable();
                let after = self.write(&state, change)?;
                Some(Step { shows: after.shows | Witness::LateWrite.bit(), ..after })
            }
            Action::Crash(at) => {
                let mut state = spend(before, Fault::Crash)?;
                state.agents[at] = 0;
                step(state)
            }
            Action::CrashLate(at) => {
                let mut state = spend(&spend(before, Fault::Crash)?, Fault::Late)?;
                let agent = self.agents.get(state.agents[at]);
                let writes = |effect: &Effect| matches!(effect, Effect::Write(_));
                let index = agent.pending.iter().position(writes)?;
                self.put_under_way(&mut state, at, index);
                state.agents[at] = 0;
                step(state)
            }
            Action::StartAgent(at) => self.start_agent(before, at),
            Action::Raft(action) => self.raft(before, action),
            Action::Befall(mishap) => self.befall(before, mishap),
        }
    }

    fn take(&mut self, before: &State, at: usize, mood: Mood, said: Option<Word>) -> After {
        let state = match mood {
            Mood::Patient | Mood::Hasty => before.clone(),
            Mood::Alarmed => spend(before, Fault::Alarm)?,
            Mood::Deaf if said.is_some() => before.clone(),
            Mood::Deaf => spend(before, Fault::Deaf)?,
            Mood::Cut => spend(before, Fault::Cut)?,
        };
        let turned = self.turn(before, at, mood, said);
        let after = self.turned(before, state, at, turned)?;
        if self.sub.swift { self.go_on(after, at) } else { Some(after) }
    }

    /// The same agent's next turns, for as long as they change anything and it asks for nothing.
    fn go_on(&mut self, mut after: Step<State>, at: usize) -> After {
        while after.broken.is_none() && self.agents.get(after.state.agents[at]).pending.is_empty() {
            let turned = self.turn(&after.state, at, Mood::Patient, None);
            let Some(next) = self.turned(&after.state, after.state.clone(), at, turned) else {
                break;
            };
            after = Step { shows: after.shows | next.shows, ..next };
        }
        Some(after)
    }

    fn turned(&mut self, before: &State, mut state: State, at: usize, turned: Turned) -> After {
        state.agents[at] = turned.agent;
        state.machines[at] = turned.machine;
        state.bucket = turned.bucket;
        if state.agents == before.agents && state.machines == before.machines {
            return None; // nothing came of it
        }
        let after = Step { state, shows: 0, broken: turned.broken };
        if after.broken.is_some() || !self.sub.prompt {
            return Some(after);
        }
        self.promptly(after, at)
    }

    /// The seat's own record is written at once.
    fn promptly(&mut self, before: Step<State>, at: usize) -> After {
        let agent = self.agents.get(before.state.agents[at]);
        let of_seat = |effect: &Effect| matches!(effect, Effect::Write(change) if matches!(change.record.row(), Row::Slot(_)));
        match agent.pending.iter().position(of_seat) {
            Some(index) => self.perform(&before.state, at, index, true),
            None => Some(before),
        }
    }

    fn say(&mut self, before: &State, at: usize, word: Word) -> After {
        let state = match word {
            Word::Attest(seat) if self.is_gone_for_good(before, seat)? => {
                spend(before, Fault::AttestTrue)?
            }
            Word::Attest(_) => spend(before, Fault::AttestFalse)?,
            Word::Replace(_) => spend(before, Fault::AskReplace)?,
            Word::Rollback => spend(before, Fault::Rollback)?,
            Word::Pause => spend(before, Fault::Pause)?,
            Word::Resume => before.clone(),
            Word::CallOff => spend(before, Fault::CallOff)?,
        };
        let deaf = matches!(word, Word::Attest(_)); // whoever speaks is not said to be gone
        self.take(&state, at, if deaf { Mood::Deaf } else { Mood::Hasty }, Some(word))
    }

    fn start_agent(&mut self, before: &State, at: usize) -> After {
        let mut state = before.clone();
        let mut machine = self.machine(&state, at).clone();
        machine.begin_process();
        state.machines[at] = self.machines.put(machine);
        state.agents[at] = self.new_agent(state.machines[at]);
        step(state)
    }

    pub(super) fn answer(&mut self, state: &mut State, at: usize, index: usize, answer: Answer) {
        let key = (state.agents[at], index, answer);
        if let Some(agent) = self.answers.get(&key) {
            state.agents[at] = *agent;
            return;
        }
        let outcome = match answer {
            Answer::Done(true) => Outcome::Ok,
            Answer::Done(false) => failed(FailureKind::Unavailable),
            Answer::Written(written) => Outcome::Written(written),
        };
        let agent = self.agents.get(state.agents[at]).answered(index, outcome);
        state.agents[at] = self.agents.put(agent);
        self.answers.insert(key, state.agents[at]);
    }

    /// The write that an agent has under way; `None`: it is no write.
    fn asked(&mut self, state: &State, at: usize, index: usize) -> Option<u32> {
        let key = (state.agents[at], index);
        if let Some(change) = self.asked.get(&key) {
            return *change;
        }
        let effect = &self.agents.get(state.agents[at]).pending[index];
        let change = if let Effect::Write(change) = effect { Some(change.clone()) } else { None };
        let number = change.map(|change| self.tables.changes.put(change));
        self.asked.insert(key, number);
        number
    }

    fn put_under_way(&mut self, state: &mut State, at: usize, index: usize) {
        let Some(number) = self.asked(state, at, index) else { return };
        state.under_way.sort_unstable();
        state.under_way[0] = number;
        state.under_way.sort_unstable();
    }

    fn perform(&mut self, before: &State, at: usize, index: usize, heard: bool) -> After {
        if let Some(number) = self.asked(before, at, index) {
            let (_, written) = self.tables.write(before.table, number);
            let mut after = self.write(before, number)?;
            let told = if heard { written } else { Written::Unknown };
            self.answer(&mut after.state, at, index, Answer::Written(told));
            return Some(after);
        }
        if let Some(after) = self.perform_in_etcd(before, at, index, heard) {
            return Some(after);
        }
        let mut state = before.clone();
        let mut machine = self.machine(before, at).clone();
        let effect = &self.agents.get(before.agents[at]).pending[index];
        let starts = matches!(effect, Effect::Start(_));
        let lapsed = starts && machine.member().is_some_and(|member| machine.is_bound(member.inc));
        let able = machine.perform(effect);
        state.machines[at] = self.machines.put(machine);
        self.answer(&mut state, at, index, Answer::Done(able && heard));
        Some(Step { state, shows: 0, broken: lapsed.then_some(LAPSED_PROMISE) })
    }

    /// A write reaches the table.
    fn write(&mut self, before: &State, change: u32) -> After {
        let (table, written) = self.tables.write(before.table, change);
        let state = State { table, ..before.clone() };
        let (shows, broken) = if written == Written::Applied {
            super::writes::written(self, before, &state, change)
        } else {
            (Witness::Refused.bit(), None)
        };
        Some(Step { state, shows, broken })
    }

    pub(super) fn alter(
        &mut self,
        before: &State,
        at: usize,
        how: impl FnOnce(&mut Machine),
    ) -> State {
        let mut machine = self.machine(before, at).clone();
        how(&mut machine);
        let mut state = before.clone();
        state.machines[at] = self.machines.put(machine);
        state
    }

    /// Mishaps of machines, and what service managers do.
    fn befall(&mut self, before: &State, mishap: Mishap) -> After {
        let state = match mishap {
            Mishap::Kill(at) => self.alter(&spend(before, Fault::Kill)?, at, Machine::end_etcd),
            Mishap::PowerCut(at) => {
                let mut state = self.alter(&spend(before, Fault::PowerCut)?, at, Machine::end_etcd);
                state.agents[at] = 0;
                state
            }
            Mishap::Wipe(at) => self.alter(&spend(before, Fault::Wipe)?, at, |machine| {
                machine.end_etcd();
                machine.volume = machine.volume.take().map(|volume| Volume::empty(volume.fs));
            }),
            Mishap::Destroy(at, keep) => {
                let fault = if keep { Fault::DestroyKeepVolume } else { Fault::Destroy };
                let mut state = self.alter(&spend(before, fault)?, at, |machine| {
                    machine.end_etcd();
                    machine.gone = true;
                    machine.volume = machine.volume.take().filter(|_| keep);
                });
                state.agents[at] = 0;
                state
            }
            Mishap::Replace(seat) => {
                let mut state = spend(before, Fault::Replace)?;
                let machine = Machine::new(seat, format!("{}2", seat_name(seat)));
                state.machines[self.sub.members + seat] = self.machines.put(machine);
                state
            }
            Mishap::MoveVolume(from, to) => {
                let volume = self.machine(before, from).volume.clone();
                let emptied = |machine: &mut Machine| machine.volume = None;
                let state = self.alter(&spend(before, Fault::MoveVolume)?, from, emptied);
                self.alter(&state, to, |machine| machine.volume = volume)
            }
            Mishap::LoseRoot(at) => self.alter(&spend(before, Fault::LoseRoot)?, at, |machine| {
                machine.root = protocol::observation::Memory::default();
            }),
            Mishap::Unmount(at) => self.alter(&spend(before, Fault::Unmount)?, at, |machine| {
                machine.end_etcd();
                machine.mounted = false;
            }),
            Mishap::Mount(at) => self.alter(before, at, |machine| machine.mounted = true),
            Mishap::AskGate(at) => {
                let state = spend(before, Fault::Gate)?;
                self.alter(&state, at, |machine| machine.forking = true)
            }
            Mishap::Fork(at) => self.alter(before, at, |machine| {
                machine.forking = false;
                machine.run = machine.member().map(|_| Run::new(false));
            }),
        };
        step(state)
    }
}

/// The same state with one fault fewer to come.
pub(super) fn spend(state: &State, fault: Fault) -> Option<State> {
    Some(State { left: state.left.spend(fault)?, ..state.clone() })
}
