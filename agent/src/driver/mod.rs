//! **driver** — the hands of the core: performs each effect through a port and tells what came of
//! it. Decides nothing: no file here asks whether anything is healthy.
//!
//! [`run`] is the only loop; [`performer`] does one effect without it. [`perform`] sorts effects by lane;
//! [`conditions`], [`table`], [`bucket`], [`body`] and [`data`] do them, the last with [`storing`], [`uploading`],
//! [`chain`], [`kept`], [`content`] and [`exported`]. A call that takes too long is answered with "nobody knows".

pub mod conditions;
pub(crate) mod perform;
mod table;
mod bucket;
mod body;
mod data;
mod storing;
mod chain;
mod kept;
mod laying;
mod content;
mod differences;
mod packing;
mod packed;
pub mod seal;
pub mod exported;
mod rehearsing;
mod uploading;
pub mod run;
pub mod performer;
#[cfg(test)]
mod saves;
#[cfg(test)]
mod stage;

pub(crate) use data::Origin;

use crate::ports::{
    clock::Clock,
    etcd::{Door, Etcd},
    machine::Machine,
    object_store::{Likeness, ObjectStore, StoreError},
    registry::Registry,
    service::Service,
    snapshots::Snapshots,
};
use protocol::{
    cluster::{ClusterId, Instance, Slot},
    event::{Failure, FailureKind, Outcome},
    manifest::Manifest,
    observation::{Check, Process},
    registry::Pin,
};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};
use tokio::{sync::Mutex, task::JoinHandle};

/// All doors of one agent.
#[derive(Clone)]
pub struct Ports {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The bucket.
    pub store: Arc<dyn ObjectStore>,
    /// The lock table.
    pub registry: Arc<dyn Registry>,
    /// etcd's API.
    pub etcd: Arc<dyn Etcd>,
    /// etcd's process.
    pub service: Arc<dyn Service>,
    /// Disk and memory.
    pub machine: Arc<dyn Machine>,
    /// Snapshot files.
    pub snapshots: Arc<dyn Snapshots>,
}

/// Where this agent lives.
#[derive(Clone, Debug)]
pub struct Site {
    /// Prefix of all keys in the bucket, without slashes at its ends.
    pub prefix: String,
    /// `ETCD_NAME`.
    pub name: String,
    /// This machine.
    pub instance: Instance,
    /// This member's client URL.
    pub client_url: String,
    /// This member's quarantine socket.
    pub socket: PathBuf,
    /// Where the drill's hold file goes.
    pub state_dir: PathBuf,
    /// Regular snapshots store what differs from the one before (`snapshot.format: incremental`).
    pub incremental: bool,
    /// For whom snapshots are sealed, and what opens them.
    pub seal: seal::Seal,
    /// The phase at which a leading agent stops for ever, for drills.
    pub hold: Option<String>,
}

/// Ports, site, and the little that calls share.
#[derive(Clone)]
pub(crate) struct Hands {
    pub(crate) ports: Ports,
    pub(crate) site: Arc<Site>,
    /// Version of my own vote's object.
    pub(crate) vote_etag: Arc<Mutex<Option<String>>>,
    /// What was wrong with votes when they were read last: said once, not every second.
    pub(crate) unreadable: Arc<Mutex<BTreeMap<Slot, String>>>,
    /// Manifests that were read: they never change.
    pub(crate) read_before: Arc<Mutex<BTreeMap<String, Manifest>>>,
    /// The chain of snapshots that is being extended.
    pub(crate) chain: Arc<Mutex<Option<chain::Extended>>>,
    /// The snapshot that was proven last.
    pub(crate) kept: kept::Kept,
    /// What is remembered of the last whole file that was saved.
    pub(crate) last_whole: Arc<Mutex<Option<Likeness>>>,
    /// The store was asked whether it judges what copies demand.
    pub(crate) copies_asked: Arc<Mutex<bool>>,
    /// The check of my own member that was asked for last.
    pub(crate) check: Arc<Mutex<Option<Checking>>>,
}

/// A member's content at one revision, asked for beside the looks.
pub(crate) struct Checking {
    pub(crate) cluster: ClusterId,
    pub(crate) revision: u64,
    pub(crate) task: JoinHandle<Option<Check>>,
    pub(crate) found: Option<Check>,
}

impl Hands {
    /// Hands that have done nothing yet.
    pub(crate) fn new(ports: Ports, site: Site) -> Self {
        Self {
            ports,
            site: Arc::new(site),
            vote_etag: Arc::default(),
            unreadable: Arc::default(),
            read_before: Arc::default(),
            chain: Arc::default(),
            kept: kept::Kept::default(),
            last_whole: Arc::default(),
            copies_asked: Arc::default(),
            check: Arc::default(),
        }
    }

    /// The way to my own member, by how its process was started.
    pub(crate) async fn door(&self) -> Door {
        match self.ports.service.state().await {
            Process::Running { quarantined: true } => Door::Socket(self.site.socket.clone()),
            Process::Running { quarantined: false }
            | Process::Stopped
            | Process::StoppedByOperator
            | Process::Unknown => Door::Client(self.site.client_url.clone()),
        }
    }
}

/// The file of a snapshot, as a restore would have it: for checks that ask no agent.
///
/// # Errors
/// Why it can't be restored.
pub async fn fetched(ports: Ports, site: Site, manifest: &Manifest) -> Result<Vec<u8>, Failure> {
    let pin = Pin { key: manifest.data.clone(), sha256: manifest.sha256 };
    let file = Hands::new(ports, site).fetch(&manifest.uid, &pin, manifest.size).await?;
    std::fs::read(file.proven.path()).map_err(|error| local_failed(&error, "reading the file"))
}

/// An effect's answer, with `?` for failures.
pub(crate) type Done = Result<Outcome, Failure>;

pub(crate) fn unavailable(text: impl std::fmt::Display) -> Failure {
    Failure { kind: FailureKind::Unavailable, text: text.to_string() }
}

pub(crate) fn bad(text: impl std::fmt::Display) -> Failure {
    Failure { kind: FailureKind::Bad, text: text.to_string() }
}

/// A store's error by what the core does next. A refusal of credentials is "could not look".
pub(crate) fn store_failed(error: StoreError) -> Failure {
    let kind = match &error {
        StoreError::Unavailable(_)
        | StoreError::Forbidden(_)
        | StoreError::Missing(_)
        | StoreError::Source(_)
        | StoreError::Local(_) => FailureKind::Unavailable,
        StoreError::NoSpace(_) => FailureKind::NoSpace,
        StoreError::Bad(_) => FailureKind::Bad,
    };
    Failure { kind, text: error.to_string() }
}

/// What a failure of the local disk means.
pub(crate) fn local_failed(error: &std::io::Error, doing: &str) -> Failure {
    let full =
        matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
    let kind = if full { FailureKind::NoSpace } else { FailureKind::Unavailable };
    Failure { kind, text: format!("{doing}: {error}") }
}
