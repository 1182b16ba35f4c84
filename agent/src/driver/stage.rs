//! **stage** — hands without a world, for tests of what they do to the bucket: the bucket is a map, one
//! etcd's file is a list of pages, and nothing else is there.
//!
//! Comes from a test, which sets what etcd holds and what goes wrong next. Goes to the [`Hands`] as ports.

mod unasked;

use super::{Hands, Ports, Site};
use crate::ports::{
    etcd::{Door, Etcd, EtcdError, Snapshot, Streamed},
    object_store::{Moved, Object, ObjectStore, Put, StoreError, Stored, Tail, Version},
    pieces::Pieces,
};
use async_trait::async_trait;
use protocol::{
    cluster::{ClusterId, Digest, Instance, MemberId},
    effect::Listed,
    observation::{Answer, Check, Status},
    pack::BLOCK,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What goes wrong with the next call of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The bucket takes a few pieces of an upload and no more.
    Stall,
    /// Retention deletes all data right after an upload.
    Swept,
    /// A small object is not taken.
    Put,
    /// The copy to the old URI is refused.
    Copy,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    pages: Vec<u8>,
    live_keys: u64,
    revision: u64,
    fault: Option<Fault>,
}

/// Everything there is.
pub(super) struct Stage {
    state: Mutex<State>,
    scratch: tempfile::TempDir,
}

impl Stage {
    /// An etcd with so many pages, and an empty bucket.
    pub(super) fn new(pages: usize) -> Arc<Self> {
        let state = State { pages: vec![1; pages * BLOCK], live_keys: 100, ..State::default() };
        let scratch = tempfile::tempdir().expect("a scratch directory can be made");
        Arc::new(Self { state: Mutex::new(state), scratch })
    }

    /// Hands that have done nothing yet.
    pub(super) fn hands(self: &Arc<Self>) -> Hands {
        let ports = Ports {
            clock: self.clone(),
            store: self.clone(),
            registry: self.clone(),
            etcd: self.clone(),
            service: self.clone(),
            machine: self.clone(),
            snapshots: self.clone(),
        };
        let site = Site {
            prefix: "p".into(),
            name: "a".into(),
            instance: Instance("a1".into()),
            client_url: "http://a:2379".into(),
            socket: PathBuf::new(),
            state_dir: PathBuf::new(),
            incremental: true,
            seal: super::seal::Seal::default(),
            hold: None,
        };
        Hands::new(ports, site)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client writes: one page becomes another.
    pub(super) fn write(&self, page: usize) {
        let mut state = self.state();
        state.revision += 1;
        let content = state.revision.to_le_bytes();
        state.pages[page * BLOCK..][..8].copy_from_slice(&content);
    }

    /// So many keys are left.
    pub(super) fn holds(&self, live_keys: u64) {
        self.state().live_keys = live_keys;
    }

    /// What etcd would send.
    pub(super) fn file(&self) -> Vec<u8> {
        self.state().pages.clone()
    }

    pub(super) fn goes_wrong(&self, fault: Fault) {
        self.state().fault = Some(fault);
    }

    /// What is in the bucket below a folder.
    pub(super) fn listed(&self, folder: &str) -> Vec<String> {
        self.state().objects.keys().filter(|key| key.contains(folder)).cloned().collect()
    }

    pub(super) fn put(&self, key: String, bytes: Vec<u8>) {
        self.state().objects.insert(key, bytes);
    }

    fn meets(&self, fault: Fault) -> bool {
        self.state().fault.take_if(|next| *next == fault).is_some()
    }
}

fn moved(bytes: &[u8]) -> Moved {
    Moved { size: bytes.len() as u64, sha256: Digest::of(bytes) }
}

fn refused() -> StoreError {
    StoreError::Unavailable("the bucket does not answer".into())
}

/// Etcd's file on its way.
struct Stream {
    bytes: Vec<u8>,
    taken: usize,
    revision: u64,
}

#[async_trait]
impl Pieces for Stream {
    async fn next(&mut self, into: &mut Vec<u8>) -> Result<bool, String> {
        let rest = &self.bytes[self.taken..];
        let piece = &rest[..rest.len().min(3 * BLOCK / 2)];
        into.extend_from_slice(piece);
        self.taken += piece.len();
        Ok(!piece.is_empty())
    }

    fn moved(&self) -> Moved {
        moved(&self.bytes[..self.taken])
    }
}

impl Snapshot for Stream {
    fn streamed(&self) -> Option<Streamed> {
        let streamed = Streamed { revision: self.revision, applied: self.revision, term: 1 };
        (self.taken == self.bytes.len()).then_some(streamed)
    }

    fn database(&self) -> u64 {
        self.bytes.len() as u64
    }
}

#[async_trait]
impl ObjectStore for Stage {
    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        let bytes = self.state().objects.get(key).cloned();
        Ok(bytes.map(|bytes| Object { etag: Digest::of(&bytes).to_string(), bytes }))
    }

    async fn put_if_absent(&self, key: &str, bytes: Vec<u8>) -> Result<Put, StoreError> {
        if self.meets(Fault::Put) {
            return Err(refused());
        }
        if self.state().objects.contains_key(key) {
            return Ok(Put::Conflict);
        }
        let etag = Digest::of(&bytes).to_string();
        self.put(key.to_owned(), bytes);
        Ok(Put::Done { etag })
    }

