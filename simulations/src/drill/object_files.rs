//! **object_files** — the bytes of stored objects: in memory if small, in a file if not.
//!
//! Comes in: request bodies. Goes out: [`Piece`]s that can be shared between objects and read in
//! ranges. A file is removed when the last object and the last reader of it are gone.

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use s3s::crypto::{Checksum as _, Crc32};
use std::{
    io,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, BufWriter},
};

/// Bytes of the largest body that stays in memory.
const MEMORY_MAX: usize = 256 << 10;
/// Bytes written to a file at a time.
const WRITE: usize = 1 << 20;
/// Bytes read from a file at a time.
const CHUNK: u64 = 256 << 10;

/// A directory for bodies. Its contents mean nothing to another process.
#[derive(Debug)]
pub struct Files {
    dir: PathBuf,
    next: AtomicU64,
    /// Bytes of the largest body that stays in memory.
    memory_max: usize,
}

/// Bytes that were received in one piece.
#[derive(Clone, Debug)]
pub struct Piece {
    /// How many.
    pub size: u64,
    /// CRC32 of them.
    pub crc32: [u8; 4],
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Memory(Bytes),
    File(Arc<OwnFile>),
}

#[derive(Debug)]
struct OwnFile(PathBuf);

impl Drop for OwnFile {
    fn drop(&mut self) {
        // A file that stays wastes space in a directory that is thrown away as a whole.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Files {
    /// Bodies go below `dir`, which must exist.
    pub const fn new(dir: PathBuf) -> Self {
        Self { dir, next: AtomicU64::new(0), memory_max: MEMORY_MAX }
    }

    /// Bodies of any size stay in memory: no thread of its own reads or writes them, so that what
    /// happens next does not depend on when it is done.
    pub const fn in_memory() -> Self {
        Self { dir: PathBuf::new(), next: AtomicU64::new(0), memory_max: usize::MAX }
    }

    /// Receives a body.
    pub async fn receive<E>(
        &self,
        mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> io::Result<Piece>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut crc32 = Crc32::new();
        let mut small = Vec::new();
        let mut large: Option<(BufWriter<File>, Arc<OwnFile>)> = None;
        let mut size = 0;
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(io::Error::other)?;
            crc32.update(&chunk);
            size += chunk.len() as u64;
            if let Some((file, _)) = &mut large {
                file.write_all(&chunk).await?;
                continue;
            }
            small.extend_from_slice(&chunk);
            if small.len() > self.memory_max {
                let (file, own) = self.new_file().await?;
                let mut file = BufWriter::with_capacity(WRITE, file);
                file.write_all(&small).await?;
                small = Vec::new();
                large = Some((file, own));
            }
        }
        let place = match large {
            None => Place::Memory(small.into()),
            Some((mut file, own)) => {
                file.flush().await?;
                Place::File(own)
            }
        };
        Ok(Piece { size, crc32: crc32.finalize(), place })
    }

    async fn new_file(&self) -> io::Result<(File, Arc<OwnFile>)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("body-{number}"));
        Ok((File::create(&path).await?, Arc::new(OwnFile(path))))
    }
}

/// The bytes `range` of pieces laid end to end.
pub fn read(
    pieces: &[Piece],
    range: Range<u64>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static + use<> {
    let mut parts = Vec::new();
    let mut start = 0;
    for piece in pieces {
        let from = range.start.clamp(start, start + piece.size) - start;
        let to = range.end.clamp(start, start + piece.size) - start;
        if from < to {
            parts.push((piece.place.clone(), from..to));
        }
        start += piece.size;
    }
    stream::iter(parts).flat_map(|(place, range)| chunks(place, range))
}

/// One piece, chunk by chunk.
fn chunks(
    place: Place,
    range: Range<u64>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static {
    let cuts = std::iter::successors(Some(range.start), |at| Some(at + CHUNK));
    let cuts: Vec<_> = cuts.take_while(|at| *at < range.end).collect();
    stream::iter(cuts).then(move |at| {
        let place = place.clone();
        let end = range.end.min(at + CHUNK);
        async move { chunk(&place, at..end).await }
    })
}

async fn chunk(place: &Place, range: Range<u64>) -> io::Result<Bytes> {
    let fits = |at: u64| usize::try_from(at).map_err(io::Error::other);
    match place {
        Place::Memory(bytes) => Ok(bytes.slice(fits(range.start)?..fits(range.end)?)),
        Place::File(own) => {
            let mut file = File::open(&own.0).await?;
            file.seek(io::SeekFrom::Start(range.start)).await?;
            let mut bytes = vec![0; fits(range.end - range.start)?];
            file.read_exact(&mut bytes).await?;
            Ok(bytes.into())
        }
    }
}
