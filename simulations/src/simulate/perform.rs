//! **perform** — a call arrives where it is carried out: at the machine, its etcd, the table or the
//! bucket. The stores answer as badly as the options say.

use super::{
    Call, Happening, Sim,
    answers::{Deferred, bad, unavailable},
};
use crate::world::{
    etcd::{Peer, Store},
    machine::{Role, Service},
};
use protocol::{
    cluster::{Digest, MemberId, member_id},
    effect::{Effect, Listed, Start},
    event::{Failure, FailureKind, Outcome},
    manifest::{Manifest, Reason},
    observation::Status,
    plan::Plan,
    registry::{Change, RecordChange, Source, Written},
    vote::{Health, Vote},
};
use std::rc::Rc;

/// How far behind a stale LIST is, in milliseconds.
const STALE: u64 = 60_000;

impl Sim {
    pub(super) fn arrive(&mut self, call: Call) {
        let Call { process, machine, uid, lane, asked, effect } = call;
        if !self.machines[machine].on && self.agent(process).is_none() && !sent_before(&effect) {
            return;
        }
        self.tell_call(machine, &effect);
        let after = self.half_a_call(&effect);
        let came = self.carry_out(process, machine, &uid, effect);
        self.check_cluster();
        self.push(after, Happening::Answer { process, lane, asked, outcome: Box::new(came) });
    }

    /// Whether something that happens so often in a thousand happens now.
    fn chance(&mut self, rate: u64) -> bool {
        !self.calm && rate > 0 && self.rng.u64(0..1000) < rate
    }

    fn table_answers(&mut self, machine: usize) -> bool {
        let cut = self.table_down || self.machines[machine].cut_from_table;
        !cut && !self.chance(self.options.rates.refused)
    }

    fn bucket_answers(&mut self, machine: usize) -> bool {
        let cut = self.bucket_down || self.machines[machine].cut_from_bucket;
        !cut && !self.chance(self.options.rates.refused)
    }

    fn carry_out(&mut self, process: u64, machine: usize, uid: &str, effect: Effect) -> Deferred {
        let of_table = matches!(effect, Effect::ReadRegistry | Effect::Write(_));
        if of_table && !self.table_answers(machine) {
            return Deferred::Ready(unavailable("the table does not answer"));
        }
        if is_of_bucket(&effect) && !self.bucket_answers(machine) {
            return Deferred::Ready(unavailable("the bucket does not answer"));
        }
        let outcome = match effect {
            Effect::Prove => Outcome::Ok,
            Effect::ReadRegistry => {
                let records = self.table.records(uid);
                if self.chance(self.options.rates.torn) {
                    return Deferred::Torn { uid: uid.to_owned(), records };
                }
                Outcome::Records(records)
            }
            Effect::Write(change) => self.call_write(uid, &change),
            Effect::Look { check_at } => Outcome::Looked(self.look(machine, check_at)),
            Effect::Start(start) => self.start_etcd(machine, &start),
            Effect::ReadLog => match &self.machines[machine].dir().member {
                Some(store) => Outcome::Log(store.summary()),
                None => unavailable("the log is gone"),
            },
            effect @ (Effect::Stop
            | Effect::Mark(_)
            | Effect::Unmark(_)
            | Effect::Retire(_)
            | Effect::RememberOpened(_)
            | Effect::RememberSeat(..)
            | Effect::RememberRan(_)
            | Effect::MoveAside { .. }
            | Effect::Swap { .. }) => self.change_machine(machine, &effect),
            effect @ (Effect::ListMembers
            | Effect::RemoveMember(_)
            | Effect::AddLearner { .. }
            | Effect::Promote(_)
            | Effect::DisarmNoSpace) => return self.ask_etcd(machine, effect),
            effect @ (Effect::Discover
            | Effect::Found(_)
            | Effect::Exchange(_)
            | Effect::FetchPlan(_)
            | Effect::PutPlan(_)
            | Effect::Restore(..)
            | Effect::Save { .. }
            | Effect::SalvageCopy { .. }
            | Effect::ReadCatalogue { .. }
            | Effect::Verify(_)) => self.call_bucket(process, machine, uid, effect),
        };
        Deferred::Ready(outcome)
    }

    // ------------------------------------------------------------ the table

