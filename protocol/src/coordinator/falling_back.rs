//! **falling back** — what takes the place of a pinned snapshot that can't be read, after the commit: until
//! clients are let in, nothing that the new incarnation would have shown was seen by anybody.
//!
//! Comes in: the source on record, the catalogue of the incarnation it is of, operators' words. Goes to the
//! next plan ([`restoring`](super::restoring)), or to the next attempt ([`sourcing`](super::sourcing)). As
//! before the commit nothing doubtful is taken, and nothing newer passed over, without an operator's word.

use super::{Scene, Step};
use crate::{
    effect::Effect,
    explanation::{Code, Note},
    guards,
    manifest::{Doubt, Manifest, Reason},
    registry::{Parked, Phase, Source, Why},
    source,
};
use alloc::{string::String, vec::Vec};

const DOUBT: Parked = Parked::Approval(Why::Doubt);

impl Scene<'_> {
    /// What another plan for this incarnation restores: the same object while it can be read, else the next
    /// one of its incarnation.
    #[expect(clippy::result_large_err, reason = "the step is taken at once")]
    pub(super) fn source_again(&self) -> Result<(Source, Vec<String>), Step> {
        let since = self.core.known.phase_since.map(|(_, since)| since).unwrap_or_default();
        let Some(old) = &self.ctrl.source else {
            return Err(Step::Wait(Note::new(Code::NoSnapshot, "the records name no source")));
        };
        let bad = |pin: &crate::registry::Pin| self.bad_snapshots().contains(&pin.sha256);
        let Some(pin) = old.object.as_ref().filter(|pin| bad(pin)) else {
            let fallbacks = self.plan().map(|plan| plan.fallbacks.clone()).unwrap_or_default();
            return self.proven(old, since).map(|()| (old.clone(), fallbacks));
        };
        self.fall_back(old)?.ok_or_else(|| {
            let text = alloc::format!(
                "the pinned snapshot {} can't be restored and no other may be: put it back under that key, \
                 or say `requorum snapshot adopt KEY --because TEXT` for one that is doubtful, or for any \
                 other file",
                pin.key
            );
            self.keep_looking(old, Note::new(Code::NoSnapshot, text))
        })
    }

    /// The next snapshot of the incarnation that `old` is of: whole, and with an operator's word where one
    /// is needed. `None`: there is none.
    #[expect(clippy::result_large_err, reason = "the step is taken at once")]
    pub(super) fn fall_back(&self, old: &Source) -> Result<Option<(Source, Vec<String>)>, Step> {
        let since = self.core.known.phase_since.map(|(_, since)| since).unwrap_or_default();
        let catalogue = self.catalogue_of(source::lineage(self.ctrl), since)?;
        let next = source::next_older(self.ctrl, old, catalogue, &self.bad_snapshots());
        let Some((next, fallbacks)) = next else { return Ok(None) };
        // bumped above what the first plan would have shown
        let source = source::from_manifest(next, old.revision + old.bump);
        self.proven(&source, since)?;
        // what is newer than the first choice was passed over by word, or by name
        match self
            .question(catalogue, next, old.revision)
            .filter(|_| !self.is_approved(DOUBT, None))
        {
            Some(note) if self.ctrl.parked == Some(DOUBT) => Err(self.keep_looking(old, note)),
            Some(note) => Err(self.park(DOUBT, note.code, note.text)),
            None => Ok(Some((source, fallbacks))),
        }
    }

    /// Somebody may put the pinned snapshot back, or bring another: both are looked for.
    fn keep_looking(&self, old: &Source, note: Note) -> Step {
        let asked = self.core.known.ended.as_ref().map(|(_, asked, _)| *asked);
        if asked.is_none_or(|asked| self.now.since(asked) >= self.timers().confirm) {
            let inc = source::lineage(self.ctrl);
            return Step::Do(Effect::ReadCatalogue { inc, pointers: self.pointers() }, note);
        }
        Step::Do(Effect::Verify(old.clone()), note)
    }

    /// What an operator is asked before `chosen` is restored, if anything: a snapshot that is newer, up to
    /// revision `newest`, is doubtful, or only another cluster's is left.
    pub(super) fn question(
        &self,
        catalogue: &[Manifest],
        chosen: &Manifest,
        newest: u64,
    ) -> Option<Note> {
        let attempt = self.ctrl.attempt;
        if chosen.reason == Reason::Adopted {
            let otherwise = match self.ctrl.phase {
                Phase::Restoring => "put the pinned one back",
                Phase::Genesis
                | Phase::Idle
                | Phase::Fencing
                | Phase::Aborted
                | Phase::Committed
                | Phase::Starting
                | Phase::Verifying
                | Phase::Open
                | Phase::Healing => "say `requorum abort`",
            };
            let text = alloc::format!(
                "no snapshot of this cluster is left, only {} that an operator adopted: restore it with \
                 `requorum approve {attempt}`, or {otherwise}",
                chosen.key()
            );
            return Some(Note::new(Code::DoubtfulSnapshot, text));
        }
        let found = guards::speaks_against(chosen, catalogue, &self.ctrl.adopted);
        let asked = found.into_iter().find(|manifest| manifest.revision <= newest)?;
        let doubt = asked.doubt.map_or("", Doubt::name);
        let text = alloc::format!(
            "a snapshot at revision {} is doubtful ({doubt}), and the one at {} would be restored: take the \
             doubtful one with `requorum snapshot adopt {} --force {doubt} --because TEXT`, or do without it \
             with `requorum approve {attempt}`",
            asked.revision,
            chosen.revision,
            asked.key(),
        );
        Some(Note::new(Code::DoubtfulSnapshot, text))
    }
}
