//! **local_file** — a file as pieces, hashed while it is read, and one that is hashed while it is written.

use crate::ports::{
    object_store::{Moved, StoreError},
    pieces::Pieces,
};
use async_trait::async_trait;
use protocol::cluster::Digest;
use sha2::{Digest as _, Sha256};
use std::{
    io,
    path::{Path, PathBuf},
};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufWriter},
};

/// Bytes read at once.
const PIECE: usize = 1 << 20;

/// A file that is being read, from its beginning on. It must not change meanwhile.
#[derive(Debug)]
pub struct LocalFile {
    file: File,
    path: PathBuf,
    buffer: Vec<u8>,
    hashed: Hashed,
}

impl LocalFile {
    /// Opens a file. Errors are one sentence.
    pub async fn open(path: &Path) -> Result<Self, String> {
        let file = File::open(path).await.map_err(|error| unreadable(path, &error))?;
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

/// Where bytes go while they are hashed: to a new file, or nowhere.
#[derive(Debug, Default)]
pub(super) struct Landing {
    file: Option<(BufWriter<File>, PathBuf)>,
    hashed: Hashed,
}

impl Landing {
    /// Bytes that are hashed and forgotten.
    pub(super) fn nowhere() -> Self {
        Self::default()
    }

    /// A file that must not exist yet.
    pub(super) async fn at(path: &Path) -> Result<Self, StoreError> {
        let new = File::options().write(true).create_new(true).open(path).await;
        let file = BufWriter::new(new.map_err(|error| unwritable(path, &error))?);
        Ok(Self { file: Some((file, path.to_owned())), ..Self::default() })
    }

    pub(super) async fn take(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hashed.take(bytes);
        let Some((file, path)) = &mut self.file else { return Ok(()) };
        file.write_all(bytes).await.map_err(|error| unwritable(path, &error))
    }

    /// What has landed, all of which `read` says has come; else the file is removed.
    pub(super) async fn finish(
        mut self,
        read: Result<(), StoreError>,
    ) -> Result<Moved, StoreError> {
        let Some((file, path)) = &mut self.file else { return read.map(|()| self.hashed.moved()) };
        let flushed = match read {
            Ok(()) => file.flush().await.map_err(|error| unwritable(path, &error)),
            Err(error) => Err(error),
        };
        if flushed.is_err() {
            // Half a file would only be in the way; that it stays is no worse than the error itself.
            let _ = tokio::fs::remove_file(path).await;
        }
        flushed.map(|()| self.hashed.moved())
    }
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
