//! **data** — effects that move snapshots: save, salvage, verify, restore.
//!
//! A save is one pass: what etcd sends is hashed, read and uploaded under a fresh key as it comes, and
//! appears there only if etcd's own digest matched. Last comes the manifest, which is the commit point
//! (protocol.md 1.7). What fails on the way leaves garbage without a manifest and never a manifest
//! without its data.

use super::{Done, Hands, bad, store_failed, unavailable};
use crate::ports::{
    etcd::Door,
    object_store::{Moved, Put},
    pieces::Pieces,
    snapshots::SnapshotError,
};
use protocol::{
    cluster::{ClusterId, Digest, Slot},
    event::{Failure, FailureKind, Outcome},
    manifest::{Manifest, Reason},
    observation::{Answer, Check, LogState},
    plan::Plan,
    registry::{Pin, Source},
    wire::{Keys, encode_manifest},
};
use std::path::{Path, PathBuf};

impl From<SnapshotError> for Failure {
    fn from(error: SnapshotError) -> Self {
        let kind = match &error {
            SnapshotError::Bad(_) => FailureKind::Bad,
            SnapshotError::NoSpace(_) => FailureKind::NoSpace,
            SnapshotError::Failed(_) => FailureKind::Unavailable,
        };
        Self { kind, text: error.to_string() }
    }
}

/// A file that is removed when it goes out of scope, whatever happened.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(file = %self.0.display(), %error, "a scratch file stays behind");
        }
    }
}

/// What went wrong beside the data says nothing about it.
const fn passing(kind: FailureKind) -> FailureKind {
    match kind {
        FailureKind::Bad | FailureKind::Unavailable => FailureKind::Unavailable,
        FailureKind::NoSpace => FailureKind::NoSpace,
    }
}

/// What is known of a snapshot beside its bytes.
struct Origin {
    inc: u64,
    revision: u64,
    applied: u64,
    term: u64,
    cluster_id: ClusterId,
    etcd_version: String,
    reason: Reason,
    /// The member that can still be asked about its content.
    door: Option<Door>,
}

impl Hands {
    fn scratch(&self) -> Scratch {
        Scratch(self.ports.snapshots.scratch().join(format!("{}.db", uuid::Uuid::new_v4())))
    }

    pub(super) async fn save(&self, uid: &str, slot: Slot, reason: Reason, inc: u64) -> Done {
        let door = self.door().await;
        let Answer::Status(status) = self.ports.etcd.probe(&door).await else {
            return Err(unavailable(
                "etcd does not answer; there is nothing to take a snapshot from",
            ));
        };
        let mut snapshot = self.ports.etcd.snapshot(&door).await.map_err(unavailable)?;
        let (data, moved) = self.upload(uid, inc, &mut *snapshot).await?;
        let streamed = snapshot.streamed();
        let streamed = streamed.ok_or_else(|| unavailable("etcd's snapshot did not end"))?;
        let origin = Origin {
            inc,
            revision: streamed.revision,
            applied: streamed.applied,
            term: streamed.term,
            cluster_id: status.cluster_id,
            etcd_version: status.version,
            reason,
            door: Some(door),
        };
        self.publish_snapshot(uid, slot, data, moved, origin).await
    }

    /// Stores what comes under a key of its own, which is answered. Its revision and digest are known
    /// only at the end, and S3 renames nothing.
    async fn upload(
        &self,
        uid: &str,
        inc: u64,
        pieces: &mut dyn Pieces,
    ) -> Result<(String, Moved), Failure> {
        let data = Keys::data(inc, &uuid::Uuid::new_v4().to_string());
        let key = self.keys(uid).under(&data);
        let moved = self.ports.store.upload(&key, pieces).await.map_err(store_failed)?;
        Ok((data, moved))
    }

    /// A snapshot from a copy of the stopped member's data. It holds all that the log had
    /// committed, so its index is the log's commit index.
    pub(super) async fn salvage(&self, uid: &str, slot: Slot, inc: u64) -> Done {
        let log = self.ports.machine.read_log().await.map_err(unavailable)?;
        let LogState::Present { cluster_id, .. } = self.ports.machine.data().await.log else {
            return Err(unavailable("the stopped member's log is not there to be salvaged"));
        };
        let file = self.scratch();
        // only this one may say "bad": etcd itself refuses a copy of the data
        self.ports.snapshots.salvage(&file.0).await?;
        let aside = |failure: Failure| Failure { kind: passing(failure.kind), ..failure };
        let revision = self.inspect_salvage(&file.0).await.map_err(aside)?;
        let mut pieces = self.ports.snapshots.pieces(&file.0).await.map_err(Failure::from)?;
        let (data, moved) = self.upload(uid, inc, &mut *pieces).await.map_err(aside)?;
        let origin = Origin {
            inc,
            revision,
            applied: log.commit,
            term: log.last_term,
            cluster_id,
            etcd_version: "salvaged".into(),
            reason: Reason::Salvage,
            door: None,
        };
        self.publish_snapshot(uid, slot, data, moved, origin).await.map_err(aside)
    }

