//! **chain** — snapshots that are laid over others: what this process remembers of the one it extends, and
//! how the end of one becomes a file again.
//!
//! Comes in: a pin, which is all that a plan carries. Goes out: the file, proven by its digest. A pack names
//! what it is laid over, so the way back to the base is found from the newest (`protocol/src/pack.rs`).
//! Whatever is missing or damaged on that way is named, and makes the snapshot a bad one. What is sealed for a
//! key that is not here does not: that says nothing about it.

use super::{
    Hands, bad, data::Scratch, laying::lay, local_failed, packed::Lost, store_failed, unavailable,
};
use crate::ports::{
    object_store::{Moved, Tail},
    snapshots::Proven,
};
use protocol::{
    cluster::Digest,
    event::{Failure, FailureKind},
    manifest::Manifest,
    pack::{self, Blocks, CHAIN_MAX, Chain, Pack},
    registry::Pin,
    wire::{Keys, PACK_TRAILER, parse_pack_index, parse_pack_trailer},
};
use std::path::Path;

/// Bytes asked for at the end of a pack: most indexes are shorter, so one call brings both.
const TAIL: u64 = 256 << 10;
/// Bytes that stay free whatever is downloaded: etcd allocates its log ahead, 64 MB a file.
const BESIDE: u64 = 128 << 20;

/// The chain that this process extends.
#[derive(Debug)]
pub(crate) struct Extended {
    /// Its name in the record of whose turn it is.
    pub(super) name: String,
    pub(super) inc: u64,
    /// The newest data of it, and the digest of the file that this gives.
    pub(super) newest: Pin,
    /// Keys of all of it, the base first.
    pub(super) keys: Vec<String>,
    pub(super) grown: Chain,
    pub(super) blocks: Blocks,
    /// Bytes of etcd's database then.
    pub(super) database: u64,
    /// A pack had too many runs: a whole file is due.
    pub(super) outgrown: bool,
}

impl Extended {
    /// What decides whether it goes on.
    pub(super) fn known(&self) -> pack::Extended<'_> {
        let &Self { ref name, inc, grown, database, outgrown, .. } = self;
        pack::Extended { name, inc, grown, database, outgrown }
    }
}

/// How a chain goes on with a snapshot.
pub(super) enum Link {
    /// It does not: the snapshot is a whole file on its own.
    None,
    /// A new one begins.
    Base(Box<Extended>),
    /// One pack more.
    Pack {
        /// Its key, and the digest of the file that it gives.
        newest: Pin,
        /// What was stored.
        bytes: u64,
        /// Bytes of etcd's database.
        database: u64,
    },
}

impl Link {
    /// Joins it to the chain.
    pub(super) fn join(self, chain: &mut Option<Extended>) {
        match (self, chain) {
            (Self::Base(mut base), chain) => {
                base.blocks.keep();
                *chain = Some(*base);
            }
            (Self::Pack { newest, bytes, database }, Some(chain)) => {
                chain.blocks.keep();
                chain.keys.push(newest.key.clone());
                chain.newest = newest;
                chain.grown.packs += 1;
                chain.grown.bytes += bytes;
                chain.database = database;
            }
            (Self::Pack { .. } | Self::None, _) => {}
        }
    }
}

/// A snapshot's file, which goes when this does.
pub(super) struct Fetched {
    _file: Scratch,
    pub(super) proven: Proven,
}

pub(super) fn is_pack(key: &str) -> bool {
    Path::new(key).extension().is_some_and(|extension| extension == "pack")
}

/// A pack on the way back from the end of a chain.
struct Laid {
    key: String,
    pack: Pack,
    /// Bytes that are stored for its blocks.
    stored: u64,
}

