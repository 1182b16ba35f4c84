//! **encryption** — whatever is written, however it is written, is encrypted as was said.

use super::{BUCKET, Embedded, client, done, up_goes, write_noise};
use agent::{
    adapters::{s3::S3Store, s3_encryption::Encryption},
    ports::object_store::{ObjectStore as _, Put, Version},
};
use aws_sdk_s3::{Client, types::ServerSideEncryption};
use std::path::Path;

/// Writes in each way below `prefix`; answers with the keys.
async fn written(store: &S3Store, prefix: &str, scratch: &Path) -> Vec<String> {
    let key = |name: &str| format!("{prefix}/{name}");
    let first = done(store.put_if_absent(&key("absent"), b"one".to_vec()).await);
    done(store.put_if_absent(&key("match"), b"one".to_vec()).await);
    let before = store.get(&key("match")).await.expect("reachable").expect("there").etag;
    let second = done(store.put_if_match(&key("match"), b"two".to_vec(), &before).await);
    for (name, size) in [("small", 1_000), ("large", 17 << 20)] {
        let file = scratch.join(name);
        let moved = write_noise(&file, size, 5);
        assert_eq!(up_goes(store, &key(name), &file).await, Ok(moved));
        // what lies there is found to be ours although its version says nothing of its bytes
        assert_eq!(up_goes(store, &key(name), &file).await, Ok(moved));
    }
    let from = |name: &str, etag: &str| Version { key: key(name), etag: etag.to_owned() };
    let copied = done(store.copy(&from("absent", &first), &key("copy"), None).await);
    done(store.copy(&from("match", &second), &key("copy"), Some(&copied)).await);
    assert_eq!(store.copy(&from("match", &second), &key("absent"), None).await, Ok(Put::Conflict),);
    let down = scratch.join(format!("{}.down", prefix.replace('/', "-")));
    assert!(store.download(&key("large"), &down).await.is_ok_and(|moved| moved.is_some()));
    ["absent", "match", "small", "large", "copy"].map(key).into()
}

/// Every kind of write, for every kind of encryption.
pub(crate) async fn every_write_is_encrypted(s3: &Client, bucket: &str) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let kms = |key: Option<&str>, twice| Encryption::Kms { key: key.map(Into::into), twice };
    let own = "arn:aws:kms:us-east-1:123456789012:key/0b1c";
    for (name, said, algorithm, key) in [
        ("s3", Encryption::S3, ServerSideEncryption::Aes256, None),
        ("kms", kms(None, false), ServerSideEncryption::AwsKms, None),
        ("own", kms(Some(own), false), ServerSideEncryption::AwsKms, Some(own)),
        // the key is sent as above; moto does not tell it again
        ("twice", kms(Some(own), true), ServerSideEncryption::AwsKmsDsse, None),
    ] {
        let store = S3Store::new(s3.clone(), bucket).encrypting(said);
        for at in written(&store, &format!("encrypted/{name}"), scratch.path()).await {
            let head = s3.head_object().bucket(bucket).key(&at).send().await.expect("it is there");
            assert_eq!(head.server_side_encryption(), Some(&algorithm), "{at}");
            if key.is_some() {
                assert_eq!(head.ssekms_key_id(), key, "{at}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_are_encrypted_as_was_said() {
    let Embedded { server, store, scratch } = Embedded::start().await;
    let s3 = client(&server.url(), "secret").await.s3;
    every_write_is_encrypted(&s3, BUCKET).await;
    for at in written(&store, "as the bucket says", scratch.path()).await {
        let head = s3.head_object().bucket(BUCKET).key(&at).send().await.expect("it is there");
        assert_eq!(head.server_side_encryption(), None, "{at}");
    }
    assert_eq!(server.uploads(BUCKET), Vec::<String>::new());
}
