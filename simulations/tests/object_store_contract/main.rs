//! **object_store_contract** — what the port promises, asked of every object store.
//!
//! The same parts run against the embedded server and against moto (a second opinion on S3 that
//! is not ours). What needs a relay or a signature check is asked of the embedded server alone.

mod broken;
mod copies;
mod encryption;
mod ends;
mod exports;
mod likeness;
mod moto;

use agent::{
    adapters::{
        aws::{Clients, Settings, clients},
        local_file::LocalFile,
        s3::S3Store,
    },
    ports::object_store::{Moved, ObjectStore, Put, StoreError},
};
use broken::{what_breaks_off_is_not_stored, what_is_replaced_is_not_mixed};
use copies::{copies_are_made_once, copies_replace_what_was_seen, one_of_many_copies_replaces};
use ends::{ends_are_read, lists_have_all_pages, what_is_deleted_is_gone};
use exports::{what_is_not_ours_is_kept, what_is_replaced_meanwhile_is_kept};
use likeness::what_is_alike_is_stored_whole;
use protocol::cluster::Digest;
use sha2::{Digest as _, Sha256};
use simulations::drill::{
    object_files::Files,
    object_server::{Credentials, ObjectServer},
};
use std::net::{Ipv4Addr, SocketAddr};
use tempfile::TempDir;
use tokio::task::JoinSet;

const BUCKET: &str = "contract";
const RACERS: usize = 32;
const ROUNDS: usize = 10;

/// The embedded server, a client of it, and a scratch directory.
struct Embedded {
    server: ObjectServer,
    store: S3Store,
    scratch: TempDir,
}

