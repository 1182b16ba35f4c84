//! **coordinator** — the machine: one event in, a list of things to do out.
//!
//! Comes after every stage and is the one place that knows them all. It is level-triggered: each
//! turn looks at the whole scene and asks what is to be done *now*, so a crash, a lost answer or a
//! new leader needs no code of its own: whoever looks next finds the same thing to do.
//!
//! Four voices speak in each turn: the member's own part ([`seat`], [`fencing`], [`restoring`],
//! [`running`]), the leader's part ([`leading`] and the same files), the saver's ([`saving`]) and
//! the comparer's ([`reconciling`]). What they want runs in lanes ([`lanes`]), one effect a lane.
//! Where there is no scene, [`alone`] speaks.

mod lanes;
mod known;
mod troubles;
mod scene;
mod alone;
mod genesis;
mod seat;
mod running;
mod voting;
mod leading;
mod fencing;
mod sourcing;
mod salvaging;
mod falling_back;
mod restoring;
mod healing;
mod candidates;
mod replacing;
mod withdrawing;
mod saving;
mod reconciling;
mod operator;
mod status;
#[cfg(debug_assertions)]
pub mod model;

pub use operator::Told;
pub use status::{MemberStatus, Status};

use crate::{
    cluster::{Digest, Seat},
    effect::{Effect, Lane},
    event::{Event, Outcome, Ticket},
    explanation::{Code, Note},
    limits::Timers,
    observation::Identity,
    registry::Written,
    time::Moment,
};
use alloc::{string::String, vec::Vec};
use known::Known;
use lanes::Lanes;
use operator::Words;
use scene::{Scene, Step};

/// What the operator settled before the agent started.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// All timers.
    pub timers: Timers,
    /// May we act by ourselves?
    pub mode: Mode,
    /// From how many failed members on somebody leads.
    pub threshold: Threshold,
    /// Fewest live agents for a restore; `None`: a quorum of the seats.
    pub min_members: Option<usize>,
    /// Most revisions a restore may lose without asking; `None`: no bound.
    pub max_loss: Option<u64>,
    /// A plain copy of saves may lie at the old URI (`REQUORUM_SNAPSHOT_EXPORT`).
    pub exports: bool,
    /// The seats of a cluster that is yet to be founded.
    pub seats: Vec<Seat>,
    /// Found an empty cluster if none exists.
    pub bootstrap: bool,
    /// Both stores were proven to honour conditions before the agent started.
    pub proven: bool,
}

/// How much we may do by ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Everything.
    Automatic,
    /// Ask before a commit.
    Ask,
    /// Never begin an attempt or a replacement unless an operator asks for it.
    Off,
}

/// From how many failed members on a leader is elected (design.md 1.2). A restore needs a lost
/// quorum either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Threshold {
    /// When more have failed than the quorum can spare.
    Quorum,
    /// When more than 1/N have failed: from two on.
    OneNth,
}

/// What one turn came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// To be begun now, each in its own lane.
    pub effects: Vec<Effect>,
    /// Call again at this moment at the latest.
    pub wake_at: Moment,
    /// Why, the weightiest first.
    pub notes: Vec<Note>,
    /// Answers to operators' words that are settled now.
    pub told: Vec<(Ticket, Told)>,
}

/// One agent's mind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Coordinator {
    policy: Policy,
    me: Identity,
    known: Known,
    words: Words,
    lanes: Lanes,
    counter: u64,
    /// Looks, tells and puts an operator's word on record, and does nothing else.
    observes: bool,
}

impl Coordinator {
    /// An agent that knows nothing yet.
    pub fn new(policy: Policy, me: Identity) -> Self {
        let (known, words, lanes) = (Known::default(), Words::default(), Lanes::default());
        Self { policy, me, known, words, lanes, counter: 0, observes: false }
    }

    /// One that sits on no seat: it only looks, tells, and puts an operator's word on record.
    pub fn observer(policy: Policy, me: Identity) -> Self {
        Self { observes: true, ..Self::new(policy, me) }
    }

    /// The uid whose records are read and written, once it is known.
    pub fn uid(&self) -> Option<&str> {
        self.known.uid.as_deref()
    }

    /// Takes one event at `now` and says what to do about it.
    pub fn handle(&mut self, now: Moment, event: Event) -> Turn {
        match event {
            Event::Tick => {}
            Event::Done { lane, asked, outcome } => self.absorb(now, lane, asked, outcome),
            Event::Operator(ticket, command) => self.words.hear(now, ticket, command),
        }
        self.settle_uid();
        self.decide(now)
    }

