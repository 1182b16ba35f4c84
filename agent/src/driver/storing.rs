//! **storing** — how a snapshot's bytes come to stand in the bucket: as the file, as a pack that lies over
//! another, or, where snapshots are sealed, as a pack that lies over nothing.
//!
//! Comes in: etcd's stream or a file, and the chain that may be extended. Goes out: keys and digests, for the
//! manifest. What is exported is a plain file: where snapshots are sealed that must have been asked for.

use super::{
    Hands,
    chain::{Extended, Link},
    differences::Noted,
    packing::Packing,
    unavailable,
};
use crate::ports::{etcd::Snapshot, object_store::Moved, pieces::Pieces};
use protocol::{
    effect::Save,
    event::Failure,
    pack::{Blocks, Chain},
    registry::Pin,
    wire::Keys,
};

/// Bytes that are in the bucket, and how they make a file.
pub(crate) struct Data {
    /// Its key.
    pub(crate) key: String,
    /// Of the file.
    pub(crate) moved: Moved,
    /// Keys of what it is laid over.
    pub(super) needs: Vec<String>,
}

fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

impl Hands {
    /// Stores the stream whole, or what differs from the snapshot before it; answers how the chain
    /// goes on once its manifest is published. Until then the chain is what it was.
    pub(super) async fn store_snapshot(
        &self,
        uid: &str,
        save: &Save,
        snapshot: &mut dyn Snapshot,
        chain: &mut Option<Extended>,
    ) -> Result<(Data, Link), Failure> {
        let name = save.chain.as_deref().filter(|_| self.site.incremental);
        let database = snapshot.database();
        let fits =
            |chain: &&mut Extended| name.is_some() && save.lays_over(&chain.known(), database);
        if let Some(chain) = chain.as_mut().filter(fits) {
            return self.lay_over(uid, save.inc, snapshot, chain).await;
        }
        let Some(name) = name else {
            return Ok((self.store_whole(uid, save.inc, snapshot, save.export).await?, Link::None));
        };
        *chain = None; // two tables of blocks at once would be too many
        let mut blocks = Blocks::new();
        let mut noted = Noted::new(snapshot, &mut blocks);
        let data = self.store_whole(uid, save.inc, &mut noted, save.export).await?;
        let base = Extended {
            name: name.to_owned(),
            inc: save.inc,
            newest: Pin { key: data.key.clone(), sha256: data.moved.sha256 },
            keys: vec![data.key.clone()],
            grown: Chain { base: data.moved.size, packs: 0, bytes: 0 },
            blocks,
            database,
            outgrown: false,
        };
        Ok((data, Link::Base(Box::new(base))))
    }

    async fn lay_over(
        &self,
        uid: &str,
        inc: u64,
        snapshot: &mut dyn Snapshot,
        chain: &mut Extended,
    ) -> Result<(Data, Link), Failure> {
        let key = Keys::pack(inc, &new_id());
        let (newest, blocks) = (chain.newest.clone(), &mut chain.blocks);
        let pack = Packing::differences(snapshot, newest, blocks, &self.site.seal);
        let mut pack = pack.map_err(unavailable)?;
        let stored = match self.upload(uid, &key, &mut pack).await {
            Err(failure) => {
                chain.outgrown = pack.outgrew(); // else the next one would fail alike
                return Err(failure);
            }
            Ok(stored) => stored,
        };
        let moved = snapshot.moved();
        let newest = Pin { key: key.clone(), sha256: moved.sha256 };
        let link = Link::Pack { newest, bytes: stored.size, database: snapshot.database() };
        Ok((Data { key, moved, needs: chain.keys.clone() }, link))
    }

    /// Stores a file so that it needs no other: as it is where other tools shall read it or nothing is
    /// sealed, else sealed.
    pub(super) async fn store_whole(
        &self,
        uid: &str,
        inc: u64,
        pieces: &mut dyn Pieces,
        plain: bool,
    ) -> Result<Data, Failure> {
        if plain || !self.site.seal.seals() {
            let key = Keys::data(inc, &new_id());
            let moved = self.upload_whole(uid, &key, pieces).await?;
            return Ok(Data { key, moved, needs: Vec::new() });
        }
        let key = Keys::pack(inc, &new_id());
        let mut pack = Packing::whole(pieces, &self.site.seal).map_err(unavailable)?;
        self.upload(uid, &key, &mut pack).await?;
        Ok(Data { key, moved: pieces.moved(), needs: Vec::new() })
    }
}
