//! **registry, layout 1** — rows to records, and a [`Change`] to the single write that makes it.
//!
//! Comes from the coordinator's changes. Goes to the lock table's adapter, which knows neither
//! records nor phases.

use super::{
    WireError, encode_ctrl, encode_save, encode_slot, parse_ctrl, parse_row, parse_save, row_name,
    slot_v1::parse_slot_row,
};
use crate::registry::{Change, Guard, RecordChange, Records, Row, SlotRecord};
use alloc::{borrow::ToOwned, string::String, vec::Vec};
use serde_json::{Map, Value};

/// A conditional write of one row, in the lock table's own terms.
#[derive(Clone, Debug, PartialEq)]
pub struct WireChange {
    /// The row's name (`ctrl`, `slot#0`).
    pub row: String,
    /// What must hold of the stored row.
    pub guard: Guard,
    /// Attributes to set; `op_id` is always among them.
    pub set: Map<String, Value>,
    /// Attributes to remove.
    pub remove: Vec<String>,
    /// What must hold of other rows in the same instant.
    pub checks: Vec<(String, Guard)>,
}

/// The write that makes `change`, tagged with `op_id`.
///
/// Only attributes that differ are touched, so whatever else was written to the row meanwhile
/// stays. A row that was never written gets all of them.
pub fn changed(change: &Change, op_id: &str) -> WireChange {
    let (before, after) = match &*change.record {
        RecordChange::Ctrl { before, after } => {
            (before.as_ref().map(encode_ctrl).unwrap_or_default(), encode_ctrl(after))
        }
        RecordChange::Slot { before, after, .. } if *before == SlotRecord::default() => {
            (Map::new(), encode_slot(after))
        }
        RecordChange::Slot { before, after, .. } => (encode_slot(before), encode_slot(after)),
        RecordChange::Save { before, after } => {
            (before.as_ref().map(encode_save).unwrap_or_default(), encode_save(after))
        }
    };
    let remove = before.keys().filter(|name| !after.contains_key(*name)).cloned().collect();
    let mut set: Map<String, Value> =
        after.into_iter().filter(|(name, value)| before.get(name) != Some(value)).collect();
    set.insert("op_id".to_owned(), Value::String(op_id.to_owned()));
    WireChange {
        row: row_name(change.record.row()),
        guard: change.guard.clone(),
        set,
        remove,
        checks: change.checks.iter().map(|(row, guard)| (row_name(*row), guard.clone())).collect(),
    }
}

/// What all rows of one cluster say. Rows of unknown names are left to the versions that know them.
///
/// # Errors
/// A sentence naming the row and the attribute that can't be understood.
pub fn parse_records<'a>(
    rows: impl IntoIterator<Item = (&'a str, &'a Map<String, Value>)>,
) -> Result<Records, WireError> {
    let mut records = Records::default();
    for (name, attributes) in rows {
        match parse_row(name)? {
            Some(Row::Ctrl) => records.ctrl = Some(parse_ctrl(attributes)?),
            Some(Row::Slot(slot)) => records.slots.push((slot, parse_slot_row(name, attributes)?)),
            // it decides nothing, so a later version's must not blind this one
            Some(Row::Save) => match parse_save(attributes) {
                Ok(saver) => records.save = Some(saver),
                Err(_) => records.save_unreadable = true,
            },
            None => {}
        }
    }
    records.slots.sort_unstable_by_key(|(slot, _)| *slot);
    Ok(records)
}
