//! **object_store** — buckets, objects and uploads in progress, with S3's true conditions.
//!
//! Comes in: requests that [`object_server`](super::object_server) has read. Goes out: what S3 would answer. Every condition is
//! judged and its write made under one lock, so that of racing writes exactly one wins; bodies
//! are received before the lock is taken. The index lives in memory: a server that ends forgets.

use super::object_files::Piece;
use s3s::{
    S3Error, S3Result,
    dto::{ChecksumAlgorithm, ETag, ETagCondition, ServerSideEncryption},
    s3_error,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

/// S3's least size of a part that is not the last.
const PART_MIN: u64 = 5 << 20;

/// A stored object.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its bytes, end to end.
    pub pieces: Arc<[Piece]>,
    /// Their number.
    pub size: u64,
    /// The version, without quotes.
    pub etag: String,
    /// When it was put there.
    pub modified: SystemTime,
    /// What was said of its encryption.
    pub encryption: Encryption,
}

/// What a write says of encryption. Nothing is encrypted here; it is told again.
#[derive(Clone, Debug, Default)]
pub struct Encryption {
    /// The algorithm.
    pub algorithm: Option<ServerSideEncryption>,
    /// The key's id.
    pub key: Option<String>,
}

impl Encryption {
    /// As it was said.
    pub fn new(algorithm: Option<ServerSideEncryption>, key: Option<String>) -> Self {
        Self { algorithm, key }
    }
}

/// What a write demands of what is there.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// If-Match.
    pub if_match: Option<ETagCondition>,
    /// If-None-Match.
    pub if_none_match: Option<ETagCondition>,
}

/// A part as the completion names it.
#[derive(Clone, Debug)]
pub struct Named {
    /// Its number.
    pub number: i32,
    /// Its version as told by the client, if it did.
    pub etag: Option<String>,
    /// It came with a checksum.
    pub has_checksum: bool,
}

/// One page of a listing.
#[derive(Debug, Default)]
pub struct Page {
    /// Keys and objects.
    pub objects: Vec<(String, Stored)>,
    /// Groups below the delimiter.
    pub prefixes: Vec<String>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// What to list.
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    /// Keys begin with it.
    pub prefix: &'a str,
    /// Groups keys up to its next occurrence.
    pub delimiter: Option<&'a str>,
    /// Keys come after it.
    pub after: &'a str,
    /// Entries on the page.
    pub limit: usize,
}

#[derive(Debug, Default)]
struct State {
    buckets: BTreeMap<String, BTreeMap<String, Stored>>,
    uploads: BTreeMap<String, Upload>,
    held: BTreeSet<(String, String)>,
    copies: u64,
    next_upload: u64,
    /// Of objects and parts: S3 promises no more than that another content has another one.
    last_version: u64,
}

#[derive(Debug)]
struct Upload {
    bucket: String,
    key: String,
    checksum: Option<ChecksumAlgorithm>,
    encryption: Encryption,
    parts: BTreeMap<i32, Part>,
}

#[derive(Debug)]
struct Part {
    piece: Piece,
    etag: String,
}

/// The store.
#[derive(Debug, Default)]
pub struct Store(Mutex<State>);

impl Store {
    /// False if the bucket was there.
    pub fn create_bucket(&self, bucket: &str) -> bool {
        let mut state = self.state();
        let is_new = !state.buckets.contains_key(bucket);
        state.buckets.entry(bucket.to_owned()).or_default();
        is_new
    }

    /// Whether the bucket is there.
    pub fn has_bucket(&self, bucket: &str) -> bool {
        self.state().buckets.contains_key(bucket)
    }

    /// An object; the error is NoSuchKey or NoSuchBucket.
    pub fn get(&self, bucket: &str, key: &str) -> S3Result<Stored> {
        let mut state = self.state();
        state.bucket(bucket)?.get(key).cloned().ok_or_else(|| s3_error!(NoSuchKey))
    }

    /// Puts an object there if the conditions hold; answers with its version.
    pub fn put(
        &self,
        at: (&str, &str),
        pieces: Arc<[Piece]>,
        only: &Conditions,
        under: Encryption,
    ) -> S3Result<Stored> {
        self.state().put(at, pieces, only, under)
    }

