//! **sourcing** — the end of FENCING: which snapshot, how many members, the operator's consent,
//! the plan, the commit. Everything before the commit may be done twice; the commit only once.

use super::{Mode, Scene, Step};
use crate::{
    change,
    cluster::{Seat, quorum},
    effect::Effect,
    explanation::Code,
    fence::{self, Standing},
    manifest::Manifest,
    plan::Plan,
    registry::{Parked, Source, Why},
    source::{self, Choice},
    time::Moment,
};
use alloc::{string::String, vec::Vec};

impl Scene<'_> {
    /// The manifests of the present incarnation, read during this attempt; or the step that reads them.
    #[expect(clippy::result_large_err, reason = "the step is taken at once")]
    pub(super) fn catalogue(&self) -> Result<&[Manifest], Step> {
        let known = &self.core.known;
        let phase_since = known.phase_since.map(|(_, _, since)| since);
        let read = known
            .catalogue
            .as_ref()
            .filter(|(inc, asked, _)| *inc == self.ctrl.inc && Some(*asked) >= phase_since)
            .filter(|(_, asked, found)| !self.lacks_salvage(*asked, found));
        match read {
            Some((_, _, manifests)) => Ok(manifests),
            None => {
                let note = crate::explanation::Note::new(
                    Code::Salvaging,
                    "reads which snapshots there are",
                );
                Err(Step::Do(
                    Effect::ReadCatalogue { inc: self.ctrl.inc, pointers: self.pointers() },
                    note,
                ))
            }
        }
    }

    /// A catalogue read before a salvage was recorded doesn't have it: S12 wants it looked at.
    fn lacks_salvage(&self, asked: Moment, found: &[Manifest]) -> bool {
        let older = self.core.known.records.as_ref().is_some_and(|(read_at, _)| asked < *read_at);
        let recorded = self.records.slots.iter().filter_map(|(_, slot)| slot.salvage.as_ref());
        let mut current = recorded.filter(|salvage| salvage.attempt == self.ctrl.attempt);
        older && current.any(|salvage| !found.iter().any(|m| m.key() == salvage.manifest))
    }

    /// Manifest keys that votes and salvages name: LIST may be behind (protocol.md 1.7).
    fn pointers(&self) -> Vec<String> {
        let salvages = self.records.slots.iter().filter_map(|(_, slot)| slot.salvage.as_ref());
        let mut keys = self.core.known.book.manifests();
        keys.extend(salvages.map(|salvage| salvage.manifest.clone()));
        keys
    }

    /// F blocks and has gathered: choose, verify, ask, count, plan, commit.
    pub(super) fn settle_source(&self, standing: &Standing) -> Option<Step> {
        if let Some(step) = self.await_salvage(standing) {
            return Some(step);
        }
        let catalogue = match self.catalogue() {
            Ok(catalogue) => catalogue,
            Err(step) => return Some(step),
        };
        let chosen = match self.choose(catalogue) {
            Ok(chosen) => chosen,
            Err(step) => return Some(step),
        };
        let loss = self.core.known.book.highest_revision().saturating_sub(chosen.0.revision);
        self.ask_operator(loss)
            .or_else(|| self.count_members())
            .or_else(|| self.commit(standing, chosen, loss))
    }

    /// The best survivor knows more than the best snapshot: its salvage is waited for as long as
    /// an agent speaks for it, and T_fence at most.
    fn await_salvage(&self, standing: &Standing) -> Option<Step> {
        let (slot, log) = fence::best_log(self.ctrl, self.records, &standing.intact)?;
        let recorded = self.records.slot(slot).salvage;
        if recorded.is_some_and(|salvage| salvage.attempt == self.ctrl.attempt) {
            return None;
        }
        let catalogue = match self.catalogue() {
            Ok(catalogue) => catalogue,
            Err(step) => return Some(step),
        };
        if !source::needs_salvage(Some(&log), catalogue) {
            return None;
        }
        if self.in_phase() >= self.timers().fence && self.vote(slot).is_none() {
            return None; // S12 speaks of salvages recorded; the loss is declared in the plan
        }
        Step::wait(
            Code::Salvaging,
            alloc::format!("waits for the salvage of {}'s data", self.name(slot)),
        )
    }

    #[expect(clippy::result_large_err, reason = "the step is taken at once")]
    fn choose(&self, catalogue: &[Manifest]) -> Result<(Source, Vec<String>), Step> {
        let known = &self.core.known;
        let seen = known
            .book
            .highest_revision()
            .max(catalogue.iter().map(|manifest| manifest.revision).max().unwrap_or(0));
        let named = self.ctrl.request.as_ref().and_then(|request| request.source.clone());
        let candidates: Vec<Manifest> = catalogue
            .iter()
            .filter(|manifest| named.as_ref().is_none_or(|key| *key == manifest.key()))
            .cloned()
            .collect();
        match source::choose(self.ctrl, &candidates, &known.bad) {
            Choice::Manifest(manifest, fallbacks) if known.proven.contains(&manifest.sha256) => {
                Ok((source::from_manifest(&manifest, seen), fallbacks))
            }
            Choice::Manifest(manifest, _) => {
                let text = alloc::format!(
                    "proves that the snapshot at revision {} restores",
                    manifest.revision
                );
                let note = crate::explanation::Note::new(Code::Salvaging, text);
                Err(Step::Do(Effect::Verify(manifest), note))
            }
            Choice::Again(source) => Ok((source::again(&source, seen), Vec::new())),
            Choice::None => Err(self.park(
                Parked::Approval(Why::NoSource),
                Code::NoSnapshot,
                "no verified snapshot of this incarnation, and no survivor's data",
            )),
        }
    }

    fn park(&self, parked: Parked, code: Code, text: &str) -> Step {
        let note = crate::explanation::Note::new(code, text);
        if self.ctrl.parked == Some(parked) {
            return Step::Wait(note);
        }
        Step::Do(Effect::Write(change::park(self.ctrl, Some(parked))), note)
    }

    /// Policy: what would be lost, and who may say yes to it.
    fn ask_operator(&self, loss: u64) -> Option<Step> {
        if self.ctrl.approved == Some(self.ctrl.attempt) || self.ctrl.request.is_some() {
            return None;
        }
        let policy = self.policy();
        let too_much = policy.max_loss.is_some_and(|bound| loss > bound);
        let why = match (policy.mode, too_much) {
            (Mode::Automatic, false) => return None,
            (Mode::Automatic, true) => Why::Loss,
            (Mode::Ask | Mode::Off, _) => Why::Ask,
        };
        let attempt = self.ctrl.attempt;
        let text = alloc::format!(
            "at least {loss} revisions would be lost; say `requorum approve {attempt}` or `requorum abort`"
        );
        Some(self.park(Parked::Approval(why), Code::ApprovalNeeded, &text))
    }

    /// The seats whose agents live: they become the new voters.
    fn new_seats(&self) -> Vec<Seat> {
        let live: Vec<_> = self.live_slots().collect();
        self.ctrl.seats.iter().filter(|seat| live.contains(&seat.slot)).cloned().collect()
    }

    fn count_members(&self) -> Option<Step> {
        let needed =
            self.policy().min_members.unwrap_or_else(|| quorum(self.ctrl.seats.len())).max(1);
        let live = self.new_seats().len();
        if live >= needed {
            return None;
        }
        let text = alloc::format!(
            "{live} of at least {needed} agents live: start agents on the missing seats, or set REQUORUM_MIN_MEMBERS"
        );
        Some(self.park(Parked::MinMembers, Code::MinMembers, &text))
    }

    fn commit(
        &self,
        standing: &Standing,
        chosen: (Source, Vec<String>),
        loss: u64,
    ) -> Option<Step> {
        let (source, fallbacks) = chosen;
        let epoch = self.ctrl.lease.as_ref().map_or(0, |lease| lease.epoch);
        let drafted = self.core.known.drafted.as_ref().filter(|(_, plan)| {
            let same = (plan.attempt, plan.epoch, plan.inc)
                == (self.ctrl.attempt, epoch, self.ctrl.inc + 1);
            same && plan.source == source && plan.seats == self.new_seats()
        });
        if let Some((pin, plan)) = drafted {
            let counted: Vec<_> = standing.fenced.iter().map(|(slot, _)| *slot).collect();
            let text = alloc::format!(
                "commits attempt {}: incarnation {} is over",
                self.ctrl.attempt,
                self.ctrl.inc
            );
            return Step::act(
                Effect::Write(change::commit(self.ctrl, plan, pin, &counted)),
                Code::Restoring,
                text,
            );
        }
        let plan = self.new_plan(source, fallbacks, loss, self.ctrl.inc + 1);
        Step::act(Effect::PutPlan(plan), Code::Restoring, "writes the plan")
    }

    pub(super) fn new_plan(
        &self,
        source: Source,
        fallbacks: Vec<String>,
        loss: u64,
        inc: u64,
    ) -> Plan {
        let because = match &self.ctrl.request {
            Some(request) => alloc::format!("asked for by {}: {}", request.by, request.because),
            None => alloc::format!("a quorum of incarnation {} was lost", inc - 1),
        };
        Plan {
            uid: self.ctrl.uid.clone(),
            inc,
            attempt: self.ctrl.attempt,
            epoch: self.ctrl.lease.as_ref().map_or(0, |lease| lease.epoch),
            token: alloc::format!("{}-{inc}-{}", self.ctrl.uid, self.core.fresh("token")),
            seats: self.new_seats(),
            source,
            fallbacks,
            loss,
            because,
        }
    }
}
