//! **ends** — the ends of objects, what a LIST shows beside keys, and deletions.

use super::{BUCKET, Embedded, RACERS, done};
use agent::{
    adapters::s3::S3Store,
    ports::object_store::{ObjectStore as _, Put, StoreError, Stored},
};
use std::path::Path;
use tokio::task::JoinSet;

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

/// What is deleted is gone, and nothing else is, also where versions are kept or locked: its key is free
/// again. A LIST tells sizes and ages.
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
    let again = store.put_if_absent("bin/b", b"again".to_vec()).await;
    assert!(matches!(again, Ok(Put::Done { .. })), "{again:?}");
    let there = store.get("bin/b").await.expect("it is read").expect("it is there");
    assert_eq!(there.bytes, b"again");
}

pub(crate) async fn lists_have_all_pages(store: &S3Store, _: &Path) {
    const KEYS: usize = 1_005;
    for batch in (0..KEYS).collect::<Vec<_>>().chunks(RACERS) {
        let mut writers = JoinSet::new();
        for number in batch {
            let (store, key) = (store.clone(), format!("list/{number:05}"));
            writers.spawn(async move { store.put_if_absent(&key, Vec::new()).await });
        }
        writers.join_all().await.into_iter().for_each(|put| drop(done(put)));
    }
    done(store.put_if_absent("list0", Vec::new()).await);
    let expected: Vec<_> = (0..KEYS).map(|number| format!("list/{number:05}")).collect();
    assert_eq!(store.list("list/").await.as_ref(), Ok(&expected));
    assert_eq!(store.list("list/00").await.as_deref(), Ok(&expected[..1_000]));
}

/// What the store does not let go is told as that, and stays.
#[tokio::test]
async fn what_is_held_stays() {
    let Embedded { server, store, .. } = Embedded::start().await;
    for key in ["held/a", "held/b"] {
        done(store.put_if_absent(key, vec![7]).await);
    }
    server.hold(BUCKET, "/a");
    let refused = store.delete("held/a").await;
    assert!(
        matches!(&refused, Err(StoreError::Forbidden(why)) if why.contains("held/a")),
        "{refused:?}"
    );
    assert_eq!(store.delete("held/b").await, Ok(()));
    assert_eq!(store.list("held/").await, Ok(vec!["held/a".to_owned()]));
}
