//! **pace** — which timers the agents run with, and how long a drill or a seed waits for them.
//!
//! Comes from the command line. Goes to the agents (a drill's by `REQUORUM_TIMERS`), to every bounded wait,
//! and to the head of every report: a figure without its timers says nothing.

use protocol::{limits::Timers, time::Span};
use std::time::Duration;

/// A named profile of timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Short windows.
    Quick,
    /// Exactly what ships.
    Production,
}

impl Pace {
    /// As the agent and the command line spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Production => "production",
        }
    }

    /// The timers themselves.
    pub const fn timers(self) -> Timers {
        match self {
            Self::Quick => Timers::QUICK,
            Self::Production => Timers::PRODUCTION,
        }
    }

    /// How much longer things last than with short windows: as much as T_confirm does.
    pub const fn stretch(self) -> u64 {
        self.timers().confirm.0 / Timers::QUICK.confirm.0
    }

    /// Bound of any one wait of a drill: twice the longest way a recovery may take by its own timers,
    /// and a minute for a busy machine.
    pub const fn patience(self) -> Duration {
        let t = self.timers();
        let way = t.confirm.0 + t.permanent.0 + t.fence.0 + t.restore.0 + t.recover.0 + t.replace.0;
        Duration::from_millis(way * 2 + 60_000)
    }

    /// All timers in one line.
    pub fn describe(self) -> String {
        let t = self.timers();
        let pairs = [
            ("poll", t.poll),
            ("vote", t.vote),
            ("lin", t.lin),
            ("confirm", t.confirm),
            ("gather", t.gather),
            ("permanent", t.permanent),
            ("fence", t.fence),
            ("drain", t.drain),
            ("lease", t.lease_ttl),
            ("renew", t.lease_renew),
            ("margin", t.lease_margin),
            ("gap", t.gap),
            ("restore", t.restore),
            ("recover", t.recover),
            ("replace", t.replace),
            ("snapshot", t.snapshot),
            ("alone", t.alone),
            ("reconcile", t.reconcile),
        ];
        let words: Vec<String> =
            pairs.iter().map(|(name, span)| format!("{name} {}", seconds(*span))).collect();
        format!("pace {}: {} (seconds)", self.name(), words.join(", "))
    }
}

/// A span of the agents' timers as the drill waits for it.
pub const fn lasting(span: Span) -> Duration {
    Duration::from_millis(span.0)
}

fn seconds(span: Span) -> String {
    let text = format!("{}.{:03}", span.0 / 1000, span.0 % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
