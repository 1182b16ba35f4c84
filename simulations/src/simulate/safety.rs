//! **safety** — the invariants of protocol.md 1.11 that speak of the decision head and of commits: S4, S7
//! to S9, S11 to S15, S17, S19, S24. Those of seats, machines and what etcd serves are in
//! [`service`](super::service). All are said in terms of machines, disks, logs and records, never with
//! the core's own arithmetic.
//!
//! S21 and S23 (votes are irrelevant, late and repeated writes change no decision) are faults of
//! [`options`](super::options), under which all others must hold.

use super::{Sim, ghost::Decision};
use crate::world::etcd::Store;
use protocol::{
    cluster::{Digest, MemberId, Slot, quorum},
    guards,
    manifest::Manifest,
    observation::{Check, InAttempt, LogSummary},
    registry::{Change, Ctrl, Evidence, Fence, Parked, Phase, RecordChange, Records, Why},
};
use std::collections::BTreeSet;

impl Sim {
    /// A write was applied: what it changed is checked.
    pub(super) fn changed(&mut self, change: &Change, before: &Records, after: &Records) {
        match (&*change.record, &before.ctrl, &after.ctrl) {
            (RecordChange::Ctrl { before: read, .. }, Some(old), Some(new)) => {
                self.check_token(change.name, read.as_ref(), old);
                self.check_ctrl(change, old, new, after);
            }
            (RecordChange::Ctrl { .. }, _, _) => self.say("", "the cluster is founded"),
            (RecordChange::Slot { slot, after: wished, .. }, _, _) => {
                let (old, new) = (before.slot(*slot), after.slot(*slot));
                if let Some(report) = &new.restore
                    && let Some(check) = report.started.and_then(|started| started.check)
                {
                    self.ghost.reports.insert((report.plan, *slot), check);
                }
                self.check_slot(change.name, old, new, wished, after);
            }
            // whose turn it is to save decides nothing
            (RecordChange::Save { .. }, _, _) => {}
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
            self.check_commit(old, new, records);
        } else if new.source != old.source {
            self.check_fallback(old, new);
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
            self.check_open(new);
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

    fn check_commit(&mut self, old: &Ctrl, new: &Ctrl, records: &Records) {
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
        self.check_survivors(old, new, &fences, records);
        self.check_source(old, new, records);
        self.check_old_quorum();
        let Some(cluster) = old.cluster_id else { return };
        let committed = self.ghost.lives.get(&cluster).map_or(0, |life| life.committed.len());
        for index in 1..=committed {
            self.check_covered(cluster, index);
        }
    }

    /// S7: F blocks every configuration that may be active: recorded, intended, shown by a log of F and
    /// not over. Whether it is over is judged by what was really committed and by who could be elected.
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
        let may_run = |id: &MemberId| !fenced.contains(id);
        for log in &logs {
            let shown = log.summary();
            for (config, place) in shown.configs.iter().zip(&shown.places) {
                if self.is_over(log, config, *place, may_run) {
                    self.ghost.saw("a configuration that is over");
                } else {
                    configs.push(config.clone());
                }
            }
        }
        for config in configs {
            let free = config.iter().filter(|id| may_run(id)).count();
            if !config.is_empty() && free >= quorum(config.len()) {
                self.broke(format!("S7: committed while {free} of {} were free", config.len()));
            }
        }
    }

    /// S8: a guarded attempt commits only where the intact fenced members are no quorum of what one
    /// of them goes by, unless that is over: none of them would be elected by it.
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
        let over = |id: &MemberId, log: &LogSummary| {
            let place = log.place_of(&log.in_force);
            self.log_of(old.inc, *id).zip(place).is_some_and(|(store, place)| {
                self.is_over(store, &log.in_force, place, |id| intact.contains(id))
            })
        };
        let mut logs = theirs.filter_map(|(id, fence)| Some((id, fence.log.as_ref()?)));
        let found = logs.any(|(id, log)| {
            let config = &log.in_force;
            let here = config.iter().filter(|id| intact.contains(id)).count();
            here >= quorum(config.len()) && !over(id, log)
        });
        if found {
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
        let same = |m: &&Manifest| object.is_some_and(|pin| pin.sha256 == m.sha256);
        let taken = self.ghost.manifests.iter().map(|(_, manifest)| manifest).filter(same);
        // one file may have been taken twice, with entries between that write nothing
        let applied = taken.filter(|m| m.inc == old.inc).map(|m| m.applied).max().unwrap_or(0);
        let waited =
            self.now.saturating_sub(self.ghost.opened_at) >= self.options.pace.timers().fence.0;
        let refused = records.slots.iter().filter_map(|(_, record)| record.salvage.as_ref());
        let in_vain = refused.clone().any(|s| s.attempt == old.attempt && s.manifest.is_none());
        let done_without = Parked::Approval(Why::Salvage);
        let in_vain = in_vain
            || old
                .approved
                .iter()
                .any(|approval| approval.attempt == old.attempt && approval.parked == done_without);
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
            let taken = self.ghost.manifests.iter().rev().take(4);
            let taken: Vec<_> = taken.map(|(at, m)| (at, m.revision, m.applied)).collect();
            let text =
                format!("entries up to {known} were known, {applied} are restored of {taken:?}");
            self.broke(format!("S13: {text}"));
        }
    }

    /// S12: the source holds what any snapshot of the incarnation held when the attempt began, and
    /// what was salvaged for it. S15: it is of this very incarnation. S13: what is lost was declared.
    fn check_source(&mut self, old: &Ctrl, new: &Ctrl, records: &Records) {
        let Some(source) = &new.source else { return };
        let named = old.request.as_ref().is_some_and(|request| request.source.is_some());
        let of_it = |manifest: &Manifest| {
            manifest.inc == old.inc && Some(manifest.cluster_id) == old.cluster_id
        };
        let sound = |manifest: &Manifest| self.bucket.sound(&manifest.sha256).is_some();
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
            .filter(|manifest| guards::is_trusted(manifest, &old.adopted))
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
        let (inc, all) = (self.lineage_of(old), self.ghost.manifests.iter());
        let mut it = all.map(|(_, m)| m).filter(|m| m.sha256 == object.sha256 && m.inc == inc);
        let trusted = it.clone().any(|manifest| guards::is_trusted(manifest, &old.adopted));
        let mine = it.next().is_some();
        if mine && !trusted {
            self.broke("S12: a doubtful snapshot is restored unasked".to_owned());
        }
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
    fn check_open(&mut self, new: &Ctrl) {
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
        // a seat that changed hands since reports anew: what was compared is what it had reported
        let pinned = new.plan.as_ref().map(|pin| pin.sha256);
        let of_plan = |((plan, _), _): &(&(Digest, Slot), &Check)| Some(*plan) == pinned;
        let checks: Vec<Check> = self
            .ghost
            .reports
            .iter()
            .filter(of_plan)
            .map(|(_, check)| *check)
            .filter(|check| check.revision == agreed)
            .collect();
        let kinds: BTreeSet<_> = checks.iter().collect();
        if kinds.len() != 1 || checks.len() < quorum(new.members.len()) {
            self.broke(format!("S14: opened with {} contents of {}", kinds.len(), checks.len()));
        }
    }
}
