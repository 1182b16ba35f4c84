//! **damage** — what can happen to a snapshot in its bucket, done to it on purpose (etcd.md 4.1).
//!
//! Comes in: a sound snapshot at the end of a chain. Goes out: for each damage whether `snapshot verify` named
//! it; and snapshots that are spoilt for good, for a restore to pass over.

use super::{snapshots::Line, stage::Stage};
use crate::drill::{stores::BUCKET, trouble::Trouble};
use agent::{
    adapters::{
        aws::{self, clients},
        s3::S3Store,
    },
    ports::object_store::{ObjectStore as _, Put},
};
use protocol::{
    manifest::Manifest,
    wire::{Keys, PACK_TRAILER, encode_manifest, parse_manifest},
};

/// What is done to the data of a snapshot.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// A bit of a block, or of a value; of a pack a bit of what its blocks are compressed to.
    Flip,
    /// A bit of the first page's header; of a pack one where its stream begins.
    PageHeader,
    /// Zeros where a page was, or all of a small pack.
    Zeroed,
    /// The last 32 bytes are missing: etcd's own digest, or the end of the trailer.
    Beheaded,
    /// Half of it is missing.
    Truncated,
    /// All of it.
    Emptied,
    /// Another object is there.
    Other,
    /// No object is there.
    Gone,
}

const EVERY: [Damage; 8] = [
    Damage::Flip,
    Damage::PageHeader,
    Damage::Zeroed,
    Damage::Beheaded,
    Damage::Truncated,
    Damage::Emptied,
    Damage::Other,
    Damage::Gone,
];

impl Damage {
    /// What it leaves of these bytes; `None`: nothing at all.
    fn of(self, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
        let (length, half) = (bytes.len(), bytes.len() / 2);
        match self {
            Self::Flip => bytes[half] ^= 1,
            Self::PageHeader => bytes[8] ^= 1,
            Self::Zeroed => bytes[..4096.min(length)].fill(0),
            Self::Beheaded => bytes.truncate(length - 32),
            Self::Truncated => bytes.truncate(half),
            Self::Emptied => bytes.clear(),
            Self::Other => bytes = b"{ \"v\": 1 }\n".to_vec(),
            Self::Gone => return None,
        }
        Some(bytes)
    }
}

/// The bucket, and whose keys it holds.
pub(super) struct Shelf {
    pub(super) store: S3Store,
    pub(super) keys: Keys,
}

impl Shelf {
    pub(super) async fn of(stage: &Stage) -> Result<Self, Trouble> {
        let env = stage.cluster.stores.env();
        let value = |key: &str| env.get(key).cloned();
        let settings = aws::Settings {
            region: value("AWS_REGION"),
            s3_endpoint: value("AWS_ENDPOINT_URL_S3"),
            dynamodb_endpoint: None,
            credentials: value("AWS_ACCESS_KEY_ID").zip(value("AWS_SECRET_ACCESS_KEY")),
            transport: None,
            ..aws::Settings::default()
        };
        let clients = clients(&settings).await.map_err(|e| Trouble::of("a client of S3", e))?;
        let store = S3Store::new(clients.s3, BUCKET);
        let named = store.get("drill/cluster.json").await.map_err(|e| Trouble::of("reading", e))?;
        let named = named.ok_or_else(|| Trouble("there is no cluster.json".into()))?;
        let founding = protocol::wire::parse_cluster(&named.bytes);
        let founding = founding.map_err(|e| Trouble::of("cluster.json", e))?;
        Ok(Self { store, keys: Keys::new("drill", &founding.uid) })
    }

    async fn read(&self, key: &str) -> Result<(Vec<u8>, String), Trouble> {
        let object = self.store.get(&self.keys.under(key)).await;
        let object = object.map_err(|e| Trouble::of(key, e))?;
        let object = object.ok_or_else(|| Trouble(format!("there is no {key}")))?;
        Ok((object.bytes, object.etag))
    }

