//! **event** — everything that can reach the core, a closed list.
//!
//! Comes from the agent's driver. Goes to the coordinator. Each [`Outcome`] answers the effect
//! that occupies its lane; an error says only what is known, never what is guessed.

use crate::{
    cluster::{Digest, MemberId, Slot},
    effect::{Lane, Listed},
    manifest::Manifest,
    observation::{LogSummary, Look},
    plan::Plan,
    registry::{Pin, Records, Request, Written},
    time::Moment,
    vote::Vote,
};
use alloc::{string::String, sync::Arc, vec::Vec};

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// An effect asked for at `asked` came back.
    Done {
        /// Its lane.
        lane: Lane,
        /// When it was begun, on this machine's axis: the age of what it says.
        asked: Moment,
        /// What it brought.
        outcome: Outcome,
    },
    /// The operator speaks through the local socket; the answer bears the same ticket.
    Operator(Ticket, Command),
}

/// Which word an answer is to; the driver numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What an effect brought.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// `Discover`: the uid that `cluster.json` names; `None`: there is none.
    Discovered(Option<String>),
    /// `ReadRegistry`.
    Records(Arc<Records>),
    /// `Write`.
    Written(Written),
    /// `Found`: the uid that `cluster.json` names now.
    Founded {
        /// The winner's uid.
        uid: String,
    },
    /// `Exchange`: the votes that could be read, whether mine was written.
    Votes(Vec<Arc<Vote>>),
    /// `Look`.
    Looked(Look),
    /// Machine effects: it is done and durable.
    Ok,
    /// `ReadLog`: the stopped member's log.
    Log(LogSummary),
    /// `FetchPlan`.
    Plan(Plan),
    /// `PutPlan`.
    PlanWritten(Pin),
    /// `Save`, `SalvageCopy`: the manifest was published under its key.
    Saved(Manifest),
    /// `ReadCatalogue`.
    Catalogue(Vec<Manifest>),
    /// `ListMembers`.
    Members(Vec<Listed>),
    /// `AddLearner`.
    LearnerAdded(MemberId),
    /// It could not be done; nothing is known to have changed.
    Failed(Failure),
}

/// Why an effect failed, by what the core does next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// What may be done about it.
    pub kind: FailureKind,
    /// One sentence for the operator.
    pub text: String,
}

/// Failures by what follows from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureKind {
    /// No answer, or not now: try again later. Proves nothing.
    Unavailable,
    /// The thing itself is bad (digest, format, another cluster's): trying again won't help.
    Bad,
    /// The disk is too small or can't be written.
    NoSpace,
}

/// The operator's words.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Ask for a restore.
    Restore(Request),
    /// "The machine that ran this seat is gone for good."
    Attest {
        /// The seat.
        slot: Slot,
        /// Who says so.
        by: String,
        /// Why.
        because: String,
    },
    /// Consent to the parked attempt.
    Approve {
        /// Its number, so that one approves what one read.
        attempt: u64,
    },
    /// Call the attempt off.
    Abort,
    /// Replace one member now, without waiting.
    Replace {
        /// The seat.
        slot: Slot,
        /// Why.
        because: String,
    },
    /// Save a snapshot now.
    Save,
    /// "This snapshot may be restored": one that is doubtful, or not of this cluster.
    Adopt {
        /// Its digest.
        sha256: Digest,
        /// The incarnation in whose folder it is, or will be.
        inc: u64,
        /// Who answers for it.
        by: String,
        /// How they know.
        because: String,
        /// Seconds since 1970 by the clock of the machine it is said on, for eyes alone.
        said: Option<u64>,
    },
    /// Begin nothing until resumed.
    Pause {
        /// Why.
        because: String,
    },
    /// End the pause.
    Resume,
}
