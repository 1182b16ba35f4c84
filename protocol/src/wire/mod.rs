//! **wire** — bytes to domain values and back; nothing else is decided here.
//!
//! Comes from the bucket and the lock table. Goes to the domain types, which are not serializable
//! themselves: what is stored is written down here, version by version, in structs of its own.
//!
//! # The promise
//!
//! - Bytes written by a released version are read by every later one (`tests/wire_golden.rs`).
//! - Unknown fields and unknown rows are ignored, so a later version may add some. One that adds a
//!   field must be correct when an older agent neither reads nor keeps it: fields inside a map are
//!   lost when an older agent writes that map.
//! - A changed meaning, a new name in a closed list or a field that must be understood raises the
//!   version (`v` of a file, `layout` of a row). An unknown version is refused, with the reason.
//! - The paths of [`CTRL_PATHS`], [`SLOT_PATHS`] and [`SAVE_PATHS`] keep their type and meaning in all layouts:
//!   an older agent's conditions must go on meaning what they say.
//! - Anything else that isn't as written here is refused with one sentence that names the field.
//!   Nothing is guessed: a record that can't be understood is no record.
//!
//! Numbers are whole and between 0 and 2^63-1 (etcd's own are int64), so the core may add two of
//! them. Optional fields are absent when they have no value; JSON's null is never written.

mod cluster_v1;
mod ctrl_v1;
mod fields;
mod manifest_v1;
mod names;
mod pack_v2;
mod parts_v1;
mod plan_v1;
mod registry_v1;
mod save_v1;
mod slot_v1;
mod table;
mod vote_v1;

pub use cluster_v1::{encode_cluster, parse_cluster};
pub use ctrl_v1::{encode_ctrl, parse_ctrl};
pub use manifest_v1::{encode_manifest, parse_manifest};
pub use names::{Attribute, CTRL_PATHS, Keys, SAVE_PATHS, SLOT_PATHS, parse_row, row_name};
pub use pack_v2::{
    PACK_TRAILER, PackTrailer, encode_pack_tail, parse_pack_index, parse_pack_trailer,
};
pub use plan_v1::{encode_plan, parse_plan, plan_digest};
pub use registry_v1::{WireChange, changed, parse_records};
pub use save_v1::{encode_save, parse_save};
pub use slot_v1::{encode_slot, parse_slot};
pub use table::{Table, guard_holds};
pub use vote_v1::{encode_vote, parse_vote};

use alloc::{string::String, vec::Vec};
use core::fmt;
use serde::Serialize;
use serde_json::{Map, Value};

/// Why stored bytes were refused: one sentence that names the record and the field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WireError(String);

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for WireError {}

/// A file's bytes: pretty, in the order of the struct's fields, with a newline at the end.
fn file(record: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(record)
        .expect("structs of texts, numbers and lists always serialize");
    bytes.push(b'\n');
    bytes
}

/// A row's attributes.
fn row(record: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(record)
        .expect("structs of texts, numbers and lists always serialize")
    {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}
