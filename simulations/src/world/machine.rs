//! **machine** — one machine: root disk, data volume, etcd's process, clock. What survives what is
//! the point: a wiped volume keeps the root disk's promises, a lost root disk keeps the volume's,
//! and half of an effect may be all that a power cut leaves.

use super::etcd::Store;
use protocol::{
    boot::{self, Gate, Table},
    cluster::{Instance, MemberId},
    effect::Effect,
    mutant::{self, Mutant},
    observation::{Answer, Belongs, Data, InAttempt, LogState, Look, Memory, Process, Ran, Status},
    time::Moment,
};
use std::{collections::BTreeMap, sync::Arc};

/// A data volume's content.
#[derive(Clone, Debug, Default)]
pub struct Volume {
    /// Identity of its file system.
    pub fs: String,
    /// etcd ends right after its start with this member, and with every copy of it.
    pub spoiled: bool,
    /// `member/`.
    pub member: Option<Store>,
    /// `.requorum/incarnation.json`.
    pub belongs: Option<Belongs>,
    /// `.requorum/swap.json`.
    pub swap: Option<String>,
    /// `.requorum/new`.
    pub restored: BTreeMap<String, Store>,
    /// The promise.
    pub marker: Option<InAttempt>,
    /// `.requorum/old`.
    pub aside: Vec<(u64, Store)>,
}

/// A process's part in raft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Follows, or looks for somebody to follow.
    Follower(Option<MemberId>),
    /// Leads its term; how much each other member has.
    Leader(BTreeMap<MemberId, usize>),
}

/// etcd's process.
#[derive(Clone, Debug)]
pub struct Service {
    /// Only the local socket leads to it.
    pub quarantined: bool,
    /// Its part in raft.
    pub role: Role,
}

/// A clock that is nobody else's: it began somewhere, runs a little wrong, and may have jumped.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// What it showed at the beginning of time.
    pub offset: u64,
    /// Its pace in thousandths.
    pub pace: u64,
}

/// One machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// `ETCD_NAME`.
    pub name: String,
    /// Which machine it is.
    pub instance: Instance,
    /// Where its peers reach it.
    pub peer_url: String,
    /// The root disk's memory.
    pub root: Memory,
    /// What is mounted at the data dir.
    pub volume: Option<Volume>,
    /// What a data dir with nothing mounted on it is: a directory of the root disk.
    pub underlay: Volume,
    /// The process.
    pub etcd: Option<Service>,
    /// A start that the gate let pass is under way: the service manager tells of it, and a stop ends it.
    pub gated: bool,
    /// An operator stopped the process and has not started it since.
    pub kept_down: bool,
    /// It has power.
    pub on: bool,
    /// It will never run again.
    pub terminated: bool,
    /// Nothing on it moves.
    pub frozen: bool,
    /// It can't reach the other members.
    pub cut_from_peers: bool,
    /// It can't reach the table.
    pub cut_from_table: bool,
    /// It can't reach the bucket.
    pub cut_from_bucket: bool,
    /// No snapshot fits on its disk.
    pub full: bool,
    /// Its clock.
    pub clock: Clock,
    /// What the last look showed of the disks: most looks show the same.
    shown: Option<(Arc<Data>, Arc<Memory>)>,
}

impl Machine {
    /// A new machine with an empty volume of its own.
    pub fn new(name: &str, instance: &str, clock: Clock) -> Self {
        let volume = |fs: String| Volume { fs, ..Volume::default() };
        Self {
            name: name.to_owned(),
            instance: Instance(instance.to_owned()),
            peer_url: format!("http://{name}:2380"),
            root: Memory::default(),
            volume: Some(volume(format!("fs-{instance}"))),
            underlay: volume(format!("root-{instance}")),
            etcd: None,
            gated: false,
            kept_down: false,
            on: true,
            terminated: false,
            frozen: false,
            cut_from_peers: false,
            cut_from_table: false,
            cut_from_bucket: false,
            full: false,
            clock,
            shown: None,
        }
    }

    /// What is at the data dir now.
    pub fn dir(&self) -> &Volume {
        self.volume.as_ref().unwrap_or(&self.underlay)
    }

