//! **copies** — copies that the server makes: once where nothing may be there, else over the version seen.

use super::{RACERS, ROUNDS, done};
use agent::{
    adapters::s3::S3Store,
    ports::object_store::{ObjectStore as _, Put, StoreError, Version},
};
use std::path::Path;
use tokio::task::JoinSet;

async fn written(store: &S3Store, key: &str, bytes: &[u8]) -> Version {
    let etag = done(store.put_if_absent(key, bytes.to_vec()).await);
    Version { key: key.to_owned(), etag }
}

async fn is_there(store: &S3Store, key: &str) -> Vec<u8> {
    store.get(key).await.expect("reachable").expect("there").bytes
}

/// A copy where nothing may be is made once, of any size, by any name.
pub(crate) async fn copies_are_made_once(store: &S3Store, _: &Path) {
    let large = vec![7; 9 << 20];
    for (name, bytes) in [("empty", &[][..]), ("small a+ü%41", b"new"), ("large", &large)] {
        let (from, to) = (format!("copy/from {name}"), format!("copy/to {name}"));
        let from = written(store, &from, bytes).await;
        done(store.copy(&from, &to, None).await);
        assert!(is_there(store, &to).await == bytes, "{name}");
        let other = written(store, &format!("copy/other {name}"), b"other").await;
        assert_eq!(store.copy(&other, &to, None).await, Ok(Put::Conflict), "{name}");
        assert!(is_there(store, &to).await == bytes, "{name}");
    }
    let absent = Version { key: "copy/absent".into(), etag: "\"0\"".into() };
    let absent = store.copy(&absent, "copy/to absent", None).await;
    assert!(matches!(absent, Err(StoreError::Bad(_))), "{absent:?}");
}

/// Only what was seen is replaced, and only by the version that was seen.
pub(crate) async fn copies_replace_what_was_seen(store: &S3Store, _: &Path) {
    let (from, to) = (written(store, "from", b"new").await, "to");
    assert_eq!(store.copy(&from, to, Some("\"0\"")).await, Ok(Put::Conflict), "nothing is there");
    assert_eq!(store.get(to).await, Ok(None));
    let seen = written(store, to, b"old").await.etag;
    let newer = done(store.put_if_match(to, b"newer".to_vec(), &seen).await);
    assert_eq!(store.copy(&from, to, Some(&seen)).await, Ok(Put::Conflict));
    assert_eq!(is_there(store, to).await, b"newer");
    let copied = done(store.copy(&from, to, Some(&newer)).await);
    assert_eq!(is_there(store, to).await, b"new");

    done(store.put_if_match("from", b"newest".to_vec(), &from.etag).await);
    let other = store.copy(&from, to, Some(&copied)).await;
    assert!(matches!(other, Err(StoreError::Unavailable(_))), "{other:?}");
    assert_eq!(is_there(store, to).await, b"new");
}

pub(crate) async fn one_of_many_copies_replaces(store: &S3Store, _: &Path) {
    let mut over = written(store, "raced", b"start").await.etag;
    for round in 0..ROUNDS {
        let mut racers = JoinSet::new();
        for racer in 0..RACERS {
            let (store, over) = (store.clone(), over.clone());
            racers.spawn(async move {
                let bytes = format!("{round} {racer}");
                let from = written(&store, &format!("racer/{bytes}"), bytes.as_bytes()).await;
                (store.copy(&from, "raced", Some(&over)).await, bytes)
            });
        }
        let ended = racers.join_all().await.into_iter();
        let won = ended.filter_map(|(outcome, bytes)| match outcome.expect("it answers") {
            Put::Done { etag } => Some((etag, bytes)),
            Put::Conflict => None,
        });
        let won: Vec<_> = won.collect();
        assert_eq!(won.len(), 1, "{won:?}");
        assert_eq!(is_there(store, "raced").await, won[0].1.as_bytes());
        over.clone_from(&won[0].0);
    }
}
