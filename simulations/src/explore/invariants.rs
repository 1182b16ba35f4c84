//! **invariants** — what must always hold (protocol.md 1.11): of states and of turns; `writes` has
//! what must hold of each write.
//!
//! Comes in: states and turns. Goes out: the name of the invariant that
//! is broken. Everything is counted here in this model's own words over the machines as they
//! really are; the core's fence arithmetic is not asked.

use super::{
    agent::{Picture, Turning},
    etcd::Member,
    machine::Machine,
    world::{MACHINES, State, World},
};
use protocol::{
    cluster::{MemberId, quorum},
    effect::Effect,
    registry::{Ctrl, Evidence, Fence, Phase, Records, SlotRecord},
};

pub(super) const OLD_QUORUM: &str = "S1 no old quorum";
pub(super) const LOG_COVERAGE: &str = "S2 every committed entry is in a fenced log";
pub(super) const SINGLE_DECISION: &str = "S4 one decision an attempt";
pub(super) const EVIDENCE: &str = "S5 whoever is counted as fenced is stopped and bound";
pub(super) const LAPSED_PROMISE: &str = "S6 a promise is kept until its own attempt is aborted";
pub(super) const THRESHOLD: &str = "S7 the fences block the recorded voters";
pub(super) const RECOVERABLE: &str = "S8 no restore over a recoverable cluster";
pub(super) const TOKEN: &str = "S9 no write of an earlier leader";
pub(super) const PLAN: &str = "S10 what runs was made by the recorded plan";
pub(super) const MONOTONE: &str = "S11 incarnations never go back";
pub(super) const SOURCE: &str = "S12 a recorded salvage is not passed over";
pub(super) const EARLY_CLIENT: &str = "S14 no client before OPEN, no OPEN without one content";
pub(super) const LINEAGE: &str = "S15 the source is of this lineage";
pub(super) const PRESERVED: &str = "S16 a survivor's data is kept";
pub(super) const ONE_OPERATION: &str = "S17 one membership operation";
pub(super) const WORSENED: &str = "S18 a replacement leaves the quorum that it found";
pub(super) const BEGUN_TWICE: &str = "1.4 boot rule 3: a voter is never begun twice";
pub(super) const PAUSED: &str = "S19 paused means passive";
pub(super) const HEALTHY: &str = "S20 a healthy member never consents";
pub(super) const SEAT: &str = "S22 only the seat's owner writes as the seat";

// ---------------------------------------------------------------- states

/// What a state's soundness depends on, and what it shows: neither minds nor what is under way.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Facts {
    table: u32,
    machines: [u32; MACHINES],
    acked: u32,
}

impl World {
    /// The invariant that a state breaks, and the witnesses that it shows: weighed once for all states
    /// with the same facts.
    pub(super) fn judged(&mut self, state: &State) -> (Option<&'static str>, u64) {
        let facts = Facts { table: state.table, machines: state.machines, acked: state.acked };
        if let Some(known) = self.judged.get(&facts) {
            return *known;
        }
        let judged = (self.weigh(state), self.shown(state));
        self.judged.insert(facts, judged);
        judged
    }

    fn weigh(&self, state: &State) -> Option<&'static str> {
        let ctrl = self.ctrl(state);
        let machines: Vec<&Machine> =
            self.present(state).into_iter().map(|at| self.machine(state, at)).collect();
        if old_quorum(&machines, ctrl.inc) {
            return Some(OLD_QUORUM);
        }
        if self.uncovered(state, &machines) {
            return Some(LOG_COVERAGE);
        }
        for (machine, member) in running(&machines) {
            if member.inc > ctrl.inc
                || (member.inc == ctrl.inc && Some(member.cluster) != ctrl.cluster_id)
                || (member.inc == ctrl.inc && !self.is_of_source(ctrl, member))
            {
                return Some(PLAN);
            }
            let open = machine.run.as_ref().is_some_and(|run| !run.quarantined);
            if open && member.inc == ctrl.inc && !ctrl.opened {
                return Some(EARLY_CLIENT);
            }
        }
        None
    }

    fn is_of_source(&self, ctrl: &Ctrl, member: &Member) -> bool {
        let Some(source) = &ctrl.source else { return true };
        let Some(pin) = &source.object else { return true };
        let content = self.objects.content(&pin.sha256);
        content == Some(member.base) && member.revision == source.revision + source.bump
    }

    /// S2: a write that clients were told is safe, in an incarnation that is over, and no fence of
    /// its last attempt stands for a log that has it or for one that nobody could read.
    fn uncovered(&self, state: &State, machines: &[&Machine]) -> bool {
        let ctrl = self.ctrl(state);
        let records = self.records(state);
        let over = ctrl.inc.saturating_sub(1);
        let fences = fences(records, over, ctrl.plan_attempt());
        if fences.is_empty() {
            return false; // overwritten by those of a later attempt: it was judged before
        }
        let dark =
            fences.iter().any(|(_, fence)| fence.kind != Evidence::Consent || fence.log.is_none());
        let held = |place: u8, entry: &(u8, super::etcd::Entry)| {
            fences.iter().any(|(_, fence)| held_by(fence, machines, place, entry))
        };
        let acked = self.acked.get(state.acked);
        acked.iter().any(|(inc, place, entry)| *inc == over && !dark && !held(*place, entry))
    }
}

