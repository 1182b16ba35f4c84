//! **witness** — what must hold sometimes, so that what always holds is not empty: a model that
//! never restores anything is safe, and says nothing.
//!
//! Comes in: states and writes. Goes out: a bit for each thing that was seen.

use super::{
    invariants::running,
    machine::Machine,
    world::{State, World},
};
use protocol::{
    cluster::quorum,
    registry::{Ctrl, Evidence, Operation, Phase, Stage},
};

/// What must hold sometimes, so that what always holds is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Witness {
    /// A restore was opened to clients.
    Opened,
    /// The cluster is whole and at rest after a restore.
    Healed,
    /// An attempt was called off.
    Aborted,
    /// After an abort, a quorum of the same incarnation runs again.
    RunsAgain,
    /// A second attempt committed what the first did not.
    SecondAttempt,
    /// A third incarnation was committed.
    Third,
    /// A fence by consent, of lost data, of a member that never ran, by an operator's word.
    Consented,
    /// See there.
    LostData,
    /// See there.
    NeverRan,
    /// See there.
    Attested,
    /// A survivor's salvage was recorded, and its attempt committed.
    Salvaged,
    /// Two leaders in a row.
    TwoLeaders,
    /// A write was refused by the table.
    Refused,
    /// A write was applied after its sender had given it up.
    LateWrite,
    /// A member of a committed-over incarnation counted a write as committed.
    LateAcknowledgement,
    /// A write was acknowledged before the decision.
    Acknowledged,
    /// A rollback was committed.
    RolledBack,
    /// A pause was on record.
    Paused,
    /// A member runs that its own record let start while a promise binds another.
    RunsBesideFence,
    /// A machine other than the first took a seat.
    Reseated,
    /// A third incarnation was opened to clients.
    OpenedAgain,
    /// The cluster is whole and at rest after its second restore.
    HealedAgain,
    /// A member was replaced: another votes in its place.
    Replaced,
    /// A replacement began again, with another learner.
    BegunAgain,
    /// An incarnation ended in the middle of a replacement.
    EndedAmid,
    /// A replacement was called off.
    CalledOff,
    /// A learner was added that an earlier leader had asked for, beside any operation.
    LateLearner,
    /// A member that had been away heard of a change of voters.
    CaughtUp,
}

impl Witness {
    /// All of them, in the order of their bits.
    pub const ALL: [Self; 28] = [
        Self::Opened,
        Self::Healed,
        Self::Aborted,
        Self::RunsAgain,
        Self::SecondAttempt,
        Self::Third,
        Self::Consented,
        Self::LostData,
        Self::NeverRan,
        Self::Attested,
        Self::Salvaged,
        Self::TwoLeaders,
        Self::Refused,
        Self::LateWrite,
        Self::LateAcknowledgement,
        Self::Acknowledged,
        Self::RolledBack,
        Self::Paused,
        Self::RunsBesideFence,
        Self::Reseated,
        Self::OpenedAgain,
        Self::HealedAgain,
        Self::Replaced,
        Self::BegunAgain,
        Self::EndedAmid,
        Self::CalledOff,
        Self::LateLearner,
        Self::CaughtUp,
    ];

    /// Its bit.
    pub const fn bit(self) -> u64 {
        1 << self as u64
    }
}

pub(super) fn bit_if(witness: Witness, holds: bool) -> u64 {
    if holds { witness.bit() } else { 0 }
}

impl World {
    /// What a state shows.
    pub(super) fn shown(&self, state: &State) -> u64 {
        let ctrl = self.ctrl(state);
        let records = self.records(state);
        let machines: Vec<&Machine> =
            self.present(state).into_iter().map(|at| self.machine(state, at)).collect();
        let runs = running(&machines).filter(|(_, member)| member.inc == ctrl.inc).count();
        let fenced = |kind| {
            let fences = records.slots.iter().filter_map(|(_, slot)| slot.fence.as_ref());
            fences.into_iter().any(|fence| fence.kind == kind)
        };
        let whole = runs >= quorum(self.sub.members);
        let bound = machines.iter().any(|machine| machine.is_bound(ctrl.inc));
        bit_if(Witness::Opened, ctrl.inc > 1 && ctrl.opened)
            | bit_if(Witness::Healed, ctrl.inc > 1 && ctrl.phase == Phase::Idle)
            | bit_if(Witness::Aborted, ctrl.aborted.is_some())
            | bit_if(Witness::RunsAgain, ctrl.aborted.is_some() && ctrl.inc == 1 && whole && !bound)
            | bit_if(Witness::Third, ctrl.inc > 2)
            | bit_if(Witness::OpenedAgain, ctrl.inc > 2 && ctrl.opened)
            | bit_if(Witness::HealedAgain, ctrl.inc > 2 && ctrl.phase == Phase::Idle)
            | bit_if(Witness::Consented, fenced(Evidence::Consent))
            | bit_if(Witness::LostData, fenced(Evidence::DataLost))
            | bit_if(Witness::NeverRan, fenced(Evidence::NeverRan))
            | bit_if(Witness::Attested, fenced(Evidence::Attested))
            | bit_if(Witness::Acknowledged, !self.acked.get(state.acked).is_empty())
            | bit_if(Witness::Paused, ctrl.paused.is_some())
            | bit_if(Witness::RunsBesideFence, bound && runs > 0 && ctrl.phase == Phase::Fencing)
            | bit_if(Witness::Reseated, records.slots.iter().any(|(_, slot)| slot.gen_ > 1))
    }

    /// What an applied write of the decision head shows.
    pub(super) fn shown_by_write(&self, before: &State, old: &Ctrl, new: &Ctrl) -> u64 {
        let commits = new.inc > old.inc;
        let again = old.aborted.is_some_and(|aborted| aborted.inc == old.inc);
        let salvaged = self.records(before).slots.iter().any(|(_, slot)| {
            slot.salvage.as_ref().is_some_and(|salvage| salvage.attempt == old.attempt)
        });
        let leads = |ctrl: &Ctrl| ctrl.lease.as_ref().map(|lease| lease.nonce.clone());
        let changes_hands = leads(old).is_some() && leads(old) != leads(new);
        let back = |(old, new): (&Operation, &Operation)| old.stage > new.stage;
        let begun_again = old.op.as_ref().zip(new.op.as_ref()).is_some_and(back);
        let ended = old.op.as_ref().filter(|_| !commits && new.op.is_none()).map(|op| op.stage);
        bit_if(Witness::SecondAttempt, commits && again)
            | bit_if(Witness::Replaced, ended == Some(Stage::Promoting))
            | bit_if(Witness::CalledOff, ended == Some(Stage::CalledOff))
            | bit_if(Witness::BegunAgain, begun_again)
            | bit_if(Witness::EndedAmid, commits && old.op.is_some())
            | bit_if(Witness::Salvaged, commits && salvaged)
            | bit_if(Witness::RolledBack, commits && old.request.is_some())
            | bit_if(Witness::TwoLeaders, changes_hands)
    }
}
