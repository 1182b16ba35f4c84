//! **snapshots** — what `snapshot ls|inspect|prune` tell: documents that only grow (deploy/SCHEMAS.md).

use protocol::{manifest::Manifest, registry::Adoption, retention};
use serde::{Deserialize, Serialize};

/// `requorum.snapshots/1`: what is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// Always `requorum.snapshots/1`.
    pub schema: &'static str,
    /// The cluster.
    pub uid: String,
    /// Its present incarnation.
    pub inc: u64,
    /// The newest first.
    pub snapshots: Vec<Listed>,
    /// Keys of manifests that can't be read.
    pub unreadable: Vec<String>,
}

/// One snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its manifest's key.
    pub key: String,
    /// The incarnation it was taken of.
    pub inc: u64,
    /// Its revision.
    pub revision: u64,
    /// Keys alive there, if they were counted.
    pub live_keys: Option<u64>,
    /// Bytes of the file.
    pub size: u64,
    /// The file's digest.
    pub sha256: String,
    /// `full` or `incremental`.
    pub format: &'static str,
    /// Seconds since 1970, by the clock of whoever took it.
    pub taken: Option<u64>,
    /// The member it was taken of.
    pub taken_by: Option<String>,
    /// What for.
    pub reason: &'static str,
    /// Why no restore chooses it by itself.
    pub doubt: Option<&'static str>,
    /// The operator's word for it, if one was said.
    pub adopted: Option<Adopted>,
    /// A restore may choose it: nobody doubts it, or an operator answers for it.
    pub trusted: bool,
    /// The one that a restore would choose now.
    pub newest: bool,
}

/// An operator's word for a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// The file's digest, 64 hexadecimal digits.
    pub sha256: String,
    /// Who answers for it.
    pub by: String,
    /// How they know.
    pub because: String,
    /// Seconds since 1970 by the clock of the machine it was said on.
    pub said: Option<u64>,
}

impl From<&Adoption> for Adopted {
    fn from(adoption: &Adoption) -> Self {
        let Adoption { sha256, inc: _, by, because, said } = adoption.clone();
        Self { sha256: sha256.to_string(), by, because, said }
    }
}

impl Listing {
    /// Nothing is listed yet.
    pub fn new(uid: &str, inc: u64) -> Self {
        let (snapshots, unreadable) = (Vec::new(), Vec::new());
        Self { schema: "requorum.snapshots/1", uid: uid.to_owned(), inc, snapshots, unreadable }
    }
}

impl Listed {
    /// A manifest, with what the records say of it.
    pub fn new(manifest: &Manifest, by: Option<String>, trusted: bool, newest: bool) -> Self {
        Self {
            key: manifest.key(),
            inc: manifest.inc,
            revision: manifest.revision,
            live_keys: manifest.live_keys,
            size: manifest.size,
            sha256: manifest.sha256.to_string(),
            format: if manifest.needs.is_empty() { "full" } else { "incremental" },
            taken: manifest.taken,
            taken_by: by,
            reason: manifest.reason.name(),
            doubt: manifest.doubt.map(protocol::manifest::Doubt::name),
            adopted: None,
            trusted,
            newest,
        }
    }
}

/// `requorum.snapshot/1`: one snapshot and its objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Parts {
    /// Always `requorum.snapshot/1`.
    pub schema: &'static str,
    /// As it is listed.
    #[serde(flatten)]
    pub listed: Listed,
    /// etcd's version.
    pub etcd_version: String,
    /// etcd's cluster id.
    pub cluster_id: String,
    /// HashKV at its revision, in hexadecimal digits, if it could be had.
    pub hash_kv: Option<String>,
    /// etcd's compact revision then.
    pub compact_revision: Option<u64>,
    /// `raftAppliedIndex` that it holds at least.
    pub applied_index: u64,
    /// What it is made of, the base first.
    pub objects: Vec<Part>,
}

/// An object of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Its key.
    pub key: String,
    /// Bytes; absent: it is not in the bucket.
    pub size: Option<u64>,
}

impl Parts {
    /// A snapshot whose objects were not looked at yet.
    pub fn new(listed: Listed, manifest: &Manifest) -> Self {
        Self {
            schema: "requorum.snapshot/1",
            listed,
            etcd_version: manifest.etcd_version.clone(),
            cluster_id: manifest.cluster_id.to_string(),
            hash_kv: manifest.check.map(|check| format!("{:08x}", check.hash_kv)),
            compact_revision: manifest.compact,
            applied_index: manifest.applied,
            objects: Vec::new(),
        }
    }
}

/// `requorum.pruned/1`: what became of each snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Always `requorum.pruned/1`.
    pub schema: &'static str,
    /// Nothing was deleted: this is what would be.
    pub dry_run: bool,
    /// Each snapshot.
    pub snapshots: Vec<Verdict>,
    /// Data that no snapshot needed.
    pub garbage: Vec<String>,
    /// What should be deleted, and the store refused to: it stays.
    pub refused: Vec<Refused>,
}

/// An object that the store refused to delete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Its key.
    pub key: String,
    /// What the store said.
    pub because: String,
}

/// What became of one snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Its manifest's key.
    pub key: String,
    /// It stays.
    pub kept: bool,
    /// Why it stays.
    pub because: Option<&'static str>,
}

impl Verdict {
    /// What retention said, and what the store did not do.
    pub fn new(key: &str, verdict: retention::Verdict, refused: &[Refused]) -> Self {
        let is_refused = refused.iter().any(|refused| refused.key == key);
        let because = match verdict {
            retention::Verdict::Keep(why) => Some(why.reason()),
            retention::Verdict::Drop => {
                is_refused.then_some("it is no longer needed, and the store refuses to delete it")
            }
        };
        Self { key: key.to_owned(), kept: because.is_some(), because }
    }
}

impl Pruned {
    /// What was done, or would be.
    pub fn new(
        dry_run: bool,
        snapshots: Vec<Verdict>,
        garbage: Vec<String>,
        refused: Vec<Refused>,
    ) -> Self {
        Self { schema: "requorum.pruned/1", dry_run, snapshots, garbage, refused }
    }
}
