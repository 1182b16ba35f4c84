//! **perform** — does what an agent asked for, on its machine, its etcd, the table or the bucket.

use super::{
    World, etcd,
    etcd::{Entry, Peer},
    machine::Machine,
};
use protocol::{
    cluster::{Digest, MemberId, member_id},
    effect::{Effect, Listed, Start},
    event::{Failure, FailureKind, Outcome},
    manifest::{Doubt, Manifest, Reason},
    observation::Belongs,
    plan::Plan,
    registry::{Change, RecordChange, Records, Source},
};

fn unavailable(text: &str) -> Outcome {
    Outcome::Failed(Failure { kind: FailureKind::Unavailable, text: text.to_owned() })
}

fn bad(text: &str) -> Outcome {
    Outcome::Failed(Failure { kind: FailureKind::Bad, text: text.to_owned() })
}

impl World {
    pub(super) fn perform(&mut self, agent: usize, effect: Effect, why: &str) -> Outcome {
        let cut = self.agents[agent].cut;
        if (cut || self.table_cut) && matches!(effect, Effect::ReadRegistry | Effect::Write(_)) {
            return unavailable("the table does not answer");
        }
        if (cut || self.s3_cut) && is_of_bucket(&effect) {
            return unavailable("the bucket does not answer");
        }
        let uid = self.agents[agent].core.uid().unwrap_or_default().to_owned();
        let machine = self.agents[agent].machine;
        self.narrate(agent, &effect, why);
        match effect {
            Effect::Discover => Outcome::Discovered(self.store.uid()),
            Effect::ReadRegistry => Outcome::Records(self.store.records(&uid).into()),
            Effect::Write(change) => self.write(agent, &uid, &change, why),
            Effect::Found(founding) => Outcome::Founded { uid: self.store.found(&founding) },
            Effect::Exchange(vote) => {
                let seats = self.policy.seats.len() as u8;
                Outcome::Votes(self.store.exchange(&uid, vote.as_ref(), seats))
            }
            Effect::Look { check_at } => Outcome::Looked(self.machines[machine].look(check_at)),
            Effect::Stop
            | Effect::Mark(_)
            | Effect::Unmark(_)
            | Effect::Retire(_)
            | Effect::RememberOpened(_)
            | Effect::RememberSeat(..)
            | Effect::RememberRan(_)
            | Effect::MoveAside { .. }
            | Effect::Swap { .. } => {
                change_machine(&mut self.machines[machine], effect);
                Outcome::Ok
            }
            Effect::Start(start) => self.start_etcd(agent, &start),
            Effect::ReadLog => {
                let member = self.machines[machine].volume.member.as_ref();
                Outcome::Log(member.expect("the core saw a log").summary())
            }
            Effect::FetchPlan(pin) => match self.store.plan(&uid, &pin) {
                Some(plan) => Outcome::Plan(plan),
                None => bad("the pinned plan is not in the bucket"),
            },
            Effect::PutPlan(plan) => Outcome::PlanWritten(self.store.put_plan(&plan)),
            Effect::Restore(plan, digest) => self.restore(machine, &plan, digest),
            Effect::Save(save) => {
                let differs = self.differs.contains(&machine) && !save.peers.is_empty();
                let doubt = differs.then_some(Doubt::Differs);
                self.save(machine, &uid, (save.reason, save.inc), doubt)
            }
            Effect::SalvageCopy { .. }
                if self.logs_refused || self.machines[machine].volume.spoiled =>
            {
                bad("etcd refuses a copy of this member")
            }
            Effect::SalvageCopy { inc } => self.save(machine, &uid, (Reason::Salvage, inc), None),
            Effect::ReadCatalogue { inc, .. } => {
                Outcome::Catalogue(self.store.manifests(&uid, inc))
            }
            Effect::Prove => Outcome::Ok,
            Effect::Verify(source) => self.verify(&source),
            Effect::ListMembers
            | Effect::RemoveMember(_)
            | Effect::AddLearner { .. }
            | Effect::Promote(_)
            | Effect::DisarmNoSpace => self.ask_etcd(machine, effect),
        }
    }

