//! **snapshots** — etcd's own tools for snapshot files (`etcdutl`), salvage from a copy, and rehearsal.
//!
//! Contract: a tool that crashes on a file says something about the file, not about us
//! (etcd.md 4.1: panics mean "bad snapshot"). Nothing is opened read-write but copies.

use super::pieces::Pieces;
use async_trait::async_trait;
use protocol::{cluster::Digest, observation::Check, plan::Plan};
use std::path::{Path, PathBuf};

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

/// What was recorded of a snapshot when it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Revision inside the file.
    pub revision: u64,
    /// Proof of the member's content; its HashKV is compared.
    pub check: Option<Check>,
    /// The compact revision that HashKV goes with; 0: never compacted.
    pub compact: Option<u64>,
    /// Keys alive at that revision.
    pub live_keys: Option<u64>,
}

/// What a rehearsed snapshot showed. Its revision is as expected, or etcd asked for a user and
/// nothing is known of what it would show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rehearsed {
    /// Restored as it is.
    pub hash_kv: Verdict,
    /// Restored as for a new cluster, with the bump.
    pub live_keys: Verdict,
}

/// A comparison that found no difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Equal.
    Same,
    /// Why it could not be compared.
    Unknown(String),
}

/// A file that is byte for byte what it should be: etcd's tools need not hash it once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven(PathBuf);

impl Proven {
    /// The file, if what was found in it is what was wanted.
    pub fn new(file: &Path, found: &Digest, wanted: &Digest) -> Option<Self> {
        (found == wanted).then(|| Self(file.to_owned()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
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
    /// half is begun anew. etcd's own digest in the file is not looked at: ours was.
    async fn restore(
        &self,
        file: &Proven,
        name: &str,
        plan: &Plan,
        digest: Digest,
    ) -> Result<(), SnapshotError>;
    /// Takes a snapshot from a *copy* of the stopped member's data: the copy is booted with
    /// `--force-new-cluster` on loopback and asked for `Maintenance.Snapshot`, into `file`.
    async fn salvage(&self, file: &Path) -> Result<(), SnapshotError>;
    /// Proves that `file` restores: restores it twice below [`Snapshots::scratch`], boots etcd on it,
    /// and compares what it shows. A difference is [`SnapshotError::Bad`]; nothing is left behind. Takes
    /// room for the file and etcd's log, once at a time. One at a time: a second ends the first.
    async fn rehearse(&self, file: &Path, expected: &Expected) -> Result<Rehearsed, SnapshotError>;
    /// What a file holds, from its beginning on.
    async fn pieces(&self, file: &Path) -> Result<Box<dyn Pieces>, SnapshotError>;
    /// Bytes free where temporary files go; `None`: not known.
    fn room(&self) -> Option<u64>;
    /// A place for temporary files on the data dir's file system.
    fn scratch(&self) -> PathBuf;
    /// Removes what an agent that was killed left there. Only where no other one can be at work.
    async fn clear_scratch(&self) -> Result<(), SnapshotError>;
}
