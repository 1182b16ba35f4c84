//! **writes** — what must hold of each write that the table applies: the transition itself is
//! judged, against the machines as they are at that instant.
//!
//! Comes in: a write, the state before it and after it. Goes out: what it broke.

use super::{
    etcd,
    invariants::{
        EARLY_CLIENT, EVIDENCE, LINEAGE, MONOTONE, ONE_OPERATION, PAUSED, RECOVERABLE, SEAT,
        SINGLE_DECISION, SOURCE, THRESHOLD, TOKEN, fences, is_guarded,
    },
    machine::Machine,
    world::{State, World},
};
use protocol::{
    cluster::{Instance, Member, MemberId, Slot, quorum},
    observation::Ran,
    registry::{
        Change, Ctrl, Evidence, Operation, Phase, RecordChange, Records, Row, SlotRecord, Stage,
    },
    source,
};

/// What an applied write shows and breaks.
pub(super) fn written(
    world: &World,
    before: &State,
    after: &State,
    change: u32,
) -> (u64, Option<&'static str>) {
    let change = world.change(change);
    match &*change.record {
        RecordChange::Ctrl { .. } => {
            let (old, new) = (world.ctrl(before), world.ctrl(after));
            let broken = head(change, old, new).or_else(|| {
                let commits = new.inc > old.inc;
                if commits {
                    world.committed(before, change, new)
                } else {
                    world.opens(after, old, new)
                }
            });
            (world.shown_by_write(before, old, new), broken)
        }
        RecordChange::Slot { slot, before: read, .. } => {
            let seat = usize::from(slot.0);
            let old = &world.records(before).slots[seat].1;
            let new = &world.records(after).slots[seat].1;
            (0, world.seat_written(before, change, read, old, new))
        }
        RecordChange::Save { .. } => (0, None), // decides nothing
    }
}

/// The decision head, one version to the next.
fn head(change: &Change, old: &Ctrl, new: &Ctrl) -> Option<&'static str> {
    let epoch = |ctrl: &Ctrl| ctrl.lease.as_ref().map_or(0, |lease| lease.epoch);
    let RecordChange::Ctrl { before: read, .. } = &*change.record else { return None };
    let of_a_leader = !matches!(change.name, "acquire" | "operator" | "genesis");
    if epoch(new) < epoch(old)
        || (of_a_leader && read.as_ref().is_some_and(|read| epoch(read) != epoch(old)))
    {
        return Some(TOKEN);
    }
    if new.inc < old.inc || new.inc > old.inc + 1 || new.attempt < old.attempt {
        return Some(MONOTONE);
    }
    let decided = |ctrl: &Ctrl| {
        ctrl.aborted.is_some_and(|aborted| (aborted.inc, aborted.attempt) == (old.inc, old.attempt))
    };
    let (commits, aborts) = (new.inc > old.inc, new.aborted != old.aborted);
    if (commits || aborts) && (old.phase != Phase::Fencing || decided(old) || commits == aborts) {
        return Some(SINGLE_DECISION);
    }
    if aborts && !decided(new) {
        return Some(SINGLE_DECISION);
    }
    let begins = commits || new.attempt > old.attempt || (new.op != old.op && new.op.is_some());
    if old.paused.is_some() && begins {
        return Some(PAUSED);
    }
    one_operation(change, old, new)
}

/// S17: an operation begins where there is none, and ends by its promotion, by being called off, or by a
/// commit.
fn one_operation(change: &Change, old: &Ctrl, new: &Ctrl) -> Option<&'static str> {
    let same = |(old, new): (&Operation, &Operation)| old.slot == new.slot;
    let right = match (&old.op, &new.op) {
        (None, None) => change.name != "membership",
        (None, Some(op)) => op.stage == Stage::Intent && new.phase != Phase::Fencing,
        (Some(old), Some(new)) => same((old, new)),
        (Some(op), None) => {
            matches!(op.stage, Stage::Promoting | Stage::CalledOff) || new.inc > old.inc
        }
    };
    (!right).then_some(ONE_OPERATION)
}