    fn write(&mut self, agent: usize, uid: &str, change: &Change, why: &str) -> Outcome {
        let uid = match &*change.record {
            RecordChange::Ctrl { before: None, after } => after.uid.clone(),
            RecordChange::Ctrl { .. } | RecordChange::Slot { .. } | RecordChange::Save { .. } => {
                uid.to_owned()
            }
        };
        let before = self.store.records(&uid);
        let written = self.store.write(&uid, change);
        self.wrote(agent, change, written, &before, why);
        Outcome::Written(written)
    }

    fn start_etcd(&mut self, agent: usize, start: &Start) -> Outcome {
        self.check_start(agent);
        let machine = self.agents[agent].machine;
        let held = self.machines[machine].volume.member.as_ref();
        if held.is_some_and(|held| !start.member.is(held.cluster, held.id)) {
            return unavailable("the data dir holds another member");
        }
        if self.machines[machine].broken {
            return unavailable("etcd ends at once");
        }
        if self.machines[machine].volume.spoiled {
            return Outcome::Ok; // it was started, and has ended again
        }
        let url = self.machines[machine].peer_url.clone();
        let listed = self.machines.iter().find_map(|other| {
            let store = other.volume.member.as_ref()?;
            let led = other.etcd.as_ref()?.leader.is_some();
            let lists = store.peers().iter().any(|peer| peer.peer_url == url);
            (led && lists).then(|| (store.clone(), store.peers()))
        });
        let joins = start.join.as_ref().is_some_and(|join| join.existing);
        if joins && listed.is_none() && self.machines[machine].volume.member.is_none() {
            return unavailable("no member of the cluster answers the one that joins");
        }
        self.machines[machine].start(start, listed);
        Outcome::Ok
    }

    fn restore(&mut self, machine: usize, plan: &Plan, digest: Digest) -> Outcome {
        let object = plan.source.object.as_ref().expect("only a snapshot is restored");
        let Some(keys) = self.store.contents.get(&format!("{}", object.sha256)).cloned() else {
            return bad("the snapshot is damaged");
        };
        let here = &mut self.machines[machine];
        let mut store = etcd::Store::founded(&here.peer_url, &plan.initial_cluster(), &plan.token);
        assert_eq!(store.cluster, plan.cluster_id(), "etcd derives the id that the plan says");
        store.base = keys;
        store.base_revision = plan.agreed_revision();
        here.volume.restored.insert(digest.short(), store);
        Outcome::Ok
    }

    fn verify(&self, source: &Source) -> Outcome {
        let object = source.object.as_ref().expect("only a snapshot is verified");
        if self.store.contents.contains_key(&format!("{}", object.sha256)) {
            Outcome::Ok
        } else {
            bad("the snapshot is damaged")
        }
    }

    fn save(
        &mut self,
        machine: usize,
        uid: &str,
        (reason, inc): (Reason, u64),
        doubt: Option<Doubt>,
    ) -> Outcome {
        let here = &self.machines[machine];
        if here.mute {
            return unavailable("the bucket takes no snapshot from here");
        }
        let runs = here.etcd.is_some();
        let Some(store) = here.volume.member.as_ref().filter(|_| runs || reason == Reason::Salvage)
        else {
            return unavailable("etcd does not answer");
        };
        let keys = store.keys();
        let content = format!("{:?}/{}/{keys:?}", store.cluster, store.revision());
        let seat = self.policy.seats.iter().find(|seat| seat.name == here.name);
        let manifest = Manifest {
            uid: uid.to_owned(),
            inc,
            data: format!("inc/{inc}/data/{}.db", self.now),
            sha256: Digest::of(content.as_bytes()),
            size: content.len() as u64,
            revision: store.revision(),
            live_keys: Some(keys.len() as u64),
            check: None,
            applied: store.applied(),
            term: store.term,
            cluster_id: store.cluster,
            taken_by: seat.expect("each machine has a seat").slot,
            etcd_version: "3.5.30".to_owned(),
            reason,
            needs: Vec::new(),
            compact: None,
            doubt: doubt.or_else(|| self.doubtful.then_some(Doubt::Shrunk)),
            taken: None,
        };
        self.store.put_snapshot(&manifest, keys);
        Outcome::Saved(manifest)
    }

