//! **exports** — `snapshot.db` at its old URI: whatever another puts there, and whenever, is never lost.

use agent::{
    adapters::s3::S3Store,
    driver::exported::Place,
    ports::{
        object_store::{Moved, Object, ObjectStore, Put, StoreError, Stored, Tail, Version},
        pieces::Pieces,
    },
};
use async_trait::async_trait;
use std::{
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

const UID: &str = "uid";

/// A bucket in which another puts a file at each place right before ours is copied there, so many times.
struct Busy<'a> {
    inner: &'a S3Store,
    times: AtomicU32,
}

impl Busy<'_> {
    async fn put_foreign(&self, key: &str) {
        let left = |left: u32| left.checked_sub(1);
        let left = self.times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left);
        let Ok(left) = left else { return };
        self.inner.delete(key).await.expect("it is deleted");
        put(self.inner, key, &format!("foreign {left}")).await;
    }
}

#[async_trait]
impl ObjectStore for Busy<'_> {
    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        self.inner.get(key).await
    }
    async fn put_if_absent(&self, key: &str, bytes: Vec<u8>) -> Result<Put, StoreError> {
        self.inner.put_if_absent(key, bytes).await
    }
    async fn put_if_match(&self, key: &str, bytes: Vec<u8>, etag: &str) -> Result<Put, StoreError> {
        self.inner.put_if_match(key, bytes, etag).await
    }
    async fn upload(&self, key: &str, pieces: &mut dyn Pieces) -> Result<Moved, StoreError> {
        self.inner.upload(key, pieces).await
    }
    async fn copy(&self, from: &Version, to: &str, over: Option<&str>) -> Result<Put, StoreError> {
        if to.ends_with("/snapshot.db") {
            self.put_foreign(to).await;
        }
        self.inner.copy(from, to, over).await
    }
    async fn download(&self, key: &str, file: &Path) -> Result<Option<Moved>, StoreError> {
        self.inner.download(key, file).await
    }
    async fn tail(&self, key: &str, most: u64) -> Result<Option<Tail>, StoreError> {
        self.inner.tail(key, most).await
    }
    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }
    async fn list_stored(&self, prefix: &str) -> Result<Vec<Stored>, StoreError> {
        self.inner.list_stored(prefix).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.inner.list(prefix).await
    }
}

async fn put(store: &S3Store, key: &str, text: &str) {
    let put = store.put_if_absent(key, text.as_bytes().to_vec()).await;
    assert!(matches!(put, Ok(Put::Done { .. })), "{key}: {put:?}");
}

/// What stands below the old URI: at `snapshot.db`, and beside it.
async fn found(store: &S3Store, prefix: &str) -> (String, Vec<String>) {
    let (mut at, mut beside) = (String::new(), Vec::new());
    for key in store.list(&format!("{prefix}/exported/")).await.expect("it is listed") {
        let object = store.get(&key).await.expect("it is read").expect("it is there");
        let text = String::from_utf8(object.bytes).expect("text");
        match key.ends_with("/snapshot.db") {
            true => at = text,
            false => beside.push(text),
        }
    }
    beside.sort_unstable();
    (at, beside)
}

/// A cluster's data `names`, and the place they are exported to.
async fn data(store: &S3Store, prefix: &str, names: &[&str]) {
    for name in names {
        put(store, &format!("{prefix}/{UID}/{name}"), name).await;
    }
}

pub(crate) async fn what_is_not_ours_is_kept(store: &S3Store, _: &Path) {
    let prefix = "kept";
    let place = Place { store, prefix, uid: UID };
    data(store, prefix, &["one", "two", "three"]).await;
    let at = format!("{prefix}/exported/etcd-snapshots/snapshot.db");
    put(store, &at, "of the cluster before").await;
    for name in ["one", "two"] {
        assert_eq!(place.renew(name).await, Ok(()));
        let wanted = (name.to_owned(), vec!["of the cluster before".to_owned()]);
        assert_eq!(found(store, prefix).await, wanted);
    }
    store.delete(&at).await.expect("somebody may");
    assert_eq!(place.renew("three").await, Ok(()));
    store.delete(&at).await.expect("somebody may");
    put(store, &at, "another's").await;
    assert_eq!(place.renew("one").await, Ok(()));
    let kept = vec!["another's".to_owned(), "of the cluster before".to_owned()];
    assert_eq!(found(store, prefix).await, ("one".to_owned(), kept));
    let gone = place.renew("never").await;
    assert!(matches!(&gone, Err(StoreError::Bad(why)) if why.contains("never")), "{gone:?}");
    // whether the store judges it or not: asking does no harm
    assert!(place.judges_copies("one").await.is_ok());
    assert_eq!(found(store, prefix).await.0, "one");
}

/// Between our look and our copy another puts a file there: it is kept as well, or left where it is.
pub(crate) async fn what_is_replaced_meanwhile_is_kept(store: &S3Store, _: &Path) {
    let prefix = "busy";
    data(store, prefix, &["one"]).await;
    for (times, at, beside) in [
        (2, "one", &["foreign 1", "foreign 2"][..]),
        (0, "one", &["foreign 1", "foreign 2"]),
        (3, "foreign 1", &["foreign 1", "foreign 2", "foreign 3"]),
    ] {
        let busy = Busy { inner: store, times: AtomicU32::new(times) };
        let place = Place { store: &busy, prefix, uid: UID };
        let renewed = place.renew("one").await;
        match at {
            "one" => assert_eq!(renewed, Ok(())),
            _ => assert!(
                matches!(&renewed, Err(StoreError::Unavailable(why)) if why.contains("3 times")),
                "{renewed:?}"
            ),
        }
        let (is_at, mut is_beside) = found(store, prefix).await;
        is_beside.dedup();
        assert_eq!(
            (is_at.as_str(), is_beside),
            (at, beside.iter().map(ToString::to_string).collect())
        );
    }
    let place = Place { store, prefix, uid: UID };
    assert_eq!(place.judges_copies("one").await, Ok(true));
}
