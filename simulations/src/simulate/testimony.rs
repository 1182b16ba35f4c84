//! **testimony** — who says what of whom, from the evidence's own side (protocol.md S5, S6, L2): an attestation
//! binds the machine that it names, a log is the one of the member it stands for, and who is fenced does
//! not start.
//!
//! Comes in: each applied write, each reading of a log, each start of etcd. Goes out: what broke.

use super::{Fault, Sim};
use protocol::{
    cluster::quorum,
    registry::{Change, Evidence, Fence, Phase, RecordChange, Records, SlotRecord},
};

impl Sim {
    /// S5 of a fence that was just written.
    pub(super) fn check_testimony(&mut self, change: &Change, before: &Records, after: &Records) {
        let RecordChange::Slot { slot, .. } = &*change.record else {
            return self.check_waited(before, after);
        };
        let (old, new) = (before.slot(*slot), after.slot(*slot));
        let Some(fence) = new.fence.as_ref().filter(|_| new.fence != old.fence) else { return };
        match fence.kind {
            Evidence::Attested => self.check_attested(new, after),
            Evidence::Consent | Evidence::DataLost => self.check_log(fence, new),
            Evidence::NeverRan => {}
        }
    }

    /// S5: an attestation fences a machine that is gone, not whoever may run the seat's member now.
    fn check_attested(&mut self, record: &SlotRecord, records: &Records) {
        let inc = records.ctrl.as_ref().map_or(0, |ctrl| ctrl.inc);
        let ran = record.ran.as_ref().filter(|ran| ran.inc == inc).map(|ran| &ran.instance);
        let sits = record.owner.as_ref().map(|owner| &owner.instance);
        let meant = self.machines.iter().find(|m| Some(&m.instance) == ran.or(sits));
        if let Some(machine) = meant.filter(|machine| !machine.terminated) {
            let name = machine.instance.clone();
            self.broke(format!("S5: {name} lives and is fenced by word about another machine"));
        }
    }

    /// S5: the log that a fence shows was read from the member that it stands for.
    fn check_log(&mut self, fence: &Fence, record: &SlotRecord) {
        let machine = self.machines.iter().position(|m| m.instance == fence.instance);
        let read = machine.and_then(|at| self.ghost.logs_read.get(&at).copied());
        let ran = record.ran.as_ref().filter(|ran| ran.inc == fence.inc).map(|ran| ran.member_id);
        let (Some(read), Some(ran), Some(_)) = (read, ran, &fence.log) else { return };
        if read != ran {
            let name = &fence.instance;
            self.broke(format!("S5: {name} is fenced for member {ran} with the log of {read}"));
        }
    }

    /// L2: who is silent, or shows no log, and may make this a plain restart together with those that
    /// are intact is waited for all of T_permanent. A clock that jumps may cut that short.
    fn check_waited(&mut self, before: &Records, after: &Records) {
        let (Some(old), Some(new)) = (&before.ctrl, &after.ctrl) else { return };
        let mut faults = self.options.faults.iter().map(|planned| planned.fault);
        let jumps = faults.any(|f| matches!(f, Fault::ClockJumps | Fault::ClockDrifts));
        let lasted = self.now.saturating_sub(self.ghost.opened_at);
        let long = lasted >= self.options.pace.timers().permanent.0 || jumps;
        if new.inc == old.inc || old.inc == 0 || !old.is_guarded() || long {
            return;
        }
        let of_it = |f: &&Fence| f.inc == old.inc && f.attempt == old.attempt;
        let (mut intact, mut silent) = (0, 0);
        for member in &old.members {
            let record = after.slot(member.slot);
            match record.fence.as_ref().filter(of_it) {
                None => silent += 1,
                Some(fence) if fence.kind != Evidence::Consent => {}
                Some(fence) if fence.log.is_none() => silent += 1,
                Some(_) if record.attest.is_some() => {}
                Some(_) => intact += 1,
            }
        }
        if silent > 0 && intact + silent >= quorum(old.members.len()) {
            let text = format!("{silent} silent beside {intact} intact of {}", old.members.len());
            self.broke(format!("L2: after {lasted} ms nobody waits any more for {text}"));
        }
    }

    /// S6: whose fence stands, and may be counted any moment, does not start what it fenced.
    pub(super) fn check_bound(&mut self, machine: usize) {
        let here = &self.machines[machine];
        let Some(ran) = here.root.ran.as_ref() else { return };
        let records = self.records();
        let Some(ctrl) = records.ctrl.as_ref().filter(|ctrl| ctrl.phase == Phase::Fencing) else {
            return;
        };
        let mut fences = records.slots.iter().filter_map(|(_, record)| record.fence.as_ref());
        let bound = fences.any(|fence| {
            let current = fence.inc == ctrl.inc && fence.attempt == ctrl.attempt;
            current && fence.instance == here.instance && ran.inc == fence.inc
        });
        if bound {
            let name = here.instance.clone();
            self.broke(format!(
                "S6: {name} starts although it is fenced for attempt {}",
                ctrl.attempt
            ));
        }
    }
}
