//! **notify** — tells systemd that the agent is ready, and that its loop turns (sd_notify(3)).
//!
//! In: beats. Out: `READY=1` with the first, `WATCHDOG=1` with each. Without a NOTIFY_SOCKET nobody is told.

use crate::ports::heart::Heart;
use sd_notify::NotifyState;
use std::sync::atomic::{AtomicBool, Ordering};

/// systemd, if it started us.
#[derive(Debug, Default)]
pub struct Notify {
    is_ready: AtomicBool,
}

impl Heart for Notify {
    fn beat(&self) {
        let first = !self.is_ready.swap(true, Ordering::Relaxed);
        let both = [NotifyState::Watchdog, NotifyState::Ready];
        if let Err(why) = sd_notify::notify(if first { &both } else { &both[..1] }) {
            tracing::warn!(%why, "systemd could not be told that the agent is alive");
        }
    }
}
