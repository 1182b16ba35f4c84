//! **world** — the state of everything as a handful of numbers, and where it begins.
//!
//! Comes in: a sub-model. Goes out: a settled cluster (one incarnation, served, one snapshot) whose
//! agents have looked around once. Minds, machines and tables are kept once each; a state names
//! them.

use super::{
    agent::{Agent, Mood, Picture, Turning},
    etcd::{Leads, Member, Run},
    faults::{Allowance, Fault},
    intern::{Interned, Memo},
    machine::{Around, Machine},
    store::{Bucket, Objects, Tables},
    submodels::{Begin, SubModel},
};
use protocol::{
    cluster::{self, Digest, Seat, Slot, cluster_id, member_id},
    coordinator::{Coordinator, Mode, Policy, Threshold, model::PATIENT},
    effect::Listed,
    manifest::{Manifest, Reason},
    observation::{Belongs, Identity, Memory, Ran},
    registry::{Change, Ctrl, Owner, Phase, Pin, Records, SlotRecord, Source, Written},
};

use std::sync::Arc;

/// Most machines at one time or another.
pub(super) const MACHINES: usize = 6;
/// Most writes on their way.
pub(super) const UNDER_WAY: usize = 2;

/// Everything, by number; 0 is nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) table: u32,
    pub(super) bucket: u32,
    pub(super) machines: [u32; MACHINES],
    pub(super) agents: [u32; MACHINES],
    /// Writes that nobody waits for any more.
    pub(super) under_way: [u32; UNDER_WAY],
    /// Writes that clients were told are safe, and where they stand.
    pub(super) acked: u32,
    pub(super) left: Allowance,
}

/// A write that was acknowledged: its incarnation, its place in the log, and its entry.
pub(super) type Acked = Vec<(u64, u8, (u8, super::etcd::Entry))>;

/// What a turn depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Occurrence {
    pub(super) agent: u32,
    pub(super) machine: u32,
    pub(super) table: u32,
    pub(super) bucket: u32,
    pub(super) voices: [u8; MACHINES],
    pub(super) around: Around,
    pub(super) mood: Mood,
    pub(super) said: Option<super::action::Word>,
}

/// What a turn came to.
#[derive(Clone, Copy)]
pub(super) struct Turned {
    pub(super) agent: u32,
    pub(super) machine: u32,
    pub(super) bucket: u32,
    pub(super) broken: Option<&'static str>,
}

/// What came of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    /// A machine was changed, or could not be.
    Done(bool),
    /// The table's word, or none.
    Written(Written),
}

/// All that was ever met.
pub(super) struct World {
    pub(super) sub: SubModel,
    pub(super) seats: Vec<Seat>,
    pub(super) tables: Tables,
    pub(super) objects: Objects,
    pub(super) agents: Interned<Agent>,
    pub(super) machines: Interned<Machine>,
    pub(super) buckets: Interned<Bucket>,
    pub(super) acked: Interned<Acked>,
    pub(super) listings: Interned<Vec<Listed>>,
    pub(super) turns: Memo<Occurrence, Turned>,
    /// Minds after an answer, by mind, effect and what came of it.
    pub(super) answers: Memo<(u32, usize, Answer), u32>,
    /// Writes that minds have under way, by mind and effect.
    pub(super) asked: Memo<(u32, usize), Option<u32>>,
    pub(super) judged: Memo<super::invariants::Facts, (Option<&'static str>, u64)>,
    pub(super) shapes: super::symmetry::Shapes,
    pub(super) first: State,
}

const UID: &str = "u";
const TOKEN: &str = "u-1-first";

/// The names of seats.
pub(super) fn seat_name(seat: usize) -> String {
    char::from(b'a' + seat as u8).to_string()
}

impl World {
    pub(super) fn new(sub: &SubModel) -> Self {
        let seat = |at: usize| {
            let name = seat_name(at);
            Seat {
                slot: Slot(at as u8),
                peer_url: format!("http://{name}:2380"),
                client_url: format!("http://{name}:2379"),
                name,
            }
        };
        let mut world = Self {
            sub: sub.clone(),
            seats: (0..sub.members).map(seat).collect(),
            tables: Tables::new(),
            objects: Objects::default(),
            agents: Interned::new(),
            machines: Interned::new(),
            buckets: Interned::new(),
            acked: Interned::new(),
            listings: Interned::new(),
            turns: Memo::default(),
            answers: Memo::default(),
            asked: Memo::default(),
            judged: Memo::default(),
            shapes: super::symmetry::Shapes::default(),
            first: State {
                table: 0,
                bucket: 0,
                machines: [0; MACHINES],
                agents: [0; MACHINES],
                under_way: [0; UNDER_WAY],
                acked: 0,
                left: Allowance::of(sub.faults, sub.members),
            },
        };
        world.settle();
        world
    }

