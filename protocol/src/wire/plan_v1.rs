//! **plan, version 1** — `<prefix>/<uid>/inc/<k+1>/plan/<attempt>-<epoch>-<sha12>.json`, written once.
//!
//! Comes from the leader. Goes to every agent, which obeys only bytes whose SHA-256 is the one that
//! `ctrl.plan` pins. So the digest is that of the stored bytes, and whoever reads a plan digests
//! what was fetched, before parsing, and never what an encoder would make of it today.

use super::{
    WireError,
    fields::{Node, parse_file},
    file, parts_v1,
};
use crate::{cluster::Digest, plan::Plan};
use alloc::{string::String, vec::Vec};
use serde::Serialize;

const VERSION: u64 = 1;

#[derive(Serialize)]
struct PlanV1<'a> {
    v: u64,
    uid: &'a str,
    inc: u64,
    attempt: u64,
    epoch: u64,
    token: &'a str,
    seats: Vec<parts_v1::SeatV1<'a>>,
    source: parts_v1::SourceV1<'a>,
    fallbacks: &'a [String],
    loss: u64,
    because: &'a str,
}

/// The plan as it is stored.
pub fn encode_plan(plan: &Plan) -> Vec<u8> {
    file(&PlanV1 {
        v: VERSION,
        uid: &plan.uid,
        inc: plan.inc,
        attempt: plan.attempt,
        epoch: plan.epoch,
        token: &plan.token,
        seats: parts_v1::seats(&plan.seats),
        source: parts_v1::source(&plan.source),
        fallbacks: &plan.fallbacks,
        loss: plan.loss,
        because: &plan.because,
    })
}

/// The digest a plan is pinned by when this program writes it.
pub fn plan_digest(plan: &Plan) -> Digest {
    Digest::of(&encode_plan(plan))
}

/// Reads a stored plan.
///
/// # Errors
/// A sentence naming the field that is missing or not as [`encode_plan`] writes it.
pub fn parse_plan(bytes: &[u8]) -> Result<Plan, WireError> {
    parse_file("plan", bytes, VERSION..=VERSION, |at| {
        Ok(Plan {
            uid: at.get("uid").text()?,
            inc: at.get("inc").number()?,
            attempt: at.get("attempt").number()?,
            epoch: at.get("epoch").number()?,
            token: at.get("token").text()?,
            seats: parts_v1::read_seats(&at.get("seats"))?,
            source: parts_v1::read_source(&at.get("source"))?,
            fallbacks: at.get("fallbacks").list(Node::text)?,
            loss: at.get("loss").number()?,
            because: at.get("because").text()?,
        })
    })
}