impl Hands {
    /// The packs that lead from the pinned one back to a base, the newest first, and the base; `None`: the
    /// last of them lies over nothing.
    async fn way_back(&self, uid: &str, pin: &Pin) -> Result<(Vec<Laid>, Option<Pin>), Failure> {
        let (mut packs, mut at) = (Vec::new(), pin.clone());
        while is_pack(&at.key) {
            if packs.len() >= CHAIN_MAX {
                return Err(bad(format!("more than {CHAIN_MAX} packs lie below {}", pin.key)));
            }
            let (pack, stored) = self.index_of(uid, &at.key).await?;
            if pack.sha256 != at.sha256 {
                let text = format!("the pack {} gives another file than the one wanted", at.key);
                return Err(bad(text));
            }
            let (key, before) = (at.key, pack.before.clone());
            packs.push(Laid { key, pack, stored });
            let Some(before) = before else { return Ok((packs, None)) };
            at = before;
        }
        Ok((packs, Some(at)))
    }

    /// Reads a pack's index, which stands at its end, and how many bytes are stored for its blocks.
    async fn index_of(&self, uid: &str, key: &str) -> Result<(Pack, u64), Failure> {
        let named = |error: &dyn std::fmt::Display| bad(format!("the pack {key}: {error}"));
        let tail = self.tail_of(uid, key, TAIL).await?;
        let ends = |tail: &Tail| {
            let (_, trailer) = tail.bytes.split_last_chunk::<PACK_TRAILER>()?;
            Some(parse_pack_trailer(trailer, tail.size))
        };
        let trailer = ends(&tail).ok_or_else(|| named(&"it is too short to be one"))?;
        let trailer = trailer.map_err(|error| named(&error))?;
        let wanted = trailer.index_len + PACK_TRAILER as u64;
        let tail = if wanted > tail.bytes.len() as u64 {
            self.tail_of(uid, key, wanted).await?
        } else {
            tail
        };
        let from =
            (tail.bytes.len() as u64).checked_sub(wanted).and_then(|at| usize::try_from(at).ok());
        let index = from.and_then(|at| tail.bytes.get(at..tail.bytes.len() - PACK_TRAILER));
        let index = index.ok_or_else(|| unavailable(format!("the end of {key} broke off")))?;
        let pack = parse_pack_index(&trailer, index).map_err(|error| named(&error))?;
        Ok((pack, trailer.blocks_len))
    }

    /// The first object of a snapshot that is not in the bucket any more. A save may stand still for so long
    /// that another member begins a chain of its own, and retention deletes what this one is laid over, or
    /// takes for garbage what has no manifest yet: to be asked right before the manifest is put.
    pub(super) async fn gone(
        &self,
        uid: &str,
        inc: u64,
        objects: impl Iterator<Item = &String>,
    ) -> Result<Option<String>, Failure> {
        let (store, keys) = (&self.ports.store, self.keys(uid));
        let listed =
            store.list(&keys.under(&Keys::data_folder(inc))).await.map_err(store_failed)?;
        for object in objects {
            let full = keys.under(object);
            let is_listed = listed.binary_search(&full).is_ok();
            // LIST may be behind
            if !is_listed && store.tail(&full, 1).await.map_err(store_failed)?.is_none() {
                return Ok(Some(object.clone()));
            }
        }
        Ok(None)
    }

    /// The manifest of the same content that was published before, if what it is made of is still there.
    pub(super) async fn published_before(&self, uid: &str, key: &str) -> Result<Manifest, Failure> {
        let stored = self.manifest_at(key).await?;
        let stored = stored.ok_or_else(|| unavailable(format!("{key} was there and is gone")))?;
        let objects = stored.needs.iter().chain([&stored.data]);
        if let Some(gone) = self.gone(uid, stored.inc, objects).await? {
            return Err(bad(format!(
                "the same content is listed as {key}, whose {gone} is gone: write something to etcd and \
                 save again"
            )));
        }
        tracing::info!(key, "the same snapshot was published before");
        Ok(stored)
    }

    async fn tail_of(&self, uid: &str, key: &str, most: u64) -> Result<Tail, Failure> {
        let full = self.keys(uid).under(key);
        let tail = self.ports.store.tail(&full, most).await.map_err(store_failed)?;
        tail.ok_or_else(|| bad(format!("{full} is not in the bucket")))
    }

