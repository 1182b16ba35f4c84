//! **registry** — the records that decide: `ctrl` and `slot#i` (protocol.md 1.7).
//!
//! Comes from the lock table, as [`Records`]. Goes to the coordinator, which answers with [`Change`]s:
//! the condition and the new record side by side. This file is the glossary.

pub mod adoption;
mod conditional;
mod records;

pub use adoption::Adoption;
pub use conditional::{Change, Guard, RecordChange, Row, Scalar, Written};
pub use records::{Records, Saver};

use crate::{
    cluster::{ClusterId, Digest, Instance, Member, MemberId, Nonce, Seat, Slot},
    observation::{Check, InAttempt, LogSummary, Ran},
};
use alloc::{string::String, vec::Vec};

/// Where the cluster stands (protocol.md 1.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// The seats are being taken for the first time.
    Genesis,
    /// All is as it should be, or a minority is being replaced.
    Idle,
    /// An attempt collects fences.
    Fencing,
    /// The attempt was called off; members start again.
    Aborted,
    /// The old incarnation is over; its plan is pinned.
    Committed,
    /// The plan's members download and restore.
    Restoring,
    /// They start, in quarantine.
    Starting,
    /// Their content is compared.
    Verifying,
    /// Clients are let in.
    Open,
    /// Missing seats come back.
    Healing,
}

/// The decision head: one item, changed by one conditional write at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ctrl {
    /// Rises by one with each change of the decision (renewals excepted).
    pub version: u64,
    /// The cluster.
    pub uid: String,
    /// The incarnation that may run.
    pub inc: u64,
    /// Its etcd token.
    pub token: String,
    /// Its etcd cluster id.
    pub cluster_id: Option<ClusterId>,
    /// The N seats.
    pub seats: Vec<Seat>,
    /// The voters of `inc`.
    pub members: Vec<Member>,
    /// Voters that a membership change under way leads to (protocol.md 1.9).
    pub intent: Option<Vec<Member>>,
    /// Who leads.
    pub lease: Option<Lease>,
    /// Where we stand.
    pub phase: Phase,
    /// Where an abort leads back to.
    pub resume: Option<Phase>,
    /// Clients were let into `inc`.
    pub opened: bool,
    /// Number of the latest attempt, never reset.
    pub attempt: u64,
    /// The latest attempt that was called off.
    pub aborted: Option<InAttempt>,
    /// The plan of `inc`.
    pub plan: Option<Pin>,
    /// What `inc` was restored from.
    pub source: Option<Source>,
    /// What the operator asks for.
    pub request: Option<Request>,
    /// The one membership operation under way.
    pub op: Option<Operation>,
    /// How etcd's voters were last seen to differ from `members`, if they did.
    pub drift: Option<String>,
    /// Why no act may begin, if the operator paused us.
    pub paused: Option<String>,
    /// Attempts aborted in a row; reset when one commits or the cluster is whole.
    pub aborts: u32,
    /// What a parked attempt waits for.
    pub parked: Option<Parked>,
    /// The operator's consents: to each of what the attempt was parked for.
    pub approved: Vec<Approval>,
    /// Operators' words for snapshots: foreign ones, and doubtful ones of our own.
    pub adopted: Vec<Adoption>,
    /// Tag of the write that made this version.
    pub op_id: String,
}

/// The right to lead (protocol.md 1.6).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The seat that leads.
    pub holder: Slot,
    /// The process that leads.
    pub nonce: Nonce,
    /// The fencing token: one higher at each acquisition.
    pub epoch: u64,
    /// Random at each renewal, so that a watcher sees life without a clock.
    pub rvn: String,
    /// Given up by its holder.
    pub released: bool,
}

/// A key with the digest of what must be found there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pin {
    /// Key in the bucket, below the cluster's prefix.
    pub key: String,
    /// Digest of the object.
    pub sha256: Digest,
}

/// The snapshot an incarnation was restored from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The object; `None`: an empty cluster (genesis).
    pub object: Option<Pin>,
    /// Its revision.
    pub revision: u64,
    /// What was added to it.
    pub bump: u64,
    /// Live keys at that revision, if the manifest has them.
    pub live_keys: Option<u64>,
    /// Bytes.
    pub size: u64,
}

/// The operator's wish for a restore.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// Restore although a quorum lives.
    pub rollback: bool,
    /// Manifest key to restore, or the latest.
    pub source: Option<String>,
    /// Seats that must consent.
    pub scope: Vec<Slot>,
    /// Who asks.
    pub by: String,
    /// Why.
    pub because: String,
    /// The attempt that carries it.
    pub attempt: Option<u64>,
}

/// A change of membership under way (protocol.md 1.9).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    /// The seat being refilled.
    pub slot: Slot,
    /// The member that leaves, if the seat had one.
    pub removed: Option<MemberId>,
    /// The member that comes, once etcd has named it.
    pub added: Option<MemberId>,
    /// How far it is.
    pub stage: Stage,
    /// An operator asked for it although the node's volume was away: the new member runs on what is
    /// mounted now.
    pub elsewhere: bool,
    /// Who or what asked for it.
    pub because: String,
}

/// Stages of a membership operation; they only roll forward. It ends after the last of `Promoting`, or
/// of `CalledOff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// `intent` = the others; etcd has not been asked yet.
    Intent,
    /// The old member is out of etcd's list and of ours.
    Removed,
    /// etcd lists the new one as a learner.
    Added,
    /// `intent` = others and the new one; it may be promoted.
    Promoting,
    /// The new one is taken out of etcd's list again, and the seat stays without a voter.
    CalledOff,
}

