//! **time** — moments and spans as plain numbers, handed in from outside.
//!
//! Comes from the shell's CLOCK_BOOTTIME, which goes on counting while a machine is suspended
//! (protocol.md 1.6). The core never asks what time it is, so a test or a simulator owns time.

use core::ops::Add;

/// A point on this machine's own boot-time axis, in milliseconds. Never compared across machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub u64);

impl Moment {
    /// The time that has passed since `earlier`; zero if the clock ran backwards, so that a jump
    /// can only make an observer wait longer.
    pub fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    /// A span of whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds * 1000)
    }

    /// This span `times` over, never overflowing.
    pub const fn times(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }

    /// Half of this span.
    pub const fn half(self) -> Self {
        Self(self.0 / 2)
    }
}

impl Add<Span> for Moment {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Add for Span {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_ran_backwards_makes_us_wait() {
        assert_eq!(Moment(5).since(Moment(9)), Span(0));
        assert_eq!(Moment(9).since(Moment(5)), Span(4));
        assert_eq!(Moment(u64::MAX) + Span(1), Moment(u64::MAX));
    }
}
