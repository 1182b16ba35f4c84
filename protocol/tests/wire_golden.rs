//! **wire_golden** — what is written today is read for ever.
//!
//! Comes from `tests/golden/`, one file per record and version, with every field and with as few as
//! can be. Each must parse to the record it was written from, and that record must encode to the
//! same bytes. `REWRITE=1 cargo test -p protocol --test wire_golden` writes them anew: right only
//! for a version that was never released.

mod records;

use protocol::{
    cluster::Digest,
    pack::{Pack, Stored},
    registry::SlotRecord,
    wire,
};
use serde_json::{Map, Value};
use std::{fmt::Debug, fs, path::PathBuf};

fn golden(name: &str, encoded: &[u8]) -> Vec<u8> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "golden", name].iter().collect();
    if std::env::var_os("REWRITE").is_some_and(|value| value == "1") {
        fs::write(&path, encoded).expect("tests/golden can be written");
    }
    fs::read(&path).unwrap_or_else(|error| panic!("{name} ({error}): REWRITE=1 writes it"))
}

fn file<T: PartialEq + Debug>(
    name: &str,
    record: &T,
    encode: fn(&T) -> Vec<u8>,
    parse: fn(&[u8]) -> Result<T, wire::WireError>,
) {
    let encoded = encode(record);
    let stored = golden(name, &encoded);
    assert_eq!(parse(&stored).as_ref(), Ok(record), "{name} is read as it was meant");
    assert_eq!(String::from_utf8_lossy(&encoded), String::from_utf8_lossy(&stored), "{name}");
    let version = if name.contains("_v2") { "2" } else { "1" };
    let head = format!("{{\n  \"v\": {version},\n");
    assert!(stored.starts_with(head.as_bytes()) && stored.ends_with(b"}\n"), "{name}");
}

/// The lock table keeps attributes and no order: rows are compared as such.
fn row<T: PartialEq + Debug>(
    name: &str,
    record: &T,
    encode: fn(&T) -> Map<String, Value>,
    parse: fn(&Map<String, Value>) -> Result<T, wire::WireError>,
) {
    let encoded = encode(record);
    let mut bytes = serde_json::to_vec_pretty(&encoded).expect("JSON serializes");
    bytes.push(b'\n');
    let stored = serde_json::from_slice(&golden(name, &bytes)).expect("a golden row is a JSON map");
    assert_eq!(parse(&stored).as_ref(), Ok(record), "{name} is read as it was meant");
    assert_eq!(encoded, stored, "{name}");
}

/// A learner's seat that was fenced before its first entry came: its log knows no configuration.
fn fenced_learner() -> SlotRecord {
    let mut slot = records::full_slot();
    if let Some(log) = slot.fence.as_mut().and_then(|fence| fence.log.as_mut()) {
        (log.last_term, log.last_index, log.commit) = (0, 0, 0);
        log.in_force.clear();
        log.configs.clear();
        log.places.clear();
        log.settled = false;
    }
    slot
}

/// The fence of a version that did not say where a log's configurations stand.
fn fenced_early() -> SlotRecord {
    let mut slot = records::full_slot();
    if let Some(log) = slot.fence.as_mut().and_then(|fence| fence.log.as_mut()) {
        log.places.clear();
        log.settled = false;
    }
    slot
}

