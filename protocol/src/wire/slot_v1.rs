//! **slot, layout 1** — a seat's attributes (protocol.md 1.7).
//!
//! Comes from the lock table's rows `slot#<i>`. Goes to the coordinator, and back as single
//! attributes (see [`changed`](super::changed)): a claim must not touch a fence that arrived
//! between its read and its write.

use super::{
    WireError,
    fields::{Fields, Node, parse_row_of},
    parts_v1, row,
};
use crate::{
    cluster::{Instance, MemberId, Nonce},
    observation::{LogSummary, Ran},
    registry::{Attest, Evidence, Fence, Owner, Restored, Salvage, SlotRecord, Started},
};
use alloc::{format, string::String, vec::Vec};
use serde::Serialize;
use serde_json::{Map, Value};

const LAYOUT: u64 = 1;

#[derive(Serialize)]
struct SlotV1<'a> {
    layout: u64,
    #[serde(rename = "gen")]
    gen_: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<OwnerV1<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ran: Option<RanV1<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attest: Option<AttestV1<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fence: Option<FenceV1<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    salvage: Option<SalvageV1<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restore: Option<RestoreV1>,
    op_id: &'a str,
}

#[derive(Serialize)]
struct OwnerV1<'a> {
    instance: &'a str,
    nonce: &'a str,
    rvn: &'a str,
}

#[derive(Serialize)]
struct RanV1<'a> {
    inc: u64,
    instance: &'a str,
    member_id: String,
    plan: &'a str,
    fs: &'a str,
}

#[derive(Serialize)]
struct AttestV1<'a> {
    inc: u64,
    instance: &'a str,
    by: &'a str,
    because: &'a str,
}

#[derive(Serialize)]
struct FenceV1<'a> {
    inc: u64,
    attempt: u64,
    kind: &'static str,
    instance: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<LogV1>,
}

#[derive(Serialize)]
struct LogV1 {
    last_term: u64,
    last_index: u64,
    commit: u64,
    in_force: Vec<String>,
    configs: Vec<Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    places: Vec<u64>,
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    settled: bool,
}

#[derive(Serialize)]
struct SalvageV1<'a> {
    attempt: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<&'a str>,
}

#[derive(Serialize)]
struct RestoreV1 {
    plan: String,
    attempt: u64,
    failed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<StartedV1>,
}

#[derive(Serialize)]
struct StartedV1 {
    cluster_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<String>,
    revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<parts_v1::CheckV1>,
}

/// All attributes of a seat's row.
pub fn encode_slot(slot: &SlotRecord) -> Map<String, Value> {
    row(&SlotV1 {
        layout: LAYOUT,
        gen_: slot.gen_,
        owner: slot.owner.as_ref().map(owner),
        ran: slot.ran.as_ref().map(ran),
        attest: slot.attest.as_ref().map(attest),
        fence: slot.fence.as_ref().map(fence),
        salvage: slot.salvage.as_ref().map(|salvage| SalvageV1 {
            attempt: salvage.attempt,
            manifest: salvage.manifest.as_deref(),
        }),
        restore: slot.restore.as_ref().map(restore),
        op_id: &slot.op_id,
    })
}

/// Reads the attributes of a seat's row.
///
/// # Errors
/// A sentence naming the attribute that is missing or not as [`encode_slot`] writes it.
pub fn parse_slot(attributes: &Map<String, Value>) -> Result<SlotRecord, WireError> {
    parse_slot_row("slot", attributes)
}

/// The same, of the row called `row`.
pub(super) fn parse_slot_row(
    row: &str,
    attributes: &Map<String, Value>,
) -> Result<SlotRecord, WireError> {
    parse_row_of(&format!("row `{row}`"), attributes, LAYOUT, read)
}

fn read(at: &Fields<'_>) -> Result<SlotRecord, WireError> {
    Ok(SlotRecord {
        gen_: at.get("gen").number()?,
        owner: at.get("owner").optional(read_owner)?,
        ran: at.get("ran").optional(read_ran)?,
        attest: at.get("attest").optional(read_attest)?,
        fence: at.get("fence").optional(read_fence)?,
        salvage: at.get("salvage").optional(|node| {
            let at = node.map()?;
            Ok(Salvage {
                attempt: at.get("attempt").number()?,
                manifest: at.get("manifest").optional(Node::text)?,
            })
        })?,
        restore: at.get("restore").optional(read_restore)?,
        op_id: at.get("op_id").text()?,
    })
}

fn owner(owner: &Owner) -> OwnerV1<'_> {
    OwnerV1 { instance: &owner.instance.0, nonce: &owner.nonce.0, rvn: &owner.rvn }
}

