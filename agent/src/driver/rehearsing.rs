//! **rehearsing** — restores a snapshot where it hurts nobody.
//!
//! Comes in: a manifest. Goes out: what the restored etcd showed, held against the manifest. It needs room
//! beside the live member's data, and is not begun where that could be taken from it.

use super::Hands;
use crate::ports::snapshots::{Expected, Rehearsed};
use protocol::{
    event::{Failure, FailureKind},
    manifest::Manifest,
    registry::Pin,
};

/// Room asked for, in sizes of the file: the download, the restored database, and as much again for what
/// the live member writes meanwhile.
const SIZES: u64 = 3;
/// And bytes for etcd's log, which it allocates ahead, and for the index.
const BESIDE: u64 = 512 << 20;

impl Hands {
    pub(crate) async fn rehearse(
        &self,
        uid: &str,
        manifest: &Manifest,
    ) -> Result<Rehearsed, Failure> {
        let wanted = manifest.size.saturating_mul(SIZES).saturating_add(BESIDE);
        let room = self.ports.snapshots.room();
        if let Some(room) = room.filter(|room| *room < wanted) {
            let text = format!(
                "{} MB are free beside etcd's data and a rehearsal asks for {} MB",
                room >> 20,
                wanted >> 20
            );
            return Err(Failure { kind: FailureKind::NoSpace, text });
        }
        let pin = Pin { key: manifest.data.clone(), sha256: manifest.sha256 };
        let file = self.fetch(uid, &pin, manifest.size).await?;
        let expected = Expected {
            revision: manifest.revision,
            check: manifest.check,
            compact: manifest.compact,
            live_keys: manifest.live_keys,
        };
        Ok(self.ports.snapshots.rehearse(file.proven.path(), &expected).await?)
    }
}
