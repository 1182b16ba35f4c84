//! **wal** — reads the frames and records of etcd's write-ahead log, and never writes.
//!
//! In: the directory `member/wal`. Out: each record's kind and bytes, in order, once its checksum
//! was right. What the records mean is [`wal_log`](super::wal_log)'s business. etcd ships no tool
//! that reads a log without repairing it, and a fenced member's log is evidence (protocol.md 1.4).
//!
//! The format ([SRC] etcd server/storage/wal: encoder.go, decoder.go, wal.go), the same from 3.0 to 3.7:
//! files `<seq:016x>-<index:016x>.wal`, consecutive in `seq`; in them frames: 8 bytes little-endian
//! (length in the low 56 bits; if the top bit is set, bits 56-58 count the padding to a multiple of
//! 8), the record, the padding. A record is `walpb.Record{type = 1, crc = 2, data = 3}`; `crc` is a
//! crc32c over the data of all records so far, carried over to the next file by a `crc` record.
//! Files are preallocated: a length of zero ends a file.
//!
//! A process killed in the middle of a write leaves a torn last record; that is an end, no damage.
//! Anything wrong elsewhere is damage, and then nothing at all is said of the log.

use super::protobuf::{Fields, Value};
use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

/// The longest record we hold in memory. etcd's requests are at most 1.5 MiB by default and about
/// 10 MiB by its own advice; a longer length is damage.
const RECORD_MAX: u64 = 64 << 20;
/// A disk writes sectors whole, so a torn record misses at least one of them.
const SECTOR: usize = 512;
/// Bytes of a frame's length field.
const LENGTH_BYTES: u64 = 8;

/// Nothing may be concluded from the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalError {
    /// It is damaged, or not all there: reading it again won't help.
    #[error("{0}")]
    Damaged(String),
    /// The disk did not let us read it, this time.
    #[error("{0}")]
    Unread(String),
}

/// What a record holds ([SRC] wal.go: metadataType .. snapshotType).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `etcdserverpb.Metadata`.
    Metadata,
    /// `raftpb.Entry`.
    Entry,
    /// `raftpb.HardState`.
    State,
    /// `walpb.Snapshot`.
    Snapshot,
}

/// One file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WalFile {
    seq: u64,
    /// Index of the entry that follows all those of the files before; zero in the first file ever.
    pub(super) index: u64,
    path: PathBuf,
}

/// Whether the reader shall go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Go {
    On,
    Enough,
}

/// The log's files, oldest first. At least one; none missing between the first and the last.
///
/// # Errors
/// The directory can't be listed, holds no log file, or one is missing in the row.
pub(super) fn files(dir: &Path) -> Result<Vec<WalFile>, WalError> {
    let says = |why: String| WalError::Damaged(format!("{}: {why}", dir.display()));
    let unread = |why: std::io::Error| WalError::Unread(format!("{}: {why}", dir.display()));
    let mut found = Vec::new();
    for entry in dir.read_dir().map_err(unread)? {
        let entry = entry.map_err(unread)?;
        if let Some((seq, index)) = entry.file_name().to_str().and_then(parse_name) {
            found.push(WalFile { seq, index, path: entry.path() });
        }
    }
    found.sort_unstable_by_key(|file| file.seq);
    if found.is_empty() {
        return Err(says("no log file is in it".to_owned()));
    }
    let gap = found.windows(2).find(|pair| pair[0].seq.checked_add(1) != Some(pair[1].seq));
    if let Some(pair) = gap {
        return Err(says(format!("a log file is missing after {:016x}", pair[0].seq)));
    }
    Ok(found)
}

/// `<seq:016x>-<index:016x>.wal`; anything else (preallocated `0.tmp`, `.broken`) is not of the log.
fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (seq, index) = name.strip_suffix(".wal")?.split_once('-')?;
    if seq.len() != 16 || index.len() != 16 {
        return None;
    }
    Some((u64::from_str_radix(seq, 16).ok()?, u64::from_str_radix(index, 16).ok()?))
}

/// Hands every record of `files` to `visit`, in order, until it has enough or the log ends.
///
/// # Errors
/// A file can't be read, the log is damaged before its end, or `visit` refuses.
pub(super) fn read(
    files: &[WalFile],
    mut visit: impl FnMut(Kind, &[u8]) -> Result<Go, WalError>,
) -> Result<(), WalError> {
    let mut crc = 0;
    let mut body = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let mut frames = Frames::open(file, at + 1 == files.len())?;
        while frames.next(&mut body)? {
            let record = Record::parse(&body);
            if !frames.is_cut
                && let Some(record) = &record
                && record.follows(&mut crc)
            {
                if let Some(kind) = record.kind()
                    && visit(kind, record.data)? == Go::Enough
                {
                    return Ok(());
                }
            } else if frames.is_torn(&body)? {
                break;
            } else {
                let why = if record.is_some() { "its checksum is wrong" } else { "it is garbled" };
                return Err(frames.damage(why));
            }
        }
    }
    Ok(())
}