    fn absorb(&mut self, now: Moment, lane: Lane, asked: Moment, outcome: Outcome) {
        let Some(effect) = self.lanes.end(lane) else { return };
        self.words.learn(&effect, &outcome);
        if let Outcome::Failed(failure) = outcome {
            self.lanes.failed(lane, now, failure.kind, &self.policy.timers);
            self.known.failed(&effect, failure);
        } else {
            self.lanes.succeeded(lane);
            let applied = outcome == Outcome::Written(Written::Applied);
            if applied && matches!(&effect, Effect::Write(change) if change.name == "acquire") {
                self.lanes.pardon();
            }
            let before = self.known.phase_since;
            self.known.learn(now, asked, effect, outcome, &self.policy.timers);
            if self.known.phase_since != before {
                self.lanes.move_anew();
            }
        }
    }

    fn decide(&mut self, now: Moment) -> Turn {
        let told = Vec::new();
        let mut turn = Turn { effects: Vec::new(), wake_at: now, notes: Vec::new(), told };
        self.speak(now, &mut turn);
        let scene = self.scene(now).is_ok();
        self.known.sees(now, scene);
        let steps = self.steps(now);
        for step in steps {
            match step {
                Step::Do(effect, note) => {
                    if self.begin(now, effect, &mut turn) {
                        turn.notes.push(note);
                    }
                }
                Step::Wait(note) => turn.notes.push(note),
            }
        }
        turn.notes.sort_by_key(|note| !note.code.asks_for_help());
        self.look_around(now, &mut turn);
        turn.wake_at = self.next_wake(now);
        turn
    }

    fn begin(&mut self, now: Moment, effect: Effect, turn: &mut Turn) -> bool {
        let free = self.lanes.is_free(effect.lane(), now);
        if free {
            self.counter += 1;
            self.lanes.begin(&effect);
            turn.effects.push(effect);
        }
        free
    }

    /// What comes before everything else: stores that can be trusted, and a cluster in them.
    fn first_things(&self) -> Option<Step> {
        self.prove_stores().or_else(|| self.before_founding())
    }

    /// What the member, the leader, the saver and the comparer want, in that order.
    fn steps(&self, now: Moment) -> Vec<Step> {
        if self.observes {
            return self.observation(now);
        }
        let scene = match (self.first_things(), self.scene(now)) {
            (None, Ok(scene)) => scene,
            (first, scene) => {
                let note = scene.err();
                let alone = note.as_ref().and_then(|note| self.without_scene(now, note));
                return [alone, first, note.map(Step::Wait)].into_iter().flatten().collect();
            }
        };
        let mut steps = Vec::new();
        steps.extend(scene.member_part());
        steps.extend(scene.leader_part());
        steps.extend(scene.saver_part());
        steps.extend(scene.doubts());
        steps.extend(scene.refusal());
        steps.extend(scene.comparer_part());
        steps.extend(self.bucket_lost());
        steps
    }

