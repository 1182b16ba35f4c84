//! **guards** — whether a snapshot that is whole may be trusted, or waits for an operator's word.
//!
//! Comes in: what a saver saw of its snapshot's content, the manifests before it, and what the other
//! members hold at the same revision. Goes out: the doubt that is written into its manifest.
//!
//! Intuition: a digest proves that a file is what etcd sent, and nothing about what etcd held. A member
//! that was emptied, emptied by a script or fed by a diverged disk sends a perfect file. Such a file is
//! kept, and it neither takes the place of a better one nor is thrown away. The size of a file is no
//! sign of anything: a defragmentation alone shrank 452 MB to 391 MB (etcd.md 8).

use crate::{
    manifest::{Doubt, Manifest, Reason},
    registry::adoption::{self, Adoption},
};
use alloc::vec::Vec;

/// What a member holds at a snapshot's revision, where it said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Content {
    /// The revision it was asked at.
    pub revision: u64,
    /// Below this one etcd remembers nothing.
    pub compact: u64,
    /// HashKV of what it remembers up to there.
    pub hash_kv: u32,
}

/// What is known around one snapshot.
#[derive(Clone, Debug)]
pub struct Around<'a> {
    /// The manifests of its incarnation.
    pub before: &'a [Manifest],
    /// Live keys of what the incarnation was restored from: it stands before the first snapshot.
    pub source_keys: Option<u64>,
    /// Snapshots an operator answers for.
    pub adopted: &'a [Adoption],
    /// etcd reports a CORRUPT alarm.
    pub corrupt: bool,
    /// What this member holds.
    pub mine: Option<Content>,
    /// What those of its peers hold that answered. Who did not is unknown, and not different.
    pub peers: &'a [Content],
}

/// What is to be said against choosing `new` by itself, the gravest first.
pub fn doubt(new: &Manifest, around: &Around<'_>) -> Option<Doubt> {
    // what an operator brought has another cluster's revisions and keys: it is no measure of ours
    let own = |manifest: &&Manifest| {
        manifest.reason != Reason::Adopted && is_trusted(manifest, around.adopted)
    };
    let trusted = || around.before.iter().filter(own);
    let newest = |manifests: &mut dyn Iterator<Item = &Manifest>| {
        manifests.map(|manifest| (manifest.revision, manifest.live_keys)).max()
    };
    let keys_before = newest(&mut trusted().filter(|manifest| manifest.live_keys.is_some()))
        .and_then(|(_, keys)| keys)
        .or(around.source_keys);
    let highest = newest(&mut trusted()).map(|(revision, _)| revision);
    let differs = |mine: &Content| around.peers.iter().any(|peer| contradicts(mine, peer));
    if around.corrupt {
        return Some(Doubt::Corrupt);
    }
    if around.mine.as_ref().is_some_and(differs) {
        return Some(Doubt::Differs);
    }
    match (new.live_keys, keys_before) {
        (Some(0), Some(before)) if before > 0 => return Some(Doubt::Empty),
        (Some(now), Some(before)) if now < before.div_ceil(2) => return Some(Doubt::Shrunk),
        (Some(_) | None, Some(_) | None) => {}
    }
    let rewound = highest.is_some_and(|highest| new.revision < highest);
    (rewound && !may_be_behind(new.reason)).then_some(Doubt::Rewound)
}

/// Whether a restore may choose it by itself, or an operator said that it may.
pub fn is_trusted(manifest: &Manifest, adopted: &[Adoption]) -> bool {
    let of_its_own = manifest.doubt.is_none() && manifest.reason != Reason::Adopted;
    of_its_own || adoption::of(adopted, &manifest.sha256).is_some()
}

/// Two members contradict one another only where the same question was answered.
fn contradicts(one: &Content, other: &Content) -> bool {
    let same = (one.revision, one.compact) == (other.revision, other.compact);
    same && one.hash_kv != other.hash_kv
}

/// What a survivor saves without a quorum may well be behind: it is one candidate among others.
const fn may_be_behind(reason: Reason) -> bool {
    match reason {
        Reason::Suspicion | Reason::Salvage | Reason::BeforeRollback | Reason::Adopted => true,
        Reason::Timer | Reason::Hand | Reason::Opened => false,
    }
}

