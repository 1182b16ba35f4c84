//! **vote, version 1** — `<prefix>/<uid>/votes/<slot>.json`.
//!
//! Comes from an agent's own observation. Goes to the tallies of the others. Overwritten by its
//! agent with If-Match; a hint, so a vote that can't be read counts as no vote.

use super::{
    WireError,
    fields::{Node, parse_file},
    file,
};
use crate::{
    cluster::{Instance, Nonce},
    manifest::Doubt,
    vote::{Health, Vote},
};
use alloc::vec::Vec;
use serde::Serialize;

const VERSION: u64 = 1;

#[derive(Serialize)]
struct VoteV1<'a> {
    v: u64,
    slot: u8,
    instance: &'a str,
    nonce: &'a str,
    seq: u64,
    inc: u64,
    health: &'static str,
    quarantined: bool,
    revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    doubt: Option<&'static str>,
}

/// The vote as it is stored.
pub fn encode_vote(vote: &Vote) -> Vec<u8> {
    file(&VoteV1 {
        v: VERSION,
        slot: vote.slot.0,
        instance: &vote.instance.0,
        nonce: &vote.nonce.0,
        seq: vote.seq,
        inc: vote.inc,
        health: vote.health.name(),
        quarantined: vote.quarantined,
        revision: vote.revision,
        manifest: vote.manifest.as_deref(),
        doubt: vote.doubt.map(Doubt::name),
    })
}

/// Reads a stored vote.
///
/// # Errors
/// A sentence naming the field that is missing or not as [`encode_vote`] writes it.
pub fn parse_vote(bytes: &[u8]) -> Result<Vote, WireError> {
    parse_file("vote", bytes, VERSION..=VERSION, |at| {
        Ok(Vote {
            slot: at.get("slot").slot()?,
            instance: Instance(at.get("instance").text()?),
            nonce: Nonce(at.get("nonce").text()?),
            seq: at.get("seq").number()?,
            inc: at.get("inc").number()?,
            health: at.get("health").named(Health::parse)?,
            quarantined: at.get("quarantined").flag()?,
            revision: at.get("revision").number()?,
            manifest: at.get("manifest").optional(Node::text)?,
            // it decides nothing: a name that a later version made up must not cost the vote
            doubt: at.get("doubt").optional(Node::text)?.and_then(|doubt| Doubt::parse(&doubt)),
        })
    })
}
