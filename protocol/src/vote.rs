//! **vote** — what one agent says of its member, for the others to hear. A hint, never a proof.
//!
//! Comes from [`observation`](crate::observation). Goes to the tally through S3.
//! It carries `(nonce, seq)` and no time: whether it is fresh is judged by whoever reads it
//! (protocol.md 1.1), so a wrong clock or a late PUT can't make an old vote look new.

use crate::{
    cluster::{Instance, Nonce, Slot},
    manifest::Doubt,
};
use alloc::string::String;

/// One agent's word on its own member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Vote {
    /// The seat it speaks for.
    pub slot: Slot,
    /// The machine it speaks from.
    pub instance: Instance,
    /// The process that speaks.
    pub nonce: Nonce,
    /// Rises with each vote of that process.
    pub seq: u64,
    /// The incarnation it speaks of.
    pub inc: u64,
    /// How its member is.
    pub health: Health,
    /// Whether only the local socket leads to its member.
    pub quarantined: bool,
    /// Highest revision that was seen of this seat's member in this incarnation, by this process or
    /// as an earlier one said; zero if none.
    pub revision: u64,
    /// Key of the newest manifest it wrote or verified, if any.
    pub manifest: Option<String>,
    /// Why no restore chooses that one by itself, if so: for the others to tell, none decides by it.
    pub doubt: Option<Doubt>,
}

/// How a member is, in the words of its own agent (protocol.md 1.4, the table of evidence).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// A linearizable read came back through it: a quorum lives.
    Healthy,
    /// It runs, and no quorum answers.
    NoQuorum,
    /// It is stopped, its data is there.
    Stopped,
    /// An operator stopped it, its data is there.
    StoppedByOperator,
    /// Its data is gone, on the file system it ran on.
    DataLost,
    /// This seat never ran this incarnation.
    NeverRan,
    /// Its volume is not mounted.
    Unmounted,
    /// Could not tell.
    Unknown,
}

impl Health {
    /// Whether this vote counts towards "a quorum is lost" (protocol.md 1.1, Suspect). A member that its
    /// operator stopped has not failed, and comes back when its operator says so.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::NoQuorum | Self::Stopped | Self::DataLost | Self::NeverRan)
    }
}
