//! **manifest, version 1** — `<prefix>/<uid>/inc/<k>/snap/<revision>-<sha12>.json`, written once.
//!
//! Comes from whoever took a snapshot, after its data is in the bucket. Goes to the choice of a
//! source, on machines that may have lost everything else: it must be readable for ever.

use super::{
    WireError,
    fields::{Node, parse_file},
    file, parts_v1,
};
use crate::manifest::{Doubt, Manifest, Reason};
use alloc::{format, string::String, vec::Vec};
use serde::Serialize;

/// Of a whole file that may be restored. Whoever reads one of [`DEMANDING`] must know more.
const VERSION: u64 = 1;
/// Of one that needs other data, or an operator's word: what does not know of these must not choose it,
/// and one that can't be read is no candidate.
const DEMANDING: u64 = 2;

#[derive(Serialize)]
struct ManifestV1<'a> {
    v: u64,
    uid: &'a str,
    inc: u64,
    data: &'a str,
    sha256: String,
    size: u64,
    revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    live_keys: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<parts_v1::CheckV1>,
    applied_index: u64,
    raft_term: u64,
    cluster_id: String,
    taken_by: u8,
    etcd_version: &'a str,
    reason: &'static str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    needs: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    compact_revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    doubt: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    taken: Option<u64>,
}

/// The manifest as it is stored.
pub fn encode_manifest(manifest: &Manifest) -> Vec<u8> {
    let demanding = manifest.doubt.is_some()
        || !manifest.needs.is_empty()
        || manifest.reason == Reason::Adopted;
    file(&ManifestV1 {
        v: if demanding { DEMANDING } else { VERSION },
        uid: &manifest.uid,
        inc: manifest.inc,
        data: &manifest.data,
        sha256: format!("{}", manifest.sha256),
        size: manifest.size,
        revision: manifest.revision,
        live_keys: manifest.live_keys,
        check: manifest.check.as_ref().map(parts_v1::check),
        applied_index: manifest.applied,
        raft_term: manifest.term,
        cluster_id: format!("{}", manifest.cluster_id),
        taken_by: manifest.taken_by.0,
        etcd_version: &manifest.etcd_version,
        reason: manifest.reason.name(),
        needs: &manifest.needs,
        compact_revision: manifest.compact,
        doubt: manifest.doubt.map(Doubt::name),
        taken: manifest.taken,
    })
}

/// Reads a stored manifest.
///
/// # Errors
/// A sentence naming the field that is missing or not as [`encode_manifest`] writes it.
pub fn parse_manifest(bytes: &[u8]) -> Result<Manifest, WireError> {
    parse_file("manifest", bytes, VERSION..=DEMANDING, |at| {
        Ok(Manifest {
            uid: at.get("uid").text()?,
            inc: at.get("inc").number()?,
            data: at.get("data").text()?,
            sha256: at.get("sha256").digest()?,
            size: at.get("size").number()?,
            revision: at.get("revision").number()?,
            live_keys: at.get("live_keys").optional(Node::number)?,
            check: at.get("check").optional(parts_v1::read_check)?,
            applied: at.get("applied_index").number()?,
            term: at.get("raft_term").number()?,
            cluster_id: at.get("cluster_id").cluster_id()?,
            taken_by: at.get("taken_by").slot()?,
            etcd_version: at.get("etcd_version").text()?,
            reason: at.get("reason").named(Reason::parse)?,
            needs: at.get("needs").optional(|all| all.list(Node::text))?.unwrap_or_default(),
            compact: at.get("compact_revision").optional(Node::number)?,
            doubt: at.get("doubt").optional(|doubt| doubt.named(Doubt::parse))?,
            taken: at.get("taken").optional(Node::number)?,
        })
    })
}
