//! **likeness** — uploads that differ little from one before: what is equal is copied, the object is whole.

use super::{BUCKET, Embedded, done};
use agent::{
    adapters::{local_file::LocalFile, s3::S3Store},
    ports::object_store::{Likeness, Moved, ObjectStore as _, StoreError},
};
use protocol::cluster::Digest;
use std::path::Path;

const PART: usize = 8 << 20;
/// Five parts and a short one.
const SIZE: usize = 5 * PART + 12_345;

/// Bytes of which each part is another.
fn bytes() -> Vec<u8> {
    (0..SIZE as u64).map(|at| (at / PART as u64 * 7 + at % 251) as u8).collect()
}

/// Uploads them, reads them back, and answers with what was told.
async fn goes_up(
    store: &S3Store,
    key: &str,
    bytes: &[u8],
    like: &mut Option<Likeness>,
    scratch: &Path,
) {
    let (up, down) = (scratch.join("up"), scratch.join("down"));
    std::fs::write(&up, bytes).expect("scratch space");
    let mut pieces = LocalFile::open(&up).await.expect("a file");
    let moved = Moved { size: bytes.len() as u64, sha256: Digest::of(bytes) };
    assert_eq!(store.upload_like(key, &mut pieces, like).await, Ok(moved), "{key}");
    assert_eq!(store.download(key, &down).await, Ok(Some(moved)), "{key}");
    std::fs::remove_file(&down).expect("it was downloaded");
}

/// Whatever changes, grows, shrinks or is gone in between: what is stored is what came.
pub(crate) async fn what_is_alike_is_stored_whole(store: &S3Store, scratch: &Path) {
    let (mut like, mut bytes) = (None, bytes());
    goes_up(store, "like/first", &bytes, &mut like, scratch).await;
    assert_eq!(like.as_ref().map(|like| like.parts.len()), Some(6));
    goes_up(store, "like/same", &bytes, &mut like, scratch).await;
    bytes[2 * PART + 5] ^= 1;
    goes_up(store, "like/changed", &bytes, &mut like, scratch).await;
    bytes.extend_from_slice(&[9; 3 * PART]);
    goes_up(store, "like/grown", &bytes, &mut like, scratch).await;
    bytes.truncate(2 * PART + 1);
    goes_up(store, "like/shrunk", &bytes, &mut like, scratch).await;
    store.delete("like/shrunk").await.expect("it is deleted");
    goes_up(store, "like/after a pruning", &bytes, &mut like, scratch).await;
    goes_up(store, "like/small", b"small", &mut like, scratch).await;
    assert_eq!(like, None, "what has no parts is like nothing");
}

/// Equal parts are copied and no others, from the version that is remembered and from no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_equal_is_copied() {
    let Embedded { server, store, scratch } = Embedded::start().await;
    let (scratch, mut like, mut bytes) = (scratch.path(), None, bytes());
    goes_up(&store, "first", &bytes, &mut like, scratch).await;
    assert_eq!(server.copies(), 0);
    goes_up(&store, "same", &bytes, &mut like, scratch).await;
    assert_eq!(server.copies(), 5, "all but the short one");
    bytes[2 * PART + 5] ^= 1;
    goes_up(&store, "changed", &bytes, &mut like, scratch).await;
    assert_eq!(server.copies(), 9, "all but the changed and the short one");

    let remembered = like.clone();
    let mut pieces = LocalFile::open(&scratch.join("up")).await.expect("a file");
    let refused = store.upload_like("first", &mut pieces, &mut like).await;
    assert!(matches!(refused, Err(StoreError::Bad(_))), "{refused:?}");
    assert_eq!(like, None, "after what failed nothing is copied");
    like = remembered;

    // another object at the same key, of the same size: not the version that is remembered
    let before = server.copies();
    store.delete("changed").await.expect("it is deleted");
    done(store.put_if_absent("changed", vec![0; 16 << 20]).await);
    goes_up(&store, "after", &bytes, &mut like, scratch).await;
    assert_eq!(server.copies(), before);
    goes_up(&store, "after that", &bytes, &mut like, scratch).await;
    assert_eq!(server.copies(), before + 5);
    assert_eq!(server.uploads(BUCKET), Vec::<String>::new());
}
