//! **pack** — an incremental snapshot: the blocks of a file that differ from the file before it.
//!
//! Comes from whoever saves a snapshot, and from the bucket. Goes to whoever restores one.
//!
//! Intuition: a chain is a base, which is a whole file, and packs, each laid over what the chain
//! gives so far. Blocks are compared with the block at the same position, and that is enough: a
//! page of bbolt carries its own number, which is its place, so none ever moves. A restore writes
//! the base, lays each pack's blocks over it in order, sets the length, and checks the SHA-256 of
//! the whole file. That last check is what makes a restored file right; all before it only says
//! earlier, and by name, what is wrong.
//!
//! A pack names what it is laid over, so a restorer that knows only the newest finds all of them. One
//! that is laid over nothing holds the whole file: a base where a plain file must not be stored.
//!
//! How the bytes of the blocks are stored is but a name here ([`Stored`]): who compresses and seals
//! them is the agent (`agent/src/driver/packed.rs`).

mod blocks;

pub use blocks::Blocks;

use crate::{cluster::Digest, registry::Pin};
use alloc::vec::Vec;
use core::fmt;

/// Bytes of a block: a page of bbolt where memory has pages of 4 KiB. Where they are larger, a page
/// is several blocks.
pub const BLOCK: usize = 4096;
const BLOCK_BYTES: u64 = BLOCK as u64;
/// Most bytes of a file: offsets are int64 everywhere, and numbers of records end there too.
pub const SIZE_MAX: u64 = i64::MAX as u64;
/// Most bytes of a pack's index. It is held in memory while it is read.
pub const INDEX_MAX: u64 = 16 << 20;
/// Most runs of a pack. Where a save finds more, the changes are so many and so scattered (1.6 GB at
/// least) that a new base is the better snapshot.
pub const RUNS_MAX: usize = 400_000;
/// Most packs of a chain: four hours at one a minute. It bounds the requests that a restore needs,
/// and ends the walk of a restorer that was led in a circle.
pub const CHAIN_MAX: usize = 240;
/// The packs of a chain may take its file's bytes divided by this, as they are stored: a restore reads
/// at most half as much again as the file has, and as much less as the blocks can be compressed.
pub const BASE_SHARE: u64 = 2;

/// Most bytes that one run takes in the index: two numbers of 16 digits, two brackets, two commas.
const RUN_BYTES_MAX: u64 = 36;
/// What is left for the index's other fields: a key of S3 has 1024 bytes, six times that if escaped.
const REST_BYTES_MAX: u64 = 64 << 10;
const _: () = assert!(RUNS_MAX as u64 * RUN_BYTES_MAX + REST_BYTES_MAX <= INDEX_MAX);
const _: () = assert!(SIZE_MAX.div_ceil(BLOCK_BYTES) < 10_u64.pow(16)); // 16 digits

/// Neighbouring blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    /// The first one's position in the file, in blocks from 0.
    pub first: u64,
    /// How many, at least 1.
    pub count: u64,
}

/// Collects the changed blocks of a file into runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Runs {
    runs: Vec<Run>,
}

impl Runs {
    /// No block yet.
    pub const fn new() -> Self {
        Self { runs: Vec::new() }
    }

    /// Adds the block at position `block`, counted from 0.
    ///
    /// # Panics
    /// If the blocks don't come in the order of the file, each once.
    pub fn add(&mut self, block: u64) {
        let end = self.runs.last().map_or(0, |run| run.first + run.count);
        assert!(block >= end, "block {block} comes after block {}", end.saturating_sub(1));
        match self.runs.last_mut() {
            Some(run) if block == end => run.count += 1,
            Some(_) | None => self.runs.push(Run { first: block, count: 1 }),
        }
    }

    /// How many runs there are so far, to be asked by [`wants_base`].
    pub const fn len(&self) -> usize {
        self.runs.len()
    }

    /// Whether no block was added.
    pub const fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The runs: ascending, with at least one block between two of them.
    pub fn finish(self) -> Vec<Run> {
        self.runs
    }
}

