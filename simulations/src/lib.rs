//! Requorum's proof: failure drills with real processes.

pub mod drill;
