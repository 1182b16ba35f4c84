//! **data** — effects that move snapshots: save, salvage, verify, restore.
//!
//! A save is one pass: what etcd sends is hashed, read and uploaded under a fresh key as it comes, and
//! appears there only if etcd's own digest matched. Last comes the manifest, which is the commit point
//! (protocol.md 1.7). What fails on the way leaves garbage without a manifest and never a manifest
//! without its data.

use super::{
    Done, Hands, bad, chain::is_pack, content::Seen, store_failed, storing::Data, unavailable,
};
use crate::ports::{object_store::Put, snapshots::SnapshotError};
use protocol::{
    cluster::{ClusterId, Digest, Slot},
    effect::Save,
    event::{Failure, FailureKind, Outcome},
    guards,
    manifest::{Manifest, Reason},
    observation::{Alarm, Answer, LogState},
    plan::Plan,
    registry::Source,
    wire::encode_manifest,
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
pub(super) struct Scratch(pub(super) PathBuf);

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
pub(crate) struct Origin {
    pub(crate) inc: u64,
    pub(crate) revision: u64,
    pub(crate) applied: u64,
    pub(crate) term: u64,
    pub(crate) cluster_id: ClusterId,
    pub(crate) etcd_version: String,
    pub(crate) reason: Reason,
}

/// What a snapshot is held against.
struct Around<'a> {
    save: &'a Save,
    seen: &'a Seen,
    before: &'a [Manifest],
}

impl Hands {
    pub(super) fn scratch(&self) -> Scratch {
        Scratch(self.ports.snapshots.scratch().join(format!("{}.db", uuid::Uuid::new_v4())))
    }

    pub(super) async fn save(&self, uid: &str, slot: Slot, save: &Save) -> Done {
        self.kept.forget().await; // what is saved lives, and its room is its own
        let door = self.door().await;
        let status = match self.ports.etcd.probe(&door).await {
            Answer::Status(status) => status,
            Answer::Refused { why, .. } => {
                return Err(unavailable(format!("etcd gives no snapshot: {why}")));
            }
            Answer::Silent => {
                let text = "etcd does not answer; there is nothing to take a snapshot from";
                return Err(unavailable(text));
            }
        };
        let before = self.manifests_before(uid, save).await?;
        let mut snapshot = self.ports.etcd.snapshot(&door).await.map_err(unavailable)?;
        let mut chain = self.chain.lock().await;
        let (data, link) = self.store_snapshot(uid, save, &mut *snapshot, &mut chain).await?;
        let streamed = snapshot.streamed();
        let streamed = streamed.ok_or_else(|| unavailable("etcd's snapshot did not end"))?;
        let origin = Origin {
            inc: save.inc,
            revision: streamed.revision,
            applied: streamed.applied,
            term: streamed.term,
            cluster_id: status.cluster_id,
            etcd_version: status.version,
            reason: save.reason,
        };
        let corrupt = status.alarms.contains(&Alarm::Corrupt);
        let seen = self.seen(&door, streamed.revision, &save.peers, corrupt).await;
        let seen = Around { save, seen: &seen, before: &before };
        let objects = data.needs.iter().chain([&data.key]);
        if let Some(gone) = self.gone(uid, save.inc, objects).await? {
            *chain = None;
            return Err(unavailable(format!("{gone} was deleted meanwhile; a whole file is due")));
        }
        let manifest = self.publish_snapshot(uid, slot, &data, origin, &seen).await?;
        if manifest.data == data.key {
            link.join(&mut chain); // only now: nothing is laid over what no manifest speaks of
        }
        if save.exports(manifest.doubt, !is_pack(&data.key)) {
            self.exported(uid, &data.key, &manifest).await?;
        }
        Ok(Outcome::Saved(manifest))
    }

    /// What a snapshot is measured by, read before it streams: in the clock's time without an answer
    /// nothing is saved, in a plight it is saved all the same.
    async fn manifests_before(&self, uid: &str, save: &Save) -> Result<Vec<Manifest>, Failure> {
        let read = self.manifests(uid, save.inc, &[]).await;
        match (read, save.reason) {
            (Err(failure), Reason::Suspicion | Reason::BeforeRollback) => {
                tracing::warn!("{}; the snapshot is compared with none before it", failure.text);
                Ok(Vec::new())
            }
            (read, _) => read,
        }
    }

    /// The snapshot is in the bucket, whatever becomes of its copy; who asked for the copy is told.
    async fn exported(&self, uid: &str, data: &str, saved: &Manifest) -> Result<(), Failure> {
        let Err(failure) = self.export(uid, data, &saved.key()).await else { return Ok(()) };
        let text = format!(
            "the snapshot {} is in the bucket, but snapshot.db could not be renewed: {}",
            saved.key(),
            failure.text
        );
        if saved.reason == Reason::Hand {
            return Err(Failure { text, ..failure });
        }
        tracing::warn!("{text}");
        Ok(())
    }

