//! **source** — which snapshot a restore starts from, or why none.
//!
//! Comes from the survivors' logs and the catalogue of manifests. Goes to the plan.
//!
//! Intuition: within one incarnation the snapshot with the highest revision holds all that the
//! others hold. A survivor's log may know of more than any snapshot; then its data is salvaged
//! first and the salvage is one more snapshot (protocol.md 1.8, Recovery source).

use crate::{
    guards,
    limits::{BUMP_MIN, FALLBACKS_MAX, MANIFESTS_READ, MANIFESTS_SOUND, REVISION_END},
    manifest::{Manifest, Reason},
    mutant::{self, Mutant},
    registry::{Ctrl, Pin, Source, adoption},
};
use alloc::{string::String, vec::Vec};

/// What was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// This manifest, to be verified; and the next older ones.
    Manifest(Manifest, Vec<String>),
    /// No snapshot of this incarnation exists: what it was itself restored from.
    Again(Source),
    /// Nothing.
    None,
}

/// How much of an incarnation's catalogue was read, from the newest name to older ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reading {
    read: usize,
    sound: usize,
}

impl Reading {
    /// One more name was read; `None`: nothing that can be read stands there.
    pub fn count(&mut self, found: Option<&Manifest>) {
        self.read += 1;
        self.sound += usize::from(found.is_some_and(|found| guards::is_trusted(found, &[])));
    }

    /// Whether a restore, or the measure of the next snapshot, may need an older one: not enough were read,
    /// or not enough that nobody doubts.
    pub const fn goes_on(&self) -> bool {
        self.read < MANIFESTS_READ || self.sound < MANIFESTS_SOUND
    }
}

/// The snapshot that holds all that a log knew to be committed, if there is one among those that
/// may be chosen: then nothing needs to be salvaged. `applied` of a manifest is a lower bound, so
/// this errs towards one salvage too many.
pub fn held<'a>(
    ctrl: &Ctrl,
    catalogue: &'a [Manifest],
    bad: &[crate::cluster::Digest],
    commit: u64,
) -> Option<&'a Manifest> {
    of_this_incarnation(ctrl, catalogue, bad)
        .into_iter()
        .find(|manifest| manifest.applied >= commit)
}

/// What a restore would choose now, if nobody names another and nothing is known to be bad.
pub fn newest<'a>(ctrl: &Ctrl, catalogue: &'a [Manifest]) -> Option<&'a Manifest> {
    of_this_incarnation(ctrl, catalogue, &[]).into_iter().next()
}

/// Chooses among the manifests of this incarnation, without those found bad.
pub fn choose(ctrl: &Ctrl, catalogue: &[Manifest], bad: &[crate::cluster::Digest]) -> Choice {
    let usable = of_this_incarnation(ctrl, catalogue, bad);
    if let Some(named) = ctrl.request.as_ref().and_then(|request| request.source.as_ref()) {
        // what an operator names is restored, or nothing
        let found = usable.iter().find(|manifest| manifest.key() == *named);
        return found.map_or(Choice::None, |found| Choice::Manifest((*found).clone(), Vec::new()));
    }
    // An incarnation that was never opened has served nobody: only what it was made from counts.
    match (ctrl.opened, usable.split_first(), &ctrl.source) {
        (true, Some((best, rest)), _) => Choice::Manifest((*best).clone(), keys(rest)),
        (false, _, Some(source)) if source.object.is_none() => Choice::Again(source.clone()),
        (false, _, Some(source)) | (true, None, Some(source)) if is_usable(source, bad) => {
            Choice::Again(source.clone())
        }
        (_, _, _) => Choice::None,
    }
}

/// Of which incarnation the snapshots are that a restore may yet choose among: of the present one once clients
/// were let in, else of the one that its source is of. That one has ended, and yet the plan may have to fall
/// back on another of its snapshots until the present one is open.
pub fn lineage(ctrl: &Ctrl) -> u64 {
    let object = ctrl.source.as_ref().and_then(|source| source.object.as_ref());
    match object.filter(|_| !ctrl.opened) {
        Some(pin) => Manifest::inc_of(&pin.key).unwrap_or_else(|| ctrl.inc.saturating_sub(1)),
        None => ctrl.inc,
    }
}

/// What takes the place of a pinned source that turned out unreadable, and the next ones: the newest of its
/// incarnation that is not newer than it (protocol.md S12), for what is newer was passed over before the
/// commit. What an operator adopted since the commit is meant for this very restore, whatever its revision; a
/// foreign snapshot is chosen here only if it was.
pub fn next_older<'a>(
    ctrl: &Ctrl,
    old: &Source,
    catalogue: &'a [Manifest],
    bad: &[crate::cluster::Digest],
) -> Option<(&'a Manifest, Vec<String>)> {
    let mut usable = newest_first(ctrl, lineage(ctrl), catalogue, bad);
    usable.retain(|manifest| {
        let word = adoption::of(&ctrl.adopted, &manifest.sha256);
        let since = word.is_some_and(|word| word.inc == ctrl.inc);
        let older = manifest.revision <= old.revision && manifest.reason != Reason::Adopted;
        since || older
    });
    let (next, rest) = usable.split_first()?;
    Some((next, keys(rest)))
}

