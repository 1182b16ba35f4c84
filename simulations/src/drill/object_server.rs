//! **object_server** — S3 in our own process, behind a relay that can be cut.
//!
//! Comes in: an address, credentials and a directory for large bodies. Goes out: a running server.
//! The `s3s` crate speaks the protocol and checks signatures; [`object_store`](super::object_store) holds the objects and
//! judges the conditions. Ready-made stores on s3s lose races of conditional writes (components.md), which
//! is why this one exists.

use super::{
    object_files::{Files, Piece, read},
    object_store::{Conditions, Encryption, Listing, Store, Stored, strong},
    relay::Relay,
};
use async_trait::async_trait;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{
    S3, S3Request, S3Response, S3Result, auth::SimpleAuth, dto::*, s3_error, service::S3Service,
    service::S3ServiceBuilder,
};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

/// Most keys on one page (S3 limit).
const PAGE_MAX: i32 = 1000;

/// The access key and the secret key that the server takes.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The access key.
    pub access: String,
    /// The secret key.
    pub secret: String,
}

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct ObjectServer {
    relay: Relay,
    /// Behind the relay.
    address: SocketAddr,
    store: Arc<Store>,
    task: JoinHandle<()>,
}

impl ObjectServer {
    /// Serves on `listen` (port 0: any free one), bodies in `files`.
    pub async fn start(
        listen: SocketAddr,
        credentials: &Credentials,
        files: Files,
    ) -> io::Result<Self> {
        let store = Arc::new(Store::default());
        let service = service(Arc::clone(&store), credentials, files);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let relay = Relay::start(listen, address).await?;
        let task = tokio::spawn(serve(listener, service));
        Ok(Self { relay, address, store, task })
    }

    /// The endpoint for `AWS_ENDPOINT_URL_S3`.
    pub fn url(&self) -> String {
        format!("http://{}", self.relay.address())
    }

    /// The endpoint without the relay, which moves every byte once more: for measurements.
    pub fn direct_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `true`: unreachable; `false`: reachable again, with everything it held.
    pub fn cut(&self, cut: bool) {
        self.relay.cut(cut);
    }

    /// The relay in front of it.
    pub const fn relay(&self) -> &Relay {
        &self.relay
    }

    /// Creates a bucket; done if it is there.
    pub fn create_bucket(&self, bucket: &str) {
        self.store.create_bucket(bucket);
    }

    /// Refuses from now on to delete objects whose keys end so, as a policy does.
    pub fn hold(&self, bucket: &str, end: &str) {
        self.store.hold(bucket, end);
    }

    /// The version of an object that is there.
    pub fn version(&self, bucket: &str, key: &str) -> Option<String> {
        self.store.get(bucket, key).ok().map(|stored| stored.etag)
    }

    /// How many parts were copied by the server.
    pub fn copies(&self) -> u64 {
        self.store.copies()
    }

    /// Keys of the uploads in progress.
    pub fn uploads(&self, bucket: &str) -> Vec<String> {
        self.store.uploads(bucket).into_iter().map(|(_, key)| key).collect()
    }

    /// Stops it; returns when no request runs any more.
    pub async fn stop(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await; // it ends by being aborted
    }
}

impl Drop for ObjectServer {
    fn drop(&mut self) {
        self.task.abort(); // the connections live in the task and end with it
    }
}

/// The protocol in front of `store`, for whoever listens.
pub fn service(store: Arc<Store>, credentials: &Credentials, files: Files) -> S3Service {
    let mut service = S3ServiceBuilder::new(Front { store, files });
    let Credentials { access, secret } = credentials.clone();
    service.set_auth(SimpleAuth::from_single(access, secret));
    service.build()
}