/// One `walpb.Record`.
struct Record<'a> {
    number: u64,
    crc: u32,
    data: &'a [u8],
}

impl<'a> Record<'a> {
    /// `None`: no record. Types we don't know are none either; their crc could not be chained.
    fn parse(body: &'a [u8]) -> Option<Self> {
        let mut record = Self { number: 0, crc: 0, data: &[] };
        for field in Fields::of(body) {
            match field.ok()? {
                (1, Value::Number(number)) => record.number = number,
                (2, Value::Number(crc)) => record.crc = u32::try_from(crc).ok()?,
                (3, Value::Bytes(data)) => record.data = data,
                (_, Value::Number(_) | Value::Bytes(_)) => return None,
            }
        }
        (1..=5).contains(&record.number).then_some(record)
    }

    /// Whether its checksum continues `crc`; then `crc` moves on. A crc record (type 4) states the
    /// chain so far instead, and begins it where older files have been purged.
    fn follows(&self, crc: &mut u32) -> bool {
        if self.number == 4 {
            let right = *crc == 0 || *crc == self.crc;
            *crc = self.crc;
            return right;
        }
        *crc = crc32c::crc32c_append(*crc, self.data);
        *crc == self.crc
    }

    const fn kind(&self) -> Option<Kind> {
        match self.number {
            1 => Some(Kind::Metadata),
            2 => Some(Kind::Entry),
            3 => Some(Kind::State),
            5 => Some(Kind::Snapshot),
            _ => None, // 4: a link of the chain, no content
        }
    }
}

/// The frames of one file.
struct Frames<'a> {
    file: &'a WalFile,
    reader: BufReader<File>,
    size: u64,
    /// Bytes not read yet.
    left: u64,
    /// Offset of the body that was read last, and how long its frame says it is.
    body_at: u64,
    promised: u64,
    /// The file ends inside that frame. Even if only padding is missing, etcd drops such a record.
    is_cut: bool,
    /// Only the log's last file may end in a torn record.
    is_last: bool,
}

impl<'a> Frames<'a> {
    fn open(file: &'a WalFile, is_last: bool) -> Result<Self, WalError> {
        let says =
            |why: std::io::Error| WalError::Unread(format!("{}: {why}", file.path.display()));
        let opened = File::open(&file.path).map_err(says)?;
        let size = opened.metadata().map_err(says)?.len();
        let reader = BufReader::with_capacity(1 << 18, opened);
        Ok(Self { file, reader, size, left: size, body_at: 0, promised: 0, is_cut: false, is_last })
    }

    /// Reads the next frame's record, without its padding, into `body`. `false`: the file ends
    /// here. Where the file ends inside the frame, `body` is what is there of it.
    fn next(&mut self, body: &mut Vec<u8>) -> Result<bool, WalError> {
        if self.left == 0 || (self.is_last && self.left < LENGTH_BYTES) {
            return Ok(false);
        }
        if self.left < LENGTH_BYTES {
            return Err(self.damage("it is cut"));
        }
        let mut field = [0; 8];
        self.fill(&mut field)?;
        let field = u64::from_le_bytes(field);
        if field == 0 {
            return self.ends_here();
        }
        self.body_at = self.size - self.left;
        self.promised = field & ((1 << 56) - 1);
        let padding = padding(field)
            .filter(|_| self.promised <= RECORD_MAX)
            .ok_or_else(|| self.damage("its length is impossible"))?;
        self.is_cut = self.left < self.promised + padding;
        body.clear();
        body.resize(bounded(self.promised.min(self.left)), 0);
        self.fill(body)?;
        let scrap = &mut [0; 8][..bounded(padding.min(self.left))];
        self.fill(scrap)?;
        Ok(true)
    }

