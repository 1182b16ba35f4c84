//! **change** — every conditional write of the protocol, the table of protocol.md 1.7 in code: what
//! must hold of the stored record, and what it becomes.
//!
//! Comes from the coordinator's decisions. Goes to the lock table, which alone judges the guards.
//! A leader's write carries its fencing token (`lease.epoch`) and the version it read (`v`); an
//! operator's word carries the version only; a slot's write carries who may testify.

mod slots;

pub use slots::*;

use crate::{
    cluster::Slot,
    fence::seats_concerned,
    mutant::{self, Mutant},
    observation::InAttempt,
    plan::Plan,
    registry::{
        Change, Ctrl, Guard, Lease, Owner, Parked, Phase, Pin, RecordChange, Records, Row, Salvage,
        Saver, Scalar, SlotRecord,
    },
};
use alloc::{borrow::ToOwned, boxed::Box, string::String, vec, vec::Vec};

fn number(path: &'static str, value: u64) -> Guard {
    Guard::Is(path, Scalar::Number(value))
}

fn text(path: &'static str, value: &str) -> Guard {
    Guard::Is(path, Scalar::Text(value.to_owned()))
}

/// S19: nothing begins while an operator has paused us.
fn unpaused() -> Guard {
    if mutant::is(Mutant::PausedIgnored) {
        return Guard::All(Vec::new());
    }
    Guard::Absent("paused")
}

fn phase_is(phase: Phase) -> Guard {
    text("phase", phase.name())
}

/// A leader's write: applied only while its epoch is the latest and nothing changed since it read.
/// `v` alone pins every other field; phase and attempt are said again where the table says them.
fn by_leader(name: &'static str, before: &Ctrl, extra: Vec<Guard>, after: Ctrl) -> Change {
    let epoch = before.lease.as_ref().map_or(0, |lease| lease.epoch);
    let mut guards = vec![number("v", before.version), number("lease.epoch", epoch)];
    guards.extend(extra);
    if mutant::is(Mutant::CommitUnconditional) {
        guards.clear();
    }
    if mutant::is(Mutant::StaleToken) {
        guards.retain(|guard| !matches!(guard, Guard::Is("lease.epoch" | "v", _)));
    }
    assert!(after.inc >= before.inc, "S11: an incarnation never goes back");
    assert!(after.attempt >= before.attempt, "S11: attempts rise for the life of the uid");
    let after = Ctrl { version: before.version + 1, ..after };
    let record = Box::new(RecordChange::Ctrl { before: Some(before.clone()), after });
    Change { name, guard: Guard::All(guards), record, checks: Vec::new() }
}

/// Genesis: the first record of a fresh uid.
pub fn genesis(ctrl: Ctrl) -> Change {
    let record = Box::new(RecordChange::Ctrl { before: None, after: ctrl });
    Change { name: "genesis", guard: Guard::Absent("uid"), record, checks: Vec::new() }
}

/// Takes the lease whose `rvn` was watched for long enough, was released, or never was.
pub fn acquire(ctrl: &Ctrl, holder: Slot, owner: &Owner, rvn: String) -> Change {
    let guard = match &ctrl.lease {
        None => Guard::Absent("lease"),
        Some(lease) => text("lease.rvn", &lease.rvn),
    };
    let epoch = ctrl.lease.as_ref().map_or(0, |lease| lease.epoch) + 1;
    let lease = Lease { holder, nonce: owner.nonce.clone(), epoch, rvn, released: false };
    lease_change("acquire", ctrl, guard, lease)
}

/// Shows that the holder lives.
pub fn renew(ctrl: &Ctrl, lease: &Lease, rvn: String) -> Change {
    lease_change("renew", ctrl, holder_is(lease), Lease { rvn, ..lease.clone() })
}

/// Gives the lease up; the record stays, so that a late write can't remove a successor's.
pub fn release(ctrl: &Ctrl, lease: &Lease, rvn: String) -> Change {
    lease_change("release", ctrl, holder_is(lease), Lease { rvn, released: true, ..lease.clone() })
}

fn holder_is(lease: &Lease) -> Guard {
    Guard::All(vec![number("lease.epoch", lease.epoch), text("lease.nonce", &lease.nonce.0)])
}

/// Lease writes leave `v` alone: a renewal must not make the leader's own decision fail.
fn lease_change(name: &'static str, ctrl: &Ctrl, guard: Guard, lease: Lease) -> Change {
    let after = Ctrl { lease: Some(lease), ..ctrl.clone() };
    Change {
        name,
        guard,
        record: Box::new(RecordChange::Ctrl { before: Some(ctrl.clone()), after }),
        checks: Vec::new(),
    }
}

