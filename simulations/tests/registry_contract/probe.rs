//! **probe** — the start-up probe, asked of stores that keep conditions and of stores that don't.

use super::{always, client, loopback, table};
use agent::{
    adapters::{dynamodb::DynamoTable, s3::S3Store},
    driver::conditions::{By, ProbeError, probe},
    ports::{
        object_store::{Moved, Object, ObjectStore, Put, StoreError, Stored, Tail, Version},
        pieces::Pieces,
        registry::{Item, ItemWrite, Registry},
    },
};
use async_trait::async_trait;
use protocol::registry::Written;
use simulations::drill::{
    object_files::Files,
    object_server::{Credentials, ObjectServer},
};
use std::path::Path;
use tokio::task::JoinSet;

/// A store that breaks one promise, and keeps the others by a store that keeps all.
#[derive(Clone)]
struct Careless {
    inner: S3Store,
    breaks: Breaks,
}

#[derive(Clone, Copy, PartialEq)]
enum Breaks {
    Nothing,
    IfNoneMatch,
    IfMatch,
    /// Ceph radosgw 16 and 18: every If-Match is refused.
    EveryIfMatch,
}

#[async_trait]
impl ObjectStore for Careless {
    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        self.inner.get(key).await
    }
    async fn put_if_absent(&self, key: &str, bytes: Vec<u8>) -> Result<Put, StoreError> {
        match (self.breaks, self.inner.get(key).await?) {
            (Breaks::IfNoneMatch, Some(there)) => {
                self.inner.put_if_match(key, bytes, &there.etag).await
            }
            _ => self.inner.put_if_absent(key, bytes).await,
        }
    }
    async fn put_if_match(&self, key: &str, bytes: Vec<u8>, etag: &str) -> Result<Put, StoreError> {
        match (self.breaks, self.inner.get(key).await?) {
            (Breaks::EveryIfMatch, _) => Ok(Put::Conflict),
            (Breaks::IfMatch, Some(there)) => {
                self.inner.put_if_match(key, bytes, &there.etag).await
            }
            _ => self.inner.put_if_match(key, bytes, etag).await,
        }
    }
    async fn upload(&self, key: &str, pieces: &mut dyn Pieces) -> Result<Moved, StoreError> {
        self.inner.upload(key, pieces).await
    }
    async fn copy(&self, from: &Version, to: &str, over: Option<&str>) -> Result<Put, StoreError> {
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

/// A table that forgets its guards, or its checks.
struct Forgetful {
    inner: DynamoTable,
    guards: bool,
    checks: bool,
}

#[async_trait]
impl Registry for Forgetful {
    async fn read(&self, uid: &str) -> Result<Vec<Item>, StoreError> {
        self.inner.read(uid).await
    }
    async fn write(&self, uid: &str, write: &ItemWrite) -> Result<Written, StoreError> {
        let mut write = write.clone();
        if self.guards {
            write.guard = always();
        }
        if self.checks {
            write.checks.clear();
        }
        self.inner.write(uid, &write).await
    }
    async fn create_table(&self) -> Result<(), StoreError> {
        self.inner.create_table().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_probe_tells_who_ignores_what() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let credentials = Credentials { access: "contract".into(), secret: "secret".into() };
    let objects =
        ObjectServer::start(loopback(), &credentials, Files::new(scratch.path().to_owned()));
    let objects = objects.await.expect("a server");
    objects.create_bucket("bucket");
    let (tables, table) = table().await;
    let inner = S3Store::new(client(&objects.url(), &tables.url()).await.s3, "bucket");

    let mut agents = JoinSet::new();
    for _ in 0..8 {
        let (store, table) = (inner.clone(), table.clone());
        agents.spawn(async move { probe(&store, "cluster", &table, "probe").await });
    }
    assert_eq!(agents.join_all().await, vec![Ok(()); 8]);

    for (breaks, word) in [
        (Breaks::Nothing, None),
        (Breaks::IfNoneMatch, Some("If-None-Match")),
        (Breaks::IfMatch, Some("stale")),
        (Breaks::EveryIfMatch, Some("current")),
    ] {
        let store = Careless { inner: inner.clone(), breaks };
        is_told(probe(&store, "cluster", &table, "probe").await, By::ObjectStore, word);
    }
    for (guards, checks, word) in
        [(false, false, None), (true, false, Some("guarded value")), (false, true, Some("check"))]
    {
        let forgetful = Forgetful { inner: table.clone(), guards, checks };
        is_told(probe(&inner, "cluster", &forgetful, "probe").await, By::Registry, word);
    }
    objects.cut(true);
    let unknown = probe(&inner, "cluster", &table, "probe").await;
    assert!(matches!(unknown, Err(ProbeError::Unknown(StoreError::Unavailable(_)))), "{unknown:?}");
}

fn is_told(probed: Result<(), ProbeError>, who: By, word: Option<&str>) {
    match (probed, word) {
        (Ok(()), None) => {}
        (Err(ProbeError::Broken { by, what }), Some(word)) => {
            assert_eq!(by, who);
            assert!(what.contains(word), "{what}");
        }
        (probed, word) => panic!("{probed:?} instead of {word:?}"),
    }
}
