//! **s3_multipart** — objects made of parts: uploads above 8 MiB, copies above 5 GiB.
//!
//! Comes in: a client, where the object shall be, and a source of parts. Goes out: the finished
//! object, or an error and no parts left behind. Which of racing uploads to a key wins is decided
//! by `If-None-Match: *` when they are completed.

use super::{
    aws,
    aws_errors::{meaning, status_and_code},
};
use crate::ports::{object_store::StoreError, pieces::Pieces};
use aws_sdk_s3::{
    Client,
    config::Builder,
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart},
};
use std::{future::Future, ops::Range};
use tokio::task::{JoinError, JoinSet};

/// Bytes of a part (S3 wants at least 5 MiB but for the last). All but the last are equal, as some stores
/// want it. 10,000 parts (S3 limit) are 80 GB: ten times what etcd is advised to hold.
pub(super) const PART: usize = 8 << 20;
/// Parts on their way at once, up or down; one more is being filled. One connection seldom carries more than
/// 100 MB/s (etcd.md 2.1); all in all below 50 MB are held, whatever the size of the object.
pub(super) const IN_FLIGHT: usize = 4;
/// Most parts of a copy (S3 limit).
const PARTS_MAX: u64 = 10_000;
/// Bytes of a part that the server itself copies (S3: at most 5 GiB).
const COPIED_PART: u64 = 1 << 30;

/// How a conditional completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completed {
    /// The object is there.
    Done,
    /// The store says that an object was there already, or that the upload is over: both also
    /// happen when the answer to an earlier try was lost.
    Conflict,
}

/// One object to be, in one bucket.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The client.
    pub client: &'a Client,
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
}

/// Settings of a call that moves much.
pub fn bulk() -> Builder {
    Builder::new().timeout_config(aws::bulk())
}

