//! **heart** — whoever watches that the agent's loop turns.
//!
//! Contract: a beat follows each full turn, and never blocks. Without one for too long, whoever watches ends
//! the process and starts another: etcd goes on running meanwhile.

/// Who is told.
pub trait Heart: Send + Sync {
    /// A full turn is over.
    fn beat(&self);
}