/// Opens the next attempt.
pub fn start_fencing(ctrl: &Ctrl) -> Change {
    let attempt = ctrl.attempt + 1;
    let resume = if ctrl.phase == Phase::Aborted { ctrl.resume } else { Some(ctrl.phase) };
    let request = ctrl
        .request
        .clone()
        .map(|request| crate::registry::Request { attempt: Some(attempt), ..request });
    let extra = vec![
        phase_is(ctrl.phase),
        number("attempt", ctrl.attempt),
        number("inc", ctrl.inc),
        unpaused(),
    ];
    let after = Ctrl {
        attempt,
        phase: Phase::Fencing,
        resume,
        request,
        parked: None,
        approved: Vec::new(),
        ..ctrl.clone()
    };
    by_leader("start fencing", ctrl, extra, after)
}

/// The one write that ends an incarnation. In the same instant each seat must be as the leader counted
/// it: a fence or a salvage that came since may make this a plain restart (S8), or a better source
/// (S12), and has the leader count again.
pub fn commit(ctrl: &Ctrl, records: &Records, plan: &Plan, pin: &Pin, counted: &[Slot]) -> Change {
    assert!(plan.inc == ctrl.inc + 1, "S11: an attempt ends one incarnation and begins the next");
    let extra =
        vec![phase_is(Phase::Fencing), number("attempt", ctrl.attempt), number("inc", ctrl.inc)];
    let mut change = by_leader("commit", ctrl, extra, incarnation(ctrl, plan, pin));
    let as_counted = |slot: Slot| {
        let fence = if counted.contains(&slot) {
            Guard::All(vec![number("fence.attempt", ctrl.attempt), number("fence.inc", ctrl.inc)])
        } else {
            not_of("fence", "fence.attempt", ctrl.attempt)
        };
        Guard::All(vec![fence, salvage_as_seen(ctrl, records.slot(slot))])
    };
    let seats = seats_concerned(ctrl).into_iter();
    change.checks = seats.map(|slot| (Row::Slot(slot), as_counted(slot))).collect();
    if mutant::is(Mutant::CountedOnly) {
        change.checks.retain(|(row, _)| counted.iter().any(|slot| *row == Row::Slot(*slot)));
    }
    change
}

/// What is there is of an earlier attempt, if anything is.
fn not_of(name: &'static str, path: &'static str, attempt: u64) -> Guard {
    Guard::Any(vec![Guard::Absent(name), Guard::Below(path, attempt)])
}

fn salvage_as_seen(ctrl: &Ctrl, record: &SlotRecord) -> Guard {
    match record.salvage.as_ref().filter(|salvage| salvage.attempt == ctrl.attempt) {
        None => not_of("salvage", "salvage.attempt", ctrl.attempt),
        Some(Salvage { manifest: None, .. }) => Guard::Absent("salvage.manifest"),
        Some(Salvage { manifest: Some(_), .. }) => Guard::All(Vec::new()),
    }
}

/// The first incarnation of a bootstrapped cluster: committed at once, there is nothing to fence.
pub fn commit_first(ctrl: &Ctrl, plan: &Plan, pin: &Pin) -> Change {
    let mut change = by_leader(
        "first commit",
        ctrl,
        vec![phase_is(Phase::Genesis)],
        incarnation(ctrl, plan, pin),
    );
    let unrun = || Guard::Absent("ran");
    change.checks = ctrl.seats.iter().map(|seat| (Row::Slot(seat.slot), unrun())).collect();
    change
}

fn incarnation(ctrl: &Ctrl, plan: &Plan, pin: &Pin) -> Ctrl {
    Ctrl {
        inc: plan.inc,
        token: plan.token.clone(),
        cluster_id: Some(plan.cluster_id()),
        members: plan.members(),
        phase: Phase::Committed,
        opened: mutant::is(Mutant::OpenedKept) && ctrl.opened,
        attempt: if mutant::is(Mutant::AttemptReset) { 0 } else { ctrl.attempt },
        plan: Some(pin.clone()),
        source: Some(plan.source.clone()),
        request: ctrl.request.clone().filter(|_| mutant::is(Mutant::RequestKept)),
        op: None,
        intent: None,
        drift: None,
        parked: None,
        approved: Vec::new(),
        resume: None,
        aborts: 0,
        ..ctrl.clone()
    }
}

