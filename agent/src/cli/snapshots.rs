//! **snapshots** — `snapshot ls|inspect|verify|adopt|prune|rehearse`: what is in the bucket, and whether it restores.
//!
//! Comes in: the bucket, the records, a key. Goes out: tables, proofs, and for `adopt` and `prune`
//! ([`adopting`](super::adopting), [`pruning`](super::pruning)) a change. None of them needs an agent.

use super::{
    Context,
    agent::site_with_keys,
    alone::{answer, discover, failed, not_founded, read_records, registry_lost},
    interrupted::unless_interrupted,
};
use crate::{
    config::snapshots::seconds,
    driver::{Hands, perform},
    exit::{Code, Problem},
    local::snapshots::{Adopted, Listed, Listing, Part, Parts},
    render,
};
use clap::{Args, Subcommand};
use protocol::{
    effect::Effect,
    guards,
    manifest::Manifest,
    registry::{Ctrl, Records, adoption},
    retention::Policy,
    source,
};
use std::sync::Arc;

/// What is kept.
#[derive(Debug, Args)]
pub struct Prune {
    /// Only show what would be deleted
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Keep all that are younger
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = time)]
    pub(super) all_for: u64,
    /// Keep the newest of each hour for so long
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = time)]
    pub(super) hourly_for: u64,
    /// Keep the newest of each day for so long
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = time)]
    pub(super) daily_for: u64,
    /// Keep the newest so many however old they are
    #[arg(long, value_name = "N", default_value_t = Policy::DEFAULT.least)]
    pub(super) least: usize,
    /// Keep at most so many, as far as the other rules allow
    #[arg(long, value_name = "N")]
    pub(super) most: Option<usize>,
}

fn time(text: &str) -> Result<u64, String> {
    seconds(text).ok_or_else(|| "it is a time such as `90s`, `12h` or `30d`".into())
}

/// What can be done with snapshots.
#[derive(Debug, Subcommand)]
pub enum Snapshot {
    /// List the snapshots, the newest first
    Ls {
        /// Those of earlier incarnations as well
        #[arg(long)]
        all: bool,
    },
    /// Show one snapshot and the objects it is made of
    Inspect {
        /// Its manifest's key, as `ls` shows it; default: the newest
        key: Option<String>,
    },
    /// Download a snapshot and prove that it is whole and holds what its manifest says
    Verify {
        /// Its manifest's key, as `ls` shows it; default: the newest
        key: Option<String>,
    },
    /// Let a snapshot be restored that is doubtful, or that this cluster did not make
    Adopt {
        /// A manifest's key as `ls` shows it, or any object in the bucket, such as an old snapshot.db
        key: String,
        /// How you know that it is right, for the record
        #[arg(long, value_parser = super::reason())]
        because: String,
        /// The doubt that you overrule, as `ls` shows it
        #[arg(long, value_name = "DOUBT")]
        force: Option<String>,
    },
    /// Delete the snapshots that are no longer needed, and data that no snapshot needs
    Prune(Prune),
    /// Restore a snapshot beside the live member and look at what comes up; changes nothing
    Rehearse {
        /// Its manifest's key, as `ls` shows it; default: the newest
        key: Option<String>,
    },
}

/// Runs one of them. Interrupted, it removes what it downloaded or started. Each can be said again.
pub(super) async fn run(context: &Context<'_>, what: Snapshot) -> Result<(), Problem> {
    let done = match &what {
        Snapshot::Prune(_) => {
            "what it had deleted stays deleted; `requorum snapshot ls` shows what is left"
        }
        Snapshot::Adopt { .. } => {
            "what it had downloaded is removed; `requorum snapshot ls` shows whether the word is on record"
        }
        Snapshot::Ls { .. }
        | Snapshot::Inspect { .. }
        | Snapshot::Verify { .. }
        | Snapshot::Rehearse { .. } => "what it had begun beside etcd's data is removed",
    };
    unless_interrupted(act(context, what), done).await
}

async fn act(context: &Context<'_>, what: Snapshot) -> Result<(), Problem> {
    match what {
        Snapshot::Ls { all } => ls(context, all).await,
        Snapshot::Inspect { key } => inspect(context, key).await,
        Snapshot::Verify { key } => verify(context, key).await,
        Snapshot::Adopt { key, because, force } => {
            super::adopting::adopt(context, &key, because, force.as_deref()).await
        }
        Snapshot::Prune(what) => super::pruning::prune(context, &what).await,
        Snapshot::Rehearse { key } => super::rehearsing::rehearse(context, key.as_deref()).await,
    }
}

/// The snapshots of one cluster, and what its records say of them.
pub(super) struct Shelf {
    pub(super) hands: Hands,
    pub(super) uid: String,
    pub(super) records: Arc<Records>,
    pub(super) ctrl: Ctrl,
}

impl Shelf {
    pub(super) async fn open(context: &Context<'_>) -> Result<Self, Problem> {
        let settings = context.settings()?;
        let site = site_with_keys(settings)?;
        let hands = Hands::new(context.doors.ports(settings).await?, site);
        let uid = discover(&hands).await?.ok_or_else(not_founded)?;
        let records = read_records(&hands, uid.clone()).await?;
        let ctrl = records.ctrl.clone().ok_or_else(|| registry_lost(settings, &uid))?;
        Ok(Self { hands, uid, records, ctrl })
    }

    /// Reads the records once more.
    pub(super) async fn read_again(&mut self) -> Result<(), Problem> {
        self.records = read_records(&self.hands, self.uid.clone()).await?;
        let ctrl = self.records.ctrl.clone();
        self.ctrl = ctrl.ok_or_else(|| {
            Problem::new(
                Code::StoreUnreachable,
                "the lock table has no record of the cluster any more",
            )
            .next("requorum explain")
        })?;
        Ok(())
    }