fn read_owner(node: &Node<'_>) -> Result<Owner, WireError> {
    let at = node.map()?;
    Ok(Owner {
        instance: Instance(at.get("instance").text()?),
        nonce: Nonce(at.get("nonce").text()?),
        rvn: at.get("rvn").text()?,
    })
}

fn ran(ran: &Ran) -> RanV1<'_> {
    RanV1 {
        inc: ran.inc,
        instance: &ran.instance.0,
        member_id: format!("{}", ran.member_id),
        plan: &ran.plan,
        fs: &ran.fs,
    }
}

fn read_ran(node: &Node<'_>) -> Result<Ran, WireError> {
    let at = node.map()?;
    Ok(Ran {
        inc: at.get("inc").number()?,
        instance: Instance(at.get("instance").text()?),
        member_id: at.get("member_id").member_id()?,
        plan: at.get("plan").text()?,
        fs: at.get("fs").text()?,
    })
}

fn attest(attest: &Attest) -> AttestV1<'_> {
    AttestV1 {
        inc: attest.inc,
        instance: &attest.instance.0,
        by: &attest.by,
        because: &attest.because,
    }
}

fn read_attest(node: &Node<'_>) -> Result<Attest, WireError> {
    let at = node.map()?;
    Ok(Attest {
        inc: at.get("inc").number()?,
        instance: Instance(at.get("instance").text()?),
        by: at.get("by").text()?,
        because: at.get("because").text()?,
    })
}

fn fence(fence: &Fence) -> FenceV1<'_> {
    FenceV1 {
        inc: fence.inc,
        attempt: fence.attempt,
        kind: fence.kind.name(),
        instance: &fence.instance.0,
        log: fence.log.as_ref().map(log),
    }
}

fn read_fence(node: &Node<'_>) -> Result<Fence, WireError> {
    let at = node.map()?;
    Ok(Fence {
        inc: at.get("inc").number()?,
        attempt: at.get("attempt").number()?,
        kind: at.get("kind").named(Evidence::parse)?,
        instance: Instance(at.get("instance").text()?),
        log: at.get("log").optional(read_log)?,
    })
}

fn log(log: &LogSummary) -> LogV1 {
    let ids = |config: &Vec<MemberId>| config.iter().map(|id| format!("{id}")).collect();
    LogV1 {
        last_term: log.last_term,
        last_index: log.last_index,
        commit: log.commit,
        in_force: ids(&log.in_force),
        configs: log.configs.iter().map(ids).collect(),
        places: log.places.clone(),
        settled: log.settled,
    }
}

fn read_log(node: &Node<'_>) -> Result<LogSummary, WireError> {
    let at = node.map()?;
    Ok(LogSummary {
        last_term: at.get("last_term").number()?,
        last_index: at.get("last_index").number()?,
        commit: at.get("commit").number()?,
        // a learner that has heard nothing yet goes by no configuration
        in_force: at.get("in_force").list(Node::member_id)?,
        configs: at.get("configs").list(read_config)?,
        // earlier versions did not say these: then nothing is concluded from them
        places: at.get("places").optional(|node| node.list(Node::number))?.unwrap_or_default(),
        settled: at.get("settled").optional(Node::flag)?.unwrap_or(false),
    })
}

/// The voters of one configuration. One without voters can't be: nothing would block it.
fn read_config(node: &Node<'_>) -> Result<Vec<MemberId>, WireError> {
    let voters = node.list(Node::member_id)?;
    if voters.is_empty() { Err(node.wrong("holds no voter")) } else { Ok(voters) }
}

fn restore(restored: &Restored) -> RestoreV1 {
    RestoreV1 {
        plan: format!("{}", restored.plan),
        attempt: restored.attempt,
        failed: restored.failed,
        started: restored.started.as_ref().map(started),
    }
}

fn read_restore(node: &Node<'_>) -> Result<Restored, WireError> {
    let at = node.map()?;
    Ok(Restored {
        plan: at.get("plan").digest()?,
        attempt: at.get("attempt").number()?,
        started: at.get("started").optional(read_started)?,
        failed: at.get("failed").flag()?,
    })
}

fn started(started: &Started) -> StartedV1 {
    StartedV1 {
        cluster_id: format!("{}", started.cluster_id),
        leader: started.leader.map(|id| format!("{id}")),
        revision: started.revision,
        check: started.check.as_ref().map(parts_v1::check),
    }
}

fn read_started(node: &Node<'_>) -> Result<Started, WireError> {
    let at = node.map()?;
    Ok(Started {
        cluster_id: at.get("cluster_id").cluster_id()?,
        leader: at.get("leader").optional(Node::member_id)?,
        revision: at.get("revision").number()?,
        check: at.get("check").optional(parts_v1::read_check)?,
    })
}