    /// A length of zero ends the file if its whole sector was never written; where more stands in
    /// the sector, the zero is a flipped bit. (Later sectors may hold what a power loss let pass.)
    fn ends_here(&mut self) -> Result<bool, WalError> {
        let at = self.size - self.left;
        let rest = (SECTOR as u64 - at % SECTOR as u64) % SECTOR as u64;
        let mut sector = [0; SECTOR];
        let sector = &mut sector[..bounded(rest.min(self.left))];
        self.fill(sector)?;
        if is_zero(sector) { Ok(false) } else { Err(self.damage("something follows its end")) }
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<(), WalError> {
        if let Err(why) = self.reader.read_exact(into) {
            let is_cut = why.kind() == std::io::ErrorKind::UnexpectedEof;
            let unread = || WalError::Unread(format!("{}: {why}", self.file.path.display()));
            return Err(if is_cut { self.damage(&why.to_string()) } else { unread() });
        }
        self.left -= into.len() as u64;
        Ok(())
    }

    /// Whether a bad record is what a write leaves behind that was cut off by a kill or a power
    /// loss: the last thing in the log's last file, cut by the file's end or with a sector of
    /// zeros in it ([SRC] decoder.go isTornEntry), while its beginning is that of a record of
    /// exactly this length (a flipped bit in a length must not pass for the end of the log).
    fn is_torn(&mut self, body: &[u8]) -> Result<bool, WalError> {
        let misses = self.is_cut || self.sectors(body).any(is_zero);
        let written =
            self.sectors(body).take_while(|sector| !is_zero(sector)).map(<[u8]>::len).sum();
        let begins = begins_well(&body[..written], self.promised);
        Ok(self.is_last && misses && begins && self.rest_is_zero()?)
    }

    /// The body, cut where the disk's sectors end.
    fn sectors<'b>(&self, body: &'b [u8]) -> impl Iterator<Item = &'b [u8]> {
        let first = SECTOR - bounded(self.body_at % SECTOR as u64);
        let (head, tail) = body.split_at(first.min(body.len()));
        std::iter::once(head).chain(tail.chunks(SECTOR)).filter(|sector| !sector.is_empty())
    }

    fn rest_is_zero(&mut self) -> Result<bool, WalError> {
        let mut block = vec![0; 1 << 16];
        while self.left > 0 {
            let length = bounded(self.left.min(block.len() as u64));
            self.fill(&mut block[..length])?;
            if !is_zero(&block[..length]) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn damage(&self, why: &str) -> WalError {
        let at = self.size - self.left;
        WalError::Damaged(format!(
            "{} is damaged before byte {at}: {why}",
            self.file.path.display()
        ))
    }
}

/// The padding a length field states; `None` if it isn't the one that fills up to 8 bytes.
const fn padding(field: u64) -> Option<u64> {
    let marks = field >> 56;
    let needed = (8 - (field & 7)) % 8;
    let stated = if marks == 0 { 0 } else { marks & 7 };
    let well_formed = marks == 0 || marks == 0x80 | stated;
    if well_formed && stated == needed { Some(needed) } else { None }
}

/// Whether `head`, what was written of a record before its first missing sector, may begin a record
/// of `length` bytes: type, crc, and a data length that leaves nothing over. Where `head` ends
/// before it says so, it may.
fn begins_well(head: &[u8], length: u64) -> bool {
    let mut fields = Fields::of(head);
    for tag in [0x08, 0x10, 0x1a] {
        match fields.varint() {
            Ok(found) if found == tag => {}
            Ok(_) => return false,
            Err(_) => return true,
        }
        let Ok(value) = fields.varint() else { return true };
        if tag == 0x1a {
            return value.checked_add((head.len() - fields.left()) as u64) == Some(length);
        }
    }
    false
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// A length that was already held to at most [`RECORD_MAX`], as the machine counts.
fn bounded(length: u64) -> usize {
    usize::try_from(length.min(RECORD_MAX)).expect("64 MiB fit in a usize")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_padding_that_fills_up_is_one() {
        assert_eq!(padding(16), Some(0));
        assert_eq!(padding(0x83 << 56 | 13), Some(3));
        assert_eq!(padding(13), None);
        assert_eq!(padding(0x03 << 56 | 13), None);
        assert_eq!(padding(0xc3 << 56 | 13), None);
    }

    #[test]
    fn names_of_the_log_and_others() {
        assert_eq!(parse_name("000000000000000a-00000000000000ff.wal"), Some((10, 255)));
        for other in ["0.tmp", "000000000000000a-00000000000000ff.wal.broken", "a-ff.wal"] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_beginning_tells_a_torn_record_from_a_flipped_length() {
        let head = [0x08, 2, 0x10, 0x81, 0x01, 0x1a, 100, 9, 9];
        assert!(begins_well(&head, 107));
        assert!(!begins_well(&head, 107 + 64), "the length was flipped");
        assert!(begins_well(&head[..4], 107), "the rest of the head was not written");
        assert!(begins_well(&[], 107), "nothing of it was");
        assert!(!begins_well(&[7; 9], 107));
    }
}
