//! **s3** — the bucket, in S3 or a store that speaks its protocol.
//!
//! Comes in: keys, bytes and files. Goes out: S3 calls, conditional where the port says so, and
//! what they came to. The store judges the conditions; this file retries "two writes at once"
//! (409) and finds out, after a refusal, whether what is there is our own write whose answer was
//! lost: it compares the bytes.

use super::{
    aws_errors::{meaning, status_and_code},
    retrying::{Try, decided},
    s3_multipart::{Completed, PART, Target, bulk},
};
use crate::ports::object_store::{Moved, Object, ObjectStore, Put, StoreError};
use async_trait::async_trait;
use aws_sdk_s3::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::get_object::GetObjectOutput,
    primitives::ByteStream,
};
use protocol::cluster::Digest;
use sha2::{Digest as _, Sha256};
use std::{io, path::Path};
use tokio::{
    fs::File,
    io::{AsyncWriteExt, BufWriter},
    time::timeout,
};

/// Largest object that `get` takes into memory (the port's bound).
const SMALL_MAX: u64 = 16 << 20;
/// Largest object that one `CopyObject` copies (S3 limit).
const COPY_MAX: u64 = 5 << 30;

/// One bucket.
#[derive(Clone, Debug)]
pub struct S3Store {
    client: Client,
    bucket: String,
}

/// What a conditional write demands.
#[derive(Clone, Copy, Debug)]
enum If<'a> {
    Absent,
    Match(&'a str),
}

impl S3Store {
    /// The bucket `bucket`, which must exist by the first call.
    pub fn new(client: Client, bucket: impl Into<String>) -> Self {
        Self { client, bucket: bucket.into() }
    }

    fn doing(&self, what: &str, key: &str) -> String {
        format!("{what} s3://{}/{key}", self.bucket)
    }

    fn target<'a>(&'a self, key: &'a str) -> Target<'a> {
        Target { client: &self.client, bucket: &self.bucket, key }
    }

