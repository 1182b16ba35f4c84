//! **rehearsed** — the last rehearsal on this machine: `<state dir>/rehearsed.json`.
//!
//! Comes from `snapshot rehearse`. Goes to `status`. It is news and nothing else: no decision reads it.

use protocol::manifest::Manifest;
use serde::{Deserialize, Serialize};
use std::{fs, io, path::Path};

/// `requorum.rehearsal/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehearsal {
    /// Always `requorum.rehearsal/1`.
    pub schema: String,
    /// The snapshot's manifest.
    pub key: String,
    /// Its revision.
    pub revision: u64,
    /// Seconds since 1970, by this machine's clock.
    pub when: u64,
    /// etcd came up on it, and nothing differed.
    pub passed: bool,
    /// Restored as it is: `same`, or why HashKV was not compared.
    pub hash_kv: String,
    /// Restored as for a new cluster: `same`, or why live keys were not compared.
    pub live_keys: String,
    /// Why it did not pass.
    pub failure: Option<String>,
}

impl Rehearsal {
    /// One that showed nothing yet.
    pub fn new(manifest: &Manifest, when: u64) -> Self {
        Self {
            schema: "requorum.rehearsal/1".into(),
            key: manifest.key(),
            revision: manifest.revision,
            when,
            passed: false,
            hash_kv: "not compared".into(),
            live_keys: "not compared".into(),
            failure: None,
        }
    }
}

/// Notes it; a reader sees the old one or the new one.
pub fn write(state_dir: &Path, rehearsal: &Rehearsal) -> io::Result<()> {
    let file = state_dir.join("rehearsed.json");
    let fresh = file.with_extension("new");
    fs::write(&fresh, serde_json::to_vec_pretty(rehearsal)?)?;
    fs::rename(fresh, file)
}

/// The last one; `None`: there was none, or its note can't be read, which is no reason to say nothing
/// else.
pub fn read(state_dir: &Path) -> Option<Rehearsal> {
    serde_json::from_slice(&fs::read(state_dir.join("rehearsed.json")).ok()?).ok()
}
