//! **product** — the agent's own hands on the stage: what is timed here is what agents run.
//!
//! Comes in: where etcd and the store are, and a name that keeps this cluster's objects from others'. Goes
//! out: saves and restores, with how long they took. Hands remember the chain that they extend, so an
//! incremental save is measured with the hands that made its base.

use super::{
    Fallible,
    stage::{BUCKET, CREDENTIALS, Places},
    watched::Watched,
};
use agent::{
    adapters::{
        aws::{Clients, Settings, clients},
        boot_clock::BootClock,
        disk::Disk,
        dynamodb::DynamoTable,
        etcd_command::ExecConfig,
        etcdutl::Etcdutl,
        exec::Exec,
        s3::S3Store,
    },
    driver::{Ports, Site, performer::Performer},
    ports::object_store::ObjectStore,
};
use protocol::{
    cluster::{Digest, Instance, Seat, Slot},
    effect::{Effect, Save},
    event::Outcome,
    manifest::{Manifest, Reason},
    plan::Plan,
    registry::{Pin, Source},
    wire::Keys,
};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// As a restore bumps revisions (protocol.md 1.8).
pub(super) const BUMP: u64 = 1_000_000_000;
/// The seat's name, and where its peers would reach it.
pub(super) const SEAT: (&str, &str) = ("s0", "http://127.0.0.1:1");
/// Where everything is in the bucket.
const FOLDER: &str = "clusters";
/// The incarnation that is saved.
const INC: u64 = 1;

/// The hands, their data dir, and the store.
pub(super) struct Product {
    performer: Performer,
    etcd: Arc<Watched>,
    store: Arc<S3Store>,
    uid: String,
    dir: TempDir,
}

/// What became of one save.
pub(super) struct Saved {
    pub(super) manifest: Manifest,
    /// All of it.
    pub(super) took: Duration,
    /// That part of it in which etcd was asked what it holds.
    pub(super) proving: Duration,
}

/// The bucket as the agent reaches it.
pub(super) async fn stores(places: &Places) -> Fallible<Clients> {
    let (access, secret) = CREDENTIALS;
    let settings = Settings {
        region: Some("local".into()),
        s3_endpoint: Some(places.store.clone()),
        credentials: Some((access.into(), secret.into())),
        ..Settings::default()
    };
    Ok(clients(&settings).await?)
}

impl Product {
    pub(super) async fn new(places: &Places, uid: &str) -> Fallible<Self> {
        let Clients { s3, dynamodb } = stores(places).await?;
        let dir = tempfile::tempdir_in(&places.scratch)?;
        let (data_dir, state_dir) = (dir.path().join("data"), dir.path().join("state"));
        for made in [&data_dir, &state_dir] {
            std::fs::create_dir(made)?;
        }
        let (etcd, store) = (Arc::new(Watched::new()), Arc::new(S3Store::new(s3, BUCKET)));
        let name = SEAT.0.to_owned();
        let exec = ExecConfig {
            etcd_dir: places.tools.clone(),
            data_dir: data_dir.clone(),
            state_dir: state_dir.clone(),
            socket: state_dir.join("etcd.sock"),
            name: name.clone(),
            peer_url: SEAT.1.to_owned(),
            listen_peer_urls: Vec::new(),
            client_urls: Vec::new(),
            advertise_client_urls: Vec::new(),
            secure: false,
            environment: Vec::new(),
            extra_args: Vec::new(),
        };
        let ports = Ports {
            clock: Arc::new(BootClock),
            store: Arc::<S3Store>::clone(&store),
            registry: Arc::new(DynamoTable::new(dynamodb, "none")), // no save and no restore asks it
            etcd: Arc::<Watched>::clone(&etcd),
            service: Arc::new(Exec::new(exec)),
            machine: Arc::new(Disk::new(&name, &data_dir, &state_dir)),
            snapshots: Arc::new(Etcdutl::new(&places.tools, &data_dir)),
        };
        let site = Site {
            prefix: FOLDER.to_owned(),
            name,
            instance: Instance("bench".to_owned()),
            client_url: places.etcd.clone(),
            socket: state_dir.join("etcd.sock"),
            state_dir,
            incremental: true,
            seal: agent::driver::seal::Seal::default(),
            hold: None,
        };
        let performer = Performer::new(ports, site, uid, Slot(0));
        Ok(Self { performer, etcd, store, uid: uid.to_owned(), dir })
    }

