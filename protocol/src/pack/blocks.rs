//! **blocks** — what is remembered of the last file of a chain, to tell which blocks of the next one
//! differ.
//!
//! Comes from the blocks of each file as it is saved. Goes to whoever saves, block by block, as "store
//! this one" or not.
//!
//! Bounded: 16 bytes a block, so 32 MB for a database of 8 GB and an eighth of spare room, and while
//! a save is under way 24 bytes for each block that it changes. A second table would cost as much at
//! every save, and mostly hold what the first one holds.
//!
//! # Why 16 bytes of a SHA-256 are enough
//!
//! Two blocks with the same short hash would make a change go unnoticed. By chance that happens to
//! one pair of blocks in 2^128. Who wants it must find a collision, which takes 2^64 hashes, and then
//! have etcd write both blocks, page header and all, to the same place in the file, through nothing
//! but values put into it. Even then nothing wrong is restored: the digest of the whole file is
//! checked, and such a snapshot is refused.

use super::{BLOCK, BLOCK_BYTES};
use crate::cluster::Digest;
use alloc::vec::Vec;
use core::mem;

/// The first half of a block's SHA-256.
type Short = [u8; 16];

/// What is known of the last file of a chain.
///
/// A save calls [`Self::begin`], [`Self::offer`] for each block, and then [`Self::keep`] once the
/// snapshot is in the bucket or [`Self::forget_changes`] if it is not.
#[derive(Debug, Default)]
pub struct Blocks {
    /// Of each block: of the known file, and of the new one as far as it was offered.
    hashes: Vec<Short>,
    /// Bytes of the known file.
    known: u64,
    /// Bytes of the new file that were offered.
    offered: u64,
    /// Hashes of the known file that the new one has replaced, with their positions. Those of
    /// blocks that the known file doesn't have are just cut off.
    replaced: Vec<(usize, Short)>,
}

impl Blocks {
    /// Nothing is known: every block differs. The way to begin a new chain, too.
    pub const fn new() -> Self {
        Self { hashes: Vec::new(), known: 0, offered: 0, replaced: Vec::new() }
    }

    /// Bytes of the known file; zero if none is known.
    pub const fn known(&self) -> u64 {
        self.known
    }

    /// Begins a new file. A save that ended without a word is forgotten.
    pub fn begin(&mut self) {
        self.forget_changes();
    }

    /// Takes the next block of the new file and tells whether it differs from the known file's block
    /// at the same position, or lies behind that file's end. The file's last block may be short; it
    /// differs from a longer block that begins with it.
    ///
    /// # Panics
    /// If the block is empty or longer than [`BLOCK`], or if one follows a short one: what is told of
    /// blocks that were cut elsewhere would make packs that restore to nothing of use.
    pub fn offer(&mut self, block: &[u8]) -> bool {
        assert!(!block.is_empty() && block.len() <= BLOCK, "a block of {} bytes", block.len());
        assert!(self.offered.is_multiple_of(BLOCK_BYTES), "only the last block may be short");
        let position = position(self.offered);
        self.offered += block.len() as u64;
        let hash = short(block);
        match self.hashes.get_mut(position) {
            Some(known) if *known == hash => false,
            Some(known) => {
                let old = mem::replace(known, hash);
                push(&mut self.replaced, (position, old));
                true
            }
            None => {
                push(&mut self.hashes, hash);
                true
            }
        }
    }

    /// Makes the new file, as it was offered, the known one.
    pub fn keep(&mut self) {
        self.known = self.offered;
        self.replaced = Vec::new(); // nothing to go back to
        self.forget_changes(); // what the new file no longer has
    }

    /// Makes the table tell of the known file again, exactly as before [`Self::begin`].
    pub fn forget_changes(&mut self) {
        self.hashes.truncate(position(self.known));
        for (position, old) in mem::take(&mut self.replaced) {
            self.hashes[position] = old;
        }
        self.offered = 0;
    }
}

/// The number of blocks in `bytes`, which is the position of the block that follows them.
fn position(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(BLOCK_BYTES)).expect("a table that long would not fit in memory")
}

fn short(block: &[u8]) -> Short {
    let digest = Digest::of(block);
    core::array::from_fn(|at| digest.0[at])
}

/// Pushes with an eighth of spare room, where a `Vec` by itself would double.
fn push<T>(list: &mut Vec<T>, entry: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 8 + 1024);
    }
    list.push(entry);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn offer(blocks: &mut Blocks, file: &[u8]) -> Vec<bool> {
        blocks.begin();
        file.chunks(BLOCK).map(|block| blocks.offer(block)).collect()
    }

    fn saved(file: &[u8]) -> Blocks {
        let mut blocks = Blocks::new();
        offer(&mut blocks, file);
        blocks.keep();
        blocks
    }

    #[test]
    fn the_journal_holds_changed_blocks_only_and_undoes_them() {
        let mut file = vec![7; 100 * BLOCK + 32];
        let mut blocks = saved(&file);
        let before = (blocks.hashes.clone(), blocks.known());
        for at in [0, 5, 99] {
            file[at * BLOCK] = 8;
        }
        file.resize(120 * BLOCK, 9);
        let changed = offer(&mut blocks, &file).into_iter().filter(|differs| *differs).count();
        assert_eq!(changed, 3 + 20);
        assert_eq!(blocks.replaced.len(), 3 + 1, "blocks behind the end need no entry");
        blocks.forget_changes();
        assert_eq!((blocks.hashes.clone(), blocks.known()), before);
        assert!(blocks.replaced.is_empty());
        offer(&mut blocks, &file[..BLOCK]);
        blocks.forget_changes();
        assert_eq!((blocks.hashes.clone(), blocks.known()), before, "cut off after a block");
    }

    #[test]
    fn a_short_last_block_is_not_the_block_that_it_begins() {
        let mut blocks = saved(&[7; BLOCK + 100]);
        assert_eq!(offer(&mut blocks, &[7; BLOCK + 99]), [false, true]);
        assert_eq!(offer(&mut blocks, &[7; 2 * BLOCK]), [false, true]);
        assert_eq!(offer(&mut blocks, &[7; BLOCK + 100]), [false, false]);
        assert_eq!(offer(&mut blocks, &[7; BLOCK]), [false], "shorter, and nothing to store");
        blocks.keep();
        assert_eq!(blocks.known(), BLOCK as u64);
        assert_eq!(offer(&mut blocks, &[7; BLOCK + 100]), [false, true], "what was cut off is new");
    }

    #[test]
    fn spare_room_is_an_eighth() {
        let mut list = Vec::new();
        for entry in 0..100_000_u32 {
            push(&mut list, entry);
        }
        assert!(list.capacity() <= list.len() + list.len() / 8 + 1024);
    }
}
