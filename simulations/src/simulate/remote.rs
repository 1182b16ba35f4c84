//! **remote** — calls to the bucket and to etcd's API, carried out.

use super::{
    Sim,
    answers::{Deferred, bad, unavailable},
};
use crate::world::{
    etcd::{Peer, Store},
    machine::{Role, Service},
    stores::Content,
};
use protocol::{
    cluster::{Digest, MemberId, member_id},
    effect::{Effect, Listed},
    event::{Failure, FailureKind, Outcome},
    manifest::{Doubt, Manifest, Reason},
    plan::Plan,
    registry::Source,
    vote::{Health, Vote},
};
use std::{rc::Rc, sync::Arc};

/// How far behind a stale LIST is, in milliseconds.
const STALE: u64 = 60_000;

impl Sim {
    // ------------------------------------------------------------ the bucket

    pub(super) fn call_bucket(
        &mut self,
        process: u64,
        machine: usize,
        uid: &str,
        effect: Effect,
    ) -> Outcome {
        let outcome = match effect {
            Effect::Discover => Outcome::Discovered(self.bucket.uid().map(ToOwned::to_owned)),
            Effect::Found(founding) => Outcome::Founded { uid: self.bucket.found(&founding) },
            Effect::Exchange(vote) => return self.exchange(process, vote.as_ref()),
            Effect::FetchPlan(pin) => match self.bucket.plan(&pin) {
                Some(plan) => Outcome::Plan(plan.clone()),
                None => bad("the pinned plan is not in the bucket"),
            },
            Effect::PutPlan(plan) => Outcome::PlanWritten(self.bucket.put_plan(&plan)),
            Effect::Restore(plan, digest) => self.restore(machine, &plan, digest),
            Effect::Save(save) => self.save(machine, uid, save.reason, save.inc),
            Effect::SalvageCopy { .. } if self.refuses_copies(machine) => {
                bad("etcd refuses a copy of this member")
            }
            Effect::SalvageCopy { inc } => self.save(machine, uid, Reason::Salvage, inc),
            Effect::ReadCatalogue { inc, pointers } => {
                let stale = self.chance(self.options.rates.stale);
                let seen = if stale { self.now.saturating_sub(STALE) } else { self.now };
                Outcome::Catalogue(self.bucket.manifests(inc, seen, &pointers))
            }
            Effect::Verify(source) => self.verify(&source),
            other => unreachable!("{} is no call to the bucket", other.name()),
        };
        if self.chance(self.options.rates.lost) {
            return unavailable("the bucket's answer was lost");
        }
        outcome
    }

    /// Spoilt data, and data whose own log gives the member no vote: etcd panics on a copy of it.
    fn refuses_copies(&self, machine: usize) -> bool {
        let dir = self.machines[machine].dir();
        dir.spoiled || dir.member.as_ref().is_some_and(|store| !store.is_voter())
    }

    fn exchange(&mut self, process: u64, vote: Option<&Vote>) -> Outcome {
        let Some(index) = self.agent(process) else { return Outcome::Votes(Vec::new()) };
        if let Some(vote) = vote {
            let known = self.agents[index].vote;
            match self.bucket.put_vote(vote, known) {
                None => {
                    // another process wrote it, or an answer was lost: read it and write it again
                    let version = self.bucket.vote_version(vote.slot);
                    self.agents[index].vote = self.bucket.put_vote(vote, version);
                }
                version => self.agents[index].vote = version,
            }
        }
        if self.chance(self.options.rates.lost) {
            self.agents[index].vote = None;
            return unavailable("the bucket's answer was lost");
        }
        let mut votes: Vec<Arc<Vote>> = self.bucket.votes().cloned().collect();
        for vote in &mut votes {
            if self.chance(self.options.rates.forged) {
                self.forge(Arc::make_mut(vote));
            }
        }
        Outcome::Votes(votes)
    }

    /// A vote that nobody cast (protocol.md S21): anything may stand in it but another's seat.
    fn forge(&mut self, vote: &mut Vote) {
        let all = [
            Health::Healthy,
            Health::NoQuorum,
            Health::Stopped,
            Health::StoppedByOperator,
            Health::DataLost,
            Health::NeverRan,
            Health::Unmounted,
            Health::Unknown,
        ];
        vote.health = *self.rng.choice(&all).unwrap_or(&Health::Unknown);
        vote.seq += self.rng.u64(0..3);
        vote.quarantined = self.rng.bool();
        if self.rng.u8(0..4) == 0 {
            vote.revision = self.rng.u64(..) >> self.rng.u32(1..64);
        }
        if self.rng.u8(0..4) == 0 {
            vote.inc = self.rng.u64(0..4);
        }
    }

