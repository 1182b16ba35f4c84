//! **adopting** — whether an operator's word for a snapshot can still matter, and to what.
//!
//! Comes in: the decision head, and the incarnation that the snapshot is of. Goes out: what is answered. The
//! operator's verb asks before it copies anything, and the coordinator again when the word is said.
//!
//! Intuition: a restore chooses among the snapshots of one incarnation ([`source::lineage`]). After the commit
//! that is for a while one that has ended: the pinned snapshot may turn out unreadable until its members let
//! clients in, and then the next one takes its place. Once they did, no other is ever chosen.

use crate::{
    explanation::{Code, Note},
    guards,
    manifest::Manifest,
    registry::Ctrl,
    source,
};

/// Why no word is taken for a snapshot of incarnation `inc`, if so, with what would help.
pub fn refusal(ctrl: &Ctrl, inc: u64) -> Option<Note> {
    let lineage = source::lineage(ctrl);
    let text = if ctrl.inc == 0 {
        "no incarnation has begun yet; say it again when `requorum status` shows one".into()
    } else if inc == lineage {
        return None;
    } else if inc < lineage {
        alloc::format!(
            "incarnation {inc} is over, and no restore chooses among its snapshots any more; to go back to one, \
             bring its file like another cluster's: `requorum snapshot adopt OBJECT --because TEXT` with an \
             object of a full snapshot, as `requorum snapshot inspect KEY` shows it"
        )
    } else {
        alloc::format!(
            "a restore chooses among the snapshots of incarnation {lineage} until clients are let into \
             incarnation {}; `requorum snapshot ls` shows them",
            ctrl.inc
        )
    };
    Some(Note::new(Code::DoubtfulSnapshot, text))
}

/// Whether a restore may choose a snapshot of the right incarnation without anybody's word: after the commit
/// it goes back to older ones only, and newer ones wait for a word ([`source::next_older`]).
pub fn is_free(ctrl: &Ctrl, manifest: &Manifest) -> bool {
    source::lineage(ctrl) == ctrl.inc && guards::is_trusted(manifest, &ctrl.adopted)
}

/// What a word for a snapshot of the right incarnation comes to.
pub fn promise(ctrl: &Ctrl) -> Note {
    let lineage = source::lineage(ctrl);
    let pinned = ctrl.source.as_ref().filter(|_| lineage != ctrl.inc);
    match pinned {
        None => Note::new(Code::Requested, "on record: this snapshot may be restored"),
        Some(source) => {
            let text = alloc::format!(
                "on record: incarnation {} is being restored from revision {} already, and this snapshot may \
                 be taken if that one can't be read; newer sound ones of this cluster come first",
                ctrl.inc,
                source.revision
            );
            Note::new(Code::Requested, text)
        }
    }
}
