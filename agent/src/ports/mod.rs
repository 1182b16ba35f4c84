//! **ports** — the doors to the world, traits only, each with its contract in prose.
//!
//! The driver knows these and nothing behind them; [`adapters`](crate::adapters) stand behind
//! them in the field, the drills' own servers behind those. One contract test per port runs
//! against every implementation (`agent/tests`, `simulations/tests`).

pub mod clock;
pub mod heart;
pub mod object_store;
pub mod pieces;
pub mod registry;
pub mod etcd;
pub mod service;
pub mod permits;
pub mod machine;
pub mod snapshots;
