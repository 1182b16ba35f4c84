//! **boot_clock** — CLOCK_BOOTTIME: what Rust's `Instant` reads stops while a machine is suspended,
//! and a lease holder that slept must know that it did (protocol.md 1.6).

use crate::ports::clock::Clock;
use protocol::time::Moment;

/// The kernel's boot-time clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> Moment {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let millis = time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000);
        Moment(u64::try_from(millis).unwrap_or(0))
    }

    fn unix(&self) -> u64 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        u64::try_from(time.tv_sec).unwrap_or(0)
    }
}
