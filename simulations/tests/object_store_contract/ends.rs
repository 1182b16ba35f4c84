//! **ends** — the ends of objects, what a LIST shows beside keys, and deletions.

use agent::{
    adapters::s3::S3Store,
    ports::object_store::{ObjectStore as _, Stored},
};
use std::path::Path;

/// The end of an object comes with the size of all of it; of an empty one nothing comes, and that is told
/// apart from an absent one.
pub(crate) async fn ends_are_read(store: &S3Store, _: &Path) {
    let bytes: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
    store.put_if_absent("ends/some", bytes.clone()).await.expect("it is written");
    store.put_if_absent("ends/empty", Vec::new()).await.expect("it is written");
    for most in [1, 56, 4_096, 99_999, 100_000, 100_001, 1 << 20] {
        let tail = store.tail("ends/some", most).await.expect("it is read").expect("it is there");
        let from = bytes.len().saturating_sub(usize::try_from(most).expect("small"));
        assert_eq!((tail.size, tail.bytes.as_slice()), (100_000, &bytes[from..]), "{most}");
        let whole = store.get("ends/some").await.expect("it is read").expect("it is there");
        assert_eq!(tail.etag, whole.etag);
    }
    let empty = store.tail("ends/empty", 56).await.expect("it is read").expect("it is there");
    assert_eq!((empty.size, empty.bytes.len()), (0, 0));
    assert_eq!(store.tail("ends/none", 56).await, Ok(None));
}

/// What is deleted is gone, and nothing else is; a LIST tells sizes and ages.
pub(crate) async fn what_is_deleted_is_gone(store: &S3Store, _: &Path) {
    for (key, size) in [("bin/a", 1), ("bin/b", 22), ("bin/c", 333)] {
        store.put_if_absent(key, vec![7; size]).await.expect("it is written");
    }
    let seen = |listed: &[Stored]| {
        let line = |stored: &Stored| (stored.key.clone(), stored.size);
        listed.iter().map(line).collect::<Vec<_>>()
    };
    let listed = store.list_stored("bin/").await.expect("it is listed");
    let wanted = [("bin/a".to_owned(), 1), ("bin/b".to_owned(), 22), ("bin/c".to_owned(), 333)];
    assert_eq!(seen(&listed), wanted);
    assert!(listed.iter().all(|stored| stored.age.is_some_and(|age| age < 3600)), "{listed:?}");
    store.delete("bin/b").await.expect("it is deleted");
    store.delete("bin/b").await.expect("it is gone already");
    store.delete("bin/never").await.expect("it was never there");
    assert_eq!(store.get("bin/b").await, Ok(None));
    let listed = store.list_stored("bin/").await.expect("it is listed");
    assert_eq!(seen(&listed), [wanted[0].clone(), wanted[2].clone()]);
}