/// The doubtful snapshots that speak against what was chosen, the newest first. Those that are newer: to
/// pass them over may lose what clients were told, and to take them may restore what a mistake left. And,
/// where a salvage was chosen, those that say that a member's data is not what the others hold: the
/// salvage is such data.
pub fn speaks_against<'a>(
    chosen: &Manifest,
    catalogue: &'a [Manifest],
    adopted: &[Adoption],
) -> Vec<&'a Manifest> {
    let sound = |manifest: &&Manifest| {
        let own = !matches!(manifest.reason, Reason::Salvage | Reason::Adopted);
        manifest.inc == chosen.inc && own && is_trusted(manifest, adopted)
    };
    let last_sound = catalogue.iter().filter(sound).map(|manifest| manifest.revision).max();
    let speaks = |manifest: &&Manifest| {
        let of_the_data = matches!(manifest.doubt, Some(Doubt::Corrupt | Doubt::Differs));
        let of_the_salvage = chosen.reason == Reason::Salvage && of_the_data;
        let newer = manifest.revision > chosen.revision;
        newer || (of_the_salvage && last_sound.is_none_or(|sound| manifest.revision > sound))
    };
    let mut found: Vec<&Manifest> = catalogue
        .iter()
        .filter(|manifest| manifest.inc == chosen.inc && manifest.doubt.is_some())
        .filter(|manifest| !is_trusted(manifest, adopted))
        .filter(speaks)
        .collect();
    found.sort_by_key(|manifest| core::cmp::Reverse((manifest.revision, manifest.sha256)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{ClusterId, Digest, Slot};
    use alloc::{string::ToString, vec};

    fn at(revision: u64, live_keys: Option<u64>) -> Manifest {
        Manifest {
            uid: "u".to_string(),
            inc: 1,
            data: "d".to_string(),
            sha256: Digest::of(&revision.to_be_bytes()),
            size: 1,
            revision,
            live_keys,
            check: None,
            applied: 0,
            term: 1,
            cluster_id: ClusterId(1),
            taken_by: Slot(0),
            etcd_version: "3.5.30".to_string(),
            reason: Reason::Timer,
            needs: Vec::new(),
            compact: None,
            doubt: None,
            taken: None,
        }
    }

    fn word(of: &Manifest) -> Adoption {
        let (by, because) = ("ada".to_string(), "deleted so".to_string());
        Adoption { sha256: of.sha256, inc: of.inc, by, because, said: None }
    }

    fn around(before: &[Manifest]) -> Around<'_> {
        Around { before, source_keys: None, adopted: &[], corrupt: false, mine: None, peers: &[] }
    }

    #[test]
    fn keys_that_vanish_are_doubted_and_a_smaller_file_is_not() {
        let before = [at(10, Some(100)), at(20, None)];
        assert_eq!(doubt(&at(30, Some(0)), &around(&before)), Some(Doubt::Empty));
        assert_eq!(doubt(&at(30, Some(49)), &around(&before)), Some(Doubt::Shrunk));
        assert_eq!(doubt(&at(30, Some(50)), &around(&before)), None, "half of them is not more");
        assert_eq!(doubt(&at(30, None), &around(&before)), None, "an unknown is unknown");
        assert_eq!(doubt(&at(30, Some(0)), &around(&[at(10, Some(0))])), None);
        let odd = [at(10, Some(3))];
        assert_eq!(doubt(&at(30, Some(1)), &around(&odd)), Some(Doubt::Shrunk));
        assert_eq!(doubt(&at(30, Some(2)), &around(&odd)), None);
        let small = Manifest { size: 0, ..at(30, Some(100)) };
        assert_eq!(doubt(&small, &around(&before)), None);
    }

    #[test]
    fn the_first_of_a_new_life_is_measured_by_what_it_was_restored_from() {
        let first = Around { source_keys: Some(100), ..around(&[]) };
        assert_eq!(doubt(&at(5, Some(10)), &first), Some(Doubt::Shrunk));
        assert_eq!(doubt(&at(5, Some(100)), &first), None);
    }

    #[test]
    fn a_doubtful_one_is_no_measure_until_an_operator_answers_for_it() {
        let doubted = Manifest { doubt: Some(Doubt::Shrunk), ..at(20, Some(10)) };
        let before = [at(10, Some(100)), doubted.clone()];
        assert_eq!(doubt(&at(30, Some(11)), &around(&before)), Some(Doubt::Shrunk));
        let adopted = [word(&doubted)];
        let settled = Around { adopted: &adopted, ..around(&before) };
        assert_eq!(doubt(&at(30, Some(11)), &settled), None);
    }

    #[test]
    fn time_does_not_run_backwards_but_a_survivor_may_be_behind() {
        let before = [at(20, None)];
        assert_eq!(doubt(&at(19, None), &around(&before)), Some(Doubt::Rewound));
        assert_eq!(doubt(&at(20, None), &around(&before)), None);
        let survivor = Manifest { reason: Reason::Suspicion, ..at(19, None) };
        assert_eq!(doubt(&survivor, &around(&before)), None);
    }

    #[test]
    fn members_contradict_one_another_only_at_the_same_revisions() {
        let mine = Content { revision: 9, compact: 3, hash_kv: 7 };
        let told = |peers: &[Content]| {
            doubt(&at(9, None), &Around { mine: Some(mine), peers, ..around(&[]) })
        };
        assert_eq!(told(&[]), None, "nobody answered");
        assert_eq!(told(&[mine]), None);
        assert_eq!(told(&[mine, Content { hash_kv: 8, ..mine }]), Some(Doubt::Differs));
        assert_eq!(told(&[Content { hash_kv: 8, compact: 4, ..mine }]), None);
        assert_eq!(told(&[Content { hash_kv: 8, revision: 10, ..mine }]), None);
    }

    #[test]
    fn an_alarm_outweighs_all() {
        let alarmed = Around { corrupt: true, ..around(&[]) };
        assert_eq!(doubt(&at(9, Some(5)), &alarmed), Some(Doubt::Corrupt));
    }

    #[test]
    fn what_is_newer_and_doubtful_is_found() {
        let doubted = |revision| Manifest { doubt: Some(Doubt::Empty), ..at(revision, Some(0)) };
        let all = vec![at(10, Some(5)), doubted(9), doubted(12), doubted(11)];
        let against = |chosen: &Manifest, adopted: &[Adoption]| -> Vec<u64> {
            let found = speaks_against(chosen, &all, adopted);
            found.iter().map(|manifest| manifest.revision).collect()
        };
        assert_eq!(against(&at(10, None), &[]), [12, 11]);
        let other = Manifest { inc: 2, ..at(10, None) };
        assert!(against(&other, &[]).is_empty(), "another life's");
        let adopted = [word(&doubted(12)), word(&doubted(11))];
        assert!(against(&at(10, None), &adopted).is_empty());
    }

    #[test]
    fn a_salvage_is_no_way_round_a_doubt_about_the_data() {
        let doubted = |doubt, revision| Manifest { doubt: Some(doubt), ..at(revision, None) };
        let salvage = Manifest { reason: Reason::Salvage, ..at(30, None) };
        let against = |doubt| {
            let all = [at(10, None), doubted(doubt, 20), salvage.clone()];
            speaks_against(&salvage, &all, &[]).len()
        };
        assert_eq!(against(Doubt::Corrupt), 1);
        assert_eq!(against(Doubt::Differs), 1);
        assert_eq!(against(Doubt::Shrunk), 0, "clients were told that these keys are gone");
        let mended = [doubted(Doubt::Differs, 20), at(25, None), salvage.clone()];
        assert!(speaks_against(&salvage, &mended, &[]).is_empty(), "a later one was found sound");
    }

    #[test]
    fn what_an_operator_brought_is_no_measure() {
        let foreign = Manifest { reason: Reason::Adopted, ..at(5_000, Some(1_000)) };
        let adopted = [word(&foreign)];
        let before = [at(10, Some(4)), foreign];
        let around = Around { adopted: &adopted, ..around(&before) };
        assert_eq!(doubt(&at(11, Some(4)), &around), None);
        assert_eq!(doubt(&at(9, Some(4)), &around), Some(Doubt::Rewound));
    }
}
