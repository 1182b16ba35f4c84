//! **object_files** — the bytes of stored objects: in memory if small, in a file if not.
//!
//! Comes in: request bodies. Goes out: [`Piece`]s that can be shared between objects and read in
//! ranges. A file is removed when the last object and the last reader of it are gone. It is written, and
//! read, by one thread from its beginning to its end: what a save costs is measured beside this server.

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use s3s::crypto::{Checksum as _, Crc32};
use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    ops::Range,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
};

/// Bytes of the largest body that stays in memory.
const MEMORY_MAX: usize = 256 << 10;
/// Bytes of a file that are handed out at a time.
const CHUNK: u64 = 256 << 10;
/// Chunks between a thread and whoever gives or takes them.
const AHEAD: usize = 4;

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
    Memory(Vec<Bytes>),
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
        let (mut small, mut held) = (Vec::new(), 0);
        let mut large: Option<Writing> = None;
        let mut size = 0;
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(io::Error::other)?;
            crc32.update(&chunk);
            size += chunk.len() as u64;
            if let Some(writing) = &large {
                writing.take(chunk).await;
                continue;
            }
            held += chunk.len();
            small.push(chunk);
            if held > self.memory_max {
                let writing = Writing::begin(self.new_path());
                for chunk in small.drain(..) {
                    writing.take(chunk).await;
                }
                large = Some(writing);
            }
        }
        let place = match large {
            None => Place::Memory(small),
            Some(writing) => Place::File(Arc::new(writing.end().await?)),
        };
        Ok(Piece { size, crc32: crc32.finalize(), place })
    }

    fn new_path(&self) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!("body-{number}"))
    }
}

/// A body on its way to a file: a thread writes what came while more of it comes. If no more comes, the
/// file is removed.
struct Writing {
    to: mpsc::Sender<Bytes>,
    written: JoinHandle<io::Result<OwnFile>>,
}

impl Writing {
    fn begin(path: PathBuf) -> Self {
        let (to, mut from) = mpsc::channel::<Bytes>(AHEAD);
        let written = spawn_blocking(move || {
            let mut file = File::create(&path)?;
            let own = OwnFile(path);
            while let Some(chunk) = from.blocking_recv() {
                file.write_all(&chunk)?;
            }
            Ok(own)
        });
        Self { to, written }
    }

    /// That it could not be written is told at the end.
    async fn take(&self, chunk: Bytes) {
        let _ = self.to.send(chunk).await;
    }

    async fn end(self) -> io::Result<OwnFile> {
        drop(self.to);
        self.written.await.map_err(io::Error::other)?
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
    match place {
        Place::Memory(held) => stream::iter(cut(&held, &range).map(Ok)).left_stream(),
        Place::File(own) => {
            let (to, mut from) = mpsc::channel(AHEAD);
            spawn_blocking(move || {
                // nobody waits for it any more if this can't be told
                let _ = hand_out(&own, range, &to).map_err(|error| to.blocking_send(Err(error)));
            });
            stream::poll_fn(move |context| from.poll_recv(context)).right_stream()
        }
    }
}

/// The bytes `range` of chunks laid end to end.
fn cut(held: &[Bytes], range: &Range<u64>) -> impl Iterator<Item = Bytes> + use<> {
    let (mut found, mut start) = (Vec::new(), 0);
    for chunk in held {
        let end = start + chunk.len() as u64;
        let within = |at: u64| usize::try_from(at.clamp(start, end) - start).unwrap_or(chunk.len());
        let part = chunk.slice(within(range.start)..within(range.end));
        if !part.is_empty() {
            found.push(part);
        }
        start = end;
    }
    found.into_iter()
}

/// Reads a file's bytes `range` for whoever takes them, until they are not taken any more.
fn hand_out(
    own: &OwnFile,
    range: Range<u64>,
    to: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let mut file = File::open(&own.0)?;
    file.seek(SeekFrom::Start(range.start))?;
    let mut left = range.end - range.start;
    while left > 0 {
        let mut bytes = Vec::with_capacity(usize::try_from(CHUNK).map_err(io::Error::other)?);
        let read = (&mut file).take(left.min(CHUNK)).read_to_end(&mut bytes)? as u64;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= read;
        if to.blocking_send(Ok(bytes.into())).is_err() {
            return Ok(());
        }
    }
    Ok(())
}
