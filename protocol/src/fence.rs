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
    closure::{Closure, ids_of},
    cluster::{MemberId, Slot, quorum},
    mutant::{self, Mutant},
    observation::LogSummary,
    registry::{Ctrl, Evidence, Fence, Records},
};
use alloc::{collections::BTreeSet, vec::Vec};

/// How an attempt stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Standing {
    /// Seats fenced for this attempt.
    pub fenced: Vec<(Slot, Evidence)>,
    /// Seats of voters with a readable log of this incarnation, not attested away.
    pub intact: Vec<Slot>,
    /// The same, and the seat of a learner: its log too holds what was committed.
    pub survivors: Vec<Slot>,
    /// Seats without a fence.
    pub missing: Vec<Slot>,
    /// Seats that may hold an intact member but don't show one: no fence, or a log that could not
    /// be read.
    pub waited: Vec<Slot>,
    /// The fences block every configuration that may be active.
    pub blocks: bool,
    /// Configurations that are not blocked yet, with the member ids that are not fenced.
    pub open_configs: Vec<Vec<MemberId>>,
    /// The intact members are a quorum of a configuration that one of them goes by: a plain restart
    /// suffices (protocol.md 1.8, S8).
    pub recoverable: bool,
    /// Together with those that are waited for they may be a quorum.
    pub may_recover: bool,
}

/// Counts the fences of the present attempt. A seat counts whether its member is on record, only
/// intended, or just being put there: etcd may count it already (protocol.md 1.9).
pub fn standing(ctrl: &Ctrl, records: &Records) -> Standing {
    let seats = seats_concerned(ctrl);
    let fences: Vec<(Slot, &Fence)> =
        seats.iter().filter_map(|slot| Some((*slot, valid(ctrl, records, *slot)?))).collect();
    let fenced_ids: BTreeSet<MemberId> = fences
        .iter()
        .flat_map(|(slot, fence)| fenced_members(ctrl, records, *slot, fence))
        .collect();
    let unwritten = seats.iter().filter(|slot| {
        mutant::is(Mutant::AttestedUnwritten) && records.is_attested(**slot, ctrl.inc)
    });
    let fenced_ids: BTreeSet<MemberId> =
        unwritten.flat_map(|slot| members_at(ctrl, records, *slot)).chain(fenced_ids).collect();
    let closure = Closure::of(ctrl, logs(&fences).collect());
    let configs = &closure.active;
    let open_configs: Vec<Vec<MemberId>> = configs
        .iter()
        .filter(|config| !is_blocked(config, &fenced_ids))
        .map(|config| config.iter().copied().filter(|id| !fenced_ids.contains(id)).collect())
        .collect();
    let fence_of = |slot: Slot| fences.iter().find(|(at, _)| *at == slot).map(|(_, fence)| *fence);
    let is_survivor = |slot: &Slot| {
        let readable = fence_of(*slot)
            .is_some_and(|fence| fence.kind == Evidence::Consent && fence.log.is_some());
        readable && !records.is_attested(*slot, ctrl.inc)
    };
    let votes = |slot: &Slot| members_at(ctrl, records, *slot).iter().any(|id| closure.names(*id));
    let unread = |slot: &Slot| match fence_of(*slot) {
        None => true,
        Some(fence) => fence.kind == Evidence::Consent && fence.log.is_none(),
    };
    let survivors: Vec<Slot> = seats.iter().copied().filter(is_survivor).collect();
    let intact: Vec<Slot> = survivors.iter().copied().filter(votes).collect();
    let waited: Vec<Slot> = seats.iter().copied().filter(unread).collect();
    let ids = |slots: &[Slot]| -> BTreeSet<MemberId> {
        slots.iter().flat_map(|slot| members_at(ctrl, records, *slot)).collect()
    };
    let (sure, possible) = (ids(&intact), &ids(&intact) | &ids(&waited));
    let may_live = configs_that_may_live(ctrl, configs, &fences, &sure);
    Standing {
        missing: seats.iter().copied().filter(|slot| fence_of(*slot).is_none()).collect(),
        blocks: !ctrl.members.is_empty() && open_configs.is_empty(),
        fenced: fences.iter().map(|(slot, fence)| (*slot, fence.kind)).collect(),
        recoverable: restart_suffices(&closure, &fences, &intact, &sure),
        may_recover: may_live.iter().any(|config| is_quorum(config, &possible)),
        intact,
        survivors,
        waited,
        open_configs,
    }
}

