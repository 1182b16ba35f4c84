//! **pieces** — bytes too many for memory, on their way from one port to another: a snapshot as etcd
//! sends it, a file. Whoever takes them sets the pace.

use super::object_store::Moved;
use async_trait::async_trait;

/// Bytes that come piece by piece.
#[async_trait]
pub trait Pieces: Send {
    /// Appends the next piece, of at most 1 MiB. `false`: all have come, and they are whole. Fails, in
    /// one sentence, where they broke off or prove to be damaged.
    async fn next(&mut self, into: &mut Vec<u8>) -> Result<bool, String>;
    /// Size and digest of what has come so far.
    fn moved(&self) -> Moved;
}