impl Embedded {
    async fn start() -> Self {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let bodies = scratch.path().join("bodies");
        std::fs::create_dir(&bodies).expect("a directory for bodies");
        let credentials = Credentials { access: "contract".into(), secret: "secret".into() };
        let server = ObjectServer::start(loopback(), &credentials, Files::new(bodies))
            .await
            .expect("a server");
        server.create_bucket(BUCKET);
        let store = S3Store::new(client(&server.url(), "secret").await.s3, BUCKET);
        Self { server, store, scratch }
    }
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

async fn client(url: &str, secret: &str) -> Clients {
    let settings = Settings {
        region: Some("us-east-1".into()),
        s3_endpoint: Some(url.to_owned()),
        dynamodb_endpoint: None,
        credentials: Some(("contract".into(), secret.to_owned())),
        transport: None,
        ..Settings::default()
    };
    clients(&settings).await.expect("a region is set")
}

/// One test per part against a fresh embedded server.
macro_rules! embedded {
    (test $part:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $part() {
            let embedded = super::Embedded::start().await;
            super::$part(&embedded.store, embedded.scratch.path()).await;
            assert_eq!(embedded.server.uploads(super::BUCKET), Vec::<String>::new());
            embedded.server.stop().await;
        }
    };
    (also moto: $($part:ident),*; races: $($race:ident),* $(,)?) => {
        mod embedded {
            $(embedded!(test $part);)*
            $(embedded!(test $race);)*
        }

        /// All parts against three buckets of one moto, which takes seconds to start; but for races: it looks and
        /// writes with nothing held between the two, so on a busy machine two may win. It also knows no
        /// If-Match where an upload is completed, and none of the version that a part is copied from.
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn moto_keeps_the_same_contract() {
            let Some((_moto, url)) = moto::Moto::start() else {
                return eprintln!("skipped: there is no python3 for moto; apt-get install python3");
            };
            let s3 = client(&url, "secret").await.s3;
            for bucket in moto::buckets(&s3).await {
                let store = S3Store::new(s3.clone(), bucket);
                $(
                    let scratch = tempfile::tempdir().expect("a scratch directory");
                    $part(&store, scratch.path()).await;
                )*
            }
            // where versions are kept moto takes seconds to list a thousand keys
            lists_have_all_pages(&S3Store::new(s3.clone(), BUCKET), std::path::Path::new("")).await;
            encryption::every_write_is_encrypted(&s3, BUCKET).await;
        }
    };
}

embedded!(
    also moto:
    what_is_absent_is_none,
    conditions_are_kept,
    files_go_up_and_come_down,
    what_is_alike_is_stored_whole,
    what_breaks_off_is_not_stored,
    what_is_replaced_is_not_mixed,
    copies_are_made_once,
    what_is_not_ours_is_kept,
    ends_are_read,
    what_is_deleted_is_gone;
    races:
    lists_have_all_pages,
    copies_replace_what_was_seen,
    what_is_replaced_meanwhile_is_kept,
    one_of_many_copies_replaces,
    one_of_many_creates,
    one_of_many_replaces,
);

async fn what_is_absent_is_none(store: &S3Store, scratch: &std::path::Path) {
    assert_eq!(store.get("absent/x").await, Ok(None));
    let file = scratch.join("absent");
    assert_eq!(store.download("absent/x", &file).await, Ok(None));
    assert!(!file.exists());
    assert_eq!(store.list("absent/").await, Ok(vec![]));
}

async fn conditions_are_kept(store: &S3Store, _: &std::path::Path) {
    let key = "conditions/a b+ü";
    let first = done(store.put_if_absent(key, b"one".to_vec()).await);
    assert_eq!(store.put_if_absent(key, b"two".to_vec()).await, Ok(Put::Conflict));
    // The same bytes again are taken for our own write whose answer was lost.
    assert_eq!(done(store.put_if_absent(key, b"one".to_vec()).await), first);
    let object = store.get(key).await.expect("reachable").expect("there");
    assert_eq!((object.bytes.as_slice(), &object.etag), (b"one".as_slice(), &first));

    let second = done(store.put_if_match(key, b"two".to_vec(), &first).await);
    assert_ne!(second, first);
    assert_eq!(store.put_if_match(key, b"three".to_vec(), &first).await, Ok(Put::Conflict));
    assert_eq!(done(store.put_if_match(key, b"two".to_vec(), &first).await), second);
    let absent = store.put_if_match("conditions/absent", b"x".to_vec(), &second).await;
    assert_eq!(absent, Ok(Put::Conflict));
    assert_eq!(store.get("conditions/absent").await, Ok(None));
}

async fn one_of_many_creates(store: &S3Store, _: &std::path::Path) {
    for round in 0..ROUNDS {
        let key = format!("create/{round}");
        let mut racers = JoinSet::new();
        for racer in 0..RACERS {
            let (store, key) = (store.clone(), key.clone());
            racers.spawn(async move {
                let bytes = format!("{round} {racer}").into_bytes();
                (store.put_if_absent(&key, bytes.clone()).await, bytes)
            });
        }
        the_winner_is_there(store, &key, racers).await;
    }
}

async fn one_of_many_replaces(store: &S3Store, _: &std::path::Path) {
    let key = "replace";
    let mut etag = done(store.put_if_absent(key, b"start".to_vec()).await);
    for round in 0..ROUNDS {
        let mut racers = JoinSet::new();
        for racer in 0..RACERS {
            let (store, etag) = (store.clone(), etag.clone());
            racers.spawn(async move {
                let bytes = format!("{round} {racer}").into_bytes();
                (store.put_if_match(key, bytes.clone(), &etag).await, bytes)
            });
        }
        etag = the_winner_is_there(store, key, racers).await;
    }
}

/// Exactly one racer won, all others were told so, and the winner's bytes are there.
async fn the_winner_is_there(
    store: &S3Store,
    key: &str,
    racers: JoinSet<(Result<Put, StoreError>, Vec<u8>)>,
) -> String {
    let mut winners = Vec::new();
    for (outcome, bytes) in racers.join_all().await {
        match outcome.expect("a store under load still answers") {
            Put::Done { etag } => winners.push((etag, bytes)),
            Put::Conflict => {}
        }
    }
    assert_eq!(winners.len(), 1, "{key}");
    let (etag, bytes) = winners.remove(0);
    let object = store.get(key).await.expect("reachable").expect("there");
    assert_eq!((object.etag, object.bytes), (etag.clone(), bytes));
    etag
}

async fn files_go_up_and_come_down(store: &S3Store, scratch: &std::path::Path) {
    for (name, size) in [("empty", 0), ("small", 70_001), ("large", 20 << 20)] {
        let key = format!("files/{name}");
        let (up, down) = (scratch.join(format!("{name}.up")), scratch.join(format!("{name}.down")));
        let moved = write_noise(&up, size, 1);
        assert_eq!(up_goes(store, &key, &up).await, Ok(moved));
        assert_eq!(store.download(&key, &down).await, Ok(Some(moved)));
        assert!(std::fs::read(&up).ok() == std::fs::read(&down).ok(), "{name}");
        // Once more is what happens after a lost answer; other bytes are somebody else's.
        assert_eq!(up_goes(store, &key, &up).await, Ok(moved), "{name} again");
        write_noise(&up, size + 1, 2);
        let other = up_goes(store, &key, &up).await;
        assert!(matches!(other, Err(StoreError::Bad(_))), "{name}: {other:?}");
        let over = store.download(&key, &down).await;
        assert!(matches!(over, Err(StoreError::Local(_))), "{name}: {over:?}");
    }
    let large = store.get("files/large").await;
    assert!(matches!(large, Err(StoreError::Bad(_))), "{large:?}");
    let nowhere = up_goes(store, "files/none", &scratch.join("none")).await;
    assert!(matches!(nowhere, Err(StoreError::Source(_))), "{nowhere:?}");
}

async fn up_goes(store: &S3Store, key: &str, file: &std::path::Path) -> Result<Moved, StoreError> {
    store.upload(key, &mut LocalFile::open(file).await.map_err(StoreError::Source)?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_large_uploads_is_completed() {
    let Embedded { server, store, scratch } = Embedded::start().await;
    let file = |racer: u64| {
        let file = scratch.path().join(racer.to_string());
        (write_noise(&file, 17 << 20, racer), file)
    };
    let files: Vec<_> = (0..32).map(file).collect(); // all before the first sets out
    let mut racers = JoinSet::new();
    for (moved, file) in files {
        let store = store.clone();
        racers.spawn(async move { (up_goes(&store, "raced", &file).await, moved) });
    }
    let (won, lost): (Vec<_>, Vec<_>) =
        racers.join_all().await.into_iter().partition(|(outcome, _)| outcome.is_ok());
    assert_eq!(won.len(), 1, "{won:?} {lost:?}");
    for (outcome, _) in lost {
        assert!(matches!(outcome, Err(StoreError::Bad(_))), "{outcome:?}");
    }
    let down = store.download("raced", &scratch.path().join("down")).await;
    assert_eq!(down, Ok(Some(won[0].1)));
    assert_eq!(server.uploads(BUCKET), Vec::<String>::new(), "parts were left behind");
}

#[tokio::test]
async fn a_lost_answer_is_healed() {
    let Embedded { server, store, scratch } = Embedded::start().await;
    server.relay().lose_answers(1);
    let first = done(store.put_if_absent("key", b"one".to_vec()).await);
    assert_eq!(server.relay().answers_to_lose(), 0);
    server.relay().lose_answers(1);
    let second = done(store.put_if_match("key", b"two".to_vec(), &first).await);
    assert_eq!(server.relay().answers_to_lose(), 0);
    let object = store.get("key").await.expect("reachable").expect("there");
    assert_eq!((object.bytes.as_slice(), object.etag), (b"two".as_slice(), second.clone()));

    let file = scratch.path().join("file");
    let moved = write_noise(&file, 1_000, 3);
    server.relay().lose_answers(1);
    assert_eq!(up_goes(&store, "file", &file).await, Ok(moved));

    // With every answer lost nobody knows; asked again, the store says that it was applied.
    server.relay().lose_answers(u32::MAX);
    let unknown = store.put_if_match("key", b"three".to_vec(), &second).await;
    assert!(matches!(unknown, Err(StoreError::Unavailable(_))), "{unknown:?}");
    server.relay().lose_answers(0);
    done(store.put_if_match("key", b"three".to_vec(), &second).await);
}

#[tokio::test]
async fn what_the_store_does_not_say_is_an_error() {
    let Embedded { server, store, scratch } = Embedded::start().await;
    let file = scratch.path().join("file");
    done(store.put_if_absent("key", b"one".to_vec()).await);

    let stranger = S3Store::new(client(&server.url(), "wrong").await.s3, BUCKET);
    for error in errors_of(&stranger, &file).await {
        assert!(matches!(error, StoreError::Forbidden(_)), "{error:?}");
    }
    let elsewhere = S3Store::new(client(&server.url(), "secret").await.s3, "elsewhere");
    for error in errors_of(&elsewhere, &file).await {
        assert!(
            matches!(&error, StoreError::Missing(why) if why.contains("elsewhere")),
            "{error:?}"
        );
    }
    server.cut(true);
    for error in errors_of(&store, &file).await {
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    }
    server.cut(false);
    let object = store.get("key").await.expect("reachable again").expect("still there");
    assert_eq!(object.bytes, b"one");
}

/// The environment can't be set inside a process of many threads, so a child reads it: once from
/// variables, once from a profile with an endpoint for S3 alone.
#[tokio::test]
async fn the_environment_is_read_as_the_sdk_reads_it() {
    let Embedded { server, store, scratch } = Embedded::start().await;
    done(store.put_if_absent("key", b"one".to_vec()).await);
    // By name, because the SDK addresses a bare IP by path of its own accord.
    let url = server.url().replace("127.0.0.1", "localhost");
    let profile = format!(
        "[default]\nregion = us-east-1\naws_access_key_id = contract\naws_secret_access_key = secret\n\
         services = local\n[services local]\ns3 =\n  endpoint_url = {url}\n"
    );
    let config = scratch.path().join("config");
    std::fs::write(&config, profile).expect("scratch space");
    let variables = [
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "contract"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_ENDPOINT_URL_S3", &url),
        ("AWS_CONFIG_FILE", "/dev/null"),
    ];
    let file = [("AWS_CONFIG_FILE", config.to_str().expect("a plain path"))];
    for environment in [&variables[..], &file[..]] {
        let child = tokio::process::Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "in_a_child", "--ignored"])
            .env_clear()
            .envs(environment.iter().copied())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .kill_on_drop(true)
            .output();
        let output = child.await.expect("a child");
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("1 passed"), "{environment:?}: {told}");
    }
}

