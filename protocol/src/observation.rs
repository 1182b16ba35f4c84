//! **observation** — what one agent saw of its own machine at one moment.
//!
//! Comes from the agent's probes. Goes to [`vote`](crate::vote) and to the coordinator. Every
//! answer has a value for "could not tell", which is never read as "no" (design.md 1.3).

use crate::cluster::{ClusterId, Instance, MemberId, Nonce, Slot};
use alloc::{string::String, sync::Arc, vec::Vec};

/// Who this agent is. Fixed for the life of the process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The machine.
    pub instance: Instance,
    /// This process.
    pub nonce: Nonce,
    /// `ETCD_NAME`, by which the seat is found.
    pub name: String,
}

/// Everything one look at the machine gave.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Look {
    /// What the service manager says of etcd.
    pub process: Process,
    /// What etcd itself answered.
    pub etcd: Answer,
    /// What the data dir holds.
    pub data: Arc<Data>,
    /// What the root disk and the data volume remember.
    pub memory: Arc<Memory>,
}

/// Whether etcd runs on this machine (protocol.md A3, 1.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Process {
    /// It runs; `quarantined`: only the local socket leads to it.
    Running {
        /// Started with the unix socket as its only client URL.
        quarantined: bool,
    },
    /// Proven stopped: no process, lock free, peer port closed.
    Stopped,
    /// Proven stopped, and by an operator in this boot, who has not started it since.
    StoppedByOperator,
    /// None of these could be shown.
    Unknown,
}

impl Process {
    /// It was proven stopped, by whomever.
    pub const fn is_stopped(self) -> bool {
        matches!(self, Self::Stopped | Self::StoppedByOperator)
    }
}

/// What etcd answered within the probe's deadline.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// `Status` came back.
    Status(Status),
    /// It is there and does not let us ask, for want of a user or of a certificate that both believe in.
    Refused {
        /// In its words, or in those of what stands between.
        why: String,
        /// Whether a quorum was heard before it refused a linearizable read; `None`: can't be told.
        quorum: Option<bool>,
    },
    /// Nothing came back, or an error.
    Silent,
}

impl Answer {
    /// Why nothing is known of a quorum, if etcd does not let us ask. Who lost its certificates, or was
    /// never told of a user, must not take a cluster that serves its clients for one that lost its
    /// quorum; nor one that heard no quorum for one that hides it.
    pub fn hides_a_quorum(&self) -> Option<&str> {
        match self {
            Self::Refused { why, quorum: None | Some(true) } => Some(why),
            Self::Refused { quorum: Some(false), .. } | Self::Status(_) | Self::Silent => None,
        }
    }
}

/// etcd's `Status` and what a linearizable read said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Status {
    /// The cluster it belongs to.
    pub cluster_id: ClusterId,
    /// Its own id.
    pub member_id: MemberId,
    /// The leader it knows, if any.
    pub leader: Option<MemberId>,
    /// Raft term.
    pub term: u64,
    /// Index it has applied.
    pub applied: u64,
    /// Revision of its key space.
    pub revision: u64,
    /// A linearizable read came back: a quorum lives. `false` proves nothing.
    pub linearizable: bool,
    /// Still a learner.
    pub learner: bool,
    /// Alarms it reports.
    pub alarms: Vec<Alarm>,
    /// etcd's version, such as `3.5.30`.
    pub version: String,
    /// HashKV and live keys at the revision asked for, while a restore is being verified.
    pub check: Option<Check>,
}

/// Proof of a restored member's content, at one revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Check {
    /// The revision it was asked at.
    pub revision: u64,
    /// etcd's HashKV there.
    pub hash_kv: u32,
    /// Count-only Range there.
    pub live_keys: u64,
}

/// An etcd alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alarm {
    /// The quota is exceeded.
    NoSpace,
    /// Members differ.
    Corrupt,
}