    /// A save for the clock's sake: whole, or the next of a chain.
    pub(super) async fn save(&self, chain: Option<&str>) -> Fallible<Saved> {
        let save = Save { chain: chain.map(ToOwned::to_owned), ..Save::whole(Reason::Timer, INC) };
        let effect = Effect::Save(Box::new(save));
        self.etcd.proving();
        let began = Instant::now();
        let outcome = self.performer.perform(&effect).await;
        let took = began.elapsed();
        let Outcome::Saved(manifest) = outcome else { return Err(unlike(&effect, &outcome)) };
        Ok(Saved { manifest, took, proving: self.etcd.proving() })
    }

    /// The newest snapshot.
    pub(super) async fn newest(&self) -> Fallible<Manifest> {
        let effect = Effect::ReadCatalogue { inc: INC, pointers: Vec::new() };
        let outcome = self.performer.perform(&effect).await;
        let Outcome::Catalogue(manifests) = outcome else { return Err(unlike(&effect, &outcome)) };
        manifests.into_iter().next().ok_or_else(|| "there is no snapshot".into())
    }

    /// From the store to a restored data dir; how long it took.
    pub(super) async fn restore(&self, manifest: &Manifest) -> Fallible<Duration> {
        let plan = plan(&self.uid, manifest);
        let digest = Digest::of(b"the plan");
        let effect = Effect::Restore(Box::new(plan), digest);
        let began = Instant::now();
        let outcome = self.performer.perform(&effect).await;
        let took = began.elapsed();
        let restored = self.dir.path().join("data/.requorum/new").join(digest.short());
        if outcome != Outcome::Ok || !Path::new(&restored.join("member/snap/db")).is_file() {
            return Err(unlike(&effect, &outcome));
        }
        Ok(took)
    }

    /// Bytes of all that this cluster has in the bucket.
    pub(super) async fn stored(&self) -> Fallible<u64> {
        let stored = self.store.list_stored(&self.folder()).await?;
        Ok(stored.iter().map(|object| object.size).sum())
    }

    /// Removes all that this cluster has in the bucket: the disk has not room for every round's.
    pub(super) async fn clear(&self) -> Fallible<()> {
        for key in self.store.list(&self.folder()).await? {
            self.store.delete(&key).await?;
        }
        Ok(())
    }

    fn folder(&self) -> String {
        Keys::new(FOLDER, &self.uid).under("")
    }
}

fn unlike(effect: &Effect, outcome: &Outcome) -> Box<dyn std::error::Error + Send + Sync> {
    format!("{}: {outcome:?}", effect.name()).into()
}

fn plan(uid: &str, manifest: &Manifest) -> Plan {
    let pin = Pin { key: manifest.data.clone(), sha256: manifest.sha256 };
    let (name, peer_url) = SEAT;
    let seat = Seat {
        slot: Slot(0),
        name: name.to_owned(),
        peer_url: peer_url.to_owned(),
        client_url: "http://127.0.0.1:2".to_owned(),
    };
    Plan {
        uid: uid.to_owned(),
        inc: INC + 1,
        attempt: 1,
        epoch: 1,
        token: "bench-2".to_owned(),
        seats: vec![seat],
        source: Source {
            object: Some(pin),
            revision: manifest.revision,
            bump: BUMP,
            live_keys: manifest.live_keys,
            size: manifest.size,
        },
        fallbacks: Vec::new(),
        loss: 0,
        because: "a measurement".to_owned(),
    }
}
