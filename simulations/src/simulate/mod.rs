//! **simulate** — a whole cluster in one thread: agents (the real core), machines, etcd, table and
//! bucket, and a clock that jumps from one event to the next.
//!
//! Comes from [`Options`]. Goes to an [`Outcome`](runs::Verdict): which invariant broke, or what it
//! came to. Every event is told to a hash, so that the same seed is seen to be the same story; every
//! change is checked against the invariants of protocol.md 1.11 ([`safety`], [`service`]).
//!
//! A run has two phases, as TigerBeetle's has: things go wrong, and nothing unsafe may happen; then
//! they stop going wrong, and the cluster must come back ([`liveness`]).

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the world does and tells what it knows of; the core names every case"
)]

pub mod options;
mod agents;
mod raft;
mod perform;
mod remote;
mod answers;
mod faults;
mod words;
mod ghost;
mod closure;
mod safety;
mod service;
mod membership;
mod testimony;
mod lineage;
pub mod plots;
mod cues;
mod liveness;
pub mod runs;
pub mod shrink;

pub use ghost::Witness;
pub use options::{Fault, Options, Planned};

use crate::world::{
    etcd::Entry,
    machine::{Clock, Machine},
    stores::{Bucket, LockTable},
};
use agents::Agent;
use answers::Deferred;
use ghost::Ghost;
use protocol::{
    cluster::{Seat, Slot},
    coordinator::Policy,
    effect::{Effect, Lane},
    event::Command,
    registry::{Change, Records},
    time::Moment,
};
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    rc::Rc,
    sync::Arc,
};

/// What waits in the queue.
enum Happening {
    /// An agent's timer.
    Wake { process: u64 },
    /// A call arrives where it is carried out.
    Perform(Box<Call>),
    /// Its answer arrives.
    Answer { process: u64, lane: Lane, asked: Moment, outcome: Box<Deferred> },
    /// A write arrives once more, or long after its sender gave it up.
    Late(Box<Late>),
    /// Raft looks whether something is to be done.
    Raft,
    /// A message between members; machines by their index.
    Message { to: usize, message: Box<raft::Message> },
    /// A client writes.
    Client,
    /// The next planned fault.
    Trouble(usize),
    /// What a fault did ends.
    Heal(Box<faults::Cure>),
    /// The plot looks whether its next step is due.
    Cue,
}

/// A write on its way whose sender no longer waits.
struct Late {
    uid: String,
    change: Change,
    tag: String,
}

/// A call of an agent on its way.
struct Call {
    process: u64,
    machine: usize,
    uid: Rc<str>,
    lane: Lane,
    asked: Moment,
    effect: Effect,
}

/// Everything.
pub struct Sim {
    options: Options,
    rng: fastrand::Rng,
    now: u64,
    count: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    machines: Vec<Machine>,
    agents: Vec<Agent>,
    /// What reached a machine that stands still.
    held: Vec<(usize, Happening)>,
    table: LockTable,
    bucket: Bucket,
    policy: Policy,
    table_down: bool,
    bucket_down: bool,
    /// Raft will look again by itself.
    stirred: bool,
    /// Things have stopped going wrong.
    calm: bool,
    /// When an operator last had a member replaced by hand.
    helped_at: u64,
    /// How far the plot is.
    played: plots::Played,
    ghost: Ghost,
    hash: DefaultHasher,
    events: u64,
    story: Option<Vec<String>>,
    broken: Option<String>,
}

impl Sim {
    /// A cluster that is yet to be founded; `told`: keep a line for each event.
    pub fn new(options: Options, told: bool) -> Self {
        let seats: Vec<Seat> = (0..options.members).map(seat).collect();
        let mut rng = fastrand::Rng::with_seed(options.seed ^ 0x5EED);
        let machines: Vec<Machine> = seats
            .iter()
            .map(|seat| {
                let clock = Clock { offset: rng.u64(1..1_000_000), pace: 1000 };
                Machine::new(&seat.name, &format!("{}1", seat.name), clock)
            })
            .collect();
        let policy = Policy {
            timers: options.pace.timers(),
            mode: options.mode,
            threshold: options.threshold,
            min_members: None,
            max_loss: options.max_loss,
            exports: true,
            seats,
            bootstrap: true,
            proven: true,
        };
        let mut sim = Self {
            rng,
            now: 0,
            count: 0,
            queue: BTreeMap::new(),
            machines,
            agents: Vec::new(),
            held: Vec::new(),
            table: LockTable::default(),
            bucket: Bucket::default(),
            policy,
            table_down: false,
            bucket_down: false,
            stirred: false,
            calm: false,
            helped_at: 0,
            played: plots::Played::default(),
            ghost: Ghost::default(),
            hash: DefaultHasher::new(),
            events: 0,
            story: told.then(Vec::new),
            broken: None,
            options,
        };
        for machine in 0..sim.machines.len() {
            sim.start_agent(machine);
        }
        sim.push(1_000, Happening::Client);
        if let Some(first) = sim.options.faults.first() {
            sim.push(first.at, Happening::Trouble(0));
        }
        if sim.options.plot.is_some() {
            sim.push(plots::BEGINS, Happening::Cue);
        }
        sim
    }

