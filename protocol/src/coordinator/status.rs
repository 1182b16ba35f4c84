//! **status** — what an operator sees: the scene in a few words. Reads everything, decides nothing.

use super::{Coordinator, Scene};
use crate::{
    cluster::Slot,
    explanation::Note,
    fence,
    manifest::Manifest,
    registry::{Adoption, Evidence, Parked, Phase, Request, Source},
    tally::Verdict,
    time::Moment,
    vote::Health,
};
use alloc::{string::String, vec::Vec};

/// The cluster as this agent sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Status {
    /// The cluster.
    pub uid: String,
    /// The incarnation.
    pub inc: u64,
    /// The phase.
    pub phase: Phase,
    /// The latest attempt.
    pub attempt: u64,
    /// What the attempt waits for, if it is parked.
    pub parked: Option<Parked>,
    /// Why we are paused.
    pub paused: Option<String>,
    /// What an operator asked for and nobody has ended yet.
    pub request: Option<Request>,
    /// How etcd's voters differ from those on record.
    pub drift: Option<String>,
    /// Who leads, with its epoch; `None` if the lease is free.
    pub leader: Option<(String, u64)>,
    /// This agent is the one.
    pub leading: bool,
    /// What the votes say.
    pub verdict: Verdict,
    /// Clients are let in.
    pub opened: bool,
    /// Each seat.
    pub members: Vec<MemberStatus>,
    /// What the incarnation was restored from.
    pub source: Option<Source>,
    /// The newest snapshot this agent took.
    pub newest: Option<Manifest>,
    /// Operators' words for snapshots.
    pub adopted: Vec<Adoption>,
    /// What is missing per seat while an attempt waits for evidence.
    pub missing: Vec<String>,
}

/// One seat.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MemberStatus {
    /// Its name.
    pub name: String,
    /// Its number.
    pub slot: Slot,
    /// The machine that sits on it.
    pub instance: Option<String>,
    /// The last vote read.
    pub vote: Option<Health>,
    /// Its age in milliseconds, if it ever rose.
    pub age: Option<u64>,
    /// It is fresh.
    pub fresh: bool,
    /// The highest revision it voted.
    pub revision: u64,
    /// Its fence for the present attempt.
    pub fence: Option<Evidence>,
    /// The incarnation it last ran.
    pub ran: Option<u64>,
    /// A voter of the present incarnation.
    pub member: bool,
}

impl Coordinator {
    /// The status, or why there is none.
    pub fn status(&self, now: Moment) -> Result<Status, Note> {
        let scene = self.last_scene(now)?;
        let lease = scene.ctrl.lease.as_ref().filter(|lease| !lease.released);
        let standing = fence::standing(scene.ctrl, scene.records);
        let fencing = scene.ctrl.phase == Phase::Fencing;
        let idle = scene.ctrl.phase == Phase::Idle;
        Ok(Status {
            uid: scene.ctrl.uid.clone(),
            inc: scene.ctrl.inc,
            phase: scene.ctrl.phase,
            attempt: scene.ctrl.attempt,
            parked: scene.ctrl.parked,
            paused: scene.ctrl.paused.clone(),
            request: scene.ctrl.request.clone(),
            drift: scene.ctrl.drift.clone(),
            leader: lease.map(|lease| (scene.name(lease.holder), lease.epoch)),
            leading: self
                .known
                .watch
                .held(now, scene.ctrl, &self.me.nonce, &self.policy.timers)
                .is_some(),
            verdict: scene.verdict(),
            opened: scene.ctrl.opened,
            members: scene
                .ctrl
                .seats
                .iter()
                .map(|seat| scene.member_status(seat.slot, &seat.name))
                .collect(),
            source: scene.ctrl.source.clone(),
            newest: self.known.saved.as_ref().map(|(_, manifest)| manifest.clone()),
            adopted: scene.ctrl.adopted.clone(),
            missing: if fencing || (idle && scene.verdict() != Verdict::QuorumAlive) {
                scene.missing_evidence(&standing)
            } else {
                Vec::new()
            },
        })
    }
}

impl Scene<'_> {
    fn member_status(&self, slot: Slot, name: &str) -> MemberStatus {
        let record = self.records.slot(slot);
        let last = self.core.known.book.last(slot);
        let fence = record
            .fence
            .as_ref()
            .filter(|fence| fence.inc == self.ctrl.inc && fence.attempt == self.ctrl.attempt);
        MemberStatus {
            name: name.into(),
            slot,
            instance: record.owner.as_ref().map(|owner| owner.instance.0.clone()),
            vote: last.map(|vote| vote.health),
            age: self.core.known.book.age(slot, self.now).map(|age| age.0),
            fresh: self.vote(slot).is_some(),
            revision: last.map_or(0, |vote| vote.revision),
            fence: fence.map(|fence| fence.kind),
            ran: record.ran.as_ref().map(|ran| ran.inc),
            member: self.ctrl.is_member(slot),
        }
    }
}
