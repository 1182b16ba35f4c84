//! **bucket** — effects on small objects: votes, plans, the catalogue of manifests.

use super::{Done, Hands, bad, store_failed};
use crate::ports::object_store::{Object, Put, StoreError};
use protocol::{
    cluster::{Digest, Slot},
    event::{Failure, FailureKind, Outcome},
    limits::SLOTS_MAX,
    manifest::Manifest,
    plan::Plan,
    registry::Pin,
    source::Reading,
    vote::Vote,
    wire::{Keys, encode_plan, encode_vote, parse_manifest, parse_plan, parse_vote},
};
use std::{collections::BTreeMap, sync::Arc};

impl Hands {
    pub(crate) fn keys(&self, uid: &str) -> Keys {
        Keys::new(&self.site.prefix, uid)
    }

    /// Publishes my vote, then reads everybody's. A failed publication is a failed exchange: what
    /// can't be written must not look as if it could be read.
    pub(super) async fn exchange(&self, uid: &str, vote: Option<&Vote>) -> Done {
        let keys = self.keys(uid);
        if let Some(vote) = vote {
            self.publish(&keys.vote(vote.slot), encode_vote(vote)).await.map_err(store_failed)?;
        }
        let (mut votes, mut unreadable) = (Vec::new(), BTreeMap::new());
        for slot in 0..SLOTS_MAX {
            let slot = Slot(u8::try_from(slot).unwrap_or(u8::MAX));
            let object = match self.ports.store.get(&keys.vote(slot)).await {
                Err(StoreError::Bad(why)) => Err(why),
                read => Ok(read.map_err(store_failed)?),
            };
            match object.and_then(|object| vote_of(slot, object.as_ref())) {
                Ok(vote) => votes.extend(vote.map(Arc::new)),
                Err(why) => drop(unreadable.insert(slot, why)),
            }
        }
        self.warn_of_changes(unreadable).await;
        Ok(Outcome::Votes(votes))
    }

    /// A vote that can't be read counts as silence. It is read every second and told once.
    async fn warn_of_changes(&self, unreadable: BTreeMap<Slot, String>) {
        let mut told = self.unreadable.lock().await;
        for (slot, why) in &unreadable {
            if told.get(slot) != Some(why) {
                tracing::warn!(%slot, why, "a vote can't be read and counts as silence");
            }
        }
        *told = unreadable;
    }

    /// Replaces my own last vote. A version I don't know is read once and replaced: the seat is
    /// mine by the table's word, and votes are hints.
    async fn publish(&self, key: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let mut etag = self.vote_etag.lock().await;
        for _ in 0..2 {
            let put = match etag.as_deref() {
                Some(known) => self.ports.store.put_if_match(key, bytes.clone(), known).await?,
                None => self.ports.store.put_if_absent(key, bytes.clone()).await?,
            };
            match put {
                Put::Done { etag: new } => {
                    *etag = Some(new);
                    return Ok(());
                }
                Put::Conflict => *etag = self.ports.store.get(key).await?.map(|object| object.etag),
            }
        }
        Err(StoreError::Unavailable(format!("another process keeps writing {key}")))
    }

    pub(super) async fn put_plan(&self, uid: &str, plan: &Plan) -> Done {
        let bytes = encode_plan(plan);
        let sha256 = Digest::of(&bytes);
        let key = Keys::plan(plan.inc, plan.attempt, plan.epoch, &sha256);
        let full = self.keys(uid).under(&key);
        // the key carries the digest: whoever wrote it first wrote the same bytes
        self.ports.store.put_if_absent(&full, bytes).await.map_err(store_failed)?;
        Ok(Outcome::PlanWritten(Pin { key, sha256 }))
    }

    pub(super) async fn fetch_plan(&self, uid: &str, pin: &Pin) -> Done {
        let full = self.keys(uid).under(&pin.key);
        let object = self.ports.store.get(&full).await.map_err(store_failed)?;
        let object =
            object.ok_or_else(|| bad(format!("the pinned plan {full} is not in the bucket")))?;
        if Digest::of(&object.bytes) != pin.sha256 {
            return Err(bad(format!(
                "the plan {full} is not the one that was pinned: its sha256 differs"
            )));
        }
        Ok(Outcome::Plan(parse_plan(&object.bytes).map_err(bad)?))
    }