    /// The members of the first incarnation.
    fn first_members(&self) -> Vec<cluster::Member> {
        let member =
            |seat: &Seat| cluster::Member { slot: seat.slot, id: member_id(&seat.peer_url, TOKEN) };
        self.seats.iter().map(member).collect()
    }

    fn settle(&mut self) {
        let members = self.first_members();
        let cluster = cluster_id(members.iter().map(|member| member.id));
        for member in &members {
            self.objects.settle(member.id, usize::from(member.slot.0));
        }
        let mut slots = Vec::new();
        for at in 0..members.len() {
            let (machine, record) = self.settled(at, &members, cluster);
            slots.push((members[at].slot, record));
            self.first.machines[at] = self.machines.put(machine);
        }
        let source = Source { object: None, revision: 1, bump: 0, live_keys: Some(0), size: 0 };
        let ctrl = Ctrl {
            inc: 1,
            token: TOKEN.to_owned(),
            cluster_id: Some(cluster),
            members,
            phase: Phase::Idle,
            opened: true,
            plan: Some(Pin { key: "first".to_owned(), sha256: Digest::of(b"first") }),
            source: Some(source),
            ..Ctrl::seated(UID.to_owned(), self.seats.clone())
        };
        self.first.table =
            self.tables.hold(&Records { ctrl: Some(ctrl), slots, ..Records::default() });
        self.first.bucket = self.first_snapshot(cluster);
        self.first.acked = self.acked.put(Vec::new());
        self.look_around();
        let allowed = self.first.left;
        for action in self.sub.begins.actions(self.sub.members) {
            let before = State { left: Allowance::any(), ..self.first.clone() };
            let step = self.happen(&before, action).expect("it can begin like that");
            self.first = State { left: allowed, ..step.state };
        }
        if let Begin::Restored(phase) = self.sub.begins {
            self.first = self.restored(phase);
        }
    }

    /// A machine that has run its member from the beginning, and its seat's record.
    fn settled(
        &self,
        at: usize,
        members: &[cluster::Member],
        cluster: cluster::ClusterId,
    ) -> (Machine, SlotRecord) {
        let writes = self.first.left.has(Fault::Put) || self.first.left.has(Fault::ByHand);
        let mut founders: Vec<_> = members.iter().map(|member| member.id).collect();
        founders.sort_unstable();
        let mut machine = Machine::new(at, format!("{}1", seat_name(at)));
        machine.begin_process();
        let ran = Ran {
            inc: 1,
            instance: machine.instance.clone(),
            member_id: members[at].id,
            plan: "first".to_owned(),
            fs: format!("fs-{}", machine.instance),
        };
        let (uid, slot) = (Some(UID.to_owned()), Some(members[at].slot));
        machine.root = Memory { uid, slot, opened: 1, ran: Some(ran.clone()), ..Memory::default() };
        let disk = machine.disk_mut().expect("a new machine has its volume");
        disk.belongs = Some(Belongs { inc: 1, plan: Some("first".to_owned()) });
        disk.member = Some(Member {
            inc: 1,
            cluster,
            id: members[at].id,
            founders,
            base: 1,
            revision: 10,
            log: Vec::new(),
            commit: 0,
            term: u8::from(writes),
        });
        let leads = (writes && at == 0).then(|| Leads { term: 1, acks: Vec::new() });
        machine.run = Some(Run { leads, ..Run::new(false) });
        let owner = Owner {
            instance: machine.instance.clone(),
            nonce: machine.nonce.clone(),
            rvn: "first".to_owned(),
        };
        let record =
            SlotRecord { gen_: 1, owner: Some(owner), ran: Some(ran), ..SlotRecord::default() };
        (machine, record)
    }

    /// Every agent begins, and takes one turn.
    fn look_around(&mut self) {
        for at in 0..self.sub.members {
            self.first.agents[at] = self.new_agent(self.first.machines[at]);
        }
        for at in 0..self.sub.members {
            let turned = self.turn(&self.first.clone(), at, Mood::Patient, None);
            self.first.agents[at] = turned.agent;
            self.first.machines[at] = turned.machine;
            self.first.bucket = turned.bucket;
        }
    }