/// The snapshots of the present incarnation, of its own etcd cluster, that may be chosen.
fn of_this_incarnation<'a>(
    ctrl: &Ctrl,
    catalogue: &'a [Manifest],
    bad: &[crate::cluster::Digest],
) -> Vec<&'a Manifest> {
    let mut usable = newest_first(ctrl, ctrl.inc, catalogue, bad);
    usable.retain(|manifest| ctrl.cluster_id.is_none_or(|id| id == manifest.cluster_id));
    usable
}

/// The snapshots of incarnation `inc` that are not known to be bad and that nobody doubts, or an operator
/// answers for; the newest first. What an operator brought comes last: its revisions are another
/// cluster's, and compare with none of ours.
fn newest_first<'a>(
    ctrl: &Ctrl,
    inc: u64,
    catalogue: &'a [Manifest],
    bad: &[crate::cluster::Digest],
) -> Vec<&'a Manifest> {
    let is_usable = |manifest: &&Manifest| {
        let ours = manifest.uid == ctrl.uid && manifest.inc == inc;
        let sound = manifest.revision <= REVISION_END && !bad.contains(&manifest.sha256);
        let trusted = guards::is_trusted(manifest, &ctrl.adopted);
        ours && sound && (trusted || mutant::is(Mutant::DoubtIgnored))
    };
    let mut usable: Vec<&Manifest> = catalogue.iter().filter(is_usable).collect();
    if mutant::is(Mutant::OldestSource) {
        usable.sort_by_key(|manifest| manifest.revision);
        return usable;
    }
    usable.sort_by(|one, other| {
        let key = |manifest: &Manifest| {
            let of_its_own = manifest.reason != Reason::Adopted;
            (of_its_own, manifest.revision, manifest.applied, manifest.sha256)
        };
        key(other).cmp(&key(one))
    });
    usable
}

fn keys(manifests: &[&Manifest]) -> Vec<String> {
    manifests.iter().take(FALLBACKS_MAX).map(|manifest| manifest.key()).collect()
}

/// An incarnation that was opened and born empty has no snapshot to go back to: restoring
/// "nothing" would declare all of its writes lost by a rule. The operator decides that.
fn is_usable(source: &Source, bad: &[crate::cluster::Digest]) -> bool {
    source.object.as_ref().is_some_and(|pin| !bad.contains(&pin.sha256))
}

/// The source that a manifest gives, with a bump that takes the new revision above any that a
/// client may have seen (S24; a fixed bump goes back in time when one file is restored twice).
pub fn from_manifest(manifest: &Manifest, highest_seen: u64) -> Source {
    Source {
        object: Some(Pin { key: manifest.data.clone(), sha256: manifest.sha256 }),
        revision: manifest.revision,
        bump: bump(manifest.revision, highest_seen),
        live_keys: manifest.live_keys,
        size: manifest.size,
    }
}

/// The same source once more, bumped above what its first restore may have shown.
pub fn again(source: &Source, highest_seen: u64) -> Source {
    if source.object.is_none() {
        return source.clone(); // empty and never opened: nobody has seen a revision of it
    }
    let highest = highest_seen.max(source.revision + source.bump);
    Source { bump: bump(source.revision, highest), ..source.clone() }
}

fn bump(revision: u64, highest_seen: u64) -> u64 {
    if mutant::is(Mutant::FixedBump) {
        return BUMP_MIN;
    }
    highest_seen.min(REVISION_END).saturating_sub(revision).saturating_add(BUMP_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bump_passes_whatever_was_seen() {
        assert_eq!(bump(10, 5), BUMP_MIN);
        assert_eq!(bump(10, 2_000_000_010), 2_000_000_000 + BUMP_MIN);
        let most = bump(5, u64::MAX) + 5;
        assert!(most < i64::MAX as u64, "whatever a vote says, etcd's int64 holds it");
        let pin = Pin { key: "k".into(), sha256: crate::cluster::Digest::of(b"") };
        let object = Some(pin);
        let once = Source { object, revision: 10, bump: BUMP_MIN, live_keys: None, size: 0 };
        let twice = again(&once, 0);
        assert!(twice.revision + twice.bump > once.revision + once.bump);
    }

    #[test]
    fn what_the_highest_vote_leads_to_can_still_be_restored_and_again() {
        let shown = |source: &Source| source.revision + source.bump;
        let object = Some(Pin { key: "k".into(), sha256: crate::cluster::Digest::of(b"") });
        let bump = bump(10, crate::limits::REVISION_MAX);
        let mut source = Source { object, revision: 10, bump, live_keys: None, size: 0 };
        assert!(shown(&source) <= REVISION_END, "its own snapshots are candidates");
        for _ in 0..1000 {
            let next = again(&source, crate::limits::REVISION_MAX);
            assert!(shown(&next) > shown(&source), "S24");
            source = next;
        }
    }
}
