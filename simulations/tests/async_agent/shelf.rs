//! **shelf** — what must hold of the bucket's snapshots, looked at whenever they change, and retention.
//!
//! Comes from the objects as they lie there and from what each simulated etcd held when a file was taken of
//! it. Goes to the [world](super::world), which keeps the first breach:
//!
//! * a manifest that is listed, and that nobody doubts, can be restored from what it says that it needs, by
//!   the agent's own code, and what comes out is what etcd held at that revision;
//! * what it needs is there as long as it is;
//! * data that no manifest needs goes once it is a day old, and nothing else does.
//!
//! Retention is the core's; who asks it here goes about it as `requorum snapshot prune` does. An hour of its
//! time is a second of the simulation, so that a day goes by within a plot.

use super::{
    PREFIX,
    direct::{Direct, bytes_of, listed},
    host::site,
    world::{Shared, World},
};
use agent::driver::fetched;
use protocol::{
    cluster::{Digest, Slot},
    guards,
    limits::SLOTS_MAX,
    manifest::{Manifest, Reason},
    retention::{self, Datum, Entry, GARBAGE_AFTER, Judged, Policy, Protected, Verdict},
    wire::{Keys, parse_manifest, parse_plan, parse_vote},
};
use simulations::drill::object_store;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

/// Seconds of retention's time in a millisecond of the simulation, by thousands.
const FASTER: u64 = 3_600;
/// When the simulation begins, in retention's time.
const BEGIN: u64 = 1_790_000_000;
/// What is kept here: little, so that chains end and go while others are still extended.
const POLICY: Policy =
    Policy { all: 3_600, hourly_for: 4 * 3_600, daily_for: 24 * 3_600, least: 2, most: Some(6) };

/// What was seen of the bucket.
#[derive(Default)]
pub(crate) struct Shelf {
    /// Something was stored or deleted since it was looked at.
    pub(crate) changed: bool,
    /// Traps and pauses that somebody met, and how often.
    pub(crate) sprung: BTreeMap<String, u64>,
    /// Snapshots that were published: whole ones, and packs.
    pub(crate) whole: u64,
    pub(crate) packs: u64,
    /// Manifests that retention deleted, and objects of data.
    pub(crate) dropped: u64,
    pub(crate) swept: u64,
    /// Times that another member took the saving over.
    pub(crate) handovers: u64,
    /// What etcd held when a file was taken of it, by the file's digest.
    taken: BTreeMap<Digest, (u64, Vec<u64>)>,
    /// When each object was seen first: simulated milliseconds.
    born: BTreeMap<String, u64>,
    /// Manifests that were restored.
    proven: BTreeSet<String>,
}

impl Shelf {
    /// A file was taken of a member that held this.
    pub(crate) fn took(&mut self, file: &[u8], revision: u64, keys: Vec<u64>) {
        self.taken.insert(Digest::of(file), (revision, keys));
    }

    fn age(&self, full: &str, now: u64) -> Option<u64> {
        self.born.get(full).map(|born| (now - born) * FASTER / 1000)
    }
}

/// The bucket's snapshots, seen from outside.
pub(crate) struct Look<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) objects: &'a Arc<object_store::Store>,
    pub(crate) scratch: &'a Path,
    /// Simulated milliseconds.
    pub(crate) now: u64,
}

