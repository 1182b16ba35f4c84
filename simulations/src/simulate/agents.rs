//! **agents** — the processes that carry the real core: started, woken, killed. What they ask for is
//! put on its way; what comes back is handed in.

use super::{Call, Happening, Sim, answers::Deferred};
use protocol::{
    cluster::Nonce,
    coordinator::{Coordinator, Told, Turn},
    effect::{Effect, Lane},
    event::{Command, Event, Outcome, Ticket},
    explanation::{Code, Note},
    observation::{Answer, Identity, LogState},
    registry::{Ctrl, Records},
    time::Moment,
};
use std::{rc::Rc, sync::Arc};

/// One agent process.
pub(super) struct Agent {
    pub(super) process: u64,
    pub(super) machine: usize,
    pub(super) core: Coordinator,
    pub(super) paused: bool,
    wake_at: u64,
    /// The cluster it works for.
    uid: Option<Rc<str>>,
    pub(super) notes: Vec<Note>,
    /// The version of its vote's object that it knows.
    pub(super) vote: Option<u64>,
    /// What it last read and saw, for the checks.
    read: Option<Arc<Records>>,
    /// When that was, or when it began.
    pub(super) read_at: u64,
    pub(super) saw_quorum: bool,
    /// The file system of its data dir, if that held no member.
    pub(super) saw_empty: Option<String>,
}

impl Agent {
    /// The decision head as this agent last read it.
    pub(super) fn ctrl(&self) -> Option<&Ctrl> {
        self.read.as_ref()?.ctrl.as_ref()
    }
}

/// How long a call is held that a plot holds, in milliseconds.
const HELD: u64 = 2_300;

impl Sim {
    pub(super) fn start_agent(&mut self, machine: usize) {
        let here = &self.machines[machine];
        let runs = self.agents.iter().any(|agent| agent.machine == machine);
        if runs || !here.on || here.terminated {
            return;
        }
        self.count += 1;
        let process = self.count;
        let me = Identity {
            instance: here.instance.clone(),
            nonce: Nonce(format!("{}-{process}", here.instance.0)),
            name: here.name.clone(),
        };
        let core = Coordinator::new(self.policy.clone(), me);
        let wake_at = self.now;
        let notes = Vec::new();
        let (vote, read) = (None, None);
        self.agents.push(Agent {
            process,
            machine,
            core,
            paused: false,
            wake_at,
            uid: None,
            notes,
            vote,
            read,
            read_at: self.now,
            saw_quorum: false,
            saw_empty: None,
        });
        self.push(0, Happening::Wake { process });
    }

    pub(super) fn agent(&self, process: u64) -> Option<usize> {
        self.agents.iter().position(|agent| agent.process == process)
    }

    /// Ends an agent's process. What it had sent may still arrive; what it was doing on its machine
    /// may be half done.
    pub(super) fn kill_agent(&mut self, machine: usize) {
        let Some(index) = self.agents.iter().position(|agent| agent.machine == machine) else {
            return;
        };
        let process = self.agents.remove(index).process;
        self.held.retain(|(_, what)| !is_of(what, process));
        let own: Vec<(u64, u64)> =
            self.queue.iter().filter(|(_, what)| is_of(what, process)).map(|(at, _)| *at).collect();
        for at in own {
            let Some(what) = self.queue.remove(&at) else { continue };
            let Happening::Perform(call) = what else { continue };
            if call.lane == Lane::Machine {
                if self.rng.bool() {
                    let first = self.rng.bool();
                    self.machines[machine].change_half(&call.effect, first);
                }
            } else if is_sent(&call.effect) && self.rng.bool() {
                self.queue.insert(at, Happening::Perform(call));
            }
        }
    }

    pub(super) fn wake(&mut self, process: u64) {
        let Some(index) = self.agent(process) else { return };
        if self.now >= self.agents[index].wake_at {
            self.hand_in(index, Event::Tick);
        }
    }

    pub(super) fn answer(&mut self, process: u64, lane: Lane, asked: Moment, came: Deferred) {
        let Some(index) = self.agent(process) else { return };
        let outcome = self.settle(came);
        let agent = &mut self.agents[index];
        if let Outcome::Records(records) = &outcome {
            (agent.read, agent.read_at) = (Some(Arc::clone(records)), self.now);
        }
        if let Outcome::Looked(look) = &outcome {
            agent.saw_quorum = matches!(&look.etcd, Answer::Status(status) if status.linearizable);
            let empty = look.data.log == LogState::Missing;
            agent.saw_empty = look.data.fs.clone().filter(|_| empty);
        }
        self.hand_in(index, Event::Done { lane, asked, outcome });
    }

