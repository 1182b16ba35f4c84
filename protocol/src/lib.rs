//! Requorum's core: what to do, never how. Pure: no clock, no IO, no randomness.
//!
//! ```text
//! observation -> vote -> tally -> lease -> fence -> source -> plan      (stages, each knows those before it)
//!                              \\__ coordinator::handle(now, event) -> Turn { effects, wake_at, notes }
//! ```
//!
//! Modules stand in reading order. A stage may use the stages above it; only the coordinator
//! knows them all; `wire` turns records into bytes and decides nothing.
#![no_std]
extern crate alloc;

pub mod mutant;
pub mod limits;
pub mod time;
pub mod cluster;
pub mod observation;
pub mod manifest;
pub mod vote;
pub mod registry;
pub mod named;
pub mod tally;
pub mod lease;
mod closure;
pub mod fence;
pub mod guards;
pub mod pack;
pub mod retention;
pub mod source;
pub mod plan;
pub mod change;
pub mod effect;
pub mod boot;
pub mod event;
pub mod explanation;
pub mod adopting;
pub mod coordinator;
pub mod wire;
