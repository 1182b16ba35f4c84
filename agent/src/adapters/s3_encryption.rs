//! **s3_encryption** — how the bucket shall encrypt what is written.
//!
//! Comes in: what the settings say. Goes out: two headers of each call that makes an object (PutObject and
//! CreateMultipartUpload, which copies begin with too). Where nothing is said none is sent, and the bucket's
//! own default applies. Reading needs no header, only the right to use the key.

use aws_sdk_s3::types::ServerSideEncryption;

/// Who holds the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// As the bucket's default says.
    #[default]
    OfBucket,
    /// S3 itself (SSE-S3).
    S3,
    /// KMS (SSE-KMS).
    Kms {
        /// The key's id, ARN or alias; `None`: the account's own key for S3.
        key: Option<String>,
        /// Encrypted twice (DSSE-KMS).
        twice: bool,
    },
}

impl Encryption {
    /// As `x-amz-server-side-encryption` takes it.
    pub(super) const fn algorithm(&self) -> Option<ServerSideEncryption> {
        match self {
            Self::OfBucket => None,
            Self::S3 => Some(ServerSideEncryption::Aes256),
            Self::Kms { twice: false, .. } => Some(ServerSideEncryption::AwsKms),
            Self::Kms { twice: true, .. } => Some(ServerSideEncryption::AwsKmsDsse),
        }
    }

    /// As `x-amz-server-side-encryption-aws-kms-key-id` takes it.
    pub(super) fn key(&self) -> Option<String> {
        match self {
            Self::Kms { key, .. } => key.clone(),
            Self::OfBucket | Self::S3 => None,
        }
    }
}
