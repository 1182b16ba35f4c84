//! **healing** — OPEN and HEALING: the first snapshot of the new life, then whoever is missing.

use super::{Scene, Step};
use crate::{explanation::Code, manifest::Reason, registry::Phase, vote::Health};

impl Scene<'_> {
    /// Clients are in. A snapshot of the new incarnation comes first: until there is one, a second
    /// loss could only go back to the old source.
    pub(super) fn lead_open(&self) -> Option<Step> {
        let has_snapshot = self.catalogue_since_open().is_some_and(|count| count > 0);
        let mine = self
            .core
            .known
            .saved
            .as_ref()
            .is_some_and(|(_, manifest)| manifest.inc == self.ctrl.inc);
        if has_snapshot || mine {
            return self.go(
                Phase::Healing,
                Code::Healing,
                "the new incarnation has a snapshot of its own",
            );
        }
        if self.i_see_a_quorum() {
            let why = "takes the first snapshot of the new incarnation";
            return Step::act(self.save(Reason::Opened, None), Code::Saving, why);
        }
        match self.catalogue() {
            Ok(_) => Step::wait(Code::Opening, "waits for a quorum to answer on its client URLs"),
            Err(step) => Some(step),
        }
    }

    fn catalogue_since_open(&self) -> Option<usize> {
        self.core
            .known
            .catalogue
            .as_ref()
            .filter(|(inc, _, _)| *inc == self.ctrl.inc)
            .map(|(_, _, found)| found.len())
    }

    /// Whole again once every seat holds a voter that serves clients. Late members of the plan
    /// restore it themselves; the rest come back one by one as learners.
    pub(super) fn lead_healing(&self) -> Option<Step> {
        let serves = |slot| {
            self.vote(slot).is_some_and(|vote| {
                vote.inc == self.ctrl.inc && vote.health == Health::Healthy && !vote.quarantined
            })
        };
        let missing = self
            .ctrl
            .seats
            .iter()
            .find(|seat| !self.ctrl.is_member(seat.slot) || !serves(seat.slot));
        if self.ctrl.op.is_none() && missing.is_none() {
            return self.go(Phase::Idle, Code::AllWell, "every seat holds a healthy voter");
        }
        self.replace_members().or_else(|| {
            let name = missing.map(|seat| seat.name.clone()).unwrap_or_default();
            Step::wait(Code::Healing, alloc::format!("waits for {name} to serve again"))
        })
    }
}