    fn ask_etcd(&mut self, machine: usize, effect: Effect) -> Outcome {
        let here = &self.machines[machine];
        let led = here.etcd.as_ref().is_some_and(|etcd| etcd.leader.is_some());
        let Some(store) = here.volume.member.as_ref().filter(|_| led) else {
            return unavailable("etcd has no leader");
        };
        let (cluster, mut peers) = (store.cluster, store.peers());
        match effect {
            Effect::ListMembers => return Outcome::Members(peers.iter().map(listed).collect()),
            Effect::RemoveMember(id) => peers.retain(|peer| peer.id != id),
            Effect::AddLearner { peer_url } => {
                if let Some(peer) = peers.iter().find(|peer| peer.peer_url == peer_url) {
                    return Outcome::LearnerAdded(peer.id);
                }
                let id = member_id(&peer_url, &format!("{}", self.now));
                peers.push(Peer { id, peer_url, learner: true, started: false });
                self.propose(cluster, peers);
                return Outcome::LearnerAdded(id);
            }
            Effect::Promote(id) => match self.in_sync(id) {
                true => {
                    peers.iter_mut().filter(|peer| peer.id == id).for_each(|p| p.learner = false)
                }
                false => return unavailable("the learner is not in sync"),
            },
            other => assert_eq!(other, Effect::DisarmNoSpace, "the rest are no questions to etcd"),
        }
        self.propose(cluster, peers);
        Outcome::Ok
    }

    pub(super) fn propose(&mut self, cluster: protocol::cluster::ClusterId, mut peers: Vec<Peer>) {
        peers.sort();
        let mut running: Vec<_> = self.machines.iter_mut().filter_map(Machine::running).collect();
        assert!(etcd::propose(cluster, &Entry::Members(peers), &mut running), "it has a leader");
    }

    fn in_sync(&self, id: MemberId) -> bool {
        self.machines.iter().any(|machine| {
            let runs = machine.etcd.as_ref().is_some_and(|etcd| etcd.leader.is_some());
            runs && machine.volume.member.as_ref().is_some_and(|store| store.id == id)
        })
    }

    /// The records of the cluster that `cluster.json` names.
    pub(super) fn records(&self) -> Records {
        self.store.records(&self.store.uid().unwrap_or_default())
    }
}

fn listed(peer: &Peer) -> Listed {
    let Peer { id, peer_url, learner, started } = peer.clone();
    Listed { id, peer_url, learner, started }
}

const fn is_of_bucket(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Prove
            | Effect::Discover
            | Effect::Found(_)
            | Effect::Exchange(_)
            | Effect::FetchPlan(_)
            | Effect::PutPlan(_)
            | Effect::Restore(..)
            | Effect::Save(_)
            | Effect::SalvageCopy { .. }
            | Effect::ReadCatalogue { .. }
            | Effect::Verify(_)
    )
}

fn change_machine(machine: &mut Machine, effect: Effect) {
    let Machine { root, volume, etcd, .. } = machine;
    match effect {
        Effect::Stop => *etcd = None,
        Effect::Mark(marker) => {
            root.marker = root.marker.max(Some(marker));
            volume.marker = volume.marker.max(Some(marker));
        }
        Effect::Unmark(marker) => {
            root.marker = root.marker.filter(|kept| *kept != marker);
            volume.marker = volume.marker.filter(|kept| *kept != marker);
        }
        Effect::Retire(inc) => root.retired = root.retired.max(inc),
        Effect::RememberOpened(inc) => root.opened = root.opened.max(inc),
        Effect::RememberSeat(uid, slot) => {
            root.uid = Some(uid);
            root.slot = Some(slot);
        }
        Effect::RememberRan(ran) => {
            let plan = Some(ran.plan.clone()).filter(|plan| !plan.is_empty());
            volume.belongs = Some(Belongs { inc: ran.inc, plan });
            root.ran = Some(ran);
        }
        Effect::MoveAside { inc } => {
            volume.spoiled = false;
            volume.aside.extend(volume.member.take().map(|old| (inc, old)));
        }
        Effect::Swap { plan, digest, old_inc } => {
            assert!(etcd.is_none(), "nothing is swapped under a running etcd");
            let new = volume.restored.remove(&digest.short()).expect("restored before the swap");
            volume.spoiled = false;
            volume.aside.extend(volume.member.replace(new).map(|old| (old_inc, old)));
            volume.belongs = Some(Belongs { inc: plan.inc, plan: Some(digest.short()) });
        }
        other => unreachable!("{other:?} does not change a machine"),
    }
}
