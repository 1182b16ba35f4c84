//! **snapshot** — `Maintenance.Snapshot` on its way: hashed, its revision read, and held against the digest
//! that etcd itself puts at its end.

use super::{SLOW, at, in_time, pages::Pages, trailer::Trailed};
use crate::ports::{
    etcd::{Door, Snapshot, Streamed},
    object_store::Moved,
    pieces,
};
use async_trait::async_trait;
use etcd_client::{SnapshotStreaming, StatusResponse};

/// One snapshot of one member.
pub(super) struct Stream {
    door: Door,
    pieces: SnapshotStreaming,
    trailed: Trailed,
    pages: Pages,
    applied: u64,
    term: u64,
    database: u64,
    streamed: Option<Streamed>,
}

impl Stream {
    /// `status` was asked for before the stream began: what it says of the log is a lower bound.
    pub(super) fn new(door: Door, pieces: SnapshotStreaming, status: &StatusResponse) -> Self {
        Self {
            door,
            pieces,
            trailed: Trailed::default(),
            pages: Pages::default(),
            applied: status.raft_applied_index(),
            term: status.raft_term(),
            database: u64::try_from(status.db_size()).unwrap_or(0),
            streamed: None,
        }
    }

    fn end(&mut self) -> Result<(), String> {
        let bad = |why: &str| at(&self.door, "sent a bad snapshot", &why).0;
        self.trailed.finish().map_err(|why| bad(&why))?;
        let revision = self.pages.revision().map_err(bad)?;
        self.streamed = Some(Streamed { revision, applied: self.applied, term: self.term });
        Ok(())
    }
}

#[async_trait]
impl pieces::Pieces for Stream {
    async fn next(&mut self, into: &mut Vec<u8>) -> Result<bool, String> {
        let piece = in_time(&self.door, "snapshot", SLOW, self.pieces.message());
        let Some(piece) = piece.await.map_err(|error| error.0)? else {
            return self.end().map(|()| false);
        };
        self.trailed.take(piece.blob());
        self.pages.take(piece.blob());
        into.extend_from_slice(piece.blob());
        Ok(true)
    }

    fn moved(&self) -> Moved {
        self.trailed.moved()
    }
}

impl Snapshot for Stream {
    fn streamed(&self) -> Option<Streamed> {
        self.streamed
    }

    fn database(&self) -> u64 {
        self.database
    }
}
