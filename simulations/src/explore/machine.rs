//! **machine** — root disk, data volume and etcd of one machine, and what of it survives what.
//!
//! Comes in: the machine effects of the core, and mishaps. Goes out: what a look at it shows. The
//! question whether it could start without asking anybody is answered here in this model's own
//! words, not by the core's: the invariants rest on it.

use super::etcd::{Member, Run};
use protocol::{
    cluster::{Instance, Nonce},
    effect::{Effect, Start},
    observation::{Answer, Belongs, Data, InAttempt, LogState, Look, Memory, Process, Ran},
};
use std::collections::BTreeMap;

/// What a data volume holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Volume {
    /// Its file system, which outlives its content.
    pub(super) fs: String,
    pub(super) member: Option<Member>,
    pub(super) belongs: Option<Belongs>,
    pub(super) marker: Option<InAttempt>,
    /// Members restored beside it, by their plan.
    pub(super) restored: BTreeMap<String, Member>,
    /// Members moved aside: nothing is ever deleted by us (S16).
    pub(super) aside: Vec<Member>,
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Machine {
    /// Its seat's number.
    pub(super) seat: usize,
    pub(super) instance: Instance,
    /// Agent processes it has had, and the name of the latest.
    pub(super) processes: u8,
    pub(super) nonce: Nonce,
    /// Terminated: it never runs again.
    pub(super) gone: bool,
    pub(super) root: Memory,
    pub(super) volume: Option<Volume>,
    pub(super) mounted: bool,
    pub(super) run: Option<Run>,
    /// A gate said yes, and etcd is about to be forked.
    pub(super) forking: bool,
}

/// What the rest of the world makes a running member answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Around {
    /// A quorum of its cluster runs.
    pub(super) quorum: bool,
    /// What it says its cluster's members are, by number; 0: it says nothing.
    pub(super) listed: u32,
}

impl Volume {
    pub(super) fn empty(fs: String) -> Self {
        let restored = BTreeMap::new();
        Self { fs, member: None, belongs: None, marker: None, restored, aside: Vec::new() }
    }
}

impl Machine {
    /// A machine that was never used.
    pub(super) fn new(seat: usize, name: String) -> Self {
        Self {
            seat,
            volume: Some(Volume::empty(format!("fs-{name}"))),
            instance: Instance(name),
            processes: 0,
            nonce: Nonce(String::new()),
            gone: false,
            root: Memory::default(),
            mounted: true,
            run: None,
            forking: false,
        }
    }

    /// Another agent process begins here.
    pub(super) fn begin_process(&mut self) {
        self.processes += 1;
        self.nonce = Nonce(format!("{}-{}", self.instance, self.processes));
    }

    /// The volume, where it can be reached.
    pub(super) fn disk(&self) -> Option<&Volume> {
        self.volume.as_ref().filter(|_| self.mounted)
    }

    pub(super) fn disk_mut(&mut self) -> Option<&mut Volume> {
        self.volume.as_mut().filter(|_| self.mounted)
    }

    /// The member in place.
    pub(super) fn member(&self) -> Option<&Member> {
        self.disk()?.member.as_ref()
    }

    pub(super) fn member_mut(&mut self) -> Option<&mut Member> {
        self.disk_mut()?.member.as_mut()
    }

    /// The member that runs.
    pub(super) fn running(&self) -> Option<&Member> {
        self.run.as_ref().and_then(|_| self.member())
    }

    /// The promise that both disks together remember.
    pub(super) fn marker(&self) -> Option<InAttempt> {
        self.root.marker.max(self.disk().and_then(|disk| disk.marker))
    }

    pub(super) fn memory(&self) -> Memory {
        Memory { marker: self.marker(), ..self.root.clone() }
    }

    /// A promise forbids incarnation `inc` here.
    pub(super) fn is_bound(&self, inc: u64) -> bool {
        self.root.retired >= inc || self.marker().is_some_and(|marker| marker.inc >= inc)
    }

    /// Whether the member in place may start with no word from the stores (boot rule 2).
    pub(super) fn is_startable(&self) -> bool {
        let Some(member) = self.member().filter(|_| !self.gone) else { return false };
        let covers = |ran: &Ran| {
            let plan = self.disk().and_then(|disk| disk.belongs.as_ref()?.plan.clone());
            ran.instance == self.instance
                && (ran.inc, ran.member_id) == (member.inc, member.id)
                && ran.plan == plan.unwrap_or_default()
        };
        self.root.ran.as_ref().is_some_and(covers) && !self.is_bound(member.inc)
    }

