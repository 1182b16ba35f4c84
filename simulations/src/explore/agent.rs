//! **agent** — one turn of the real core, with everything that it reads at once.
//!
//! Comes in: a mind, what was answered to it since its last turn, and one picture of the world.
//! Goes out: the mind after it, and the effects that it began. Reads, and what touches nobody
//! else, are answered within the turn. What is left (conditional writes, processes, promises) is
//! performed at any later moment, after others have moved, or never: so a paused leader, a stale
//! read and a late write are all one thing, the time between a decision and its effect.

use super::{
    machine::{Around, Machine},
    store::{Bucket, Objects},
    submodels::Bounds,
};
use protocol::{
    cluster::Digest,
    coordinator::{
        Coordinator,
        model::{HASTY, NOW, Occasion, PATIENT},
    },
    effect::{Effect, Lane, Listed, Start},
    event::{Command, Event, Failure, FailureKind, Outcome},
    manifest::{Manifest, Reason},
    observation::Look,
    plan::Plan,
    registry::{Ctrl, Records},
    vote::Vote,
};
use std::sync::Arc;

/// What an agent finds in one turn, beside what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mood {
    /// No window has passed; everybody who can be heard tells the truth.
    Patient,
    /// Every window has passed, the others' leases among them.
    Hasty,
    /// The same, and every voice says that its member failed, whatever is true; its own etcd gives
    /// no answer in time.
    Alarmed,
    /// The same, and nobody else is heard.
    Deaf,
    /// Neither store answers, for longer than anybody waits.
    Cut,
}

impl Mood {
    const fn is_patient(self) -> bool {
        matches!(self, Self::Patient)
    }
}

/// An agent process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Agent {
    pub(super) core: Coordinator,
    /// What it asked for and what was not done yet, in the order of lanes.
    pub(super) pending: Vec<Effect>,
}

impl Agent {
    /// What the `index`-th effect came to, and that it is no longer under way.
    pub(super) fn answered(&self, index: usize, outcome: Outcome) -> Self {
        let mut answered = self.clone();
        let effect = answered.pending.remove(index);
        answered.core.hear(effect.lane(), outcome);
        answered
    }
}

/// What a turn is taken in.
pub(super) struct Picture<'a> {
    pub(super) records: &'a Arc<Records>,
    pub(super) around: Around,
    pub(super) votes: &'a [Vote],
    pub(super) mood: Mood,
    pub(super) said: Option<Command>,
    /// What its member says the cluster's members are.
    pub(super) listed: Option<&'a [Listed]>,
    /// A write beyond them fails: the table is out of reach just then.
    pub(super) bounds: Bounds,
    /// Machine effects are done at once as well.
    pub(super) coarse: bool,
}

/// What changes in a turn.
pub(super) struct Turning<'a> {
    pub(super) agent: Agent,
    pub(super) machine: Machine,
    pub(super) bucket: Bucket,
    pub(super) objects: &'a mut Objects,
    /// What was begun, for the invariants to be held against.
    pub(super) began: Vec<Effect>,
    /// etcd was started against a promise.
    pub(super) lapsed: bool,
}

