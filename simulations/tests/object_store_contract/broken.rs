//! **broken** — large objects that do not come whole: neither up nor down is half of one taken for all.

use super::{BUCKET, Embedded};
use agent::{
    adapters::{s3::S3Store, s3_unfinished::Unfinished},
    ports::{
        object_store::{Moved, ObjectStore, Put, StoreError, Version},
        pieces::Pieces,
    },
};
use async_trait::async_trait;
use protocol::cluster::Digest;
use std::{cell::Cell, future::pending, path::Path, sync::Arc};
use tokio::sync::Notify;

/// So many MiB, and then what proves that they are no good.
struct BreaksOff(u32);

#[async_trait]
impl Pieces for BreaksOff {
    async fn next(&mut self, into: &mut Vec<u8>) -> Result<bool, String> {
        self.0 = self.0.checked_sub(1).ok_or("it broke off")?;
        into.extend_from_slice(&vec![7; 1 << 20]);
        Ok(true)
    }

    fn moved(&self) -> Moved {
        unreachable!("nothing of it is stored")
    }
}

/// So many MiB, and then nothing, for ever.
struct StandsStill(u32, Arc<Notify>);

#[async_trait]
impl Pieces for StandsStill {
    async fn next(&mut self, into: &mut Vec<u8>) -> Result<bool, String> {
        let Some(left) = self.0.checked_sub(1) else {
            self.1.notify_one();
            return pending().await;
        };
        self.0 = left;
        into.extend_from_slice(&vec![7; 1 << 20]);
        Ok(true)
    }

    fn moved(&self) -> Moved {
        unreachable!("nothing of it is stored")
    }
}

/// A deadline or a signal ends whoever uploads; whoever ends the process waits for what that leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_up_leaves_no_parts() {
    let embedded = Embedded::start().await;
    let unfinished = Unfinished::default();
    let store = embedded.store.clone().counting(unfinished.clone());
    for mebibytes in [9, 20, 61] {
        let still = Arc::new(Notify::new());
        let mut pieces = StandsStill(mebibytes, Arc::clone(&still));
        let mut upload = store.upload("given up", &mut pieces);
        tokio::select! {
            stored = &mut upload => panic!("{stored:?}"),
            () = still.notified() => {}
        }
        assert_eq!(embedded.server.uploads(BUCKET).len(), 1, "it was begun");
        drop(upload);
        unfinished.none_left().await;
        assert_eq!(embedded.server.uploads(BUCKET), Vec::<String>::new(), "{mebibytes} MiB");
    }
    embedded.server.stop().await;
}

/// At no size does an object appear that did not come whole, nor do parts of it stay.
pub(super) async fn what_breaks_off_is_not_stored(store: &S3Store, _: &Path) {
    for mebibytes in [0, 3, 8, 20, 61] {
        let broken = store.upload("broken", &mut BreaksOff(mebibytes)).await;
        assert_eq!(broken, Err(StoreError::Source("it broke off".to_owned())));
        assert_eq!(store.list("broken").await, Ok(Vec::new()), "{mebibytes} MiB");
    }
}

/// Whoever reads a large object while it is replaced, again and again, gets one version or an error.
pub(super) async fn what_is_replaced_is_not_mixed(store: &S3Store, scratch: &Path) {
    let mut versions = Vec::new();
    for version in [0, 1] {
        let key = format!("version/{version}");
        let put = store.put_if_absent(&key, vec![version; 40 << 20]).await;
        let Ok(Put::Done { etag }) = put else { panic!("{put:?}") };
        versions.push(Version { key, etag });
    }
    let Ok(Put::Done { etag: mut over }) = store.copy(&versions[0], "replaced", None).await else {
        panic!("nothing was there");
    };
    let read_all = Cell::new(false);
    let replace = async {
        for version in versions.iter().cycle().take_while(|_| !read_all.get()) {
            match store.copy(version, "replaced", Some(&over)).await {
                Ok(Put::Done { etag }) => over = etag,
                other => panic!("nobody else replaces it: {other:?}"),
            }
        }
    };
    let read = async {
        for read in 0..10 {
            one_version_or_none(store, &scratch.join(read.to_string())).await;
        }
        read_all.set(true);
    };
    tokio::join!(replace, read);
    assert!(one_version_or_none(store, &scratch.join("at rest")).await, "nobody is in the way");
}

async fn one_version_or_none(store: &S3Store, file: &Path) -> bool {
    match store.download("replaced", file).await {
        Ok(moved) => {
            let bytes = std::fs::read(file).expect("a file");
            let whole = Moved { size: bytes.len() as u64, sha256: Digest::of(&bytes) };
            assert_eq!(moved, Some(whole));
            assert!(bytes.iter().all(|byte| *byte == bytes[0]), "a mixture");
            true
        }
        Err(StoreError::Unavailable(_)) => {
            assert!(!file.exists(), "half a file");
            false
        }
        Err(error) => panic!("{error}"),
    }
}
