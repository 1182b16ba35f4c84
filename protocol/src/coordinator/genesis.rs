//! **genesis** — how a cluster gets its first record, and which uid this agent belongs to.
//!
//! Order (protocol.md 1.8 "Genesis"): `ctrl` under a fresh uid, then `cluster.json` if absent,
//! which is the commit point: a loser's `ctrl` is an orphan that nobody reads. Then the seats are
//! claimed, and a leader ends the phase. A machine that remembers a uid never founds another.

use super::{Coordinator, Scene, Step};
use crate::{
    change,
    effect::{Effect, Founding},
    explanation::{Code, Note},
    observation::{Answer, LogState, Ran},
    plan::Plan,
    registry::{Ctrl, Source},
    time::Moment,
};
use alloc::vec::Vec;

impl Coordinator {
    /// The bucket has lost its `cluster.json`, and the table still has the cluster: it is written
    /// again before an empty machine could found another under this prefix.
    pub(super) fn bucket_lost(&self) -> Option<Step> {
        let (uid, records) = (self.known.uid.as_ref()?, self.known.records.as_ref()?);
        let ctrl = records.1.ctrl.as_ref().filter(|ctrl| ctrl.inc > 0 && ctrl.uid == *uid)?;
        match &self.known.discovered {
            Some(None) => {}
            Some(Some(other)) if other != uid => {
                let text = alloc::format!(
                    "cluster.json under this prefix names cluster {other} and not {uid}: somebody founded \
                     another one here; give it a prefix of its own"
                );
                return Step::wait(Code::BucketLost, text);
            }
            Some(Some(_)) | None => return None,
        }
        if !self.known.book.hears_others(&self.me.nonce) {
            let text = "cluster.json is not under this prefix, and nobody else's votes are: is \
                        ETCDADM_CLUSTER_SNAPSHOTS_S3_URI right?";
            return Step::wait(Code::BucketLost, text);
        }
        let founding = Founding { uid: uid.clone(), seats: ctrl.seats.len() };
        let text = "cluster.json was gone from the bucket: written again; look after the snapshots there, \
                    and at ETCDADM_CLUSTER_SNAPSHOTS_S3_URI";
        Step::act(Effect::Found(founding), Code::BucketLost, text)
    }

    /// Until the uid is known: find it, or found it.
    pub(super) fn before_founding(&self) -> Option<Step> {
        if self.known.uid.is_some() {
            return None;
        }
        let Some((_, look)) = &self.known.look else {
            return Step::wait(Code::Blind, "this machine was not looked at yet");
        };
        match &self.known.discovered {
            None => {
                Step::act(Effect::Discover, Code::Blind, "which cluster lives under this prefix?")
            }
            Some(Some(_)) => None,
            Some(None) if look.memory.uid.is_some() => None,
            Some(None) => self.found(look),
        }
    }

    /// Settles the uid once the bucket, or this machine's memory, named one. Called before each turn.
    pub(super) fn settle_uid(&mut self) {
        if self.known.uid.is_some() {
            return;
        }
        let remembered = self.known.look.as_ref().and_then(|(_, look)| look.memory.uid.clone());
        let named = self.known.discovered.clone().flatten();
        let unreachable = self.known.discovered.is_none()
            && self.known.failures.contains_key(&crate::effect::Lane::Registry);
        self.known.uid = match (remembered, named) {
            (Some(uid), None) if unreachable || self.known.discovered.is_some() => Some(uid),
            // the bucket's word is taken; a memory that differs is refused by the scene as foreign
            (_, Some(uid)) => Some(uid),
            (_, None) => None,
        };
    }

    fn found(&self, look: &crate::observation::Look) -> Option<Step> {
        let ran_before_us = matches!(look.data.log, LogState::Present { .. });
        if !ran_before_us && !self.policy.bootstrap {
            let text = "no cluster.json under this prefix, and no etcd data here: a new cluster is founded by \
                        `requorum agent --bootstrap` on each node; if there was one, check ETCDADM_CLUSTER_SNAPSHOTS_S3_URI";
            return Step::wait(Code::NotFounded, text);
        }
        if ran_before_us && self.policy.bootstrap {
            let text = "--bootstrap was asked for, but this machine holds etcd data: it is never overwritten; \
                        start without --bootstrap to adopt the running cluster";
            return Step::wait(Code::NotFounded, text);
        }
        match &self.known.founding {
            Some((uid, true)) => {
                let founding = Founding { uid: uid.clone(), seats: self.policy.seats.len() };
                Step::act(Effect::Found(founding), Code::NotFounded, "founds the cluster")
            }
            Some((_, false)) | None => {
                let uid = self.fresh("uid");
                let ctrl = Ctrl::seated(uid, self.policy.seats.clone());
                Step::act(
                    Effect::Write(change::genesis(ctrl)),
                    Code::NotFounded,
                    "writes a first record",
                )
            }
        }
    }
}