impl Stage {
    /// Whether the new member's machine may start it.
    pub const fn may_start(self) -> bool {
        match self {
            Self::Added | Self::Promoting => true,
            Self::Intent | Self::Removed | Self::CalledOff => false,
        }
    }
}

/// What an attempt that can't go on by itself waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Parked {
    /// The operator's `approve` or `abort`.
    Approval(Why),
    /// More live agents.
    MinMembers,
}

/// Why the operator is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// No usable snapshot and no readable survivor.
    NoSource,
    /// More would be lost than the policy allows.
    Loss,
    /// A survivor knows more than any snapshot, and its data can't be saved.
    Salvage,
    /// The policy is to ask first.
    Ask,
    /// A newer snapshot is there, and it is doubtful.
    Doubt,
}

/// An operator's consent: to one reason of one attempt, about one survivor, and to no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Approval {
    /// The attempt.
    pub attempt: u64,
    /// What it was parked for.
    pub parked: Parked,
    /// The survivor whose data is done without, where that was asked.
    pub about: Option<Slot>,
}

/// One seat's record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SlotRecord {
    /// Rises with each change of owner.
    pub gen_: u64,
    /// The agent that may write as the seat.
    pub owner: Option<Owner>,
    /// Who ran its member.
    pub ran: Option<Ran>,
    /// The operator's word that a machine is gone.
    pub attest: Option<Attest>,
    /// The promise not to run.
    pub fence: Option<Fence>,
    /// A snapshot saved from the fenced member's data.
    pub salvage: Option<Salvage>,
    /// How far its part of the plan is.
    pub restore: Option<Restored>,
    /// Tag of the latest write.
    pub op_id: String,
}

/// Who sits on a seat.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The machine.
    pub instance: Instance,
    /// The process.
    pub nonce: Nonce,
    /// Random at each claim.
    pub rvn: String,
}

/// "That machine never runs that member again" (protocol.md A7).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attest {
    /// The incarnation it is said of.
    pub inc: u64,
    /// The machine.
    pub instance: Instance,
    /// Who says so.
    pub by: String,
    /// Why.
    pub because: String,
}

/// A fence: why this member counts as unable to run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The incarnation fenced.
    pub inc: u64,
    /// For which attempt.
    pub attempt: u64,
    /// On what evidence.
    pub kind: Evidence,
    /// Who wrote or is meant by it.
    pub instance: Instance,
    /// The log as it stood after the stop; present with `Consent` on readable data.
    pub log: Option<LogSummary>,
}

/// Why a slot counts as fenced (protocol.md 0.3). The cloud's G and X follow with "Real hosts".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Evidence {
    /// C: stopped and marked by the agent of the machine that ran it.
    Consent,
    /// D: the same, and its data is gone.
    DataLost,
    /// N: the seat's owner says it never ran this incarnation.
    NeverRan,
    /// O: the operator's word.
    Attested,
}

/// A snapshot made from a fenced member's data for one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Salvage {
    /// The attempt.
    pub attempt: u64,
    /// Key of its manifest; `None`: etcd refuses a copy of the data, nothing can be had of it.
    pub manifest: Option<String>,
}

/// A seat's report on its part of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Restored {
    /// The plan.
    pub plan: Digest,
    /// The attempt the report was made in.
    pub attempt: u64,
    /// What the started member shows; `None`: restored, not yet started.
    pub started: Option<Started>,
    /// The restore can't be done here (space, unreadable object).
    pub failed: bool,
}

/// What a restored member shows once it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Started {
    /// Its cluster id.
    pub cluster_id: ClusterId,
    /// The leader it follows.
    pub leader: Option<MemberId>,
    /// Its revision.
    pub revision: u64,
    /// Its content at R = source.revision + bump.
    pub check: Option<Check>,
}

impl Ctrl {
    /// The record a cluster is founded with.
    pub const fn seated(uid: String, seats: Vec<Seat>) -> Self {
        Self {
            version: 1,
            uid,
            inc: 0,
            token: String::new(),
            cluster_id: None,
            seats,
            members: Vec::new(),
            intent: None,
            lease: None,
            phase: Phase::Genesis,
            resume: None,
            opened: false,
            attempt: 0,
            aborted: None,
            plan: None,
            source: None,
            request: None,
            op: None,
            drift: None,
            paused: None,
            aborts: 0,
            parked: None,
            approved: Vec::new(),
            adopted: Vec::new(),
            op_id: String::new(),
        }
    }

    /// The seat numbered `slot`.
    pub fn seat(&self, slot: Slot) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.slot == slot)
    }

    /// The seat of the agent called `name`.
    pub fn seat_named(&self, name: &str) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.name == name)
    }

    /// Whether `slot` holds a voter of this incarnation.
    pub fn is_member(&self, slot: Slot) -> bool {
        self.members.iter().any(|member| member.slot == slot)
    }

    /// Whether the attempt must respect a living or recoverable quorum: the incarnation serves
    /// clients and no operator asked to roll it back (protocol.md 1.8, "Guarded").
    pub fn is_guarded(&self) -> bool {
        self.opened && !self.request.as_ref().is_some_and(|request| request.rollback)
    }
}
