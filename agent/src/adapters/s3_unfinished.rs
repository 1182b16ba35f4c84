//! **s3_unfinished** — an object in parts that is not there yet.
//!
//! Comes in: where it shall be, and parts that were sent. Goes out: the object, or an error and no parts left
//! behind, whatever becomes of whoever sends them: a failure, a deadline, the end of the process. Which of
//! racing writes to a key wins is decided by the condition under which they are completed.

use super::{
    aws_errors::{meaning, status_and_code},
    s3_multipart::{Completed, If, Target, bulk},
};
use crate::ports::object_store::StoreError;
use aws_sdk_s3::{
    Client,
    types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart},
};
use std::{sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    sync::{OwnedRwLockReadGuard, RwLock},
    time::timeout,
};

/// How long the end of a process waits for its uploads to be aborted: one call to S3, tried again.
const PATIENCE: Duration = Duration::from_secs(5);

/// All uploads of a process that were begun and are not over yet.
#[derive(Clone, Debug, Default)]
pub struct Unfinished(Arc<RwLock<()>>);

impl Unfinished {
    /// Waits until none is left, or for 5 s: then a lifecycle rule of the bucket ends them (deploy's stack
    /// has one), as it does after a SIGKILL.
    pub async fn none_left(&self) {
        if timeout(PATIENCE, self.0.write()).await.is_err() {
            tracing::warn!("parts of an upload were left behind: the store did not answer in time");
        }
    }
}

/// One upload that was begun. Dropped before its end, it is aborted.
pub(super) struct Begun {
    client: Client,
    bucket: String,
    key: String,
    id: String,
    /// `None`: it is over.
    among: Option<OwnedRwLockReadGuard<()>>,
}

impl Target<'_> {
    /// Begins an upload in parts. `checksum`: what each part will bear; `None`: parts that the server copies,
    /// of which not every store tells one.
    pub(super) async fn begin(
        &self,
        checksum: Option<ChecksumAlgorithm>,
    ) -> Result<Begun, StoreError> {
        let among = Some(Arc::clone(&self.unfinished.0).read_owned().await);
        let call = self.client.create_multipart_upload().bucket(self.bucket).key(self.key);
        let call = call
            .set_checksum_algorithm(checksum)
            .set_server_side_encryption(self.encryption.algorithm())
            .set_ssekms_key_id(self.encryption.key());
        let doing = self.doing("beginning the upload to");
        let answer = call.send().await.map_err(|error| meaning(&error, &doing))?;
        let id = answer.upload_id.filter(|id| !id.is_empty());
        let id =
            id.ok_or_else(|| StoreError::Bad(format!("{doing}: the store named no upload id")))?;
        let (bucket, key) = (self.bucket.to_owned(), self.key.to_owned());
        Ok(Begun { client: self.client.clone(), bucket, key, id, among })
    }
}

impl Begun {
    /// What its parts name.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Completes it; aborts it if its parts did not come, or if something else is where it should be.
    pub(super) async fn end(
        mut self,
        parts: Result<Vec<CompletedPart>, StoreError>,
        only: If<'_>,
    ) -> Result<Completed, StoreError> {
        let completed = match parts {
            Ok(parts) => self.complete(parts, only).await,
            Err(error) => Err(error),
        };
        if !matches!(completed, Ok(Completed::Done { .. })) {
            abort(&self.client, &self.bucket, &self.key, &self.id).await;
        }
        self.among = None;
        completed
    }

    async fn complete(
        &self,
        parts: Vec<CompletedPart>,
        only: If<'_>,
    ) -> Result<Completed, StoreError> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let call = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(&self.key)
            .upload_id(&self.id)
            .multipart_upload(parts)
            .set_if_none_match(only.none_match())
            .set_if_match(only.matches().map(ToOwned::to_owned));
        let doing = format!("completing the upload to s3://{}/{}", self.bucket, self.key);
        let error = match call.customize().config_override(bulk()).send().await {
            Ok(answer) => {
                let etag = answer.e_tag;
                let etag = etag.ok_or_else(|| StoreError::Bad(format!("{doing}: no ETag")))?;
                return Ok(Completed::Done { etag });
            }
            Err(error) => error,
        };
        match status_and_code(&error) {
            // no such key: what If-Match names is not there at all; 409: another write came between
            (409 | 412, _) | (404, "NoSuchUpload" | "NoSuchKey") => Ok(Completed::Conflict),
            _ => Err(meaning(&error, &doing)),
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let (Some(among), Ok(runtime)) = (self.among.take(), Handle::try_current()) else { return };
        let take = std::mem::take::<String>;
        let (bucket, key, id) = (take(&mut self.bucket), take(&mut self.key), take(&mut self.id));
        let client = self.client.clone();
        runtime.spawn(async move {
            abort(&client, &bucket, &key, &id).await;
            drop(among);
        });
    }
}

/// Aborts what was not completed. That the abort itself failed is told and not an error: the bucket's
/// lifecycle ends what is left.
async fn abort(client: &Client, bucket: &str, key: &str, id: &str) {
    let call = client.abort_multipart_upload().bucket(bucket).key(key).upload_id(id);
    if let Err(error) = call.send().await
        && status_and_code(&error).1 != "NoSuchUpload"
    {
        let why = meaning(&error, &format!("aborting the upload to s3://{bucket}/{key}"));
        tracing::warn!(upload = id, "parts were left behind: {why}");
    }
}