    async fn inspect_salvage(&self, file: &Path) -> Result<u64, Failure> {
        let inspected = self.ports.snapshots.inspect(file).await?;
        if !inspected.trailer_matches {
            return Err(bad("the snapshot's own sha256 does not match; it is not kept"));
        }
        Ok(inspected.revision)
    }

    async fn publish_snapshot(
        &self,
        uid: &str,
        slot: Slot,
        data: String,
        moved: Moved,
        origin: Origin,
    ) -> Done {
        let keys = self.keys(uid);
        let (live_keys, check) = self.content(origin.door.as_ref(), origin.revision).await;
        let manifest = Manifest {
            uid: uid.to_owned(),
            inc: origin.inc,
            data: data.clone(),
            sha256: moved.sha256,
            size: moved.size,
            revision: origin.revision,
            live_keys,
            check,
            applied: origin.applied,
            term: origin.term,
            cluster_id: origin.cluster_id,
            taken_by: slot,
            etcd_version: origin.etcd_version,
            reason: origin.reason,
        };
        let key = keys.under(&manifest.key());
        let put = self
            .ports
            .store
            .put_if_absent(&key, encode_manifest(&manifest))
            .await
            .map_err(store_failed)?;
        if put == Put::Conflict {
            tracing::info!(key, "the same snapshot was published before");
        }
        if origin.reason == Reason::Hand {
            self.export(&keys.under(&data)).await?;
        }
        tracing::info!(
            key,
            revision = manifest.revision,
            size = manifest.size,
            "snapshot published"
        );
        Ok(Outcome::Saved(manifest))
    }

    /// Live keys and HashKV at the snapshot's revision; either may be unknown.
    async fn content(&self, door: Option<&Door>, revision: u64) -> (Option<u64>, Option<Check>) {
        let Some(door) = door else { return (None, None) };
        let live_keys = self.ports.etcd.live_keys(door, revision).await.ok();
        let hashed = self.ports.etcd.hash_kv(door, revision).await.ok();
        let check = live_keys.zip(hashed).map(|(live_keys, (at, _, hash_kv))| Check {
            revision: at,
            hash_kv,
            live_keys,
        });
        (live_keys, check.filter(|check| check.revision == revision))
    }

    /// The seed's `snapshot.db`: a whole plain snapshot at its old URI.
    async fn export(&self, from: &str) -> Result<(), Failure> {
        let to = Keys::exported_snapshot(&self.site.prefix);
        self.ports.store.copy(from, &to).await.map_err(store_failed)
    }

    /// Downloads an object and proves that it is the pinned one.
    async fn fetch(&self, uid: &str, pin: &Pin, size: u64) -> Result<Scratch, Failure> {
        let full = self.keys(uid).under(&pin.key);
        let file = self.scratch();
        let moved = self.ports.store.download(&full, &file.0).await.map_err(store_failed)?;
        let moved =
            moved.ok_or_else(|| bad(format!("the snapshot {full} is not in the bucket")))?;
        if moved.sha256 != pin.sha256 || moved.size != size {
            return Err(bad(format!(
                "the snapshot {full} is damaged: {} bytes with sha256 {}, expected {size} bytes with {}",
                moved.size, moved.sha256, pin.sha256
            )));
        }
        Ok(file)
    }

    pub(super) async fn verify(&self, uid: &str, source: &Source) -> Done {
        let Some(pin) = &source.object else {
            return Err(bad("there is no snapshot to verify"));
        };
        let file = self.fetch(uid, pin, source.size).await?;
        let inspected = self.ports.snapshots.inspect(&file.0).await?;
        if !inspected.trailer_matches || inspected.revision != source.revision {
            return Err(bad(format!(
                "the snapshot {} holds revision {}, its manifest says {}",
                pin.key, inspected.revision, source.revision
            )));
        }
        Ok(Outcome::Ok)
    }

    pub(super) async fn restore(&self, uid: &str, plan: &Plan, digest: Digest) -> Done {
        let Some(pin) = &plan.source.object else {
            return Err(bad("the plan has no snapshot to restore"));
        };
        let file = self.fetch(uid, pin, plan.source.size).await?;
        self.ports.snapshots.restore(&file.0, &self.site.name, plan, digest).await?;
        Ok(Outcome::Ok)
    }
}
