//! Requorum's proof: the same core, simulated by the million and drilled with real processes.
//!
//! [`world`] holds the parts of a cluster, [`simulate`] moves them by a seed; [`drill`] puts real
//! processes in their place.

pub mod world;
pub mod simulate;
pub mod gate;
pub mod drill;
