//! **exit** — how every verb ends: one code, one sentence, the cause, the next command.
//!
//! "Unknown" is a failure: no code below 10 but 0 says that anything was proven (operators.md).
//! `reconfigure` ends with 1 ([`Code::Failed`]) where etcd must not start yet.

use std::fmt;

/// Exit codes. They only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// It failed; nothing is known to have changed.
    Failed = 1,
    /// The command line or a setting is wrong.
    Usage = 2,
    /// There is no snapshot to restore.
    NoSnapshot = 10,
    /// Another agent leads or owns the seat.
    Held = 11,
    /// Refused: the sentence says why and what would help.
    Refused = 12,
    /// Paused by an operator.
    Paused = 13,
    /// `snapshot prune`: the store refused to delete some of what is no longer needed; the rest is gone.
    Undeleted = 14,
    /// S3 or the lock table gave no answer, or forbade it.
    StoreUnreachable = 15,
    /// The stores do not honour conditional writes: automation is off.
    StoreUnconditional = 16,
    /// This machine or its data belongs to another cluster.
    Foreign = 17,
    /// No agent answers at the local socket.
    NoAgent = 18,
    /// Fewer members are healthy than there should be; a quorum lives.
    Degraded = 20,
    /// No quorum is proven to live.
    QuorumLost = 21,
    /// `reconfigure`: a promise forbids this machine to start its etcd. systemd's `ExecCondition=`
    /// makes a unit fail on 255, where 1..254 skip it.
    Fenced = 255,
}

/// Why a verb failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The exit code.
    pub code: Code,
    /// One clear sentence.
    pub sentence: String,
    /// What was underneath, if that says more.
    pub cause: Option<String>,
    /// The next command to run.
    pub next: Option<String>,
}

impl Problem {
    /// A problem in one sentence.
    pub fn new(code: Code, sentence: impl Into<String>) -> Self {
        Self { code, sentence: sentence.into(), cause: None, next: None }
    }

    /// Says what was underneath.
    #[must_use]
    pub fn because(self, cause: impl fmt::Display) -> Self {
        Self { cause: Some(cause.to_string()), ..self }
    }

    /// Says what to run next.
    #[must_use]
    pub fn next(self, next: impl Into<String>) -> Self {
        Self { next: Some(next.into()), ..self }
    }
}

/// `requorum.problem/1`: a failure as machines read it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ProblemDocument<'a> {
    /// Always `requorum.problem/1`.
    pub schema: &'static str,
    /// The exit code.
    pub code: u8,
    /// One clear sentence.
    pub sentence: &'a str,
    /// What was underneath, or null.
    pub because: Option<&'a str>,
    /// The next command to run, or null.
    pub next: Option<&'a str>,
}

impl Problem {
    /// The failure as a document.
    pub fn document(&self) -> ProblemDocument<'_> {
        ProblemDocument {
            schema: "requorum.problem/1",
            code: self.code as u8,
            sentence: &self.sentence,
            because: self.cause.as_deref(),
            next: self.next.as_deref(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "requorum: {}", self.sentence)?;
        if let Some(cause) = &self.cause {
            write!(f, "\n  because: {cause}")?;
        }
        if let Some(next) = &self.next {
            write!(f, "\n  next: {next}")?;
        }
        Ok(())
    }
}
