//! **faults** — what the plan of [`options`](super::options) says goes wrong is done to the world, and
//! undone after a while. A fault that finds nothing to befall does nothing.

use super::{Fault, Happening, Planned, Sim};
use crate::world::machine::{Clock, Machine, Volume};
use protocol::observation::Memory;

/// How long a gate looks before it lets etcd start, in milliseconds.
const GATE: u64 = 200;

/// What ends a fault.
pub(super) enum Cure {
    StartAgent(usize),
    ResumeAgent(usize),
    PowerOn(usize),
    Thaw(usize),
    /// A new machine takes the place of one that is gone, with its volume if it is still there.
    Replace(usize, Option<Box<Volume>>),
    Remount(usize, Box<Volume>),
    /// An operator starts what an operator stopped: the agent does it, or the gate lets it pass.
    StartEtcd(usize),
    Relink(usize),
    TableUp,
    BucketUp,
    DiskFreed(usize),
    Unspoil(protocol::cluster::Digest),
    Destroy(usize),
    Fork(usize),
    SwapBack(usize, usize, u64),
    Unpause,
}

impl Sim {
    pub(super) fn trouble(&mut self, index: usize) {
        let planned = self.options.faults[index];
        if let Some(next) = self.options.faults.get(index + 1) {
            self.push(next.at.saturating_sub(self.now), Happening::Trouble(index + 1));
        }
        if self.calm {
            return;
        }
        self.ghost.troubled_at = self.now;
        let living: Vec<usize> =
            (0..self.machines.len()).filter(|at| !self.machines[*at].terminated).collect();
        if living.is_empty() {
            return;
        }
        let machine = living[planned.pick as usize % living.len()];
        self.befall(machine, planned);
    }

    /// A fault strikes this very machine.
    pub(super) fn befall(&mut self, machine: usize, planned: Planned) {
        let name = self.machines[machine].instance.0.clone();
        self.say(&name, &format!("!! {:?} for {} ms", planned.fault, planned.lasting));
        match planned.fault {
            Fault::AgentKilled
            | Fault::AgentPaused
            | Fault::EtcdKilled
            | Fault::GateRaces
            | Fault::PowerCut
            | Fault::Blackout
            | Fault::Frozen
            | Fault::ClockJumps
            | Fault::ClockDrifts => self.trouble_process(machine, planned),
            Fault::Destroyed
            | Fault::VolumeMoved
            | Fault::Wiped
            | Fault::RootLost
            | Fault::Unmounted
            | Fault::VolumesSwapped
            | Fault::Cloned
            | Fault::MemberSpoilt => self.trouble_disk(machine, planned),
            Fault::CutFromPeers
            | Fault::CutFromTable
            | Fault::CutFromBucket
            | Fault::CutFromStores
            | Fault::TableDown
            | Fault::BucketDown
            | Fault::DiskFull
            | Fault::SnapshotSpoilt => self.trouble_reach(machine, planned),
            Fault::Pause
            | Fault::Restore
            | Fault::Rollback
            | Fault::Replace
            | Fault::Save
            | Fault::Attest
            | Fault::Answer
            | Fault::Abort => self.word(planned),
        }
        self.stir();
    }

    pub(super) fn cure(&mut self, after: u64, cure: Cure) {
        self.push(after, Happening::Heal(cure.into()));
    }

    fn trouble_process(&mut self, machine: usize, planned: Planned) {
        let Planned { fault, lasting, pick, .. } = planned;
        match fault {
            Fault::AgentKilled => {
                self.kill_agent(machine);
                self.cure(lasting, Cure::StartAgent(machine));
            }
            Fault::AgentPaused => {
                let agent = self.agents.iter_mut().find(|agent| agent.machine == machine);
                if let Some(agent) = agent {
                    agent.paused = true;
                    self.cure(lasting, Cure::ResumeAgent(machine));
                }
            }
            Fault::EtcdKilled => {
                let by_operator = lasting % 2 == 0 && self.machines[machine].on;
                self.machines[machine].etcd = None;
                if by_operator {
                    self.machines[machine].kept_down = true;
                    self.cure(lasting, Cure::StartEtcd(machine));
                }
            }
            Fault::GateRaces => {
                if self.machines[machine].gate_opens() {
                    self.cure(lasting % 500, Cure::Fork(machine));
                }
            }
            Fault::PowerCut => self.power_cut(machine, lasting),
            Fault::Blackout => {
                for machine in 0..self.machines.len() {
                    let apart = self.rng.u64(0..2_000);
                    self.power_cut(machine, lasting + apart);
                }
            }
            Fault::Frozen => {
                if self.machines[machine].on && !self.machines[machine].frozen {
                    self.machines[machine].frozen = true;
                    self.cure(lasting, Cure::Thaw(machine));
                }
            }
            Fault::ClockJumps => self.machines[machine].clock.offset += lasting,
            _ => {
                let pace = 900 + pick / 7 % 200;
                let moment = self.machines[machine].moment(self.now).0;
                let offset = moment.saturating_sub(self.now * pace / 1000);
                self.machines[machine].clock = Clock { offset, pace };
            }
        }
    }