/// How the blocks of a pack are stored: all of them as one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stored {
    /// As they are.
    Plain,
    /// One frame of Zstandard.
    Zstd,
    /// One frame of Zstandard, sealed as a file of age (<https://age-encryption.org/v1>).
    SealedZstd,
}

/// The index of one pack: all but the bytes of its blocks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pack {
    /// What it is laid over: the data key of a base or of another pack, below the cluster's prefix,
    /// and the digest of the file which that one gives (not of the object, if it is a pack). `None`:
    /// it is laid over nothing and holds all blocks.
    pub before: Option<Pin>,
    /// Bytes of the file that results, at most [`SIZE_MAX`].
    pub size: u64,
    /// Digest of the file that results.
    pub sha256: Digest,
    /// How its blocks are stored.
    pub stored: Stored,
    /// Digest of its blocks as they are stored. It tells, without a key, sealed blocks that are
    /// damaged from those that are sealed for somebody else.
    pub stored_sha256: Digest,
    /// Digest of the bytes of its blocks, in order.
    pub blocks_sha256: Digest,
    /// Which blocks of the file it holds; none where the file only became shorter.
    pub runs: Vec<Run>,
}

/// Bytes of a pack, and where they belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Where they begin among the pack's blocks, in bytes.
    pub in_pack: u64,
    /// Where they begin in the file, in bytes; a multiple of [`BLOCK`].
    pub in_file: u64,
    /// How many; a multiple of [`BLOCK`] unless the file ends with them.
    pub bytes: u64,
}

/// What is wrong with a pack's index. Numbers are positions in its list of runs, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// The file would be larger than [`SIZE_MAX`].
    Size,
    /// More runs than [`RUNS_MAX`].
    Runs,
    /// This run has no block.
    Empty(usize),
    /// This run begins before the one ahead of it ends.
    Order(usize),
    /// This run ends behind the file's last block.
    Beyond(usize),
    /// Blocks are left out, and it is laid over nothing that has them.
    Before,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size => write!(f, "is above {SIZE_MAX}"),
            Self::Runs => write!(f, "holds more than {RUNS_MAX} runs"),
            Self::Empty(at) => write!(f, "holds an empty run at {at}"),
            Self::Order(at) => {
                write!(f, "holds a run at {at} that begins before the last one ends")
            }
            Self::Beyond(at) => write!(f, "holds a run at {at} that ends behind the file"),
            Self::Before => f.write_str("is missing"), // said of `before`
        }
    }
}

impl core::error::Error for Flaw {}

impl Pack {
    /// Whether the runs can be laid into a file of this size, one after the other, and whether they
    /// are all of it where nothing else has the rest.
    ///
    /// # Errors
    /// The first flaw found.
    pub fn check(&self) -> Result<(), Flaw> {
        if self.size > SIZE_MAX {
            return Err(Flaw::Size);
        }
        if self.runs.len() > RUNS_MAX {
            return Err(Flaw::Runs);
        }
        let blocks = self.size.div_ceil(BLOCK_BYTES);
        let mut free = 0; // the first block that no run has taken
        let mut held = 0;
        for (at, run) in self.runs.iter().enumerate() {
            if run.count == 0 {
                return Err(Flaw::Empty(at));
            }
            if run.first < free {
                return Err(Flaw::Order(at));
            }
            free = match run.first.checked_add(run.count) {
                Some(end) if end <= blocks => end,
                Some(_) | None => return Err(Flaw::Beyond(at)),
            };
            held += run.count; // no more than the file's blocks: each is taken once
        }
        if self.before.is_none() && held != blocks {
            return Err(Flaw::Before);
        }
        Ok(())
    }

