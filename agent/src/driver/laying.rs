//! **laying** — a pack's blocks, laid over the file that the chain gave so far.
//!
//! Comes in: an index, the object as it was downloaded, the file. Goes out: the file as the index tells of it, or
//! why not; the file is of no use then. No byte is written outside the file that the index tells of, and none
//! beyond the blocks that it names.

use super::{
    packed::{Lost, Unpacker},
    seal::Seal,
};
use protocol::{cluster::Digest, pack::Pack};
use sha2::{Digest as _, Sha256};
use std::{fs::File, os::unix::fs::FileExt as _, path::Path};

/// Bytes laid at once.
const PIECE: usize = 1 << 20;

/// Lays the blocks that `object` begins with, in so many stored bytes, over a file.
pub(super) fn lay(
    pack: &Pack,
    (object, stored): (&Path, u64),
    onto: &Path,
    seal: &Seal,
) -> Result<(), Lost> {
    let from = File::open(object).map_err(Lost::Disk)?;
    let onto = File::options().write(true).open(onto).map_err(Lost::Disk)?;
    let mut from = Unpacker::open(pack.stored, from, (stored, &pack.stored_sha256), seal)?;
    let (mut buffer, mut sha256) = (vec![0; PIECE], Sha256::new());
    for segment in pack.segments() {
        let mut done = 0;
        while done < segment.bytes {
            let most = usize::try_from(segment.bytes - done).unwrap_or(PIECE).min(PIECE);
            let piece = &mut buffer[..most];
            from.fill(piece)?;
            sha256.update(&*piece);
            onto.write_all_at(piece, segment.in_file + done).map_err(Lost::Disk)?;
            done += most as u64;
        }
    }
    from.end()?;
    onto.set_len(pack.size).map_err(Lost::Disk)?;
    if Digest(sha256.finalize().into()) == pack.blocks_sha256 {
        return Ok(());
    }
    Err(Lost::Damaged("their sha256 is another than its index tells".into()))
}
