//! **wire_changes** — a change touches what it changes and nothing else, and its conditions speak of
//! attributes that exist.
//!
//! Comes from records and changes of them. Goes through the table in memory.

#[expect(dead_code, reason = "files are no rows: other tests read them")]
mod records;

use protocol::{
    cluster::{Instance, Nonce, Slot},
    registry::{Change, Ctrl, Guard, Lease, Owner, RecordChange, Scalar, SlotRecord, Written},
    wire::{self, Attribute, Table, WireChange},
};
use serde_json::{Map, Value};

fn ctrl_change(before: Option<Ctrl>, after: Ctrl, guard: Guard) -> Change {
    Change {
        name: "test",
        guard,
        record: RecordChange::Ctrl { before, after }.into(),
        checks: Vec::new(),
    }
}

fn slot_change(before: SlotRecord, after: SlotRecord, guard: Guard) -> Change {
    let record = RecordChange::Slot { slot: Slot(2), before, after }.into();
    Change { name: "test", guard, record, checks: Vec::new() }
}

const fn always() -> Guard {
    Guard::All(Vec::new())
}

fn names(map: &Map<String, Value>) -> Vec<&str> {
    map.keys().map(String::as_str).collect()
}

/// A table that holds this row, written as the wire writes it.
fn table_with(row: &str, attributes: Map<String, Value>) -> Table {
    let mut table = Table::default();
    let (row, guard) = (row.to_owned(), always());
    let write = WireChange { row, guard, set: attributes, remove: Vec::new(), checks: Vec::new() };
    assert_eq!(table.write(&write), Written::Applied);
    table
}

#[test]
fn only_what_differs_is_written() {
    let before = records::full_ctrl();
    let lease = before.lease.clone().map(|lease| Lease { rvn: "r10".to_owned(), ..lease });
    let after = Ctrl { lease, request: None, ..before.clone() };
    let write = wire::changed(&ctrl_change(Some(before), after, Guard::Absent("paused")), "op-42");
    assert_eq!(write.row, "ctrl");
    assert_eq!(write.guard, Guard::Absent("paused"));
    assert_eq!(names(&write.set), ["lease", "op_id"]);
    assert_eq!(write.set["op_id"], "op-42");
    assert_eq!(write.remove, ["request"]);
}

#[test]
fn a_row_that_never_was_gets_everything() {
    let mut all = wire::encode_ctrl(&records::minimal_ctrl());
    all.insert("op_id".to_owned(), "op-7".into());
    let write =
        wire::changed(&ctrl_change(None, records::minimal_ctrl(), Guard::Absent("uid")), "op-7");
    assert_eq!((write.set, write.remove), (all, Vec::new()));

    let after = SlotRecord { gen_: 0, ..records::full_slot() };
    let write =
        wire::changed(&slot_change(SlotRecord::default(), after.clone(), always()), &after.op_id);
    assert_eq!(write.row, "slot#2");
    assert_eq!(write.set, wire::encode_slot(&after), "its layout and gen 0 too");
}

#[test]
fn from_any_record_to_any_other() {
    for (before, after) in [
        (records::minimal_ctrl(), records::full_ctrl()),
        (records::full_ctrl(), records::minimal_ctrl()),
        (records::full_ctrl(), records::full_ctrl()),
    ] {
        let mut table = table_with("ctrl", wire::encode_ctrl(&before));
        let write = wire::changed(&ctrl_change(Some(before), after.clone(), always()), "op-x");
        assert_eq!(table.write(&write), Written::Applied);
        let ctrl = wire::parse_records(table.read()).expect("we wrote it").ctrl;
        assert_eq!(ctrl, Some(Ctrl { op_id: "op-x".to_owned(), ..after }));
    }
    for (before, after) in [
        (records::minimal_slot(), records::full_slot()),
        (records::full_slot(), records::minimal_slot()),
    ] {
        let mut table = table_with("slot#2", wire::encode_slot(&before));
        let write = wire::changed(&slot_change(before, after.clone(), always()), "op-x");
        assert_eq!(table.write(&write), Written::Applied);
        let slots = wire::parse_records(table.read()).expect("we wrote it").slots;
        assert_eq!(slots, [(Slot(2), SlotRecord { op_id: "op-x".to_owned(), ..after })]);
    }
}

