//! **packing** — a snapshot on its way, as a pack.
//!
//! Comes in: a file piece by piece, and, if it is laid over another, what is remembered of that. Goes out: its
//! blocks as they are stored, then the index that says where they belong. A pack that lies over nothing holds
//! all of them: a base, where the file itself must not be stored.

use super::{
    differences::{Compared, Cutter},
    packed::Packer,
    seal::Seal,
};
use crate::ports::{object_store::Moved, pieces::Pieces};
use async_trait::async_trait;
use protocol::{
    cluster::Digest,
    pack::{BLOCK, Blocks, Pack, RUNS_MAX, Run},
    registry::Pin,
    wire::encode_pack_tail,
};
use sha2::{Digest as _, Sha256};

/// Which blocks are stored.
enum Chosen<'a> {
    /// Every one.
    All,
    /// Those that differ from the file before.
    Changed(Box<Changed<'a>>),
}

/// The choice of those that differ.
struct Changed<'a> {
    before: Pin,
    compared: Compared<'a>,
    cutter: Cutter,
    picked: Vec<u8>,
}

/// A file on its way, as a pack.
pub(super) struct Packing<'a> {
    inner: &'a mut dyn Pieces,
    chosen: Chosen<'a>,
    packer: Packer,
    came: Vec<u8>,
    /// What is stored, so far.
    sha256: Sha256,
    size: u64,
    ended: bool,
    outgrew: bool,
}

impl<'a> Packing<'a> {
    /// All of a file.
    pub(super) fn whole(inner: &'a mut dyn Pieces, seal: &Seal) -> Result<Self, String> {
        Self::new(inner, Chosen::All, seal)
    }

    /// What differs. `before` is the newest data of the chain, and `blocks` what is remembered of its file.
    pub(super) fn differences(
        inner: &'a mut dyn Pieces,
        before: Pin,
        blocks: &'a mut Blocks,
        seal: &Seal,
    ) -> Result<Self, String> {
        let compared = Compared::new(blocks);
        let (cutter, picked) = (Cutter::default(), Vec::new());
        let changed = Changed { before, compared, cutter, picked };
        Self::new(inner, Chosen::Changed(Box::new(changed)), seal)
    }

    fn new(inner: &'a mut dyn Pieces, chosen: Chosen<'a>, seal: &Seal) -> Result<Self, String> {
        let (packer, sha256) = (Packer::new(seal)?, Sha256::new());
        let (came, size, ended, outgrew) = (Vec::new(), 0, false, false);
        Ok(Self { inner, chosen, packer, came, sha256, size, ended, outgrew })
    }

    /// It ended because its changes are too many and too scattered.
    pub(super) const fn outgrew(&self) -> bool {
        self.outgrew
    }

    /// Hands what is chosen of a piece to the packer.
    fn pack(&mut self, more: bool) -> Result<(), String> {
        let plain = match &mut self.chosen {
            Chosen::All => &self.came,
            Chosen::Changed(changed) => {
                let Changed { compared, cutter, picked, .. } = &mut **changed;
                picked.clear();
                cutter.take(&self.came, |block| compared.take(block, picked));
                if !more {
                    cutter.end(|block| compared.take(block, picked));
                }
                if compared.runs() > RUNS_MAX {
                    self.outgrew = true;
                    return Err(
                        "the changes are too scattered for a pack; a whole file is due".into()
                    );
                }
                &*picked
            }
        };
        self.packer.write(plain)?;
        if more { Ok(()) } else { self.packer.end() }
    }

    /// The index behind the blocks, once all of the file has come and is whole.
    fn tail(&mut self) -> Result<Vec<u8>, String> {
        let file = self.inner.moved();
        let (before, blocks_sha256, runs) = match &mut self.chosen {
            Chosen::All => (None, file.sha256, whole(file.size)), // its blocks are the file
            Chosen::Changed(changed) => {
                let (runs, blocks_sha256) = changed.compared.finish();
                (Some(changed.before.clone()), blocks_sha256, runs)
            }
        };
        let pack = Pack {
            before,
            size: file.size,
            sha256: file.sha256,
            stored: self.packer.stored(),
            stored_sha256: self.moved().sha256,
            blocks_sha256,
            runs,
        };
        pack.check().map_err(|flaw| format!("the pack's index is not sound: {flaw:?}"))?;
        Ok(encode_pack_tail(&pack, self.size))
    }

    fn sum(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.size += bytes.len() as u64;
    }
}

/// All blocks of a file.
fn whole(size: u64) -> Vec<Run> {
    let count = size.div_ceil(BLOCK as u64);
    if count == 0 { Vec::new() } else { vec![Run { first: 0, count }] }
}

#[async_trait]
impl Pieces for Packing<'_> {
    async fn next(&mut self, into: &mut Vec<u8>) -> Result<bool, String> {
        if self.ended {
            return Ok(false);
        }
        self.came.clear();
        let more = self.inner.next(&mut self.came).await?;
        self.pack(more)?;
        let from = into.len();
        self.packer.take(into);
        self.sum(&into[from..]);
        if !more {
            let tail = self.tail()?;
            self.sum(&tail);
            into.extend_from_slice(&tail);
            self.ended = true;
        }
        Ok(true)
    }

    fn moved(&self) -> Moved {
        Moved { size: self.size, sha256: Digest(self.sha256.clone().finalize().into()) }
    }
}
