//! **files** — the S3 adapter, but for the two calls that move files: they read and write them here,
//! at once, and move the bytes by the adapter's calls for small objects.
//!
//! Why: tokio's files are the work of threads of its own. How many times a task is polled while such
//! a thread runs depends on the machine, and with it the order in which tasks run from then on; a
//! seed would not repeat itself. On the wire there is no difference: the adapter itself moves a file
//! of up to 16 MiB with one conditional PUT or one GET. Its own way with files is checked against
//! four stores by the contract tests.

use agent::{
    adapters::s3::S3Store,
    ports::object_store::{Moved, Object, ObjectStore, Put, StoreError},
};
use async_trait::async_trait;
use protocol::cluster::Digest;
use std::{io, path::Path};

/// The bucket, with files moved in step.
pub(crate) struct InStep(pub(crate) S3Store);

fn local(error: &io::Error) -> StoreError {
    StoreError::Local(error.to_string())
}

fn moved(bytes: &[u8]) -> Moved {
    Moved { size: bytes.len() as u64, sha256: Digest::of(bytes) }
}

#[async_trait]
impl ObjectStore for InStep {
    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        self.0.get(key).await
    }

    async fn put_if_absent(&self, key: &str, bytes: Vec<u8>) -> Result<Put, StoreError> {
        self.0.put_if_absent(key, bytes).await
    }

    async fn put_if_match(&self, key: &str, bytes: Vec<u8>, etag: &str) -> Result<Put, StoreError> {
        self.0.put_if_match(key, bytes, etag).await
    }

    async fn upload(&self, key: &str, file: &Path) -> Result<Moved, StoreError> {
        let bytes = std::fs::read(file).map_err(|error| local(&error))?;
        let moved = moved(&bytes);
        match self.0.put_if_absent(key, bytes).await? {
            Put::Done { .. } => Ok(moved),
            Put::Conflict => Err(StoreError::Bad(format!("{key} is taken"))),
        }
    }

    async fn copy(&self, from: &str, to: &str) -> Result<(), StoreError> {
        self.0.copy(from, to).await
    }

    async fn download(&self, key: &str, file: &Path) -> Result<Option<Moved>, StoreError> {
        let Some(object) = self.0.get(key).await? else { return Ok(None) };
        std::fs::write(file, &object.bytes).map_err(|error| local(&error))?;
        Ok(Some(moved(&object.bytes)))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.0.list(prefix).await
    }
}