    /// The same, to be changed.
    pub fn dir_mut(&mut self) -> &mut Volume {
        self.volume.as_mut().unwrap_or(&mut self.underlay)
    }

    /// Its own time at global millisecond `now`.
    pub fn moment(&self, now: u64) -> Moment {
        Moment(self.clock.offset + now * self.clock.pace / 1000)
    }

    /// How long `span` milliseconds of its own are for everybody else.
    pub fn lasting(&self, span: u64) -> u64 {
        (span * 1000).div_ceil(self.clock.pace).max(1)
    }

    /// What both disks remember.
    pub fn memory(&self) -> Memory {
        Memory { marker: self.root.marker.max(self.dir().marker), ..self.root.clone() }
    }

    /// The member that runs here, if it runs and moves.
    pub fn running(&self) -> Option<(&Service, &Store)> {
        let moves = self.on && !self.frozen;
        Some((self.etcd.as_ref().filter(|_| moves)?, self.dir().member.as_ref()?))
    }

    /// A service manager asks the gate, and starts etcd a moment later, beside the agent (protocol.md A3).
    pub fn gate_opens(&mut self) -> bool {
        let gate = boot::gate(&self.instance, &self.data(), &self.memory(), &Table::Unread);
        let idle = self.on && !self.frozen && self.etcd.is_none();
        self.gated |= idle && matches!(gate, Gate::Start(_));
        self.gated
    }

    /// What the gate let pass is started, whatever was promised meanwhile.
    pub fn fork(&mut self) {
        let passed = std::mem::take(&mut self.gated) && self.on && self.etcd.is_none();
        if passed && !self.dir().spoiled && self.dir().member.is_some() {
            self.etcd = Some(Service { quarantined: false, role: Role::Follower(None) });
        }
    }

    /// One look; `status` is what etcd answers to a probe.
    pub fn look(&mut self, status: Option<Status>) -> Look {
        let (data, memory) = match self.shown.take().filter(|shown| self.shows(shown)) {
            Some(same) => same,
            None => (self.data().into(), self.memory().into()),
        };
        let process = match &self.etcd {
            Some(etcd) => Process::Running { quarantined: etcd.quarantined },
            // "stopped" is: no queued job (protocol.md A3)
            None if self.gated => Process::Unknown,
            None if self.kept_down => Process::StoppedByOperator,
            None => Process::Stopped,
        };
        let etcd = status.map_or(Answer::Silent, Answer::Status);
        self.shown = Some((Arc::clone(&data), Arc::clone(&memory)));
        Look { process, etcd, data, memory }
    }

    /// What is at the data dir, as an agent sees it.
    pub fn data(&self) -> Data {
        let dir = self.dir();
        let log = match &dir.member {
            Some(store) => LogState::Present { cluster_id: store.cluster, member_id: store.id },
            None => LogState::Missing,
        };
        Data {
            fs: Some(dir.fs.clone()),
            writable: true,
            log,
            swap: dir.swap.clone(),
            restored: self.restored().cloned().collect(),
            // without a member in place the note is of nothing
            belongs: dir.belongs.clone().filter(|_| dir.member.is_some()),
        }
    }

    /// The plans whose member stands ready for this very seat: what another's machine restored onto a
    /// volume that is mounted here by now is not.
    pub fn restored(&self) -> impl Iterator<Item = &String> {
        let mine = |store: &Store| {
            let peers = store.peers().into_iter().flat_map(|peers| peers.iter());
            peers.filter(|peer| peer.id == store.id).any(|peer| peer.peer_url == self.peer_url)
        };
        self.dir().restored.iter().filter(move |(_, store)| mine(store)).map(|(plan, _)| plan)
    }

    /// Whether a look would show the same of the disks again.
    fn shows(&self, shown: &(Arc<Data>, Arc<Memory>)) -> bool {
        // each field by its name: a new one must not be forgotten here
        let Data { fs, writable, log, swap, restored, belongs } = &*shown.0;
        let Memory { uid, slot, marker, retired, opened, ran } = &*shown.1;
        let (dir, root) = (self.dir(), &self.root);
        let member = dir.member.as_ref().map(|store| (store.cluster, store.id));
        *writable
            && log.owner() == member
            && fs.as_ref() == Some(&dir.fs)
            && *swap == dir.swap
            && restored.iter().eq(self.restored())
            && belongs.as_ref() == dir.belongs.as_ref().filter(|_| member.is_some())
            && *marker == root.marker.max(dir.marker)
            && (*retired, *opened, *slot) == (root.retired, root.opened, root.slot)
            && *uid == root.uid
            && *ran == root.ran
    }