    fn push(&mut self, after: u64, what: Happening) {
        self.count += 1;
        self.queue.insert((self.now + after, self.count), what);
    }

    /// Runs the next event, if it is due by `until` and nothing is broken.
    fn step(&mut self, until: u64) -> bool {
        let due = self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= until);
        if !due || self.broken.is_some() {
            self.now = self.now.max(until);
            return false;
        }
        let Some(((at, _), what)) = self.queue.pop_first() else { return false };
        self.now = at;
        self.events += 1;
        self.happen(what);
        true
    }

    fn happen(&mut self, what: Happening) {
        let Some(what) = self.hold_back(what) else { return };
        match what {
            Happening::Wake { process } => self.wake(process),
            Happening::Perform(call) => self.arrive(*call),
            Happening::Answer { process, lane, asked, outcome } => {
                self.answer(process, lane, asked, *outcome);
            }
            Happening::Late(late) => {
                self.write(&late.uid, &late.change, &late.tag);
            }
            Happening::Raft => self.raft(),
            Happening::Message { to, message } => self.deliver(to, *message),
            Happening::Client => self.client(),
            Happening::Trouble(index) => self.trouble(index),
            Happening::Heal(cure) => self.heal(*cure),
            Happening::Cue => self.follow_plot(),
        }
    }

    /// What is for a machine or an agent that stands still waits until it moves again.
    fn hold_back(&mut self, what: Happening) -> Option<Happening> {
        let still = match &what {
            Happening::Wake { process } | Happening::Answer { process, .. } => {
                let agent = self.agents.iter().find(|agent| agent.process == *process);
                agent
                    .filter(|agent| agent.paused || self.machines[agent.machine].frozen)
                    .map(|agent| agent.machine)
            }
            // what was sent is on its way; what happens on the machine itself waits with it
            Happening::Perform(call) => {
                let local = matches!(call.lane, Lane::Machine | Lane::Look | Lane::Data);
                let paused = self.agents.iter().any(|a| a.process == call.process && a.paused);
                let still = paused || self.machines[call.machine].frozen;
                (still && local).then_some(call.machine)
            }
            Happening::Message { to, .. } => self.machines[*to].frozen.then_some(*to),
            Happening::Late(_)
            | Happening::Raft
            | Happening::Client
            | Happening::Trouble(_)
            | Happening::Heal(_)
            | Happening::Cue => None,
        };
        match still {
            Some(machine) => {
                self.held.push((machine, what));
                None
            }
            None => Some(what),
        }
    }

    /// What waited for a machine comes to it now.
    fn release(&mut self, machine: usize) {
        let (mine, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.held).into_iter().partition(|(at, _)| *at == machine);
        self.held = others;
        for (_, what) in mine {
            self.push(0, what);
        }
    }

    /// A client writes through a member that lets clients in; etcd decides whether that counts.
    fn client(&mut self) {
        let after = self.rng.u64(1..2 * self.options.writes);
        self.push(after, Happening::Client);
        let open: Vec<usize> = (0..self.machines.len())
            .filter(|at| self.machines[*at].running().is_some_and(|(etcd, _)| !etcd.quarantined))
            .collect();
        let Some(door) = self.rng.choice(&open).copied() else { return };
        let Some(leader) = self.live_leader(door) else { return };
        self.ghost.writes += 1;
        let number = self.ghost.writes;
        self.check_client(door);
        self.propose(leader, Entry::Put(number));
    }

    /// The records of the cluster that `cluster.json` names.
    fn records(&self) -> Arc<Records> {
        self.table.records(self.bucket.uid().unwrap_or_default())
    }

    /// One line of the story, and one step of the hash that says whether it is the same one.
    fn say(&mut self, who: &str, what: &str) {
        (self.now, who, what).hash(&mut self.hash);
        if let Some(story) = &mut self.story {
            story.push(format!("{:>8}.{:03} {who:<4} {what}", self.now / 1000, self.now % 1000));
        }
    }

    /// The hash of all that was told.
    fn trace(&self) -> u64 {
        self.hash.finish()
    }

    /// An invariant does not hold. Only the first is kept: what follows follows from it.
    fn broke(&mut self, what: String) {
        if self.broken.is_none() {
            self.say("", &format!("BROKEN {what}"));
            self.broken = Some(what);
        }
    }

    fn seat_of(&self, machine: usize) -> Slot {
        let name = &self.machines[machine].name;
        let seat = self.policy.seats.iter().find(|seat| seat.name == *name);
        seat.expect("each machine is called like a seat").slot
    }
}

fn seat(at: usize) -> Seat {
    let name = char::from(b'a' + u8::try_from(at).expect("at most nine seats")).to_string();
    Seat {
        slot: Slot(u8::try_from(at).expect("at most nine seats")),
        peer_url: format!("http://{name}:2380"),
        client_url: format!("http://{name}:2379"),
        name,
    }
}

/// A word that an operator says to an agent that listens.
type Word = Command;