impl Turning<'_> {
    /// Takes the turn.
    pub(super) fn take(&mut self, picture: &Picture<'_>) {
        let ctrl = picture.records.ctrl.as_ref().expect("the cluster was founded");
        let lease = ctrl.lease.as_ref().filter(|_| !picture.mood.is_patient());
        self.agent.core.begin_turn(&Occasion {
            timers: if picture.mood.is_patient() { PATIENT } else { HASTY },
            seed: seed(ctrl, picture.records),
            votes: picture.votes,
            silent: lease,
        });
        let mut open = Vec::new();
        let cut = picture.mood == Mood::Cut;
        let read = Outcome::Records(Arc::clone(picture.records));
        let table = if cut { failed(FailureKind::Unavailable) } else { read };
        let look = self.look(picture, None);
        open.extend(self.agent.core.look_around_at_once(picture.said.clone(), table, look).effects);
        self.serve(picture, &mut open);
        self.agent.pending.sort_by_key(Effect::lane);
        self.agent.core.end_turn();
    }

    fn hear(&mut self, event: Event, open: &mut Vec<Effect>) {
        open.extend(self.agent.core.handle(NOW, event).effects);
    }

    /// Answers what can be answered now: the table first and the look last, so that nothing is
    /// decided before everything was read.
    fn serve(&mut self, picture: &Picture<'_>, open: &mut Vec<Effect>) {
        let mut count = 0;
        while let Some(at) = (0..open.len()).min_by_key(|at| order(&open[*at])) {
            let effect = open.remove(at);
            count += 1;
            assert!(count < 300, "a turn comes to an end; {} again", effect.name());
            let lane = effect.lane();
            match self.answer(picture, &effect) {
                Some(outcome) => self.hear(Event::Done { lane, asked: NOW, outcome }, open),
                None => {
                    self.began.push(effect.clone());
                    self.agent.pending.push(effect);
                }
            }
        }
    }

    /// The answer to what is done within the turn; `None`: it is performed later.
    fn answer(&mut self, picture: &Picture<'_>, effect: &Effect) -> Option<Outcome> {
        let cut = picture.mood == Mood::Cut;
        let outcome = match effect {
            Effect::ReadRegistry if cut => failed(FailureKind::Unavailable),
            Effect::ReadRegistry => Outcome::Records(Arc::clone(picture.records)),
            Effect::Discover | Effect::Found(_) => {
                Outcome::Discovered(picture.records.ctrl.as_ref().map(|ctrl| ctrl.uid.clone()))
            }
            Effect::Prove => Outcome::Ok,
            Effect::Exchange(_) => {
                Outcome::Votes(picture.votes.iter().cloned().map(Arc::new).collect())
            }
            Effect::Look { check_at } => Outcome::Looked(self.look(picture, *check_at)),
            Effect::ReadLog => match self.machine.member() {
                Some(member) => Outcome::Log(member.summary()),
                None => failed(FailureKind::Unavailable),
            },
            Effect::RememberSeat(..) | Effect::RememberOpened(_) => self.change_machine(effect),
            // it takes the others: the joining member asks them what there is
            Effect::Start(Start { join: Some(join), .. }) if join.existing => return None,
            Effect::Stop
            | Effect::Mark(_)
            | Effect::Unmark(_)
            | Effect::Retire(_)
            | Effect::RememberRan(_)
            | Effect::Swap { .. }
            | Effect::MoveAside { .. }
            | Effect::Start(_) => {
                if !picture.coarse {
                    return None;
                }
                self.began.push(effect.clone());
                self.change_machine(effect)
            }
            Effect::Write(change) if !picture.bounds.allow(change, picture.records) => {
                failed(FailureKind::Unavailable)
            }
            Effect::Write(_) => return None,
            Effect::FetchPlan(pin) => match self.objects.plan(pin) {
                Some(plan) => Outcome::Plan(plan.clone()),
                None => failed(FailureKind::Bad),
            },
            Effect::PutPlan(plan) => Outcome::PlanWritten(self.objects.put_plan(plan)),
            Effect::Restore(..) if !picture.bounds.restores => failed(FailureKind::Unavailable),
            Effect::Restore(plan, digest) => self.restore(plan, digest),
            Effect::Save(save) => self.save(picture, save.reason),
            Effect::SalvageCopy { .. } => self.save(picture, Reason::Salvage),
            Effect::ReadCatalogue { inc, .. } => {
                let of = |manifest: &&Manifest| manifest.inc == *inc;
                Outcome::Catalogue(self.bucket.values().filter(of).cloned().collect())
            }
            Effect::Verify(_) => Outcome::Ok,
            Effect::ListMembers => match picture.listed {
                Some(listed) => Outcome::Members(listed.to_vec()),
                None => failed(FailureKind::Unavailable),
            },
            Effect::RemoveMember(_) | Effect::AddLearner { .. } | Effect::Promote(_)
                if picture.bounds.replaces > 0 =>
            {
                return None;
            }
            Effect::RemoveMember(_)
            | Effect::AddLearner { .. }
            | Effect::Promote(_)
            | Effect::DisarmNoSpace => failed(FailureKind::Unavailable),
        };
        Some(outcome)
    }

    /// The first look of a turn is begun before the table was read; by the second one the core would
    /// have asked for the revision that restored members are compared at.
    fn look(&self, picture: &Picture<'_>, check_at: Option<u64>) -> Look {
        let source = picture.records.ctrl.as_ref().and_then(|ctrl| ctrl.source.as_ref());
        let agreed = source.map(|source| source.revision + source.bump);
        self.machine.look(picture.around, check_at.or(agreed))
    }

    fn change_machine(&mut self, effect: &Effect) -> Outcome {
        let starts = matches!(effect, Effect::Start(_));
        let bound = |inc| self.machine.is_bound(inc);
        self.lapsed |= starts && self.machine.member().is_some_and(|member| bound(member.inc));
        done(self.machine.perform(effect))
    }

    /// Restores the plan's source beside whatever is there.
    fn restore(&mut self, plan: &Plan, digest: &Digest) -> Outcome {
        let object = plan.source.object.as_ref().expect("only a snapshot is restored");
        let content = self.objects.content(&object.sha256).expect("it was saved");
        let seat = self.machine.seat;
        let members = plan.members();
        let me = members.iter().find(|member| usize::from(member.slot.0) == seat);
        let (Some(me), Some(disk)) = (me, self.machine.disk_mut()) else {
            return failed(FailureKind::Unavailable);
        };
        let mut founders: Vec<_> = members.iter().map(|member| member.id).collect();
        founders.sort_unstable();
        for member in &members {
            self.objects.settle(member.id, usize::from(member.slot.0));
        }
        let member = super::etcd::Member {
            inc: plan.inc,
            cluster: plan.cluster_id(),
            id: me.id,
            founders,
            base: content,
            revision: plan.agreed_revision(),
            log: Vec::new(),
            commit: 0,
            term: 0,
        };
        disk.restored.insert(digest.short(), member);
        Outcome::Ok
    }

    /// A snapshot of the running member, or of a copy of the stopped one's data.
    fn save(&mut self, picture: &Picture<'_>, reason: Reason) -> Outcome {
        let salvage = reason == Reason::Salvage;
        let runs = self.machine.run.is_some();
        let Some(member) = self.machine.member().filter(|_| runs || salvage) else {
            return failed(FailureKind::Unavailable);
        };
        let content = member.content(member.commit);
        let revision = member.revision_at(member.commit);
        let applied = member.applied();
        let text = format!("{}/{}/{revision}/{applied}/{content}", member.inc, member.cluster);
        let manifest = Manifest {
            uid: picture.records.ctrl.as_ref().map(|ctrl| ctrl.uid.clone()).unwrap_or_default(),
            inc: member.inc,
            data: format!("inc/{}/data/{text}.db", member.inc),
            sha256: Digest::of(text.as_bytes()),
            size: 1,
            revision,
            live_keys: Some(u64::from(content.count_ones())),
            check: None,
            applied,
            term: 1,
            cluster_id: member.cluster,
            taken_by: protocol::cluster::Slot(self.machine.seat as u8),
            etcd_version: "3.5.30".to_owned(),
            reason,
            needs: Vec::new(),
            compact: None,
            doubt: None,
            taken: None,
        };
        self.objects.put_content(manifest.sha256, content);
        let kept = self.bucket.entry(manifest.key()).or_insert_with(|| manifest.clone());
        let saved = Manifest { reason, ..kept.clone() };
        Outcome::Saved(saved)
    }
}

/// Fresh names differ wherever the records do in what a name is bound to.
fn seed(ctrl: &Ctrl, records: &Records) -> u64 {
    let epoch = ctrl.lease.as_ref().map_or(0, |lease| lease.epoch);
    let claims: u64 = records.slots.iter().map(|(_, slot)| slot.gen_).sum();
    (ctrl.version * 1000 + epoch) * 1000 + claims
}

const fn order(effect: &Effect) -> u8 {
    match effect.lane() {
        Lane::Registry => 0,
        Lane::Votes => 1,
        Lane::Data | Lane::Etcd | Lane::Machine => 2,
        Lane::Look => 3,
    }
}

/// A yes, or a no that proves nothing.
fn done(yes: bool) -> Outcome {
    if yes { Outcome::Ok } else { failed(FailureKind::Unavailable) }
}

pub(super) fn failed(kind: FailureKind) -> Outcome {
    Outcome::Failed(Failure { kind, text: "it can't be done".into() })
}
