//! **kept** — the snapshot that was proven last, kept for the restore that a proof is made for.
//!
//! Comes in: a file that was downloaded and proven. Goes out: the same file, once, to whoever restores that
//! very snapshot, and only if its bytes still have the digest. Without it a leader would download a
//! snapshot twice: to prove it before the commit, and to restore it after. It lies beside a member's data,
//! so it is not kept for long: it goes when etcd is started, when another is proven, or after a while.

use super::{Hands, chain::Fetched};
use protocol::{event::Failure, registry::Pin};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Mutex, task::AbortHandle, time::sleep};

/// How long it is kept: longer than it takes to agree on a plan, and it costs a download if it is not.
const KEPT_FOR: Duration = Duration::from_mins(10);

/// At most one file.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Option<Held>>>);

struct Held {
    pin: Pin,
    file: Fetched,
    _end: End,
}

/// What ends the keeping; it is called off with it.
struct End(AbortHandle);

impl Drop for End {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Kept {
    /// Keeps it in place of what was kept before.
    pub(super) async fn keep(&self, pin: &Pin, file: Fetched) {
        let mut held = self.0.lock().await;
        let place = Arc::downgrade(&self.0); // it goes with who kept it
        let end = tokio::spawn(async move {
            sleep(KEPT_FOR).await;
            if let Some(place) = place.upgrade() {
                place.lock().await.take();
            }
        });
        *held = Some(Held { pin: pin.clone(), file, _end: End(end.abort_handle()) });
    }

    /// Removes it.
    pub(crate) async fn forget(&self) {
        self.0.lock().await.take();
    }
}

impl Hands {
    /// The file that a pin names: the one that is kept, if it is the same to the last byte, else it is
    /// downloaded.
    pub(super) async fn kept_or_fetched(
        &self,
        uid: &str,
        pin: &Pin,
        size: u64,
    ) -> Result<Fetched, Failure> {
        let held = self.kept.0.lock().await.take();
        if let Some(held) = held.filter(|held| held.pin == *pin) {
            let found = self.read_back(held.file.proven.path()).await;
            if found.is_ok_and(|found| found.sha256 == pin.sha256 && found.size == size) {
                return Ok(held.file);
            }
            tracing::warn!(
                key = pin.key,
                "the file kept is not what it was; it is downloaded anew"
            );
        }
        self.fetch(uid, pin, size).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::stage::Stage;
    use protocol::{
        cluster::{Digest, MemberId, Slot},
        effect::{Effect, Expected, Save, Start},
        event::Outcome,
        manifest::Reason,
    };
    use std::path::PathBuf;

    const UID: &str = "u";

    /// Hands that keep the file of a snapshot, its pin and size, and where it lies.
    async fn kept(stage: &Arc<Stage>) -> (Hands, Pin, u64, PathBuf) {
        let hands = stage.hands();
        let saved = hands.save(UID, Slot(0), &Save::whole(Reason::Hand, 1)).await;
        let Ok(Outcome::Saved(manifest)) = saved else { panic!("not saved: {saved:?}") };
        let pin = Pin { key: manifest.data, sha256: manifest.sha256 };
        let file = hands.fetch(UID, &pin, manifest.size).await.expect("it is sound");
        let path = file.proven.path().to_owned();
        hands.kept.keep(&pin, file).await;
        (hands, pin, manifest.size, path)
    }

    #[tokio::test]
    async fn it_is_given_once_and_without_a_download() {
        let stage = Stage::new(4);
        let (hands, pin, size, path) = kept(&stage).await;
        let given = hands.kept_or_fetched(UID, &pin, size).await.expect("it is sound");
        assert_eq!(given.proven.path(), path, "the one that was kept");
        let second = hands.kept_or_fetched(UID, &pin, size).await.expect("it is sound");
        assert_ne!(second.proven.path(), path, "another, for the first one is in use");
        drop(given);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_was_changed_after_its_proof_is_not_restored() {
        let stage = Stage::new(4);
        type Harm = fn(&mut Vec<u8>);
        let harms: [Harm; 3] = [|file| file[5000] ^= 1, |file| file.truncate(4096), Vec::clear];
        for harm in harms {
            let (hands, pin, size, path) = kept(&stage).await;
            let mut bytes = stage.file();
            harm(&mut bytes);
            std::fs::write(&path, bytes).expect("the scratch directory is writable");
            let given = hands.kept_or_fetched(UID, &pin, size).await.expect("it is sound");
            assert_ne!(given.proven.path(), path);
            let read = std::fs::read(given.proven.path()).expect("it is there");
            assert_eq!(read, stage.file(), "downloaded anew");
            assert!(!path.exists(), "nothing of the other is left");
            stage.write(1);
        }
    }

    #[tokio::test]
    async fn for_another_snapshot_it_is_of_no_use() {
        let stage = Stage::new(4);
        let (hands, pin, size, path) = kept(&stage).await;
        let other = Pin { sha256: Digest::of(b"another"), ..pin };
        let refused = hands.kept_or_fetched(UID, &other, size).await;
        assert!(refused.is_err(), "the bucket's object is not the pinned one");
        assert!(!path.exists());
    }

    /// Its room belongs to a member that starts, to what is saved, and to a copy of a member's data.
    #[tokio::test]
    async fn it_makes_room() {
        let stage = Stage::new(4);
        let expected = Expected { member_id: MemberId(1), cluster_id: None };
        let start = Start { quarantined: false, member: expected, join: None };
        let (hands, _, _, path) = kept(&stage).await;
        hands.change_machine(&Effect::Start(start)).await.expect_err("no etcd is here");
        assert!(!path.exists(), "gone before etcd starts");
        let (hands, _, _, path) = kept(&stage).await;
        hands.salvage(UID, Slot(0), 1).await.expect_err("no log is here");
        assert!(!path.exists(), "gone before a salvage");
        let (hands, _, _, path) = kept(&stage).await;
        hands.save(UID, Slot(0), &Save::whole(Reason::Hand, 1)).await.expect("saved");
        assert!(!path.exists(), "gone before a save");
        let (hands, _, _, path) = kept(&stage).await;
        drop(hands);
        assert!(!path.exists(), "gone with who kept it");
    }
}
