//! **object_uploads** — the calls of an upload in parts.
//!
//! Comes in: their inputs, from [`object_server`](super::object_server). Goes out: their outputs. S3's own
//! strictness with checksums is kept: an upload that names an algorithm takes no other and wants the
//! checksum of each part when it is completed; one that names none takes none.

use super::{
    object_files::{Piece, read},
    object_server::{Front, may_read},
    object_store::{Conditions, Encryption, Named, strong},
};
use s3s::{S3Error, S3Result, dto::*, s3_error};

impl Front {
    pub(super) fn begin_upload(
        &self,
        input: CreateMultipartUploadInput,
    ) -> S3Result<CreateMultipartUploadOutput> {
        let under = Encryption::new(input.server_side_encryption, input.ssekms_key_id);
        let at = (input.bucket.as_str(), input.key.as_str());
        let upload_id = Some(self.store.begin(at, input.checksum_algorithm, under)?);
        let (bucket, key) = (Some(input.bucket), Some(input.key));
        Ok(CreateMultipartUploadOutput { bucket, key, upload_id, ..Default::default() })
    }

    pub(super) async fn take_part(&self, input: UploadPartInput) -> S3Result<UploadPartOutput> {
        let piece = self.receive(input.body, input.content_length).await?;
        let checksum_crc32 = Some(checksum(&piece));
        let used = input.checksum_algorithm.as_ref();
        let etag = self.store.add_part(&input.upload_id, input.part_number, piece, used)?;
        let e_tag = Some(strong(&etag));
        Ok(UploadPartOutput { e_tag, checksum_crc32, ..Default::default() })
    }

    pub(super) async fn copy_part(
        &self,
        input: UploadPartCopyInput,
    ) -> S3Result<UploadPartCopyOutput> {
        let CopySource::Bucket { bucket, key, .. } = &input.copy_source else {
            return Err(s3_error!(NotImplemented, "copies are made inside this server only"));
        };
        let stored = self.store.get(bucket, key)?;
        may_read(&stored, input.copy_source_if_match.as_ref(), None)?;
        let range = match &input.copy_source_range {
            Some(range) => {
                let range = Range::parse(range).map_err(S3Error::internal_error)?;
                range.check(stored.size)?
            }
            None => 0..stored.size,
        };
        let body = Box::pin(read(&stored.pieces, range));
        let piece = self.files.receive(body).await.map_err(S3Error::internal_error)?;
        let checksum_crc32 = Some(checksum(&piece));
        let etag = self.store.add_part(&input.upload_id, input.part_number, piece, None)?;
        self.store.count_copy();
        let result =
            CopyPartResult { e_tag: Some(strong(&etag)), checksum_crc32, ..Default::default() };
        Ok(UploadPartCopyOutput { copy_part_result: Some(result), ..Default::default() })
    }

    pub(super) fn complete_upload(
        &self,
        input: CompleteMultipartUploadInput,
    ) -> S3Result<CompleteMultipartUploadOutput> {
        let parts = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let named: Vec<_> = parts
            .into_iter()
            .map(|part| Named {
                number: part.part_number.unwrap_or_default(),
                etag: part.e_tag.map(ETag::into_value),
                has_checksum: part.checksum_crc32.is_some(),
            })
            .collect();
        let only = Conditions { if_match: input.if_match, if_none_match: input.if_none_match };
        let stored = self.store.complete(&input.upload_id, &named, &only)?;
        Ok(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(strong(&stored.etag)),
            ..Default::default()
        })
    }

    pub(super) fn uploads_in(&self, bucket: String) -> ListMultipartUploadsOutput {
        let uploads = self.store.uploads(&bucket).into_iter().map(|(id, key)| MultipartUpload {
            upload_id: Some(id),
            key: Some(key),
            ..Default::default()
        });
        ListMultipartUploadsOutput {
            uploads: Some(uploads.collect()),
            bucket: Some(bucket),
            is_truncated: Some(false),
            ..Default::default()
        }
    }
}

/// A part's CRC32 as the protocol carries it: base64 of four bytes.
fn checksum(piece: &Piece) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = u64::from(u32::from_be_bytes(piece.crc32)) << 4; // 36 bits: six digits
    let digit = |at: u32| char::from(DIGITS[(bits >> (30 - 6 * at) & 63) as usize]);
    (0..6).map(digit).chain("==".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::object_files::Files;

    #[tokio::test]
    async fn checksums_are_written_as_s3_writes_them() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let body = futures::stream::iter([Ok::<_, std::io::Error>("hello world".into())]);
        let piece = Files::new(dir.path().to_owned()).receive(body).await.expect("it fits");
        assert_eq!(checksum(&piece), "DUoRhQ==");
    }
}
