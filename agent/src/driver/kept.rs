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