    /// Opens an object for reading; `None`: the store says that there is none.
    async fn open(&self, key: &str) -> Result<Option<GetObjectOutput>, StoreError> {
        match self.client.get_object().bucket(&self.bucket).key(key).send().await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if is_no_such_key(&error) => Ok(None),
            Err(error) => Err(meaning(&error, &self.doing("reading", key))),
        }
    }

    /// A conditional put, until the store has decided on it.
    async fn put(&self, key: &str, bytes: Vec<u8>, only: If<'_>) -> Result<Put, StoreError> {
        decided(|| self.try_to_put(key, &bytes, only)).await
    }

    async fn try_to_put(
        &self,
        key: &str,
        bytes: &[u8],
        only: If<'_>,
    ) -> Result<Try<Put>, StoreError> {
        let doing = self.doing("writing", key);
        let body = ByteStream::from(bytes.to_vec());
        let call = self.client.put_object().bucket(&self.bucket).key(key).body(body);
        let call = match only {
            If::Absent => call.if_none_match("*"),
            If::Match(etag) => call.if_match(etag),
        };
        let large = bytes.len() as u64 > SMALL_MAX / 16;
        let call = if large { call.customize().config_override(bulk()) } else { call.customize() };
        let error = match call.send().await {
            Ok(answer) => return self.done(answer.e_tag, &doing).map(Try::Done),
            Err(error) => error,
        };
        let in_the_way = || {
            let text = format!("{doing}: other writes got in the way again and again");
            Try::Again(StoreError::Unavailable(text))
        };
        match status_and_code(&error) {
            // `None`: deleted between the refusal and our look
            (412, _) => Ok(self.heal(key, bytes, only).await?.map_or_else(in_the_way, Try::Done)),
            (404, code) if code != "NoSuchBucket" && matches!(only, If::Match(_)) => {
                Ok(Try::Done(Put::Conflict))
            }
            (409, _) => Ok(in_the_way()),
            _ => Err(meaning(&error, &doing)),
        }
    }

    /// After a refusal: is it our own write that is there? `None`: nothing is there although an
    /// absent object was demanded, so the refusal says nothing any more.
    async fn heal(&self, key: &str, ours: &[u8], only: If<'_>) -> Result<Option<Put>, StoreError> {
        Ok(match (self.get(key).await?, only) {
            (Some(object), _) if object.bytes == ours => Some(Put::Done { etag: object.etag }),
            (Some(_), _) | (None, If::Match(_)) => Some(Put::Conflict),
            (None, If::Absent) => None,
        })
    }

    fn done(&self, etag: Option<String>, doing: &str) -> Result<Put, StoreError> {
        let etag =
            etag.ok_or_else(|| StoreError::Bad(format!("{doing}: the answer has no ETag")))?;
        Ok(Put::Done { etag })
    }

    /// After a refused upload: is what is there the same? Reads all of it.
    async fn same(&self, key: &str, moved: Moved) -> Result<(), StoreError> {
        let doing = self.doing("comparing with", key);
        let there = match self.open(key).await? {
            Some(object) => Some(hash(object.body, &doing, &mut Discard).await?),
            None => None,
        };
        match there {
            Some(there) if there == moved => Ok(()),
            Some(_) => Err(StoreError::Bad(format!(
                "{}: another object is there already, and keys are never reused",
                self.doing("uploading to", key)
            ))),
            None => Err(StoreError::Unavailable(format!(
                "{}: the store refused to complete it and holds no object there; upload again",
                self.doing("uploading to", key)
            ))),
        }
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        let doing = self.doing("reading", key);
        let Some(answer) = self.open(key).await? else { return Ok(None) };
        let size = answer.content_length().unwrap_or(0);
        if u64::try_from(size).is_ok_and(|size| size > SMALL_MAX) {
            return Err(StoreError::Bad(format!("{doing}: {size} bytes are too many to be ours")));
        }
        let etag = answer.e_tag.ok_or_else(|| StoreError::Bad(format!("{doing}: no ETag")))?;
        let body = timeout(super::aws::BULK_ATTEMPT, collect(answer.body, &doing)).await;
        let bytes = body.unwrap_or_else(|_| {
            Err(StoreError::Unavailable(format!("{doing}: the answer did not end in time")))
        })?;
        if u64::try_from(size).ok() != Some(bytes.len() as u64) {
            return Err(StoreError::Unavailable(format!("{doing}: the answer broke off")));
        }
        Ok(Some(Object { bytes, etag }))
    }

    async fn put_if_absent(&self, key: &str, bytes: Vec<u8>) -> Result<Put, StoreError> {
        self.put(key, bytes, If::Absent).await
    }

    async fn put_if_match(&self, key: &str, bytes: Vec<u8>, etag: &str) -> Result<Put, StoreError> {
        self.put(key, bytes, If::Match(etag)).await
    }

    async fn upload(&self, key: &str, file: &Path) -> Result<Moved, StoreError> {
        let unreadable =
            |error: io::Error| StoreError::Local(format!("reading {}: {error}", file.display()));
        let size = tokio::fs::metadata(file).await.map_err(unreadable)?.len();
        let (moved, completed) = if size > PART {
            self.target(key).upload(file, size).await?
        } else {
            let bytes = tokio::fs::read(file).await.map_err(unreadable)?;
            let sha256 = Digest(Sha256::digest(&bytes).into());
            let moved = Moved { size: bytes.len() as u64, sha256 };
            match self.put_if_absent(key, bytes).await? {
                Put::Done { .. } => (moved, Completed::Done),
                Put::Conflict => (moved, Completed::Conflict),
            }
        };
        if completed == Completed::Conflict {
            self.same(key, moved).await?;
        }
        Ok(moved)
    }

    async fn copy(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let doing = format!("{} from {from}", self.doing("copying to", to));
        let absent = || StoreError::Bad(format!("{doing}: there is no object at {from}"));
        let head = self.client.head_object().bucket(&self.bucket).key(from).send().await;
        let size = match head {
            Ok(head) => head.content_length().and_then(|size| u64::try_from(size).ok()),
            Err(error) if is_no_such_key(&error) => return Err(absent()),
            Err(error) => return Err(meaning(&error, &doing)),
        };
        let source = format!("{}/{}", self.bucket, percent_encoded(from));
        if let Some(size) = size.filter(|size| *size > COPY_MAX) {
            return self.target(to).copy(&source, size).await;
        }
        let call = self.client.copy_object().bucket(&self.bucket).key(to).copy_source(source);
        match call.customize().config_override(bulk()).send().await {
            Ok(_) => Ok(()),
            Err(error) if is_no_such_key(&error) => Err(absent()),
            Err(error) => Err(meaning(&error, &doing)),
        }
    }

    async fn download(&self, key: &str, file: &Path) -> Result<Option<Moved>, StoreError> {
        let doing = self.doing("downloading", key);
        let Some(answer) = self.open(key).await? else { return Ok(None) };
        let announced = answer.content_length().and_then(|size| u64::try_from(size).ok());
        let new = File::options().write(true).create_new(true).open(file).await;
        let mut sink =
            LocalFile { file: BufWriter::new(new.map_err(|e| local(file, &e))?), path: file };
        let moved = match hash(answer.body, &doing, &mut sink).await {
            Ok(moved) => sink.flush().await.map(|()| moved),
            Err(error) => Err(error),
        };
        let moved = moved.and_then(|moved| match announced {
            Some(size) if size != moved.size => Err(StoreError::Unavailable(format!(
                "{doing}: {} of {size} bytes came before the answer broke off",
                moved.size
            ))),
            Some(_) | None => Ok(moved),
        });
        if moved.is_err() {
            // Half a file would only be in the way; that it stays is no worse than the error itself.
            let _ = tokio::fs::remove_file(file).await;
        }
        moved.map(Some)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let call = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix);
        let mut pages = call.into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| meaning(&error, &self.doing("listing", prefix)))?;
            keys.extend(page.contents.into_iter().flatten().filter_map(|object| object.key));
        }
        keys.sort_unstable(); // S3 lists in order; not every store that speaks its protocol does
        Ok(keys)
    }
}