    /// The boot rule as protocol.md 1.4 has it, said once more in its own words: may this machine's
    /// etcd start without asking the stores? Which incarnation's member, then?
    pub fn starts_alone(&self) -> Option<u64> {
        let (dir, memory) = (self.dir(), self.memory());
        let (ran, store) = (memory.ran.as_ref()?, dir.member.as_ref()?);
        let belongs = dir.belongs.as_ref()?;
        let covers = ran.instance == self.instance
            && ran.inc == belongs.inc
            && ran.member_id == store.id
            && ran.plan == belongs.plan.clone().unwrap_or_default();
        let promised =
            memory.retired >= ran.inc || memory.marker.is_some_and(|marker| marker.inc >= ran.inc);
        (covers && !promised && dir.swap.is_none() && !self.terminated).then_some(ran.inc)
    }

    /// Does what changes disks or processes, whole.
    pub fn change(&mut self, effect: &Effect) {
        match effect {
            Effect::Stop => (self.etcd, self.gated) = (None, false),
            Effect::Mark(marker) => {
                if !mutant::is(Mutant::MarkerOnVolumeOnly) {
                    self.root.marker = self.root.marker.max(Some(*marker));
                }
                let dir = self.dir_mut();
                dir.marker = dir.marker.max(Some(*marker));
            }
            Effect::Unmark(marker) => {
                self.root.marker = self.root.marker.filter(|kept| kept != marker);
                let dir = self.dir_mut();
                dir.marker = dir.marker.filter(|kept| kept != marker);
            }
            Effect::Retire(inc) => self.root.retired = self.root.retired.max(*inc),
            Effect::RememberOpened(inc) => self.root.opened = self.root.opened.max(*inc),
            Effect::RememberSeat(uid, slot) => {
                self.root.uid = Some(uid.clone());
                self.root.slot = Some(*slot);
            }
            Effect::RememberRan(ran) => {
                self.dir_mut().belongs = Some(belongs(ran));
                self.root.ran = Some(ran.clone());
            }
            Effect::MoveAside { inc } => self.move_aside(*inc),
            Effect::Swap { plan, digest, old_inc } => {
                self.move_aside(*old_inc);
                let short = digest.short();
                let dir = self.dir_mut();
                dir.member = dir.restored.remove(&short);
                dir.belongs = Some(Belongs { inc: plan.inc, plan: Some(short) });
                dir.swap = None;
            }
            other => unreachable!("{} does not change a machine", other.name()),
        }
    }

    /// What a power cut or a kill in the midst of it leaves: `first` chooses which half.
    pub fn change_half(&mut self, effect: &Effect, first: bool) {
        match effect {
            Effect::Mark(marker) if first => {
                self.root.marker = self.root.marker.max(Some(*marker));
            }
            Effect::Mark(marker) => {
                let dir = self.dir_mut();
                dir.marker = dir.marker.max(Some(*marker));
            }
            Effect::Unmark(marker) if first => {
                self.root.marker = self.root.marker.filter(|kept| kept != marker);
            }
            Effect::RememberRan(ran) => self.dir_mut().belongs = Some(belongs(ran)),
            Effect::Swap { digest, old_inc, .. } => {
                self.dir_mut().swap = Some(digest.short());
                if first {
                    self.move_aside(*old_inc);
                }
            }
            _ => {}
        }
    }

    fn move_aside(&mut self, inc: u64) {
        let dir = self.dir_mut();
        dir.spoiled = false;
        let old = dir.member.take();
        dir.aside.extend(old.map(|old| (inc, old)));
    }
}

fn belongs(ran: &Ran) -> Belongs {
    Belongs { inc: ran.inc, plan: Some(ran.plan.clone()).filter(|plan| !plan.is_empty()) }
}
