//! **s3_copies** — copies inside the bucket, made by the server, over no more than was seen there.
//!
//! Comes in: the version to copy, and what may be in its place. Goes out: the copy, or that something else
//! is there. Every copy is an upload whose parts the server itself copies, of any size: the completion is
//! the one call that S3 and most stores like it judge by `If-Match` and `If-None-Match` (CopyObject does so
//! at S3 alone, since 2025). All parts are of one version, or there is no copy.

use super::{
    aws_errors::{meaning, status_and_code},
    s3_multipart::{Completed, IN_FLIGHT, If, PART, Target, bulk, part_number, sent},
};
use crate::ports::object_store::{Put, StoreError};
use aws_sdk_s3::types::CompletedPart;
use std::{future::Future, ops::Range};
use tokio::task::JoinSet;

/// Most parts of a copy (S3 limit).
const PARTS_MAX: u64 = 10_000;
/// Bytes of a part that the server itself copies (S3: at most 5 GiB): few calls, and none takes long.
const COPIED_PART: u64 = 256 << 20;

/// Bytes that are in the bucket, as the server is to copy them.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// As `CopySource` names the object.
    pub(super) object: String,
    /// The version.
    pub(super) etag: String,
    /// Which of its bytes.
    pub(super) range: Range<u64>,
}

impl Source {
    pub(super) fn new(bucket: &str, key: &str, etag: &str, range: Range<u64>) -> Self {
        let object = format!("{bucket}/{}", percent_encoded(key));
        Self { object, etag: etag.to_owned(), range }
    }
}

impl Target<'_> {
    /// Copies all of `source` to the target, if what is there is what `only` says.
    pub(super) async fn copy(&self, source: &Source, only: If<'_>) -> Result<Put, StoreError> {
        let begun = self.begin(None).await?;
        let parts = self.copy_parts(begun.id(), source).await;
        match begun.end(parts, only).await? {
            Completed::Done { etag } => Ok(Put::Done { etag }),
            Completed::Conflict => Ok(Put::Conflict),
        }
    }

    async fn copy_parts(&self, id: &str, of: &Source) -> Result<Vec<CompletedPart>, StoreError> {
        let mut copying = JoinSet::new(); // what fails drops it, and with it what is under way
        let mut parts = Vec::new();
        for range in ranges(of.range.end) {
            let number = part_number(parts.len() + copying.len());
            copying.spawn(self.copy_part(id, number, &Source { range, ..of.clone() }));
            if copying.len() == IN_FLIGHT {
                parts.extend(sent(copying.join_next().await).transpose()?);
            }
        }
        while let Some(part) = sent(copying.join_next().await) {
            parts.push(part?);
        }
        parts.sort_unstable_by_key(CompletedPart::part_number);
        let bare = |part: CompletedPart| {
            let (number, etag) = (part.part_number, part.e_tag);
            CompletedPart::builder().set_part_number(number).set_e_tag(etag).build()
        };
        Ok(parts.into_iter().map(bare).collect()) // the upload was begun without checksums
    }

    /// Has the server make a part of bytes that it holds.
    pub(super) fn copy_part(
        &self,
        id: &str,
        number: i32,
        of: &Source,
    ) -> impl Future<Output = Result<CompletedPart, StoreError>> + Send + use<> {
        let call = self
            .client
            .upload_part_copy()
            .bucket(self.bucket)
            .key(self.key)
            .upload_id(id)
            .part_number(number)
            .copy_source(&of.object)
            .copy_source_if_match(&of.etag)
            .copy_source_range(format!("bytes={}-{}", of.range.start, of.range.end - 1));
        let doing = self.doing(&format!("copying part {number} of"));
        let (from, large) = (of.object.clone(), of.range.end - of.range.start > PART as u64);
        async move {
            // what is to be copied instead of being sent has the time of a small call: it can still be sent
            let call = call.customize();
            let call = if large { call.config_override(bulk()) } else { call };
            let answer = call.send().await;
            let answer = answer.map_err(|error| match status_and_code(&error) {
                (404, "NoSuchBucket" | "NoSuchUpload") => meaning(&error, &doing),
                (404 | 412, _) => StoreError::Unavailable(format!(
                    "{doing}: {from} was replaced or deleted while it was copied; copy again"
                )),
                _ => meaning(&error, &doing),
            })?;
            let copied = answer.copy_part_result;
            let copied = copied.ok_or_else(|| StoreError::Bad(format!("{doing}: no result")))?;
            Ok(CompletedPart::builder()
                .part_number(number)
                .set_e_tag(copied.e_tag)
                .set_checksum_crc32(copied.checksum_crc32)
                .build())
        }
    }
}

/// Cuts `size` bytes into parts.
fn ranges(size: u64) -> impl Iterator<Item = Range<u64>> {
    let per_part = COPIED_PART.max(size.div_ceil(PARTS_MAX));
    let starts = std::iter::successors(Some(0), move |start| Some(start + per_part));
    starts
        .take_while(move |start| *start < size)
        .map(move |start| start..size.min(start + per_part))
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