    /// Where the bytes of each run stand and belong, in order. Right where [`Self::check`] finds no
    /// flaw; where it finds one, the numbers mean nothing, but none is above `size` or overflows.
    pub fn segments(&self) -> impl Iterator<Item = Segment> + '_ {
        let mut in_pack: u64 = 0;
        self.runs.iter().map(move |run| {
            let end = run.first.saturating_add(run.count);
            let in_file = run.first.saturating_mul(BLOCK_BYTES).min(self.size);
            let bytes = end.saturating_mul(BLOCK_BYTES).min(self.size) - in_file;
            let segment = Segment { in_pack, in_file, bytes };
            in_pack = in_pack.saturating_add(bytes);
            segment
        })
    }

    /// Bytes of all its blocks. How many are stored for them, the trailer tells.
    pub fn bytes(&self) -> u64 {
        self.segments().last().map_or(0, |last| last.in_pack.saturating_add(last.bytes))
    }
}

/// How far a chain has grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chain {
    /// Bytes of its first file.
    pub base: u64,
    /// How many packs lie over it.
    pub packs: usize,
    /// Bytes of those packs as they are stored, with their indexes.
    pub bytes: u64,
}

/// Whether the next snapshot should begin a new chain instead of adding a pack of `bytes` bytes in
/// `runs` runs to this one.
///
/// It may be asked while the pack still grows: once true, it stays true however much is added.
pub const fn wants_base(chain: &Chain, bytes: u64, runs: usize) -> bool {
    chain.packs >= CHAIN_MAX
        || runs > RUNS_MAX
        || chain.bytes.saturating_add(bytes) > chain.base / BASE_SHARE
}

/// The chain that a process extends, as far as that decides whether it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extended<'a> {
    /// Its name in the record of whose turn it is to save.
    pub name: &'a str,
    /// The incarnation it is of.
    pub inc: u64,
    /// How far it has grown.
    pub grown: Chain,
    /// Bytes of etcd's database when the newest of it was saved.
    pub database: u64,
    /// A pack had more than [`RUNS_MAX`] runs: the next one would have as many.
    pub outgrown: bool,
}

/// Whether a snapshot of a database of so many bytes may be laid over it. The database shrinks by a
/// defragmentation and by nothing else (etcd.md 8), and then each block stands elsewhere; what it grew by is
/// in no block that is known.
pub const fn goes_on(chain: &Extended<'_>, database: u64) -> bool {
    let grown = database.saturating_sub(chain.database);
    !chain.outgrown && database >= chain.database && !wants_base(&chain.grown, grown, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_goes_on_while_the_database_neither_shrinks_nor_grows_by_much() {
        let grown = Chain { base: 1000, packs: 1, bytes: 100 };
        let chain = Extended { name: "c", inc: 1, grown, database: 1000, outgrown: false };
        assert!(goes_on(&chain, 1000) && goes_on(&chain, 1400));
        assert!(!goes_on(&chain, 999), "a defragmentation");
        assert!(!goes_on(&chain, 1401), "the growth alone weighs half the base");
        assert!(!goes_on(&Extended { outgrown: true, ..chain }, 1000));
    }

    #[test]
    fn a_chain_ends_where_its_packs_weigh_half_its_base_or_are_too_many() {
        let chain = Chain { base: 1001, packs: CHAIN_MAX - 1, bytes: 400 };
        assert!(!wants_base(&chain, 100, RUNS_MAX));
        assert!(wants_base(&chain, 101, 1), "more than half");
        assert!(wants_base(&chain, u64::MAX, 1));
        assert!(wants_base(&chain, 100, RUNS_MAX + 1));
        assert!(wants_base(&Chain { packs: CHAIN_MAX, ..chain }, 0, 0));
        assert!(wants_base(&Chain { base: 0, packs: 0, bytes: 0 }, 1, 1), "nothing to add to");
    }

    #[test]
    fn neighbours_become_one_run() {
        let mut runs = Runs::new();
        assert!(runs.is_empty());
        for block in [0, 1, 3, 7, 8, 9] {
            runs.add(block);
        }
        assert_eq!(runs.len(), 3);
        let run = |first, count| Run { first, count };
        assert_eq!(runs.finish(), [run(0, 2), run(3, 1), run(7, 3)]);
    }
}
