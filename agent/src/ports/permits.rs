//! **permits** — what an agent and the processes of etcd's unit tell each other of one start or stop.
//!
//! The agent can't hand arguments to a unit. It leaves a permit, asks the unit to start, and the unit's gate,
//! a process of its own, takes the permit and prepares what etcd will read. When the unit has stopped, another
//! process of it notes by whose word. Contract: a permit is of this boot, for one start, and gone once it was
//! taken, whatever came of it; so is an operator's stop at the next boot.

use super::service::ServiceError;
use async_trait::async_trait;
use protocol::effect::Start;

/// The unit's side.
#[async_trait]
pub trait Permits: Send + Sync {
    /// The start that this machine's agent is asking for; `None`: somebody else asks, whose word ends an
    /// operator's stop.
    ///
    /// # Errors
    /// One lies there and can't be read or removed.
    fn take(&self) -> Result<Option<Start>, ServiceError>;
    /// Writes what etcd is to read in this start; without one, nothing of an earlier start is left.
    ///
    /// # Errors
    /// It can't be written: etcd must not start with what an earlier one left there.
    fn prepare(&self, start: Option<&Start>) -> Result<(), ServiceError>;
    /// A life of the unit has ended, `invocation`, with this result. Answers whether an operator asked for it, which is noted then: no agent starts etcd
    /// again by itself.
    ///
    /// # Errors
    /// It can't be told, or not be noted.
    async fn stopped(&self, invocation: &str, result: &str) -> Result<bool, ServiceError>;
}
