//! **world** — a whole cluster in one thread: agents (the real core), machines, etcd, table and
//! bucket, and a clock that jumps from one event to the next. Comes from a script, goes to its reply.
//!
//! Every effect takes a fixed small time: it is performed half-way and answered at the end, so an
//! agent that is killed in between has done it and never heard of it. No randomness anywhere.

mod etcd;
mod machine;
mod perform;
pub(crate) mod script;
mod mishaps;
mod store;
mod verbs;
mod watch;

use machine::Machine;
use protocol::{
    cluster::{Nonce, Seat, Slot},
    coordinator::{Coordinator, Mode, Policy, Threshold},
    effect::{Effect, Lane},
    event::{Event, Outcome},
    explanation::Note,
    limits::Timers,
    observation::{Answer, Identity},
    registry::Ctrl,
    time::{Moment, Span},
};
use std::collections::{BTreeMap, BTreeSet};
use store::Store;

/// What waits in the queue.
enum Happening {
    Wake,
    Perform { lane: Lane, asked: Moment, effect: Box<Effect>, why: String },
    Answer { lane: Lane, asked: Moment, outcome: Box<Outcome> },
}

/// One agent process.
struct Agent {
    process: u64,
    machine: usize,
    core: Coordinator,
    paused: bool,
    held: Vec<Happening>,
    wake_at: u64,
    notes: Vec<Note>,
    /// What it last read and saw, for the checks.
    read: Option<Ctrl>,
    /// Neither table nor bucket answers this agent.
    cut: bool,
    saw_quorum: bool,
}

/// Everything.
pub(crate) struct World {
    now: u64,
    count: u64,
    queue: BTreeMap<(u64, u64), (u64, Happening)>,
    machines: Vec<Machine>,
    agents: Vec<Agent>,
    store: Store,
    policy: Policy,
    s3_cut: bool,
    table_cut: bool,
    /// Snapshots that are saved are doubtful.
    doubtful: bool,
    /// Machines whose members hold something else than the others, which shows where these are asked.
    differs: BTreeSet<usize>,
    /// etcd refuses every copy of a member.
    logs_refused: bool,
    /// Data of snapshots that were damaged.
    spoilt: BTreeMap<String, Vec<u64>>,
    /// Half of what moving data takes, in milliseconds.
    data_delay: u64,
    acked: Vec<u64>,
    lines: Vec<String>,
    watch: watch::Watch,
}

impl World {
    pub(crate) fn new() -> Self {
        let policy = Policy {
            timers: Timers::QUICK,
            mode: Mode::Automatic,
            threshold: Threshold::Quorum,
            min_members: None,
            max_loss: None,
            exports: true,
            seats: Vec::new(),
            bootstrap: true,
            proven: true,
        };
        Self {
            now: 0,
            count: 0,
            queue: BTreeMap::new(),
            machines: Vec::new(),
            agents: Vec::new(),
            store: Store::default(),
            policy,
            s3_cut: false,
            table_cut: false,
            doubtful: false,
            differs: BTreeSet::new(),
            logs_refused: false,
            spoilt: BTreeMap::new(),
            data_delay: 400,
            acked: Vec::new(),
            lines: Vec::new(),
            watch: watch::Watch::default(),
        }
    }

    fn found_seats(&mut self, names: &[&str]) {
        self.policy.seats = seats(names);
        self.machines = names.iter().map(|name| Machine::new(name, name)).collect();
    }

    /// A machine's clock: none agrees with another.
    fn moment(&self, machine: usize) -> Moment {
        Moment(self.now + 1_000_000 * (machine as u64 + 1))
    }

    fn agent(&self, process: u64) -> Option<usize> {
        self.agents.iter().position(|agent| agent.process == process)
    }

    fn push(&mut self, after: u64, process: u64, what: Happening) {
        self.count += 1;
        self.queue.insert((self.now + after, self.count), (process, what));
    }

    fn start_agent(&mut self, machine: usize) {
        self.count += 1;
        let process = self.count;
        let here = &self.machines[machine];
        let me = Identity {
            instance: here.mistaken_for.as_ref().unwrap_or(&here.instance).clone(),
            nonce: Nonce(format!("{}-{process}", here.instance.0)),
            name: here.name.clone(),
        };
        self.agents.push(Agent {
            process,
            machine,
            core: Coordinator::new(self.policy.clone(), me),
            paused: false,
            held: Vec::new(),
            wake_at: self.now,
            notes: Vec::new(),
            read: None,
            cut: false,
            saw_quorum: false,
        });
        self.push(0, process, Happening::Wake);
    }