    /// A snapshot from a copy of the stopped member's data. It holds all that the log had
    /// committed, so its index is the log's commit index.
    pub(super) async fn salvage(&self, uid: &str, slot: Slot, inc: u64) -> Done {
        self.kept.forget().await; // a copy of the member and its snapshot need the room
        let log = self.ports.machine.read_log().await.map_err(unavailable)?;
        let LogState::Present { cluster_id, .. } = self.ports.machine.data().await.log else {
            return Err(unavailable("the stopped member's log is not there to be salvaged"));
        };
        let file = self.scratch();
        // only this one may say "bad": etcd itself refuses a copy of the data
        self.ports.snapshots.salvage(&file.0).await?;
        let aside = |failure: Failure| Failure { kind: passing(failure.kind), ..failure };
        let (data, revision) = self.store_file(uid, inc, &file.0).await.map_err(aside)?;
        let origin = Origin {
            inc,
            revision,
            applied: log.commit,
            term: log.last_term,
            cluster_id,
            etcd_version: "salvaged".into(),
            reason: Reason::Salvage,
        };
        let published = self.publish_alone(uid, slot, &data, origin).await;
        Ok(Outcome::Saved(published.map_err(aside)?))
    }

    /// Verifies a snapshot that is not ours and copies it to where ours are; answers with its revision.
    pub(crate) async fn copy_foreign(
        &self,
        uid: &str,
        inc: u64,
        from: &str,
    ) -> Result<(Data, u64), Failure> {
        let absent = || bad(format!("there is no object {from} in the bucket"));
        let tail =
            self.ports.store.tail(from, 1).await.map_err(store_failed)?.ok_or_else(absent)?;
        self.has_room(tail.size)?;
        let file = self.scratch();
        let found = self.ports.store.download(from, &file.0).await.map_err(store_failed)?;
        found.ok_or_else(absent)?;
        self.store_file(uid, inc, &file.0).await
    }

    /// Checks a whole file and stores it; answers with its revision.
    async fn store_file(&self, uid: &str, inc: u64, file: &Path) -> Result<(Data, u64), Failure> {
        let revision = self.inspect_whole(file).await?;
        let mut pieces = self.ports.snapshots.pieces(file).await.map_err(Failure::from)?;
        Ok((self.store_whole(uid, inc, &mut *pieces, false).await?, revision))
    }

    /// Publishes what is measured by nothing: a salvage, or what an operator brought, once its digest is
    /// on record.
    pub(crate) async fn publish_alone(
        &self,
        uid: &str,
        slot: Slot,
        data: &Data,
        origin: Origin,
    ) -> Result<Manifest, Failure> {
        let (save, alone) = (Save::whole(origin.reason, origin.inc), Seen::default());
        let seen = Around { save: &save, seen: &alone, before: &[] };
        self.publish_snapshot(uid, slot, data, origin, &seen).await
    }

    async fn inspect_whole(&self, file: &Path) -> Result<u64, Failure> {
        let inspected = self.ports.snapshots.inspect(file).await?;
        if !inspected.trailer_matches {
            return Err(bad("the snapshot's own sha256 does not match; it is not kept"));
        }
        Ok(inspected.revision)
    }

    /// Writes the manifest, which is the commit point, and answers with what stands under its key: the
    /// same content may have been published before.
    async fn publish_snapshot(
        &self,
        uid: &str,
        slot: Slot,
        data: &Data,
        origin: Origin,
        around: &Around<'_>,
    ) -> Result<Manifest, Failure> {
        let seen = around.seen;
        let mut manifest = Manifest {
            uid: uid.to_owned(),
            inc: origin.inc,
            data: data.key.clone(),
            sha256: data.moved.sha256,
            size: data.moved.size,
            revision: origin.revision,
            live_keys: seen.live_keys,
            check: seen.check(origin.revision),
            applied: origin.applied,
            term: origin.term,
            cluster_id: origin.cluster_id,
            taken_by: slot,
            etcd_version: origin.etcd_version,
            reason: origin.reason,
            needs: data.needs.clone(),
            compact: seen.mine.map(|content| content.compact),
            doubt: None,
            taken: Some(self.ports.clock.unix()),
        };
        manifest.doubt = guards::doubt(&manifest, &seen.around(around.before, around.save));
        let key = self.keys(uid).under(&manifest.key());
        let bytes = encode_manifest(&manifest);
        let put = self.ports.store.put_if_absent(&key, bytes).await.map_err(store_failed)?;
        if put == Put::Conflict {
            return self.published_before(uid, &key).await;
        }
        match manifest.doubt {
            None => tracing::info!(
                key,
                revision = manifest.revision,
                size = manifest.size,
                "snapshot published"
            ),
            Some(doubt) => tracing::warn!(
                key,
                doubt = doubt.name(),
                "snapshot published; it is doubtful, and no restore chooses it by itself"
            ),
        }
        Ok(manifest)
    }

    pub(super) async fn verify(&self, uid: &str, source: &Source) -> Done {
        let Some(pin) = &source.object else {
            return Err(bad("there is no snapshot to verify"));
        };
        self.kept.forget().await; // two at once may be too many for the disk
        let file = self.fetch(uid, pin, source.size).await?;
        let inspected = self.ports.snapshots.inspect(file.proven.path()).await?;
        if !inspected.trailer_matches || inspected.revision != source.revision {
            return Err(bad(format!(
                "the snapshot {} holds revision {}, its manifest says {}",
                pin.key, inspected.revision, source.revision
            )));
        }
        self.kept.keep(pin, file).await;
        Ok(Outcome::Ok)
    }

    pub(super) async fn restore(&self, uid: &str, plan: &Plan, digest: Digest) -> Done {
        let Some(pin) = &plan.source.object else {
            return Err(bad("the plan has no snapshot to restore"));
        };
        let file = self.kept_or_fetched(uid, pin, plan.source.size).await?;
        self.ports.snapshots.restore(&file.proven, &self.site.name, plan, digest).await?;
        Ok(Outcome::Ok)
    }
}
