//! **safety** — the invariants S1-S24 of protocol.md 1.11, each where what it speaks of changes. They
//! are said in terms of machines, disks, logs and records, never with the core's own arithmetic.
//!
//! S21 and S23 (votes are irrelevant, late and repeated writes change no decision) are faults of
//! [`options`](super::options), under which all others must hold.

use super::{Sim, ghost::Decision};
use crate::world::etcd::{Entry, Store, voters};
use protocol::{
    cluster::{ClusterId, MemberId, quorum},
    effect::Effect,
    observation::InAttempt,
    registry::{Change, Ctrl, Evidence, Fence, Phase, RecordChange, Records, Row, SlotRecord},
};
use std::collections::BTreeSet;

impl Sim {
    /// A write was applied: what it changed is checked.
    pub(super) fn changed(&mut self, change: &Change, before: &Records, after: &Records) {
        match (&change.record, &before.ctrl, &after.ctrl) {
            (RecordChange::Ctrl { before: read, .. }, Some(old), Some(new)) => {
                self.check_token(change.name, read.as_ref(), old);
                self.check_ctrl(change, old, new, after);
            }
            (RecordChange::Ctrl { .. }, _, _) => self.say("", "the cluster is founded"),
            (RecordChange::Slot { slot, after: wished, .. }, _, _) => {
                let (old, new) = (before.slot(*slot), after.slot(*slot));
                self.check_slot(change.name, &old, &new, wished, after);
            }
        }
    }

    // ------------------------------------------------------------ the decision head

    /// S9: a leader's write is applied only while its epoch is the latest.
    fn check_token(&mut self, name: &str, read: Option<&Ctrl>, old: &Ctrl) {
        let epoch = |ctrl: &Ctrl| ctrl.lease.as_ref().map_or(0, |lease| lease.epoch);
        let leads = !matches!(name, "acquire" | "operator" | "genesis");
        if leads && read.is_some_and(|read| epoch(read) != epoch(old)) {
            self.broke(format!("S9: {name} by a leader whose epoch is over"));
        }
    }

    fn check_ctrl(&mut self, change: &Change, old: &Ctrl, new: &Ctrl, records: &Records) {
        let name = change.name;
        let epoch = |ctrl: &Ctrl| ctrl.lease.as_ref().map_or(0, |lease| lease.epoch);
        if !matches!(name, "renew") {
            let text = format!(
                "{name}: inc {} attempt {} epoch {} {}",
                new.inc,
                new.attempt,
                epoch(new),
                new.phase.name()
            );
            self.say("ctrl", &text);
        }
        if epoch(new) < epoch(old) || (name == "acquire" && epoch(new) != epoch(old) + 1) {
            self.broke("S9: the epoch went back".to_owned());
        }
        if new.inc < old.inc || new.inc > old.inc + 1 || new.attempt < old.attempt {
            self.broke("S11: an incarnation or an attempt went back".to_owned());
        }
        if new.attempt > old.attempt {
            self.ghost.opened_at = self.now;
            self.ghost.saw("attempt");
            if old.paused.is_some() {
                self.broke("S19: an attempt was opened while paused".to_owned());
            }
        }
        if old.paused.is_some() && new.op.is_some() && old.op.is_none() {
            self.broke("S19: a member's replacement was begun while paused".to_owned());
        }
        self.check_operation(old, new);
        if new.inc > old.inc {
            self.decided(old, Decision::Committed);
            let rows = change.checks.iter().map(|(row, _)| *row).collect();
            self.check_commit(old, new, records, &rows);
        } else if new.aborted != old.aborted {
            self.ghost.saw("abort");
            self.decided(old, Decision::Aborted);
        }
        if let Some(cluster) = new.cluster_id {
            self.ghost.clusters.entry(new.inc).or_default().insert(cluster);
        }
        let adopted = new.inc == 1 && new.phase == Phase::Idle;
        if (new.phase == Phase::Open && old.phase != Phase::Open) || adopted {
            self.ghost.opened.insert(new.inc);
        }
        if new.phase == Phase::Open && !matches!(old.phase, Phase::Open | Phase::Aborted) {
            self.check_open(new, records);
        }
        if new.inc > 1 && new.phase == Phase::Idle && old.phase == Phase::Healing {
            self.ghost.saw("healed");
        }
    }