    /// Runs the next event, if it is due by `until`.
    fn step(&mut self, until: u64) -> bool {
        let next = self.queue.first_key_value().map(|((at, _), _)| *at);
        if next.is_none_or(|at| at > until) {
            self.now = until;
            return false;
        }
        let Some(((at, _), (process, what))) = self.queue.pop_first() else { return false };
        self.now = at;
        let Some(index) = self.agent(process) else { return true };
        if self.agents[index].paused {
            self.agents[index].held.push(what);
            return true;
        }
        let acts = matches!(what, Happening::Perform { .. });
        self.happen(index, what);
        if acts {
            self.raft();
            self.watch();
        }
        true
    }

    fn happen(&mut self, index: usize, what: Happening) {
        match what {
            Happening::Wake if self.now < self.agents[index].wake_at => {}
            Happening::Wake => self.hand_in(index, Event::Tick),
            Happening::Perform { lane, asked, effect, why } => {
                let after = self.delay(&effect);
                let outcome = self.perform(index, *effect, &why);
                let process = self.agents[index].process;
                self.push(
                    after,
                    process,
                    Happening::Answer { lane, asked, outcome: outcome.into() },
                );
            }
            Happening::Answer { lane, asked, outcome } => {
                let agent = &mut self.agents[index];
                if let Outcome::Records(records) = &*outcome {
                    agent.read = records.ctrl.clone();
                }
                if let Outcome::Looked(look) = &*outcome {
                    agent.saw_quorum =
                        matches!(&look.etcd, Answer::Status(status) if status.linearizable);
                }
                self.hand_in(index, Event::Done { lane, asked, outcome: *outcome });
            }
        }
    }

    fn hand_in(&mut self, index: usize, event: Event) {
        let now = self.moment(self.agents[index].machine);
        let agent = &mut self.agents[index];
        let turn = agent.core.handle(now, event);
        let process = agent.process;
        let wait = turn.wake_at.since(now).0.max(1);
        agent.wake_at = self.now + wait;
        agent.notes = turn.notes;
        let notes = agent.notes.clone();
        for (_, told) in &turn.told {
            self.tell(told);
        }
        self.push(wait, process, Happening::Wake);
        for effect in turn.effects {
            self.check_promise(index, &effect);
            let why = watch::reason(&effect, &notes);
            let lane = effect.lane();
            let effect = Box::new(effect);
            let after = self.delay(&effect) + self.agents[index].machine as u64 * 7;
            self.push(after, process, Happening::Perform { lane, asked: now, effect, why });
        }
    }

    fn raft(&mut self) {
        let mut running: Vec<_> = self.machines.iter_mut().filter_map(Machine::running).collect();
        etcd::round(&mut running);
    }

    /// Runs for so long, or until `done`; whether it came to that.
    fn run(&mut self, span: Span, done: impl Fn(&Self) -> bool) -> bool {
        let until = self.now + span.0;
        while !done(self) {
            if !self.step(until) {
                return done(self);
            }
        }
        true
    }

    fn say(&mut self, who: &str, what: &str) {
        let line = format!("{:>7}.{:03} {who:<3} {what}", self.now / 1000, self.now % 1000);
        self.lines.push(line.trim_start().to_owned());
    }

    /// Half of what an effect takes, in milliseconds.
    const fn delay(&self, effect: &Effect) -> u64 {
        match effect {
            Effect::Save(_)
            | Effect::SalvageCopy { .. }
            | Effect::Restore(..)
            | Effect::Verify(_) => return self.data_delay,
            _ => {}
        }
        match effect.lane() {
            Lane::Registry => 10,
            Lane::Votes => 25,
            Lane::Look => 15,
            Lane::Machine => 60,
            Lane::Data => 40,
            Lane::Etcd => 30,
        }
    }
}

/// The seats of agents called so.
fn seats(names: &[&str]) -> Vec<Seat> {
    let seat = |(slot, name): (usize, &&str)| Seat {
        slot: Slot(u8::try_from(slot).expect("at most nine seats")),
        name: (*name).to_owned(),
        peer_url: format!("http://{name}:2380"),
        client_url: format!("http://{name}:2379"),
    };
    names.iter().enumerate().map(seat).collect()
}