async fn serve(listener: TcpListener, service: S3Service) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = accepted else {
            tokio::task::yield_now().await; // out of descriptors: the next may succeed
            continue;
        };
        let _ = stream.set_nodelay(true); // Nagle's delay would add 40 ms to each small answer
        let service = service.clone();
        connections.spawn(async move {
            let http = Builder::new(TokioExecutor::new()).http1_only();
            // A connection that breaks is the client's to notice.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Between the protocol and the store.
pub(super) struct Front {
    pub(super) store: Arc<Store>,
    pub(super) files: Files,
}

impl Front {
    pub(super) async fn receive(
        &self,
        body: Option<StreamingBlob>,
        announced: Option<i64>,
    ) -> S3Result<Piece> {
        let body = body.unwrap_or_else(|| StreamingBlob::from(s3s::Body::empty()));
        let piece = self.files.receive(body).await.map_err(s3s::S3Error::internal_error)?;
        match announced {
            Some(size) if u64::try_from(size).ok() != Some(piece.size) => {
                Err(s3_error!(IncompleteBody))
            }
            Some(_) | None => Ok(piece),
        }
    }
}

type Answer<T> = S3Result<S3Response<T>>;

#[async_trait]
impl S3 for Front {
    async fn create_bucket(&self, req: S3Request<CreateBucketInput>) -> Answer<CreateBucketOutput> {
        if !self.store.create_bucket(&req.input.bucket) {
            return Err(s3_error!(BucketAlreadyOwnedByYou));
        }
        Ok(S3Response::new(CreateBucketOutput::default()))
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> Answer<HeadBucketOutput> {
        if !self.store.has_bucket(&req.input.bucket) {
            return Err(s3_error!(NoSuchBucket));
        }
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
        let input = req.input;
        let only = Conditions { if_match: input.if_match, if_none_match: input.if_none_match };
        let piece = self.receive(input.body, input.content_length).await?;
        let under = Encryption::new(input.server_side_encryption, input.ssekms_key_id);
        let at = (input.bucket.as_str(), input.key.as_str());
        let stored = self.store.put(at, Arc::new([piece]), &only, under)?;
        let e_tag = Some(strong(&stored.etag));
        Ok(S3Response::new(PutObjectOutput { e_tag, ..Default::default() }))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
        let input = req.input;
        let stored = self.store.get(&input.bucket, &input.key)?;
        may_read(&stored, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let range = match input.range {
            // an object without a byte has no range, also none from its end (S3: 416)
            Some(_) if stored.size == 0 => return Err(s3_error!(InvalidRange)),
            Some(range) => range.check(stored.size)?,
            None => 0..stored.size,
        };
        let content_range =
            input.range.map(|_| format!("bytes {}-{}/{}", range.start, range.end - 1, stored.size));
        let output = GetObjectOutput {
            content_length: Some(length(range.end - range.start)?),
            content_range,
            body: Some(StreamingBlob::wrap(read(&stored.pieces, range))),
            accept_ranges: Some("bytes".to_owned()),
            e_tag: Some(strong(&stored.etag)),
            last_modified: Some(stored.modified.into()),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
        let stored = self.store.get(&req.input.bucket, &req.input.key)?;
        may_read(&stored, req.input.if_match.as_ref(), req.input.if_none_match.as_ref())?;
        let output = HeadObjectOutput {
            content_length: Some(length(stored.size)?),
            accept_ranges: Some("bytes".to_owned()),
            e_tag: Some(strong(&stored.etag)),
            last_modified: Some(stored.modified.into()),
            server_side_encryption: stored.encryption.algorithm,
            ssekms_key_id: stored.encryption.key,
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> Answer<ListObjectsV2Output> {
        let input = req.input;
        let limit = input.max_keys.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
        let after = match &input.continuation_token {
            Some(token) => from_token(token)?,
            None => input.start_after.clone().unwrap_or_default(),
        };
        let what = Listing {
            prefix: input.prefix.as_deref().unwrap_or(""),
            delimiter: input.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty()),
            after: &after,
            limit: usize::try_from(limit).unwrap_or(1),
        };
        let page = self.store.list(&input.bucket, what)?;
        let contents: Vec<_> = page.objects.iter().map(listed).collect::<S3Result<_>>()?;
        let prefixes = page.prefixes.into_iter();
        let common_prefixes: Vec<_> =
            prefixes.map(|prefix| CommonPrefix { prefix: Some(prefix) }).collect();
        let output = ListObjectsV2Output {
            key_count: i32::try_from(contents.len() + common_prefixes.len()).ok(),
            contents: Some(contents),
            common_prefixes: Some(common_prefixes),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.map(hex::encode),
            continuation_token: input.continuation_token,
            max_keys: Some(limit),
            name: Some(input.bucket),
            prefix: input.prefix,
            delimiter: input.delimiter,
            start_after: input.start_after,
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> Answer<CopyObjectOutput> {
        let input = req.input;
        let CopySource::Bucket { bucket, key, .. } = &input.copy_source else {
            return Err(s3_error!(NotImplemented, "copies are made inside this server only"));
        };
        let under = Encryption::new(input.server_side_encryption, input.ssekms_key_id);
        let stored = self.store.copy((bucket, key), (&input.bucket, &input.key), under)?;
        let result = CopyObjectResult {
            e_tag: Some(strong(&stored.etag)),
            last_modified: Some(stored.modified.into()),
            ..Default::default()
        };
        let output = CopyObjectOutput { copy_object_result: Some(result), ..Default::default() };
        Ok(S3Response::new(output))
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> Answer<DeleteObjectOutput> {
        self.store.delete(&req.input.bucket, &req.input.key)?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> Answer<CreateMultipartUploadOutput> {
        self.begin_upload(req.input).map(S3Response::new)
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> Answer<UploadPartOutput> {
        self.take_part(req.input).await.map(S3Response::new)
    }

    async fn upload_part_copy(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> Answer<UploadPartCopyOutput> {
        self.copy_part(req.input).await.map(S3Response::new)
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> Answer<CompleteMultipartUploadOutput> {
        self.complete_upload(req.input).map(S3Response::new)
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> Answer<AbortMultipartUploadOutput> {
        self.store.abort(&req.input.upload_id)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> Answer<ListMultipartUploadsOutput> {
        Ok(S3Response::new(self.uploads_in(req.input.bucket)))
    }
}

/// The conditions of a read: If-Match else 412, If-None-Match else 304.
pub(super) fn may_read(
    stored: &Stored,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<()> {
    let is = |condition: &ETagCondition| {
        condition.as_etag().is_none_or(|etag| etag.value() == stored.etag)
    };
    if if_match.is_some_and(|condition| !is(condition)) {
        return Err(s3_error!(PreconditionFailed));
    }
    if if_none_match.is_some_and(is) {
        return Err(s3_error!(NotModified));
    }
    Ok(())
}

fn listed((key, stored): &(String, Stored)) -> S3Result<Object> {
    Ok(Object {
        key: Some(key.clone()),
        size: Some(length(stored.size)?),
        e_tag: Some(strong(&stored.etag)),
        last_modified: Some(stored.modified.into()),
        ..Default::default()
    })
}

/// A size as the protocol's types carry it.
fn length(size: u64) -> S3Result<i64> {
    i64::try_from(size).map_err(s3s::S3Error::internal_error)
}

/// A continuation token is the last key of the page before, in hex.
fn from_token(token: &str) -> S3Result<String> {
    let bytes = hex::decode(token).ok();
    let key = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    key.ok_or_else(|| s3_error!(InvalidArgument, "the continuation token is not one of ours"))
}