    /// Copies an object over whatever is at the target.
    pub fn copy(
        &self,
        from: (&str, &str),
        to: (&str, &str),
        under: Encryption,
    ) -> S3Result<Stored> {
        let mut state = self.state();
        let source = state.bucket(from.0)?.get(from.1).cloned();
        let mut copied = source.ok_or_else(|| s3_error!(NoSuchKey))?;
        copied.modified = SystemTime::now();
        copied.etag = state.version();
        copied.encryption = under;
        state.bucket(to.0)?.insert(to.1.to_owned(), copied.clone());
        Ok(copied)
    }

    /// Deletes an object; done if there is none.
    pub fn delete(&self, bucket: &str, key: &str) -> S3Result<()> {
        let mut state = self.state();
        let is_held = state.held.iter().any(|(at, end)| at == bucket && key.ends_with(end));
        let objects = state.bucket(bucket)?;
        if is_held {
            return Err(s3_error!(AccessDenied, "the object is held"));
        }
        objects.remove(key);
        Ok(())
    }

    /// Refuses from now on to delete objects whose keys end so.
    pub fn hold(&self, bucket: &str, end: &str) {
        self.state().held.insert((bucket.to_owned(), end.to_owned()));
    }

    /// One page of keys in order.
    pub fn list(&self, bucket: &str, what: Listing<'_>) -> S3Result<Page> {
        let mut state = self.state();
        let from = what.prefix.max(what.after).to_owned();
        let keys = state.bucket(bucket)?.range((Bound::Included(from), Bound::Unbounded));
        let mut page = Page::default();
        let mut last = String::new();
        for (key, object) in keys {
            let Some(rest) = key.strip_prefix(what.prefix) else { break };
            let group = what.delimiter.and_then(|delimiter| {
                rest.find(delimiter).map(|at| &key[..what.prefix.len() + at + delimiter.len()])
            });
            let seen = group.is_some_and(|group| {
                page.prefixes.last().is_some_and(|known| known == group)
                    || what.after.starts_with(group)
            });
            if key.as_str() <= what.after || seen {
                last.clone_from(key);
                continue;
            }
            if page.objects.len() + page.prefixes.len() == what.limit {
                page.next = Some(last);
                return Ok(page);
            }
            match group {
                Some(group) => page.prefixes.push(group.to_owned()),
                None => page.objects.push((key.clone(), object.clone())),
            }
            last.clone_from(key);
        }
        Ok(page)
    }

    /// Begins an upload in parts; answers with its id.
    pub fn begin(
        &self,
        (bucket, key): (&str, &str),
        checksum: Option<ChecksumAlgorithm>,
        encryption: Encryption,
    ) -> S3Result<String> {
        let mut state = self.state();
        state.bucket(bucket)?;
        state.next_upload += 1;
        let id = format!("upload-{}", state.next_upload);
        let (bucket, key, parts) = (bucket.to_owned(), key.to_owned(), BTreeMap::new());
        let upload = Upload { bucket, key, checksum, encryption, parts };
        state.uploads.insert(id.clone(), upload);
        Ok(id)
    }

    /// Adds a part, replacing one of that number; answers with its version. `checksum`: the algorithm of
    /// the checksum that came with it, which must be the one that the upload began with.
    pub fn add_part(
        &self,
        id: &str,
        number: i32,
        piece: Piece,
        checksum: Option<&ChecksumAlgorithm>,
    ) -> S3Result<String> {
        let mut state = self.state();
        let etag = state.version();
        let upload = state.upload(id)?;
        if checksum.is_some_and(|used| upload.checksum.as_ref() != Some(used)) {
            return Err(s3_error!(InvalidRequest, "Checksum Type mismatch occurred"));
        }
        upload.parts.insert(number, Part { piece, etag: etag.clone() });
        Ok(etag)
    }

    /// One more part was copied here.
    pub fn count_copy(&self) {
        self.state().copies += 1;
    }

    /// How many parts were copied here.
    pub fn copies(&self) -> u64 {
        self.state().copies
    }