    /// What one look shows.
    pub(super) fn look(&self, around: Around, check_at: Option<u64>) -> Look {
        let (process, etcd) = match (&self.run, self.member()) {
            (Some(run), Some(member)) => (
                Process::Running { quarantined: run.quarantined },
                Answer::Status(member.status(around, check_at)),
            ),
            (_, _) if self.forking => (Process::Running { quarantined: false }, Answer::Silent),
            (_, _) => (Process::Stopped, Answer::Silent),
        };
        Look { process, etcd, data: self.data().into(), memory: self.memory().into() }
    }

    pub(super) fn data(&self) -> Data {
        let Some(disk) = self.disk() else {
            return Data {
                fs: Some(format!("root-{}", self.instance)),
                writable: true,
                log: LogState::Missing,
                swap: None,
                restored: Vec::new(),
                belongs: None,
            };
        };
        let log = disk.member.as_ref().map_or(LogState::Missing, |member| LogState::Present {
            cluster_id: member.cluster,
            member_id: member.id,
        });
        Data {
            fs: Some(disk.fs.clone()),
            writable: true,
            log,
            swap: None,
            restored: disk.restored.keys().cloned().collect(),
            belongs: disk.belongs.clone(),
        }
    }

    /// etcd ends, by whomever.
    pub(super) fn end_etcd(&mut self) {
        self.run = None;
        self.forking = false;
    }

    /// Performs a machine effect; `false`: it can't be done.
    pub(super) fn perform(&mut self, effect: &Effect) -> bool {
        match effect {
            Effect::Stop => self.end_etcd(),
            Effect::Mark(marker) => {
                self.root.marker = self.root.marker.max(Some(*marker));
                if let Some(disk) = self.disk_mut() {
                    disk.marker = disk.marker.max(Some(*marker));
                }
            }
            Effect::Unmark(marker) => {
                self.root.marker = self.root.marker.filter(|kept| kept != marker);
                if let Some(disk) = self.disk_mut() {
                    disk.marker = disk.marker.filter(|kept| kept != marker);
                }
            }
            Effect::Retire(inc) => self.root.retired = self.root.retired.max(*inc),
            Effect::RememberOpened(inc) => self.root.opened = self.root.opened.max(*inc),
            Effect::RememberSeat(uid, slot) => {
                (self.root.uid, self.root.slot) = (Some(uid.clone()), Some(*slot));
            }
            Effect::RememberRan(ran) => {
                let Some(disk) = self.disk_mut() else { return false };
                let plan = Some(ran.plan.clone()).filter(|plan| !plan.is_empty());
                disk.belongs = Some(Belongs { inc: ran.inc, plan });
                self.root.ran = Some(ran.clone());
            }
            Effect::Swap { plan, digest, .. } => return self.swap(plan.inc, &digest.short()),
            Effect::MoveAside { .. } => {
                let Some(disk) = self.disk_mut() else { return false };
                disk.aside.extend(disk.member.take());
            }
            Effect::Start(start) => return self.start(start),
            Effect::Prove
            | Effect::Discover
            | Effect::ReadRegistry
            | Effect::Write(_)
            | Effect::Found(_)
            | Effect::Exchange(_)
            | Effect::Look { .. }
            | Effect::ReadLog
            | Effect::FetchPlan(_)
            | Effect::PutPlan(_)
            | Effect::Restore(..)
            | Effect::Save(_)
            | Effect::SalvageCopy { .. }
            | Effect::ReadCatalogue { .. }
            | Effect::Verify(_)
            | Effect::ListMembers
            | Effect::RemoveMember(_)
            | Effect::AddLearner { .. }
            | Effect::Promote(_)
            | Effect::DisarmNoSpace => unreachable!("{} changes no machine", effect.name()),
        }
        true
    }

    fn swap(&mut self, inc: u64, plan: &str) -> bool {
        let Some(disk) = self.disk_mut() else { return false };
        let Some(new) = disk.restored.remove(plan) else { return false };
        disk.aside.extend(disk.member.replace(new));
        disk.belongs = Some(Belongs { inc, plan: Some(plan.to_owned()) });
        true
    }

    fn start(&mut self, start: &Start) -> bool {
        let meant = |member: &Member| start.member.is(member.cluster, member.id);
        if !self.member().is_some_and(meant) || self.run.is_some() {
            return false;
        }
        self.forking = false;
        self.run = Some(Run::new(start.quarantined));
        true
    }
}
