//! **etcd** — one member's API, through its client URL or, in quarantine, its local socket.
//!
//! Contract: a linearizable `Get` that comes back within the deadline is the only proof of a
//! living quorum; `member_list` of etcd-client is not linearizable (protocol.md 1.1), so a list is
//! read right after such a get on the same endpoint. Alarms are read from `Status.errors`; alarm
//! get and auth status are raft proposals and are never polled (etcd.md 8).

use super::pieces::Pieces;
use async_trait::async_trait;
use protocol::{
    cluster::MemberId,
    effect::Listed,
    observation::{Answer, Check},
};
use std::path::PathBuf;

/// The way to a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// Its client URL.
    Client(String),
    /// Its quarantine socket.
    Socket(PathBuf),
}

/// What is known of a snapshot once all of it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streamed {
    /// The key space's revision, read from inside the stream.
    pub revision: u64,
    /// `raftAppliedIndex` read before the stream began: a lower bound of what is in it.
    pub applied: u64,
    /// Raft term then.
    pub term: u64,
}

/// A snapshot on its way. Its pieces end without an error only if etcd's own sha256 trailer was there
/// and right.
pub trait Snapshot: Pieces {
    /// What was read on the way; `None`: not all has come.
    fn streamed(&self) -> Option<Streamed>;
    /// Bytes of etcd's database file when it began.
    fn database(&self) -> u64;
}

/// etcd refused or did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EtcdError(pub String);

/// One member.
#[async_trait]
pub trait Etcd: Send + Sync {
    /// `Status`, then a linearizable get.
    async fn probe(&self, door: &Door) -> Answer;
    /// HashKV and a count-only Range at a revision. Walks the whole database.
    async fn check(&self, door: &Door, revision: u64) -> Result<Check, EtcdError>;
    /// Begins `Maintenance.Snapshot`. While it is under way etcd's database grows with each write, so
    /// whoever takes the pieces should not pause for long.
    async fn snapshot(&self, door: &Door) -> Result<Box<dyn Snapshot>, EtcdError>;
    /// HashKV at a revision (0: the latest): (revision, compact revision, hash).
    async fn hash_kv(&self, door: &Door, revision: u64) -> Result<(u64, u64, u32), EtcdError>;
    /// Keys alive at a revision.
    async fn live_keys(&self, door: &Door, revision: u64) -> Result<u64, EtcdError>;
    /// The members, behind a linearizable get.
    async fn members(&self, door: &Door) -> Result<Vec<Listed>, EtcdError>;
    /// Adds a learner; if one is listed at this peer URL already, answers with its id.
    async fn add_learner(&self, door: &Door, peer_url: &str) -> Result<MemberId, EtcdError>;
    /// Makes a learner a voter.
    async fn promote(&self, door: &Door, id: MemberId) -> Result<(), EtcdError>;
    /// Removes a member; done if it is not listed.
    async fn remove(&self, door: &Door, id: MemberId) -> Result<(), EtcdError>;
    /// Disarms all NOSPACE alarms, no other.
    async fn disarm_no_space(&self, door: &Door) -> Result<(), EtcdError>;
    /// Compacts to the current revision less `keep`.
    async fn compact(&self, door: &Door, keep: u64) -> Result<u64, EtcdError>;
    /// Defragments this member.
    async fn defragment(&self, door: &Door) -> Result<(), EtcdError>;
}
