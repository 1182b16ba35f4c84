//! **fence** — which fences stand, and whether they leave the old incarnation a quorum.
//!
//! Comes from the slots' records. Goes to [`coordinator`](crate::coordinator)'s FENCING.
//!
//! Intuition: a restore is safe when so many members have promised never to run again that those
//! who have not can no longer be a majority, in whichever configuration etcd may believe in
//! (protocol.md 1.4, Lemma 1 and "Configuration closure"). Silence is never a promise.
//!
//! Claims: F1 only fences of this incarnation and this attempt count; F2 a slot's fence stands for
//! the member id that ran there and for no other; F3 more fences never take blocking away, unless
//! one of them shows a configuration nobody knew of.

use crate::{
    cluster::{MemberId, Slot, quorum},
    observation::LogSummary,
    registry::{Ctrl, Evidence, Fence, Records},
};
use alloc::{collections::BTreeSet, vec::Vec};

/// How an attempt stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Standing {
    /// Seats fenced for this attempt.
    pub fenced: Vec<(Slot, Evidence)>,
    /// Seats with a readable log of this incarnation, not attested away.
    pub intact: Vec<Slot>,
    /// Seats of members without a fence.
    pub missing: Vec<Slot>,
    /// Seats that may hold an intact member but don't show one: no fence, or a log that could not
    /// be read.
    pub waited: Vec<Slot>,
    /// The fences block every configuration that may be active.
    pub blocks: bool,
    /// Configurations that are not blocked yet, with the member ids that are not fenced.
    pub open_configs: Vec<Vec<MemberId>>,
}

/// Counts the fences of the present attempt.
pub fn standing(ctrl: &Ctrl, records: &Records) -> Standing {
    let fences: Vec<(Slot, Fence)> = seats_concerned(ctrl)
        .into_iter()
        .filter_map(|slot| Some((slot, valid(ctrl, records, slot)?)))
        .collect();
    let fenced_ids: BTreeSet<MemberId> = fences
        .iter()
        .filter_map(|(slot, fence)| fenced_member(ctrl, records, *slot, fence))
        .collect();
    let open_configs: Vec<Vec<MemberId>> = configurations(ctrl, &fences)
        .into_iter()
        .filter(|config| !is_blocked(config, &fenced_ids))
        .map(|config| config.into_iter().filter(|id| !fenced_ids.contains(id)).collect())
        .collect();
    let fence_of = |slot: Slot| fences.iter().find(|(at, _)| *at == slot).map(|(_, fence)| fence);
    let members: Vec<Slot> = ctrl.members.iter().map(|member| member.slot).collect();
    let is_intact = |slot: Slot| {
        let readable = fence_of(slot)
            .is_some_and(|fence| fence.kind == Evidence::Consent && fence.log.is_some());
        readable && !records.is_attested(slot, ctrl.inc)
    };
    let unread = |slot: Slot| match fence_of(slot) {
        None => true,
        Some(fence) => fence.kind == Evidence::Consent && fence.log.is_none(),
    };
    Standing {
        intact: members.iter().copied().filter(|slot| is_intact(*slot)).collect(),
        missing: members.iter().copied().filter(|slot| fence_of(*slot).is_none()).collect(),
        waited: members.iter().copied().filter(|slot| unread(*slot)).collect(),
        blocks: !ctrl.members.is_empty() && open_configs.is_empty(),
        fenced: fences.iter().map(|(slot, fence)| (*slot, fence.kind)).collect(),
        open_configs,
    }
}

/// Seats whose members may vote in etcd: recorded, intended, or being replaced.
pub fn seats_concerned(ctrl: &Ctrl) -> Vec<Slot> {
    let intent = ctrl.intent.iter().flatten();
    let op = ctrl.op.iter().map(|op| op.slot);
    let seats: BTreeSet<Slot> =
        ctrl.members.iter().chain(intent).map(|member| member.slot).chain(op).collect();
    seats.into_iter().collect()
}

/// F1: the fence of `slot`, if it is of this incarnation and attempt.
fn valid(ctrl: &Ctrl, records: &Records, slot: Slot) -> Option<Fence> {
    records.slot(slot).fence.filter(|fence| fence.inc == ctrl.inc && fence.attempt == ctrl.attempt)
}

/// F2: which member a slot's fence stands for. A seat that never ran this incarnation stands for
/// the member that was meant to sit there.
fn fenced_member(ctrl: &Ctrl, records: &Records, slot: Slot, fence: &Fence) -> Option<MemberId> {
    let planned = ctrl.members.iter().find(|member| member.slot == slot).map(|member| member.id);
    let ran = records.slot(slot).ran.filter(|ran| ran.inc == ctrl.inc).map(|ran| ran.member_id);
    match fence.kind {
        Evidence::Consent | Evidence::DataLost => ran,
        Evidence::NeverRan => planned,
        Evidence::Attested => ran.or(planned),
    }
}

/// Every set of voters that etcd may go by: recorded, intended, and what fenced logs show. One
/// pass is the fixpoint here: all fences are in hand, and configurations add no fences.
fn configurations(ctrl: &Ctrl, fences: &[(Slot, Fence)]) -> BTreeSet<Vec<MemberId>> {
    let ids = |members: &[crate::cluster::Member]| {
        let set: BTreeSet<MemberId> = members.iter().map(|member| member.id).collect();
        set.into_iter().collect::<Vec<MemberId>>()
    };
    let recorded =
        core::iter::once(ids(&ctrl.members)).chain(ctrl.intent.iter().map(|intent| ids(intent)));
    let logged = fences
        .iter()
        .filter_map(|(_, fence)| fence.log.as_ref())
        .flat_map(|log| log.configs.iter().cloned());
    recorded.chain(logged).filter(|config| !config.is_empty()).collect()
}

/// Lemma 1: no quorum of `config` is left without a fenced member.
fn is_blocked(config: &[MemberId], fenced: &BTreeSet<MemberId>) -> bool {
    let free = config.iter().filter(|id| !fenced.contains(id)).count();
    free < quorum(config.len())
}

/// The best survivor's log by raft's own rule: highest (last term, last index); the lower seat
/// of equals (protocol.md 1.8, Recovery source).
pub fn best_log(ctrl: &Ctrl, records: &Records, intact: &[Slot]) -> Option<(Slot, LogSummary)> {
    let logs = intact.iter().filter_map(|slot| Some((*slot, valid(ctrl, records, *slot)?.log?)));
    logs.max_by(|(slot, log), (other, rival)| {
        let key = |log: &LogSummary| (log.last_term, log.last_index);
        key(log).cmp(&key(rival)).then(other.cmp(slot))
    })
}

/// Whether so many intact members are there, or may be, that a plain restart can bring the quorum
/// back: then nothing is restored (protocol.md 1.8, S8).
pub fn restart_suffices(ctrl: &Ctrl, intact: usize) -> bool {
    intact >= quorum(ctrl.members.len())
}
