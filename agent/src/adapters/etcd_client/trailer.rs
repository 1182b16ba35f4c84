//! **trailer** — the SHA-256 that etcd appends to a snapshot, checked while it streams by.
//!
//! Comes from [`super`]: the pieces of `Maintenance.Snapshot`, cut anywhere. Goes back: size and digest
//! of it all, or why it is no whole snapshot. It is the only end-to-end guard that a bbolt file has
//! (etcd.md 4.1), and gRPC ends a stream that was cut short without an error of its own.

use crate::ports::object_store::Moved;
use protocol::cluster::Digest;
use sha2::{Digest as _, Sha256};

/// Bytes of the digest at the end ([SRC] v3rpc/maintenance.go Snapshot).
const TRAILER: usize = 32;
/// A database is whole pages of at least this many bytes ([SRC] etcdutl snapshot restore).
const PAGE: u64 = 512;

/// The last bytes of a stream and the digest of all before them.
#[derive(Default)]
pub(super) struct Trailed {
    sha: Sha256,
    tail: Vec<u8>,
    size: u64,
}

impl Trailed {
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        if let Some(body) = bytes.len().checked_sub(TRAILER) {
            self.sha.update(&self.tail);
            self.sha.update(&bytes[..body]);
            self.tail = bytes[body..].to_vec();
            return;
        }
        self.tail.extend_from_slice(bytes);
        let body = self.tail.len().saturating_sub(TRAILER);
        self.sha.update(&self.tail[..body]);
        self.tail.drain(..body);
    }

    /// Size and digest of all that came, trailer included.
    pub(super) fn moved(&self) -> Moved {
        let sha256 = self.sha.clone().chain_update(&self.tail).finalize();
        Moved { size: self.size, sha256: Digest(sha256.into()) }
    }

    /// Whether it was a whole snapshot.
    pub(super) fn finish(&self) -> Result<(), String> {
        let size = self.size;
        if size <= TRAILER as u64 || size % PAGE != TRAILER as u64 {
            return Err(format!("{size} bytes are not whole pages and a SHA-256"));
        }
        if self.sha.clone().finalize().as_slice() != self.tail {
            return Err(format!("the SHA-256 at the end of its {size} bytes does not match"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..1024_u32).map(|i| (i % 251) as u8).collect();
        let digest = Sha256::digest(&bytes);
        bytes.extend_from_slice(&digest);
        bytes
    }

    fn verdict(bytes: &[u8], piece: usize) -> Result<Moved, String> {
        let mut trailed = Trailed::default();
        bytes.chunks(piece).for_each(|part| trailed.take(part));
        trailed.finish().map(|()| trailed.moved())
    }

    #[test]
    fn it_matches_however_the_stream_is_cut() {
        for piece in [1, 31, 32, 33, 500, 4096] {
            let whole = Moved { size: 1056, sha256: Digest::of(&snapshot()) };
            assert_eq!(verdict(&snapshot(), piece), Ok(whole), "pieces of {piece}");
        }
    }

    #[test]
    fn a_flipped_bit_a_lost_trailer_and_a_lost_page_are_seen() {
        let whole = snapshot();
        for at in [0, 700, 1055] {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            assert!(verdict(&flipped, 64).is_err(), "byte {at}");
        }
        assert!(verdict(&whole[..1024], 64).is_err(), "no trailer");
        assert!(verdict(&whole[512..], 64).is_err(), "no first page");
        assert!(verdict(&whole[1024..], 64).is_err(), "a trailer alone");
        assert!(Trailed::default().finish().is_err(), "nothing");
    }
}
