//! **host** — one machine as an agent finds it: its clock, disk and snapshot files, and the agent
//! itself, started anew with each life of the simulated host.
//!
//! What the real disk writes in two steps is written in two steps here, with a pause in between: who
//! dies there has kept half a promise, or swapped half a member.

use super::{
    BUCKET, PREFIX, TABLE, database,
    etcd::Store,
    files::{InMemory, InStep},
    wire,
    world::Shared,
};
use agent::{
    adapters::{aws, dynamodb::DynamoTable, s3::S3Store},
    driver::{Ports, Site, run::Agent},
    ports::{
        clock::Clock,
        machine::{Machine, MachineError},
        pieces::Pieces,
        snapshots::{Expected, Inspected, Proven, Rehearsed, SnapshotError, Snapshots, Verdict},
    },
};
use async_trait::async_trait;
use protocol::{
    cluster::{Digest, Instance, Nonce, Seat, Slot},
    coordinator::{Mode, Policy, Threshold},
    limits::Timers,
    observation::{Belongs, Data, Identity, InAttempt, LogState, LogSummary, Memory, Ran},
    plan::Plan,
    time::Moment,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// What stands behind the ports of the agent on machine `at`, the stores excepted.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) shared: Shared,
    pub(crate) at: usize,
    pub(crate) name: String,
    pub(crate) scratch: PathBuf,
    pub(crate) min_members: Option<usize>,
    pub(crate) timers: Timers,
}

/// Simulated time passes.
pub(crate) async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// The seats of machines called so.
pub(crate) fn seats(names: &[&str]) -> Vec<Seat> {
    let seat = |(slot, name): (usize, &&str)| Seat {
        slot: Slot(u8::try_from(slot).expect("at most nine seats")),
        name: (*name).to_owned(),
        peer_url: format!("http://{name}:2380"),
        client_url: format!("http://{name}:2379"),
    };
    names.iter().enumerate().map(seat).collect()
}

impl Host {
    /// An agent's life: the real driver with the real adapters, until the host ends.
    pub(crate) async fn live(self, seats: Vec<Seat>) -> turmoil::Result {
        let (transport, connections) = wire::transport(&self.shared, self.at);
        let settings = aws::Settings {
            region: Some("eu-central-1".to_owned()),
            s3_endpoint: Some("http://s3".to_owned()),
            dynamodb_endpoint: Some("http://table".to_owned()),
            credentials: Some(("drill".to_owned(), "drill-secret".to_owned())),
            transport: Some(transport),
            ..aws::Settings::default()
        };
        let clients = aws::clients(&settings).await?;
        let (life, instance) = {
            let mut world = self.shared.lock();
            world.starts += 1;
            world.say(&self.name, "agent starts");
            (world.starts, world.machines[self.at].instance.clone())
        };
        let host = Arc::new(self.clone());
        let ports = Ports {
            clock: host.clone(),
            store: Arc::new(InStep {
                store: S3Store::new(clients.s3, BUCKET),
                shared: self.shared.clone(),
                at: self.at,
            }),
            registry: Arc::new(DynamoTable::new(clients.dynamodb, TABLE)),
            etcd: host.clone(),
            service: host.clone(),
            machine: host.clone(),
            snapshots: host,
        };
        self.shared.lock().ports = Some(ports.clone());
        let identity = Identity {
            instance: instance.clone(),
            nonce: Nonce(format!("{}-{life}", self.name)),
            name: self.name.clone(),
        };
        let agent = Agent::new(self.policy(seats), identity, ports, self.site(instance));
        let (_ask, asked) = mpsc::channel(1);
        let (_stop, stopped) = oneshot::channel();
        tokio::select! {
            biased;
            () = agent.run(asked, stopped) => Ok(()),
            () = connections => Ok(()),
        }
    }

    fn site(&self, instance: Instance) -> Site {
        Site {
            name: self.name.clone(),
            instance,
            client_url: format!("http://{}:2379", self.name),
            ..site(&self.scratch)
        }
    }

    fn policy(&self, seats: Vec<Seat>) -> Policy {
        Policy {
            timers: self.timers,
            mode: Mode::Automatic,
            threshold: Threshold::Quorum,
            min_members: self.min_members,
            max_loss: None,
            exports: true,
            seats,
            bootstrap: true,
            proven: true,
        }
    }

    /// Milliseconds since the simulation began.
    pub(crate) fn millis(&self) -> u128 {
        turmoil::sim_elapsed().unwrap_or_default().as_millis()
    }

