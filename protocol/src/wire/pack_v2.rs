//! **pack, version 2** — `<prefix>/<uid>/inc/<k>/data/<save>.pack`, written once, in one go:
//!
//! ```text
//! blocks | index: JSON | trailer: mark (8) | bytes of the index (8) | stored bytes of the blocks (8) | SHA-256 of the index (32)
//! ```
//!
//! The blocks are one stream, stored as the index names it ([`Stored`]). The index is readable also where
//! they are sealed: it tells which blocks changed and digests of them, and nothing that stands in them.
//!
//! Comes from whoever saves an incremental snapshot, block by block while the file streams past. Which
//! blocks there are is known last, so the index stands behind them, and at the very end a trailer of
//! a fixed length that finds it. Goes to whoever restores: trailer, index, blocks, then the pack before.
//!
//! The trailer's digest is the index's, and the index holds the blocks', as they are and as they are
//! stored: any damage is found before the file that results is taken for one. Lengths are little-endian. The index is JSON without spaces, since it may
//! hold [`RUNS_MAX`](crate::pack::RUNS_MAX) runs.

use super::{
    WireError,
    fields::{Fields, Node, parse_file},
    parts_v1,
};
use crate::{
    cluster::Digest,
    pack::{Flaw, INDEX_MAX, Pack, Run, Stored},
};
use alloc::{format, string::String, vec::Vec};
use serde::Serialize;

const VERSION: u64 = 2;

/// What a trailer begins with. Its number rises with the layout's.
const MARK: [u8; 8] = *b"RQPACK2\n";

/// Bytes of a pack's trailer.
pub const PACK_TRAILER: usize = 56;

/// What the end of a pack tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PackTrailer {
    /// Bytes of the index, at most [`INDEX_MAX`].
    pub index_len: u64,
    /// Bytes that are stored for the blocks: where the index begins.
    pub blocks_len: u64,
    /// Digest of the index's bytes.
    pub index_sha256: Digest,
}

#[derive(Serialize)]
struct IndexV2<'a> {
    v: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<parts_v1::PinV1<'a>>,
    size: u64,
    sha256: String,
    stored: &'static str,
    stored_sha256: String,
    blocks_sha256: String,
    runs: Vec<[u64; 2]>,
}

/// What follows the blocks of a pack, for which `blocks_len` bytes are stored: index and trailer.
pub fn encode_pack_tail(pack: &Pack, blocks_len: u64) -> Vec<u8> {
    let mut tail = serde_json::to_vec(&IndexV2 {
        v: VERSION,
        before: pack.before.as_ref().map(parts_v1::pin),
        size: pack.size,
        sha256: format!("{}", pack.sha256),
        stored: pack.stored.name(),
        stored_sha256: format!("{}", pack.stored_sha256),
        blocks_sha256: format!("{}", pack.blocks_sha256),
        runs: pack.runs.iter().map(|run| [run.first, run.count]).collect(),
    })
    .expect("structs of texts, numbers and lists always serialize");
    tail.push(b'\n');
    let digest = Digest::of(&tail);
    let length = tail.len() as u64;
    tail.extend_from_slice(&MARK);
    tail.extend_from_slice(&length.to_le_bytes());
    tail.extend_from_slice(&blocks_len.to_le_bytes());
    tail.extend_from_slice(&digest.0);
    tail
}

