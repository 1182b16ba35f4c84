//! **liveness** — the second phase: things stop going wrong, some machines are lost for good, an
//! operator answers what is asked, and the cluster must come back within a bounded time
//! (protocol.md 1.11, L1-L10).

use super::{Happening, Sim, Word, faults::Cure};
use crate::world::machine::{Role, Volume};
use protocol::{
    cluster::{Slot, quorum},
    observation::Ran,
    registry::{Ctrl, Operation, Parked, Phase, Stage, Why},
};
use std::collections::BTreeSet;

/// How long the cluster may take to come back, in milliseconds with quick windows ([`Pace`](crate::pace::Pace)
/// stretches it): every window there is, several times over, one after the other.
const PATIENCE: u64 = 900_000;

/// How long an operator watches before a member is replaced by hand, in milliseconds.
const HAND: u64 = 120_000;

/// How often the operator looks, in milliseconds.
const LOOKS: u64 = 5_000;

impl Sim {
    /// Ends all that goes wrong.
    pub(super) fn calm_down(&mut self) {
        self.say("", "-- from here on nothing goes wrong");
        self.calm = true;
        self.ghost.troubled_at = self.now;
        self.helped_at = self.now;
        self.heal_now(|_| true);
        for machine in 0..self.machines.len() {
            if self.machines[machine].terminated {
                continue;
            }
            self.relink(machine);
            let here = &mut self.machines[machine];
            (here.on, here.frozen, here.full) = (true, false, false);
            if here.volume.is_none() {
                here.volume = Some(std::mem::take(&mut here.underlay));
            }
            if let Some(agent) = self.agents.iter_mut().find(|agent| agent.machine == machine) {
                agent.paused = false;
            }
            self.release(machine);
        }
        self.bring_volumes_home();
        self.take_copies_away();
        self.lose_for_good();
        for machine in 0..self.machines.len() {
            self.start_agent(machine);
        }
        self.stir();
    }

    /// Ends now what these faults did, before its time.
    pub(super) fn heal_now(&mut self, which: impl Fn(&Cure) -> bool) {
        let meant = |what: &Happening| matches!(what, Happening::Heal(cure) if which(cure));
        let due: Vec<(u64, u64)> =
            self.queue.iter().filter(|(_, what)| meant(what)).map(|(at, _)| *at).collect();
        for at in due {
            if let Some(Happening::Heal(cure)) = self.queue.remove(&at) {
                self.heal(*cure);
            }
        }
    }

    /// Every machine that lives has the volume with its own member again, wherever that is; or the
    /// volume that it ran on, if the member is no more.
    fn bring_volumes_home(&mut self) {
        for machine in 0..self.machines.len() {
            if let Some(ran) = self.ran_on(machine).filter(|ran| !self.holds(machine, ran))
                && let Some(other) = (0..self.machines.len()).find(|at| self.holds(*at, &ran))
            {
                self.swap_volumes(machine, other, 1);
            }
        }
        for machine in 0..self.machines.len() {
            if let Some(ran) = self.ran_on(machine).filter(|ran| !self.holds(machine, ran)) {
                self.bring_home(machine, &ran);
            }
        }
    }

    /// The volume that a machine ran on is brought to it, unless it is another's by now.
    fn bring_home(&mut self, machine: usize, ran: &Ran) {
        let is_its = |at: &usize| {
            let here = &self.machines[*at];
            let volume = here.volume.as_ref().filter(|_| !here.terminated);
            volume.is_some_and(|volume| volume.fs == ran.fs)
        };
        let is_others = |at: &usize| {
            let here = self.ran_on(*at);
            here.is_some_and(|here| {
                self.holds(*at, &here) || (here.fs == ran.fs && here.inc >= ran.inc)
            })
        };
        if is_its(&machine) {
            return self.empty(machine); // a stranger's member is taken away, as the agent asks for
        }
        match (0..self.machines.len()).find(|at| is_its(at) && !is_others(at)) {
            Some(other) => _ = self.swap_volumes(machine, other, 1),
            // it is nowhere: a new machine takes its place, as the agent asks for
            None => {
                self.destroy(machine);
                self.refill(machine);
            }
        }
    }

