//! **service** — the invariants of protocol.md 1.11 that speak of seats, machines and what etcd serves:
//! S1 to S3, S5, S6, S10, S11, S14, S16, S20, S22 and L9. The others are in [`safety`](super::safety) and
//! [`membership`](super::membership).

use super::{Sim, ghost::Decision};
use crate::world::etcd::{Entry, Store, voters};
use protocol::{
    cluster::{ClusterId, MemberId, quorum},
    effect::Effect,
    observation::InAttempt,
    registry::{Ctrl, Evidence, Fence, Phase, Records, SlotRecord},
};

/// After how long without a word from the table an agent knows nothing that it could act on, in
/// milliseconds with quick windows.
const SILENT: u64 = 6_000;

impl Sim {
    // ------------------------------------------------------------ seats

    pub(super) fn check_slot(
        &mut self,
        name: &'static str,
        old: &SlotRecord,
        new: &SlotRecord,
        wished: &SlotRecord,
        records: &Records,
    ) {
        let seat = |record: &SlotRecord| record.owner.as_ref().map(|owner| owner.nonce.0.clone());
        let who = seat(new).unwrap_or_default();
        let as_owner = matches!(name, "report" | "first start" | "adopted");
        if as_owner && seat(old) != seat(wished) {
            self.broke(format!("S22: {name} by one who does not own the seat"));
        }
        let voters = records.ctrl.as_ref().map(|ctrl| ctrl.members.clone()).unwrap_or_default();
        let overwritten = old.ran.as_ref().filter(|ran| {
            let again = new.ran.as_ref().is_some_and(|new| new.inc == ran.inc && new != *ran);
            again && voters.iter().any(|member| member.id == ran.member_id)
        });
        if let Some(ran) = overwritten {
            self.broke(format!("S22: the record that {} ran a voter is gone", ran.instance));
        }
        self.say(&who, name);
        if name == "attest" {
            self.attested(new);
        }
        let Some(fence) = new.fence.as_ref().filter(|_| new.fence != old.fence) else { return };
        self.ghost.saw(fence.kind.name());
        if old.fence.as_ref().is_some_and(|old| old.attempt >= fence.attempt) {
            self.broke("S5: a fence was replaced within its attempt".to_owned());
        }
        if fence.kind == Evidence::Attested {
            return;
        }
        let current = records.ctrl.as_ref().is_some_and(|ctrl| {
            ctrl.inc == fence.inc && ctrl.attempt == fence.attempt && ctrl.phase == Phase::Fencing
        });
        // one that arrives late speaks of the moment it was sent at; it may bind nobody any more
        let machine = self.machines.iter().find(|machine| machine.instance == fence.instance);
        let Some(machine) = machine.filter(|machine| current && !machine.terminated) else {
            return;
        };
        let promised = InAttempt { inc: fence.inc, attempt: fence.attempt };
        let kept = machine.root.marker.max(machine.dir().marker) >= Some(promised);
        let runs = machine.etcd.is_some()
            && machine.dir().belongs.as_ref().is_some_and(|belongs| belongs.inc <= fence.inc);
        let lost = machine.root.ran.is_none() && machine.dir().member.is_none();
        if runs || !(kept || lost) {
            let text =
                format!("{} is fenced and stopped {} marked {kept}", machine.instance, !runs);
            self.broke(format!("S5: {text}"));
        }
        self.check_evidence(fence, new);
    }

    /// S5: the log that a fence shows is all that its member ever had; data that is called lost is not
    /// merely somewhere else for a while.
    fn check_evidence(&mut self, fence: &Fence, record: &SlotRecord) {
        let Some(ran) = &record.ran else { return };
        let id = ran.member_id;
        let life = self.ghost.lives.values().find(|life| life.durable.contains_key(&id));
        let had = life.and_then(|life| life.durable.get(&id)).copied().unwrap_or(0) as u64;
        if fence.log.as_ref().is_some_and(|log| had > 0 && log.last_index != had) {
            self.broke(format!("S5: {} is fenced with another member's log", fence.instance));
        }
        // a copy's volume holds the same member, and is not the one that it ran on
        let elsewhere = self.detached().filter(|volume| volume.fs == ran.fs);
        let members = elsewhere.filter_map(|volume| volume.member.as_ref());
        let kept = members.into_iter().any(|store| store.id == id);
        if fence.kind == Evidence::DataLost && fence.log.is_none() && kept {
            self.broke(format!("S5: {} calls data lost that is only not mounted", fence.instance));
        }
    }

    // ------------------------------------------------------------ machines

    /// What an agent asks its machine for, held against what it knows.
    pub(super) fn check_asked(&mut self, agent: usize, effect: &Effect) {
        match effect {
            Effect::Mark(wanted) => self.check_promise(agent, *wanted),
            Effect::Stop => self.check_stop(agent),
            Effect::Start(_) => self.check_begun(agent),
            Effect::Restore(..) => self.check_restored(agent),
            _ => {}
        }
    }

