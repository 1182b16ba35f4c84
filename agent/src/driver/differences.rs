//! **differences** — a snapshot on its way, compared block by block with the one before it.
//!
//! Comes in: etcd's stream, and what is remembered of the last file of the chain. Goes out: the whole
//! file, while its blocks are noted ([`Noted`]), or only what differs and where it belongs ([`Compared`]), for
//! a pack. Neither is kept before the manifest is in the bucket.

use crate::ports::{object_store::Moved, pieces::Pieces};
use async_trait::async_trait;
use protocol::{
    cluster::Digest,
    pack::{BLOCK, Blocks, Run, Runs},
};
use sha2::{Digest as _, Sha256};

/// Cuts what comes into blocks.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    rest: Vec<u8>,
}

impl Cutter {
    /// Hands on each block that is complete.
    pub(super) fn take(&mut self, mut piece: &[u8], mut block: impl FnMut(&[u8])) {
        if !self.rest.is_empty() {
            let (head, tail) = piece.split_at(piece.len().min(BLOCK - self.rest.len()));
            self.rest.extend_from_slice(head);
            piece = tail;
            if self.rest.len() < BLOCK {
                return;
            }
            block(&self.rest);
            self.rest.clear();
        }
        let mut blocks = piece.chunks_exact(BLOCK);
        blocks.by_ref().for_each(&mut block);
        self.rest.extend_from_slice(blocks.remainder());
    }

    /// The last block, which may be short.
    pub(super) fn end(&mut self, block: impl FnOnce(&[u8])) {
        if !self.rest.is_empty() {
            block(&self.rest);
            self.rest.clear();
        }
    }
}

/// A whole file, whose blocks are noted for the next one to be compared with.
pub(super) struct Noted<'a> {
    inner: &'a mut dyn Pieces,
    blocks: &'a mut Blocks,
    cutter: Cutter,
}

impl<'a> Noted<'a> {
    pub(super) fn new(inner: &'a mut dyn Pieces, blocks: &'a mut Blocks) -> Self {
        blocks.begin();
        Self { inner, blocks, cutter: Cutter::default() }
    }
}

#[async_trait]
impl Pieces for Noted<'_> {
    async fn next(&mut self, into: &mut Vec<u8>) -> Result<bool, String> {
        let from = into.len();
        let more = self.inner.next(into).await?;
        let blocks = &mut *self.blocks;
        self.cutter.take(&into[from..], |block| note(blocks, block));
        if !more {
            self.cutter.end(|block| note(blocks, block));
        }
        Ok(more)
    }

    fn moved(&self) -> Moved {
        self.inner.moved()
    }
}

/// Of a whole file every block is stored, whether it differs or not.
fn note(blocks: &mut Blocks, block: &[u8]) {
    let _differs = blocks.offer(block);
}

/// What the comparison with the file before came to so far.
pub(super) struct Compared<'a> {
    blocks: &'a mut Blocks,
    at: u64,
    runs: Runs,
    changed: Sha256,
}

impl<'a> Compared<'a> {
    /// `blocks` is what is remembered of the file before.
    pub(super) fn new(blocks: &'a mut Blocks) -> Self {
        blocks.begin();
        Self { blocks, at: 0, runs: Runs::new(), changed: Sha256::new() }
    }

    /// Appends the next block of the file if it differs.
    pub(super) fn take(&mut self, block: &[u8], into: &mut Vec<u8>) {
        if self.blocks.offer(block) {
            self.runs.add(self.at);
            self.changed.update(block);
            into.extend_from_slice(block);
        }
        self.at += 1;
    }

    /// How many runs differ so far.
    pub(super) const fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Where those belong that differ, and their digest. What is compared after that is another file.
    pub(super) fn finish(&mut self) -> (Vec<Run>, Digest) {
        let runs = std::mem::take(&mut self.runs).finish();
        (runs, Digest(std::mem::take(&mut self.changed).finalize().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_length_are_cut_alike() {
        let file: Vec<u8> = (0..3 * BLOCK + 77).map(|at| (at % 251) as u8).collect();
        for step in [1, 7, BLOCK - 1, BLOCK, BLOCK + 1, file.len()] {
            let (mut cutter, mut blocks) = (Cutter::default(), Vec::new());
            for piece in file.chunks(step) {
                cutter.take(piece, |block| blocks.push(block.to_vec()));
            }
            cutter.end(|block| blocks.push(block.to_vec()));
            let lengths: Vec<usize> = blocks.iter().map(Vec::len).collect();
            assert_eq!(lengths, [BLOCK, BLOCK, BLOCK, 77], "in steps of {step}");
            assert_eq!(blocks.concat(), file);
        }
    }
}
