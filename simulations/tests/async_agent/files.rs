//! **files** — the S3 adapter, but for the call that writes a file: it is written here, at once, and its
//! bytes come by the adapter's call for small objects. Snapshots on their way lie in memory.
//!
//! Why: tokio's files are the work of threads of its own. How many times a task is polled while such
//! a thread runs depends on the machine, and with it the order in which tasks run from then on; a
//! seed would not repeat itself. On the wire there is no difference: the adapter itself moves what is
//! small with one conditional PUT or one GET. Its own way with files is checked against
//! four stores by the contract tests.

use super::{
    traps::{Moment, stand_still},
    world::Shared,
};
use agent::{
    adapters::s3::S3Store,
    ports::{
        etcd::{Snapshot, Streamed},
        object_store::{Moved, Object, ObjectStore, Put, StoreError, Stored, Tail, Version},
        pieces::Pieces,
    },
};
use async_trait::async_trait;
use protocol::cluster::Digest;
use std::{io, path::Path};

/// The bucket, with files moved in step, and saves that [stand still](super::traps) between two calls.
pub(crate) struct InStep {
    pub(crate) store: S3Store,
    pub(crate) shared: Shared,
    pub(crate) at: usize,
}

fn local(error: &io::Error) -> StoreError {
    StoreError::Local(error.to_string())
}

fn moved(bytes: &[u8]) -> Moved {
    Moved { size: bytes.len() as u64, sha256: Digest::of(bytes) }
}

#[async_trait]
impl ObjectStore for InStep {
    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        self.store.get(key).await
    }

    async fn put_if_absent(&self, key: &str, bytes: Vec<u8>) -> Result<Put, StoreError> {
        self.store.put_if_absent(key, bytes).await
    }

    async fn put_if_match(&self, key: &str, bytes: Vec<u8>, etag: &str) -> Result<Put, StoreError> {
        self.store.put_if_match(key, bytes, etag).await
    }

    async fn upload(&self, key: &str, pieces: &mut dyn Pieces) -> Result<Moved, StoreError> {
        let moment = Moment::of_data(key);
        stand_still(&self.shared, self.at, moment).await;
        let stored = self.store.upload(key, pieces).await;
        stand_still(&self.shared, self.at, moment.map(|_| Moment::Manifest)).await;
        stored
    }

    async fn copy(&self, from: &Version, to: &str, over: Option<&str>) -> Result<Put, StoreError> {
        self.store.copy(from, to, over).await
    }

    async fn download(&self, key: &str, file: &Path) -> Result<Option<Moved>, StoreError> {
        let Some(object) = self.store.get(key).await? else { return Ok(None) };
        std::fs::write(file, &object.bytes).map_err(|error| local(&error))?;
        Ok(Some(moved(&object.bytes)))
    }

    async fn tail(&self, key: &str, most: u64) -> Result<Option<Tail>, StoreError> {
        self.store.tail(key, most).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.store.delete(key).await
    }

    async fn list_stored(&self, prefix: &str) -> Result<Vec<Stored>, StoreError> {
        self.store.list_stored(prefix).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.store.list(prefix).await
    }
}

/// Bytes of a piece of a file.
const PIECE: usize = 64 << 10;

/// A snapshot on its way.
pub(crate) struct InMemory {
    bytes: Vec<u8>,
    taken: usize,
    streamed: Option<Streamed>,
}

impl InMemory {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, taken: 0, streamed: None }
    }

    /// The same, with what etcd's stream tells.
    pub(crate) fn of_etcd(self, streamed: Streamed) -> Self {
        Self { streamed: Some(streamed), ..self }
    }

    pub(crate) fn write(&self, file: &Path) -> Result<(), String> {
        std::fs::write(file, &self.bytes).map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Pieces for InMemory {
    async fn next(&mut self, into: &mut Vec<u8>) -> Result<bool, String> {
        let rest = &self.bytes[self.taken..];
        let piece = &rest[..rest.len().min(PIECE)];
        into.extend_from_slice(piece);
        self.taken += piece.len();
        Ok(!piece.is_empty())
    }

    fn moved(&self) -> Moved {
        moved(&self.bytes[..self.taken])
    }
}

impl Snapshot for InMemory {
    fn streamed(&self) -> Option<Streamed> {
        self.streamed.filter(|_| self.taken == self.bytes.len())
    }

    fn database(&self) -> u64 {
        self.bytes.len() as u64
    }
}