    /// S4: one decision an attempt, one commit an incarnation.
    fn decided(&mut self, ctrl: &Ctrl, decision: Decision) {
        let of = InAttempt { inc: ctrl.inc, attempt: ctrl.attempt };
        if self.ghost.decisions.insert(of, decision).is_some() {
            self.broke(format!("S4: attempt {} was decided twice", ctrl.attempt));
        }
        let committed = |(of, made): (&InAttempt, &Decision)| {
            of.inc == ctrl.inc && *made == Decision::Committed
        };
        if self.ghost.decisions.iter().filter(|(of, made)| committed((of, made))).count() > 1 {
            self.broke(format!("S4: incarnation {} was ended twice", ctrl.inc));
        }
    }

    /// S17: one operation at a time, and it only rolls forward or begins anew.
    fn check_operation(&mut self, old: &Ctrl, new: &Ctrl) {
        let (Some(was), Some(is)) = (&old.op, &new.op) else {
            if old.op.is_some() && new.op.is_none() && new.inc == old.inc {
                self.ghost.saw("replaced");
            }
            return;
        };
        if was.slot != is.slot {
            self.broke("S17: a second replacement began within the first".to_owned());
        }
    }

    /// The stores of incarnation `inc` that still exist anywhere, with their machines.
    pub(super) fn stores_of(&self, inc: u64) -> Vec<(usize, &Store)> {
        let of_it = |store: &&Store| self.ghost.incarnation(store.cluster) == Some(inc);
        let all = self.machines.iter().enumerate();
        all.filter(|(_, machine)| !machine.terminated)
            .filter_map(|(at, machine)| Some((at, machine.dir().member.as_ref()?)))
            .filter(|(_, store)| of_it(store))
            .collect()
    }

    /// Fences of this very attempt, by the member they stand for (S5: of no other).
    fn fences(ctrl: &Ctrl, records: &Records) -> Vec<(MemberId, Fence)> {
        let planned = ctrl.members.iter().chain(ctrl.intent.iter().flatten());
        let meant: Vec<_> = planned.copied().collect();
        let mut all = Vec::new();
        for (slot, record) in &records.slots {
            let Some(fence) = record.fence.as_ref() else { continue };
            if fence.inc != ctrl.inc || fence.attempt != ctrl.attempt {
                continue;
            }
            let ran =
                record.ran.as_ref().filter(|ran| ran.inc == ctrl.inc).map(|ran| ran.member_id);
            let here = meant.iter().filter(|member| member.slot == *slot).map(|member| member.id);
            let ids: Vec<MemberId> = ran.map_or_else(|| here.collect(), |ran| vec![ran]);
            all.extend(ids.into_iter().map(|id| (id, fence.clone())));
        }
        all
    }

    fn check_commit(&mut self, old: &Ctrl, new: &Ctrl, records: &Records, counted: &BTreeSet<Row>) {
        if old.inc == 0 {
            return; // a founding: nothing ran before
        }
        self.ghost.saw("commit");
        let fences = Self::fences(old, records);
        let fenced: BTreeSet<MemberId> = fences.iter().map(|(id, _)| *id).collect();
        let shown = |fence: &Fence| fence.log.as_ref().map(|log| log.last_index);
        let logs = fences.iter().map(|(id, fence)| (*id, shown(fence))).collect();
        self.ghost.fenced.insert(old.inc, logs);
        self.check_blocking(old, &fences, &fenced);
        self.check_recoverable(old, &fences, records);
        // a fence that came after the leader had counted is none of F
        let slots = records.slots.iter().filter(|(slot, _)| counted.contains(&Row::Slot(*slot)));
        let f = Records { ctrl: None, slots: slots.cloned().collect() };
        self.check_survivors(old, new, &Self::fences(old, &f), records);
        self.check_source(old, new, records);
        self.check_old_quorum();
        let Some(cluster) = old.cluster_id else { return };
        let committed = self.ghost.lives.get(&cluster).map_or(0, |life| life.committed.len());
        for index in 1..=committed {
            self.check_covered(cluster, index);
        }
    }