    fn holds(&self, machine: usize, ran: &Ran) -> bool {
        let here = &self.machines[machine];
        let volume = here.volume.as_ref().filter(|_| !here.terminated);
        let its = volume.filter(|volume| volume.fs == ran.fs); // and no copy of it
        let member = its.and_then(|volume| volume.member.as_ref());
        member.is_some_and(|store| store.id == ran.member_id)
    }

    /// What a machine that lives ran, by its root disk or by the records.
    fn ran_on(&self, machine: usize) -> Option<Ran> {
        let here = &self.machines[machine];
        let records = self.records();
        let recorded = || records.slot(self.seat_of(machine)).ran.clone();
        let its_own = |ran: &Ran| ran.instance == here.instance && !here.terminated;
        here.root.ran.clone().filter(its_own).or_else(|| recorded().filter(its_own))
    }

    /// A copy of another seat's voter is taken away from where an agent asks for it.
    fn take_copies_away(&mut self) {
        let records = self.records();
        let Some(ctrl) = &records.ctrl else { return };
        for machine in 0..self.machines.len() {
            let Some(store) = self.machines[machine].dir().member.as_ref() else { continue };
            let voter = ctrl.members.iter().find(|member| member.id == store.id);
            let Some(voter) = voter.filter(|voter| voter.slot != self.seat_of(machine)) else {
                continue;
            };
            let at_home = (0..self.machines.len()).any(|at| {
                let held = self.machines[at].dir().member.as_ref().map(|store| store.id);
                let lives = !self.machines[at].terminated && self.seat_of(at) == voter.slot;
                lives && held == Some(voter.id)
            });
            if at_home {
                self.empty(machine);
            }
        }
    }

    fn empty(&mut self, machine: usize) {
        let here = &mut self.machines[machine];
        here.etcd = None;
        let dir = here.dir_mut();
        *dir = Volume { fs: dir.fs.clone(), ..Volume::default() };
    }

    /// Copies go; some machines go for good; every other seat has a machine.
    fn lose_for_good(&mut self) {
        let seats: Vec<String> = self.policy.seats.iter().map(|seat| seat.name.clone()).collect();
        let mut doomed: Vec<usize> = (0..seats.len()).collect();
        self.rng.shuffle(&mut doomed);
        if let Some(plot) = &self.options.plot {
            doomed.clone_from(&plot.cast); // the first role's machine first
        }
        doomed.truncate(self.options.lost_for_good);
        for (at, name) in seats.iter().enumerate() {
            let here: Vec<usize> = (0..self.machines.len())
                .filter(|machine| self.machines[*machine].name == *name)
                .collect();
            let living: Vec<usize> =
                here.iter().copied().filter(|at| !self.machines[*at].terminated).collect();
            let copies = if doomed.contains(&at) { 0 } else { 1 };
            for machine in living.iter().skip(copies) {
                self.destroy(*machine);
            }
            if let (true, 1, Some(first)) = (living.is_empty(), copies, here.first()) {
                self.refill(*first);
            }
        }
    }