    async fn put_if_match(&self, key: &str, bytes: Vec<u8>, _: &str) -> Result<Put, StoreError> {
        let etag = Digest::of(&bytes).to_string();
        self.put(key.to_owned(), bytes);
        Ok(Put::Done { etag })
    }

    async fn upload(&self, key: &str, pieces: &mut dyn Pieces) -> Result<Moved, StoreError> {
        let mut bytes = Vec::new();
        if self.meets(Fault::Stall) {
            for _ in 0..3 {
                pieces.next(&mut bytes).await.map_err(StoreError::Source)?;
            }
            return Err(refused());
        }
        while pieces.next(&mut bytes).await.map_err(StoreError::Source)? {}
        if self.meets(Fault::Swept) {
            self.state().objects.retain(|key, _| !key.contains("/data/"));
        }
        self.put(key.to_owned(), bytes);
        Ok(pieces.moved())
    }

    async fn copy(&self, from: &Version, to: &str, over: Option<&str>) -> Result<Put, StoreError> {
        // what asks whether a store judges copies is no export
        if !to.contains("/probe/") && self.meets(Fault::Copy) {
            return Err(refused());
        }
        let there = self.state().objects.get(to).map(|bytes| Digest::of(bytes).to_string());
        if there.as_deref() != over {
            return Ok(Put::Conflict);
        }
        let bytes = self.state().objects.get(&from.key).cloned().ok_or_else(refused)?;
        let etag = Digest::of(&bytes).to_string();
        self.put(to.to_owned(), bytes);
        Ok(Put::Done { etag })
    }

    async fn download(&self, key: &str, file: &Path) -> Result<Option<Moved>, StoreError> {
        let Some(bytes) = self.state().objects.get(key).cloned() else { return Ok(None) };
        std::fs::write(file, &bytes).map_err(|error| StoreError::Local(error.to_string()))?;
        Ok(Some(moved(&bytes)))
    }

    async fn tail(&self, key: &str, most: u64) -> Result<Option<Tail>, StoreError> {
        let Some(bytes) = self.state().objects.get(key).cloned() else { return Ok(None) };
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len());
        let (size, etag) = (bytes.len() as u64, Digest::of(&bytes).to_string());
        Ok(Some(Tail { size, etag, bytes: bytes[bytes.len() - most..].to_vec() }))
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.state().objects.remove(key);
        Ok(())
    }

    async fn list_stored(&self, prefix: &str) -> Result<Vec<Stored>, StoreError> {
        let state = self.state();
        let keys = state.objects.iter().filter(|(key, _)| key.starts_with(prefix));
        let stored = |(key, bytes): (&String, &Vec<u8>)| Stored {
            key: key.clone(),
            size: bytes.len() as u64,
            age: None,
        };
        Ok(keys.map(stored).collect())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        Ok(self.list_stored(prefix).await?.into_iter().map(|stored| stored.key).collect())
    }
}

fn nobody() -> EtcdError {
    EtcdError("nobody is asked for that".into())
}

#[async_trait]
impl Etcd for Stage {
    async fn probe(&self, _: &Door) -> Answer {
        let revision = self.state().revision;
        Answer::Status(Status {
            cluster_id: ClusterId(7),
            member_id: MemberId(1),
            leader: Some(MemberId(1)),
            term: 1,
            applied: revision,
            revision,
            linearizable: true,
            learner: false,
            alarms: Vec::new(),
            version: "3.5.30".into(),
            check: None,
        })
    }

    async fn check(&self, _: &Door, _: u64) -> Result<Check, EtcdError> {
        Err(nobody())
    }

    async fn snapshot(&self, _: &Door) -> Result<Box<dyn Snapshot>, EtcdError> {
        let state = self.state();
        Ok(Box::new(Stream { bytes: state.pages.clone(), taken: 0, revision: state.revision }))
    }

    async fn hash_kv(&self, _: &Door, revision: u64) -> Result<(u64, u64, u32), EtcdError> {
        Ok((revision, 0, 1))
    }

    async fn live_keys(&self, _: &Door, _: u64) -> Result<u64, EtcdError> {
        Ok(self.state().live_keys)
    }

    async fn members(&self, _: &Door) -> Result<Vec<Listed>, EtcdError> {
        Err(nobody())
    }

    async fn add_learner(&self, _: &Door, _: &str) -> Result<MemberId, EtcdError> {
        Err(nobody())
    }

    async fn promote(&self, _: &Door, _: MemberId) -> Result<(), EtcdError> {
        Err(nobody())
    }

    async fn remove(&self, _: &Door, _: MemberId) -> Result<(), EtcdError> {
        Err(nobody())
    }

    async fn disarm_no_space(&self, _: &Door) -> Result<(), EtcdError> {
        Err(nobody())
    }

    async fn compact(&self, _: &Door, _: u64) -> Result<u64, EtcdError> {
        Err(nobody())
    }

    async fn defragment(&self, _: &Door) -> Result<(), EtcdError> {
        Err(nobody())
    }
}
