//! **exported** — the plain `snapshot.db` at its old URI, which other tools read.
//!
//! Comes in: a whole snapshot that nobody doubts. Goes out: a copy of it at that URI. What lies there and is
//! not ours may be the last snapshot of the cluster that was here before: it is kept, under a name that tells
//! its version, before anything is put in its place.

use super::{Hands, store_failed};
use crate::ports::object_store::{Put, StoreError};
use protocol::{event::Failure, wire::Keys};

impl Hands {
    pub(super) async fn export(&self, uid: &str, data: &str) -> Result<(), Failure> {
        self.try_to_export(uid, data).await.map_err(store_failed)
    }

    async fn try_to_export(&self, uid: &str, data: &str) -> Result<(), StoreError> {
        let store = &self.ports.store;
        let keys = self.keys(uid);
        let (note, to) = (keys.under("exported-etag"), Keys::exported_snapshot(&self.site.prefix));
        let ours = store.get(&note).await?;
        let there = store.tail(&to, 1).await?;
        if let Some(there) = &there
            && ours.as_ref().is_none_or(|ours| ours.bytes != there.etag.as_bytes())
        {
            let aside = aside(&to, &there.etag);
            tracing::warn!(kept = aside, "the snapshot.db that was there is not ours; it is kept");
            store.copy(&to, &aside).await?;
        }
        store.copy(&keys.under(data), &to).await?;
        let Some(now) = store.tail(&to, 1).await? else { return Ok(()) };
        let bytes = now.etag.into_bytes();
        let put = match &ours {
            Some(ours) => store.put_if_match(&note, bytes, &ours.etag).await?,
            None => store.put_if_absent(&note, bytes).await?,
        };
        if put == Put::Conflict {
            tracing::info!("another agent exported a snapshot at the same time");
        }
        Ok(())
    }
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
}