    /// The helpful operator: ends a pause, consents, attests what is gone.
    pub(super) fn help(&mut self) {
        let records = self.records();
        let Some(ctrl) = &records.ctrl else { return };
        if ctrl.paused.is_some() {
            self.say_to_an_agent(Word::Resume);
        }
        if let Some(word) = self.operators_answer() {
            self.say_to_an_agent(word);
        }
        let unattested: Vec<_> = self
            .gone_for_good()
            .into_iter()
            .filter(|slot| !self.records().is_attested(*slot, ctrl.inc))
            .collect();
        let lost = !(0..self.machines.len()).any(|at| self.is_linearizable(at));
        // what nobody could explain for a whole window is seen to by hand
        let waited = self.now >= self.helped_at + HAND * self.options.pace.stretch();
        let sick = self.sick_seats();
        // nobody needs to know what became of it while a quorum lives, unless it is being replaced or should be
        let replaced = |slot: &Slot| ctrl.op.as_ref().is_some_and(|op| op.slot == *slot);
        let needed = |slot: &Slot| lost || replaced(slot) || (waited && sick.contains(slot));
        if let Some(slot) = unattested.iter().find(|slot| needed(slot)) {
            let (by, because) = ("op".to_owned(), "it is gone".to_owned());
            self.say_to_an_agent(Word::Attest { slot: *slot, by, because });
        }
        let Some(slot) = sick.first().copied().filter(|_| waited) else { return };
        self.helped_at = self.now;
        let because = "it does not come back".to_owned();
        // a member that is to leave stays while this one is missed
        let stays = |op: &Operation| op.stage == Stage::Intent && !sick.contains(&op.slot);
        if ctrl.op.as_ref().is_some_and(stays) {
            return self.take_out_by_hand(slot);
        }
        // one whose machine never comes makes way by itself
        let stuck = ctrl.op.as_ref().filter(|op| sick.contains(&op.slot));
        let stuck = stuck.is_some_and(|op| op.slot != slot);
        self.say_to_an_agent(if stuck { Word::Abort } else { Word::Replace { slot, because } });
    }

    /// Seats with a living machine whose member serves nobody although a quorum lives.
    fn sick_seats(&self) -> Vec<Slot> {
        let serves = |at: &usize| self.is_linearizable(*at);
        if !(0..self.machines.len()).any(|at| serves(&at)) {
            return Vec::new();
        }
        let living = (0..self.machines.len()).filter(|at| !self.machines[*at].terminated);
        living.filter(|at| !serves(at)).map(|at| self.seat_of(at)).collect()
    }

    /// Runs until the cluster is back, or patience ends; what keeps it from being back.
    pub(super) fn come_back(&mut self) -> Result<(), String> {
        let stretch = self.options.pace.stretch();
        let until = self.now + PATIENCE * stretch;
        while self.now < until && self.broken.is_none() {
            let next = self.now + LOOKS * stretch;
            while self.step(next) {}
            if self.what_is_missing().is_none() {
                return Ok(());
            }
            self.help();
        }
        match (&self.broken, self.what_is_missing()) {
            (Some(_), _) | (None, None) => Ok(()),
            (None, Some(missing)) => Err(missing),
        }
    }

    fn what_is_missing(&self) -> Option<String> {
        let records = self.records();
        let Some(ctrl) = &records.ctrl else { return Some("no cluster was founded".into()) };
        if self.nothing_is_left(ctrl) {
            return None;
        }
        let whole = self.options.lost_for_good == 0;
        let rests = matches!(ctrl.phase, Phase::Idle) || (!whole && ctrl.phase == Phase::Healing);
        if !rests || !ctrl.opened {
            let (name, phase) = (self.liveness(ctrl), ctrl.phase.name());
            return Some(format!("{name}: it is {phase} for ever: {}", self.reasons()));
        }
        let wanted = self.options.members - self.options.lost_for_good;
        let healthy: BTreeSet<&str> = (0..self.machines.len())
            .filter(|at| self.is_linearizable(*at))
            .filter(|at| {
                self.machines[*at].running().is_some_and(|(etcd, store)| {
                    Some(store.cluster) == ctrl.cluster_id && !etcd.quarantined
                })
            })
            .map(|at| self.machines[at].name.as_str())
            .collect();
        if healthy.len() < wanted.max(quorum(ctrl.members.len())) {
            let name = if ctrl.phase == Phase::Healing { "L5" } else { "L7" };
            let text = format!("{name}: {} of {wanted} members are back", healthy.len());
            return Some(format!("{text}: {}", self.reasons()));
        }
        None
    }

