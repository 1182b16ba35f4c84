//! **save, layout 1** — the attributes of the row `save`: whose turn it is (protocol.md 1.7).
//!
//! Comes from the lock table. Goes to the saver's part of the turn, and back.

use super::{
    WireError,
    fields::{Node, parse_row_of},
    row,
};
use crate::{registry::Saver, time::Span};
use alloc::{string::String, vec::Vec};
use serde::Serialize;
use serde_json::{Map, Value};

const LAYOUT: u64 = 1;

#[derive(Serialize)]
struct SaveV1<'a> {
    layout: u64,
    member: u8,
    rvn: &'a str,
    chain: &'a str,
    period_ms: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    passed: Vec<u8>,
}

/// All attributes of `save`.
pub fn encode_save(saver: &Saver) -> Map<String, Value> {
    row(&SaveV1 {
        layout: LAYOUT,
        member: saver.member.0,
        rvn: &saver.rvn,
        chain: &saver.chain,
        period_ms: saver.period.0,
        passed: saver.passed.iter().map(|slot| slot.0).collect(),
    })
}

/// Reads the attributes of `save`.
///
/// # Errors
/// A sentence naming the attribute that is missing or not as [`encode_save`] writes it.
pub fn parse_save(attributes: &Map<String, Value>) -> Result<Saver, WireError> {
    parse_row_of("row `save`", attributes, LAYOUT, |at| {
        Ok(Saver {
            member: at.get("member").slot()?,
            rvn: at.get("rvn").text()?,
            chain: at.get("chain").text()?,
            period: Span(at.get("period_ms").number()?),
            passed: at.get("passed").optional(|all| all.list(Node::slot))?.unwrap_or_default(),
        })
    })
}
