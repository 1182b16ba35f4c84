//! **bucket** — an object store in memory, and a lock table that nobody asks: enough for what moves snapshots.

use agent::ports::{
    object_store::{Moved, Object, ObjectStore, Put, StoreError, Stored, Tail, Version},
    pieces::Pieces,
    registry::{Item, ItemWrite, Registry},
};
use async_trait::async_trait;
use protocol::{cluster::Digest, registry::Written};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, MutexGuard},
};

/// Objects by their keys; the version is the digest.
#[derive(Default)]
pub(crate) struct Bucket(Mutex<BTreeMap<String, Vec<u8>>>);

impl Bucket {
    pub(crate) fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.0.lock().expect("nobody panicked")
    }

    fn put(&self, key: &str, bytes: Vec<u8>, fits: impl Fn(Option<&String>) -> bool) -> Put {
        let mut objects = self.objects();
        if !fits(objects.get(key).map(|there| version(there)).as_ref()) {
            return Put::Conflict;
        }
        let etag = version(&bytes);
        objects.insert(key.to_owned(), bytes);
        Put::Done { etag }
    }
}

fn version(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

fn moved(bytes: &[u8]) -> Moved {
    Moved { size: bytes.len() as u64, sha256: Digest::of(bytes) }
}

#[async_trait]
impl ObjectStore for Bucket {
    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        let bytes = self.objects().get(key).cloned();
        Ok(bytes.map(|bytes| Object { etag: version(&bytes), bytes }))
    }

    async fn put_if_absent(&self, key: &str, bytes: Vec<u8>) -> Result<Put, StoreError> {
        Ok(self.put(key, bytes, |there| there.is_none()))
    }

    async fn put_if_match(&self, key: &str, bytes: Vec<u8>, etag: &str) -> Result<Put, StoreError> {
        Ok(self.put(key, bytes, |there| there.is_some_and(|there| there == etag)))
    }

    async fn upload(&self, key: &str, pieces: &mut dyn Pieces) -> Result<Moved, StoreError> {
        let mut bytes = Vec::new();
        while pieces.next(&mut bytes).await.map_err(StoreError::Source)? {}
        let moved = moved(&bytes);
        self.objects().insert(key.to_owned(), bytes);
        Ok(moved)
    }

    async fn copy(&self, from: &Version, to: &str, over: Option<&str>) -> Result<Put, StoreError> {
        let bytes = self.objects().get(&from.key).cloned();
        let bytes = bytes.ok_or_else(|| StoreError::Bad(format!("there is no {}", from.key)))?;
        Ok(self.put(to, bytes, |there| there.map(String::as_str) == over))
    }

    async fn download(&self, key: &str, file: &Path) -> Result<Option<Moved>, StoreError> {
        let Some(bytes) = self.objects().get(key).cloned() else { return Ok(None) };
        std::fs::write(file, &bytes).map_err(|error| StoreError::Local(error.to_string()))?;
        Ok(Some(moved(&bytes)))
    }

    async fn tail(&self, key: &str, most: u64) -> Result<Option<Tail>, StoreError> {
        let Some(bytes) = self.objects().get(key).cloned() else { return Ok(None) };
        let from = bytes.len().saturating_sub(usize::try_from(most).unwrap_or(usize::MAX));
        let (size, etag) = (bytes.len() as u64, version(&bytes));
        Ok(Some(Tail { size, etag, bytes: bytes[from..].to_vec() }))
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.objects().remove(key);
        Ok(())
    }

    async fn list_stored(&self, prefix: &str) -> Result<Vec<Stored>, StoreError> {
        let objects = self.objects();
        let below = objects.iter().filter(|(key, _)| key.starts_with(prefix));
        let stored = |(key, bytes): (&String, &Vec<u8>)| Stored {
            key: key.clone(),
            size: bytes.len() as u64,
            age: None,
        };
        Ok(below.map(stored).collect())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        Ok(self.objects().keys().filter(|key| key.starts_with(prefix)).cloned().collect())
    }
}

/// Whoever asks it is told that it is not there.
pub(crate) struct NoTable;

fn none() -> StoreError {
    StoreError::Missing("there is no table here".into())
}

#[async_trait]
impl Registry for NoTable {
    async fn read(&self, _: &str) -> Result<Vec<Item>, StoreError> {
        Err(none())
    }

    async fn write(&self, _: &str, _: &ItemWrite) -> Result<Written, StoreError> {
        Err(none())
    }

    async fn create_table(&self) -> Result<(), StoreError> {
        Err(none())
    }
}