impl Target<'_> {
    pub(super) fn doing(&self, what: &str) -> String {
        format!("{what} s3://{}/{}", self.bucket, self.key)
    }

    /// Uploads what came and what comes, part by part. It is completed only when all has come and is
    /// whole.
    pub async fn upload(
        &self,
        head: Vec<u8>,
        pieces: &mut dyn Pieces,
    ) -> Result<Completed, StoreError> {
        let id = self.begin().await?;
        let uploaded = async {
            let parts = self.send_parts(&id, head, pieces).await?;
            self.complete(&id, parts, true).await
        }
        .await;
        if uploaded != Ok(Completed::Done) {
            self.abort(&id).await;
        }
        uploaded
    }

    /// Copies `size` bytes of the object at `source` (as `CopySource` names it), replacing
    /// whatever is at the target.
    pub async fn copy(&self, source: &str, size: u64) -> Result<(), StoreError> {
        let id = self.begin().await?;
        let copied = async {
            let parts = self.copy_parts(&id, source, size).await?;
            self.complete(&id, parts, false).await
        }
        .await;
        if copied != Ok(Completed::Done) {
            self.abort(&id).await;
        }
        match copied? {
            Completed::Done => Ok(()),
            Completed::Conflict => Err(StoreError::Unavailable(format!(
                "{}: the store says that the upload is over; copy again",
                self.doing("copying to")
            ))),
        }
    }

    async fn begin(&self) -> Result<String, StoreError> {
        let call = self.client.create_multipart_upload().bucket(self.bucket).key(self.key);
        let doing = self.doing("beginning the upload to");
        let answer = call.send().await.map_err(|error| meaning(&error, &doing))?;
        let id = answer.upload_id.filter(|id| !id.is_empty());
        id.ok_or_else(|| StoreError::Bad(format!("{doing}: the store named no upload id")))
    }

    async fn send_parts(
        &self,
        id: &str,
        head: Vec<u8>,
        pieces: &mut dyn Pieces,
    ) -> Result<Vec<CompletedPart>, StoreError> {
        let mut sending = JoinSet::new(); // what fails drops it, and with it what is under way
        let (mut parts, mut buffer, mut more) = (Vec::new(), head, true);
        while more || !buffer.is_empty() {
            let rest = buffer.split_off(buffer.len().min(PART));
            let number = part_number(parts.len() + sending.len());
            sending.spawn(self.send_part(id, number, buffer));
            buffer = rest;
            if sending.len() == IN_FLIGHT {
                parts.extend(sent(sending.join_next().await).transpose()?);
            }
            more = more && fill(&mut buffer, pieces).await?;
        }
        while let Some(part) = sent(sending.join_next().await) {
            parts.push(part?);
        }
        parts.sort_unstable_by_key(CompletedPart::part_number);
        Ok(parts)
    }

    fn send_part(
        &self,
        id: &str,
        number: i32,
        bytes: Vec<u8>,
    ) -> impl Future<Output = Result<CompletedPart, StoreError>> + Send + use<> {
        let call = self
            .client
            .upload_part()
            .bucket(self.bucket)
            .key(self.key)
            .upload_id(id)
            .part_number(number)
            .body(ByteStream::from(bytes));
        let doing = self.doing(&format!("uploading part {number} of"));
        async move {
            // The CRC32 that the SDK computes is a header and so is signed; a signature over the bytes
            // themselves would hash them once more. Over TLS the SDK itself leaves it out. What the
            // wire could still forge in the clear is found by the manifest's digest, as damage.
            let call = call.customize().config_override(bulk()).disable_payload_signing();
            let answer = call.send().await.map_err(|error| meaning(&error, &doing))?;
            Ok(CompletedPart::builder()
                .part_number(number)
                .set_e_tag(answer.e_tag)
                .set_checksum_crc32(answer.checksum_crc32)
                .build())
        }
    }

    async fn copy_parts(
        &self,
        id: &str,
        source: &str,
        size: u64,
    ) -> Result<Vec<CompletedPart>, StoreError> {
        let mut parts = Vec::new();
        for Range { start, end } in ranges(size) {
            let number = part_number(parts.len());
            let call = self
                .client
                .upload_part_copy()
                .bucket(self.bucket)
                .key(self.key)
                .upload_id(id)
                .part_number(number)
                .copy_source(source)
                .copy_source_range(format!("bytes={start}-{}", end - 1));
            let answer = call.customize().config_override(bulk()).send().await;
            let doing = self.doing(&format!("copying part {number} of"));
            let answer = answer.map_err(|error| meaning(&error, &doing))?;
            let copied = answer.copy_part_result;
            let part = CompletedPart::builder().part_number(number);
            parts.push(part.set_e_tag(copied.and_then(|copied| copied.e_tag)).build());
        }
        Ok(parts)
    }

    async fn complete(
        &self,
        id: &str,
        parts: Vec<CompletedPart>,
        only_if_absent: bool,
    ) -> Result<Completed, StoreError> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let call = self
            .client
            .complete_multipart_upload()
            .bucket(self.bucket)
            .key(self.key)
            .upload_id(id)
            .multipart_upload(parts)
            .set_if_none_match(only_if_absent.then(|| "*".to_owned()));
        let Err(error) = call.customize().config_override(bulk()).send().await else {
            return Ok(Completed::Done);
        };
        match status_and_code(&error) {
            (412, _) | (404, "NoSuchUpload") => Ok(Completed::Conflict),
            _ => Err(meaning(&error, &self.doing("completing the upload to"))),
        }
    }

    /// Aborts whatever was not completed. That the abort itself failed is told and not an error: a
    /// lifecycle rule of the bucket ends what is left (deploy's stack has one).
    async fn abort(&self, id: &str) {
        let call = self.client.abort_multipart_upload().bucket(self.bucket).key(self.key);
        if let Err(error) = call.upload_id(id).send().await
            && status_and_code(&error).1 != "NoSuchUpload"
        {
            let why = meaning(&error, &self.doing("aborting the upload to"));
            tracing::warn!(upload = id, "parts were left behind: {why}");
        }
    }
}

/// Takes pieces until they make a part. `false`: no more come, and they were whole.
pub async fn fill(part: &mut Vec<u8>, pieces: &mut dyn Pieces) -> Result<bool, StoreError> {
    while part.len() < PART {
        if !pieces.next(part).await.map_err(StoreError::Source)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What became of a part, if one was on its way. Nobody aborts these tasks, so one that did not
/// end has panicked.
fn sent(
    joined: Option<Result<Result<CompletedPart, StoreError>, JoinError>>,
) -> Option<Result<CompletedPart, StoreError>> {
    let gone =
        |error: JoinError| Err(StoreError::Unavailable(format!("uploading a part: {error}")));
    joined.map(|joined| joined.unwrap_or_else(gone))
}

/// The number of the part after `done` others; S3 counts from 1.
fn part_number(done: usize) -> i32 {
    i32::try_from(done).unwrap_or(i32::MAX).saturating_add(1)
}

/// Cuts `size` bytes into parts.
fn ranges(size: u64) -> impl Iterator<Item = Range<u64>> {
    let per_part = COPIED_PART.max(size.div_ceil(PARTS_MAX));
    let starts = std::iter::successors(Some(0), move |start| Some(start + per_part));
    starts
        .take_while(move |start| *start < size)
        .map(move |start| start..size.min(start + per_part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_object_once() {
        for size in [0, 1, COPIED_PART, COPIED_PART + 1, 5 * COPIED_PART] {
            let mut at = 0;
            for part in ranges(size) {
                assert_eq!(part.start, at);
                assert!(part.end > part.start && part.end - part.start <= COPIED_PART);
                at = part.end;
            }
            assert_eq!(at, size);
        }
    }
}
