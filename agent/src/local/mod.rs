//! **local** — the agent's unix socket, `<state dir>/agent.sock`: one JSON request a line, one JSON
//! answer a line. Only the agent's own user may open it.

pub mod check;
pub mod documents;
pub mod snapshots;
pub mod rehearsed;
pub mod server;
pub mod client;

use protocol::manifest::Manifest;
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
    /// "This snapshot may be restored."
    Adopt {
        /// Its digest, 64 hexadecimal digits.
        sha256: String,
        /// The incarnation in whose folder it is, or will be.
        inc: u64,
        /// Who answers for it.
        by: String,
        /// How they know.
        because: String,
        /// Seconds since 1970 by the asker's clock.
        #[serde(default)]
        said: Option<u64>,
    },
    /// Begin nothing.
    Pause {
        /// Why.
        because: String,
    },
    /// Go on.
    Resume,
}

/// `requorum.told/1`: the answer to an operator's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Always `requorum.told/1`.
    #[serde(default)]
    pub schema: String,
    /// Whether it was taken.
    pub accepted: bool,
    /// The reason's code.
    pub code: String,
    /// One sentence.
    pub sentence: String,
    /// The snapshot that was taken, if one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<Saved>,
}

/// `requorum.saved/1`: a snapshot that was saved and verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Always `requorum.saved/1`.
    pub schema: String,
    /// Key of its manifest, below the cluster's prefix.
    pub key: String,
    /// Its revision.
    pub revision: u64,
    /// Its bytes.
    pub size: u64,
    /// Its digest, 64 hexadecimal digits.
    pub sha256: String,
    /// Why no restore chooses it by itself.
    #[serde(default)]
    pub doubt: Option<String>,
}

impl Told {
    /// The answer to a word that was taken or refused.
    pub fn new(accepted: bool, code: impl Into<String>, sentence: impl Into<String>) -> Self {
        Self {
            schema: "requorum.told/1".into(),
            accepted,
            code: code.into(),
            sentence: sentence.into(),
            saved: None,
        }
    }
}

impl From<&Manifest> for Saved {
    fn from(manifest: &Manifest) -> Self {
        Self {
            schema: "requorum.saved/1".into(),
            key: manifest.key(),
            revision: manifest.revision,
            size: manifest.size,
            sha256: manifest.sha256.to_string(),
            doubt: manifest.doubt.map(|doubt| doubt.name().to_owned()),
        }
    }
}
