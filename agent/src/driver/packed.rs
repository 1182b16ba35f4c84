//! **packed** — the blocks of a pack as one stream: compressed, and then sealed where that is asked for.
//!
//! Comes in: bytes of blocks as they are chosen, or a file that was downloaded. Goes out: what is stored for
//! them, piece by piece, or the bytes again. What does not decode is told apart: damaged, sealed for a key
//! that is not here, or the disk.
//!
//! Bounded: a decoder is asked for no more than the index tells, so that a small object can't fill the disk,
//! and holds no window above [`WINDOW_LOG`], whatever a frame asks for.

use super::seal::{Seal, Shut};
use age::stream::{StreamReader, StreamWriter};
use protocol::{cluster::Digest, pack::Stored};
use sha2::{Digest as _, Sha256};
use std::{
    cell::{Cell, RefCell},
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek as _, Write},
    mem,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
};
use zstd::stream::{read::Decoder, write::Encoder};

/// The fastest of the usual levels. What is not compressible costs less there, and grows by 3 bytes in 128 KiB.
const LEVEL: i32 = 1;
/// Largest window that a frame may ask for: 8 MiB. Those of our level are below 1 MiB.
const WINDOW_LOG: u32 = 23;

/// Where encoded bytes wait until they are taken.
#[derive(Clone, Debug, Default)]
struct Outlet(Arc<Mutex<Vec<u8>>>);

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Blocks on their way into a pack.
pub(super) struct Packer {
    stream: Stream,
    out: Outlet,
}

enum Stream {
    Zstd(Encoder<'static, Outlet>),
    Sealed(Encoder<'static, StreamWriter<Outlet>>),
    Ended(Stored),
}

impl Packer {
    /// Sealed for whom the seal names, if it names somebody.
    pub(super) fn new(seal: &Seal) -> Result<Self, String> {
        let out = Outlet::default();
        let stream = if seal.seals() {
            let sealing = seal.sealing(out.clone())?;
            Stream::Sealed(Encoder::new(sealing, LEVEL).map_err(|error| failed(&error))?)
        } else {
            Stream::Zstd(Encoder::new(out.clone(), LEVEL).map_err(|error| failed(&error))?)
        };
        Ok(Self { stream, out })
    }

    /// How it is stored.
    pub(super) const fn stored(&self) -> Stored {
        match &self.stream {
            Stream::Zstd(_) => Stored::Zstd,
            Stream::Sealed(_) => Stored::SealedZstd,
            Stream::Ended(stored) => *stored,
        }
    }

    /// Takes the next bytes of blocks.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let written = match &mut self.stream {
            Stream::Zstd(encoder) => encoder.write_all(bytes),
            Stream::Sealed(encoder) => encoder.write_all(bytes),
            Stream::Ended(_) => Err(io::Error::other("the stream has ended")),
        };
        written.map_err(|error| failed(&error))
    }

    /// All have come.
    pub(super) fn end(&mut self) -> Result<(), String> {
        let stored = self.stored();
        let ended = match mem::replace(&mut self.stream, Stream::Ended(stored)) {
            Stream::Zstd(encoder) => encoder.finish().map(drop),
            Stream::Sealed(encoder) => encoder.finish().and_then(StreamWriter::finish).map(drop),
            Stream::Ended(_) => Ok(()),
        };
        ended.map_err(|error| failed(&error))
    }

