//! **world** — what outlives every process of a simulation: machines with their disks and etcds, the
//! trace of all that happened, and the first invariant that broke.
//!
//! Comes from the [ports](super::ports), the [wire](super::wire) and the [stores](super::stores),
//! which change it. Goes to the [run](super::run), which steps time and reads it. etcd and the
//! machines are those of the protocol's walkthroughs.

use super::{
    database::{Layout, PAGES},
    etcd::{self, Entry, Peer, Running},
    machine::Machine,
    plot::{Dice, What},
    shelf::Shelf,
    traps::Moment,
    watch::Watch,
};
use agent::driver::Ports;
use protocol::{
    cluster::{ClusterId, MemberId},
    registry::{Ctrl, Phase, Records},
};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How long what a fuse holds back is held: another agent leads by then.
const LATE: u64 = 7_000;
/// How long agents are unheard: longer than a silent member is waited for.
const UNHEARD: u64 = 26_000;

/// The world, shared by all simulated hosts; one thread runs them all.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub(crate) fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        // a panic is told by the run itself
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the two stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Store {
    Bucket,
    Table,
}

impl Store {
    /// The name of its host.
    pub(crate) const fn host(self) -> &'static str {
        match self {
            Self::Bucket => "s3",
            Self::Table => "table",
        }
    }
}

/// What becomes of the agent that makes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Live,
    /// The call is never made.
    DieBefore,
    /// It is made, and the answer never heard.
    DieAfter,
    /// The agent lives on; the call, and all it says to that store from then on, arrives late.
    Late,
    /// It is made, and its answer lost; the next one is heard.
    Lost,
    /// It is made, and neither its answer nor any other of that store is heard for a while.
    Deaf,
}

/// How a store treats the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Serve,
    /// 503, not done.
    Refuse,
    /// 500, and done.
    Forget,
}

/// What becomes of an agent at its so-and-so-manieth store call from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fuse {
    pub(crate) calls: u64,
    pub(crate) fate: Fate,
    /// Counts writes other than votes only: the calls by which anything is decided.
    pub(crate) decisions_only: bool,
}

/// Everything.
pub(crate) struct World {
    pub(crate) machines: Vec<Machine>,
    pub(crate) watch: Watch,
    /// The first invariant that broke.
    pub(crate) broken: Option<String>,
    /// Machines where a swap was begun and not finished: the plan.
    pub(crate) half_swapped: BTreeMap<usize, String>,
    /// Machines whose etcd reaches no other.
    pub(crate) isolated: BTreeSet<usize>,
    /// They reach one another again the moment an attempt begins.
    pub(crate) reunites: bool,
    /// Who will be alone with the first attempt that begins.
    pub(crate) forsaken: Option<usize>,
    /// The leader of the first attempt that begins is the only one whom the table hears in time.
    pub(crate) unheard: bool,
    /// Agents that go away at the next step, for long.
    pub(crate) leaving: Vec<usize>,
    pub(crate) fuses: BTreeMap<usize, Fuse>,
    /// Links that a mishap has in its hands, so that two never meddle with one.
    pub(crate) busy: BTreeSet<(usize, Store)>,
    /// What has just begun at a link, and for how many milliseconds it lasts.
    pub(crate) late: Vec<(u64, What)>,
    /// What waits for whoever saves next.
    pub(crate) traps: Vec<(Moment, Fate)>,
    /// Where the next saves stand still, and for how long.
    pub(crate) pauses: Vec<(Moment, u64)>,
    /// Saves that stand still.
    pub(crate) standing: usize,
    /// What the bucket held and must hold.
    pub(crate) shelf: Shelf,
    /// Pages of an empty database.
    pub(crate) pages: u64,
    /// How often each machine's member was defragmented, and with how many writes.
    pub(crate) defragmented: BTreeMap<usize, (u64, usize)>,
    /// The doors of the agent that started last: for looks at the bucket from outside.
    pub(crate) ports: Option<Ports>,
    /// Agents that end at the next step.
    pub(crate) dying: Vec<usize>,
    /// Of a hundred requests, so many meet trouble at this store.
    pub(crate) trouble: BTreeMap<Store, u64>,
    /// Decisions written by each agent since the last fuse was lit.
    pub(crate) decisions: BTreeMap<usize, u64>,
    dice: Dice,
    /// Starts of agents: part of each nonce.
    pub(crate) starts: u64,
    added: u64,
    put: u64,
    trace: Vec<String>,
}

