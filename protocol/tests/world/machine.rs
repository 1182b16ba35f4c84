//! **machine** — one machine: root disk, data volume, the etcd process on it. What survives what is
//! the point: a wiped volume keeps the root disk's promises, a lost root disk keeps the volume's.

use super::etcd::{Peer, Running, Store};
use protocol::{
    cluster::{Instance, MemberId},
    effect::Start,
    observation::{Answer, Belongs, Data, InAttempt, LogState, Look, Memory, Process},
};
use std::collections::BTreeMap;

/// A data volume's content.
#[derive(Clone, Debug, Default)]
pub(crate) struct Volume {
    /// etcd ends right after its start with this member, and with every copy of it.
    pub(crate) spoiled: bool,
    pub(crate) member: Option<Store>,
    pub(crate) belongs: Option<Belongs>,
    pub(crate) restored: BTreeMap<String, Store>,
    pub(crate) marker: Option<InAttempt>,
    pub(crate) aside: Vec<(u64, Store)>,
}

/// The etcd process.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) quarantined: bool,
    pub(crate) leader: Option<MemberId>,
}

/// One machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) instance: Instance,
    /// What its agent takes for its instance, where that is another machine's.
    pub(crate) mistaken_for: Option<Instance>,
    pub(crate) peer_url: String,
    pub(crate) root: Memory,
    pub(crate) volume: Volume,
    /// The data volume while it is not mounted; `volume` is what lies beneath its mount point then.
    pub(crate) away: Option<Volume>,
    pub(crate) etcd: Option<Service>,
    /// etcd's program ends as soon as it is started.
    pub(crate) broken: bool,
    /// Its snapshots reach the bucket never.
    pub(crate) mute: bool,
    /// Its etcd does not let the agent ask.
    pub(crate) locked: bool,
    /// An operator stopped its etcd and has not started it since.
    pub(crate) kept_down: bool,
}

impl Machine {
    pub(crate) fn new(name: &str, instance: &str) -> Self {
        Self {
            name: name.to_owned(),
            instance: Instance(instance.to_owned()),
            mistaken_for: None,
            peer_url: format!("http://{name}:2380"),
            root: Memory::default(),
            volume: Volume::default(),
            away: None,
            etcd: None,
            broken: false,
            mute: false,
            locked: false,
            kept_down: false,
        }
    }

    pub(crate) fn fs(&self) -> String {
        let disk = if self.away.is_some() { "root" } else { "fs" };
        format!("{disk}-{}", self.instance.0)
    }

    /// The data volume is lost sight of, or mounted again over what lies beneath.
    pub(crate) fn mount(&mut self, mounted: bool) {
        self.etcd = None;
        match self.away.take() {
            Some(volume) if mounted => self.volume = volume,
            None if !mounted => self.away = Some(std::mem::take(&mut self.volume)),
            same => self.away = same,
        }
    }

    pub(crate) fn memory(&self) -> Memory {
        Memory { marker: self.root.marker.max(self.volume.marker), ..self.root.clone() }
    }

    pub(crate) fn look(&self, check_at: Option<u64>) -> Look {
        let log = match &self.volume.member {
            Some(store) => LogState::Present { cluster_id: store.cluster, member_id: store.id },
            None => LogState::Missing,
        };
        let (process, etcd) = match (&self.etcd, &self.volume.member) {
            (Some(etcd), Some(_)) if self.locked => (
                Process::Running { quarantined: etcd.quarantined },
                Answer::Refused {
                    why: "it asks for a user".to_owned(),
                    quorum: Some(etcd.leader.is_some()),
                },
            ),
            (Some(etcd), Some(store)) => (
                Process::Running { quarantined: etcd.quarantined },
                super::etcd::answer(store, etcd.leader, check_at),
            ),
            (Some(_), None) => unreachable!("a wiped member's process is ended with it"),
            (None, _) if self.kept_down => (Process::StoppedByOperator, Answer::Silent),
            (None, _) => (Process::Stopped, Answer::Silent),
        };
        let data = Data {
            fs: Some(self.fs()),
            writable: true,
            log,
            swap: None,
            restored: self.volume.restored.keys().cloned().collect(),
            belongs: self.volume.belongs.clone(),
        };
        Look { process, etcd, data: data.into(), memory: self.memory().into() }
    }

    pub(crate) fn running(&mut self) -> Option<Running<'_>> {
        let (etcd, store) = (self.etcd.as_mut()?, self.volume.member.as_mut()?);
        Some(Running { store, leader: &mut etcd.leader })
    }

    /// Starts etcd; `listed` is the running cluster's member list, for one that joins it.
    pub(crate) fn start(&mut self, start: &Start, listed: Option<(Store, Vec<Peer>)>) {
        let ran = self.root.ran.clone().expect("`ran` is on the root disk before the first start");
        if let Some(marker) = self.memory().marker {
            assert!(ran.inc > marker.inc, "{} starts what it promised not to run", self.name);
        }
        assert!(self.etcd.is_none(), "{} is started twice", self.name);
        if self.volume.member.is_none() {
            let join = start.join.as_ref().expect("etcd would found a cluster of its own");
            let store = if join.existing {
                let (store, peers) = listed.expect("there is a cluster to join");
                let me = peers.iter().find(|peer| peer.peer_url == self.peer_url);
                let id = me.expect("the cluster lists this member").id;
                Store { id, log: Vec::new(), ..store }
            } else {
                Store::founded(&self.peer_url, &join.initial_cluster, &join.token)
            };
            assert_eq!(store.id, ran.member_id, "`ran` names the member that starts");
            self.volume.member = Some(store);
        }
        self.kept_down = false;
        self.etcd = Some(Service { quarantined: start.quarantined, leader: None });
    }
}
