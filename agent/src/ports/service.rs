//! **service** — the etcd process of this machine: started, adopted, proven stopped.
//!
//! Contract: etcd outlives the agent; a new agent adopts it. `Stopped` is only said when it is
//! proven (protocol.md 1.8): no process with this data dir or peer address, the lock on
//! `member/snap/db` free, the peer port closed. Any doubt is `Unknown`.

use async_trait::async_trait;
use protocol::{effect::Start, observation::Process};

/// The service manager failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ServiceError(pub String);

/// Who runs etcd.
#[async_trait]
pub trait Service: Send + Sync {
    /// Whether it runs.
    async fn state(&self) -> Process;
    /// Starts it; returns once it was spawned. An error if it already runs.
    async fn start(&self, start: &Start) -> Result<(), ServiceError>;
    /// Ends it with SIGKILL (its log is made for that) and waits until it is proven stopped.
    async fn stop(&self) -> Result<(), ServiceError>;
}