    /// A snapshot of this machine's member, and its revision.
    pub(crate) fn take_snapshot(&self) -> Result<(InMemory, u64), String> {
        let mut world = self.shared.lock();
        let member = world.machines[self.at].volume.member.as_ref();
        let member = member.ok_or("there is no member to take a snapshot of")?;
        let (revision, keys) = (member.revision(), member.keys());
        let file = database::file_of(member, world.layout(self.at));
        world.shelf.took(&file, revision, keys);
        Ok((InMemory::new(file), revision))
    }

    /// Waits, changes the machine, waits.
    async fn change(&self, what: &str, change: impl FnOnce(&mut super::machine::Machine)) {
        pause(15).await;
        {
            let mut world = self.shared.lock();
            world.say(&self.name, what);
            change(&mut world.machines[self.at]);
            world.changed();
        }
        pause(15).await;
    }
}

/// Where agents live, and whoever looks at the bucket from outside.
pub(crate) fn site(scratch: &Path) -> Site {
    Site {
        prefix: PREFIX.to_owned(),
        name: String::new(),
        instance: Instance(String::new()),
        client_url: String::new(),
        socket: scratch.join("etcd.sock"),
        state_dir: scratch.to_owned(),
        incremental: true,
        seal: agent::driver::seal::Seal::default(),
        hold: None,
    }
}

/// A snapshot file: its revision and its keys.
fn read_snapshot(file: &Path) -> Result<(u64, Vec<u64>), SnapshotError> {
    let bytes = std::fs::read(file).map_err(|error| SnapshotError::Failed(error.to_string()))?;
    database::read(&bytes).ok_or_else(|| SnapshotError::Bad("this is no snapshot".to_owned()))
}

impl Clock for Host {
    /// No two machines' clocks agree.
    fn now(&self) -> Moment {
        let millis = u64::try_from(self.millis()).unwrap_or(u64::MAX);
        Moment(millis + 1_000_000 * (self.at as u64 + 1))
    }

    fn unix(&self) -> u64 {
        1_790_000_000 + u64::try_from(self.millis() / 1000).unwrap_or(0)
    }
}

#[async_trait]
impl Machine for Host {
    async fn data(&self) -> Data {
        pause(5).await;
        let world = self.shared.lock();
        let mut data = (*world.machines[self.at].look(None).data).clone();
        data.swap = world.half_swapped.get(&self.at).cloned();
        data.belongs = data.belongs.filter(|_| data.log != LogState::Missing);
        data
    }

    async fn memory(&self) -> Result<Memory, MachineError> {
        Ok(self.shared.lock().machines[self.at].memory())
    }

    async fn mark(&self, marker: InAttempt) -> Result<(), MachineError> {
        self.shared.lock().watch_mark(self.at);
        self.change(&format!("marks {marker:?}: root"), |machine| {
            machine.root.marker = machine.root.marker.max(Some(marker));
        })
        .await;
        self.change(&format!("marks {marker:?}: volume"), |machine| {
            machine.volume.marker = machine.volume.marker.max(Some(marker));
        })
        .await;
        Ok(())
    }

    async fn unmark(&self, marker: InAttempt) -> Result<(), MachineError> {
        self.shared.lock().watch_unmark(self.at, marker);
        self.change(&format!("unmarks {marker:?}: root"), |machine| {
            machine.root.marker = machine.root.marker.filter(|kept| *kept != marker);
        })
        .await;
        self.change(&format!("unmarks {marker:?}: volume"), |machine| {
            machine.volume.marker = machine.volume.marker.filter(|kept| *kept != marker);
        })
        .await;
        Ok(())
    }

    async fn retire(&self, inc: u64) -> Result<(), MachineError> {
        self.change(&format!("retires inc {inc}"), |machine| {
            machine.root.retired = machine.root.retired.max(inc);
        })
        .await;
        Ok(())
    }

    async fn remember_opened(&self, inc: u64) -> Result<(), MachineError> {
        self.change(&format!("remembers that inc {inc} is open"), |machine| {
            machine.root.opened = machine.root.opened.max(inc);
        })
        .await;
        Ok(())
    }

    async fn remember_seat(&self, uid: &str, slot: Slot) -> Result<(), MachineError> {
        self.change(&format!("remembers its seat {slot}"), |machine| {
            machine.root.uid = Some(uid.to_owned());
            machine.root.slot = Some(slot);
        })
        .await;
        Ok(())
    }