    /// S7: F blocks every configuration that may be active: recorded, intended, shown by a log of F.
    fn check_blocking(
        &mut self,
        old: &Ctrl,
        fences: &[(MemberId, Fence)],
        fenced: &BTreeSet<MemberId>,
    ) {
        let ids = |members: &[protocol::cluster::Member]| {
            members.iter().map(|member| member.id).collect::<Vec<_>>()
        };
        let mut configs = vec![ids(&old.members)];
        configs.extend(old.intent.iter().map(|intent| ids(intent)));
        let logs: Vec<Store> = self
            .stores_of(old.inc)
            .into_iter()
            .filter(|(_, store)| {
                fences.iter().any(|(id, fence)| *id == store.id && fence.log.is_some())
            })
            .map(|(_, store)| store.clone())
            .collect();
        configs.extend(logs.iter().flat_map(|store| store.summary().configs));
        for config in configs {
            let free = config.iter().filter(|id| !fenced.contains(id)).count();
            if !config.is_empty() && free >= quorum(config.len()) {
                self.broke(format!("S7: committed while {free} of {} were free", config.len()));
            }
        }
    }

    /// S8: a guarded attempt commits only where the intact fenced members are no quorum of what one
    /// of them goes by.
    fn check_recoverable(&mut self, old: &Ctrl, fences: &[(MemberId, Fence)], records: &Records) {
        if !old.is_guarded() {
            self.ghost.saw("rollback or unopened");
            return;
        }
        let attested = |id: &MemberId| {
            records.slots.iter().any(|(_, record)| {
                let ran = record.ran.as_ref().filter(|ran| ran.member_id == *id);
                let said = record.attest.as_ref().filter(|said| said.inc == old.inc);
                ran.zip(said).is_some_and(|(ran, said)| ran.instance == said.instance)
            })
        };
        let intact: BTreeSet<MemberId> = fences
            .iter()
            .filter(|(id, fence)| {
                fence.kind == Evidence::Consent && fence.log.is_some() && !attested(id)
            })
            .map(|(id, _)| *id)
            .collect();
        let theirs = fences.iter().filter(|(id, _)| intact.contains(id));
        let mut in_force =
            theirs.filter_map(|(_, fence)| fence.log.as_ref()).map(|log| &log.in_force);
        if in_force.any(|config| {
            config.iter().filter(|id| intact.contains(id)).count() >= quorum(config.len())
        }) {
            self.broke(
                "S8: a cluster that a restart would have brought back was restored".to_owned(),
            );
        }
    }

    /// S13: what a fenced survivor knew to be committed is in the source, unless its data could not be
    /// had: it fell silent for a whole T_fence, or an operator consented to do without.
    fn check_survivors(
        &mut self,
        old: &Ctrl,
        new: &Ctrl,
        fences: &[(MemberId, Fence)],
        records: &Records,
    ) {
        let object = new.source.as_ref().and_then(|source| source.object.as_ref());
        let mut taken = self.ghost.manifests.iter().map(|(_, manifest)| manifest);
        let source = taken.find(|m| object.is_some_and(|pin| pin.sha256 == m.sha256));
        let applied = source.filter(|m| m.inc == old.inc).map_or(0, |m| m.applied);
        let waited = self.now.saturating_sub(self.ghost.opened_at) >= self.options.timers.fence.0;
        let refused = records.slots.iter().filter_map(|(_, record)| record.salvage.as_ref());
        let in_vain = refused.clone().any(|s| s.attempt == old.attempt && s.manifest.is_none());
        let named = old.request.as_ref().is_some_and(|request| request.source.is_some());
        let held = |fence: &Fence| {
            let machine = self.machines.iter().find(|m| m.instance == fence.instance)?;
            let log = fence.log.as_ref().filter(|_| fence.kind == Evidence::Consent)?;
            let attested = records.slots.iter().any(|(_, record)| {
                let said = record.attest.as_ref().filter(|said| said.inc == old.inc);
                said.is_some_and(|said| said.instance == fence.instance)
            });
            (machine.on && !machine.frozen && !attested).then_some(log.commit)
        };
        let known = fences.iter().filter_map(|(_, fence)| held(fence)).max().unwrap_or(0);
        if old.opened && known > applied && !waited && !in_vain && !named {
            self.broke(format!("S13: entries up to {known} were known, {applied} are restored"));
        }
    }