    /// Whether the records are others than those that were read; the lease's renewals are none.
    pub(super) async fn was_decided(&self) -> Result<bool, Problem> {
        let now = read_records(&self.hands, self.uid.clone()).await?;
        Ok(now.ctrl.as_ref().map(|ctrl| ctrl.version) != Some(self.ctrl.version))
    }

    /// The manifests of an incarnation, the newest first, and the keys of those that can't be read.
    pub(super) async fn manifests(
        &self,
        inc: u64,
    ) -> Result<(Vec<Manifest>, Vec<String>), Problem> {
        let read = self.hands.every_manifest(&self.uid, inc).await;
        read.map_err(|failure| failed(failure, "reading the manifests"))
    }

    /// The snapshot of that key; `None`: the one that a restore would choose now.
    pub(super) async fn find(&self, key: Option<&str>) -> Result<Manifest, Problem> {
        let Some(key) = key else { return self.newest().await };
        let full = self.hands.keys(&self.uid).under(key);
        let found = self.hands.manifest_at(&full).await;
        let found = found.map_err(|failure| failed(failure, &format!("reading {key}")))?;
        found.ok_or_else(|| {
            Problem::new(Code::NoSnapshot, format!("there is no snapshot {key}"))
                .because(format!("the bucket holds no object {full}"))
                .next("requorum snapshot ls")
        })
    }

    async fn newest(&self) -> Result<Manifest, Problem> {
        let (manifests, _) = self.manifests(self.ctrl.inc).await?;
        let first = source::newest(&self.ctrl, &manifests).cloned();
        first.ok_or_else(|| {
            let inc = self.ctrl.inc;
            let text = format!("no snapshot of incarnation {inc} may be restored");
            Problem::new(Code::NoSnapshot, text).next("requorum snapshot ls --all")
        })
    }

    fn listed(&self, manifest: &Manifest, newest: Option<&Manifest>) -> Listed {
        let by = self.ctrl.seat(manifest.taken_by).map(|seat| seat.name.clone());
        let trusted = guards::is_trusted(manifest, &self.ctrl.adopted);
        let adopted = adoption::of(&self.ctrl.adopted, &manifest.sha256);
        Listed {
            adopted: adopted.map(Adopted::from),
            ..Listed::new(manifest, by, trusted, newest == Some(manifest))
        }
    }
}

async fn ls(context: &Context<'_>, all: bool) -> Result<(), Problem> {
    let shelf = Shelf::open(context).await?;
    let oldest = if all { 0 } else { source::lineage(&shelf.ctrl) };
    let mut listing = Listing::new(&shelf.uid, shelf.ctrl.inc);
    for inc in (oldest..=shelf.ctrl.inc).rev() {
        let (manifests, unreadable) = shelf.manifests(inc).await?;
        let newest = source::newest(&shelf.ctrl, &manifests);
        let listed = manifests.iter().map(|manifest| shelf.listed(manifest, newest));
        listing.snapshots.extend(listed);
        listing.unreadable.extend(unreadable);
    }
    render::listing(&listing, context.output);
    Ok(())
}

async fn inspect(context: &Context<'_>, key: Option<String>) -> Result<(), Problem> {
    let shelf = Shelf::open(context).await?;
    let manifest = shelf.find(key.as_deref()).await?;
    let mut parts = Parts::new(shelf.listed(&manifest, None), &manifest);
    for key in manifest.needs.iter().chain([&manifest.data]) {
        let full = shelf.hands.keys(&shelf.uid).under(key);
        let there = shelf.hands.ports.store.tail(&full, 1).await;
        let there = there.map_err(|error| super::agent::store_problem("the bucket", &error))?;
        parts.objects.push(Part { key: key.clone(), size: there.map(|tail| tail.size) });
    }
    let lost = parts.objects.iter().find(|part| part.size.is_none()).map(|part| part.key.clone());
    render::parts(&parts, context.output);
    match lost {
        None => Ok(()),
        Some(key) => Err(Problem::new(Code::Failed, format!("{key} is not in the bucket"))
            .because("the snapshot can't be restored without it")
            .next("requorum snapshot ls")),
    }
}

async fn verify(context: &Context<'_>, key: Option<String>) -> Result<(), Problem> {
    let shelf = Shelf::open(context).await?;
    let manifest = shelf.find(key.as_deref()).await?;
    let whose = perform::For { uid: Some(shelf.uid.clone()), slot: None };
    let effect = Effect::Verify(source::from_manifest(&manifest, 0));
    let proven = perform::perform(&shelf.hands, &whose, &effect).await;
    answer(proven, &format!("verifying {}", manifest.key()))?;
    let text = format!(
        "verified: {} is whole and holds revision {}, {} bytes",
        manifest.key(),
        manifest.revision,
        manifest.size
    );
    render::say(&text, context.output);
    Ok(())
}

/// A key in the bucket, however it is written: complete, or with the bucket before it.
pub(super) fn in_bucket<'a>(bucket: &str, key: &'a str) -> &'a str {
    key.strip_prefix("s3://")
        .and_then(|rest| rest.strip_prefix(bucket)?.strip_prefix('/'))
        .unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_understood_with_and_without_their_bucket() {
        assert_eq!(in_bucket("b", "s3://b/p/x.db"), "p/x.db");
        assert_eq!(in_bucket("b", "p/x.db"), "p/x.db");
        assert_eq!(in_bucket("b", "s3://other/p/x.db"), "s3://other/p/x.db");
    }
}