    /// One verified snapshot of the settled cluster.
    fn first_snapshot(&mut self, cluster: cluster::ClusterId) -> u32 {
        let sha256 = Digest::of(b"the first snapshot");
        self.objects.put_content(sha256, 1);
        let manifest = Manifest {
            uid: UID.to_owned(),
            inc: 1,
            data: "inc/1/data/first.db".to_owned(),
            sha256,
            size: 1,
            revision: 10,
            live_keys: Some(1),
            check: None,
            applied: 1,
            term: 1,
            cluster_id: cluster,
            taken_by: Slot(0),
            etcd_version: "3.5.30".to_owned(),
            reason: Reason::Timer,
            needs: Vec::new(),
            compact: None,
            doubt: None,
            taken: None,
        };
        self.buckets.put(Bucket::from([(manifest.key(), manifest)]))
    }

    /// An agent process that knows nothing.
    pub(super) fn new_agent(&mut self, machine: u32) -> u32 {
        let machine = self.machines.get(machine);
        let policy = Policy {
            timers: PATIENT,
            mode: Mode::Automatic,
            threshold: Threshold::Quorum,
            min_members: self.sub.min_members,
            max_loss: None,
            exports: true,
            seats: self.seats.clone(),
            bootstrap: false,
            proven: true,
        };
        let me = Identity {
            instance: machine.instance.clone(),
            nonce: machine.nonce.clone(),
            name: seat_name(machine.seat),
        };
        let mut core = Coordinator::new(policy, me);
        core.end_turn();
        self.agents.put(Agent { core, pending: Vec::new() })
    }

    pub(super) fn machine(&self, state: &State, at: usize) -> &Machine {
        self.machines.get(state.machines[at])
    }

    /// The machines there are.
    pub(super) fn present(&self, state: &State) -> Vec<usize> {
        (0..MACHINES).filter(|at| state.machines[*at] != 0).collect()
    }

    pub(super) fn records(&self, state: &State) -> &Records {
        self.tables.records(state.table)
    }

    pub(super) fn ctrl(&self, state: &State) -> &Ctrl {
        self.records(state).ctrl.as_ref().expect("the cluster was founded")
    }

    pub(super) fn change(&self, number: u32) -> &Change {
        self.tables.changes.get(number)
    }

    /// A turn of the agent on machine `at`: taken once for all states that look the same to it.
    pub(super) fn turn(
        &mut self,
        state: &State,
        at: usize,
        mood: Mood,
        said: Option<super::action::Word>,
    ) -> Turned {
        let occurrence = Occurrence {
            agent: state.agents[at],
            machine: state.machines[at],
            table: state.table,
            bucket: state.bucket,
            voices: self.voices(state, at, mood),
            around: self.around_and_listed(state, at, mood),
            mood,
            said,
        };
        if let Some(turned) = self.turns.get(&occurrence) {
            return *turned;
        }
        let turned = self.take_turn(&occurrence);
        self.turns.insert(occurrence, turned);
        turned
    }

    fn take_turn(&mut self, occurrence: &Occurrence) -> Turned {
        let votes = self.votes(occurrence);
        let records = self.tables.records(occurrence.table);
        let said = occurrence.said.map(|word| super::voices::command(word, records));
        let listed = occurrence.around.listed;
        let listed = (listed != 0).then(|| Arc::clone(self.listings.get(listed)));
        let listed = listed.as_deref();
        let mut turning = Turning {
            agent: (**self.agents.get(occurrence.agent)).clone(),
            machine: (**self.machines.get(occurrence.machine)).clone(),
            bucket: (**self.buckets.get(occurrence.bucket)).clone(),
            objects: &mut self.objects,
            began: Vec::new(),
            lapsed: false,
        };
        let picture = Picture {
            records,
            around: occurrence.around,
            votes: &votes,
            mood: occurrence.mood,
            said,
            listed: listed.map(|listed| listed.as_slice()),
            bounds: self.sub.bounds,
            coarse: self.sub.coarse,
        };
        turning.take(&picture);
        let before = self.machines.get(occurrence.machine);
        let broken = super::invariants::turn(&picture, before, &turning);
        let Turning { agent, machine, bucket, .. } = turning;
        Turned {
            agent: self.agents.put(agent),
            machine: self.machines.put(machine),
            bucket: self.buckets.put(bucket),
            broken,
        }
    }
}
