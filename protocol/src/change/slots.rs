//! **slots** — the conditional writes of a seat's record: who may testify, and to what.
//!
//! Comes from the same decisions as its parent, the table of protocol.md 1.7.

use super::{number, text};
use crate::{
    cluster::{Instance, Slot},
    mutant::{self, Mutant},
    observation::Ran,
    registry::{
        Attest, Change, Ctrl, Evidence, Fence, Guard, Owner, RecordChange, Restored, Salvage,
        SlotRecord,
    },
};
use alloc::{boxed::Box, vec, vec::Vec};

fn slot_change(
    name: &'static str,
    slot: Slot,
    before: &SlotRecord,
    guard: Guard,
    after: SlotRecord,
) -> Change {
    let record = Box::new(RecordChange::Slot { slot, before: before.clone(), after });
    Change { name, guard, record, checks: Vec::new() }
}

fn as_owner(before: &SlotRecord, me: &Owner) -> Vec<Guard> {
    vec![text("owner.nonce", &me.nonce.0), number("gen", before.gen_)]
}

/// Takes a seat that is free or whose owner was watched for long enough.
pub fn claim(slot: Slot, before: &SlotRecord, owner: Owner) -> Change {
    let guard = match &before.owner {
        None => Guard::Absent("owner"),
        Some(old) => text("owner.rvn", &old.rvn),
    };
    let after = SlotRecord {
        owner: Some(owner),
        gen_: before.gen_ + 1,
        restore: None,
        salvage: None,
        ..before.clone()
    };
    slot_change("claim", slot, before, guard, after)
}

/// What a first start of a member of `ctrl.inc` must find (protocol.md 1.7 "first start"): nobody
/// ran it, and no fence stands against it. Within an incarnation only a member that an operation
/// has taken out may be followed by another on its seat.
pub fn first_start(ctrl: &Ctrl, slot: Slot, before: &SlotRecord, me: &Owner, ran: Ran) -> Change {
    assert_eq!(ran.inc, ctrl.inc, "only the recorded incarnation is ever started");
    let is_past_removed =
        ctrl.op.as_ref().is_some_and(|op| op.slot == slot && op.stage.may_start());
    let is_member = |id| ctrl.members.iter().any(|member| member.id == id);
    let before_it = before.ran.as_ref().map(|ran| ran.member_id);
    let removed = before_it.filter(|id| is_past_removed && !is_member(*id));
    let aborted =
        ctrl.aborted.filter(|aborted| aborted.inc == ctrl.inc).map_or(0, |aborted| aborted.attempt);
    let mut unrun = vec![Guard::Absent("ran"), Guard::Below("ran.inc", ctrl.inc)];
    unrun.extend(removed.map(|id| text("ran.member_id", &alloc::format!("{id}"))));
    let unfenced = vec![
        Guard::Absent("fence"),
        Guard::Below("fence.inc", ctrl.inc),
        Guard::AtMost("fence.attempt", aborted),
    ];
    let mut guards = as_owner(before, me);
    if !mutant::is(Mutant::FirstStartUnguarded) {
        guards.extend([Guard::Any(unrun), Guard::Any(unfenced)]);
    }
    slot_change(
        "first start",
        slot,
        before,
        Guard::All(guards),
        SlotRecord { ran: Some(ran), ..before.clone() },
    )
}

/// The same write where the member was begun already: it must never be begun again.
pub fn of_begun(first_start: Change) -> Change {
    Change { name: "adopted", ..first_start }
}

/// A member that ran before us says so (adopt).
pub fn adopted(slot: Slot, before: &SlotRecord, me: &Owner, ran: Ran) -> Change {
    let mut guards = as_owner(before, me);
    guards.push(Guard::Absent("ran"));
    slot_change(
        "adopted",
        slot,
        before,
        Guard::All(guards),
        SlotRecord { ran: Some(ran), ..before.clone() },
    )
}

/// Every fence: only the first for an attempt is kept, so what a leader counted can't change.
fn fence_change(slot: Slot, before: &SlotRecord, witness: Guard, fence: Fence) -> Change {
    let first =
        Guard::Any(vec![Guard::Absent("fence"), Guard::Below("fence.attempt", fence.attempt)]);
    let after = SlotRecord { fence: Some(fence), ..before.clone() };
    slot_change("fence", slot, before, Guard::All(vec![first, witness]), after)
}

/// Fences C and D: written by the machine that ran the member, owner of the seat or not.
pub fn fence_own(slot: Slot, before: &SlotRecord, fence: Fence) -> Change {
    let witness =
        Guard::All(vec![number("ran.inc", fence.inc), text("ran.instance", &fence.instance.0)]);
    fence_change(slot, before, witness, fence)
}

/// Fence N: written by the owner of a seat that never ran this incarnation.
pub fn fence_never_ran(slot: Slot, before: &SlotRecord, me: &Owner, fence: Fence) -> Change {
    let mut guards = as_owner(before, me);
    if !mutant::is(Mutant::StrangerNeverRan) {
        guards.push(Guard::Any(vec![Guard::Absent("ran"), Guard::Below("ran.inc", fence.inc)]));
    }
    fence_change(slot, before, Guard::All(guards), fence)
}

/// Fence O: the leader turns an attestation into a fence. It is bound to the machine that may
/// still start the member.
pub fn fence_attested(slot: Slot, before: &SlotRecord, ctrl: &Ctrl, machine: &Instance) -> Change {
    let mut attested = vec![
        number("attest.inc", ctrl.inc),
        text("attest.instance", &machine.0),
        text("ran.instance", &machine.0),
        Guard::Any(vec![
            number("ran.inc", ctrl.inc),
            Guard::All(vec![Guard::Below("ran.inc", ctrl.inc), text("owner.instance", &machine.0)]),
        ]),
    ];
    if mutant::is(Mutant::AttestUnbound) {
        attested.truncate(1);
    }
    let fence = Fence {
        inc: ctrl.inc,
        attempt: ctrl.attempt,
        kind: Evidence::Attested,
        instance: machine.clone(),
        log: None,
    };
    fence_change(slot, before, Guard::All(attested), fence)
}

/// The operator's word that the machine which ran `slot` is gone.
pub fn attest(slot: Slot, before: &SlotRecord, attest: Attest) -> Change {
    let guard = text("ran.instance", &attest.instance.0);
    slot_change(
        "attest",
        slot,
        before,
        guard,
        SlotRecord { attest: Some(attest), ..before.clone() },
    )
}

/// A seat's report on its part of the plan.
pub fn report(slot: Slot, before: &SlotRecord, me: &Owner, restored: Restored) -> Change {
    let after = SlotRecord { restore: Some(restored), ..before.clone() };
    slot_change("report", slot, before, Guard::All(as_owner(before, me)), after)
}

/// A seat's salvage for this attempt.
pub fn salvaged(slot: Slot, before: &SlotRecord, salvage: Salvage) -> Change {
    let guard = number("fence.attempt", salvage.attempt);
    slot_change(
        "salvage",
        slot,
        before,
        guard,
        SlotRecord { salvage: Some(salvage), ..before.clone() },
    )
}
