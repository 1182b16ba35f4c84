//! **ctrl, layout 1** — the decision head's attributes (protocol.md 1.7).
//!
//! Comes from the lock table's row `ctrl`. Goes to the coordinator, and back as single attributes
//! (see [`changed`](super::changed)). `v` is the record's own counter that guards compare with, so
//! the version of what is written here is called `layout`.

use super::{
    WireError,
    fields::{Fields, Node, parse_row_of},
    parts_v1, row,
};
use crate::{
    cluster::Nonce,
    registry::{Adoption, Approval, Ctrl, Lease, Operation, Parked, Phase, Request, Stage},
};
use alloc::{format, string::String, vec::Vec};
use serde::Serialize;
use serde_json::{Map, Value};

const LAYOUT: u64 = 1;

#[derive(Serialize)]
struct CtrlV1<'a> {
    layout: u64,
    v: u64,
    uid: &'a str,
    inc: u64,
    token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    etcd_cluster_id: Option<String>,
    slots: Vec<parts_v1::SeatV1<'a>>,
    members: Vec<parts_v1::MemberV1>,
    #[serde(skip_serializing_if = "Option::is_none")]
    members_intent: Option<Vec<parts_v1::MemberV1>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<LeaseV1<'a>>,
    phase: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resume_phase: Option<&'static str>,
    opened: bool,
    attempt: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    aborted: Option<parts_v1::InAttemptV1>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<parts_v1::PinV1<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<parts_v1::SourceV1<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<RequestV1<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    op: Option<OperationV1<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drift: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<&'a str>,
    aborts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    parked: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    approved: Vec<ApprovalV1>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    adopted: Vec<AdoptionV1<'a>>,
    op_id: &'a str,
}

#[derive(Serialize)]
struct ApprovalV1 {
    attempt: u64,
    parked: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<u8>,
}

#[derive(Serialize)]
struct AdoptionV1<'a> {
    sha256: String,
    inc: u64,
    by: &'a str,
    because: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    said: Option<u64>,
}

#[derive(Serialize)]
struct LeaseV1<'a> {
    holder: u8,
    nonce: &'a str,
    epoch: u64,
    rvn: &'a str,
    released: bool,
}

#[derive(Serialize)]
struct RequestV1<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    scope: Vec<u8>,
    by: &'a str,
    because: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u64>,
}

#[derive(Serialize)]
struct OperationV1<'a> {
    slot: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    added: Option<String>,
    stage: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    elsewhere: Option<bool>,
    because: &'a str,
}

/// All attributes of `ctrl`.
pub fn encode_ctrl(ctrl: &Ctrl) -> Map<String, Value> {
    row(&CtrlV1 {
        layout: LAYOUT,
        v: ctrl.version,
        uid: &ctrl.uid,
        inc: ctrl.inc,
        token: &ctrl.token,
        etcd_cluster_id: ctrl.cluster_id.map(|id| format!("{id}")),
        slots: parts_v1::seats(&ctrl.seats),
        members: parts_v1::members(&ctrl.members),
        members_intent: ctrl.intent.as_deref().map(parts_v1::members),
        lease: ctrl.lease.as_ref().map(lease),
        phase: ctrl.phase.name(),
        resume_phase: ctrl.resume.map(Phase::name),
        opened: ctrl.opened,
        attempt: ctrl.attempt,
        aborted: ctrl.aborted.as_ref().map(parts_v1::in_attempt),
        plan: ctrl.plan.as_ref().map(parts_v1::pin),
        source: ctrl.source.as_ref().map(parts_v1::source),
        request: ctrl.request.as_ref().map(request),
        op: ctrl.op.as_ref().map(operation),
        drift: ctrl.drift.as_deref(),
        paused: ctrl.paused.as_deref(),
        aborts: ctrl.aborts,
        parked: ctrl.parked.map(Parked::name),
        approved: ctrl.approved.iter().map(approval).collect(),
        adopted: ctrl.adopted.iter().map(adoption).collect(),
        op_id: &ctrl.op_id,
    })
}

/// Reads the attributes of `ctrl`.
///
/// # Errors
/// A sentence naming the attribute that is missing or not as [`encode_ctrl`] writes it.
pub fn parse_ctrl(attributes: &Map<String, Value>) -> Result<Ctrl, WireError> {
    parse_row_of("row `ctrl`", attributes, LAYOUT, read)
}

