//! **adoption** — an operator's word for a snapshot: who said it, why, and of what.
//!
//! Comes from `requorum snapshot adopt`. Goes to `ctrl.adopted`, where it stays beside the digest it is said
//! of: whoever looks at a restore later sees why a doubtful or foreign snapshot was trusted.

use super::Ctrl;
use crate::{
    cluster::Digest,
    limits::{ADOPTED_MAX, BECAUSE_MAX},
};
use alloc::{string::String, vec::Vec};

/// One word.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Adoption {
    /// Digest of the snapshot's file.
    pub sha256: Digest,
    /// The incarnation on record when it was said. The snapshot is of that one or of one before it.
    pub inc: u64,
    /// Who said it.
    pub by: String,
    /// How they knew, [`BECAUSE_MAX`] bytes at most.
    pub because: String,
    /// Seconds since 1970 by the clock of the machine it was said on, for eyes alone.
    pub said: Option<u64>,
}

/// The word that was said last for a snapshot, if one was.
pub fn of<'a>(adopted: &'a [Adoption], sha256: &Digest) -> Option<&'a Adoption> {
    adopted.iter().find(|adoption| adoption.sha256 == *sha256)
}

/// Whether a word was said for the snapshot with this manifest's key, which bears the digest's first digits.
pub fn is_of_key(adopted: &[Adoption], key: &str) -> bool {
    let of = |adoption: &Adoption| {
        let name = key.strip_suffix(".json").and_then(|name| name.rsplit_once('-'));
        name.is_some_and(|(_, digits)| digits == adoption.sha256.short())
    };
    adopted.iter().any(of)
}

/// The words on record once `new` was said. A second word for a snapshot takes the place of the first. The
/// record stays small: it keeps those of the incarnation that a restore chooses among, `lineage`, and of the
/// one before, whose newest snapshots are kept as well (retention), and of these the [`ADOPTED_MAX`] last ones.
pub fn joined(ctrl: &Ctrl, new: Adoption, lineage: u64) -> Vec<Adoption> {
    let stays = |other: &&Adoption| other.inc + 1 >= lineage && other.sha256 != new.sha256;
    let mut adopted: Vec<Adoption> = ctrl.adopted.iter().filter(stays).cloned().collect();
    adopted.push(new);
    let over = adopted.len().saturating_sub(ADOPTED_MAX);
    adopted.drain(..over);
    adopted
}

/// Whether a reason is short enough for the record.
pub const fn is_short(because: &str) -> bool {
    because.len() <= BECAUSE_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn word(of: &str, inc: u64, because: &str) -> Adoption {
        let (by, because) = ("ada".to_string(), because.to_string());
        Adoption { sha256: Digest::of(of.as_bytes()), inc, by, because, said: Some(1) }
    }

    #[test]
    fn the_last_word_for_a_snapshot_is_the_one_on_record() {
        let mut ctrl = Ctrl::seated("u".to_string(), Vec::new());
        ctrl.adopted = joined(&ctrl, word("a", 1, "first"), 1);
        ctrl.adopted = joined(&ctrl, word("b", 1, "other"), 1);
        ctrl.adopted = joined(&ctrl, word("a", 1, "second"), 1);
        assert_eq!(ctrl.adopted.len(), 2);
        let found = of(&ctrl.adopted, &Digest::of(b"a")).map(|word| word.because.as_str());
        assert_eq!(found, Some("second"));
        assert_eq!(of(&ctrl.adopted, &Digest::of(b"c")), None);
    }

    #[test]
    fn the_record_stays_small() {
        let mut ctrl = Ctrl::seated("u".to_string(), Vec::new());
        ctrl.adopted = joined(&ctrl, word("old", 1, "of a life that is over"), 1);
        for number in 0..=ADOPTED_MAX {
            ctrl.adopted = joined(&ctrl, word(&number.to_string(), 3, "b"), 3);
        }
        assert_eq!(ctrl.adopted.len(), ADOPTED_MAX);
        assert_eq!(of(&ctrl.adopted, &Digest::of(b"old")), None);
        assert_eq!(of(&ctrl.adopted, &Digest::of(b"0")), None, "the oldest makes room");
        assert!(of(&ctrl.adopted, &Digest::of(b"1")).is_some());
        assert!(is_short("because") && !is_short(&"x".repeat(BECAUSE_MAX + 1)));
    }
}