/// What the data dir holds (protocol.md 1.4 "When data is lost").
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Data {
    /// Identity of the file system, to tell an unmounted volume from an emptied one.
    pub fs: Option<String>,
    /// It could be written to.
    pub writable: bool,
    /// The log in `member/wal`.
    pub log: LogState,
    /// A swap was begun and not finished (`.requorum/swap.json`); the plan's short digest.
    pub swap: Option<String>,
    /// Plans (short digests) whose restored member stands ready in `.requorum/new`.
    pub restored: Vec<String>,
    /// Which incarnation and plan the member in place is of (`.requorum/incarnation.json`).
    pub belongs: Option<Belongs>,
}

/// Which life of the cluster a member's data belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Belongs {
    /// The incarnation.
    pub inc: u64,
    /// Short digest of the plan it was made by; `None` for one that was adopted or replaced.
    pub plan: Option<String>,
}

/// A member's log, as far as it could be read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LogState {
    /// No `member/wal`.
    Missing,
    /// It is there and says whose it is.
    Present {
        /// etcd's cluster id in the WAL's metadata.
        cluster_id: ClusterId,
        /// The member id there.
        member_id: MemberId,
    },
    /// It is there, or may be, and can't be read.
    Unreadable(String),
}

impl LogState {
    /// Whose log it is, if it says.
    pub const fn owner(&self) -> Option<(ClusterId, MemberId)> {
        match self {
            Self::Present { cluster_id, member_id } => Some((*cluster_id, *member_id)),
            Self::Missing | Self::Unreadable(_) => None,
        }
    }
}

/// What a fenced member's log says (protocol.md 1.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogSummary {
    /// Term of the last entry.
    pub last_term: u64,
    /// Index of the last entry.
    pub last_index: u64,
    /// Commit index of the last HardState.
    pub commit: u64,
    /// The configuration that the member itself goes by, as sorted voter ids: the one in force at
    /// its commit index.
    pub in_force: Vec<MemberId>,
    /// Each configuration that may be active, as sorted voter ids.
    pub configs: Vec<Vec<MemberId>>,
    /// The index at which each of `configs` stands at the latest, in their order; empty in what an
    /// earlier version wrote.
    pub places: Vec<u64>,
    /// The last two configurations that are known to be committed are both among `configs`; `false`:
    /// the log does not tell.
    pub settled: bool,
}

impl LogSummary {
    /// Where one of its configurations stands at the latest, if that is told.
    pub fn place_of(&self, config: &Vec<MemberId>) -> Option<u64> {
        let shown = self.configs.iter().enumerate().filter(|(_, shown)| *shown == config);
        let places: Option<Vec<u64>> = shown.map(|(at, _)| self.places.get(at).copied()).collect();
        places?.into_iter().max()
    }
}

/// What this machine promised and knows durably.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Memory {
    /// The cluster it belongs to.
    pub uid: Option<String>,
    /// The seat it took.
    pub slot: Option<Slot>,
    /// "I will not run incarnation `inc` or an older one" (boot rule 1).
    pub marker: Option<InAttempt>,
    /// Highest incarnation never to be run again.
    pub retired: u64,
    /// Highest incarnation seen to be open to clients.
    pub opened: u64,
    /// The root disk's own copy of `slot.ran` (boot rule 2).
    pub ran: Option<Ran>,
}

/// An attempt of an incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InAttempt {
    /// The incarnation.
    pub inc: u64,
    /// The attempt, counted for the life of the uid.
    pub attempt: u64,
}

/// Who ran a slot's member, written before its first start (protocol.md 1.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ran {
    /// The incarnation it ran.
    pub inc: u64,
    /// The machine that ran it.
    pub instance: Instance,
    /// The member it was.
    pub member_id: MemberId,
    /// Short digest of the plan its data came from; empty if adopted or a replacement.
    pub plan: String,
    /// File system of its data dir.
    pub fs: String,
}
