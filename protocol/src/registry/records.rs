//! **records** — everything one consistent read of the table gave, and what is asked of it as a whole.
//!
//! Comes from the lock table. Goes to whoever weighs the seats against the decision head.

use super::{Ctrl, Salvage, SlotRecord};
use crate::{
    cluster::Slot,
    mutant::{self, Mutant},
    time::Span,
};
use alloc::{string::String, vec::Vec};

/// Whose turn it is to save snapshots for all: a record of its own, so that saving never contends with
/// the decision (protocol.md 1.7).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Saver {
    /// The seat that saves.
    pub member: Slot,
    /// Random at each turn, so that a watcher sees life without a clock.
    pub rvn: String,
    /// The chain of snapshots it continues: another one after each change of hands, because two
    /// members' files have hardly a block in common (etcd.md 8).
    pub chain: String,
    /// How often its holder claims it: one whose saves take long does so less often.
    pub period: Span,
    /// Seats that had the turn before it and are not known to have saved in it, since somebody last did; each
    /// once, the first first. They sit out until somebody saves. The holder's own seat: an earlier process
    /// of it came to no second turn.
    pub passed: Vec<Slot>,
}

/// Everything one consistent read of the table gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Records {
    /// The decision head, if the table has one for this uid.
    pub ctrl: Option<Ctrl>,
    /// The seats' records, by slot.
    pub slots: Vec<(Slot, SlotRecord)>,
    /// Whose turn it is to save, once somebody had one.
    pub save: Option<Saver>,
    /// That record is there and can't be understood: nobody saves by the clock. It holds up nothing else.
    pub save_unreadable: bool,
}

impl Records {
    /// The record of `slot`; an empty one if it was never written.
    pub fn slot(&self, slot: Slot) -> &SlotRecord {
        let written = self.slots.iter().find(|(at, _)| *at == slot);
        written.map_or(&UNWRITTEN, |(_, record)| record)
    }

    /// What was saved of each seat's data, by slot.
    pub fn salvages(&self) -> impl Iterator<Item = (Slot, &Salvage)> {
        self.slots.iter().filter_map(|(slot, record)| Some((*slot, record.salvage.as_ref()?)))
    }

    /// Whether an operator attested that the machine that ran `slot` in `inc` is gone. Bound to
    /// the machine: one that took the seat since is not meant (protocol.md 1.7, fence O).
    pub fn is_attested(&self, slot: Slot, inc: u64) -> bool {
        let record = self.slot(slot);
        let Some(attest) = record.attest.as_ref().filter(|attest| attest.inc == inc) else {
            return false;
        };
        match (&record.ran, &record.owner) {
            _ if mutant::is(Mutant::AttestUnbound) => true,
            (Some(ran), _) if ran.inc == inc => ran.instance == attest.instance,
            (Some(ran), Some(owner)) => {
                ran.instance == attest.instance && owner.instance == attest.instance
            }
            (None, _) | (Some(_), None) => false,
        }
    }
}

/// How a seat reads that nobody wrote yet.
static UNWRITTEN: SlotRecord = SlotRecord {
    gen_: 0,
    owner: None,
    ran: None,
    attest: None,
    fence: None,
    salvage: None,
    restore: None,
    op_id: String::new(),
};