    /// L9: no etcd is stopped because the stores are silent. What a promise forbids is stopped also then.
    fn check_stop(&mut self, agent: usize) {
        let agent = &self.agents[agent];
        let machine = &self.machines[agent.machine];
        let memory = machine.memory();
        let Some(ran) = &machine.root.ran else { return };
        let forbidden = memory.marker.is_some_and(|marker| marker.inc >= ran.inc);
        let silent = self.now > agent.read_at + SILENT * self.options.pace.stretch();
        if silent && !forbidden && memory.retired < ran.inc {
            self.broke(format!("L9: {} stops etcd though the table is silent", machine.instance));
        }
    }

    /// S11, of what the agent had read when it asked for the start: what it reads while etcd is being
    /// started comes too late for that.
    fn check_begun(&mut self, agent: usize) {
        let agent = &self.agents[agent];
        let machine = &self.machines[agent.machine];
        let Some(ran) = &machine.root.ran else { return };
        if agent.ctrl().is_some_and(|read| read.inc > ran.inc) {
            let name = &machine.instance;
            self.broke(format!("S11: {name} starts an incarnation that it knows to be over"));
        }
    }

    /// S20: who sees a quorum promises nothing to a guarded attempt.
    fn check_promise(&mut self, agent: usize, wanted: InAttempt) {
        let agent = &self.agents[agent];
        // one of an incarnation that is over may be written again, and binds nobody
        let present = |ctrl: &&Ctrl| wanted.inc >= ctrl.inc;
        let guarded = agent.ctrl().filter(present).is_some_and(Ctrl::is_guarded);
        let marker = self.machines[agent.machine].memory().marker;
        if guarded && agent.saw_quorum && marker < Some(wanted) {
            self.broke("S20: a member that sees a quorum promises".to_owned());
        }
    }

    /// S6: a promise is taken back only where this attempt, or a later one of the same incarnation, was
    /// called off, and that incarnation is still the present one as far as its agent has read. S16:
    /// what is moved aside stays.
    pub(super) fn check_change(&mut self, machine: usize, effect: &Effect) {
        if let Effect::Unmark(marker) = effect {
            let called_off = self.ghost.decisions.iter().any(|(of, decision)| {
                let same = of.inc == marker.inc && of.attempt >= marker.attempt;
                same && *decision == Decision::Aborted
            });
            let reads = self.agents.iter().find(|agent| agent.machine == machine);
            let present = reads.and_then(|agent| agent.ctrl()).map(|ctrl| ctrl.inc);
            if !called_off || present != Some(marker.inc) {
                self.broke(format!(
                    "S6: {} takes back its promise to attempt {}",
                    self.machines[machine].instance, marker.attempt
                ));
            }
        }
        if matches!(effect, Effect::Swap { .. }) && self.machines[machine].etcd.is_some() {
            self.broke("S16: data is swapped under a running etcd".to_owned());
        }
    }

    /// S6, S10, S11, S14 at each start of etcd.
    pub(super) fn check_start(&mut self, machine: usize, quarantined: bool) {
        let here = &self.machines[machine];
        let name = here.instance.0.clone();
        let (Some(ran), Some(store)) = (here.root.ran.clone(), here.dir().member.clone()) else {
            self.broke(format!(
                "S9: {name} starts etcd without a record of its own that it runs it"
            ));
            return;
        };
        let memory = here.memory();
        if memory.marker.is_some_and(|marker| marker.inc >= ran.inc) || memory.retired >= ran.inc {
            self.broke(format!("S6: {name} starts what it promised not to run"));
        }
        let records = self.records();
        let ctrl = &records.ctrl;
        if ctrl.as_ref().is_none_or(|ctrl| ctrl.inc < ran.inc) {
            self.broke(format!("S10: {name} starts incarnation {} before its commit", ran.inc));
        }
        if store.id != ran.member_id {
            self.broke(format!("S10: {name} starts a member that is not the one on its record"));
        }
        let known = self.ghost.clusters.get(&ran.inc);
        if known.is_none_or(|all| !all.contains(&store.cluster)) {
            self.broke(format!(
                "S10: {name} starts a cluster that is not of incarnation {}",
                ran.inc
            ));
        }
        if !quarantined && !self.ghost.opened.contains(&ran.inc) {
            self.broke(format!("S14: {name} lets clients in before the opening"));
        }
        let twice = (0..self.machines.len())
            .filter(|at| *at != machine)
            .filter_map(|at| {
                self.machines[at]
                    .etcd
                    .as_ref()
                    .and_then(|_| self.machines[at].dir().member.as_ref())
            })
            .any(|other| other.cluster == store.cluster && other.id == store.id);
        if twice {
            self.broke(format!("S22: the member of {name} runs on two machines"));
        }
        self.ghost.started.insert(store.id);
    }