impl Look<'_> {
    /// Checks what changed. All of it, if `again`: at the end.
    pub(crate) fn watch(&self, again: bool) {
        let mut world = self.shared.lock();
        if !std::mem::take(&mut world.shelf.changed) && !again {
            return;
        }
        if again {
            world.shelf.proven.clear();
        }
        let Some(keys) = keys(&world) else { return };
        let there: BTreeSet<String> = listed(self.objects, &keys.under("")).into_iter().collect();
        for key in &there {
            world.shelf.born.entry(key.clone()).or_insert(self.now);
        }
        let mut breaches = Vec::new();
        for (key, manifest) in self.manifests(&keys, &there) {
            let Some(manifest) = manifest else {
                breaches.push(format!("the manifest {key} can't be read"));
                continue;
            };
            let needs = manifest.needs.iter().chain([&manifest.data]).map(|need| keys.under(need));
            let needs: BTreeSet<String> = needs.collect();
            let sound = guards::is_trusted(&manifest, &[]);
            if let Some(gone) = needs.iter().find(|need| sound && !there.contains(*need)) {
                breaches.push(format!("{key} is listed, and {gone}, which it needs, is not there"));
            } else if sound && world.shelf.proven.insert(key.clone()) {
                if !again {
                    let packs = !manifest.needs.is_empty();
                    world.shelf.packs += u64::from(packs);
                    world.shelf.whole += u64::from(!packs);
                }
                let restored = self.restored(&world, &manifest, needs);
                breaches.extend(restored.err().map(|why| format!("{key}: {why}")));
            }
        }
        breaches.into_iter().for_each(|breach| world.violate(breach));
    }

    /// Every manifest that is listed, under its whole key; `None`: it can't be read.
    fn manifests(&self, keys: &Keys, there: &BTreeSet<String>) -> Vec<(String, Option<Manifest>)> {
        let of = |key: &&String| keys.strip(key).is_some_and(|below| below.contains("/snap/"));
        let read = |key: &String| parse_manifest(&bytes_of(self.objects, key)?).ok();
        there.iter().filter(of).map(|key| (key.clone(), read(key))).collect()
    }

    /// What the manifest and its needs, and nothing else, can be restored to.
    fn restored(
        &self,
        world: &World,
        manifest: &Manifest,
        allowed: BTreeSet<String>,
    ) -> Result<(), String> {
        let mut ports = world.ports.clone().ok_or("no agent has ever started")?;
        ports.store = Arc::new(Direct { objects: Arc::clone(self.objects), allowed });
        let alone = tokio::runtime::Builder::new_current_thread().build();
        let alone = alone.map_err(|error| error.to_string())?;
        let file = alone.block_on(fetched(ports, site(self.scratch), manifest));
        let file = file.map_err(|failure| format!("it does not restore: {}", failure.text))?;
        let digest = Digest::of(&file);
        let held = world.shelf.taken.get(&digest).ok_or("no etcd ever sent this file")?;
        let found = super::database::read(&file).ok_or("what it restores to is no database")?;
        if digest != manifest.sha256 || file.len() as u64 != manifest.size {
            return Err("what it restores to is not what it names".to_owned());
        }
        if found != *held || found.0 != manifest.revision {
            return Err("what it restores to is not what etcd held at that revision".to_owned());
        }
        let lost = world.watch.acknowledged(manifest.cluster_id, manifest.revision);
        let lost: Vec<u64> = lost.filter(|number| !found.1.contains(number)).collect();
        let all = lost.is_empty().then_some(());
        all.ok_or_else(|| format!("acknowledged writes are not in it: {lost:?}"))
    }

    /// Deletes what retention does not want any more.
    pub(crate) fn prune(&self) {
        self.watch(false);
        let mut world = self.shared.lock();
        let (Some(keys), Some(ctrl)) = (keys(&world), world.ctrl().cloned()) else { return };
        if !retention::may_begin(&ctrl) {
            return;
        }
        let there: BTreeSet<String> = listed(self.objects, &keys.under("")).into_iter().collect();
        let manifests: Vec<Manifest> = self
            .manifests(&keys, &there)
            .into_iter()
            .filter_map(|(_, manifest)| manifest)
            .collect();
        let now = BEGIN + self.now * FASTER / 1000;
        let age = |key: &str| world.shelf.age(&keys.under(key), self.now);
        let entry = |manifest: &Manifest| Entry {
            key: manifest.key(),
            inc: manifest.inc,
            revision: manifest.revision,
            taken: age(&manifest.key()).map(|age| now - age),
            suspect: !guards::is_trusted(manifest, &ctrl.adopted),
            needs: manifest.needs.iter().chain([&manifest.data]).cloned().collect(),
        };
        let entries: Vec<Entry> = manifests.iter().map(entry).collect();
        let below = there.iter().filter_map(|key| keys.strip(key));
        let data = below.filter(|key| key.contains("/data/"));
        let data: Vec<Datum> =
            data.map(|key| Datum { key: key.to_owned(), age: age(key) }).collect();
        let protected = self.protected(&world, &keys, &manifests);
        let judged = retention::judge(&entries, now, &POLICY, &protected);
        let drops = |judged: &&Judged| matches!(judged.verdict, Verdict::Drop);
        let dropped: BTreeSet<&String> = judged.iter().filter(drops).map(|one| &one.key).collect();
        let left: Vec<Entry> =
            entries.iter().filter(|entry| !dropped.contains(&entry.key)).cloned().collect();
        let garbage = retention::garbage(&data, &left, &[], &judged, &protected);
        let breach = only_garbage(&data, &left, &garbage, ctrl.inc);
        for key in dropped.iter().copied().chain(&garbage) {
            drop(self.objects.delete(super::BUCKET, &keys.under(key)));
        }
        world.shelf.dropped += dropped.len() as u64;
        world.shelf.swept += garbage.len() as u64;
        world.shelf.changed = true;
        world.say("", format!("prunes {} manifests, {} data", dropped.len(), garbage.len()));
        breach.into_iter().for_each(|breach| world.violate(breach));
        drop(world);
        self.watch(false);
    }

    /// What the records, the plan and the votes refer to, and the chain that is extended.
    fn protected(&self, world: &World, keys: &Keys, manifests: &[Manifest]) -> Protected {
        let Some(ctrl) = world.ctrl() else { return Protected::default() };
        let mut named = BTreeSet::new();
        let source = ctrl.source.as_ref().and_then(|source| source.object.as_ref());
        let source = source.map(|pin| pin.key.clone());
        let read = |key: &str| bytes_of(self.objects, key);
        let plan = ctrl.plan.as_ref().and_then(|pin| read(&keys.under(&pin.key)));
        if let Some(plan) = plan.and_then(|bytes| parse_plan(&bytes).ok()) {
            named.extend(plan.fallbacks);
            named.extend(plan.source.object.map(|pin| pin.key));
        }
        let salvages = world.watch.records().into_iter().flat_map(|records| records.salvages());
        named.extend(salvages.filter_map(|(_, salvage)| salvage.manifest.clone()));
        for slot in 0..SLOTS_MAX {
            let vote = read(&keys.vote(Slot(u8::try_from(slot).unwrap_or(u8::MAX))));
            named.extend(vote.and_then(|bytes| parse_vote(&bytes).ok()?.manifest));
        }
        let there = |key: &String| {
            manifests.iter().any(|m| m.key() == *key || m.data == *key || m.needs.contains(key))
        };
        named.retain(there);
        named.extend(source);
        let own = manifests.iter().filter(|m| m.inc == ctrl.inc && m.reason != Reason::Adopted);
        let newest = own.max_by_key(|manifest| manifest.revision);
        let chain = newest.map(|newest| newest.needs.first().unwrap_or(&newest.data).clone());
        Protected { inc: ctrl.inc, keys: named, chain }
    }
}

fn keys(world: &World) -> Option<Keys> {
    world.ctrl().map(|ctrl| Keys::new(PREFIX, &ctrl.uid))
}

/// By its own count: the data that no manifest needs is garbage once it is a day old, and nothing else is.
/// While the present incarnation has no sound manifest nothing is.
fn only_garbage(data: &[Datum], left: &[Entry], garbage: &[String], inc: u64) -> Option<String> {
    let needed: BTreeSet<&String> = left.iter().flat_map(|entry| &entry.needs).collect();
    let old = |datum: &&Datum| datum.age.is_some_and(|age| age > GARBAGE_AFTER);
    let unneeded = data.iter().filter(old).map(|datum| &datum.key);
    let unneeded: BTreeSet<&String> = unneeded.filter(|key| !needed.contains(key)).collect();
    let garbage: BTreeSet<&String> = garbage.iter().collect();
    let sound = left.iter().any(|entry| entry.inc == inc && !entry.suspect);
    if let Some(wrong) = garbage.difference(&unneeded).next() {
        return Some(format!("{wrong} would be deleted, and is needed or not old"));
    }
    let stays = unneeded.difference(&garbage).next().filter(|_| sound)?;
    Some(format!("{stays} is old, nothing needs it, and it stays"))
}
