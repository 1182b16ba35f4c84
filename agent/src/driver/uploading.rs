//! **uploading** — data on its way into the bucket.
//!
//! Comes in: a key below the cluster's prefix, and pieces. Goes out: their size and digest, once all are
//! there. What is remembered of the last whole file that was saved spares the next one what is the same.

use super::{Hands, store_failed};
use crate::ports::{object_store::Moved, pieces::Pieces};
use protocol::event::Failure;

impl Hands {
    pub(super) async fn upload(
        &self,
        uid: &str,
        key: &str,
        pieces: &mut dyn Pieces,
    ) -> Result<Moved, Failure> {
        let full = self.keys(uid).under(key);
        self.ports.store.upload(&full, pieces).await.map_err(store_failed)
    }

    /// A whole file of the member: much of it is as in the one before, and copied from there.
    pub(super) async fn upload_whole(
        &self,
        uid: &str,
        key: &str,
        pieces: &mut dyn Pieces,
    ) -> Result<Moved, Failure> {
        let full = self.keys(uid).under(key);
        let mut before = self.last_whole.lock().await;
        let stored = self.ports.store.upload_like(&full, pieces, &mut before).await;
        stored.map_err(store_failed)
    }
}
