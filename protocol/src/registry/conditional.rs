//! **conditional** — one conditional write: the record as read and as it shall be, and what must hold of
//! the stored rows for it to be applied. Both stand side by side, so that each can be read without the
//! other half of the program.
//!
//! Comes from [`change`](crate::change), which names them all. Goes to the wire, in DynamoDB's words,
//! and to the lock table, which alone judges it.

use super::{Ctrl, Saver, SlotRecord};
use crate::cluster::Slot;
use alloc::{boxed::Box, string::String, vec::Vec};

/// A row's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Row {
    /// `ctrl`.
    Ctrl,
    /// `slot#i`.
    Slot(Slot),
    /// `save`.
    Save,
}

/// A conditional write: the new record, and what must hold of the stored one for it to be applied.
/// Only the attributes that differ between `before` and `after` are written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    /// What it does, in the words of protocol.md 1.7.
    pub name: &'static str,
    /// What must hold of the row itself.
    pub guard: Guard,
    /// The record as read and as it shall be.
    pub record: Box<RecordChange>,
    /// What must hold of other rows in the same instant (commit, genesis).
    pub checks: Vec<(Row, Guard)>,
}

/// Which record changes, from what to what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::large_enum_variant, reason = "it is boxed wherever it goes")]
pub enum RecordChange {
    /// The decision head; `before` is `None` at genesis.
    Ctrl {
        /// As read.
        before: Option<Ctrl>,
        /// As it shall be.
        after: Ctrl,
    },
    /// A seat.
    Slot {
        /// Which.
        slot: Slot,
        /// As read.
        before: SlotRecord,
        /// As it shall be.
        after: SlotRecord,
    },
    /// Whose turn it is to save.
    Save {
        /// As read.
        before: Option<Saver>,
        /// As it shall be.
        after: Saver,
    },
}

impl RecordChange {
    /// The row it changes.
    pub const fn row(&self) -> Row {
        match self {
            Self::Ctrl { .. } => Row::Ctrl,
            Self::Slot { slot, .. } => Row::Slot(*slot),
            Self::Save { .. } => Row::Save,
        }
    }
}

/// A condition on a stored row, as DynamoDB's ConditionExpression can say it. Paths name
/// attributes as the wire does, dots lead into maps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Guard {
    /// The attribute is not there.
    Absent(&'static str),
    /// It equals this.
    Is(&'static str, Scalar),
    /// It is a number lower than this.
    Below(&'static str, u64),
    /// It is a number not higher than this.
    AtMost(&'static str, u64),
    /// All of these hold.
    All(Vec<Self>),
    /// One of these holds.
    Any(Vec<Self>),
}

/// A value a guard compares with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
    /// True or false.
    Flag(bool),
}

/// What the table said to a [`Change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Written {
    /// It was applied, now or by an earlier try whose answer was lost.
    Applied,
    /// The condition did not hold.
    Refused,
    /// Nobody knows: read again before anything else.
    Unknown,
}
