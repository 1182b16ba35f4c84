//! **lineage** — which incarnation's snapshots may be restored (S15), and what may take the place of one that
//! was pinned and can't be read (S12 after the commit).
//!
//! Comes in: the decision head before and after a write, and every manifest that was ever written. An
//! incarnation that was never opened goes on from the snapshots of the one that its source was saved of.

use super::Sim;
use protocol::{guards, manifest::Manifest, registry::Ctrl};

impl Sim {
    /// The incarnation that a restore after `ctrl` goes on from, as the manifests say.
    pub(super) fn lineage_of(&self, ctrl: &Ctrl) -> u64 {
        let pinned = ctrl.source.as_ref().and_then(|source| source.object.as_ref());
        let saved = pinned.filter(|_| !ctrl.opened).and_then(|pin| {
            let mut all = self.ghost.manifests.iter().map(|(_, manifest)| manifest);
            all.find(|manifest| manifest.sha256 == pin.sha256)
        });
        saved.map_or(ctrl.inc, |manifest| manifest.inc)
    }

    /// Another snapshot is pinned for the same incarnation: of the same life as the one before it, doubted by
    /// nobody or with an operator's word, and passing over nothing doubtful without one.
    pub(super) fn check_fallback(&mut self, old: &Ctrl, new: &Ctrl) {
        let object = |ctrl: &Ctrl| ctrl.source.as_ref().and_then(|source| source.object.clone());
        let (Some(was), Some(is)) = (object(old), object(new)) else { return };
        if was == is {
            return;
        }
        self.ghost.saw("another source");
        let inc = self.lineage_of(old);
        let all = || self.ghost.manifests.iter().map(|(_, manifest)| manifest);
        let of_it = |manifest: &&Manifest| manifest.inc == inc;
        let chosen = all().filter(of_it).find(|manifest| manifest.sha256 == is.sha256);
        let Some(chosen) = chosen else {
            return self.broke("S15: the next source is of another incarnation".to_owned());
        };
        let trusted = |manifest: &Manifest| guards::is_trusted(manifest, &old.adopted);
        let before = old.source.as_ref().map_or(0, |source| source.revision);
        // a LIST may be a minute behind
        let listed =
            self.ghost.manifests.iter().filter(|(at, _)| *at + 60_000 < self.ghost.opened_at);
        let passed = listed.map(|(_, manifest)| manifest).filter(of_it).any(|manifest| {
            let between = manifest.revision > chosen.revision && manifest.revision <= before;
            between && !trusted(manifest)
        });
        if !trusted(chosen) {
            self.broke("S12: a doubtful snapshot takes the pinned one's place unasked".to_owned());
        } else if passed && old.approved.is_empty() {
            self.broke("S12: a doubtful snapshot is passed over unasked".to_owned());
        }
    }
}
