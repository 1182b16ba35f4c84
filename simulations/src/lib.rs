<<<<<<< HEAD
//! Requorum's proof: the same core, simulated by the million and drilled with real processes.
//!
//! [`world`] holds the parts of a cluster, [`simulate`] moves them by a seed; [`drill`] puts real
//! processes in their place.
=======
//! Requorum's proof: failure drills with real processes, and every order of things that a small
//! cluster can see.
>>>>>>> a05e082 (simulations: explore every order of things on the real core)

pub mod world;
pub mod simulate;
pub mod gate;
pub mod drill;
#[cfg(debug_assertions)]
pub mod explore;
