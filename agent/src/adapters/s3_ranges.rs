//! **s3_ranges** — a large object, read by several connections at once and handed on in order.
//!
//! Comes in: where the object is, its size and version. Goes out: its bytes, from the first to the last,
//! to where they are hashed. All ranges are of the one version that was looked at: an object that is
//! replaced meanwhile is an error, never a mixture.

use super::{
    aws_errors::{meaning, status_and_code},
    local_file::Landing,
    s3_multipart::{IN_FLIGHT, PART, Target, bulk},
};
use crate::ports::object_store::StoreError;
use bytes::Bytes;
use std::{collections::VecDeque, future::Future, ops::Range};
use tokio::task::JoinHandle;

/// A read that ends with whoever waits for it.
struct Reading(JoinHandle<Result<Vec<Bytes>, StoreError>>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Target<'_> {
    /// Reads all of version `etag`, in ranges as long as parts are (AWS: best practices, byte-range
    /// fetches).
    pub(super) async fn read(
        &self,
        size: u64,
        etag: &str,
        landing: &mut Landing,
    ) -> Result<(), StoreError> {
        let mut open = VecDeque::new();
        let mut starts = (0..size).step_by(PART);
        loop {
            while open.len() < IN_FLIGHT
                && let Some(start) = starts.next()
            {
                let range = start..size.min(start + PART as u64);
                open.push_back(Reading(tokio::spawn(self.read_range(range, etag))));
            }
            let Some(mut first) = open.pop_front() else { return Ok(()) };
            let read = (&mut first.0).await.map_err(|error| {
                StoreError::Unavailable(format!("{}: {error}", self.doing("reading")))
            })?;
            landing.take(read?).await?;
        }
    }

    fn read_range(
        &self,
        range: Range<u64>,
        etag: &str,
    ) -> impl Future<Output = Result<Vec<Bytes>, StoreError>> + Send + use<> {
        let Range { start, end } = range;
        let doing = self.doing(&format!("reading bytes {start} to {end} of"));
        let call = self
            .client
            .get_object()
            .bucket(self.bucket)
            .key(self.key)
            .if_match(etag)
            .range(format!("bytes={start}-{}", end - 1));
        async move {
            let answer = call.customize().config_override(bulk()).send().await;
            let answer = answer.map_err(|error| match status_and_code(&error) {
                (412 | 404, _) => StoreError::Unavailable(format!(
                    "{doing}: the object was replaced while it was read; read it again"
                )),
                _ => meaning(&error, &doing),
            })?;
            let broke_off = |why: &str| StoreError::Unavailable(format!("{doing}: {why}"));
            let (mut body, mut pieces, mut size) = (answer.body, Vec::new(), 0);
            while let Some(piece) = body.next().await {
                let piece = piece.map_err(|error| broke_off(&format!("it broke off ({error})")))?;
                size += piece.len() as u64;
                pieces.push(piece);
            }
            if size != end - start {
                return Err(broke_off(&format!("{size} bytes came")));
            }
            Ok(pieces)
        }
    }
}
