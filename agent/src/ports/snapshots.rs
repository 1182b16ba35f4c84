//! **snapshots** — etcd's own tools for snapshot files (`etcdutl`), and salvage from a copy.
//!
//! Contract: a tool that crashes on a file says something about the file, not about us
//! (etcd.md 4.1: panics mean "bad snapshot"). Nothing is opened read-write but copies.

use super::pieces::Pieces;
use async_trait::async_trait;
use protocol::plan::Plan;
use std::path::Path;

/// What `etcdutl snapshot status` says, and whether the file's own sha256 trailer is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// Revision inside the file.
    pub revision: u64,
    /// Revisions in the key space (not live keys; etcd.md 8).
    pub total_keys: u64,
    /// The trailer is present and matches.
    pub trailer_matches: bool,
}

/// Why a snapshot could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The file is damaged or not a snapshot.
    #[error("{0}")]
    Bad(String),
    /// The disk is full.
    #[error("{0}")]
    NoSpace(String),
    /// The tool could not be run.
    #[error("{0}")]
    Failed(String),
}

/// Snapshot files.
#[async_trait]
pub trait Snapshots: Send + Sync {
    /// Whether all tools that a restore and a salvage need are there and new enough.
    async fn tools(&self) -> Result<(), SnapshotError>;
    /// Checks a file: trailer, structure, revision.
    async fn inspect(&self, file: &Path) -> Result<Inspected, SnapshotError>;
    /// Restores `file` for seat `name` of the plan into `.requorum/new/<plan>/` (fresh token,
    /// bump, mark-compacted), fsyncs it, and marks it complete. Idempotent: complete is done,
    /// half is begun anew. The plan's source has been verified by its sha256 before.
    async fn restore(
        &self,
        file: &Path,
        name: &str,
        plan: &Plan,
        digest: protocol::cluster::Digest,
    ) -> Result<(), SnapshotError>;
    /// Takes a snapshot from a *copy* of the stopped member's data: the copy is booted with
    /// `--force-new-cluster` on loopback and asked for `Maintenance.Snapshot`, into `file`.
    async fn salvage(&self, file: &Path) -> Result<(), SnapshotError>;
    /// What a file holds, from its beginning on.
    async fn pieces(&self, file: &Path) -> Result<Box<dyn Pieces>, SnapshotError>;
    /// A place for temporary files on the data dir's file system.
    fn scratch(&self) -> std::path::PathBuf;
    /// Removes what an agent that was killed left there. Only where no other one can be at work.
    async fn clear_scratch(&self) -> Result<(), SnapshotError>;
}