    fn call_write(&mut self, uid: &str, change: &Change) -> Outcome {
        let uid = match &change.record {
            RecordChange::Ctrl { before: None, after } => after.uid.clone(),
            RecordChange::Ctrl { .. } | RecordChange::Slot { .. } => uid.to_owned(),
        };
        let tag = self.table.tag();
        let again = |sim: &mut Self| {
            let after = sim.rng.u64(1..30_000);
            let (uid, change, tag) = (uid.clone(), Box::new(change.clone()), tag.clone());
            sim.push(after, Happening::Late { uid, change, tag });
        };
        if self.chance(self.options.rates.late) {
            again(self);
            return Outcome::Written(Written::Unknown);
        }
        if self.chance(self.options.rates.twice) {
            again(self);
        }
        let written = self.write(&uid, change, &tag);
        if self.chance(self.options.rates.lost) {
            return Outcome::Written(Written::Unknown);
        }
        Outcome::Written(written)
    }

    /// A conditional write is judged, and what it does is checked.
    pub(super) fn write(&mut self, uid: &str, change: &Change, tag: &str) -> Written {
        let before = self.table.records(uid);
        let written = self.table.write(uid, change, tag);
        let after = self.table.records(uid);
        if before != after {
            self.changed(change, &before, &after);
        }
        written
    }

    // ------------------------------------------------------------ the machine

    fn look(&mut self, machine: usize, check_at: Option<u64>) -> protocol::observation::Look {
        let linearizable = self.is_linearizable(machine);
        let leader = self.live_leader(machine).and_then(|at| self.machines[at].running());
        let leader = leader.map(|(_, store)| store.id);
        let status = self.machines[machine].running().map(|(_, store)| Status {
            cluster_id: store.cluster,
            member_id: store.id,
            leader,
            term: store.term,
            applied: store.commit as u64,
            revision: store.revision(),
            linearizable,
            learner: !store.log.is_empty() && !store.voters().contains(&store.id),
            alarms: Vec::new(),
            version: "3.5.30".to_owned(),
            check: check_at.and_then(|revision| store.check(revision)),
        });
        self.machines[machine].look(status)
    }

    fn change_machine(&mut self, machine: usize, effect: &Effect) -> Outcome {
        if let Effect::Swap { digest, .. } = effect
            && !self.machines[machine].dir().restored.contains_key(&digest.short())
        {
            return unavailable("the restored member is gone");
        }
        self.check_change(machine, effect);
        self.machines[machine].change(effect);
        self.stir();
        Outcome::Ok
    }

    fn start_etcd(&mut self, machine: usize, start: &Start) -> Outcome {
        if self.machines[machine].etcd.is_some() {
            return Outcome::Ok;
        }
        if self.machines[machine].dir().spoiled {
            return Outcome::Ok; // it was started, and has ended again
        }
        if self.machines[machine].dir().member.is_none() {
            // the data went after the core had seen it: our service refuses to start etcd empty
            let Some(join) = &start.join else { return unavailable("the data dir is empty") };
            let url = self.machines[machine].peer_url.clone();
            let store = if join.existing {
                self.joined(&url)
            } else {
                Some(Store::founded(&url, &join.initial_cluster, &join.token))
            };
            let Some(store) = store else {
                return unavailable("no member of the cluster answers the one that joins");
            };
            self.machines[machine].dir_mut().member = Some(store);
        }
        self.check_start(machine, start.quarantined);
        let role = Role::Follower(None);
        self.machines[machine].etcd = Some(Service { quarantined: start.quarantined, role });
        self.stir();
        Outcome::Ok
    }

    /// The empty member that a running cluster lists at `url`.
    fn joined(&self, url: &str) -> Option<Store> {
        let leaders = (0..self.machines.len()).filter(|at| {
            let running = self.machines[*at].running();
            running.is_some_and(|(etcd, _)| matches!(etcd.role, Role::Leader(_)))
        });
        let stores = leaders.filter_map(|at| self.machines[at].running()).map(|(_, store)| store);
        let mut listing = stores.filter_map(|store| {
            let peers = store.peers();
            let id = peers.iter().find(|peer| peer.peer_url == url)?.id;
            let base = Rc::clone(&store.base);
            let (log, term, commit) = (Vec::new(), 0, 0);
            Some(Store { id, base, log, term, commit, ..store.clone() })
        });
        listing.next()
    }

