//! **machine** — what this machine holds and remembers: the data dir and the durable markers.
//!
//! Contract: each call that returns `Ok` is durable (file and directory fsynced) and idempotent;
//! a crash inside one leaves a state from which repeating it goes on. Nothing is ever deleted on
//! the way: members are moved into `.requorum/old` (design.md 1.6).

use async_trait::async_trait;
use protocol::{
    cluster::{Digest, Slot},
    observation::{Data, InAttempt, LogSummary, Memory, Ran},
};

/// The disk refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MachineError {
    /// Full.
    #[error("{0}")]
    NoSpace(String),
    /// What is there is damaged: trying again won't help.
    #[error("{0}")]
    Bad(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// Disk and memory of one machine.
#[async_trait]
pub trait Machine: Send + Sync {
    /// What the data dir holds.
    async fn data(&self) -> Data;
    /// What is remembered: the higher of root disk and data volume for each promise.
    async fn memory(&self) -> Result<Memory, MachineError>;
    /// The promise, on the root disk and in the data volume.
    async fn mark(&self, marker: InAttempt) -> Result<(), MachineError>;
    /// Takes exactly this promise back, on both.
    async fn unmark(&self, marker: InAttempt) -> Result<(), MachineError>;
    /// Never `inc` or older again.
    async fn retire(&self, inc: u64) -> Result<(), MachineError>;
    /// `inc` is open to clients.
    async fn remember_opened(&self, inc: u64) -> Result<(), MachineError>;
    /// The cluster and the seat.
    async fn remember_seat(&self, uid: &str, slot: Slot) -> Result<(), MachineError>;
    /// The root disk's copy of `ran`; also notes in the data dir which incarnation it is of.
    async fn remember_ran(&self, ran: &Ran) -> Result<(), MachineError>;
    /// Swaps `.requorum/new/<plan>/member` in: old `member` to `.requorum/old/inc-<k>-<plan>`,
    /// both renames fsynced and recorded in `.requorum/swap.json` first.
    async fn swap(&self, plan: Digest, new_inc: u64, old_inc: u64) -> Result<(), MachineError>;
    /// Moves `member` to `.requorum/old/inc-<k>-<n>`; done if there is none.
    async fn move_aside(&self, inc: u64) -> Result<(), MachineError>;
    /// Reads the stopped member's log.
    async fn read_log(&self) -> Result<LogSummary, MachineError>;
}
