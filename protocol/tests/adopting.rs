//! **adopting** — which snapshot takes the place of a pinned one, and what an operator's word changes in that.

use protocol::{
    adopting,
    cluster::{ClusterId, Digest, Slot},
    limits::{MANIFESTS_READ, MANIFESTS_SOUND},
    manifest::{Doubt, Manifest, Reason},
    registry::{Adoption, Ctrl, Pin, Source},
    source,
};

fn snapshot(revision: u64, doubt: Option<Doubt>) -> Manifest {
    Manifest {
        uid: "u".to_owned(),
        inc: 1,
        data: format!("inc/1/data/{revision}.db"),
        sha256: Digest::of(&revision.to_be_bytes()),
        size: 1,
        revision,
        live_keys: None,
        check: None,
        applied: revision,
        term: 1,
        cluster_id: ClusterId(1),
        taken_by: Slot(0),
        etcd_version: "3.5.30".to_owned(),
        reason: Reason::Timer,
        needs: Vec::new(),
        compact: None,
        doubt,
        taken: None,
    }
}

fn pinned(manifest: &Manifest) -> Source {
    source::from_manifest(manifest, 0)
}

/// Incarnation 2 is being restored from a snapshot of incarnation 1.
fn committed(from: &Manifest) -> Ctrl {
    let seated = Ctrl::seated("u".to_owned(), Vec::new());
    Ctrl { inc: 2, source: Some(pinned(from)), cluster_id: Some(ClusterId(2)), ..seated }
}

fn word(of: &Manifest, inc: u64) -> Adoption {
    let (by, because) = ("ada".to_owned(), "deleted so".to_owned());
    Adoption { sha256: of.sha256, inc, by, because, said: None }
}

fn next(ctrl: &Ctrl, all: &[Manifest], bad: &Manifest) -> Option<u64> {
    let old = ctrl.source.as_ref().expect("it was pinned");
    source::next_older(ctrl, old, all, &[bad.sha256]).map(|(manifest, _)| manifest.revision)
}

#[test]
fn what_is_newer_than_the_pinned_one_is_taken_by_word_only() {
    let (old, first, newer) = (snapshot(5, None), snapshot(10, None), snapshot(20, None));
    let doubted = snapshot(15, Some(Doubt::Shrunk));
    let all = [old, first.clone(), doubted.clone(), newer];
    let mut ctrl = committed(&first);
    assert_eq!(next(&ctrl, &all, &first), Some(5), "the newer ones were passed over by somebody");
    ctrl.adopted = vec![word(&doubted, 1)];
    assert_eq!(next(&ctrl, &all, &first), Some(5), "so was what was adopted before the commit");
    ctrl.adopted = vec![word(&doubted, 2)];
    assert_eq!(next(&ctrl, &all, &first), Some(15), "this was said since");
}

#[test]
fn a_foreign_file_is_taken_only_if_it_was_adopted_since_the_commit() {
    let first = snapshot(10, None);
    let foreign = Manifest { reason: Reason::Adopted, ..snapshot(7, None) };
    let all = [first.clone(), foreign.clone()];
    let mut ctrl = committed(&first);
    ctrl.adopted = vec![word(&foreign, 1)];
    assert_eq!(next(&ctrl, &all, &first), None);
    ctrl.adopted = vec![word(&foreign, 2)];
    assert_eq!(next(&ctrl, &all, &first), Some(7));
}

#[test]
fn after_the_commit_a_sound_snapshot_needs_a_word_too() {
    let sound = snapshot(20, None);
    let first = snapshot(10, None);
    let open = Ctrl { inc: 1, opened: true, ..Ctrl::seated("u".to_owned(), Vec::new()) };
    assert!(adopting::is_free(&open, &sound), "a restore chooses it by itself");
    assert!(!adopting::is_free(&open, &snapshot(20, Some(Doubt::Shrunk))));
    let foreign = Manifest { reason: Reason::Adopted, ..snapshot(7, None) };
    assert!(!adopting::is_free(&open, &foreign), "the word for it is not on record any more");
    assert!(!adopting::is_free(&committed(&first), &sound), "it goes back to older ones only");
}

#[test]
fn a_word_is_taken_for_the_incarnation_that_a_restore_chooses_among() {
    let first = snapshot(10, None);
    let mut ctrl = committed(&first);
    let refused =
        |ctrl: &Ctrl, inc| adopting::refusal(ctrl, inc).map(|note| note.text.into_owned());
    assert_eq!(source::lineage(&ctrl), 1);
    assert_eq!(refused(&ctrl, 1), None);
    assert!(adopting::promise(&ctrl).text.contains("from revision 10 already"));
    assert!(refused(&ctrl, 2).is_some_and(|text| text.contains("requorum snapshot ls")));
    // a second incarnation that was never opened either still goes back to the first one's
    ctrl.inc = 3;
    assert_eq!(source::lineage(&ctrl), 1);
    ctrl.opened = true;
    assert_eq!(refused(&ctrl, 3), None);
    assert!(refused(&ctrl, 1).is_some_and(|text| text.contains("is over")));
    let nothing = Ctrl::seated("u".to_owned(), Vec::new());
    assert!(refused(&nothing, 0).is_some_and(|text| text.contains("requorum status")));
}

#[test]
fn what_began_empty_has_no_earlier_life() {
    let object: Option<Pin> = None;
    let empty = Source { object, revision: 0, bump: 0, live_keys: None, size: 0 };
    let ctrl = Ctrl { source: Some(empty), ..committed(&snapshot(1, None)) };
    assert_eq!(source::lineage(&ctrl), 2);
    assert_eq!(Manifest::inc_of("inc/12/data/x.db"), Some(12));
    assert_eq!(Manifest::inc_of("p/u/inc/12/data/x.db"), None);
}

#[test]
fn a_catalogue_is_read_until_enough_sound_ones_are_found() {
    let (sound, doubted) = (snapshot(1, None), snapshot(2, Some(Doubt::Empty)));
    let count = |reading: &mut source::Reading, found: Option<&Manifest>, times: usize| {
        (0..times).for_each(|_| reading.count(found));
    };
    let mut reading = source::Reading::default();
    count(&mut reading, Some(&sound), MANIFESTS_READ - 1);
    assert!(reading.goes_on(), "too few were read");
    count(&mut reading, None, 1);
    assert!(!reading.goes_on());
    let mut night = source::Reading::default();
    count(&mut night, Some(&doubted), 10 * MANIFESTS_READ);
    count(&mut night, Some(&sound), MANIFESTS_SOUND - 1);
    assert!(night.goes_on(), "too few are sound");
    count(&mut night, Some(&sound), 1);
    assert!(!night.goes_on());
}