    fn restore(&mut self, machine: usize, plan: &Plan, digest: Digest) -> Outcome {
        if self.machines[machine].full {
            let text = "the snapshot does not fit".to_owned();
            return Outcome::Failed(Failure { kind: FailureKind::NoSpace, text });
        }
        let Some(object) = &plan.source.object else { return bad("the plan names no snapshot") };
        let Some(content) = self.bucket.sound(&object.sha256) else {
            return bad("the snapshot is damaged");
        };
        let url = &self.machines[machine].peer_url;
        let founded = Store::founded(url, &plan.initial_cluster(), &plan.token);
        let base_revision = plan.agreed_revision();
        let (base, base_sum) = (Rc::clone(&content.keys), content.sum);
        let store = Store { base, base_sum, base_revision, ..founded };
        if store.cluster != plan.cluster_id() {
            self.broke("S10: etcd derives another cluster id than the plan".to_owned());
        }
        self.machines[machine].dir_mut().restored.insert(digest.short(), store);
        Outcome::Ok
    }

    fn verify(&self, source: &Source) -> Outcome {
        let sound = source.object.as_ref().and_then(|object| self.bucket.sound(&object.sha256));
        if sound.is_some() { Outcome::Ok } else { bad("the snapshot is damaged") }
    }

    fn save(&mut self, machine: usize, uid: &str, reason: Reason, inc: u64) -> Outcome {
        let regular = matches!(reason, Reason::Timer | Reason::Hand);
        let doubted = regular && self.chance(self.options.rates.doubted);
        let doubt = doubted.then_some(Doubt::Shrunk);
        if doubted {
            self.ghost.saw("doubtful");
        }
        let here = &self.machines[machine];
        let runs = here.running().is_some();
        let salvage = reason == Reason::Salvage;
        let Some(store) = here.dir().member.as_ref().filter(|_| runs || salvage) else {
            return unavailable("etcd does not answer");
        };
        let (keys, revision, sum) = (store.keys(), store.revision(), store.sum());
        let content =
            format!("{:?}/{revision}/{sum:016x}{}", store.cluster, doubt.map_or("", Doubt::name));
        let sha256 = Digest::of(content.as_bytes());
        let manifest = Manifest {
            uid: uid.to_owned(),
            inc,
            data: format!("inc/{inc}/data/{}.db", sha256.short()),
            sha256,
            size: 8 * keys.len() as u64,
            revision,
            live_keys: Some(keys.len() as u64),
            check: None,
            applied: store.commit as u64,
            term: store.term,
            cluster_id: store.cluster,
            taken_by: self.seat_of(machine),
            etcd_version: "3.5.30".to_owned(),
            reason,
            needs: Vec::new(),
            compact: None,
            doubt,
            taken: None,
        };
        self.saved(&manifest);
        self.bucket.put_snapshot(
            self.now,
            &manifest,
            Content { keys: keys.into(), sum, sound: true },
        );
        Outcome::Saved(manifest)
    }

    // ------------------------------------------------------------ etcd

    pub(super) fn ask_etcd(&mut self, machine: usize, effect: Effect) -> Deferred {
        let leader = self.live_leader(machine).filter(|_| self.is_linearizable(machine));
        let store = leader.and_then(|at| Some((at, self.machines[at].running()?.1)));
        let Some((leader, store)) = store else {
            return Deferred::Ready(unavailable("etcd has no leader"));
        };
        let Some(peers) = store.peers() else {
            return Deferred::Ready(unavailable("etcd has no members"));
        };
        let (cluster, term, mut peers) = (store.cluster, store.term, (**peers).clone());
        let before = peers.clone();
        let then = match &effect {
            Effect::ListMembers => {
                let listed = peers.iter().map(|peer| self.listed(peer)).collect();
                return Deferred::Ready(Outcome::Members(listed));
            }
            Effect::DisarmNoSpace => return Deferred::Ready(Outcome::Ok),
            Effect::RemoveMember(id) => {
                peers.retain(|peer| peer.id != *id);
                Outcome::Ok
            }
            Effect::AddLearner { peer_url } => {
                if let Some(peer) = peers.iter().find(|peer| peer.peer_url == *peer_url) {
                    return Deferred::Ready(Outcome::LearnerAdded(peer.id));
                }
                let id = member_id(peer_url, &format!("{}", self.now));
                peers.push(Peer { id, peer_url: peer_url.clone(), learner: true });
                Outcome::LearnerAdded(id)
            }
            Effect::Promote(id) => {
                if !self.in_sync(leader, *id) {
                    return Deferred::Ready(unavailable("the learner is not in sync"));
                }
                peers.iter_mut().filter(|peer| peer.id == *id).for_each(|p| p.learner = false);
                Outcome::Ok
            }
            other => unreachable!("{} is no question to etcd", other.name()),
        };
        self.check_membership(leader, &before, &peers);
        match self.propose_members(leader, peers) {
            Some(index) => Deferred::Proposed { cluster, index, term, then },
            None => Deferred::Ready(unavailable("a change of members is on its way")),
        }
    }

    fn listed(&self, peer: &Peer) -> Listed {
        let Peer { id, peer_url, learner } = peer.clone();
        Listed { id, peer_url, learner, started: self.ghost.started.contains(&id) }
    }

    fn in_sync(&self, leader: usize, id: MemberId) -> bool {
        let Some((Service { role: Role::Leader(acked), .. }, store)) =
            self.machines[leader].running()
        else {
            return false;
        };
        acked.get(&id).is_some_and(|matched| matched * 10 >= store.log.len() * 9)
    }
}