/// A cluster that ran before us is taken over as it is.
pub fn adopt(
    ctrl: &Ctrl,
    cluster_id: crate::cluster::ClusterId,
    members: Vec<crate::cluster::Member>,
) -> Change {
    let checks =
        members.iter().map(|member| (Row::Slot(member.slot), number("ran.inc", 1))).collect();
    let after = Ctrl {
        inc: 1,
        opened: true,
        phase: Phase::Idle,
        cluster_id: Some(cluster_id),
        members,
        ..ctrl.clone()
    };
    Change { checks, ..by_leader("adopt", ctrl, vec![phase_is(Phase::Genesis)], after) }
}

/// Calls the attempt off.
pub fn abort(ctrl: &Ctrl) -> Change {
    let carried =
        ctrl.request.as_ref().is_some_and(|request| request.attempt == Some(ctrl.attempt));
    let after = Ctrl {
        phase: Phase::Aborted,
        aborted: Some(InAttempt { inc: ctrl.inc, attempt: ctrl.attempt }),
        request: if carried { None } else { ctrl.request.clone() },
        parked: None,
        approved: Vec::new(),
        aborts: ctrl.aborts.saturating_add(1),
        ..ctrl.clone()
    };
    by_leader("abort", ctrl, vec![phase_is(Phase::Fencing), number("attempt", ctrl.attempt)], after)
}

/// Parks the attempt until somebody helps, or takes it up again: before its commit, or after it where its
/// snapshot can't be read and the next one is in doubt.
pub fn park(ctrl: &Ctrl, parked: Option<Parked>) -> Change {
    assert!(matches!(ctrl.phase, Phase::Fencing | Phase::Restoring), "there is something to ask");
    by_leader("park", ctrl, vec![phase_is(ctrl.phase)], Ctrl { parked, ..ctrl.clone() })
}

/// Goes back to where the aborted attempt began.
pub fn resume(ctrl: &Ctrl) -> Change {
    let phase = ctrl.resume.unwrap_or(Phase::Idle);
    let after = Ctrl { phase, resume: None, ..ctrl.clone() };
    by_leader("resume", ctrl, vec![phase_is(Phase::Aborted)], after)
}

/// On to the next phase of the same plan.
pub fn advance(ctrl: &Ctrl, to: Phase) -> Change {
    let plan = match &ctrl.plan {
        Some(pin) => text("plan.sha256", &alloc::format!("{}", pin.sha256)),
        None => Guard::Absent("plan"),
    };
    let opened = ctrl.opened || to == Phase::Open;
    let aborts = if to == Phase::Idle { 0 } else { ctrl.aborts };
    let (parked, approved) = (None, Vec::new());
    let after = Ctrl { phase: to, opened, aborts, parked, approved, ..ctrl.clone() };
    by_leader("advance", ctrl, vec![phase_is(ctrl.phase), plan], after)
}

/// Another plan for the same incarnation, while no member of it was started.
pub fn replan(ctrl: &Ctrl, plan: &Plan, pin: &Pin) -> Change {
    let old = ctrl.plan.as_ref().map(|pin| alloc::format!("{}", pin.sha256)).unwrap_or_default();
    let extra = vec![phase_is(Phase::Restoring), text("plan.sha256", &old)];
    let after = Ctrl {
        token: plan.token.clone(),
        cluster_id: Some(plan.cluster_id()),
        members: plan.members(),
        plan: Some(pin.clone()),
        source: Some(plan.source.clone()),
        parked: None,
        approved: Vec::new(), // they were of this source
        ..ctrl.clone()
    };
    by_leader("replan", ctrl, extra, after)
}

/// The next stage of a membership operation.
pub fn operation(ctrl: &Ctrl, after: Ctrl) -> Change {
    by_leader("membership", ctrl, vec![phase_is(ctrl.phase), unpaused()], after)
}

/// Claims the next turn to save, if nobody else did since it was read.
pub fn save_turn(before: Option<&Saver>, after: Saver) -> Change {
    let guard = match before {
        None => Guard::Absent("rvn"),
        Some(saver) => text("rvn", &saver.rvn),
    };
    let record = Box::new(RecordChange::Save { before: before.cloned(), after });
    Change { name: "save turn", guard, record, checks: Vec::new() }
}

/// The operator's word: one field, no epoch.
pub fn word(ctrl: &Ctrl, after: Ctrl) -> Change {
    let after = Ctrl { version: ctrl.version + 1, ..after };
    let record = Box::new(RecordChange::Ctrl { before: Some(ctrl.clone()), after });
    Change { name: "operator", guard: number("v", ctrl.version), record, checks: Vec::new() }
}