    async fn remember_ran(&self, ran: &Ran) -> Result<(), MachineError> {
        self.change(&format!("notes that its data is of inc {}", ran.inc), |machine| {
            let plan = Some(ran.plan.clone()).filter(|plan| !plan.is_empty());
            machine.volume.belongs = Some(Belongs { inc: ran.inc, plan });
        })
        .await;
        self.change(&format!("remembers that it runs inc {}", ran.inc), |machine| {
            machine.root.ran = Some(ran.clone());
        })
        .await;
        Ok(())
    }

    async fn swap(&self, plan: Digest, new_inc: u64, old_inc: u64) -> Result<(), MachineError> {
        let plan = plan.short();
        {
            let mut world = self.shared.lock();
            let machine = &world.machines[self.at];
            if machine.etcd.is_some() || !machine.volume.restored.contains_key(&plan) {
                return Err(MachineError::Failed("there is nothing to swap in".to_owned()));
            }
            world.half_swapped.insert(self.at, plan.clone());
        }
        self.change(&format!("swaps inc {old_inc} out"), |machine| {
            let volume = &mut machine.volume;
            volume.aside.extend(volume.member.take().map(|old| (old_inc, old)));
        })
        .await;
        self.change(&format!("swaps inc {new_inc} in"), |machine| {
            machine.volume.member = machine.volume.restored.remove(&plan);
            machine.volume.belongs = Some(Belongs { inc: new_inc, plan: Some(plan) });
        })
        .await;
        self.shared.lock().half_swapped.remove(&self.at);
        Ok(())
    }

    async fn move_aside(&self, inc: u64) -> Result<(), MachineError> {
        self.change(&format!("moves inc {inc} aside"), |machine| {
            machine.volume.aside.extend(machine.volume.member.take().map(|old| (inc, old)));
        })
        .await;
        Ok(())
    }

    async fn read_log(&self) -> Result<LogSummary, MachineError> {
        pause(20).await;
        let world = self.shared.lock();
        let member = world.machines[self.at].volume.member.as_ref();
        member.map(Store::summary).ok_or_else(|| MachineError::Failed("there is no log".to_owned()))
    }
}

#[async_trait]
impl Snapshots for Host {
    fn room(&self) -> Option<u64> {
        None
    }

    async fn tools(&self) -> Result<(), SnapshotError> {
        Ok(())
    }

    async fn inspect(&self, file: &Path) -> Result<Inspected, SnapshotError> {
        pause(20).await;
        let (revision, keys) = read_snapshot(file)?;
        Ok(Inspected { revision, total_keys: keys.len() as u64, trailer_matches: true })
    }

    async fn restore(
        &self,
        file: &Proven,
        _: &str,
        plan: &Plan,
        digest: Digest,
    ) -> Result<(), SnapshotError> {
        let (_, keys) = read_snapshot(file.path())?;
        self.change(&format!("restores inc {}", plan.inc), |machine| {
            let initial = plan.initial_cluster();
            let mut store = Store::founded(&machine.peer_url, &initial, &plan.token);
            store.base = keys;
            store.base_revision = plan.agreed_revision();
            machine.volume.restored.insert(digest.short(), store);
        })
        .await;
        Ok(())
    }

    async fn salvage(&self, file: &Path) -> Result<(), SnapshotError> {
        pause(150).await;
        let (taken, _) = self.take_snapshot().map_err(SnapshotError::Failed)?;
        taken.write(file).map_err(SnapshotError::Failed)?;
        pause(150).await;
        Ok(())
    }

    async fn rehearse(&self, file: &Path, expected: &Expected) -> Result<Rehearsed, SnapshotError> {
        pause(150).await;
        let (revision, keys) = read_snapshot(file)?;
        let differs = |what: &str| SnapshotError::Bad(format!("the {what} differs"));
        if revision != expected.revision {
            return Err(differs("revision"));
        }
        let live_keys = match expected.live_keys {
            Some(recorded) if recorded != keys.len() as u64 => {
                return Err(differs("count of live keys"));
            }
            Some(_) => Verdict::Same,
            None => Verdict::Unknown("no count of live keys was recorded".to_owned()),
        };
        let hash_kv = Verdict::Unknown("a simulated file has no HashKV".to_owned());
        Ok(Rehearsed { hash_kv, live_keys })
    }

    async fn pieces(&self, file: &Path) -> Result<Box<dyn Pieces>, SnapshotError> {
        let bytes = std::fs::read(file).map_err(|e| SnapshotError::Failed(e.to_string()))?;
        Ok(Box::new(InMemory::new(bytes)))
    }

    fn scratch(&self) -> PathBuf {
        self.scratch.clone()
    }

    async fn clear_scratch(&self) -> Result<(), SnapshotError> {
        Ok(())
    }
}