/// Which members the machine on a seat may run: the one it put on record, else those that are
/// planned there.
fn members_at(ctrl: &Ctrl, records: &Records, slot: Slot) -> Vec<MemberId> {
    let ran = records.slot(slot).ran.as_ref().filter(|ran| ran.inc == ctrl.inc);
    let ran = ran.map(|ran| ran.member_id);
    let planned = ctrl.members.iter().chain(ctrl.intent.iter().flatten());
    match ran {
        Some(ran) => alloc::vec![ran],
        None => planned.filter(|member| member.slot == slot).map(|member| member.id).collect(),
    }
}

/// The configurations in which a quorum may come back if those that are waited for return: the
/// recorded one, those that a fenced log shows, and an intended one unless it is shown never to have
/// been committed. Its change needs a quorum of the recorded voters, each with the entry in its log;
/// where the intact logs meet every such quorum, one of them would show it (protocol.md 1.4).
fn configs_that_may_live<'a>(
    ctrl: &Ctrl,
    configs: &'a BTreeSet<Vec<MemberId>>,
    fences: &[(Slot, &Fence)],
    intact: &BTreeSet<MemberId>,
) -> Vec<&'a Vec<MemberId>> {
    let recorded = ids_of(&ctrl.members);
    let told = is_blocked(&recorded, intact);
    let logged = |config: &Vec<MemberId>| logs(fences).any(|log| log.configs.contains(config));
    configs.iter().filter(|config| **config == recorded || !told || logged(config)).collect()
}

/// Whether a plain restart of the intact members brings a quorum back: one of them goes by a
/// configuration of which they are a quorum. A change that is in a log and not known to be
/// committed elects nobody, nor does a configuration that is over.
fn restart_suffices(
    closure: &Closure<'_>,
    fences: &[(Slot, &Fence)],
    intact: &[Slot],
    ids: &BTreeSet<MemberId>,
) -> bool {
    let theirs = fences.iter().filter(|(slot, _)| intact.contains(slot));
    theirs
        .filter_map(|(_, fence)| fence.log.as_ref())
        .any(|log| is_quorum(&log.in_force, ids) && !closure.is_over(log, &log.in_force))
}

fn logs<'a>(fences: &[(Slot, &'a Fence)]) -> impl Iterator<Item = &'a LogSummary> {
    fences.iter().filter_map(|(_, fence)| fence.log.as_ref())
}

fn is_quorum(config: &[MemberId], ids: &BTreeSet<MemberId>) -> bool {
    config.iter().filter(|id| ids.contains(id)).count() >= quorum(config.len())
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
fn valid<'a>(ctrl: &Ctrl, records: &'a Records, slot: Slot) -> Option<&'a Fence> {
    let fence = records.slot(slot).fence.as_ref().filter(|fence| fence.inc == ctrl.inc)?;
    let current = fence.attempt == ctrl.attempt || mutant::is(Mutant::EvidenceOfAnyAttempt);
    current.then_some(fence)
}

/// F2: which member a slot's fence stands for. A seat that never ran this incarnation stands for
/// whoever was meant to sit there.
fn fenced_members(ctrl: &Ctrl, records: &Records, slot: Slot, fence: &Fence) -> Vec<MemberId> {
    let ran = records.slot(slot).ran.as_ref().filter(|ran| ran.inc == ctrl.inc);
    let ran = ran.map(|ran| ran.member_id);
    match fence.kind {
        Evidence::Consent | Evidence::DataLost => ran.into_iter().collect(),
        Evidence::NeverRan if ran.is_some() && !mutant::is(Mutant::StrangerNeverRan) => Vec::new(),
        Evidence::NeverRan | Evidence::Attested => members_at(ctrl, records, slot),
    }
}