    /// S12: the source holds what any snapshot of the incarnation held when the attempt began, and
    /// what was salvaged for it. S15: it is of this very incarnation. S13: what is lost was declared.
    fn check_source(&mut self, old: &Ctrl, new: &Ctrl, records: &Records) {
        let Some(source) = &new.source else { return };
        let named = old.request.as_ref().is_some_and(|request| request.source.is_some());
        let of_it = |manifest: &protocol::manifest::Manifest| {
            manifest.inc == old.inc && Some(manifest.cluster_id) == old.cluster_id
        };
        let sound =
            |manifest: &protocol::manifest::Manifest| self.bucket.sound(&manifest.sha256).is_some();
        let salvaged = |key: &String| {
            let mut said = records.slots.iter().filter_map(|(_, record)| record.salvage.as_ref());
            said.any(|s| s.attempt == old.attempt && s.manifest.as_ref() == Some(key))
        };
        let best = self
            .ghost
            .manifests
            .iter()
            .filter(|(at, manifest)| {
                *at + 60_000 < self.ghost.opened_at || salvaged(&manifest.key())
            })
            .map(|(_, manifest)| manifest)
            .filter(|manifest| of_it(manifest) && sound(manifest))
            .filter(|manifest| !self.ghost.spoilt.contains(&manifest.sha256))
            .map(|manifest| manifest.revision)
            .max();
        if old.opened && !named && best.is_some_and(|best| source.revision < best) {
            self.broke(format!(
                "S12: revision {} was passed over for {}",
                best.unwrap_or(0),
                source.revision
            ));
        }
        let Some(object) = &source.object else { return };
        let all = self.ghost.manifests.iter().map(|(_, manifest)| manifest);
        let mine = all.filter(|manifest| manifest.sha256 == object.sha256).any(of_it);
        let again = old.source.as_ref().is_some_and(|old| old.object.as_ref() == Some(object));
        if !mine && !again {
            self.broke("S15: the source is of another incarnation".to_owned());
        }
        let life = old.cluster_id.and_then(|id| self.ghost.lives.get(&id));
        let keys = self.bucket.contents.get(&object.sha256).map(|content| &content.keys);
        if let (Some(life), Some(keys), true) = (life, keys, mine) {
            let missing = life
                .acked
                .iter()
                .find(|(revision, number)| *revision <= source.revision && !keys.contains(number));
            if let Some((revision, _)) = missing {
                self.broke(format!(
                    "S13: a write at revision {revision} is lost below the source's"
                ));
            }
        }
    }

    /// S14, S24: what is opened was compared, and shows no revision that was shown before.
    fn check_open(&mut self, new: &Ctrl, records: &Records) {
        if new.inc > 1 {
            self.ghost.saw("restored");
        }
        let Some(source) = new.source.as_ref().filter(|source| source.object.is_some()) else {
            return;
        };
        let agreed = source.revision + source.bump;
        let before = self.ghost.shown.range(..new.inc).map(|(_, shown)| *shown).max();
        if before.is_some_and(|before| before >= agreed) {
            self.broke(format!("S24: revision {agreed} is not above what clients saw"));
        }
        let checks: Vec<_> = records
            .slots
            .iter()
            .filter_map(|(_, record)| record.restore.as_ref())
            .filter(|restored| Some(restored.plan) == new.plan.as_ref().map(|pin| pin.sha256))
            .filter_map(|restored| restored.started.as_ref()?.check)
            .filter(|check| check.revision == agreed)
            .collect();
        let kinds: BTreeSet<_> = checks.iter().collect();
        if kinds.len() != 1 || checks.len() < quorum(new.members.len()) {
            self.broke(format!("S14: opened with {} contents of {}", kinds.len(), checks.len()));
        }
    }

    // ------------------------------------------------------------ seats

    fn check_slot(
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
        let Some(id) = record.ran.as_ref().map(|ran| ran.member_id) else { return };
        let life = self.ghost.lives.values().find(|life| life.durable.contains_key(&id));
        let had = life.and_then(|life| life.durable.get(&id)).copied().unwrap_or(0) as u64;
        if fence.log.as_ref().is_some_and(|log| had > 0 && log.last_index != had) {
            self.broke(format!("S5: {} is fenced with another member's log", fence.instance));
        }
        let elsewhere = self.detached().filter_map(|volume| volume.member.as_ref());
        let kept = elsewhere.into_iter().any(|store| store.id == id);
        if fence.kind == Evidence::DataLost && fence.log.is_none() && kept {
            self.broke(format!("S5: {} calls data lost that is only not mounted", fence.instance));
        }
    }

    // ------------------------------------------------------------ machines

