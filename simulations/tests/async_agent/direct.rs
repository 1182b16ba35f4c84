//! **direct** — the bucket as it is, read past the network, and only some of its objects.
//!
//! Comes from what the simulated S3 holds. Goes to whoever looks from outside: restores by the agent's own
//! code, of a manifest and what it says that it needs. All is in memory, so nothing is waited for.

use super::BUCKET;
use agent::ports::{
    object_store::{Moved, Object, ObjectStore, Put, StoreError, Stored, Tail, Version},
    pieces::Pieces,
};
use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use protocol::cluster::Digest;
use simulations::drill::{
    object_files,
    object_store::{self, Listing},
};
use std::{collections::BTreeSet, path::Path, sync::Arc};

/// Those of its objects that may be read.
pub(crate) struct Direct {
    pub(crate) objects: Arc<object_store::Store>,
    pub(crate) allowed: BTreeSet<String>,
}

/// All keys that begin with `prefix`.
pub(crate) fn listed(objects: &object_store::Store, prefix: &str) -> Vec<String> {
    let all = Listing { prefix, delimiter: None, after: "", limit: usize::MAX };
    let page = objects.list(BUCKET, all).unwrap_or_default();
    page.objects.into_iter().map(|(key, _)| key).collect()
}

/// The bytes of an object.
pub(crate) fn bytes_of(objects: &object_store::Store, key: &str) -> Option<Vec<u8>> {
    let stored = objects.get(BUCKET, key).ok()?;
    let chunks = object_files::read(&stored.pieces, 0..stored.size).collect::<Vec<_>>();
    let chunks = chunks.now_or_never().expect("what the simulated S3 holds is in memory");
    let chunks: Result<Vec<_>, _> = chunks.into_iter().collect();
    Some(chunks.expect("memory can be read").concat())
}

impl Direct {
    fn read(&self, key: &str) -> Option<Vec<u8>> {
        self.allowed.contains(key).then(|| bytes_of(&self.objects, key))?
    }
}

fn only_read<T>() -> Result<T, StoreError> {
    Err(StoreError::Forbidden("who looks from outside changes nothing".to_owned()))
}

#[async_trait]
impl ObjectStore for Direct {
    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        Ok(self.read(key).map(|bytes| Object { bytes, etag: String::new() }))
    }

    async fn put_if_absent(&self, _: &str, _: Vec<u8>) -> Result<Put, StoreError> {
        only_read()
    }

    async fn put_if_match(&self, _: &str, _: Vec<u8>, _: &str) -> Result<Put, StoreError> {
        only_read()
    }

    async fn upload(&self, _: &str, _: &mut dyn Pieces) -> Result<Moved, StoreError> {
        only_read()
    }

    async fn copy(&self, _: &Version, _: &str, _: Option<&str>) -> Result<Put, StoreError> {
        only_read()
    }

    async fn download(&self, key: &str, file: &Path) -> Result<Option<Moved>, StoreError> {
        let Some(bytes) = self.read(key) else { return Ok(None) };
        std::fs::write(file, &bytes).map_err(|error| StoreError::Local(error.to_string()))?;
        Ok(Some(Moved { size: bytes.len() as u64, sha256: Digest::of(&bytes) }))
    }

    async fn tail(&self, key: &str, most: u64) -> Result<Option<Tail>, StoreError> {
        let Some(bytes) = self.read(key) else { return Ok(None) };
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len());
        let last = bytes[bytes.len() - most..].to_vec();
        Ok(Some(Tail { size: bytes.len() as u64, etag: String::new(), bytes: last }))
    }

    async fn delete(&self, _: &str) -> Result<(), StoreError> {
        only_read()
    }

    async fn list_stored(&self, prefix: &str) -> Result<Vec<Stored>, StoreError> {
        let keys = listed(&self.objects, prefix).into_iter();
        let keys = keys.filter(|key| self.allowed.contains(key));
        Ok(keys.map(|key| Stored { key, size: 0, age: None }).collect())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        Ok(self.list_stored(prefix).await?.into_iter().map(|stored| stored.key).collect())
    }
}
