//! **differences** — a snapshot on its way, compared block by block with the one before it.
//!
//! Comes in: etcd's stream, and what is remembered of the last file of the chain. Goes out: the whole
//! file, while its blocks are noted ([`Noted`]), or only what differs, and then the index that says where
//! it belongs ([`Differences`]). Neither is kept before the manifest is in the bucket.

use crate::ports::{etcd::Snapshot, object_store::Moved, pieces::Pieces};
use async_trait::async_trait;
use protocol::{
    cluster::Digest,
    pack::{BLOCK, Blocks, Pack, RUNS_MAX, Runs},
    registry::Pin,
    wire::encode_pack_tail,
};
use sha2::{Digest as _, Sha256};

/// Cuts what comes into blocks.
#[derive(Debug, Default)]
struct Cutter {
    rest: Vec<u8>,
}

impl Cutter {
    /// Hands on each block that is complete.
    fn take(&mut self, mut piece: &[u8], mut block: impl FnMut(&[u8])) {
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
    fn end(&mut self, block: impl FnOnce(&[u8])) {
        if !self.rest.is_empty() {
            block(&self.rest);
            self.rest.clear();
        }
    }
}

/// A whole file, whose blocks are noted for the next one to be compared with.
pub(super) struct Noted<'a> {
    inner: &'a mut dyn Snapshot,
    blocks: &'a mut Blocks,
    cutter: Cutter,
}

impl<'a> Noted<'a> {
    pub(super) fn new(inner: &'a mut dyn Snapshot, blocks: &'a mut Blocks) -> Self {
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

/// What differs from the file before, as a pack.
pub(super) struct Differences<'a> {
    inner: &'a mut dyn Snapshot,
    before: Pin,
    compared: Compared<'a>,
    cutter: Cutter,
    came: Vec<u8>,
    /// The pack's own bytes.
    pack: Sha256,
    size: u64,
    ended: bool,
    outgrew: bool,
}

/// What the comparison came to so far.
struct Compared<'a> {
    blocks: &'a mut Blocks,
    at: u64,
    runs: Runs,
    changed: Sha256,
}

impl Compared<'_> {
    fn take(&mut self, block: &[u8], into: &mut Vec<u8>) {
        if self.blocks.offer(block) {
            self.runs.add(self.at);
            self.changed.update(block);
            into.extend_from_slice(block);
        }
        self.at += 1;
    }
}

impl<'a> Differences<'a> {
    /// `before` is the newest data of the chain, and `blocks` what is remembered of its file.
    pub(super) fn new(inner: &'a mut dyn Snapshot, before: Pin, blocks: &'a mut Blocks) -> Self {
        blocks.begin();
        let compared = Compared { blocks, at: 0, runs: Runs::new(), changed: Sha256::new() };
        let (cutter, came) = (Cutter::default(), Vec::new());
        let pack = Sha256::new();
        Self { inner, before, compared, cutter, came, pack, size: 0, ended: false, outgrew: false }
    }

    /// It ended because its changes are too many and too scattered.
    pub(super) const fn outgrew(&self) -> bool {
        self.outgrew
    }

    /// The index behind the blocks, once all of the file has come and is whole.
    fn tail(&mut self) -> Result<Vec<u8>, String> {
        let file = self.inner.moved();
        let pack = Pack {
            before: self.before.clone(),
            size: file.size,
            sha256: file.sha256,
            blocks_sha256: Digest(self.compared.changed.clone().finalize().into()),
            runs: std::mem::take(&mut self.compared.runs).finish(),
        };
        pack.check().map_err(|flaw| format!("the pack's index {flaw}; a whole file is due"))?;
        Ok(encode_pack_tail(&pack))
    }
}

#[async_trait]
impl Pieces for Differences<'_> {
    async fn next(&mut self, into: &mut Vec<u8>) -> Result<bool, String> {
        if self.ended {
            return Ok(false);
        }
        self.came.clear();
        let from = into.len();
        let more = self.inner.next(&mut self.came).await?;
        let compared = &mut self.compared;
        self.cutter.take(&self.came, |block| compared.take(block, into));
        if !more {
            self.cutter.end(|block| compared.take(block, into));
            let tail = self.tail()?;
            into.extend_from_slice(&tail);
            self.ended = true;
        }
        if self.compared.runs.len() > RUNS_MAX {
            self.outgrew = true;
            return Err("the changes are too scattered for a pack; a whole file is due".into());
        }
        self.pack.update(&into[from..]);
        self.size += (into.len() - from) as u64;
        Ok(true)
    }

    fn moved(&self) -> Moved {
        Moved { size: self.size, sha256: Digest(self.pack.clone().finalize().into()) }
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
