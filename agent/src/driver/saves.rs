//! **saves** — what a save leaves behind when something fails on its way, or before it.
//!
//! Comes from a [stage](super::stage), on which one thing goes wrong. Checked is what is in the bucket then,
//! what the save answered, and that the next one is right.

use super::{
    Done, Hands,
    stage::{Fault, Stage},
};
use protocol::{
    cluster::{Digest, Slot},
    effect::Save,
    event::{FailureKind, Outcome},
    manifest::{Doubt, Manifest, Reason},
    registry::Pin,
    wire::{Keys, encode_manifest},
};
use std::sync::Arc;

const UID: &str = "u";

fn chained() -> Save {
    Save { chain: Some("chain-1".into()), ..Save::whole(Reason::Timer, 1) }
}

async fn save(hands: &Hands, save: &Save) -> Done {
    hands.save(UID, Slot(0), save).await
}

async fn saved(hands: &Hands, what: &Save) -> Manifest {
    match save(hands, what).await {
        Ok(Outcome::Saved(manifest)) => manifest,
        other => panic!("it is not saved: {other:?}"),
    }
}

/// The file that a manifest gives, fetched by hands that know nothing of how it was saved.
async fn fetched(stage: &Arc<Stage>, manifest: &Manifest) -> Vec<u8> {
    let pin = Pin { key: manifest.data.clone(), sha256: manifest.sha256 };
    let fetched = stage.hands().fetch(UID, &pin, manifest.size).await;
    let fetched = fetched.unwrap_or_else(|failure| panic!("{}", failure.text));
    std::fs::read(fetched.proven.path()).expect("the file is there")
}

#[tokio::test]
async fn an_upload_that_stalls_leaves_the_chain_as_it_was() {
    let stage = Stage::new(40);
    let hands = stage.hands();
    let base = saved(&hands, &chained()).await;
    stage.write(3);
    let first = saved(&hands, &chained()).await;
    assert_eq!(first.needs, std::slice::from_ref(&base.data));
    let before = (stage.listed("/snap/"), stage.listed("/data/"));
    stage.write(3);
    stage.write(5);
    stage.goes_wrong(Fault::Stall);
    let failure = save(&hands, &chained()).await.expect_err("the bucket takes no more");
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert_eq!((stage.listed("/snap/"), stage.listed("/data/")), before, "nothing was left");
    // what the failed one had seen already must be in the next: nothing of it is in the bucket
    stage.write(7);
    let second = saved(&hands, &chained()).await;
    assert_eq!(second.needs, [base.data.clone(), first.data.clone()]);
    assert_eq!(fetched(&stage, &second).await, stage.file());
}

#[tokio::test]
async fn what_has_no_manifest_is_not_laid_over() {
    let stage = Stage::new(40);
    let hands = stage.hands();
    let base = saved(&hands, &chained()).await;
    stage.write(3);
    stage.goes_wrong(Fault::Put);
    save(&hands, &chained()).await.expect_err("the manifest is not taken");
    stage.write(5);
    // retention deletes what no manifest speaks of, once it is old
    let next = saved(&hands, &chained()).await;
    assert_eq!(next.needs, [base.data]);
    assert_eq!(fetched(&stage, &next).await, stage.file());
}

#[tokio::test]
async fn what_was_deleted_meanwhile_is_not_laid_over() {
    let stage = Stage::new(40);
    let hands = stage.hands();
    saved(&hands, &chained()).await;
    let manifests = stage.listed("/snap/");
    stage.write(3);
    // it stood still for long, another chain was begun, and retention deleted this one
    stage.goes_wrong(Fault::Swept);
    let failure = save(&hands, &chained()).await.expect_err("its base is gone");
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert_eq!(stage.listed("/snap/"), manifests, "no manifest speaks of what can't be restored");
    let next = saved(&hands, &chained()).await;
    assert!(next.needs.is_empty(), "a chain begins anew");
    assert_eq!(fetched(&stage, &next).await, stage.file());
}