    /// The scene, if everything in it is known and young enough to act on.
    fn scene(&self, now: Moment) -> Result<Scene<'_>, Note> {
        let blind = |what: &str| {
            let text = alloc::format!("{what}; nothing is decided on old news");
            let trouble = self.known.trouble(Lane::Registry, "nothing is decided meanwhile");
            trouble.unwrap_or_else(|| Note::new(Code::Blind, text))
        };
        let known = &self.known;
        let gap = self.policy.timers.gap;
        if !(self.policy.proven || known.proven) {
            return Err(self.unproven());
        }
        if known.must_read
            || known.records.as_ref().is_some_and(|(read_at, _)| now.since(*read_at) > gap)
        {
            return Err(blind("the lock table was not read since the last change"));
        }
        if known.must_look
            || known.look.as_ref().is_some_and(|(looked_at, _)| now.since(*looked_at) > gap)
        {
            let text = "the last look at this machine is too old; nothing is decided on old news";
            return Err(Note::new(Code::Blind, text));
        }
        self.last_scene(now)
    }

    /// The scene as last seen, however old: for showing, never for acting.
    fn last_scene(&self, now: Moment) -> Result<Scene<'_>, Note> {
        let blind = |what: &'static str| Note::new(Code::Blind, what);
        let known = &self.known;
        if known.uid.is_none() && known.discovered == Some(None) {
            let text = "no cluster.json under this prefix: no cluster was founded here, or \
                        ETCDADM_CLUSTER_SNAPSHOTS_S3_URI is not right";
            return Err(Note::new(Code::NotFounded, text));
        }
        let (_, records) = known.records.as_ref().ok_or_else(|| {
            let text = "the lock table was not read yet; nothing is decided blindly";
            let trouble = known.trouble(Lane::Registry, "nothing is decided meanwhile");
            trouble.unwrap_or_else(|| blind(text))
        })?;
        let (looked_at, look) = known.look.as_ref().ok_or_else(|| {
            blind("this machine was not looked at yet; nothing is decided blindly")
        })?;
        let ctrl = records.ctrl.as_ref().ok_or_else(|| self.registry_lost())?;
        if look.memory.uid.as_ref().is_some_and(|uid| *uid != ctrl.uid) {
            let text = "this machine belongs to another cluster than the one under this prefix; nothing is touched";
            return Err(Note::new(Code::Foreign, text));
        }
        let seat = ctrl.seat_named(&self.me.name).ok_or_else(|| {
            let text = alloc::format!(
                "no seat of this cluster is called {}; check ETCD_NAME",
                self.me.name
            );
            Note::new(Code::NoSeat, text)
        })?;
        if let Some(held) = look.memory.slot.filter(|held| *held != seat.slot) {
            let held = ctrl.seat(held).map_or("another seat", |seat| seat.name.as_str());
            let text = alloc::format!(
                "this machine sits on {held}, and ETCD_NAME says {}: mend it; nothing is touched",
                self.me.name
            );
            return Err(Note::new(Code::Foreign, text));
        }
        let mine = records.slot(seat.slot);
        Ok(Scene {
            now,
            core: self,
            ctrl,
            records,
            look,
            looked_at: *looked_at,
            slot: seat.slot,
            mine,
        })
    }

    fn registry_lost(&self) -> Note {
        let uid = self.uid().unwrap_or_default();
        let text = alloc::format!(
            "the bucket names cluster {uid}, but the lock table has no record of it: restore the table from \
             its backup, or check REQUORUM_TABLE and AWS_REGION; a cluster is never founded twice"
        );
        Note::new(Code::RegistryLost, text)
    }

    /// The regular reads: this machine, the table, the votes.
    fn look_around(&mut self, now: Moment, turn: &mut Turn) {
        let timers = self.policy.timers;
        let due = |last: Option<Moment>, period| last.is_none_or(|last| now.since(last) >= period);
        // what is asked is worked out where it can be asked, and not in each turn that waits for an answer
        let looks = self.known.must_look || due(self.known.look_asked, timers.poll);
        if looks && self.lanes.is_free(Lane::Look, now) {
            let check_at = self.scene(now).ok().and_then(|scene| scene.check_at());
            if self.begin(now, Effect::Look { check_at }, turn) {
                self.known.look_asked = Some(now);
            }
        }
        let reads = self.known.uid.is_some();
        if reads
            && (self.known.must_read || due(self.known.read_asked, timers.poll))
            && self.begin(now, Effect::ReadRegistry, turn)
        {
            self.known.read_asked = Some(now);
        }
        if reads
            && due(self.known.discover_asked, timers.reconcile)
            && self.begin(now, Effect::Discover, turn)
        {
            self.known.discover_asked = Some(now);
        }
        let speaks = reads && due(self.known.votes_asked, timers.vote);
        if speaks && self.lanes.is_free(Lane::Votes, now) {
            let vote = self.scene(now).ok().and_then(|scene| scene.my_vote());
            let spoken = vote.is_some();
            if self.begin(now, Effect::Exchange(vote), turn) {
                self.known.votes_asked = Some(now);
                self.known.seq += u64::from(spoken);
            }
        }
    }

    fn next_wake(&self, now: Moment) -> Moment {
        let timers = self.policy.timers;
        let next = |last: Option<Moment>, period| last.map_or(now, |last: Moment| last + period);
        let dues = [
            next(self.known.look_asked, timers.poll),
            next(self.known.read_asked, timers.poll),
            next(self.known.votes_asked, timers.vote),
        ];
        let due = dues.into_iter().filter(|moment| *moment > now).min();
        due.into_iter().chain(self.lanes.next_try(now)).min().unwrap_or(now + timers.poll)
    }

    /// A text nobody else has: this process's random nonce and a counter, hashed.
    fn fresh(&self, purpose: &str) -> String {
        let unique = alloc::format!("{}/{}/{purpose}", self.me.nonce.0, self.counter);
        alloc::format!("{}", Digest::of(unique.as_bytes())).chars().take(16).collect()
    }
}
