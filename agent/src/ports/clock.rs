//! **clock** — the one clock an agent measures by.
//!
//! Contract: it never runs backwards and goes on while the machine is suspended (protocol.md 1.6);
//! two machines' clocks agree on nothing. A port, so that a simulated host lives in simulated time.

use protocol::time::Moment;

/// This machine's time.
pub trait Clock: Send + Sync {
    /// The moment it is.
    fn now(&self) -> Moment;
    /// Seconds since 1970, as this machine believes: written beside what people read and what is kept
    /// for a time, and never compared with another machine's to decide anything.
    fn unix(&self) -> u64;
}