    fn power_cut(&mut self, machine: usize, lasting: u64) {
        if self.machines[machine].terminated || !self.machines[machine].on {
            return;
        }
        self.kill_agent(machine);
        self.held.retain(|(at, _)| *at != machine);
        let here = &mut self.machines[machine];
        (here.on, here.frozen, here.gated, here.etcd) = (false, false, false, None);
        here.kept_down = false; // a boot forgets it
        self.cure(lasting, Cure::PowerOn(machine));
    }

    pub(super) fn destroy(&mut self, machine: usize) {
        self.kill_agent(machine);
        self.held.retain(|(at, _)| *at != machine);
        let here = &mut self.machines[machine];
        (here.on, here.frozen, here.etcd, here.terminated) = (false, false, None, true);
    }

    fn trouble_disk(&mut self, machine: usize, planned: Planned) {
        let Planned { fault, lasting, pick, .. } = planned;
        match fault {
            Fault::Destroyed => {
                self.destroy(machine);
                self.machines[machine].volume = None;
                if !self.is_copied(machine) {
                    self.cure(lasting, Cure::Replace(machine, None));
                }
            }
            Fault::VolumeMoved => {
                self.destroy(machine);
                let volume = self.machines[machine].volume.take();
                if !self.is_copied(machine) {
                    self.cure(lasting, Cure::Replace(machine, volume.map(Box::new)));
                }
            }
            Fault::Wiped => {
                let here = &mut self.machines[machine];
                here.etcd = None;
                let dir = here.dir_mut();
                *dir = Volume { fs: dir.fs.clone(), ..Volume::default() };
            }
            Fault::RootLost => {
                self.power_cut(machine, lasting);
                self.machines[machine].root = Memory::default();
            }
            Fault::Unmounted => {
                let volume = self.machines[machine].volume.take();
                self.machines[machine].etcd = None;
                if let Some(volume) = volume {
                    self.cure(lasting, Cure::Remount(machine, Box::new(volume)));
                }
            }
            Fault::VolumesSwapped => {
                let other = pick as usize / 7 % self.machines.len();
                if self.swap_volumes(machine, other, lasting) {
                    self.cure(lasting * 8, Cure::SwapBack(machine, other, lasting));
                }
            }
            Fault::Cloned => self.clone_machine(machine, lasting),
            _ => {
                let here = &mut self.machines[machine];
                here.etcd = None;
                here.dir_mut().spoiled = here.dir().member.is_some();
            }
        }
    }

    /// Two machines lose power and come back with each other's volumes; whether they did.
    pub(super) fn swap_volumes(&mut self, one: usize, other: usize, lasting: u64) -> bool {
        let there = |at: usize| !self.machines[at].terminated && self.machines[at].volume.is_some();
        let can = one != other && there(one) && there(other);
        let can = can && !self.is_copy(one, other) && !self.is_copy(other, one);
        if can {
            self.power_cut(one, lasting);
            self.power_cut(other, lasting);
            let mine = self.machines[one].volume.take();
            let theirs = std::mem::replace(&mut self.machines[other].volume, mine);
            self.machines[one].volume = theirs;
        }
        can
    }

    /// On the volume at `other` lies a copy of what machine `at` ran: started, it would have forgotten votes.
    fn is_copy(&self, at: usize, other: usize) -> bool {
        let ran = self.machines[at].root.ran.as_ref();
        ran.zip(self.machines[other].volume.as_ref()).is_some_and(|(ran, volume)| {
            let member = volume.member.as_ref().filter(|_| volume.fs != ran.fs);
            member.is_some_and(|member| member.id == ran.member_id)
        })
    }

    /// Volumes that are mounted nowhere for a while.
    pub(super) fn detached(&self) -> impl Iterator<Item = &Volume> {
        self.queue.values().filter_map(|what| match what {
            Happening::Heal(cure) => match &**cure {
                Cure::Remount(_, volume) => Some(&**volume),
                _ => None,
            },
            _ => None,
        })
    }

    /// Whether another living machine is called like this one.
    fn is_copied(&self, machine: usize) -> bool {
        let name = &self.machines[machine].name;
        self.machines.iter().any(|other| !other.terminated && other.name == *name)
    }

    /// A machine image was taken with both disks, and a machine made of it: its instance is its own.
    fn clone_machine(&mut self, machine: usize, lasting: u64) {
        if self.machines.len() > 12 || self.is_copied_twice(machine) {
            return;
        }
        let mut copy = self.machines[machine].clone();
        copy.instance = self.next_instance(&copy.name);
        copy.clock = Clock { offset: self.rng.u64(1..1_000_000), pace: 1000 };
        if let Some(volume) = &mut copy.volume {
            volume.fs = format!("fs-{}", copy.instance);
        }
        (copy.etcd, copy.on, copy.frozen) = (None, true, false);
        self.machines.push(copy);
        let at = self.machines.len() - 1;
        self.start_agent(at);
        self.cure(lasting * 4, Cure::Destroy(at));
    }

