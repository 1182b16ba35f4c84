//! **trailer** — the SHA-256 that etcd appends to a snapshot, checked while it streams by.
//!
//! Comes from [`super`]: the pieces of `Maintenance.Snapshot`, cut anywhere. Goes back: the size,
//! or why it is no whole snapshot. It is the only end-to-end guard that a bbolt file has
//! (etcd.md 4.1), and gRPC ends a stream that was cut short without an error of its own.

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
        self.tail.extend_from_slice(bytes);
        let body = self.tail.len().saturating_sub(TRAILER);
        self.sha.update(&self.tail[..body]);
        self.tail.drain(..body);
    }

    /// Bytes, trailer included.
    pub(super) fn finish(self) -> Result<u64, String> {
        let size = self.size;
        if size <= TRAILER as u64 || size % PAGE != TRAILER as u64 {
            return Err(format!("{size} bytes are not whole pages and a SHA-256"));
        }
        if self.sha.finalize().as_slice() != self.tail {
            return Err(format!("the SHA-256 at the end of its {size} bytes does not match"));
        }
        Ok(size)
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

    fn verdict(bytes: &[u8], piece: usize) -> Result<u64, String> {
        let mut trailed = Trailed::default();
        bytes.chunks(piece).for_each(|part| trailed.take(part));
        trailed.finish()
    }

    #[test]
    fn it_matches_however_the_stream_is_cut() {
        for piece in [1, 31, 32, 33, 500, 4096] {
            assert_eq!(verdict(&snapshot(), piece), Ok(1056), "pieces of {piece}");
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
