//! **etcd_ports** — the ports to etcd and to its process, on the [world](super::world)'s machines.
//!
//! Every call takes simulated time and has its effect in the middle of it, so that an agent that
//! dies within one has done it, or has not, and never hears of it.

use super::{
    etcd::{Entry, Peer, Store},
    host::{Host, pause},
};
use agent::ports::{
    etcd::{Door, Etcd, EtcdError, Snapshot, Streamed},
    service::{Service, ServiceError},
};
use async_trait::async_trait;
use protocol::{
    cluster::MemberId,
    effect::{Listed, Start},
    observation::{Answer, Check, Process},
};

/// How long before it is stopped an agent must have seen a quorum to have had time to say no.
const TIME_TO_THINK: u128 = 100;

fn silent() -> EtcdError {
    EtcdError("etcd does not answer".to_owned())
}

impl Host {
    /// What etcd answers at `door`; a quarantined one only at its socket.
    fn answer(&self, door: &Door, check_at: Option<u64>) -> Answer {
        let world = self.shared.lock();
        let machine = &world.machines[self.at];
        let quarantined = machine.etcd.as_ref().map(|etcd| etcd.quarantined);
        let leads_there = match door {
            Door::Socket(_) => quarantined == Some(true),
            Door::Client(_) => quarantined == Some(false),
        };
        if leads_there { machine.look(check_at).etcd } else { Answer::Silent }
    }

    fn check_at(&self, door: &Door, revision: u64) -> Result<Check, EtcdError> {
        match self.answer(door, Some(revision)) {
            Answer::Status(status) => status.check.ok_or_else(silent),
            Answer::Refused { .. } | Answer::Silent => Err(silent()),
        }
    }

    /// Changes the member list through this machine's member, which must follow a leader.
    async fn change_peers<T>(
        &self,
        change: impl FnOnce(&mut Vec<Peer>, &mut dyn FnMut(&str) -> MemberId) -> T,
    ) -> Result<T, EtcdError> {
        pause(30).await;
        let changed = {
            let mut world = self.shared.lock();
            let (cluster, mut peers) = world.led(self.at).ok_or_else(silent)?;
            let before = peers.clone();
            let answer = change(&mut peers, &mut |url| world.new_member(url));
            peers.sort();
            if peers != before {
                world.say(&self.name, format!("etcd's members are now {}", peers.len()));
                world.propose(cluster, &Entry::Members(peers));
            }
            answer
        };
        pause(30).await;
        Ok(changed)
    }
}

#[async_trait]
impl Etcd for Host {
    async fn probe(&self, door: &Door) -> Answer {
        pause(5).await;
        let answer = self.answer(door, None);
        pause(5).await;
        let proof = matches!(&answer, Answer::Status(status) if status.linearizable);
        self.shared.lock().watch.proof.insert(self.at, (proof, self.millis()));
        answer
    }

    async fn check(&self, door: &Door, revision: u64) -> Result<Check, EtcdError> {
        pause(40).await;
        self.check_at(door, revision)
    }

    async fn snapshot(&self, door: &Door) -> Result<Box<dyn Snapshot>, EtcdError> {
        pause(100).await;
        let Answer::Status(status) = self.answer(door, None) else { return Err(silent()) };
        let (taken, revision) = self.take_snapshot().map_err(EtcdError)?;
        pause(100).await;
        let streamed = Streamed { revision, applied: status.applied, term: status.term };
        Ok(Box::new(taken.of_etcd(streamed)))
    }

    async fn hash_kv(&self, door: &Door, revision: u64) -> Result<(u64, u64, u32), EtcdError> {
        pause(10).await;
        self.check_at(door, revision).map(|check| (check.revision, 0, check.hash_kv))
    }

    async fn live_keys(&self, door: &Door, revision: u64) -> Result<u64, EtcdError> {
        pause(10).await;
        self.check_at(door, revision).map(|check| check.live_keys)
    }

    async fn members(&self, _: &Door) -> Result<Vec<Listed>, EtcdError> {
        self.change_peers(|peers, _| {
            let listed = |peer: &Peer| {
                let Peer { id, peer_url, learner, started } = peer.clone();
                Listed { id, peer_url, learner, started }
            };
            peers.iter().map(listed).collect()
        })
        .await
    }