/// protocol.md 1.7: the claim of a machine that read the seat before the fence must not lose it.
#[test]
fn a_fence_that_lands_between_read_and_claim_survives() {
    let read = SlotRecord { fence: None, ..records::full_slot() };
    let owner = Owner {
        instance: Instance("new".to_owned()),
        nonce: Nonce("n2".to_owned()),
        rvn: "r2".to_owned(),
    };
    let claimed = SlotRecord {
        owner: Some(owner.clone()),
        gen_: 4,
        salvage: None,
        restore: None,
        ..read.clone()
    };
    let mut table = table_with("slot#2", wire::encode_slot(&records::full_slot()));
    let guard = Guard::Is("owner.rvn", Scalar::Text("r1".to_owned()));
    assert_eq!(
        table.write(&wire::changed(&slot_change(read, claimed, guard), "op-c")),
        Written::Applied
    );
    let read = wire::parse_records(table.read()).expect("we wrote it");
    let slot = read.slot(Slot(2));
    assert_eq!((&slot.fence, &slot.owner), (&records::full_slot().fence, &Some(owner)));
}

#[test]
fn checks_name_their_rows() {
    let mut change = ctrl_change(None, records::minimal_ctrl(), always());
    change.checks = vec![(protocol::registry::Row::Slot(Slot(1)), Guard::Absent("ran"))];
    assert_eq!(wire::changed(&change, "op").checks, [("slot#1".to_owned(), Guard::Absent("ran"))]);
}

#[test]
fn rows_of_other_versions_are_left_alone_and_broken_ones_are_named() {
    let (ctrl, slot) =
        (wire::encode_ctrl(&records::full_ctrl()), wire::encode_slot(&records::full_slot()));
    let rows = [("slot#2", &slot), ("save", &slot), ("ctrl", &ctrl), ("slot#0", &slot)];
    let read = wire::parse_records(rows).expect("each row is fine");
    assert_eq!(read.ctrl, Some(records::full_ctrl()));
    assert!(read.save.is_none() && read.save_unreadable, "it decides nothing and blinds nobody");
    assert_eq!(read.slots, [(Slot(0), records::full_slot()), (Slot(2), records::full_slot())]);

    let mut broken = slot;
    broken.remove("gen");
    let error = wire::parse_records([("slot#1", &broken)]).expect_err("gen is gone");
    assert_eq!(error.to_string(), "the row `slot#1`'s field `gen` is missing");
}

/// Every path a condition may name stands in a full record, with a value of the kind it is compared with.
#[test]
fn the_paths_of_conditions_exist() {
    let rows = [
        (wire::CTRL_PATHS, wire::encode_ctrl(&records::full_ctrl())),
        (wire::SLOT_PATHS, wire::encode_slot(&records::full_slot())),
        (wire::SAVE_PATHS, wire::encode_save(&records::full_saver())),
    ];
    for (paths, row) in rows {
        let row = Value::Object(row);
        for (path, kind) in paths {
            let found = row.pointer(&format!("/{}", path.replace('.', "/")));
            let found = found.unwrap_or_else(|| panic!("{path} is nowhere"));
            let as_said = match kind {
                Attribute::Number => found.is_u64(),
                Attribute::Text => found.is_string(),
                Attribute::Flag => found.is_boolean(),
                Attribute::Map => found.is_object(),
            };
            assert!(as_said, "{path} is {found}, not {kind:?}");
        }
    }
}

/// The core can't import the wire, so its conditions name paths as texts: each must be in the table.
#[test]
fn the_conditions_of_the_core_name_paths_of_the_table() {
    let ways = [
        ("number(\"", Some(Attribute::Number)),
        ("Guard::Below(\"", Some(Attribute::Number)),
        ("Guard::AtMost(\"", Some(Attribute::Number)),
        ("text(\"", Some(Attribute::Text)),
        ("flag(\"", Some(Attribute::Flag)),
        ("Guard::Absent(\"", None),
    ];
    let source = include_str!("../src/change.rs");
    let mut seen = 0;
    for (way, kind) in ways {
        for (at, _) in source.match_indices(way) {
            let path =
                source[at + way.len()..].split('"').next().expect("split yields at least one");
            let known = wire::CTRL_PATHS.iter().chain(wire::SLOT_PATHS).chain(wire::SAVE_PATHS);
            let found = known
                .filter(|(name, _)| *name == path)
                .any(|(_, is)| kind.is_none_or(|kind| kind == *is));
            assert!(found, "change.rs says {way}{path}\"), which wire/names.rs doesn't list so");
            seen += 1;
        }
    }
    assert!(seen > 20, "change.rs is read");
}