#[tokio::test]
#[ignore = "the_environment_is_read_as_the_sdk_reads_it runs it with an environment of its own"]
async fn in_a_child() {
    let clients = clients(&Settings::default()).await.expect("a region");
    let object = S3Store::new(clients.s3, BUCKET).get("key").await;
    assert_eq!(object.expect("reachable").expect("there").bytes, b"one");
}

/// Every call, each of which must fail.
async fn errors_of(store: &S3Store, file: &std::path::Path) -> Vec<StoreError> {
    vec![
        store.get("key").await.expect_err("get"),
        store.put_if_absent("key", b"x".to_vec()).await.expect_err("put_if_absent"),
        store.put_if_match("key", b"x".to_vec(), "\"0\"").await.expect_err("put_if_match"),
        store.download("key", file).await.expect_err("download"),
        store.list("").await.expect_err("list"),
    ]
}

fn done(put: Result<Put, StoreError>) -> String {
    match put {
        Ok(Put::Done { etag }) => etag,
        Ok(Put::Conflict) => panic!("a put that must succeed was refused"),
        Err(error) => panic!("a put that must succeed failed: {error}"),
    }
}

/// Writes `size` bytes that don't repeat; answers with what an upload of them must answer.
fn write_noise(file: &std::path::Path, size: usize, seed: u64) -> Moved {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state ^ (state >> 29)).to_le_bytes());
    }
    bytes.truncate(size);
    std::fs::write(file, &bytes).expect("scratch space");
    Moved { size: size as u64, sha256: Digest(Sha256::digest(&bytes).into()) }
}