impl Scene<'_> {
    /// A member that ran before us is put on record by the machine that holds its log.
    pub(super) fn adopt_my_member(&self) -> Option<Step> {
        let owner = self.owner()?;
        let LogState::Present { member_id, .. } = self.data().log else { return None };
        if self.mine.ran.is_some() {
            return None;
        }
        let fs = self.data().fs.clone()?;
        let instance = self.core.me.instance.clone();
        let ran = Ran { inc: 1, instance, member_id, plan: alloc::string::String::new(), fs };
        let change = change::adopted(self.slot, self.mine, owner, ran);
        Step::act(
            Effect::Write(change),
            Code::NotFounded,
            "puts the member that ran before us on record",
        )
    }

    /// Ends GENESIS once every seat is taken: with an empty cluster, or with the one that runs.
    pub(super) fn end_genesis(&self) -> Option<Step> {
        let unseated: Vec<_> = self
            .ctrl
            .seats
            .iter()
            .filter(|seat| self.records.slot(seat.slot).owner.is_none())
            .map(|s| s.name.clone())
            .collect();
        if !unseated.is_empty() {
            let text = alloc::format!(
                "waits for the agents of {} to take their seats",
                unseated.join(", ")
            );
            return Step::wait(Code::NotFounded, text);
        }
        let ran = |slot| self.records.slot(slot).ran.is_some();
        if self.ctrl.seats.iter().any(|seat| ran(seat.slot)) {
            return self.adopt_cluster();
        }
        let plan = self.first_plan();
        match &self.core.known.drafted {
            Some((pin, drafted)) if drafted.uid == plan.uid && drafted.inc == plan.inc => {
                let change = change::commit_first(self.ctrl, drafted, pin);
                Step::act(Effect::Write(change), Code::Leading, "commits the first incarnation")
            }
            Some(_) | None => {
                Step::act(Effect::PutPlan(plan.into()), Code::Leading, "writes the first plan")
            }
        }
    }

    fn first_plan(&self) -> Plan {
        let epoch = self.ctrl.lease.as_ref().map_or(0, |lease| lease.epoch);
        Plan {
            uid: self.ctrl.uid.clone(),
            inc: 1,
            attempt: 0,
            epoch,
            token: alloc::format!("{}-1-{}", self.ctrl.uid, self.core.fresh("token")),
            seats: self.ctrl.seats.clone(),
            source: Source { object: None, revision: 1, bump: 0, live_keys: Some(0), size: 0 },
            fallbacks: Vec::new(),
            loss: 0,
            because: "a new cluster was asked for".into(),
        }
    }

    fn adopt_cluster(&self) -> Option<Step> {
        let Answer::Status(status) = &self.look.etcd else {
            let text = "waits for this machine's etcd to answer, to adopt its cluster";
            return self.refusal().or_else(|| Step::wait(Code::NotFounded, text));
        };
        let young = |asked: &Moment| self.now.since(*asked) <= self.timers().poll.times(2);
        let Some((_, listed)) = self.core.known.listed.as_ref().filter(|(asked, _)| young(asked))
        else {
            return Step::act(
                Effect::ListMembers,
                Code::NotFounded,
                "reads the members of the cluster to adopt",
            );
        };
        let members = crate::effect::voters_of(listed, &self.ctrl.seats);
        let recorded = |member: &crate::cluster::Member| {
            self.records
                .slot(member.slot)
                .ran
                .as_ref()
                .is_some_and(|ran| ran.member_id == member.id)
        };
        if members.len() != listed.len() || !members.iter().all(recorded) {
            let text = "waits until the agent of each etcd member has put it on record";
            return Some(Step::Wait(Note::new(Code::NotFounded, text)));
        }
        let change = change::adopt(self.ctrl, status.cluster_id, members);
        Step::act(Effect::Write(change), Code::Leading, "adopts the running cluster")
    }
}
