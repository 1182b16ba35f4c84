//! **local** — the agent's unix socket, `<state dir>/agent.sock`: one JSON request a line, one JSON
//! answer a line. Only the agent's own user may open it.

pub mod check;
pub mod documents;
pub mod server;
pub mod client;

use serde::{Deserialize, Serialize};

/// Longest request line, in bytes.
pub(crate) const LINE_MAX: u64 = 64 * 1024;

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// The status document.
    Status,
    /// Ask for a restore.
    Restore {
        /// Although a quorum lives.
        #[serde(default)]
        rollback: bool,
        /// A manifest's key; default: the latest.
        #[serde(default)]
        source: Option<String>,
        /// Who asks.
        by: String,
        /// Why.
        because: String,
    },
    /// "The machine that ran this seat is gone."
    Attest {
        /// The seat's name.
        name: String,
        /// Who says so.
        by: String,
        /// Why.
        because: String,
    },
    /// Consent to the parked attempt.
    Approve {
        /// Its number.
        attempt: u64,
    },
    /// Call the attempt off.
    Abort,
    /// Replace a member.
    Replace {
        /// The seat's name.
        name: String,
        /// Why.
        because: String,
    },
    /// Take a snapshot now.
    Save,
    /// Begin nothing.
    Pause {
        /// Why.
        because: String,
    },
    /// Go on.
    Resume,
}

/// The answer to an operator's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Whether it was taken.
    pub accepted: bool,
    /// The reason's code.
    pub code: String,
    /// One sentence.
    pub sentence: String,
}
