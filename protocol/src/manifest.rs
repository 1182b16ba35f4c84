//! **manifest** — what is known of one snapshot in the bucket. Its existence is the commit point
//! of a save: data without a manifest is garbage (protocol.md 1.7).
//!
//! Comes from whoever took the snapshot. Goes to the choice of a source.

use crate::{
    cluster::{ClusterId, Digest, Slot},
    observation::Check,
};
use alloc::{string::String, vec::Vec};

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
    /// Keys of the data that `data` is laid over, the chain's base first; none: it is a whole file.
    pub needs: Vec<String>,
    /// etcd's compact revision when `check` was made: HashKV compares only where both are equal
    /// (etcd.md 8).
    pub compact: Option<u64>,
    /// Why it is not chosen by itself.
    pub doubt: Option<Doubt>,
    /// Seconds since 1970 by the saver's clock, for eyes alone: retention goes by the store's clock.
    pub taken: Option<u64>,
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
    /// An operator brought it: another cluster's, or another tool's.
    Adopted,
}

/// What is wrong with a snapshot that is whole: it is kept, and waits for an operator's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Doubt {
    /// It holds no key, and the one before did.
    Empty,
    /// More than half of the keys are gone since the one before.
    Shrunk,
    /// Its revision is lower than that of the one before.
    Rewound,
    /// Another member holds something else at the same revision.
    Differs,
    /// etcd says that the data is corrupt.
    Corrupt,
}

impl Doubt {
    /// What it says, for whoever is asked to overrule it.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Empty => "it holds no key, and the one before did",
            Self::Shrunk => "more than half of the keys are gone since the one before",
            Self::Rewound => "its revision is lower than that of the one before",
            Self::Differs => "another member held something else at the same revision",
            Self::Corrupt => "etcd reported that its data is corrupt",
        }
    }
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

    /// In which incarnation's folder a key stands, if in any.
    pub fn inc_of(key: &str) -> Option<u64> {
        key.strip_prefix("inc/")?.split_once('/')?.0.parse().ok()
    }

    /// Where the manifests of one incarnation stand.
    pub fn folder(inc: u64) -> String {
        alloc::format!("inc/{inc}/snap/")
    }
}