    /// S20: who sees a quorum promises nothing to a guarded attempt.
    pub(super) fn check_asked(&mut self, agent: usize, effect: &Effect) {
        let agent = &self.agents[agent];
        let guarded = agent.read.as_ref().is_some_and(Ctrl::is_guarded);
        let marker = self.machines[agent.machine].memory().marker;
        let Effect::Mark(wanted) = effect else { return };
        if guarded && agent.saw_quorum && marker < Some(*wanted) {
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
            let present = reads.and_then(|agent| agent.read.as_ref()).map(|ctrl| ctrl.inc);
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
        let ctrl = self.records().ctrl;
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
        let read = self.agents.iter().find(|agent| agent.machine == machine);
        if read.and_then(|agent| agent.read.as_ref()).is_some_and(|read| read.inc > ran.inc) {
            self.broke(format!("S11: {name} starts an incarnation that it knows to be over"));
        }
        let twice = (0..self.machines.len())
            .filter(|at| *at != machine)
            .filter_map(|at| {
                self.machines[at].etcd.as_ref().and(self.machines[at].dir().member.as_ref())
            })
            .any(|other| other.cluster == store.cluster && other.id == store.id);
        if twice {
            self.broke(format!("S22: the member of {name} runs on two machines"));
        }
        self.ghost.started.insert(store.id);
    }

    /// S17: etcd's members change only within the operation that is on record.
    pub(super) fn check_membership(&mut self, effect: &Effect) {
        let ctrl = self.records().ctrl;
        let begun = ctrl.as_ref().is_some_and(|ctrl| ctrl.op.is_some());
        let over = ctrl.is_some_and(|ctrl| ctrl.intent.is_none());
        let adds = matches!(effect, Effect::AddLearner { .. } | Effect::Promote(_));
        if !begun && adds {
            self.ghost.saw(if over { "late membership call" } else { "membership" });
        }
    }

    // ------------------------------------------------------------ what etcd serves

    /// S14: clients reach an incarnation only once it was opened.
    pub(super) fn check_client(&mut self, door: usize) {
        let Some((_, store)) = self.machines[door].running() else { return };
        let ctrl = self.records().ctrl;
        let opened = ctrl.as_ref().is_some_and(|ctrl| self.ghost.opened.contains(&ctrl.inc));
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
        let present = self.records().ctrl.map_or(0, |ctrl| ctrl.inc);
        if inc < present {
            self.ghost.saw("acknowledged after the end");
            let name = self.machines[leader].instance.0.clone();
            self.say(&name, &format!("acknowledges {entry:?} of an incarnation that is over"));
            self.check_covered(cluster, index);
        }
    }

    /// S2: a fenced member had the entry durably; and whoever showed a log at its fence showed all of
    /// it that it ever had.
    fn check_covered(&mut self, cluster: ClusterId, index: usize) {
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
    fn check_old_quorum(&mut self) {
        let present = self.records().ctrl.map_or(0, |ctrl| ctrl.inc);
        let mut found = None;
        for (inc, clusters) in self.ghost.clusters.range(..present) {
            for cluster in clusters {
                let alive: Vec<(MemberId, Vec<Vec<MemberId>>)> = self
                    .machines
                    .iter()
                    .filter(|machine| !machine.terminated)
                    .filter_map(|machine| {
                        let store = machine.dir().member.as_ref()?;
                        let runs = machine.etcd.is_some() || machine.starts_alone() == Some(*inc);
                        let here = runs && store.cluster == *cluster;
                        here.then(|| (store.id, configs_in_force(store)))
                    })
                    .collect();
                let ids: BTreeSet<MemberId> = alive.iter().map(|(id, _)| *id).collect();
                let mut configs = alive.iter().flat_map(|(_, configs)| configs);
                let lives = configs.any(|config| {
                    config.iter().filter(|id| ids.contains(id)).count() >= quorum(config.len())
                });
                if lives {
                    found = Some(*inc);
                }
            }
        }
        if let Some(inc) = found {
            self.broke(format!(
                "S1: incarnation {inc} still has a quorum beside incarnation {present}"
            ));
        }
    }
}

/// What a member goes by now, and what it would once its log is committed.
fn configs_in_force(store: &Store) -> Vec<Vec<MemberId>> {
    let later = store.configs().filter(|(index, _)| *index > store.commit);
    let later = later.map(|(_, peers)| voters(peers));
    let all = [store.voters()].into_iter().chain(later);
    all.filter(|config| !config.is_empty()).collect()
}
