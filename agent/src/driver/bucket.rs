//! **bucket** — effects on small objects: votes, plans, the catalogue of manifests.

use super::{Done, Hands, bad, store_failed};
use crate::ports::object_store::{Object, Put, StoreError};
use protocol::{
    cluster::{Digest, Slot},
    event::Outcome,
    limits::SLOTS_MAX,
    manifest::Manifest,
    plan::Plan,
    registry::Pin,
    vote::Vote,
    wire::{Keys, encode_plan, encode_vote, parse_manifest, parse_plan, parse_vote},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Manifests read per catalogue beside those that are pointed to: the newest by name. A restore needs the first few.
const MANIFESTS_MAX: usize = 32;

impl Hands {
    pub(super) fn keys(&self, uid: &str) -> Keys {
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

    /// LIST may be behind: what votes and salvages point to is read as well. A manifest that can't
    /// be parsed is no candidate; a store that doesn't answer is no answer.
    pub(super) async fn read_catalogue(&self, uid: &str, inc: u64, pointers: &[String]) -> Done {
        let keys = self.keys(uid);
        let folder = Manifest::folder(inc);
        let listed = self.ports.store.list(&keys.under(&folder)).await.map_err(store_failed)?;
        // what is pointed to is read however old it is: an operator may have named it
        let known =
            pointers.iter().filter(|key| key.starts_with(&folder)).map(|key| keys.under(key));
        let newest = listed.into_iter().rev().take(MANIFESTS_MAX);
        let all: BTreeSet<String> = newest.chain(known).collect();
        let mut manifests = Vec::new();
        for key in all.iter().rev() {
            let Some(object) = self.ports.store.get(key).await.map_err(store_failed)? else {
                continue;
            };
            match parse_manifest(&object.bytes) {
                Ok(manifest) => manifests.push(manifest),
                Err(error) => {
                    tracing::warn!(key, %error, "a manifest can't be read; it is no candidate")
                }
            }
        }
        Ok(Outcome::Catalogue(manifests))
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