#[test]
fn files() {
    file("cluster_v1.json", &records::cluster(), wire::encode_cluster, wire::parse_cluster);
    file("vote_v1_full.json", &records::full_vote(), wire::encode_vote, wire::parse_vote);
    file("vote_v1_minimal.json", &records::minimal_vote(), wire::encode_vote, wire::parse_vote);
    file(
        "manifest_v1_full.json",
        &records::full_manifest(),
        wire::encode_manifest,
        wire::parse_manifest,
    );
    file(
        "manifest_v1_minimal.json",
        &records::minimal_manifest(),
        wire::encode_manifest,
        wire::parse_manifest,
    );
    file(
        "manifest_v2.json",
        &records::demanding_manifest(),
        wire::encode_manifest,
        wire::parse_manifest,
    );
    file("plan_v1_full.json", &records::full_plan(), wire::encode_plan, wire::parse_plan);
    file("plan_v1_minimal.json", &records::minimal_plan(), wire::encode_plan, wire::parse_plan);
    // `ctrl.plan` pins stored bytes: the digest of a plan is that of its file.
    let plan = records::full_plan();
    let stored = golden("plan_v1_full.json", &wire::encode_plan(&plan));
    assert_eq!(wire::plan_digest(&plan), Digest::of(&stored));
    assert_ne!(wire::plan_digest(&plan), wire::plan_digest(&records::minimal_plan()));
}

/// The index is one line, and the trailer is written out here as its layout says.
#[test]
fn packs() {
    let cut_off = Pack { size: 32, runs: Vec::new(), ..records::full_pack() };
    let sealed = Pack { stored: Stored::SealedZstd, ..cut_off };
    let cases = [
        ("pack_v2_full.json", records::full_pack(), 70_000),
        ("pack_v2_minimal.json", records::minimal_pack(), 32),
        ("pack_v2_sealed.json", sealed, 245),
    ];
    for (name, pack, blocks) in cases {
        let encoded = wire::encode_pack_tail(&pack, blocks);
        let (index, trailer) = encoded.split_at(encoded.len() - wire::PACK_TRAILER);
        let stored = golden(name, index);
        assert_eq!(String::from_utf8_lossy(index), String::from_utf8_lossy(&stored), "{name}");
        assert!(stored.starts_with(b"{\"v\":2,") && stored.ends_with(b"}\n"), "{name}");
        let mut wanted = b"RQPACK2\n".to_vec();
        wanted.extend((stored.len() as u64).to_le_bytes());
        wanted.extend(u64::to_le_bytes(blocks));
        wanted.extend(Digest::of(&stored).0);
        assert_eq!(trailer, wanted, "{name}");
        let trailer = wire::parse_pack_trailer(&wanted, blocks + encoded.len() as u64);
        let trailer = trailer.expect("it is one");
        assert_eq!(wire::parse_pack_index(&trailer, &stored), Ok(pack), "{name}");
    }
}

#[test]
fn rows() {
    row("ctrl_v1_full.json", &records::full_ctrl(), wire::encode_ctrl, wire::parse_ctrl);
    row("ctrl_v1_minimal.json", &records::minimal_ctrl(), wire::encode_ctrl, wire::parse_ctrl);
    row("slot_v1_full.json", &records::full_slot(), wire::encode_slot, wire::parse_slot);
    row("slot_v1_minimal.json", &records::minimal_slot(), wire::encode_slot, wire::parse_slot);
    row("slot_v1_learner.json", &fenced_learner(), wire::encode_slot, wire::parse_slot);
    row("save_v1_full.json", &records::full_saver(), wire::encode_save, wire::parse_save);
    row("save_v1_minimal.json", &records::minimal_saver(), wire::encode_save, wire::parse_save);
    row("slot_v1_unplaced.json", &fenced_early(), wire::encode_slot, wire::parse_slot);
}

#[test]
fn words_of_the_time_when_only_digests_were_kept_are_read() {
    let full = records::full_ctrl();
    let mut old = wire::encode_ctrl(&full);
    let digests: Vec<String> = full.adopted.iter().map(|word| word.sha256.to_string()).collect();
    assert!(!digests.is_empty());
    old["adopted"] = serde_json::json!(digests);
    let read = wire::parse_ctrl(&old).expect("an older record is read");
    let known: Vec<String> = read.adopted.iter().map(|word| word.sha256.to_string()).collect();
    assert_eq!(known, digests);
    assert!(read.adopted.iter().all(|word| word.inc == full.inc));
}