    /// Makes the named parts one object if the conditions hold, and ends the upload.
    pub fn complete(&self, id: &str, named: &[Named], only: &Conditions) -> S3Result<Stored> {
        let mut state = self.state();
        let upload = state.upload(id)?;
        if upload.checksum.is_some() && named.iter().any(|named| !named.has_checksum) {
            return Err(s3_error!(InvalidRequest, "the completion must name each part's checksum"));
        }
        let pieces = chosen(&upload.parts, named)?;
        let (bucket, key) = (upload.bucket.clone(), upload.key.clone());
        let under = upload.encryption.clone();
        let stored = state.put((&bucket, &key), pieces, only, under)?;
        state.uploads.remove(id);
        Ok(stored)
    }

    /// Ends an upload and forgets its parts.
    pub fn abort(&self, id: &str) -> S3Result<()> {
        self.state().uploads.remove(id).map(drop).ok_or_else(|| s3_error!(NoSuchUpload))
    }

    /// Uploads in progress: id and key.
    pub fn uploads(&self, bucket: &str) -> Vec<(String, String)> {
        let state = self.state();
        let here = state.uploads.iter().filter(|(_, upload)| upload.bucket == bucket);
        here.map(|(id, upload)| (id.clone(), upload.key.clone())).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two writes that belong together, so a poisoned state is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn bucket(&mut self, bucket: &str) -> S3Result<&mut BTreeMap<String, Stored>> {
        self.buckets.get_mut(bucket).ok_or_else(|| s3_error!(NoSuchBucket))
    }

    fn upload(&mut self, id: &str) -> S3Result<&mut Upload> {
        self.uploads.get_mut(id).ok_or_else(|| s3_error!(NoSuchUpload))
    }

    fn put(
        &mut self,
        (bucket, key): (&str, &str),
        pieces: Arc<[Piece]>,
        only: &Conditions,
        encryption: Encryption,
    ) -> S3Result<Stored> {
        let objects = self.bucket(bucket)?;
        check(objects.get(key).map(|stored| stored.etag.as_str()), only)?;
        let size = pieces.iter().map(|piece| piece.size).sum();
        let etag = self.version();
        let stored = Stored { pieces, size, etag, modified: SystemTime::now(), encryption };
        self.bucket(bucket)?.insert(key.to_owned(), stored.clone());
        Ok(stored)
    }

    /// A new version. MD5 as S3 uses it costs as much as all the rest that a server does here.
    fn version(&mut self) -> String {
        self.last_version += 1;
        format!("v{}", self.last_version)
    }
}

/// S3's rules: If-None-Match: * demands that nothing is there (else 412); If-Match demands this
/// version (absent: 404, another one: 412).
fn check(there: Option<&str>, only: &Conditions) -> Result<(), S3Error> {
    let is = |condition: &ETagCondition| match condition {
        ETagCondition::Any => there.is_some(),
        ETagCondition::ETag(wanted) => there == Some(wanted.value()),
    };
    if only.if_none_match.as_ref().is_some_and(is) {
        return Err(s3_error!(PreconditionFailed));
    }
    match (&only.if_match, there) {
        (Some(_), None) => Err(s3_error!(NoSuchKey)),
        (Some(wanted), Some(_)) if !is(wanted) => Err(s3_error!(PreconditionFailed)),
        (Some(_) | None, _) => Ok(()),
    }
}

/// The parts a completion names, in its order, which must rise.
fn chosen(parts: &BTreeMap<i32, Part>, named: &[Named]) -> S3Result<Arc<[Piece]>> {
    if named.is_empty() {
        return Err(s3_error!(InvalidRequest, "a completion must name at least one part"));
    }
    if !named.is_sorted_by(|a, b| a.number < b.number) {
        return Err(s3_error!(InvalidPartOrder));
    }
    let mut pieces = Vec::with_capacity(named.len());
    for (at, name) in named.iter().enumerate() {
        let Part { piece, etag } = parts.get(&name.number).ok_or_else(|| s3_error!(InvalidPart))?;
        if name.etag.as_ref().is_some_and(|told| told != etag) {
            return Err(s3_error!(InvalidPart));
        }
        if at + 1 < named.len() && piece.size < PART_MIN {
            return Err(s3_error!(EntityTooSmall));
        }
        pieces.push(piece.clone());
    }
    Ok(pieces.into())
}

/// A version as the protocol carries it.
pub fn strong(etag: &str) -> ETag {
    ETag::Strong(etag.to_owned())
}