    fn is_copied_twice(&self, machine: usize) -> bool {
        let name = &self.machines[machine].name;
        self.machines.iter().filter(|other| !other.terminated && other.name == *name).count() > 1
    }

    fn next_instance(&self, name: &str) -> protocol::cluster::Instance {
        let known = self.machines.iter().filter(|machine| machine.name == name).count();
        protocol::cluster::Instance(format!("{name}{}", known + 1))
    }

    fn trouble_reach(&mut self, machine: usize, planned: Planned) {
        let here = &mut self.machines[machine];
        match planned.fault {
            Fault::CutFromPeers => here.cut_from_peers = true,
            Fault::CutFromTable => here.cut_from_table = true,
            Fault::CutFromBucket => here.cut_from_bucket = true,
            Fault::CutFromStores => (here.cut_from_table, here.cut_from_bucket) = (true, true),
            Fault::TableDown => {
                self.table_down = true;
                return self.cure(planned.lasting, Cure::TableUp);
            }
            Fault::BucketDown => {
                self.bucket_down = true;
                return self.cure(planned.lasting, Cure::BucketUp);
            }
            Fault::DiskFull => {
                here.full = true;
                return self.cure(planned.lasting, Cure::DiskFreed(machine));
            }
            _ => {
                let newest = self.ghost.manifests.last().map(|(_, manifest)| manifest.sha256);
                let Some(sha256) = newest else { return };
                if let Some(content) = self.bucket.contents.get_mut(&sha256) {
                    content.sound = false;
                }
                self.ghost.spoilt.insert(sha256);
                return self.cure(planned.lasting, Cure::Unspoil(sha256));
            }
        }
        self.cure(planned.lasting, Cure::Relink(machine));
    }

    pub(super) fn heal(&mut self, cure: Cure) {
        self.ghost.troubled_at = self.now;
        match cure {
            Cure::StartAgent(machine) => self.start_agent(machine),
            Cure::ResumeAgent(machine) => {
                let agent = self.agents.iter_mut().find(|agent| agent.machine == machine);
                if let Some(agent) = agent {
                    agent.paused = false;
                }
                self.release(machine);
            }
            Cure::PowerOn(machine) => {
                if !self.machines[machine].terminated {
                    self.machines[machine].on = true;
                    self.start_agent(machine);
                }
            }
            Cure::Thaw(machine) => {
                self.machines[machine].frozen = false;
                self.release(machine);
            }
            Cure::Replace(machine, volume) => self.replace_machine(machine, volume),
            Cure::Remount(machine, volume) => {
                let here = &mut self.machines[machine];
                // nobody mounts a volume over a member that was begun beneath it
                let bare = here.underlay.member.is_none() && here.underlay.restored.is_empty();
                if here.volume.is_none() && !here.terminated && bare {
                    here.etcd = None;
                    here.volume = Some(*volume);
                }
            }
            Cure::StartEtcd(machine) => {
                self.machines[machine].kept_down = false;
                if self.machines[machine].gate_opens() {
                    self.cure(GATE, Cure::Fork(machine));
                }
            }
            Cure::Relink(machine) => self.relink(machine),
            Cure::TableUp => self.table_down = false,
            Cure::BucketUp => self.bucket_down = false,
            Cure::DiskFreed(machine) => self.machines[machine].full = false,
            Cure::Unspoil(sha256) => {
                if let Some(content) = self.bucket.contents.get_mut(&sha256) {
                    content.sound = true;
                }
            }
            Cure::Destroy(machine) => self.destroy(machine),
            Cure::SwapBack(one, other, lasting) => {
                self.swap_volumes(one, other, lasting);
            }
            Cure::Fork(machine) => self.machines[machine].fork(),
            Cure::Unpause => {
                self.say_to_an_agent(protocol::event::Command::Resume);
            }
        }
        self.stir();
    }

    pub(super) fn relink(&mut self, machine: usize) {
        let here = &mut self.machines[machine];
        (here.cut_from_peers, here.cut_from_table, here.cut_from_bucket) = (false, false, false);
    }

    fn replace_machine(&mut self, machine: usize, volume: Option<Box<Volume>>) {
        if self.is_copied(machine) {
            return;
        }
        let name = self.machines[machine].name.clone();
        let instance = self.next_instance(&name);
        let clock = Clock { offset: self.rng.u64(1..1_000_000), pace: 1000 };
        let mut new = Machine::new(&name, &instance.0, clock);
        if let Some(volume) = volume {
            new.volume = Some(*volume);
        }
        self.say(&instance.0, "a new machine takes the place");
        self.machines.push(new);
        self.start_agent(self.machines.len() - 1);
    }

    /// A seat whose machine is gone gets a new one, if nobody brought one before.
    pub(super) fn refill(&mut self, machine: usize) {
        self.replace_machine(machine, None);
    }
}
