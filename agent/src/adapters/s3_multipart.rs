//! **s3_multipart** — objects made of parts: uploads above 8 MiB, and copies ([`s3_copies`](super::s3_copies)).
//!
//! Comes in: a client, where the object shall be, and a source of parts. Goes out: the finished
//! object, or an error; how an upload ends is said in [`s3_unfinished`](super::s3_unfinished).
//!
//! The SDK sends the CRC32 of each part along (Object Lock wants one). An upload must name that algorithm
//! when it begins: S3 refuses a part with another one, and a part with one where none was named.

use super::{
    aws, aws_errors::meaning, s3_encryption::Encryption, s3_likeness::Reuse,
    s3_unfinished::Unfinished,
};
use crate::ports::{object_store::StoreError, pieces::Pieces};
use aws_sdk_s3::{
    Client,
    config::Builder,
    primitives::ByteStream,
    types::{ChecksumAlgorithm, CompletedPart},
};
use std::{future::Future, sync::Arc};
use tokio::task::{JoinError, JoinSet};

/// Bytes of a part (S3 wants at least 5 MiB but for the last). All but the last are equal, as some stores
/// want it. 10,000 parts (S3 limit) are 80 GB: ten times what etcd is advised to hold.
pub(super) const PART: usize = 8 << 20;
/// Bytes by which the last piece of a part may reach beyond it: files come by 1 MiB, etcd's stream by 32 KiB.
const SLACK: usize = 1 << 20;
/// Parts on their way at once, up or down; one more is being filled. One connection seldom carries more than
/// 100 MB/s (etcd.md 2.1); all in all below 50 MB are held, whatever the size of the object.
pub(super) const IN_FLIGHT: usize = 4;

/// What a conditional write demands.
#[derive(Clone, Copy, Debug)]
pub(super) enum If<'a> {
    /// Nothing is there.
    Absent,
    /// This version is there.
    Match(&'a str),
}

impl<'a> If<'a> {
    /// As `If-None-Match` takes it.
    pub(super) fn none_match(self) -> Option<String> {
        match self {
            Self::Absent => Some("*".to_owned()),
            Self::Match(_) => None,
        }
    }

    /// As `If-Match` takes it.
    pub(super) fn matches(self) -> Option<&'a str> {
        match self {
            Self::Absent => None,
            Self::Match(etag) => Some(etag),
        }
    }
}

/// How a conditional completion ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completed {
    /// The object is there.
    Done {
        /// Its version.
        etag: String,
    },
    /// The store says that something else is there, or that the upload is over: both also
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
    /// How it shall be encrypted.
    pub encryption: &'a Encryption,
    /// Uploads that are not over yet.
    pub unfinished: &'a Unfinished,
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
    pub(super) async fn upload(
        &self,
        head: Vec<u8>,
        pieces: &mut dyn Pieces,
        reuse: Option<&Arc<Reuse>>,
    ) -> Result<Completed, StoreError> {
        let begun = self.begin(Some(ChecksumAlgorithm::Crc32)).await?;
        let parts = self.send_parts(begun.id(), head, pieces, reuse).await;
        begun.end(parts, If::Absent).await
    }

    async fn send_parts(
        &self,
        id: &str,
        head: Vec<u8>,
        pieces: &mut dyn Pieces,
        reuse: Option<&Arc<Reuse>>,
    ) -> Result<Vec<CompletedPart>, StoreError> {
        let mut sending = JoinSet::new(); // what fails drops it, and with it what is under way
        let (mut parts, mut buffer, mut more) = (Vec::new(), head, true);
        while more || !buffer.is_empty() {
            let rest = buffer.split_off(buffer.len().min(PART));
            let number = part_number(parts.len() + sending.len());
            match reuse {
                None => sending.spawn(self.send_part(id, number, buffer)),
                Some(reuse) => {
                    let reuse = Arc::clone(reuse);
                    sending.spawn(self.copy_or_send_part(id, number, buffer, reuse))
                }
            };
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

    pub(super) fn send_part(
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
}

/// Takes pieces until they make a part. `false`: no more come, and they were whole.
pub async fn fill(part: &mut Vec<u8>, pieces: &mut dyn Pieces) -> Result<bool, StoreError> {
    // a part that grew by doubling would be copied as often as it is long, and end twice as large
    part.reserve_exact((PART + SLACK).saturating_sub(part.len()));
    while part.len() < PART {
        if !pieces.next(part).await.map_err(StoreError::Source)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What became of a part, if one was on its way. Nobody aborts these tasks, so one that did not
/// end has panicked.
pub(super) fn sent(
    joined: Option<Result<Result<CompletedPart, StoreError>, JoinError>>,
) -> Option<Result<CompletedPart, StoreError>> {
    let gone =
        |error: JoinError| Err(StoreError::Unavailable(format!("uploading a part: {error}")));
    joined.map(|joined| joined.unwrap_or_else(gone))
}

/// The number of the part after `done` others; S3 counts from 1.
pub(super) fn part_number(done: usize) -> i32 {
    i32::try_from(done).unwrap_or(i32::MAX).saturating_add(1)
}
