//! Requorum's proof: the same core searched exhaustively, simulated by the million, and drilled with
//! real processes.
//!
//! [`explore`] takes every order of things within stated bounds. [`world`] holds the parts of a
//! cluster, [`simulate`] moves them by a seed; [`gate`] attacks the core with mutants that these must
//! notice. [`drill`] puts real processes in their place; [`bench`] measures what snapshots cost them.

pub mod pace;
pub mod world;
pub mod simulate;
#[cfg(debug_assertions)] // the core shows its inside to nobody else
pub mod explore;
#[cfg(debug_assertions)]
pub mod gate;
#[cfg(feature = "drill")]
pub mod drill;
#[cfg(feature = "drill")]
pub mod bench;