/// Where bytes go while they are hashed.
#[async_trait]
trait Sink: Send {
    async fn take(&mut self, bytes: &[u8]) -> Result<(), StoreError>;
}

/// Nowhere.
struct Discard;

#[async_trait]
impl Sink for Discard {
    async fn take(&mut self, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }
}

struct LocalFile<'a> {
    file: BufWriter<File>,
    path: &'a Path,
}

impl LocalFile<'_> {
    async fn flush(&mut self) -> Result<(), StoreError> {
        self.file.flush().await.map_err(|error| local(self.path, &error))
    }
}

#[async_trait]
impl Sink for LocalFile<'_> {
    async fn take(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).await.map_err(|error| local(self.path, &error))
    }
}

/// Reads a body to its end, piece by piece; a body that stalls fails by the SDK's stall protection.
async fn hash(mut body: ByteStream, doing: &str, sink: &mut dyn Sink) -> Result<Moved, StoreError> {
    let mut sha256 = Sha256::new();
    let mut size = 0;
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| {
            StoreError::Unavailable(format!(
                "{doing}: the answer broke off after {size} bytes ({error})"
            ))
        })?;
        sha256.update(&piece);
        size += piece.len() as u64;
        sink.take(&piece).await?;
    }
    Ok(Moved { size, sha256: Digest(sha256.finalize().into()) })
}

/// A small body as a whole, refused as soon as it is not small.
async fn collect(mut body: ByteStream, doing: &str) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| {
            StoreError::Unavailable(format!("{doing}: the answer broke off ({error})"))
        })?;
        bytes.extend_from_slice(&piece);
        if bytes.len() as u64 > SMALL_MAX {
            return Err(StoreError::Bad(format!("{doing}: the object is too large to be ours")));
        }
    }
    Ok(bytes)
}

/// Whether the store says that there is no such object (and not: no such bucket). Answers to HEAD
/// have no body and so no code of their own.
fn is_no_such_key<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    matches!(status_and_code(error), (404, "NoSuchKey" | "NotFound" | ""))
}

/// What a failure of the local disk means.
fn local(path: &Path, error: &io::Error) -> StoreError {
    let sentence = format!("writing {}: {error}", path.display());
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        StoreError::NoSpace(sentence)
    } else {
        StoreError::Local(sentence)
    }
}

/// A key as `x-amz-copy-source` wants it (RFC 3986: all but unreserved characters and slashes).
fn percent_encoded(key: &str) -> String {
    let mut encoded = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_encoded_for_the_copy_header() {
        assert_eq!(percent_encoded("a/b c+ü~1"), "a/b%20c%2B%C3%BC~1");
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(matches!(local(Path::new("x"), &full), StoreError::NoSpace(_)));
    }
}
