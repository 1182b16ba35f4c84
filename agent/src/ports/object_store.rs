//! **object_store** — votes, manifests, plans and snapshots in one bucket, below one prefix.
//!
//! Contract: `get` of an absent key is `Ok(None)`; every other failure is an error, so "could not
//! look" is never "is not there" (peers.md K2). `put_if_absent` and `put_if_match` are atomic: of
//! any number of racing calls exactly one returns `Put::Done` (S3: `If-None-Match: *`, `If-Match`).
//! A lost answer is healed by the adapter: on a conflict it reads the object and, where the bytes
//! are its own, answers `Done`. 409 ConditionalRequestConflict is retried.

use super::pieces::Pieces;
use async_trait::async_trait;
use std::path::Path;

/// A small object and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its bytes (bounded: an adapter refuses more than 16 MiB).
    pub bytes: Vec<u8>,
    /// Its version, as `put_if_match` takes it.
    pub etag: String,
}

/// One version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The object's key.
    pub key: String,
    /// Which version.
    pub etag: String,
}

/// What is remembered of an object that was uploaded in parts, for the next that differs little from it.
/// Some 100 bytes a part: 100 kB where the object has 8 GB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Likeness {
    /// The object.
    pub at: Version,
    /// Its parts in their order.
    pub parts: Vec<Part>,
}

/// One part of an object as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// BLAKE3 of its bytes. It never leaves the process.
    pub hash: [u8; 32],
    /// What the store told of them; `None`: nothing.
    pub crc32: Option<String>,
}

/// What became of a conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is stored, under this version.
    Done {
        /// The new version.
        etag: String,
    },
    /// The condition did not hold: somebody else's object is there.
    Conflict,
}

/// Size and digest of what was moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Bytes.
    pub size: u64,
    /// SHA-256 of all of them.
    pub sha256: protocol::cluster::Digest,
}

/// The end of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Bytes of the whole object.
    pub size: u64,
    /// Its version.
    pub etag: String,
    /// The last of its bytes, as many as were asked for or there are.
    pub bytes: Vec<u8>,
}

/// An object as a LIST shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// Seconds since it was written, as the store says; `None`: it does not say.
    pub age: Option<u64>,
}

/// Why a store gave no answer. Used by the object store and by the lock table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No answer or "not now": a write may or may not have been applied.
    #[error("{0}")]
    Unavailable(String),
    /// The credentials do not allow it.
    #[error("{0}")]
    Forbidden(String),
    /// The bucket or table does not exist.
    #[error("{0}")]
    Missing(String),
    /// What was to be stored did not come, or not whole.
    #[error("{0}")]
    Source(String),
    /// The local file could not be read or written.
    #[error("{0}")]
    Local(String),
    /// The disk is full.
    #[error("{0}")]
    NoSpace(String),
    /// What is there can't be understood, or is not what was expected.
    #[error("{0}")]
    Bad(String),
}

/// The bucket. All keys are complete keys inside it.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// Reads a small object; `None`: the store says that there is none.
    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError>;
    /// Writes an object that must not exist yet.
    async fn put_if_absent(&self, key: &str, bytes: Vec<u8>) -> Result<Put, StoreError>;
    /// Replaces the version `etag`.
    async fn put_if_match(&self, key: &str, bytes: Vec<u8>, etag: &str) -> Result<Put, StoreError>;
    /// Stores what comes, of any size, under a fresh key (multipart above 8 MiB). The object appears
    /// only when all has come and is whole; no parts are left behind when it fails.
    async fn upload(&self, key: &str, pieces: &mut dyn Pieces) -> Result<Moved, StoreError>;
    /// As `upload`; parts that are equal in what `like` remembers are copied from there, on the server. In
    /// the end `like` remembers this object, if it has parts; after a failure it is what it was.
    async fn upload_like(
        &self,
        key: &str,
        pieces: &mut dyn Pieces,
        like: &mut Option<Likeness>,
    ) -> Result<Moved, StoreError> {
        let moved = self.upload(key, pieces).await?;
        *like = None;
        Ok(moved)
    }
    /// Copies a version inside the bucket, of any size, on the server, if what is at `to` is the version
    /// `over`, or nothing. After a lost answer it may say `Conflict` of its own copy: look again.
    async fn copy(&self, from: &Version, to: &str, over: Option<&str>) -> Result<Put, StoreError>;
    /// Downloads an object of any size into a new file; `None`: there is none. Hashes in flight.
    async fn download(&self, key: &str, file: &Path) -> Result<Option<Moved>, StoreError>;
    /// Reads the last bytes of an object of any size, at most `most` of them; `None`: there is none.
    async fn tail(&self, key: &str, most: u64) -> Result<Option<Tail>, StoreError>;
    /// Deletes an object; done if there is none.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;
    /// Objects whose keys begin with `prefix`, all pages, in the order of their keys.
    async fn list_stored(&self, prefix: &str) -> Result<Vec<Stored>, StoreError>;
    /// Keys that begin with `prefix`, all pages, in order. Its silence proves nothing.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError>;
}