    /// Moves what is encoded so far.
    pub(super) fn take(&self, into: &mut Vec<u8>) {
        into.append(&mut self.out.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn failed(error: &io::Error) -> String {
    format!("packing the blocks: {error}")
}

/// Why blocks could not be had.
#[derive(Debug)]
pub(super) enum Lost {
    /// They are not what the index speaks of.
    Damaged(String),
    /// They are sealed for a key that is not here: nothing is known of them.
    NoKey(&'static str),
    /// The disk failed.
    Disk(io::Error),
}

/// What became of stored bytes on their way to a codec, which tells neither.
#[derive(Default)]
struct Passed {
    /// Reading them failed.
    failed: Cell<bool>,
    sha256: RefCell<Sha256>,
}

/// The stored bytes of the blocks.
struct Source {
    file: io::Take<File>,
    passed: Rc<Passed>,
}

impl Read for Source {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into).inspect_err(|_| self.passed.failed.set(true))?;
        self.passed.sha256.borrow_mut().update(&into[..read]);
        Ok(read)
    }
}

type Raw = BufReader<Source>;

enum Opened {
    Plain(Raw),
    Zstd(Decoder<'static, Raw>),
    Sealed(Decoder<'static, BufReader<StreamReader<Raw>>>),
}

/// Blocks on their way out of a pack.
pub(super) struct Unpacker {
    opened: Opened,
    passed: Rc<Passed>,
    sha256: Digest,
}

impl Unpacker {
    /// Opens the blocks that `file` begins with, in `length` bytes of digest `sha256`.
    pub(super) fn open(
        stored: Stored,
        mut file: File,
        (length, sha256): (u64, &Digest),
        seal: &Seal,
    ) -> Result<Self, Lost> {
        let passed = Rc::<Passed>::default();
        let again = file.try_clone().map_err(Lost::Disk)?;
        let source = Source { file: again.take(length), passed: Rc::clone(&passed) };
        let raw = BufReader::with_capacity(Seal::header_max(), source);
        let opened = match stored {
            Stored::Plain => Opened::Plain(raw),
            Stored::Zstd => Opened::Zstd(decoder(raw)?),
            Stored::SealedZstd => match seal.opening(raw) {
                Ok(opened) => Opened::Sealed(decoder(BufReader::new(opened))?),
                Err(_) if passed.failed.get() => {
                    return Err(Lost::Disk(io::Error::other("it broke off")));
                }
                Err(Shut::Damaged(why)) => return Err(Lost::Damaged(why)),
                Err(Shut::NoKey) => {
                    file.rewind().map_err(Lost::Disk)?;
                    return Err(not_opened(file.take(length), sha256, seal));
                }
            },
        };
        Ok(Self { opened, passed, sha256: *sha256 })
    }

    /// Fills the buffer with the next bytes of blocks.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Lost> {
        let read = match &mut self.opened {
            Opened::Plain(raw) => raw.read_exact(buffer),
            Opened::Zstd(decoder) => decoder.read_exact(buffer),
            Opened::Sealed(decoder) => decoder.read_exact(buffer),
        };
        read.map_err(|error| self.lost(error))
    }

    /// All that the index tells of were had: nothing may follow them, and they were stored so.
    pub(super) fn end(mut self) -> Result<(), Lost> {
        let more = match &mut self.opened {
            Opened::Plain(raw) => raw.read(&mut [0]),
            Opened::Zstd(decoder) => decoder.read(&mut [0]),
            Opened::Sealed(decoder) => decoder.read(&mut [0]),
        };
        if more.map_err(|error| self.lost(error))? > 0 {
            return Err(Lost::Damaged("they are more than its index tells of".into()));
        }
        let rest = match &mut self.opened {
            Opened::Plain(raw) => raw.fill_buf().map(<[u8]>::len),
            Opened::Zstd(decoder) => decoder.get_mut().fill_buf().map(<[u8]>::len),
            Opened::Sealed(decoder) => decoder.get_mut().fill_buf().map(<[u8]>::len),
        };
        if rest.map_err(|error| self.lost(error))? > 0 {
            return Err(Lost::Damaged("something that is no block follows them".into()));
        }
        // some bits of a frame change nothing that it decodes to
        let found = Digest(self.passed.sha256.take().finalize().into());
        if found == self.sha256 { Ok(()) } else { Err(other_digest()) }
    }

    fn lost(&self, error: io::Error) -> Lost {
        if self.passed.failed.get() {
            return Lost::Disk(error);
        }
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Lost::Damaged("they end before all came that its index tells of".into());
        }
        Lost::Damaged(format!("they can't be decoded: {error}"))
    }
}

/// No key here opens them. A damaged header looks like somebody else's: their digest tells.
fn not_opened(stored: impl Read, sha256: &Digest, seal: &Seal) -> Lost {
    match digest_of(stored) {
        Err(error) => Lost::Disk(error),
        Ok(found) if found != *sha256 => other_digest(),
        Ok(_) if seal.opens() => {
            Lost::NoKey("sealed for a key that REQUORUM_SNAPSHOT_IDENTITY_FILE does not hold")
        }
        Ok(_) => Lost::NoKey("sealed, and REQUORUM_SNAPSHOT_IDENTITY_FILE is not set"),
    }
}

fn other_digest() -> Lost {
    Lost::Damaged("their digest is another than its index tells".into())
}

fn decoder<R: BufRead>(raw: R) -> Result<Decoder<'static, R>, Lost> {
    let made = Decoder::with_buffer(raw).map(Decoder::single_frame);
    let bounded = made.and_then(|mut made| made.window_log_max(WINDOW_LOG).map(|()| made));
    bounded.map_err(Lost::Disk) // of our own memory: nothing was read yet
}

fn digest_of(mut file: impl Read) -> io::Result<Digest> {
    let mut sha256 = Sha256::new();
    io::copy(&mut file, &mut sha256)?;
    Ok(Digest(sha256.finalize().into()))
}

#[cfg(test)]
#[path = "packed/tests.rs"]
mod tests;
