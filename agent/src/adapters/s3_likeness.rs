//! **s3_likeness** — an upload that differs little from an earlier one: equal parts are copied by the server.
//!
//! Comes in: a part that is to be sent, and what is remembered of the object before: of each part the BLAKE3
//! of the bytes that this process sent, and the CRC32 that the store told. Goes out: the part, made by the
//! server (UploadPartCopy) if the part at the same place was the same, else sent.
//!
//! Why that is as good as sending it: an equal BLAKE3 means equal bytes; the copy is made of the very
//! version (If-Match) that those bytes were completed as; and the checksum that the store tells of its copy is
//! the one it told of the bytes when they were sent, so that what rotted meanwhile is not handed on. Whatever
//! speaks against the copy (the object was pruned, a policy, another checksum) has the part sent: its bytes
//! are held until then. The first refusal ends copying for this upload.
//!
//! Only parts at the same place are compared: a page of bbolt stands at the offset that its number says.

use super::{
    s3_copies::Source,
    s3_multipart::{PART, Target},
};
use crate::ports::object_store::{Likeness, Part, StoreError, Version};
use aws_sdk_s3::types::CompletedPart;
use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// Least bytes that are copied rather than sent (S3 takes ranges of objects above 5 MB).
const LEAST: usize = 5 << 20;

/// What is remembered of the object before, and what shall be of this one.
#[derive(Debug, Default)]
pub(super) struct Reuse {
    before: Option<Likeness>,
    is_refused: AtomicBool,
    copied: AtomicUsize,
    parts: Mutex<BTreeMap<i32, Part>>,
}

impl Reuse {
    pub(super) fn of(before: Option<Likeness>) -> Arc<Self> {
        Arc::new(Self { before, ..Self::default() })
    }

    /// The part before at the same place, if it is the same and may be copied.
    fn equal(&self, number: i32, hash: &[u8; 32]) -> Option<(&Version, &Part)> {
        let before = self.before.as_ref().filter(|_| !self.is_refused.load(Ordering::Relaxed))?;
        let part = before.parts.get(usize::try_from(number).ok()?.checked_sub(1)?)?;
        (part.hash == *hash).then_some((&before.at, part))
    }

    fn note(&self, number: i32, hash: [u8; 32], part: &CompletedPart) {
        let crc32 = part.checksum_crc32().map(ToOwned::to_owned);
        // nothing panics while it is held
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.insert(number, Part { hash, crc32 });
    }

    /// What is remembered of the object that was completed as `at`.
    pub(super) fn likeness(&self, at: Version) -> Likeness {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let copied = self.copied.load(Ordering::Relaxed);
        tracing::info!(
            key = at.key,
            parts = parts.len(),
            copied,
            "uploaded; equal parts were copied"
        );
        Likeness { at, parts: parts.values().cloned().collect() }
    }
}

/// Every byte that is saved passes here; SHA-256 takes four times as long.
fn hashed(bytes: &[u8]) -> [u8; 32] {
    blake3::hash(bytes).into()
}

/// Whether the store says of its copy what it said of the bytes. A store that says nothing is not believed: it
/// may hand on what rotted, and some refuse to complete an upload with a part that bears no checksum.
fn is_same(copy: Option<&str>, sent: Option<&str>) -> bool {
    copy.is_some() && copy == sent
}

impl Target<'_> {
    /// Has the server make the part, if it can, or sends it.
    pub(super) fn copy_or_send_part(
        &self,
        id: &str,
        number: i32,
        bytes: Vec<u8>,
        reuse: Arc<Reuse>,
    ) -> impl Future<Output = Result<CompletedPart, StoreError>> + Send + use<> {
        let (client, id) = (self.client.clone(), id.to_owned());
        let (bucket, key) = (self.bucket.to_owned(), self.key.to_owned());
        let (encryption, unfinished) = (self.encryption.clone(), self.unfinished.clone());
        async move {
            let (bucket, key) = (bucket.as_str(), key.as_str());
            let (encryption, unfinished) = (&encryption, &unfinished);
            let target = Target { client: &client, bucket, key, encryption, unfinished };
            let hash = hashed(&bytes);
            let before = reuse.equal(number, &hash).filter(|_| bytes.len() >= LEAST);
            if let Some((at, before)) = before {
                let start = (number.unsigned_abs() as u64 - 1) * PART as u64;
                let range = start..start + bytes.len() as u64;
                let source = Source::new(bucket, &at.key, &at.etag, range);
                let copy = target.copy_part(&id, number, &source).await;
                let why = match copy {
                    Ok(part) if is_same(part.checksum_crc32(), before.crc32.as_deref()) => {
                        reuse.copied.fetch_add(1, Ordering::Relaxed);
                        reuse.note(number, hash, &part);
                        return Ok(part);
                    }
                    Ok(_) => format!("its checksum is not the one of what was sent to {}", at.key),
                    Err(error) => error.to_string(),
                };
                reuse.is_refused.store(true, Ordering::Relaxed);
                tracing::info!(
                    key,
                    number,
                    why,
                    "no part is copied from the object before any more"
                );
            }
            let part = target.send_part(&id, number, bytes).await?;
            reuse.note(number, hash, &part);
            Ok(part)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn before() -> Likeness {
        let part = |text: &[u8]| Part { hash: hashed(text), crc32: None };
        let at = Version { key: "before".into(), etag: "\"1\"".into() };
        Likeness { at, parts: vec![part(b"a"), part(b"b")] }
    }

    #[test]
    fn only_the_same_part_at_the_same_place_is_copied() {
        let reuse = Reuse::of(Some(before()));
        let is_equal = |number, text: &[u8]| reuse.equal(number, &hashed(text)).is_some();
        assert!(is_equal(1, b"a") && is_equal(2, b"b"));
        assert!(!is_equal(1, b"b") && !is_equal(3, b"a") && !is_equal(0, b"a"));
        reuse.is_refused.store(true, Ordering::Relaxed);
        assert!(!is_equal(1, b"a"), "it was refused");
        assert!(Reuse::of(None).equal(1, &hashed(b"a")).is_none());
    }

    #[test]
    fn a_copy_with_another_checksum_is_none() {
        assert!(is_same(Some("x"), Some("x")));
        for (copy, sent) in
            [(Some("x"), Some("y")), (None, Some("x")), (Some("x"), None), (None, None)]
        {
            assert!(!is_same(copy, sent), "{copy:?} {sent:?}");
        }
    }
}
