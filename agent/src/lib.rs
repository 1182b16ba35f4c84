//! Requorum's shell: it sees, asks the core what to do, does it, and tells.
//!
//! Modules in reading order: how verbs end ([`exit`]), what a node is told ([`config`]), the doors
//! ([`ports`]), what stands behind them ([`adapters`]), the hands between them and the core
//! ([`driver`]), the socket ([`local`]), the verbs ([`cli`]) and what they print ([`render`]).

pub mod exit;
pub mod config;
pub mod ports;
pub mod adapters;
pub mod driver;
pub mod local;
pub mod cli;
pub mod render;