/// Reads the last [`PACK_TRAILER`] bytes of a pack of `object_size` bytes in all.
///
/// # Errors
/// A sentence if these are no trailer, or its lengths are not those of an object of that size.
pub fn parse_pack_trailer(bytes: &[u8], object_size: u64) -> Result<PackTrailer, WireError> {
    let refused = |problem: String| Err(WireError(format!("the pack's trailer {problem}")));
    let Some((mark, rest)) = exact(bytes) else {
        return refused(format!("has {} bytes and not {PACK_TRAILER}", bytes.len()));
    };
    if mark != MARK {
        if !mark.starts_with(&MARK[..6]) {
            return refused("doesn't begin with its mark".into());
        }
        let way_out = if mark > MARK {
            "upgrade requorum on this machine"
        } else {
            "only the requorum that wrote it reads it"
        };
        return refused(format!(
            "is not of version {VERSION}, which this program reads: {way_out}"
        ));
    }
    let (index_len, blocks_len, index_sha256) = rest;
    if index_len > INDEX_MAX {
        return refused(format!("tells of an index of {index_len} bytes, above {INDEX_MAX}"));
    }
    let total = blocks_len.checked_add(index_len + PACK_TRAILER as u64);
    if total != Some(object_size) {
        return refused(format!(
            "tells of {blocks_len} bytes of blocks and {index_len} of index, and the object has \
             {object_size} bytes"
        ));
    }
    Ok(PackTrailer { index_len, blocks_len, index_sha256 })
}

/// The mark, and both lengths with the digest; `None` if the number of bytes is another.
fn exact(bytes: &[u8]) -> Option<([u8; 8], (u64, u64, Digest))> {
    let (mark, rest) = bytes.split_first_chunk()?;
    let (index_len, rest) = rest.split_first_chunk()?;
    let (blocks_len, rest) = rest.split_first_chunk()?;
    let digest = Digest(rest.try_into().ok()?);
    Some((*mark, (u64::from_le_bytes(*index_len), u64::from_le_bytes(*blocks_len), digest)))
}

/// Reads the index of the pack with this trailer: the `index_len` bytes that end where it begins.
///
/// What is returned has passed [`Pack::check`], and its blocks are as many bytes as the object holds
/// where they are stored plainly. How many others decode to is for their reader to bound.
///
/// # Errors
/// A sentence if the bytes are not those that the trailer tells of, or naming the field that is
/// missing or not as [`encode_pack_tail`] writes it.
pub fn parse_pack_index(trailer: &PackTrailer, bytes: &[u8]) -> Result<Pack, WireError> {
    let wanted = trailer.index_len;
    if bytes.len() as u64 != wanted {
        let found = bytes.len();
        return Err(WireError(format!("the pack's index has {found} bytes and not {wanted}")));
    }
    if Digest::of(bytes) != trailer.index_sha256 {
        return Err(WireError(format!(
            "the pack's index is damaged: its digest is not {}",
            trailer.index_sha256
        )));
    }
    parse_file("pack", bytes, VERSION..=VERSION, |at| {
        let pack = Pack {
            before: at.get("before").optional(parts_v1::read_pin)?,
            size: at.get("size").number()?,
            sha256: at.get("sha256").digest()?,
            stored: at.get("stored").named(Stored::parse)?,
            stored_sha256: at.get("stored_sha256").digest()?,
            blocks_sha256: at.get("blocks_sha256").digest()?,
            runs: at.get("runs").list(read_run)?,
        };
        pack.check().map_err(|flaw| refused(at, flaw))?;
        let (runs, blocks) = (pack.bytes(), trailer.blocks_len);
        let fits = match pack.stored {
            Stored::Plain => runs == blocks,
            Stored::Zstd | Stored::SealedZstd => true,
        };
        if fits {
            return Ok(pack);
        }
        Err(at.get("runs").wrong(format!("holds {runs} bytes and the pack has {blocks} of blocks")))
    })
}

fn read_run(node: &Node<'_>) -> Result<Run, WireError> {
    match node.list(Node::number)?.as_slice() {
        [first, count] => Ok(Run { first: *first, count: *count }),
        numbers => {
            Err(node.wrong(format!("holds {} numbers and not first and count", numbers.len())))
        }
    }
}

/// A flaw, said of the field that it is in.
fn refused(at: &Fields<'_>, flaw: Flaw) -> WireError {
    let field = match flaw {
        Flaw::Size => "size",
        Flaw::Runs | Flaw::Empty(_) | Flaw::Order(_) | Flaw::Beyond(_) => "runs",
        Flaw::Before => "before",
    };
    at.get(field).wrong(flaw)
}