    pub(super) fn hand_in(&mut self, index: usize, event: Event) {
        let machine = self.agents[index].machine;
        let now = self.machines[machine].moment(self.now);
        let agent = &mut self.agents[index];
        let Turn { effects, wake_at, notes, told } = agent.core.handle(now, event);
        let process = agent.process;
        let wait = self.machines[machine].lasting(wake_at.since(now).0.max(1));
        let asleep_until = std::mem::replace(&mut agent.wake_at, self.now + wait);
        let before = std::mem::replace(&mut agent.notes, notes);
        if agent.uid.as_deref() != agent.core.uid() {
            agent.uid = agent.core.uid().map(Rc::from);
        }
        let uid = agent.uid.clone().unwrap_or_default();
        // at that moment it wakes already
        if asleep_until != self.now + wait {
            self.push(wait, Happening::Wake { process });
        }
        self.whisper(index, &before);
        for (_, told) in told {
            self.heard(&told);
        }
        for effect in effects {
            self.check_asked(index, &effect);
            let lane = effect.lane();
            let after = self.half_a_call(&effect);
            let uid = Rc::clone(&uid);
            let call = Call { process, machine, uid, lane, asked: now, effect };
            self.push(after, Happening::Perform(Box::new(call)));
        }
    }

    /// An agent's reasons, where they change: for whoever reads the story, and no part of its hash.
    fn whisper(&mut self, index: usize, before: &[Note]) {
        let Some(story) = &mut self.story else { return };
        let agent = &self.agents[index];
        let fresh = agent.notes.iter().filter(|note| !before.contains(note));
        for note in fresh.filter(|note| !matches!(note.code, Code::Blind | Code::LeaseHeld)) {
            let who = &self.machines[agent.machine].instance;
            let (at, code) = (self.now, note.code.name());
            story.push(format!(
                "{:>8}.{:03} {who:<4}   ({code} {})",
                at / 1000,
                at % 1000,
                note.text
            ));
        }
    }

    /// What half a call takes, in milliseconds.
    pub(super) fn half_a_call(&mut self, effect: &Effect) -> u64 {
        let (least, most) = self.options.latency;
        let base = self.rng.u64(least..=most);
        if !self.calm && self.rng.u64(0..1000) < self.options.rates.slow {
            return base + self.rng.u64(0..20_000);
        }
        let plot = self.options.plot.as_ref();
        if plot.is_some_and(|plot| plot.holds(effect, &self.played)) {
            self.played.begun += 1; // once
            (0..self.machines.len()).for_each(|machine| self.relink(machine));
            return base + HELD;
        }
        match effect.lane() {
            Lane::Data => base + self.rng.u64(10..500),
            Lane::Machine => base + self.rng.u64(1..60),
            Lane::Registry | Lane::Votes | Lane::Look | Lane::Etcd => base,
        }
    }

    /// An operator says a word to some agent that listens; whether there is one.
    pub(super) fn say_to_an_agent(&mut self, command: Command) -> bool {
        let listens = |agent: &Agent| !agent.paused && !self.machines[agent.machine].frozen;
        let listening: Vec<usize> =
            (0..self.agents.len()).filter(|at| listens(&self.agents[*at])).collect();
        let Some(index) = self.rng.choice(&listening).copied() else { return false };
        self.say("op", &format!("says {command:?}"));
        self.count += 1;
        let ticket = Ticket(self.count);
        self.hand_in(index, Event::Operator(ticket, command));
        true
    }

    fn heard(&mut self, told: &Told) {
        let text = match told {
            Told::Accepted(note) => format!("accepted: {}", note.text),
            Told::Saved(manifest) => format!("saved: {}", manifest.key()),
            Told::Refused(note) => format!("refused: {}", note.text),
        };
        self.say("op", &text);
    }
}

fn is_of(what: &Happening, process: u64) -> bool {
    match what {
        Happening::Wake { process: of } | Happening::Answer { process: of, .. } => *of == process,
        Happening::Perform(call) => call.process == process,
        Happening::Late(_)
        | Happening::Raft
        | Happening::Message { .. }
        | Happening::Client
        | Happening::Trouble(_)
        | Happening::Heal(_)
        | Happening::Cue => false,
    }
}

/// Whether a call may have left the machine before its sender died, and does something.
fn is_sent(effect: &Effect) -> bool {
    matches!(effect, Effect::Write(_) | Effect::Found(_) | Effect::PutPlan(_))
        || effect.lane() == Lane::Etcd
}