    pub(super) async fn read_catalogue(&self, uid: &str, inc: u64, pointers: &[String]) -> Done {
        self.manifests(uid, inc, pointers).await.map(Outcome::Catalogue)
    }

    /// The manifests of an incarnation. LIST may be behind: what votes and salvages point to is read as
    /// well. A manifest that can't be parsed is no candidate; a store that doesn't answer is no answer.
    pub(super) async fn manifests(
        &self,
        uid: &str,
        inc: u64,
        pointers: &[String],
    ) -> Result<Vec<Manifest>, Failure> {
        let keys = self.keys(uid);
        let folder = Manifest::folder(inc);
        let listed = self.ports.store.list(&keys.under(&folder)).await.map_err(store_failed)?;
        // what is pointed to is read however old it is: an operator may have named it
        let known =
            pointers.iter().filter(|key| key.starts_with(&folder)).map(|key| keys.under(key));
        let mut found = BTreeMap::new();
        let (mut newest_first, mut reading) = (listed.into_iter().rev(), Reading::default());
        while reading.goes_on()
            && let Some(key) = newest_first.next()
        {
            let (manifests, _) = self.read_manifests([&key].into_iter()).await?;
            reading.count(manifests.first());
            found.extend(manifests.into_iter().map(|manifest| (key.clone(), manifest)));
        }
        for key in known {
            if !found.contains_key(&key) {
                let (manifests, _) = self.read_manifests([&key].into_iter()).await?;
                found.extend(manifests.into_iter().map(|manifest| (key.clone(), manifest)));
            }
        }
        self.read_before.lock().await.retain(|key, _| found.contains_key(key));
        Ok(found.into_values().rev().collect())
    }

    /// All manifests of an incarnation that are listed, the newest first, and the keys, below the
    /// cluster's prefix, of those that can't be read.
    pub(crate) async fn every_manifest(
        &self,
        uid: &str,
        inc: u64,
    ) -> Result<(Vec<Manifest>, Vec<String>), Failure> {
        let keys = self.keys(uid);
        let folder = keys.under(&Manifest::folder(inc));
        let listed = self.ports.store.list(&folder).await.map_err(store_failed)?;
        let (manifests, unreadable) = self.read_manifests(listed.iter().rev()).await?;
        let below = |key: String| keys.strip(&key).map(ToOwned::to_owned).unwrap_or(key);
        Ok((manifests, unreadable.into_iter().map(below).collect()))
    }

    async fn read_manifests(
        &self,
        keys: impl Iterator<Item = &String>,
    ) -> Result<(Vec<Manifest>, Vec<String>), Failure> {
        let (mut manifests, mut unreadable) = (Vec::new(), Vec::new());
        for key in keys {
            match self.manifest_at(key).await {
                Ok(found) => manifests.extend(found),
                Err(Failure { kind: FailureKind::Bad, text }) => {
                    tracing::warn!(key, "{text}; it is no candidate");
                    unreadable.push(key.clone());
                }
                Err(error) => return Err(error),
            }
        }
        Ok((manifests, unreadable))
    }

    /// The manifest under a complete key; `None`: there is none. Manifests are never changed, so each is
    /// read once.
    pub(crate) async fn manifest_at(&self, key: &str) -> Result<Option<Manifest>, Failure> {
        if let Some(known) = self.read_before.lock().await.get(key) {
            return Ok(Some(known.clone()));
        }
        let read = self.ports.store.get(key).await.map_err(store_failed)?;
        let Some(object) = read else { return Ok(None) };
        let manifest = parse_manifest(&object.bytes)
            .map_err(|error| bad(format!("the manifest {key} can't be read: {error}")))?;
        self.read_before.lock().await.insert(key.to_owned(), manifest.clone());
        Ok(Some(manifest))
    }
}

/// The vote in an object read for `slot`; no object, no vote.
fn vote_of(slot: Slot, object: Option<&Object>) -> Result<Option<Vote>, String> {
    let Some(object) = object else { return Ok(None) };
    let vote = parse_vote(&object.bytes).map_err(|error| error.to_string())?;
    if vote.slot == slot {
        return Ok(Some(vote));
    }
    Err(format!("it says that it is of seat {}", vote.slot))
}
