//! **s3** — the bucket, in S3 or a store that speaks its protocol.
//!
//! Comes in: keys, bytes and files. Goes out: S3 calls, conditional where the port says so, and
//! what they came to. The store judges the conditions; this file retries "two writes at once"
//! (409) and finds out, after a refusal, whether what is there is our own write whose answer was
//! lost: it compares the bytes.

use super::{
    aws_errors::{meaning, status_and_code},
    local_file::Landing,
    retrying::{Try, decided},
    s3_copies::Source,
    s3_encryption::Encryption,
    s3_likeness::Reuse,
    s3_multipart::{Completed, If, PART, Target, bulk, fill},
    s3_unfinished::Unfinished,
};
use crate::ports::{
    object_store::{Likeness, Moved, Object, ObjectStore, Put, StoreError, Stored, Tail, Version},
    pieces::Pieces,
};
use async_trait::async_trait;
use aws_sdk_s3::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::get_object::GetObjectOutput,
    primitives::ByteStream,
};
use std::{path::Path, sync::Arc, time::SystemTime};
use tokio::time::timeout;

/// Largest object that `get` takes into memory (the port's bound).
const SMALL_MAX: u64 = 16 << 20;

/// One bucket.
#[derive(Clone, Debug)]
pub struct S3Store {
    client: Client,
    bucket: String,
    encryption: Encryption,
    unfinished: Unfinished,
}

impl S3Store {
    /// The bucket `bucket`, which must exist by the first call.
    pub fn new(client: Client, bucket: impl Into<String>) -> Self {
        let (encryption, unfinished) = (Encryption::OfBucket, Unfinished::default());
        Self { client, bucket: bucket.into(), encryption, unfinished }
    }

    /// The same bucket, in which all that is written shall be encrypted so.
    #[must_use]
    pub fn encrypting(self, encryption: Encryption) -> Self {
        Self { encryption, ..self }
    }

    /// The same bucket; whoever ends the process waits for its uploads there.
    #[must_use]
    pub fn counting(self, unfinished: Unfinished) -> Self {
        Self { unfinished, ..self }
    }

    fn doing(&self, what: &str, key: &str) -> String {
        format!("{what} s3://{}/{key}", self.bucket)
    }

