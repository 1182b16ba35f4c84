//! **manifest** — what is known of one snapshot in the bucket. Its existence is the commit point
//! of a save: data without a manifest is garbage (protocol.md 1.7).
//!
//! Comes from whoever took the snapshot. Goes to the choice of a source.

use crate::{
    cluster::{ClusterId, Digest, Slot},
    observation::Check,
};
use alloc::string::String;

/// One verified snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Manifest {
    /// The cluster.
    pub uid: String,
    /// The incarnation it was taken of.
    pub inc: u64,
    /// Key of the data, below the cluster's prefix.
    pub data: String,
    /// Digest of the data.
    pub sha256: Digest,
    /// Bytes.
    pub size: u64,
    /// The key space's revision, read from inside the file.
    pub revision: u64,
    /// Keys alive at that revision, where they could be counted.
    pub live_keys: Option<u64>,
    /// HashKV with the revision it was asked at, where it could be had.
    pub check: Option<Check>,
    /// etcd's `raftAppliedIndex` read before the stream began: a lower bound. Zero if unknown.
    pub applied: u64,
    /// Raft term then.
    pub term: u64,
    /// Whose cluster it was.
    pub cluster_id: ClusterId,
    /// Which seat took it.
    pub taken_by: Slot,
    /// Which etcd it came from.
    pub etcd_version: String,
    /// What it was taken for.
    pub reason: Reason,
}

/// What a snapshot was taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The clock.
    Timer,
    /// The operator.
    Hand,
    /// A quorum seems lost; this survivor still answers.
    Suspicion,
    /// From a copy of a stopped member's data.
    Salvage,
    /// The first of a new incarnation.
    Opened,
    /// What a rollback is about to leave behind.
    BeforeRollback,
}

impl Manifest {
    /// Its key below the cluster's prefix: the name orders by revision (protocol.md 1.7).
    pub fn key(&self) -> String {
        alloc::format!(
            "{}{:020}-{}.json",
            Self::folder(self.inc),
            self.revision,
            self.sha256.short()
        )
    }

    /// Where the manifests of one incarnation stand.
    pub fn folder(inc: u64) -> String {
        alloc::format!("inc/{inc}/snap/")
    }
}
