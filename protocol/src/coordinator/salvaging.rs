//! **salvaging** — what a fenced survivor knows and no snapshot has: the survivor saves it from a copy of
//! its data, and the leader waits for it (protocol.md 1.8, S12).
//!
//! Comes from the logs that fences show and from the catalogue. Goes to [`fencing`](super::fencing), the
//! survivor's part, and to [`sourcing`](super::sourcing), the leader's. Both ask the same question, whose
//! data it is, of the same function.

use super::{Scene, Step, sourcing::SALVAGE};
use crate::{
    change,
    cluster::Slot,
    effect::Effect,
    explanation::Code,
    fence::{self, Standing},
    limits::FAILURES_OF_A_LEADER,
    manifest::{Manifest, Reason},
    mutant::{self, Mutant},
    observation::LogSummary,
    registry::Salvage,
    source,
    time::Moment,
};
use alloc::{string::String, vec::Vec};

impl Scene<'_> {
    // ------------------------------------------------------------ the survivor

    /// A fenced survivor whose log is the best and knows more than any snapshot saves a copy. What
    /// can't be had is put on record, and tried again all the same: somebody may mend it.
    pub(super) fn salvage(&self) -> Option<Step> {
        let standing = fence::standing(self.ctrl, self.records);
        let (best, log) = self.best_survivor(&standing)?;
        let said = self.mine.salvage.as_ref().filter(|said| said.attempt == self.ctrl.attempt);
        if best != self.slot || said.is_some_and(|said| said.manifest.is_some()) {
            return None;
        }
        let salvaged = self.core.known.saved.as_ref().filter(|(_, manifest)| {
            manifest.inc == self.ctrl.inc
                && manifest.reason == Reason::Salvage
                && manifest.applied >= log.commit
        });
        if let Some((_, manifest)) = salvaged {
            // said even though the catalogue has it by now: the leader waits for the record
            return self.say_salvaged(Some(manifest.key()), "records the salvage of its data");
        }
        let catalogue = match self.catalogue() {
            Ok(catalogue) => catalogue,
            Err(step) => return Some(step),
        };
        if let Some(held) = source::held(self.ctrl, catalogue, &self.bad_snapshots(), log.commit) {
            // it is relied on only once it is seen to be whole
            return self.proven(&source::from_manifest(held, 0), Moment::default()).err();
        }
        let in_vain = self.is_spoiled() || self.copies().failed >= FAILURES_OF_A_LEADER;
        if in_vain && said.is_none() {
            return self.say_salvaged(None, "records that its data can't be saved");
        }
        Step::act(
            Effect::SalvageCopy { inc: self.ctrl.inc },
            Code::Salvaging,
            "saves a snapshot from a copy of its data: it knows more than any snapshot",
        )
    }

    fn say_salvaged(&self, manifest: Option<String>, text: &'static str) -> Option<Step> {
        let salvage = Salvage { attempt: self.ctrl.attempt, manifest };
        let change = change::salvaged(self.slot, self.mine, salvage);
        Step::act(Effect::Write(change), Code::Salvaging, text)
    }

    // ------------------------------------------------------------ the leader

    /// The best survivor knows more than the best snapshot: its salvage is waited for. Where it can't
    /// be had, an operator decides whether to do without; only a machine that has fallen silent
    /// since, and no rollback, is given up after T_fence.
    pub(super) fn await_salvage(&self, standing: &Standing) -> Option<Step> {
        if mutant::is(Mutant::SalvageSkipped) {
            return None;
        }
        let (slot, log) = self.best_survivor(standing)?;
        let catalogue = match self.catalogue() {
            Ok(catalogue) => catalogue,
            Err(step) => return Some(step),
        };
        if let Some(key) = self.salvage_of(slot).and_then(|salvage| salvage.manifest.as_ref()) {
            return self.unreadable_salvage(slot, catalogue, key);
        }
        if source::held(self.ctrl, catalogue, &self.bad_snapshots(), log.commit).is_some() {
            return None;
        }
        let name = self.name(slot);
        if self.salvage_of(slot).is_some() {
            let attempt = self.ctrl.attempt;
            let text = alloc::format!(
                "{name}'s data knows more than any snapshot and can't be saved: mend that (see its \
                 `requorum explain`), or say `requorum approve {attempt}` to do without, or `requorum abort`"
            );
            return Some(self.park(SALVAGE, Code::ApprovalNeeded, text));
        }
        let text = alloc::format!("waits for the salvage of {name}'s data");
        // a snapshot that could not be read here may be whole for that machine, which then salvages
        // nothing: it is looked at again
        match source::held(self.ctrl, catalogue, &[], log.commit) {
            Some(held) if !mutant::is(Mutant::BadForEver) => {
                let effect = Effect::Verify(source::from_manifest(held, 0));
                Step::act(effect, Code::Salvaging, text)
            }
            // nor does it where it sees a snapshot that was not listed here yet
            Some(_) | None if self.catalogue_is_old() => {
                let effect =
                    Effect::ReadCatalogue { inc: self.ctrl.inc, pointers: self.pointers() };
                Step::act(effect, Code::Salvaging, text)
            }
            Some(_) | None => Step::wait(Code::Salvaging, text),
        }
    }

    /// What was salvaged can't be read: nobody passes it over unasked, and it is tried again meanwhile.
    fn unreadable_salvage(&self, slot: Slot, catalogue: &[Manifest], key: &str) -> Option<Step> {
        let salvaged = catalogue.iter().find(|manifest| manifest.key() == key)?;
        let unreadable = self.bad_snapshots().contains(&salvaged.sha256);
        if !unreadable || self.is_approved(SALVAGE, Some(slot)) || mutant::is(Mutant::BadForEver) {
            return None;
        }
        let (name, attempt) = (self.name(slot), self.ctrl.attempt);
        let text = alloc::format!(
            "the snapshot {key} of {name}'s data can't be read: mend that, or say `requorum approve \
             {attempt}` to do without, or `requorum abort`"
        );
        if self.ctrl.parked == Some(SALVAGE) {
            let effect = Effect::Verify(source::from_manifest(salvaged, 0));
            return Step::act(effect, Code::ApprovalNeeded, text);
        }
        Some(self.park(SALVAGE, Code::ApprovalNeeded, text))
    }

    /// Which snapshots there are was asked longer than a vote's life ago.
    fn catalogue_is_old(&self) -> bool {
        let asked = self.core.known.catalogue.as_ref().map(|(_, asked, _)| *asked);
        let old = asked.is_none_or(|asked| self.now.since(asked) >= self.timers().lin);
        old && !mutant::is(Mutant::StaleListTrusted)
    }

    /// The survivor whose log is the best of those that are not done without, to the leader and to
    /// the survivor alike.
    pub(super) fn best_survivor(&self, standing: &Standing) -> Option<(Slot, &LogSummary)> {
        let wanted: Vec<Slot> =
            standing.survivors.iter().copied().filter(|slot| !self.is_given_up(*slot)).collect();
        fence::best_log(self.ctrl, self.records, &wanted)
    }

    /// What this attempt has of a seat's salvage.
    fn salvage_of(&self, slot: Slot) -> Option<&Salvage> {
        self.records
            .slot(slot)
            .salvage
            .as_ref()
            .filter(|salvage| salvage.attempt == self.ctrl.attempt)
    }

    /// A survivor that is done without: by the operator's word, or because its machine fell silent
    /// (S12 speaks of salvages recorded; the loss is declared in the plan).
    fn is_given_up(&self, slot: Slot) -> bool {
        let refused = self.salvage_of(slot).is_some_and(|salvage| salvage.manifest.is_none());
        let silent = self.vote(slot).is_none() && self.in_phase() >= self.timers().fence;
        (refused && self.is_approved(SALVAGE, Some(slot)))
            || (silent && !self.is_rollback() && self.salvage_of(slot).is_none())
    }

    /// A catalogue read before a salvage was recorded doesn't have it: S12 wants it looked at. One
    /// that was recorded for the attempt that made this incarnation is of the last one.
    pub(super) fn lacks_salvage(&self, inc: u64, asked: Moment, found: &[Manifest]) -> bool {
        let older = self.core.known.records.as_ref().is_some_and(|(read_at, _)| asked < *read_at);
        let recorded = self.records.salvages().map(|(_, salvage)| salvage);
        let current = recorded.filter(|salvage| salvage.attempt == self.ctrl.attempt);
        let folder = Manifest::folder(inc);
        let of_it = |key: &str| key.starts_with(&folder) || mutant::is(Mutant::OldSalvageAwaited);
        let mut keys = current.filter_map(|salvage| salvage.manifest.as_ref());
        older && keys.any(|key| of_it(key) && !found.iter().any(|m| m.key() == *key))
    }
}