/// The attempt that made the present incarnation.
trait PlanAttempt {
    fn plan_attempt(&self) -> u64;
}

impl PlanAttempt for Ctrl {
    /// A plan's key begins with its attempt (protocol.md 1.7).
    fn plan_attempt(&self) -> u64 {
        let name = self.plan.as_ref().and_then(|pin| pin.key.rsplit('/').next());
        name.and_then(|name| name.split('-').next()?.parse().ok()).unwrap_or(0)
    }
}

pub(super) fn running<'a>(
    machines: &[&'a Machine],
) -> impl Iterator<Item = (&'a Machine, &'a Member)> {
    machines.iter().filter_map(|machine| Some((*machine, machine.running()?)))
}

/// S1, in its strong form: of a configuration that some member of an ended incarnation goes by, a
/// quorum runs or may start without asking anybody.
fn old_quorum(machines: &[&Machine], inc: u64) -> bool {
    let lives = |machine: &&&Machine| machine.running().is_some() || machine.is_startable();
    let living: Vec<&Member> = machines
        .iter()
        .filter(lives)
        .filter_map(|machine| machine.member())
        .filter(|member| member.inc < inc)
        .collect();
    living.iter().any(|member| {
        let voters = member.in_force();
        let is_live = |id: &&MemberId| {
            living.iter().any(|other| other.id == **id && other.cluster == member.cluster)
        };
        voters.iter().filter(is_live).count() >= quorum(voters.len())
    })
}

/// The fences of one attempt, with their seats' records.
pub(super) fn fences(records: &Records, inc: u64, attempt: u64) -> Vec<(&SlotRecord, &Fence)> {
    let slots = records.slots.iter().map(|(_, slot)| slot);
    slots
        .filter_map(|slot| Some((slot, slot.fence.as_ref()?)))
        .filter(|(_, fence)| fence.inc == inc && fence.attempt == attempt)
        .collect()
}

/// Whether a fenced log has an entry: as it stands, or, where the disk was lost since, as it was
/// read for the fence.
fn held_by(
    fence: &Fence,
    machines: &[&Machine],
    place: u8,
    entry: &(u8, super::etcd::Entry),
) -> bool {
    let fs = format!("fs-{}", fence.instance);
    let volumes = machines.iter().filter_map(|machine| machine.volume.as_ref());
    let volume = volumes.into_iter().find(|volume| volume.fs == fs);
    let members = volume.iter().flat_map(|volume| volume.member.iter().chain(&volume.aside));
    let mut kept = members.filter(|member| member.inc == fence.inc).peekable();
    match (kept.peek().is_some(), &fence.log) {
        (true, _) => kept.any(|member| member.holds(place, entry)),
        (false, Some(log)) => {
            let last = (log.last_term, log.last_index);
            last >= (u64::from(entry.0) + 1, u64::from(place) + 2)
        }
        (false, None) => false,
    }
}

// ---------------------------------------------------------------- turns

/// What a turn breaks: promises made against one's own eyes, or taken back on no word.
pub(super) fn turn(
    picture: &Picture<'_>,
    before: &Machine,
    turning: &Turning<'_>,
) -> Option<&'static str> {
    let ctrl = picture.records.ctrl.as_ref()?;
    let sees_quorum = before
        .running()
        .is_some_and(|member| picture.around.quorum && Some(member.cluster) == ctrl.cluster_id);
    let seat = &picture.records.slots[before.seat].1;
    let adopts = |attempt| seat.fence.as_ref().is_some_and(|fence| fence.attempt >= attempt);
    let retires = turning.began.iter().any(|effect| matches!(effect, Effect::Retire(_)));
    let consents = sees_quorum && is_guarded(ctrl) && !retires;
    let serves = before.run.as_ref().is_some_and(|run| !run.quarantined);
    for effect in &turning.began {
        if let Effect::Mark(marker) = effect {
            let known = before.marker().is_some_and(|kept| kept >= *marker);
            if consents && !known && !adopts(marker.attempt) {
                return Some(HEALTHY);
            }
        }
        let stops = *effect == Effect::Stop && ctrl.phase == Phase::Fencing && serves;
        if stops && consents && !before.is_bound(ctrl.inc) && !adopts(ctrl.attempt) {
            return Some(HEALTHY);
        }
        if let Effect::Unmark(marker) = effect {
            let aborted = ctrl.aborted.is_some_and(|aborted| {
                (aborted.inc, ctrl.inc) == (marker.inc, marker.inc)
                    && aborted.attempt >= marker.attempt
            });
            if !aborted {
                return Some(LAPSED_PROMISE);
            }
        }
    }
    if turning.lapsed {
        return Some(LAPSED_PROMISE);
    }
    let kept = |machine: &Machine| {
        let volume = machine.volume.as_ref();
        volume.map_or(0, |volume| volume.aside.len() + usize::from(volume.member.is_some()))
    };
    (kept(&turning.machine) < kept(before)).then_some(PRESERVED)
}

pub(super) fn is_guarded(ctrl: &Ctrl) -> bool {
    ctrl.opened && ctrl.request.as_ref().is_none_or(|request| !request.rollback)
}