    async fn add_learner(&self, _: &Door, peer_url: &str) -> Result<MemberId, EtcdError> {
        self.change_peers(|peers, new_id| {
            if let Some(peer) = peers.iter().find(|peer| peer.peer_url == peer_url) {
                return peer.id;
            }
            let id = new_id(peer_url);
            let peer_url = peer_url.to_owned();
            peers.push(Peer { id, peer_url, learner: true, started: false });
            id
        })
        .await
    }

    async fn promote(&self, _: &Door, id: MemberId) -> Result<(), EtcdError> {
        let in_sync = {
            let world = self.shared.lock();
            let holds = |at: usize| {
                let member = world.machines[at].volume.member.as_ref();
                world.led(at).is_some() && member.is_some_and(|member| member.id == id)
            };
            (0..world.machines.len()).any(holds)
        };
        if !in_sync {
            return Err(EtcdError("the learner is not in sync".to_owned()));
        }
        self.change_peers(|peers, _| {
            peers.iter_mut().filter(|peer| peer.id == id).for_each(|peer| peer.learner = false);
        })
        .await
    }

    async fn remove(&self, _: &Door, id: MemberId) -> Result<(), EtcdError> {
        self.change_peers(|peers, _| peers.retain(|peer| peer.id != id)).await
    }

    async fn disarm_no_space(&self, _: &Door) -> Result<(), EtcdError> {
        self.change_peers(|_, _| ()).await
    }

    async fn compact(&self, _: &Door, _: u64) -> Result<u64, EtcdError> {
        Err(EtcdError("no agent compacts by itself".to_owned()))
    }

    async fn defragment(&self, _: &Door) -> Result<(), EtcdError> {
        Err(EtcdError("no agent defragments by itself".to_owned()))
    }
}

#[async_trait]
impl Service for Host {
    async fn state(&self) -> Process {
        match &self.shared.lock().machines[self.at].etcd {
            Some(etcd) => Process::Running { quarantined: etcd.quarantined },
            None => Process::Stopped,
        }
    }

    async fn start(&self, start: &Start) -> Result<(), ServiceError> {
        pause(50).await;
        {
            let mut world = self.shared.lock();
            if world.machines[self.at].etcd.is_some() {
                return Err(ServiceError("etcd already runs".to_owned()));
            }
            let listed = self.cluster_to_join(&world.machines);
            let empty = world.machines[self.at].volume.member.is_none();
            if empty && start.join.is_none() {
                return Err(ServiceError("there is no member to start".to_owned()));
            }
            let joins = start.join.as_ref().is_some_and(|join| join.existing);
            if empty && joins && listed.is_none() {
                return Err(ServiceError("no member answers the one that joins".to_owned()));
            }
            let how = if start.quarantined { "starts etcd in quarantine" } else { "starts etcd" };
            world.say(&self.name, how);
            world.watch_start(self.at, start.quarantined);
            world.machines[self.at].start(start, listed);
            world.changed();
        }
        pause(50).await;
        Ok(())
    }

    async fn stop(&self) -> Result<(), ServiceError> {
        pause(20).await;
        {
            let mut world = self.shared.lock();
            let proof = world.watch.proof.get(&self.at).copied();
            let healthy =
                proof.is_some_and(|(proof, at)| proof && at + TIME_TO_THINK < self.millis());
            if world.machines[self.at].etcd.take().is_some() {
                world.watch.stopped_healthy.insert(self.at, healthy);
                world.say(&self.name, "stops etcd");
                world.changed();
            }
        }
        pause(20).await;
        Ok(())
    }
}

impl Host {
    /// A running cluster that lists this machine's member, for one that joins it.
    fn cluster_to_join(&self, machines: &[super::machine::Machine]) -> Option<(Store, Vec<Peer>)> {
        let url = &machines[self.at].peer_url;
        machines.iter().find_map(|other| {
            let store = other.volume.member.as_ref()?;
            other.etcd.as_ref()?.leader?;
            let peers = store.peers();
            peers.iter().any(|peer| peer.peer_url == *url).then(|| (store.clone(), peers))
        })
    }
}