fn read(at: &Fields<'_>) -> Result<Ctrl, WireError> {
    let inc = at.get("inc").number()?;
    let adoptions = |all: &Node<'_>| all.list(|adoption| read_adoption(adoption, inc));
    Ok(Ctrl {
        version: at.get("v").number()?,
        uid: at.get("uid").text()?,
        inc,
        token: at.get("token").text()?,
        cluster_id: at.get("etcd_cluster_id").optional(Node::cluster_id)?,
        seats: parts_v1::read_seats(&at.get("slots"))?,
        members: parts_v1::read_members(&at.get("members"))?,
        intent: at.get("members_intent").optional(parts_v1::read_members)?,
        lease: at.get("lease").optional(read_lease)?,
        phase: at.get("phase").named(Phase::parse)?,
        resume: at.get("resume_phase").optional(|phase| phase.named(Phase::parse))?,
        opened: at.get("opened").flag()?,
        attempt: at.get("attempt").number()?,
        aborted: at.get("aborted").optional(parts_v1::read_in_attempt)?,
        plan: at.get("plan").optional(parts_v1::read_pin)?,
        source: at.get("source").optional(parts_v1::read_source)?,
        request: at.get("request").optional(read_request)?,
        op: at.get("op").optional(read_operation)?,
        drift: at.get("drift").optional(Node::text)?,
        paused: at.get("paused").optional(Node::text)?,
        aborts: at.get("aborts").number32()?,
        parked: at.get("parked").optional(|parked| parked.named(Parked::parse))?,
        adopted: at.get("adopted").optional(adoptions)?.unwrap_or_default(),
        approved: at.get("approved").optional(|all| all.list(read_approval))?.unwrap_or_default(),
        op_id: at.get("op_id").text()?,
    })
}

fn approval(approval: &Approval) -> ApprovalV1 {
    let Approval { attempt, parked, about } = approval;
    ApprovalV1 { attempt: *attempt, parked: parked.name(), about: about.map(|slot| slot.0) }
}

fn read_approval(node: &Node<'_>) -> Result<Approval, WireError> {
    let at = node.map()?;
    Ok(Approval {
        attempt: at.get("attempt").number()?,
        parked: at.get("parked").named(Parked::parse)?,
        about: at.get("about").optional(Node::slot)?,
    })
}

fn adoption(adoption: &Adoption) -> AdoptionV1<'_> {
    AdoptionV1 {
        sha256: format!("{}", adoption.sha256),
        inc: adoption.inc,
        by: &adoption.by,
        because: &adoption.because,
        said: adoption.said,
    }
}

/// A bare digest is a word of the time when nothing else was kept of it.
fn read_adoption(node: &Node<'_>, inc: u64) -> Result<Adoption, WireError> {
    if let Ok(sha256) = node.digest() {
        let unknown = || String::from("not known");
        return Ok(Adoption { sha256, inc, by: unknown(), because: unknown(), said: None });
    }
    let at = node.map()?;
    Ok(Adoption {
        sha256: at.get("sha256").digest()?,
        inc: at.get("inc").number()?,
        by: at.get("by").text()?,
        because: at.get("because").text()?,
        said: at.get("said").optional(Node::number)?,
    })
}

fn lease(lease: &Lease) -> LeaseV1<'_> {
    LeaseV1 {
        holder: lease.holder.0,
        nonce: &lease.nonce.0,
        epoch: lease.epoch,
        rvn: &lease.rvn,
        released: lease.released,
    }
}

fn read_lease(node: &Node<'_>) -> Result<Lease, WireError> {
    let at = node.map()?;
    Ok(Lease {
        holder: at.get("holder").slot()?,
        nonce: Nonce(at.get("nonce").text()?),
        epoch: at.get("epoch").number()?,
        rvn: at.get("rvn").text()?,
        released: at.get("released").flag()?,
    })
}

fn request(request: &Request) -> RequestV1<'_> {
    RequestV1 {
        kind: if request.rollback { "rollback" } else { "restore" },
        source: request.source.as_deref(),
        scope: request.scope.iter().map(|slot| slot.0).collect(),
        by: &request.by,
        because: &request.because,
        attempt: request.attempt,
    }
}

fn read_request(node: &Node<'_>) -> Result<Request, WireError> {
    let at = node.map()?;
    let rollback = |kind: &str| match kind {
        "rollback" => Some(true),
        "restore" => Some(false),
        _ => None,
    };
    Ok(Request {
        rollback: at.get("kind").named(rollback)?,
        source: at.get("source").optional(Node::text)?,
        scope: at.get("scope").list(Node::slot)?,
        by: at.get("by").text()?,
        because: at.get("because").text()?,
        attempt: at.get("attempt").optional(Node::number)?,
    })
}

fn operation(op: &Operation) -> OperationV1<'_> {
    OperationV1 {
        slot: op.slot.0,
        removed: op.removed.map(|id| format!("{id}")),
        added: op.added.map(|id| format!("{id}")),
        stage: op.stage.name(),
        elsewhere: op.elsewhere.then_some(true),
        because: &op.because,
    }
}

fn read_operation(node: &Node<'_>) -> Result<Operation, WireError> {
    let at = node.map()?;
    Ok(Operation {
        slot: at.get("slot").slot()?,
        removed: at.get("removed").optional(Node::member_id)?,
        added: at.get("added").optional(Node::member_id)?,
        stage: at.get("stage").named(Stage::parse)?,
        elsewhere: at.get("elsewhere").optional(Node::flag)?.unwrap_or(false),
        because: at.get("because").text()?,
    })
}
