//! **exported** — the plain `snapshot.db` at its old URI, which other tools read and other tools wrote.
//!
//! Comes in: a whole snapshot that nobody doubts. Goes out: a copy of it at that URI. What lies there and is
//! not ours may be the last snapshot of the cluster that was here before: it is kept, under a name that tells
//! its version, before anything is put in its place. The copy demands that what it replaces is what was
//! looked at; where that was replaced meanwhile it is looked at again.
//!
//! A store may ignore what a completed upload demands of its place (S3 does not). It is asked once a process,
//! at a key of no meaning, and the log says so: there a file that another puts between our look and our copy,
//! some moments later, is lost.

use super::{Hands, store_failed};
use crate::ports::object_store::{ObjectStore, Put, StoreError, Tail, Version};
use protocol::{event::Failure, wire::Keys};

/// How often a copy, or the note of it, is tried where others write at the same time.
const TRIES: usize = 3;
/// Versions of ours that are remembered: more than agents can export at the same time.
const NOTED: usize = 8;
/// A version that no store gives to anything.
const NO_VERSION: &str = "\"0\"";

impl Hands {
    /// `manifest`: its key, which names an object that is small.
    pub(super) async fn export(
        &self,
        uid: &str,
        data: &str,
        manifest: &str,
    ) -> Result<(), Failure> {
        let place = Place { store: &*self.ports.store, prefix: &self.site.prefix, uid };
        let mut is_asked = self.copies_asked.lock().await;
        if !*is_asked {
            *is_asked = true; // once, whatever comes of it: it changes nothing but the log
            match place.judges_copies(manifest).await {
                Ok(true) => {}
                Ok(false) => tracing::warn!(
                    "the bucket's store ignores If-Match where an upload is completed: a snapshot.db \
                     that another puts there in the moment of an export is replaced and not kept"
                ),
                Err(error) => tracing::info!(%error, "whether the store judges copies is unknown"),
            }
        }
        place.renew(data).await.map_err(store_failed)
    }
}

/// Where a cluster's snapshot is exported to.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The bucket.
    pub store: &'a dyn ObjectStore,
    /// Prefix of all keys in it, without slashes at its ends.
    pub prefix: &'a str,
    /// The cluster.
    pub uid: &'a str,
}

impl Place<'_> {
    /// Puts a copy of `data`, a key below the cluster's prefix, there.
    ///
    /// # Errors
    /// The store's own, or that others replaced it again and again; what is there is then theirs.
    pub async fn renew(&self, data: &str) -> Result<(), StoreError> {
        let to = Keys::exported_snapshot(self.prefix);
        let data = self.version(data).await?;
        for _ in 0..TRIES {
            let there = self.store.tail(&to, 1).await?;
            // after the look: who exported at the same time has noted it by now, or is kept for nothing
            let noted = self.store.get(&self.note_key()).await?;
            let noted = noted.map(|note| note.bytes).unwrap_or_default();
            if let Some(there) = there.as_ref().filter(|there| !is_noted(&noted, &there.etag)) {
                self.keep(&to, there).await?;
            }
            let over = there.as_ref().map(|there| there.etag.as_str());
            match self.store.copy(&data, &to, over).await? {
                Put::Done { etag } => return self.note(&etag).await,
                Put::Conflict => {
                    tracing::info!(key = to, "replaced meanwhile; it is looked at again");
                }
            }
        }
        let text = format!("others replaced {to} {TRIES} times while it was to be renewed");
        Err(StoreError::Unavailable(format!("{text}; it is left to them until the next export")))
    }

    /// Whether the store judges what a copy demands of its place. `of`: the key, below the cluster's prefix,
    /// of any object that is small.
    ///
    /// # Errors
    /// The store's own.
    pub async fn judges_copies(&self, of: &str) -> Result<bool, StoreError> {
        let probe = format!("{}/probe/copied", self.prefix);
        let of = self.version(of).await?;
        let put = self.store.copy(&of, probe.trim_start_matches('/'), Some(NO_VERSION)).await?;
        Ok(put == Put::Conflict)
    }

    fn note_key(&self) -> String {
        Keys::new(self.prefix, self.uid).under("exported-etag")
    }

    async fn version(&self, key: &str) -> Result<Version, StoreError> {
        let key = Keys::new(self.prefix, self.uid).under(key);
        let tail = self.store.tail(&key, 1).await?;
        let tail = tail.ok_or_else(|| StoreError::Bad(format!("{key} is not in the bucket")))?;
        Ok(Version { key, etag: tail.etag })
    }

    /// Copies what is not ours beside its place. The copy is named by the version, so one that is there is
    /// the same; that it is there is seen, since a conflict alone does not say so.
    async fn keep(&self, key: &str, there: &Tail) -> Result<(), StoreError> {
        let aside = aside(key, &there.etag);
        let from = Version { key: key.to_owned(), etag: there.etag.clone() };
        if self.store.copy(&from, &aside, None).await? == Put::Conflict {
            let kept = self.store.tail(&aside, 1).await?;
            if kept.is_none_or(|kept| kept.size != there.size) {
                let text = format!("{key} is not ours and could not be kept as {aside}; it stays");
                return Err(StoreError::Unavailable(text));
            }
        }
        tracing::warn!(kept = aside, "the snapshot.db that was there is not ours; it is kept");
        Ok(())
    }

    /// Remembers that a version is ours. One that is not remembered is kept aside by the next export, which
    /// costs room and nothing else.
    async fn note(&self, etag: &str) -> Result<(), StoreError> {
        let key = self.note_key();
        for _ in 0..TRIES {
            let put = match self.store.get(&key).await? {
                Some(before) => {
                    let noted = with(&before.bytes, etag);
                    self.store.put_if_match(&key, noted, &before.etag).await?
                }
                None => self.store.put_if_absent(&key, with(&[], etag)).await?,
            };
            match put {
                Put::Done { .. } => return Ok(()),
                Put::Conflict => {}
            }
        }
        tracing::info!(key, "others note their exports at the same time; this one is not noted");
        Ok(())
    }
}

fn is_noted(noted: &[u8], etag: &str) -> bool {
    noted.split(|byte| *byte == b'\n').any(|line| line == etag.as_bytes())
}

/// The note with one more version, a line each, the latest last.
fn with(noted: &[u8], etag: &str) -> Vec<u8> {
    let lines = noted.split(|byte| *byte == b'\n');
    let mut lines: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
    lines.push(etag.as_bytes());
    let from = lines.len().saturating_sub(NOTED);
    lines[from..].join(&b'\n')
}

/// Where what was there goes: beside it. Its version names it, so nothing else is ever put in its place.
fn aside(key: &str, etag: &str) -> String {
    let version: String = etag.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{}-{version}.db", key.trim_end_matches(".db"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_is_named_by_its_version() {
        let key = Keys::exported_snapshot("p");
        let kept = "p/exported/etcd-snapshots/snapshot-9b2cf535.db";
        assert_eq!(aside(&key, "\"9b2cf535\""), kept);
    }

    #[test]
    fn the_last_versions_are_noted() {
        // what an earlier agent left is one version without an end of line
        let mut noted = b"\"first\"".to_vec();
        assert!(is_noted(&noted, "\"first\"") && !is_noted(&noted, "\"firs"));
        for number in 0..NOTED {
            noted = with(&noted, &format!("\"{number}\""));
        }
        assert!(!is_noted(&noted, "\"first\"") && !is_noted(&noted, ""));
        assert!(is_noted(&noted, "\"0\"") && is_noted(&noted, "\"7\""));
    }
}
