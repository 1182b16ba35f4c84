//! **troubles** — what a failed effect says. It proves nothing of what was asked for, but some
//! failures say "not this one", and each is kept for `explain`.

use super::known::Known;
use crate::{
    cluster::Digest,
    effect::{Effect, Lane},
    event::{Failure, FailureKind},
    explanation::{Code, Note},
    manifest::Reason,
    mutant::{self, Mutant},
    registry::Pin,
};
use alloc::vec::Vec;

/// Saved because the member is about to be stopped.
pub(super) const fn is_last_word(reason: Reason) -> bool {
    matches!(reason, Reason::Suspicion | Reason::BeforeRollback)
}

/// Copies of a member's data that brought nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Copies {
    /// etcd refused the data.
    pub(super) refused: u32,
    /// It could not be tried: no space, no answer of the bucket, a kill.
    pub(super) failed: u32,
}

impl Known {
    /// What stands between this agent and the store behind `lane`, if its last call failed; `so`
    /// says what follows.
    pub(super) fn trouble(&self, lane: Lane, so: &str) -> Option<Note> {
        let failure = self.failures.get(&lane)?;
        let code = match failure.kind {
            FailureKind::Bad => Code::RecordUnreadable,
            FailureKind::Unavailable | FailureKind::NoSpace => Code::StoreUnreachable,
        };
        Some(Note::new(code, alloc::format!("{}; {so}", failure.text)))
    }

    fn copied_in_vain(&mut self, kind: FailureKind) {
        let attempt = self.phase_since.map_or(0, |((_, attempt, _), _)| attempt);
        let before = self.copies.filter(|(of, _)| *of == attempt).map(|(_, copies)| copies);
        let mut copies = before.unwrap_or_default();
        match kind {
            FailureKind::Bad => copies.refused += 1,
            FailureKind::Unavailable | FailureKind::NoSpace => copies.failed += 1,
        }
        self.copies = Some((attempt, copies));
    }

    /// Snapshots that were seen in this attempt to be of no use. What could not be read in an earlier
    /// one, or before a salvage that may be the same, is looked at again before it is passed over (S12).
    pub(super) fn bad_in(&self, attempt: u64) -> Vec<Digest> {
        let counts = |of: u64| of == attempt || mutant::is(Mutant::BadForEver);
        self.bad.iter().filter(|(of, _)| counts(*of)).map(|(_, sha256)| *sha256).collect()
    }

    /// Last words are tried once an attempt: a member that goes on applying would never end them.
    pub(super) fn spoke_last(&mut self) {
        self.last_words = self.phase_since.map(|((_, attempt, _), _)| attempt);
    }

    /// Takes a failure: it proves nothing, but some of them say "not this one".
    pub(super) fn failed(&mut self, effect: &Effect, failure: Failure) {
        match effect {
            Effect::Write(_) | Effect::Found(_) => self.must_read = true,
            // whoever asked was told; it is not tried again behind their back
            Effect::Save(save) if save.reason == Reason::Hand => self.save_asked = false,
            Effect::Verify(source) if failure.kind == FailureKind::Bad => {
                let attempt = self.phase_since.map_or(0, |((_, attempt, _), _)| attempt);
                self.bad.extend(source.object.as_ref().map(|pin| (attempt, pin.sha256)));
            }
            Effect::Restore(_, digest) | Effect::FetchPlan(Pin { sha256: digest, .. })
                if failure.kind != FailureKind::Unavailable =>
            {
                self.unable.push(*digest)
            }
            Effect::SalvageCopy { .. } => self.copied_in_vain(failure.kind),
            Effect::ReadLog if failure.kind == FailureKind::Bad => {
                self.log = self.marker.map(|marker| (marker.attempt, None));
            }
            Effect::Save(save) if is_last_word(save.reason) => {
                self.spoke_last(); // a store that is down must not hold the fence up
            }
            Effect::Start(_) => {
                // it may have run for a moment
                self.unstarted = None;
                self.must_look = true;
            }
            // half of a promise may be written: what was seen before it says nothing of after
            Effect::Mark(_) | Effect::Stop | Effect::Swap { .. } | Effect::MoveAside { .. } => {
                self.must_look = true;
            }
            Effect::Prove
            | Effect::Discover
            | Effect::ReadRegistry
            | Effect::Exchange(_)
            | Effect::Look { .. }
            | Effect::ReadLog
            | Effect::Unmark(_)
            | Effect::Retire(_)
            | Effect::RememberOpened(_)
            | Effect::RememberSeat(..)
            | Effect::RememberRan(_)
            | Effect::FetchPlan(_)
            | Effect::PutPlan(_)
            | Effect::Verify(_)
            | Effect::Restore(..)
            | Effect::Save(_)
            | Effect::ReadCatalogue { .. }
            | Effect::ListMembers
            | Effect::RemoveMember(_)
            | Effect::AddLearner { .. }
            | Effect::Promote(_)
            | Effect::DisarmNoSpace => {}
        }
        self.failures.insert(effect.lane(), failure);
    }
}