    /// Which of the promises of protocol.md 1.11 is not kept by a cluster that stays as it is: L1 and L5
    /// to L7 of what is restored, refilled or parked, L2 of an attempt that was called off and goes no
    /// further, L3 of one that neither blocks nor ends, L4 of an act that nobody leads, L8 of one attempt
    /// after the other, L10 of one that everybody has joined and that old voters keep from blocking.
    fn liveness(&self, ctrl: &Ctrl) -> &'static str {
        let led = ctrl.lease.as_ref().is_some_and(|lease| !lease.released);
        match ctrl.phase {
            _ if !led => "L4",
            _ if ctrl.aborts > 3 => "L8",
            Phase::Fencing | Phase::Restoring if ctrl.parked.is_some() => "L6",
            Phase::Fencing if ctrl.paused.is_some() => "L6",
            Phase::Fencing => {
                let standing = protocol::fence::standing(ctrl, &self.records());
                let old = standing.missing.is_empty() && !standing.blocks;
                if old { "L10" } else { "L3" }
            }
            Phase::Aborted => "L2",
            Phase::Healing | Phase::Idle => "L5",
            Phase::Genesis
            | Phase::Committed
            | Phase::Restoring
            | Phase::Starting
            | Phase::Verifying
            | Phase::Open => "L1",
        }
    }

    /// No machine holds data of the incarnation and no snapshot of it was ever taken: there is nothing
    /// to come back to, and the attempt says so.
    fn nothing_is_left(&self, ctrl: &Ctrl) -> bool {
        let mut snapshots = self.ghost.manifests.iter().map(|(_, manifest)| manifest.cluster_id);
        let saved = snapshots.any(|cluster| Some(cluster) == ctrl.cluster_id);
        let born_empty = ctrl.source.as_ref().is_none_or(|source| source.object.is_none());
        let asks = ctrl.parked == Some(Parked::Approval(Why::NoSource));
        let records = self.records();
        // a volume that was moved to another machine is of use to nobody: take-over is not built
        let at_home = |at: usize| {
            let mut ran = records.slots.iter().filter_map(|(_, record)| record.ran.as_ref());
            ran.any(|ran| ran.instance == self.machines[at].instance)
        };
        let sound = |at: usize| !self.machines[at].dir().spoiled && at_home(at);
        let data = self.stores_of(ctrl.inc).into_iter().any(|(at, _)| sound(at));
        asks && !saved && born_empty && !data
    }

    /// What each machine holds and what its agent says.
    fn reasons(&self) -> String {
        let each = self.machines.iter().enumerate().filter(|(_, machine)| !machine.terminated);
        let lines = each.map(|(at, machine)| {
            let etcd = machine.etcd.as_ref().map_or("stopped", |etcd| match etcd.role {
                Role::Leader(_) => "leads",
                Role::Follower(_) => "runs",
            });
            let holds = machine.dir().member.as_ref().map(|store| {
                let (term, last, commit) = (store.term, store.log.len(), store.commit);
                let voters = store.voters().len();
                format!(", member {} term {term} log {last}/{commit} of {voters}", store.id)
            });
            let spoilt = if machine.dir().spoiled { ", spoilt" } else { "" };
            let agent = self.agents.iter().find(|agent| agent.machine == at);
            let notes = agent.map_or(&[][..], |agent| &agent.notes);
            let said: Vec<String> =
                notes.iter().map(|note| format!("{} {}", note.code.name(), note.text)).collect();
            let holds = holds.unwrap_or_default();
            format!("\n    {}: {etcd}{holds}{spoilt}: {}", machine.instance, said.join("; "))
        });
        let records = self.records();
        let standing = records.ctrl.as_ref().map(|ctrl| protocol::fence::standing(ctrl, &records));
        let open = standing.map(|standing| format!("\n    {:?}", standing)).unwrap_or_default();
        lines.chain([open]).collect()
    }
}
