//! **watched** — the agent's way to etcd with a clock on it.
//!
//! Comes in: what a save asks of etcd. Goes out: the same answers, and how long the proof of the content
//! took (HashKV and live keys, `agent/src/driver/content.rs`). A save asks for it between its data and its
//! manifest, with nothing beside it, so a save's time less this is that of stream and upload.

use agent::{
    adapters::etcd_client::EtcdClient,
    ports::etcd::{Door, Etcd, EtcdError, Snapshot},
};
use async_trait::async_trait;
use protocol::{
    cluster::MemberId,
    effect::Listed,
    observation::{Answer, Check},
};
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Longest time for a connection and for an ordinary answer. They bound what is measured, and are no part
/// of it.
const PATIENCE: Duration = Duration::from_secs(20);

/// The adapter, watched.
pub(super) struct Watched {
    inner: EtcdClient,
    proving: Mutex<Duration>,
}

impl Watched {
    pub(super) fn new() -> Self {
        let inner = EtcdClient::new(PATIENCE, PATIENCE);
        Self { inner, proving: Mutex::default() }
    }

    /// How long the content was asked for since the last time this was.
    pub(super) fn proving(&self) -> Duration {
        std::mem::take(&mut *self.proving.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn proof<T>(&self, asking: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let answer = asking.await;
        *self.proving.lock().unwrap_or_else(PoisonError::into_inner) += began.elapsed();
        answer
    }
}

#[async_trait]
impl Etcd for Watched {
    async fn probe(&self, door: &Door) -> Answer {
        self.inner.probe(door).await
    }

    async fn check(&self, door: &Door, revision: u64) -> Result<Check, EtcdError> {
        self.inner.check(door, revision).await
    }

    async fn snapshot(&self, door: &Door) -> Result<Box<dyn Snapshot>, EtcdError> {
        self.inner.snapshot(door).await
    }

    async fn hash_kv(&self, door: &Door, revision: u64) -> Result<(u64, u64, u32), EtcdError> {
        self.proof(self.inner.hash_kv(door, revision)).await
    }

    async fn live_keys(&self, door: &Door, revision: u64) -> Result<u64, EtcdError> {
        self.proof(self.inner.live_keys(door, revision)).await
    }

    async fn members(&self, door: &Door) -> Result<Vec<Listed>, EtcdError> {
        self.inner.members(door).await
    }

    async fn add_learner(&self, door: &Door, peer_url: &str) -> Result<MemberId, EtcdError> {
        self.inner.add_learner(door, peer_url).await
    }

    async fn promote(&self, door: &Door, id: MemberId) -> Result<(), EtcdError> {
        self.inner.promote(door, id).await
    }

    async fn remove(&self, door: &Door, id: MemberId) -> Result<(), EtcdError> {
        self.inner.remove(door, id).await
    }

    async fn disarm_no_space(&self, door: &Door) -> Result<(), EtcdError> {
        self.inner.disarm_no_space(door).await
    }

    async fn compact(&self, door: &Door, keep: u64) -> Result<u64, EtcdError> {
        self.inner.compact(door, keep).await
    }

    async fn defragment(&self, door: &Door) -> Result<(), EtcdError> {
        self.inner.defragment(door).await
    }
}
