//! **local_file** — a file as pieces, hashed while it is read, and one that is hashed while it is written.

use crate::ports::{
    object_store::{Moved, StoreError},
    pieces::Pieces,
};
use async_trait::async_trait;
use bytes::Bytes;
use protocol::cluster::Digest;
use rustix::{fs::FallocateFlags, io::Errno};
use sha2::{Digest as _, Sha256};
use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::mpsc::sync_channel,
    thread,
};
use tokio::{
    io::AsyncReadExt as _,
    sync::mpsc,
    task::{JoinError, JoinHandle},
};

/// Bytes read at once.
const PIECE: usize = 1 << 20;

/// A file that is being read, from its beginning on. It must not change meanwhile.
#[derive(Debug)]
pub struct LocalFile {
    file: tokio::fs::File,
    path: PathBuf,
    buffer: Vec<u8>,
    hashed: Hashed,
}

impl LocalFile {
    /// Opens a file. Errors are one sentence.
    pub async fn open(path: &Path) -> Result<Self, String> {
        let file = tokio::fs::File::open(path).await;
        let file = file.map_err(|error| unreadable(path, &error))?;
        let (buffer, hashed) = (vec![0; PIECE], Hashed::default());
        Ok(Self { file, path: path.to_owned(), buffer, hashed })
    }
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("reading {}: {error}", path.display())
}

#[async_trait]
impl Pieces for LocalFile {
    async fn next(&mut self, into: &mut Vec<u8>) -> Result<bool, String> {
        let read = self.file.read(&mut self.buffer).await;
        let read = read.map_err(|error| unreadable(&self.path, &error))?;
        let piece = &self.buffer[..read];
        self.hashed.take(piece);
        into.extend_from_slice(piece);
        Ok(read > 0)
    }

    fn moved(&self) -> Moved {
        self.hashed.moved()
    }
}

/// Bytes that passed by.
#[derive(Debug, Default)]
struct Hashed {
    sha256: Sha256,
    size: u64,
}

impl Hashed {
    fn take(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.size += bytes.len() as u64;
    }

    fn moved(&self) -> Moved {
        Moved { size: self.size, sha256: Digest(self.sha256.clone().finalize().into()) }
    }
}

/// Where bytes go while they are hashed: to a new file, or nowhere. Threads of its own hash and write
/// what came last while more of it comes.
#[derive(Debug)]
pub(super) struct Landing {
    to: mpsc::Sender<Vec<Bytes>>,
    landed: JoinHandle<Result<Moved, StoreError>>,
    file: Option<PathBuf>,
}

impl Landing {
    /// Bytes that are hashed and forgotten.
    pub(super) fn nowhere() -> Self {
        Self::begin(None)
    }

    /// A file of `size` bytes that must not exist yet. Its room is taken before a byte comes: a disk that
    /// is too full is known at once, and what comes lies together on it.
    pub(super) async fn at(path: &Path, size: Option<u64>) -> Result<Self, StoreError> {
        let place = path.to_owned();
        let made = tokio::task::spawn_blocking(move || {
            let file = File::options().write(true).create_new(true).open(&place);
            let file = file.map_err(|error| unwritable(&place, &error))?;
            match size.map_or(Ok(()), |size| preallocate(&file, size)) {
                Ok(()) => Ok((file, place)),
                Err(error) => {
                    drop(std::fs::remove_file(&place)); // it is empty; the error says more
                    Err(unwritable(&place, &error))
                }
            }
        });
        Ok(Self::begin(Some(made.await.map_err(|error| ended(&error))??)))
    }

    fn begin(file: Option<(File, PathBuf)>) -> Self {
        let path = file.as_ref().map(|(_, path)| path.clone());
        let (to, from) = mpsc::channel(1);
        let landed = tokio::task::spawn_blocking(move || land(from, file));
        Self { to, landed, file: path }
    }

    /// Takes what comes next. That the file could not be written is told by [`Self::finish`].
    pub(super) async fn take(&mut self, pieces: Vec<Bytes>) -> Result<(), StoreError> {
        let stopped = || StoreError::Local("the file is not written any more".to_owned());
        self.to.send(pieces).await.map_err(|_| stopped())
    }

    /// What has landed, all of which `read` says has come; else the file is removed.
    pub(super) async fn finish(self, read: Result<(), StoreError>) -> Result<Moved, StoreError> {
        drop(self.to);
        let landed = self.landed.await.unwrap_or_else(|error| Err(ended(&error)));
        // what the disk said comes first: where it failed, nothing more was taken
        let landed = landed.and_then(|moved| read.map(|()| moved));
        if let (Err(_), Some(path)) = (&landed, &self.file) {
            // Half a file would only be in the way; that it stays is no worse than the error itself.
            let _ = tokio::fs::remove_file(path).await;
        }
        landed
    }
}

/// Hashes and writes all that comes, each in a thread of its own: a restore waits for the slower one, and not
/// for both. A file that was preallocated ends where the last byte landed.
fn land(
    mut from: mpsc::Receiver<Vec<Bytes>>,
    file: Option<(File, PathBuf)>,
) -> Result<Moved, StoreError> {
    let (to, pieces) = sync_channel::<Vec<Bytes>>(1);
    let moved = thread::scope(|scope| {
        let hashing = scope.spawn(move || {
            let mut hashed = Hashed::default();
            pieces.iter().flatten().for_each(|piece| hashed.take(&piece));
            hashed.moved()
        });
        let written = (|| {
            while let Some(pieces) = from.blocking_recv() {
                // it takes all that comes until there is no more
                let _ = to.send(pieces.clone());
                if let Some((mut file, path)) = file.as_ref().map(|(file, path)| (file, path)) {
                    for piece in &pieces {
                        file.write_all(piece).map_err(|error| unwritable(path, &error))?;
                    }
                }
            }
            Ok(())
        })();
        drop(to);
        let hashed = hashing.join();
        written.and_then(|()| {
            hashed.map_err(|_| StoreError::Local("the thread that hashes the file ended".into()))
        })
    })?;
    if let Some((file, path)) = &file {
        file.set_len(moved.size).map_err(|error| unwritable(path, &error))?;
    }
    Ok(moved)
}

/// Takes room on the disk, where its file system can.
fn preallocate(file: &File, size: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        taken => Ok(taken?),
    }
}

fn ended(error: &JoinError) -> StoreError {
    StoreError::Local(format!("the thread that writes the file ended: {error}"))
}

/// What a failure of the local disk means.
fn unwritable(path: &Path, error: &io::Error) -> StoreError {
    let sentence = format!("writing {}: {error}", path.display());
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        StoreError::NoSpace(sentence)
    } else {
        StoreError::Local(sentence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(matches!(unwritable(Path::new("x"), &full), StoreError::NoSpace(_)));
    }
}