    // ------------------------------------------------------------ what etcd serves

    /// S14: clients reach an incarnation only once it was opened.
    pub(super) fn check_client(&mut self, door: usize) {
        let Some((_, store)) = self.machines[door].running() else { return };
        let records = self.records();
        let ctrl = records.ctrl.as_ref();
        let opened = ctrl.is_some_and(|ctrl| self.ghost.opened.contains(&ctrl.inc));
        if ctrl.is_some_and(|ctrl| ctrl.cluster_id == Some(store.cluster) && !opened) {
            self.broke("S14: a client is served before the opening".to_owned());
        }
    }

    /// S3: what an ended incarnation still acknowledges stands in the log of one that was fenced.
    pub(super) fn check_acknowledged(
        &mut self,
        leader: usize,
        cluster: ClusterId,
        index: usize,
        entry: &(u64, Entry),
        revision: u64,
    ) {
        let Some(inc) = self.ghost.incarnation(cluster) else { return };
        let shown = self.ghost.shown.entry(inc).or_default();
        *shown = (*shown).max(revision);
        let present = self.records().ctrl.as_ref().map_or(0, |ctrl| ctrl.inc);
        if inc < present {
            self.ghost.saw("acknowledged after the end");
            let name = self.machines[leader].instance.0.clone();
            self.say(&name, &format!("acknowledges {entry:?} of an incarnation that is over"));
            self.check_covered(cluster, index);
        }
    }

    /// S2: a fenced member had the entry durably; and whoever showed a log at its fence showed all of
    /// it that it ever had.
    pub(super) fn check_covered(&mut self, cluster: ClusterId, index: usize) {
        let Some(inc) = self.ghost.incarnation(cluster) else { return };
        let fenced = self.ghost.fenced.get(&inc);
        let Some((fenced, life)) = fenced.zip(self.ghost.lives.get(&cluster)) else { return };
        let had = |id: &MemberId| life.durable.get(id).copied().unwrap_or(0) >= index;
        let holders: Vec<_> = fenced.iter().filter(|(id, _)| had(id)).collect();
        let short = holders.iter().any(|(_, last)| last.is_some_and(|last| last < index as u64));
        if holders.is_empty() || short {
            self.broke(format!("S2: entry {index} of incarnation {inc} is in no fenced log"));
        }
    }

    /// After each call: who could serve what.
    pub(super) fn check_cluster(&mut self) {
        if self.ghost.clusters.len() > 2 {
            self.check_old_quorum();
        }
    }

    /// S1: of an incarnation that is over, no configuration has a quorum of members that run, or
    /// could start without asking the stores.
    pub(super) fn check_old_quorum(&mut self) {
        let present = self.records().ctrl.as_ref().map_or(0, |ctrl| ctrl.inc);
        let alive: Vec<(u64, &Store)> = self
            .machines
            .iter()
            .filter(|machine| !machine.terminated)
            .filter_map(|machine| {
                let store = machine.dir().member.as_ref()?;
                let inc = self.ghost.incarnation(store.cluster).filter(|inc| *inc < present)?;
                let runs = machine.etcd.is_some() || machine.starts_alone() == Some(inc);
                runs.then_some((inc, store))
            })
            .collect();
        let lives = |config: &Vec<MemberId>, cluster: ClusterId| {
            let here = |id: &&MemberId| {
                alive.iter().any(|(_, store)| store.cluster == cluster && store.id == **id)
            };
            config.iter().filter(here).count() >= quorum(config.len())
        };
        // where two changes came after a configuration it rules no more, unless somebody could elect by it
        let may_run = |id: &MemberId| alive.iter().any(|(_, store)| store.id == *id);
        let found = alive.iter().find(|(_, store)| {
            let rules = |place: usize, config: &Vec<MemberId>| {
                let over = self.is_over(store, config, place as u64, may_run);
                lives(config, store.cluster) && !over
            };
            configs_in_force(store).iter().any(|(place, config)| rules(*place, config))
        });
        if let Some((inc, _)) = found {
            let text = format!("S1: incarnation {inc} still has a quorum beside {present}");
            self.broke(text);
        }
    }
}

/// What a member goes by now, and what it would once its log is committed.
fn configs_in_force(store: &Store) -> Vec<(usize, Vec<MemberId>)> {
    let known = store.log.configs().filter(|(index, _)| *index <= store.commit);
    let place = known.map(|(index, _)| index).max().unwrap_or(0);
    let later = store.log.configs().filter(|(index, _)| *index > store.commit);
    let later = later.map(|(index, peers)| (index, voters(peers)));
    let all = [(place, store.voters())].into_iter().chain(later);
    all.filter(|(_, config)| !config.is_empty()).collect()
}
