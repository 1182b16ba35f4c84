//! **cluster, version 1** — `<prefix>/cluster.json`, the only file outside the uid: a machine that
//! knows nothing learns the uid from it, and two clusters on one prefix collide on it.
//!
//! Comes from genesis, written once. Goes to every agent that starts with an empty disk.

use super::{WireError, fields::parse_file, file};
use crate::{effect::Founding, limits::SLOTS_MAX};
use alloc::{format, vec::Vec};
use serde::Serialize;

const VERSION: u64 = 1;

#[derive(Serialize)]
struct ClusterV1<'a> {
    v: u64,
    uid: &'a str,
    seats: usize,
}

/// `cluster.json` as it is stored.
pub fn encode_cluster(founding: &Founding) -> Vec<u8> {
    file(&ClusterV1 { v: VERSION, uid: &founding.uid, seats: founding.seats })
}

/// Reads a stored `cluster.json`.
///
/// # Errors
/// A sentence naming the field that is missing or not as [`encode_cluster`] writes it.
pub fn parse_cluster(bytes: &[u8]) -> Result<Founding, WireError> {
    parse_file("cluster.json", bytes, VERSION..=VERSION, |at| {
        let seats = at.get("seats");
        let number = seats.number()?;
        Ok(Founding {
            uid: at.get("uid").text()?,
            seats: usize::try_from(number)
                .ok()
                .filter(|seats| (1..=SLOTS_MAX).contains(seats))
                .ok_or_else(|| {
                    seats.wrong(format!("is {number} and a cluster has 1 to {SLOTS_MAX}"))
                })?,
        })
    })
}
