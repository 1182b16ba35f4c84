//! **parts, version 1** — the small maps that several records share: seats, members, pins, sources,
//! checks, attempts.
//!
//! Comes from the records that hold them. Goes to the same domain type everywhere, so a seat in a
//! plan is spelled like a seat in `ctrl`.

use super::{WireError, fields::Node};
use crate::{
    cluster::{Member, Seat, Slot},
    limits::SLOTS_MAX,
    observation::{Check, InAttempt},
    registry::{Pin, Source},
};
use alloc::{format, string::String, vec::Vec};
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct SeatV1<'a> {
    slot: u8,
    name: &'a str,
    peer_url: &'a str,
    client_url: &'a str,
}

#[derive(Serialize)]
pub(super) struct MemberV1 {
    slot: u8,
    member_id: String,
}

#[derive(Serialize)]
pub(super) struct PinV1<'a> {
    key: &'a str,
    sha256: String,
}

#[derive(Serialize)]
pub(super) struct SourceV1<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<PinV1<'a>>,
    revision: u64,
    bump: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    live_keys: Option<u64>,
    size: u64,
}

#[derive(Serialize)]
pub(super) struct CheckV1 {
    revision: u64,
    hash_kv: u32,
    live_keys: u64,
}

#[derive(Serialize)]
pub(super) struct InAttemptV1 {
    inc: u64,
    attempt: u64,
}

pub(super) fn seats(seats: &[Seat]) -> Vec<SeatV1<'_>> {
    seats
        .iter()
        .map(|seat| SeatV1 {
            slot: seat.slot.0,
            name: &seat.name,
            peer_url: &seat.peer_url,
            client_url: &seat.client_url,
        })
        .collect()
}

pub(super) fn members(members: &[Member]) -> Vec<MemberV1> {
    members
        .iter()
        .map(|member| MemberV1 { slot: member.slot.0, member_id: format!("{}", member.id) })
        .collect()
}

pub(super) fn pin(pin: &Pin) -> PinV1<'_> {
    PinV1 { key: &pin.key, sha256: format!("{}", pin.sha256) }
}

pub(super) fn source(source: &Source) -> SourceV1<'_> {
    SourceV1 {
        object: source.object.as_ref().map(pin),
        revision: source.revision,
        bump: source.bump,
        live_keys: source.live_keys,
        size: source.size,
    }
}

pub(super) const fn check(check: &Check) -> CheckV1 {
    CheckV1 { revision: check.revision, hash_kv: check.hash_kv, live_keys: check.live_keys }
}

pub(super) const fn in_attempt(at: &InAttempt) -> InAttemptV1 {
    InAttemptV1 { inc: at.inc, attempt: at.attempt }
}

/// At least one seat, each slot once: an empty list has no quorum to speak of.
pub(super) fn read_seats(node: &Node<'_>) -> Result<Vec<Seat>, WireError> {
    let seats = node.list(|seat| {
        let at = seat.map()?;
        Ok(Seat {
            slot: at.get("slot").slot()?,
            name: at.get("name").text()?,
            peer_url: at.get("peer_url").text()?,
            client_url: at.get("client_url").text()?,
        })
    })?;
    each_once(node, seats.iter().map(|seat| seat.slot))?;
    if seats.is_empty() { Err(node.wrong("holds no seat")) } else { Ok(seats) }
}

/// Each slot once; none before the first incarnation.
pub(super) fn read_members(node: &Node<'_>) -> Result<Vec<Member>, WireError> {
    let members = node.list(|member| {
        let at = member.map()?;
        Ok(Member { slot: at.get("slot").slot()?, id: at.get("member_id").member_id()? })
    })?;
    each_once(node, members.iter().map(|member| member.slot))?;
    Ok(members)
}

fn each_once(node: &Node<'_>, slots: impl Iterator<Item = Slot>) -> Result<(), WireError> {
    let mut seen = [false; SLOTS_MAX];
    for slot in slots {
        let Some(seen) = seen.get_mut(usize::from(slot.0)).filter(|seen| !**seen) else {
            return Err(node.wrong(format!("holds slot {slot} twice")));
        };
        *seen = true;
    }
    Ok(())
}

pub(super) fn read_pin(node: &Node<'_>) -> Result<Pin, WireError> {
    let at = node.map()?;
    Ok(Pin { key: at.get("key").text()?, sha256: at.get("sha256").digest()? })
}

pub(super) fn read_source(node: &Node<'_>) -> Result<Source, WireError> {
    let at = node.map()?;
    Ok(Source {
        object: at.get("object").optional(read_pin)?,
        revision: at.get("revision").number()?,
        bump: at.get("bump").number()?,
        live_keys: at.get("live_keys").optional(Node::number)?,
        size: at.get("size").number()?,
    })
}

pub(super) fn read_check(node: &Node<'_>) -> Result<Check, WireError> {
    let at = node.map()?;
    Ok(Check {
        revision: at.get("revision").number()?,
        hash_kv: at.get("hash_kv").number32()?,
        live_keys: at.get("live_keys").number()?,
    })
}

pub(super) fn read_in_attempt(node: &Node<'_>) -> Result<InAttempt, WireError> {
    let at = node.map()?;
    Ok(InAttempt { inc: at.get("inc").number()?, attempt: at.get("attempt").number()? })
}