/// A manifest of another snapshot, put where it belongs.
fn put(stage: &Stage, revision: u64, live_keys: u64, doubt: Option<Doubt>) -> Manifest {
    let manifest = Manifest {
        uid: UID.into(),
        inc: 1,
        data: Keys::data(1, &format!("{revision}")),
        sha256: Digest::of(&revision.to_be_bytes()),
        size: 1,
        revision,
        live_keys: Some(live_keys),
        check: None,
        applied: revision,
        term: 1,
        cluster_id: protocol::cluster::ClusterId(7),
        taken_by: Slot(1),
        etcd_version: "3.5.30".into(),
        reason: Reason::Timer,
        needs: Vec::new(),
        compact: None,
        doubt,
        taken: None,
    };
    stage.put(Keys::new("p", UID).under(&manifest.key()), encode_manifest(&manifest));
    manifest
}

#[tokio::test]
async fn a_night_of_doubtful_snapshots_hides_no_sound_one() {
    let stage = Stage::new(4);
    let sound: Vec<Manifest> = (1..=12).map(|revision| put(&stage, revision, 100, None)).collect();
    for revision in 13..=52 {
        put(&stage, revision, 3, Some(Doubt::Shrunk));
    }
    let read = stage.hands().manifests(UID, 1, &[]).await.expect("the bucket answers");
    // 40 that are doubted, and as many before them that 8 are sound; the newest first
    assert_eq!(read.len(), 48);
    assert_eq!(read[40..].iter().rev().collect::<Vec<_>>(), sound[4..].iter().collect::<Vec<_>>());
    // the measure of the next one is the last sound one, and not what was doubted since
    (0..60).for_each(|_| stage.write(1));
    stage.holds(3);
    assert_eq!(saved(&stage.hands(), &chained()).await.doubt, Some(Doubt::Shrunk));
    stage.write(1);
    stage.holds(60);
    assert_eq!(saved(&stage.hands(), &chained()).await.doubt, None);
}

#[tokio::test]
async fn where_all_are_sound_no_more_than_32_are_read() {
    let stage = Stage::new(4);
    (1..=50).for_each(|revision| drop(put(&stage, revision, 100, None)));
    let read = stage.hands().manifests(UID, 1, &[]).await.expect("the bucket answers");
    assert_eq!(read.iter().map(|manifest| manifest.revision).min(), Some(19));
    let pointed = stage.listed("/snap/").swap_remove(0);
    let pointed = pointed.trim_start_matches("p/u/").to_owned();
    let read = stage.hands().manifests(UID, 1, &[pointed]).await.expect("the bucket answers");
    assert_eq!(read.iter().map(|manifest| manifest.revision).min(), Some(1), "it was pointed to");
}

#[tokio::test]
async fn a_snapshot_is_kept_whatever_becomes_of_its_copy() {
    let stage = Stage::new(4);
    let hands = stage.hands();
    stage.goes_wrong(Fault::Copy);
    let by_hand = Save { export: true, ..Save::whole(Reason::Hand, 1) };
    let failure = save(&hands, &by_hand).await.expect_err("who asked by hand is told");
    let kept = stage.listed("/snap/");
    assert_eq!(kept.len(), 1);
    assert!(failure.text.contains(kept[0].trim_start_matches("p/u/")), "{}", failure.text);
    assert!(stage.listed("exported").is_empty());
    // the clock's is saved, and the copy is tried with the next export
    stage.write(1);
    stage.goes_wrong(Fault::Copy);
    let by_clock = Save { export: true, ..chained() };
    let manifest = saved(&hands, &by_clock).await;
    assert!(stage.listed("snapshot.db").is_empty());
    assert_eq!(fetched(&stage, &manifest).await, stage.file());
    stage.write(2);
    saved(&hands, &by_clock).await;
    assert_eq!(stage.listed("snapshot.db").len(), 1);
}