impl World {
    pub(crate) fn new(names: &[&str], dice: Dice) -> Self {
        Self {
            machines: names.iter().map(|name| Machine::new(name, name)).collect(),
            watch: Watch::default(),
            broken: None,
            half_swapped: BTreeMap::new(),
            isolated: BTreeSet::new(),
            reunites: false,
            forsaken: None,
            unheard: false,
            leaving: Vec::new(),
            fuses: BTreeMap::new(),
            busy: BTreeSet::new(),
            late: Vec::new(),
            traps: Vec::new(),
            pauses: Vec::new(),
            standing: 0,
            shelf: Shelf::default(),
            pages: PAGES,
            defragmented: BTreeMap::new(),
            ports: None,
            dying: Vec::new(),
            trouble: BTreeMap::new(),
            decisions: BTreeMap::new(),
            dice,
            starts: 0,
            added: 0,
            put: 0,
            trace: Vec::new(),
        }
    }

    /// A line of the trace.
    pub(crate) fn say(&mut self, who: &str, what: impl Display) {
        let now = turmoil::sim_elapsed().unwrap_or_default().as_millis();
        self.trace.push(format!("{now:>7} {who:<6} {what}"));
    }

    /// A line that is told from outside, at a moment the run knows.
    pub(crate) fn say_at(&mut self, now: u128, what: impl Display) {
        self.trace.push(format!("{now:>7}        {what}"));
    }

    pub(crate) fn trace(&self) -> &[String] {
        &self.trace
    }

    /// Digest of all that happened, in order.
    pub(crate) fn digest(&self) -> String {
        let mut sha256 = Sha256::new();
        for line in &self.trace {
            sha256.update(line);
            sha256.update("\n");
        }
        hex::encode(sha256.finalize())
    }

    /// An invariant does not hold.
    pub(crate) fn violate(&mut self, what: String) {
        self.say("", format!("!! {what}"));
        self.broken.get_or_insert(what);
    }

    /// The agent on machine `at` makes a store call.
    pub(crate) fn call(&mut self, at: usize, store: Store, does: &str) -> Fate {
        let who = self.machines[at].name.clone();
        self.say(&who, format!("> {does}"));
        let writes = ["PUT", "COMPLETE", "UpdateItem", "TransactWriteItems"];
        let decides = writes.iter().any(|verb| does.starts_with(verb)) && !does.contains("votes");
        if decides {
            *self.decisions.entry(at).or_default() += 1;
        }
        if let Some(fate) = self.sprung(at, does) {
            return fate;
        }
        let Some(fuse) = self.fuses.get_mut(&at) else { return Fate::Live };
        if fuse.decisions_only && !decides {
            return Fate::Live;
        }
        fuse.calls = fuse.calls.saturating_sub(1);
        if fuse.calls > 0 {
            return Fate::Live;
        }
        let fate = fuse.fate;
        self.fuses.remove(&at);
        if fate != Fate::Late {
            return fate;
        }
        if !self.busy.insert((at, store)) {
            return Fate::Live;
        }
        self.say(&who, "what it says arrives late");
        self.late.push((LATE, What::Hold(at, store)));
        Fate::Late
    }

    /// The agent on machine `at` is no more, as of the next step.
    pub(crate) fn die(&mut self, at: usize) {
        let who = self.machines[at].name.clone();
        self.say(&who, "dies between two store calls");
        self.dying.push(at);
    }

    /// How `store` treats the next request.
    pub(crate) fn mood(&mut self, store: Store) -> Mood {
        let Some(percent) = self.trouble.get(&store).copied() else { return Mood::Serve };
        match self.dice.below(200) {
            roll if roll < percent => Mood::Refuse,
            roll if roll < 2 * percent => Mood::Forget,
            _ => Mood::Serve,
        }
    }