    async fn write(&self, key: &str, bytes: Vec<u8>) -> Result<(), Trouble> {
        let put = self.store.put_if_absent(&self.keys.under(key), bytes).await;
        match put.map_err(|e| Trouble::of(key, e))? {
            Put::Done { .. } => Ok(()),
            Put::Conflict => Err(Trouble(format!("{key} is there already"))),
        }
    }

    async fn delete(&self, key: &str) -> Result<(), Trouble> {
        let deleted = self.store.delete(&self.keys.under(key)).await;
        deleted.map_err(|e| Trouble::of(key, e))
    }

    async fn manifest(&self, key: &str) -> Result<Manifest, Trouble> {
        let (bytes, _) = self.read(key).await?;
        parse_manifest(&bytes).map_err(|e| Trouble::of(key, e))
    }
}

/// Each damage, done to a copy of a whole snapshot and to one of a pack: `snapshot verify` must name each.
/// The copies' manifests stand in a folder of their own, so that no restore meets them.
pub(super) async fn matrix(stage: &mut Stage, end: &str) -> Result<(), Trouble> {
    let shelf = Shelf::of(stage).await?;
    let end = shelf.manifest(end).await?;
    let base = end.needs.first().ok_or_else(|| Trouble("the snapshot is no chain's end".into()))?;
    let (pack, _) = shelf.read(&end.data).await?;
    let (whole, _) = shelf.read(base).await?;
    for damage in EVERY {
        let spoilt = damage.of(pack.clone());
        let name = format!("{damage:?} of a pack");
        named(stage, &shelf, &end, ("pack", spoilt), &name).await?;
    }
    let tail = pack.len() - PACK_TRAILER;
    for (name, at) in [("index", tail - 2), ("trailer", tail + 9), ("mark", tail)] {
        let mut spoilt = pack.clone();
        spoilt[at] ^= 1;
        let name = format!("Flip of a pack's {name}");
        named(stage, &shelf, &end, ("pack", Some(spoilt)), &name).await?;
    }
    let digest = protocol::cluster::Digest::of(&whole);
    let alone = Manifest { needs: Vec::new(), sha256: digest, size: whole.len() as u64, ..end };
    for damage in EVERY {
        let spoilt = damage.of(whole.clone());
        let name = format!("{damage:?} of a whole file");
        named(stage, &shelf, &alone, ("db", spoilt), &name).await?;
    }
    Ok(())
}

async fn named(
    stage: &mut Stage,
    shelf: &Shelf,
    like: &Manifest,
    (kind, data): (&str, Option<Vec<u8>>),
    name: &str,
) -> Result<(), Trouble> {
    let (key, copy) = ("damaged/manifest.json", format!("damaged/data.{kind}"));
    let manifest = Manifest { data: copy.clone(), ..like.clone() };
    shelf.write(key, encode_manifest(&manifest)).await?;
    if let Some(data) = data {
        shelf.write(&copy, data).await?;
    }
    let output = stage.cluster.hosts[0].run(&["snapshot", "verify", key]).await?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let told = output.status.code() == Some(1) && said.contains(&copy) && !said.contains("panic");
    let cause = said.lines().nth(1).unwrap_or(&said).trim().to_owned();
    stage.checks.note(format!("{name} is named"), told, cause);
    shelf.delete(key).await?;
    shelf.delete(&copy).await
}

/// Spoils the data of each of these for good, another way each. Answers how many.
pub(super) async fn spoil(stage: &Stage, lines: &[&Line]) -> Result<usize, Trouble> {
    let shelf = Shelf::of(stage).await?;
    for (line, damage) in lines.iter().zip(EVERY.iter().cycle()) {
        let manifest = shelf.manifest(&line.key).await?;
        let (bytes, etag) = shelf.read(&manifest.data).await?;
        let full = shelf.keys.under(&manifest.data);
        let done = match damage.of(bytes) {
            Some(spoilt) => shelf.store.put_if_match(&full, spoilt, &etag).await.map(drop),
            None => shelf.store.delete(&full).await,
        };
        done.map_err(|e| Trouble::of(&manifest.data, e))?;
        stage.say(format!("{damage:?}: {}", manifest.data));
    }
    Ok(lines.len())
}