    /// Downloads an object whole.
    async fn download(&self, uid: &str, key: &str) -> Result<(Scratch, Moved), Failure> {
        let full = self.keys(uid).under(key);
        let file = self.scratch();
        let moved = self.ports.store.download(&full, &file.0).await.map_err(store_failed)?;
        let moved = moved.ok_or_else(|| bad(format!("{full} is not in the bucket")))?;
        Ok((file, moved))
    }

    /// Size and digest of a file.
    pub(super) async fn read_back(&self, file: &Path) -> Result<Moved, Failure> {
        let mut pieces = self.ports.snapshots.pieces(file).await?;
        let mut piece = Vec::new();
        while pieces.next(&mut piece).await.map_err(unavailable)? {
            piece.clear();
        }
        Ok(pieces.moved())
    }

    /// A download must not take the room that a living member writes to.
    pub(super) fn has_room(&self, size: u64) -> Result<(), Failure> {
        let room = self.ports.snapshots.room();
        let Some(room) = room.filter(|room| *room < size.saturating_add(BESIDE)) else {
            return Ok(());
        };
        let text = format!(
            "{} MB are free beside etcd's data, and {} MB would be downloaded",
            room >> 20,
            size >> 20
        );
        Err(Failure { kind: FailureKind::NoSpace, text })
    }

    /// Downloads what a chain begins with. Where that is a pack, its file is begun.
    async fn base(&self, uid: &str, base: Option<&Pin>) -> Result<(Scratch, Moved), Failure> {
        let Some(base) = base else {
            let file = self.scratch();
            let made = tokio::fs::File::create_new(&file.0).await;
            made.map_err(|error| local_failed(&error, "beginning the snapshot's file"))?;
            return Ok((file, Moved { size: 0, sha256: Digest::of(b"") }));
        };
        let (file, found) = self.download(uid, &base.key).await?;
        if found.sha256 != base.sha256 {
            let (key, found, wanted) = (&base.key, &found.sha256, &base.sha256);
            return Err(bad(format!("{key} is damaged: its sha256 is {found}, not {wanted}")));
        }
        Ok((file, found))
    }

    /// Downloads what a pin names, and what it is laid over, and proves that the file is the pinned one.
    pub(super) async fn fetch(&self, uid: &str, pin: &Pin, size: u64) -> Result<Fetched, Failure> {
        let (packs, base) = self.way_back(uid, pin).await?;
        let largest = packs.iter().map(|laid| laid.stored).max();
        self.has_room(size.saturating_add(largest.unwrap_or(0)))?; // one pack at a time, and the file
        let (file, base_file) = self.base(uid, base.as_ref()).await?;
        for Laid { key, pack, stored } in packs.into_iter().rev() {
            let (blocks, _) = self.download(uid, &key).await?;
            let (onto, seal) = (file.0.clone(), self.site.seal.clone());
            let laying = move || lay(&pack, (&blocks.0, stored), &onto, &seal);
            let laid = tokio::task::spawn_blocking(laying).await.map_err(unavailable)?;
            laid.map_err(|lost| match lost {
                Lost::Damaged(why) => bad(format!("the blocks of {key} are damaged: {why}")),
                Lost::NoKey(why) => unavailable(format!("the blocks of {key} are {why}")),
                Lost::Disk(error) => local_failed(&error, &format!("laying {key} over its base")),
            })?;
        }
        let whole = if is_pack(&pin.key) { self.read_back(&file.0).await? } else { base_file };
        let Moved { size: found, sha256 } = whole;
        let proven = Proven::new(&file.0, &sha256, &pin.sha256).filter(|_| found == size);
        let proven = proven.ok_or_else(|| {
            bad(format!(
                "the snapshot {} is damaged: {found} bytes with sha256 {sha256}, expected {size} bytes with {}",
                pin.key, pin.sha256
            ))
        })?;
        Ok(Fetched { _file: file, proven })
    }
}