/// Lemma 1: no quorum of `config` is left without a fenced member.
fn is_blocked(config: &[MemberId], fenced: &BTreeSet<MemberId>) -> bool {
    let free = config.iter().filter(|id| !fenced.contains(id)).count();
    free < quorum(config.len()) + usize::from(mutant::is(Mutant::BlockingOneLess))
}

/// The survivor whose data a salvage gets most of: the highest commit index, since etcd drops what its
/// own log does not know to be committed ([SRC] bootstrap.go; etcd.md 4.2); by log matching that holds
/// all that any other would give. Of equals, first one that its own log lists as a voter: etcd can't be
/// forced into a new cluster on the data of a member that was removed, or is a learner (`removed all
/// voters`); then raft's own order, and the lower seat.
pub fn best_log<'a>(
    ctrl: &Ctrl,
    records: &'a Records,
    survivors: &[Slot],
) -> Option<(Slot, &'a LogSummary)> {
    let log_of = |slot: &Slot| valid(ctrl, records, *slot)?.log.as_ref();
    let logs = survivors.iter().filter_map(|slot| Some((*slot, log_of(slot)?)));
    logs.max_by_key(|(slot, log)| {
        let voter = members_at(ctrl, records, *slot).iter().any(|id| log.in_force.contains(id));
        let commit = if mutant::is(Mutant::RaftOrder) { 0 } else { log.commit };
        (commit, voter, log.last_term, log.last_index, core::cmp::Reverse(*slot))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::{Instance, Member},
        observation::Ran,
        registry::{Attest, Operation, SlotRecord, Stage},
    };
    use alloc::vec;

    const A: Member = Member { slot: Slot(0), id: MemberId(0xa) };
    const B: Member = Member { slot: Slot(1), id: MemberId(0xb) };
    const C: Member = Member { slot: Slot(2), id: MemberId(0xc) };
    /// Takes the place of the member that was on seat 0.
    const L: Member = Member { slot: Slot(0), id: MemberId(0x1) };

    /// Seat 0 is refilled: L may have been promoted.
    fn promoting() -> Ctrl {
        let op = Operation {
            slot: L.slot,
            removed: None,
            added: Some(L.id),
            stage: Stage::Promoting,
            elsewhere: false,
            because: "its data is lost".into(),
        };
        let seated = Ctrl::seated("uid".into(), Vec::new());
        let (members, intent) = (vec![B, C], Some(vec![B, C, L]));
        Ctrl { inc: 1, attempt: 1, opened: true, members, intent, op: Some(op), ..seated }
    }

    /// A log that goes by the first of these configurations, and shows the others.
    fn log(configs: &[&[Member]]) -> LogSummary {
        let configs: Vec<_> = configs.iter().map(|config| ids_of(config)).collect();
        let in_force = configs[0].clone();
        let (places, settled) = (vec![9; configs.len()], true);
        LogSummary { last_term: 2, last_index: 9, commit: 9, in_force, configs, places, settled }
    }

    fn fenced(member: Member, kind: Evidence, log: Option<LogSummary>) -> (Slot, SlotRecord) {
        let instance = Instance("i".into());
        let ran = Ran {
            inc: 1,
            instance: instance.clone(),
            member_id: member.id,
            plan: "".into(),
            fs: "fs".into(),
        };
        let fence = Fence { inc: 1, attempt: 1, kind, instance, log };
        (member.slot, SlotRecord { ran: Some(ran), fence: Some(fence), ..SlotRecord::default() })
    }

    fn of(slots: Vec<(Slot, SlotRecord)>) -> Standing {
        let ctrl = promoting();
        standing(&ctrl, &Records { ctrl: Some(ctrl.clone()), slots, ..Records::default() })
    }

    #[test]
    fn a_member_that_was_just_promoted_makes_a_quorum_with_another() {
        let (new, old): (&[Member], &[Member]) = (&[B, C, L], &[B, C]);
        let found = of(vec![
            fenced(B, Evidence::Consent, Some(log(&[old, new]))),
            fenced(C, Evidence::DataLost, None),
            fenced(L, Evidence::Consent, Some(log(&[new]))),
        ]);
        assert!(found.blocks && found.recoverable, "{found:?}");
        assert_eq!(found.intact, [L.slot, B.slot]);
    }

    #[test]
    fn a_promotion_that_nobody_knew_to_be_committed_elects_nobody() {
        let (new, old): (&[Member], &[Member]) = (&[B, C, L], &[B, C]);
        let found = of(vec![
            fenced(B, Evidence::Consent, Some(log(&[old, new]))),
            fenced(C, Evidence::DataLost, None),
            fenced(L, Evidence::Consent, Some(log(&[old]))),
        ]);
        assert!(found.blocks && !found.recoverable, "{found:?}");
    }

    #[test]
    fn a_promotion_that_no_intact_log_shows_never_happened() {
        let old: &[Member] = &[B, C];
        let found = of(vec![
            fenced(B, Evidence::Consent, Some(log(&[old]))),
            fenced(C, Evidence::DataLost, None),
            fenced(L, Evidence::Consent, Some(log(&[old]))),
        ]);
        assert!(found.blocks && !found.recoverable && !found.may_recover, "{found:?}");
        assert_eq!(
            found.intact,
            [L.slot, B.slot],
            "a learner's log is worth salvaging all the same"
        );
    }

    #[test]
    fn the_survivor_that_knows_most_to_be_committed_is_salvaged() {
        let (old, new): (&[Member], &[Member]) = (&[A, B, C], &[B, C]);
        let best = |a: LogSummary, b: LogSummary| {
            let slots =
                vec![fenced(A, Evidence::Consent, Some(a)), fenced(B, Evidence::Consent, Some(b))];
            let ctrl = Ctrl { members: vec![A, B, C], intent: None, op: None, ..promoting() };
            let records = Records { ctrl: Some(ctrl.clone()), slots, ..Records::default() };
            best_log(&ctrl, &records, &[A.slot, B.slot]).map(|(slot, _)| slot)
        };
        let known = |commit, config| LogSummary { last_index: 12, commit, ..log(&[config]) };
        assert_eq!(best(known(9, old), known(9, old)), Some(A.slot), "of equals the lower seat");
        assert_eq!(
            best(known(9, old), known(10, old)),
            Some(B.slot),
            "entry 10 is known to B only"
        );
        let longer = LogSummary { last_index: 14, ..known(9, old) };
        assert_eq!(best(longer, known(10, old)), Some(B.slot), "etcd would drop A's tail");
        assert_eq!(best(known(9, new), known(9, old)), Some(B.slot), "A's own log leaves A out");
        assert_eq!(best(known(10, new), known(9, old)), Some(A.slot), "and yet knows more");
    }

    #[test]
    fn a_promoted_member_that_is_silent_is_waited_for_or_attested() {
        let new: &[Member] = &[B, C, L];
        let (slot, record) = fenced(L, Evidence::Consent, None);
        let silent = SlotRecord { fence: None, ..record };
        let seen = |silent: SlotRecord| {
            of(vec![
                fenced(B, Evidence::Consent, Some(log(&[new]))),
                fenced(C, Evidence::DataLost, None),
                (slot, silent),
            ])
        };
        let found = seen(silent.clone());
        assert_eq!((found.missing.as_slice(), found.waited.as_slice()), (&[slot][..], &[slot][..]));
        assert!(found.may_recover && !found.recoverable, "{found:?}");
        let by = |text: &str| text.into();
        let attest =
            Attest { inc: 1, instance: Instance("i".into()), by: by("op"), because: by("") };
        let fence = Fence {
            inc: 1,
            attempt: 1,
            kind: Evidence::Attested,
            instance: Instance("i".into()),
            log: None,
        };
        let found = seen(SlotRecord { attest: Some(attest), fence: Some(fence), ..silent });
        assert!(found.blocks && !found.may_recover, "{found:?}");
    }
}