    fn target<'a>(&'a self, key: &'a str) -> Target<'a> {
        let (client, bucket) = (&self.client, &self.bucket);
        Target { client, bucket, key, encryption: &self.encryption, unfinished: &self.unfinished }
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
        let call = call
            .set_if_none_match(only.none_match())
            .set_if_match(only.matches().map(ToOwned::to_owned))
            .set_server_side_encryption(self.encryption.algorithm())
            .set_ssekms_key_id(self.encryption.key());
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

    /// Size and version of an object, if the store tells. A HEAD has no body that would tell an absent
    /// object from an absent bucket, so its silence means nothing.
    async fn version(&self, key: &str) -> Option<(u64, String)> {
        let head = self.client.head_object().bucket(&self.bucket).key(key).send().await.ok()?;
        Some((u64::try_from(head.content_length()?).ok()?, head.e_tag?))
    }

    fn done(&self, etag: Option<String>, doing: &str) -> Result<Put, StoreError> {
        let etag =
            etag.ok_or_else(|| StoreError::Bad(format!("{doing}: the answer has no ETag")))?;
        Ok(Put::Done { etag })
    }

    /// Stores what comes; answers with its version too if it has parts and is our own.
    async fn store(
        &self,
        key: &str,
        pieces: &mut dyn Pieces,
        reuse: Option<&Arc<Reuse>>,
    ) -> Result<(Moved, Option<Version>), StoreError> {
        let mut head = Vec::new();
        let (completed, has_parts) = if fill(&mut head, pieces).await? {
            (self.target(key).upload(head, pieces, reuse).await?, true)
        } else {
            let completed = match self.put_if_absent(key, head).await? {
                Put::Done { etag } => Completed::Done { etag },
                Put::Conflict => Completed::Conflict,
            };
            (completed, false)
        };
        let moved = pieces.moved();
        match completed {
            Completed::Done { etag } => {
                let at = Version { key: key.to_owned(), etag };
                Ok((moved, has_parts.then_some(at)))
            }
            Completed::Conflict => self.same(key, moved).await.map(|()| (moved, None)),
        }
    }

    /// After a refused upload: is what is there the same? Reads all of it.
    async fn same(&self, key: &str, moved: Moved) -> Result<(), StoreError> {
        let doing = self.doing("comparing with", key);
        let there = match self.open(key).await? {
            Some(answer) => {
                let mut landing = Landing::nowhere();
                let read = read(answer, &doing, &mut landing).await;
                Some(landing.finish(read).await?)
            }
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

    async fn upload(&self, key: &str, pieces: &mut dyn Pieces) -> Result<Moved, StoreError> {
        self.store(key, pieces, None).await.map(|(moved, _)| moved)
    }

    async fn upload_like(
        &self,
        key: &str,
        pieces: &mut dyn Pieces,
        like: &mut Option<Likeness>,
    ) -> Result<Moved, StoreError> {
        // taken: what fails for what was copied must not fail alike for ever
        let reuse = Reuse::of(like.take());
        let (moved, at) = self.store(key, pieces, Some(&reuse)).await?;
        *like = at.map(|at| reuse.likeness(at));
        Ok(moved)
    }

    async fn copy(&self, from: &Version, to: &str, over: Option<&str>) -> Result<Put, StoreError> {
        let doing = format!("{} from {}", self.doing("copying to", to), from.key);
        let absent = || StoreError::Bad(format!("{doing}: there is no object at {}", from.key));
        let head = self.client.head_object().bucket(&self.bucket).key(&from.key);
        let size = match head.if_match(&from.etag).send().await {
            Ok(head) => head.content_length().and_then(|size| u64::try_from(size).ok()),
            Err(error) if is_no_such_key(&error) => return Err(absent()),
            Err(error) if status_and_code(&error).0 == 412 => {
                let text = format!("{doing}: it was replaced meanwhile; copy again");
                return Err(StoreError::Unavailable(text));
            }
            Err(error) => return Err(meaning(&error, &doing)),
        };
        let size = size.ok_or_else(|| StoreError::Bad(format!("{doing}: no size was told")))?;
        let only = over.map_or(If::Absent, If::Match);
        if size == 0 {
            return self.put(to, Vec::new(), only).await; // no byte, no range to copy
        }
        let source = Source::new(&self.bucket, &from.key, &from.etag, 0..size);
        self.target(to).copy(&source, only).await
    }

    async fn download(&self, key: &str, file: &Path) -> Result<Option<Moved>, StoreError> {
        if let Some((size, etag)) = self.version(key).await.filter(|(size, _)| *size > PART as u64)
        {
            let mut landing = Landing::at(file, Some(size)).await?;
            let read = self.target(key).read(size, &etag, &mut landing).await;
            return landing.finish(read).await.map(Some);
        }
        let Some(answer) = self.open(key).await? else { return Ok(None) };
        let mut landing = Landing::at(file, None).await?;
        let read = read(answer, &self.doing("downloading", key), &mut landing).await;
        landing.finish(read).await.map(Some)
    }

    async fn tail(&self, key: &str, most: u64) -> Result<Option<Tail>, StoreError> {
        let doing = self.doing("reading the end of", key);
        let call = self.client.get_object().bucket(&self.bucket).key(key);
        let answer = match call.range(format!("bytes=-{}", most.max(1))).send().await {
            Ok(answer) => answer,
            Err(error) if is_no_such_key(&error) => return Ok(None),
            // an object without a byte has no range
            Err(error) if status_and_code(&error).0 == 416 => {
                let text =
                    || StoreError::Unavailable(format!("{doing}: it is empty, or was just now"));
                let (_, etag) =
                    self.version(key).await.filter(|(size, _)| *size == 0).ok_or_else(text)?;
                return Ok(Some(Tail { size: 0, etag, bytes: Vec::new() }));
            }
            Err(error) => return Err(meaning(&error, &doing)),
        };
        let told = answer.content_range().and_then(|range| range.rsplit_once('/'));
        let whole = told.map_or_else(
            || answer.content_length().and_then(|size| u64::try_from(size).ok()),
            |(_, size)| size.parse().ok(),
        );
        let size = whole.ok_or_else(|| StoreError::Bad(format!("{doing}: no size was told")))?;
        let etag = answer.e_tag.ok_or_else(|| StoreError::Bad(format!("{doing}: no ETag")))?;
        let bytes = collect(answer.body, &doing).await?;
        if bytes.len() as u64 != size.min(most.max(1)) {
            return Err(StoreError::Unavailable(format!("{doing}: the answer broke off")));
        }
        Ok(Some(Tail { size, etag, bytes }))
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        match self.client.delete_object().bucket(&self.bucket).key(key).send().await {
            Ok(_) => Ok(()),
            Err(error) if is_no_such_key(&error) => Ok(()),
            Err(error) => Err(meaning(&error, &self.doing("deleting", key))),
        }
    }

    async fn list_stored(&self, prefix: &str) -> Result<Vec<Stored>, StoreError> {
        let call = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix);
        let mut pages = call.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| meaning(&error, &self.doing("listing", prefix)))?;
            found.extend(page.contents.into_iter().flatten().filter_map(stored));
        }
        // S3 lists in order; not every store that speaks its protocol does
        found.sort_unstable_by(|one: &Stored, other| one.key.cmp(&other.key));
        Ok(found)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        Ok(self.list_stored(prefix).await?.into_iter().map(|stored| stored.key).collect())
    }
}

/// Reads an answer to its end, piece by piece; a body that stalls fails by the SDK's stall protection.
async fn read(
    answer: GetObjectOutput,
    doing: &str,
    landing: &mut Landing,
) -> Result<(), StoreError> {
    let announced = answer.content_length().and_then(|size| u64::try_from(size).ok());
    let (mut body, mut size) = (answer.body, 0);
    let broke_off = |size, why: &dyn std::fmt::Display| {
        StoreError::Unavailable(format!("{doing}: the answer broke off after {size} bytes ({why})"))
    };
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| broke_off(size, &error))?;
        size += piece.len() as u64;
        landing.take(vec![piece]).await?;
    }
    match announced.filter(|announced| *announced != size) {
        Some(announced) => Err(broke_off(size, &format!("of {announced}"))),
        None => Ok(()),
    }
}

fn stored(object: aws_sdk_s3::types::Object) -> Option<Stored> {
    let written = object.last_modified.and_then(|at| SystemTime::try_from(at).ok());
    let age = written.map(|at| at.elapsed().map_or(0, |age| age.as_secs()));
    let size = object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
    Some(Stored { key: object.key?, size, age })
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