    // ------------------------------------------------------------ the bucket

    fn call_bucket(&mut self, process: u64, machine: usize, uid: &str, effect: Effect) -> Outcome {
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
            Effect::Save { reason, inc } => self.save(machine, uid, reason, inc),
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

    /// Spoilt data, and data whose own log leaves the member out: etcd panics on a copy of it.
    fn refuses_copies(&self, machine: usize) -> bool {
        let dir = self.machines[machine].dir();
        let left_out = dir.member.as_ref().is_some_and(|store| {
            let peers = store.peers();
            !peers.is_empty() && peers.iter().all(|peer| peer.id != store.id)
        });
        dir.spoiled || left_out
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
        let mut votes: Vec<Vote> = self.bucket.votes().cloned().collect();
        for vote in &mut votes {
            if self.chance(self.options.rates.forged) {
                self.forge(vote);
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
        let Some(keys) = self.bucket.sound(&object.sha256) else {
            return bad("the snapshot is damaged");
        };
        let url = &self.machines[machine].peer_url;
        let founded = Store::founded(url, &plan.initial_cluster(), &plan.token);
        let base_revision = plan.agreed_revision();
        let store = Store { base: Rc::clone(keys), base_revision, ..founded };
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
        let here = &self.machines[machine];
        let runs = here.running().is_some();
        let salvage = reason == Reason::Salvage;
        let Some(store) = here.dir().member.as_ref().filter(|_| runs || salvage) else {
            return unavailable("etcd does not answer");
        };
        let (keys, revision) = (store.keys(), store.revision());
        let content = format!("{:?}/{revision}/{keys:?}", store.cluster);
        let sha256 = Digest::of(content.as_bytes());
        let manifest = Manifest {
            uid: uid.to_owned(),
            inc,
            data: format!("inc/{inc}/data/{}.db", sha256.short()),
            sha256,
            size: content.len() as u64,
            revision,
            live_keys: Some(keys.len() as u64),
            check: None,
            applied: store.commit as u64,
            term: store.term,
            cluster_id: store.cluster,
            taken_by: self.seat_of(machine),
            etcd_version: "3.5.30".to_owned(),
            reason,
        };
        self.saved(&manifest);
        self.bucket.put_snapshot(self.now, &manifest, keys);
        Outcome::Saved(manifest)
    }

    // ------------------------------------------------------------ etcd

    fn ask_etcd(&mut self, machine: usize, effect: Effect) -> Deferred {
        let leader = self.live_leader(machine).filter(|_| self.is_linearizable(machine));
        let store = leader.and_then(|at| Some((at, self.machines[at].running()?.1)));
        let Some((leader, store)) = store else {
            return Deferred::Ready(unavailable("etcd has no leader"));
        };
        let (cluster, term, mut peers) = (store.cluster, store.term, (*store.peers()).clone());
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
        self.check_membership(&effect);
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

    /// Calls worth a line of the story.
    fn tell_call(&mut self, machine: usize, effect: &Effect) {
        let said = match effect {
            Effect::ReadRegistry | Effect::Look { .. } | Effect::Discover | Effect::Write(_) => {
                return;
            }
            Effect::Exchange(vote) => {
                let health = vote.as_ref().map(|vote| (vote.slot, vote.health, vote.inc));
                match health {
                    Some(health) if self.ghost.votes.insert(machine, health) != Some(health) => {
                        format!("votes {}", health.1.name())
                    }
                    Some(_) | None => return,
                }
            }
            Effect::Start(start) if start.quarantined => "starts etcd in quarantine".to_owned(),
            Effect::Mark(marker) => format!("marks inc {} attempt {}", marker.inc, marker.attempt),
            other => other.name().to_owned(),
        };
        let name = self.machines[machine].instance.0.clone();
        self.say(&name, &said);
    }
}

/// What reaches a store although its sender is gone.
fn sent_before(effect: &Effect) -> bool {
    matches!(effect, Effect::Write(_) | Effect::Found(_) | Effect::PutPlan(_))
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
            | Effect::Save { .. }
            | Effect::SalvageCopy { .. }
            | Effect::ReadCatalogue { .. }
            | Effect::Verify(_)
    )
}