impl World {
    /// A commit, held against the machines as they are at that instant.
    fn committed(&self, before: &State, change: &Change, new: &Ctrl) -> Option<&'static str> {
        let (old, records) = (self.ctrl(before), self.records(before));
        let counted = |slot: Slot| change.checks.iter().any(|(row, _)| *row == Row::Slot(slot));
        let slots = records.slots.iter().filter(|(slot, _)| counted(*slot)).cloned().collect();
        let counted = Records { slots, ..Records::default() };
        let fences = fences(&counted, old.inc, old.attempt);
        let fenced = |member: &&Member| {
            let record = counted.slot(member.slot);
            let fence = record.fence.as_ref().filter(|fence| fence.inc == old.inc);
            let its_own = |ran: &Ran| ran.inc < old.inc || ran.member_id == member.id;
            fence.is_some_and(|fence| fence.attempt == old.attempt)
                && record.ran.as_ref().is_none_or(its_own)
        };
        let voters = old.members.len();
        if voters - old.members.iter().filter(fenced).count() >= quorum(voters) {
            return Some(THRESHOLD);
        }
        let named = |instance: &Instance| {
            let all = self.present(before).into_iter().map(|at| self.machine(before, at));
            all.into_iter().find(|machine| machine.instance == *instance)
        };
        let mut intact: Vec<&etcd::Member> = Vec::new();
        for (slot, fence) in &fences {
            let Some(machine) = named(&fence.instance) else { return Some(EVIDENCE) };
            let mine = machine.member().filter(|member| member.inc == old.inc);
            let lives = mine.is_some() && (machine.run.is_some() || machine.is_startable());
            let by_word = fence.kind == Evidence::Attested;
            if lives && !by_word {
                return Some(EVIDENCE);
            }
            let attested = slot
                .attest
                .as_ref()
                .is_some_and(|attest| attest.inc == old.inc && attest.instance == fence.instance);
            let readable = fence.kind == Evidence::Consent && fence.log.is_some();
            intact.extend(mine.filter(|_| readable && !attested));
        }
        let is_intact = |id: &&MemberId| intact.iter().any(|member| member.id == **id);
        let would_live = intact.iter().any(|member| {
            let voters = member.in_force();
            voters.iter().filter(is_intact).count() >= quorum(voters.len())
        });
        if is_guarded(old) && would_live {
            return Some(RECOVERABLE);
        }
        self.source_is_right(before, &counted, old, new)
    }

    fn source_is_right(
        &self,
        before: &State,
        counted: &Records,
        old: &Ctrl,
        new: &Ctrl,
    ) -> Option<&'static str> {
        let source = new.source.as_ref()?;
        let bucket = self.buckets.get(before.bucket);
        let named = old.request.as_ref().and_then(|request| request.source.as_ref());
        let salvaged = counted.slots.iter().filter_map(|(_, slot)| {
            let salvage = slot.salvage.as_ref()?;
            let of_now = salvage.attempt == old.attempt;
            bucket.get(salvage.manifest.as_ref().filter(|_| of_now)?)
        });
        // an incarnation that never served anybody is made again from what it was made from
        let passes = old.opened && named.is_none();
        if passes && salvaged.into_iter().any(|saved| saved.revision > source.revision) {
            return Some(SOURCE);
        }
        let pin = source.object.as_ref()?;
        let again = old.source.as_ref().is_some_and(|old| old.object.as_ref() == Some(pin));
        let of_lineage = bucket
            .values()
            .any(|manifest| manifest.sha256 == pin.sha256 && manifest.inc == source::lineage(old));
        (!again && !of_lineage).then_some(LINEAGE)
    }

    /// Clients are let in: all that run hold the same.
    fn opens(&self, after: &State, old: &Ctrl, new: &Ctrl) -> Option<&'static str> {
        if old.opened || !new.opened {
            return None;
        }
        let members = self.present(after).into_iter().filter_map(|at| {
            let member = self.machine(after, at).running()?;
            (member.inc == new.inc).then_some((member.base, member.revision))
        });
        let contents: std::collections::BTreeSet<_> = members.collect();
        let agreed = new.source.as_ref().map_or(0, |source| source.revision + source.bump);
        let low = contents.iter().any(|(_, revision)| *revision < agreed);
        (contents.len() > 1 || low).then_some(EARLY_CLIENT)
    }

    /// A seat's record, one version to the next.
    fn seat_written(
        &self,
        before: &State,
        change: &Change,
        read: &SlotRecord,
        old: &SlotRecord,
        new: &SlotRecord,
    ) -> Option<&'static str> {
        let ran = |record: &SlotRecord| record.ran.as_ref().map_or(0, |ran| ran.inc);
        if ran(new) < ran(old) {
            return Some(MONOTONE);
        }
        let nonce = |record: &SlotRecord| record.owner.as_ref().map(|owner| owner.nonce.clone());
        let as_owner = matches!(change.name, "report" | "first start" | "adopted");
        let strange = as_owner && (nonce(read) != nonce(old) || read.gen_ != old.gen_);
        let unfenced = change.name == "claim" && old.fence != new.fence;
        if strange || unfenced {
            return Some(SEAT);
        }
        let fence = new.fence.as_ref().filter(|_| old.fence != new.fence)?;
        let ctrl = self.ctrl(before);
        let counts = ctrl.phase == Phase::Fencing
            && (fence.inc, fence.attempt) == (ctrl.inc, ctrl.attempt)
            && fence.kind != Evidence::Attested;
        let all = self.present(before).into_iter().map(|at| self.machine(before, at));
        let mut whose = all.into_iter().filter(|machine| machine.instance == fence.instance);
        let lives = |machine: &Machine| {
            let mine = machine.member().is_some_and(|member| member.inc == fence.inc);
            mine && (machine.run.is_some() || machine.is_startable())
        };
        (counts && whose.any(lives)).then_some(EVIDENCE)
    }
}