    /// The table's records of `uid` after a write.
    pub(crate) fn wrote(&mut self, uid: String, after: Records) {
        self.watch_write(uid, after);
        if self.ctrl().is_some_and(|ctrl| ctrl.phase == Phase::Fencing) {
            self.attempt_begins();
        }
        self.changed();
    }

    fn attempt_begins(&mut self) {
        if self.reunites {
            self.isolated.clear();
        }
        if let Some(alone) = self.forsaken.take() {
            self.isolated.retain(|at| *at == alone);
            self.leaving.push((alone + 1) % self.machines.len());
        }
        if std::mem::take(&mut self.unheard) {
            let leads =
                self.ctrl().and_then(|ctrl| Some(usize::from(ctrl.lease.as_ref()?.holder.0)));
            for at in (0..self.machines.len()).filter(|at| Some(*at) != leads) {
                turmoil::hold(self.machines[at].name.as_str(), Store::Table.host());
                self.busy.insert((at, Store::Table));
                self.late.push((UNHEARD, What::Hold(at, Store::Table)));
            }
        }
    }

    /// The decision head of the cluster that lives.
    pub(crate) fn ctrl(&self) -> Option<&Ctrl> {
        self.watch.records()?.ctrl.as_ref()
    }

    /// A machine or its etcd has changed.
    pub(crate) fn changed(&mut self) {
        etcd::round(&mut reachable(&mut self.machines, &self.isolated));
        self.watch_clusters();
    }

    /// A client writes; whether it was acknowledged.
    pub(crate) fn put(&mut self) -> bool {
        self.put += 1;
        let number = self.put;
        let open = |machine: &&Machine| {
            machine.etcd.as_ref().is_some_and(|etcd| !etcd.quarantined && etcd.leader.is_some())
        };
        let serving = self.machines.iter().find(open);
        let Some(cluster) =
            serving.and_then(|machine| Some(machine.volume.member.as_ref()?.cluster))
        else {
            return false;
        };
        self.propose(cluster, &Entry::Put(number));
        let stores = self.machines.iter().filter_map(|machine| machine.volume.member.as_ref());
        let of_cluster = stores.filter(|store| store.cluster == cluster);
        let revision = of_cluster.map(etcd::Store::revision).max().unwrap_or_default();
        self.watch_served(cluster, revision, number);
        true
    }

    pub(crate) fn propose(&mut self, cluster: ClusterId, entry: &Entry) -> bool {
        let mut running = reachable(&mut self.machines, &self.isolated);
        let done = etcd::propose(cluster, entry, &mut running);
        self.changed();
        done
    }

    /// How the file of machine `at` lies on its disk.
    pub(crate) fn layout(&self, at: usize) -> Layout {
        Layout { pages: self.pages, defragmented: self.defragmented.get(&at).copied() }
    }

    /// The file of machine `at` is written anew.
    pub(crate) fn defragment(&mut self, at: usize) {
        let Some(member) = &self.machines[at].volume.member else { return };
        let written = member.keys().len();
        let (times, kept) = self.defragmented.entry(at).or_default();
        *times += 1;
        *kept = written;
    }

    /// The member that leads the cluster of machine `at`, seen from there.
    pub(crate) fn led(&self, at: usize) -> Option<(ClusterId, Vec<Peer>)> {
        let machine = &self.machines[at];
        machine.etcd.as_ref()?.leader?;
        let store = machine.volume.member.as_ref()?;
        Some((store.cluster, store.peers()))
    }

    /// A learner's id: etcd makes it from the time.
    pub(crate) fn new_member(&mut self, peer_url: &str) -> MemberId {
        self.added += 1;
        protocol::cluster::member_id(peer_url, &format!("added {}", self.added))
    }
}

/// The running members that reach one another; the rest follow nobody.
fn reachable<'a>(machines: &'a mut [Machine], isolated: &BTreeSet<usize>) -> Vec<Running<'a>> {
    let mut found = Vec::new();
    for (at, machine) in machines.iter_mut().enumerate() {
        if !isolated.contains(&at) {
            found.extend(machine.running());
        } else if let Some(etcd) = &mut machine.etcd {
            etcd.leader = None;
        }
    }
    found
}
