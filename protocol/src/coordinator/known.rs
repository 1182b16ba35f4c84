//! **known** — all that one agent has learned and would lose in a crash. Nothing here is needed
//! for safety: every promise is on disk, every decision in the table.

use super::troubles::{Copies, is_last_word};
use crate::{
    cluster::{ClusterId, Digest, MemberId, Slot},
    effect::{Effect, Lane, Listed, Save},
    event::{Failure, Outcome},
    lease::Watch,
    limits::Timers,
    manifest::{Doubt, Manifest, Reason},
    observation::{Answer, InAttempt, LogSummary, Look, Ran},
    plan::Plan,
    registry::{Change, Parked, Phase, Pin, RecordChange, Records, Why, Written},
    tally::Book,
    time::{Moment, Span},
};
use alloc::{collections::BTreeMap, string::String, sync::Arc, vec::Vec};

/// What a phase's patience is counted for: a new plan begins it anew.
type Standstill = (Phase, u64, Option<Digest>);

/// The latest news of everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Known {
    pub(super) uid: Option<String>,
    /// The stores were seen to honour conditions.
    pub(super) proven: bool,
    /// Since when there is no scene to act on.
    pub(super) blind_since: Option<Moment>,
    /// `cluster.json` was read: what it names.
    pub(super) discovered: Option<Option<String>>,
    /// A uid of our own that a founding is tried with, and whether its `ctrl` is written.
    pub(super) founding: Option<(String, bool)>,
    /// The seat was this process's own for a while.
    pub(super) seated: bool,

    pub(super) records: Option<(Moment, Arc<Records>)>,
    pub(super) read_asked: Option<Moment>,
    pub(super) discover_asked: Option<Moment>,
    /// The version of `ctrl` read last, and since when it is that.
    pub(super) version_since: Option<(u64, Moment)>,
    /// The latest incarnation that was seen to be open to clients, and since when.
    pub(super) opened_since: Option<(u64, Moment)>,
    /// Since when an operator's request is on record, as seen from here.
    pub(super) request_since: Option<Moment>,
    /// A write was answered since: read before anything else is decided.
    pub(super) must_read: bool,

    pub(super) look: Option<(Moment, Look)>,
    pub(super) look_asked: Option<Moment>,
    /// The machine was changed since.
    pub(super) must_look: bool,
    /// The highest promises ever seen on this machine, also if the disk was emptied under us.
    pub(super) marker: Option<InAttempt>,
    pub(super) retired: u64,
    /// The highest promise that this process saw made durable in both places, and when.
    pub(super) kept: Option<(InAttempt, Moment)>,
    /// Starts of etcd since it was last seen to answer, and the latest.
    pub(super) starts: u32,
    pub(super) started_at: Option<Moment>,

    /// When its own member last proved a living quorum, and of which cluster.
    pub(super) reached: Option<(ClusterId, Moment)>,
    /// When its own member last did not let it ask.
    pub(super) refused: Option<Moment>,
    /// `ran` as this very process put it on record, until the member is started for the first time.
    pub(super) unstarted: Option<Ran>,

    pub(super) book: Book,
    pub(super) votes_asked: Option<Moment>,
    pub(super) seq: u64,
    /// Highest revision this agent saw of its own member, by incarnation.
    pub(super) revision: (u64, u64),

    pub(super) watch: Watch,
    /// Since when phase, attempt and plan are what they are, as seen from here.
    pub(super) phase_since: Option<(Standstill, Moment)>,
    /// Since when the member that a seat ran last is on record, as seen from here.
    pub(super) ran_since: BTreeMap<Slot, (MemberId, Moment)>,
    /// Since when the fences of this attempt block.
    pub(super) blocking_since: Option<(u64, Moment)>,

    /// What the stopped member's log said for an attempt; `None` inside: it could not be read.
    pub(super) log: Option<(u64, Option<LogSummary>)>,
    /// The attempt for which a last live snapshot was taken or tried.
    pub(super) last_words: Option<u64>,
    /// What became of copies of this machine's data, in which attempt.
    pub(super) copies: Option<(u64, Copies)>,
    pub(super) saved: Option<(Moment, Manifest)>,
    /// An operator's `save` waits to be done.
    pub(super) save_asked: bool,
    /// The turn to save that stands on record, and since when, as seen from here.
    pub(super) saver_since: Option<(String, Moment)>,
    /// The turn that this process claimed last, and when.
    pub(super) claimed: Option<(String, Moment)>,
    /// How long the last save took.
    pub(super) save_took: Span,
    /// When a save last renewed the exported snapshot, and when one asked the other members.
    pub(super) exported: Option<Moment>,
    pub(super) peers_asked: Option<Moment>,

    pub(super) plan: Option<(Pin, Plan)>,
    pub(super) drafted: Option<(Pin, Plan)>,
    pub(super) catalogue: Option<(u64, Moment, Vec<Manifest>)>,
    /// The same of an incarnation that ended, while its successor is not open yet.
    pub(super) ended: Option<(u64, Moment, Vec<Manifest>)>,
    /// Snapshots that were proven to restore, and when that was asked for.
    pub(super) verified: Vec<(Digest, Moment)>,
    /// Snapshots that can't be restored, each with the attempt in which that was seen.
    pub(super) bad: Vec<(u64, Digest)>,
    /// Plans that can't be restored on this machine.
    pub(super) unable: Vec<Digest>,

    pub(super) listed: Option<(Moment, Vec<Listed>)>,
    pub(super) disarmed: u64,
    /// The last failure of each kind of effect, for `explain`.
    pub(super) failures: BTreeMap<Lane, Failure>,
}

impl Known {
    /// Notes whether there is a scene to act on.
    pub(super) fn sees(&mut self, now: Moment, scene: bool) {
        self.blind_since = match self.blind_since {
            _ if scene => None,
            Some(since) => Some(since),
            None => Some(now),
        };
    }

    /// A member that ends again and again is started at doubling distances, up to 32 polls.
    pub(super) fn rests(&self, now: Moment, timers: &Timers) -> bool {
        let rest = timers.poll.times(1 << self.starts.min(5));
        let again_at = self.started_at.filter(|_| self.starts > 0).map(|started| started + rest);
        again_at.is_some_and(|moment| now < moment)
    }

    /// Takes what an effect brought.
    pub(super) fn learn(
        &mut self,
        now: Moment,
        asked: Moment,
        effect: Effect,
        outcome: Outcome,
        timers: &Timers,
    ) {
        self.failures.remove(&effect.lane());
        match (effect, outcome) {
            (_, Outcome::Discovered(uid)) => self.discovered = Some(uid),
            (_, Outcome::Founded { uid }) => {
                self.discovered = Some(Some(uid.clone()));
                self.saved = None; // what was saved before may have gone with cluster.json
                self.uid = Some(uid);
                self.must_read = true;
            }
            (_, Outcome::Records(records)) => self.read(now, asked, records, timers),
            (Effect::Write(change), Outcome::Written(written)) => {
                self.wrote(asked, &change, written)
            }
            (_, Outcome::Votes(votes)) => self.book.record(asked, &votes, timers),
            (_, Outcome::Looked(look)) => self.looked(asked, look),
            (Effect::ReadLog, Outcome::Log(log)) => {
                self.log = self.marker.map(|marker| (marker.attempt, Some(log)))
            }
            (Effect::FetchPlan(pin), Outcome::Plan(plan)) => {
                self.unable.retain(|plan| *plan != pin.sha256);
                self.plan = Some((pin, plan));
            }
            (Effect::PutPlan(plan), Outcome::PlanWritten(pin)) => self.drafted = Some((pin, *plan)),
            (Effect::Save(save), Outcome::Saved(manifest)) => {
                self.saved_by(now, asked, &save, manifest)
            }
            (Effect::SalvageCopy { .. }, Outcome::Saved(manifest)) => {
                self.saved = Some((now, manifest));
                self.catalogue = None;
            }
            (Effect::ReadCatalogue { inc, .. }, Outcome::Catalogue(manifests)) => {
                self.catalogue_read(inc, asked, manifests, timers);
            }
            (Effect::Prove, Outcome::Ok) => self.proven = true,
            (Effect::Verify(source), Outcome::Ok) => {
                let proven = source.object.as_ref().map(|pin| pin.sha256);
                self.bad.retain(|(_, bad)| proven != Some(*bad));
                self.verified.extend(source.object.map(|pin| (pin.sha256, asked)));
            }
            (_, Outcome::Members(listed)) => self.listed = Some((asked, listed)),
            (effect, Outcome::Ok | Outcome::LearnerAdded(_)) => self.did(now, &effect),
            (effect, outcome) => unreachable!("the driver answered {effect:?} with {outcome:?}"),
        }
    }

    fn read(&mut self, now: Moment, asked: Moment, records: Arc<Records>, timers: &Timers) {
        self.must_read = false;
        if let Some(ctrl) = &records.ctrl {
            self.watch.record(now, ctrl.lease.as_ref(), timers);
            let stands = (ctrl.phase, ctrl.attempt, ctrl.plan.as_ref().map(|pin| pin.sha256));
            if self.phase_since.is_none_or(|(stood, _)| stood != stands) {
                self.phase_since = Some((stands, now));
            }
            if self.version_since.is_none_or(|(version, _)| version != ctrl.version) {
                self.version_since = Some((ctrl.version, now));
            }
            if ctrl.opened && self.opened_since.is_none_or(|(inc, _)| inc != ctrl.inc) {
                self.opened_since = Some((ctrl.inc, now));
            }
            let since = self.request_since.unwrap_or(now);
            self.request_since = ctrl.request.as_ref().map(|_| since);
            for (slot, record) in &records.slots {
                let Some(ran) = &record.ran else { continue };
                let since = self.ran_since.entry(*slot).or_insert((ran.member_id, now));
                if since.0 != ran.member_id {
                    *since = (ran.member_id, now);
                }
            }
            let blocks =
                ctrl.phase == Phase::Fencing && crate::fence::standing(ctrl, &records).blocks;
            self.blocking_since = match self.blocking_since {
                Some((attempt, since)) if blocks && attempt == ctrl.attempt => {
                    Some((attempt, since))
                }
                Some(_) | None => blocks.then_some((ctrl.attempt, now)),
            };
        }
        if let Some(saver) = &records.save {
            let stands = self.saver_since.as_ref().is_some_and(|(rvn, _)| *rvn == saver.rvn);
            if !stands {
                self.saver_since = Some((saver.rvn.clone(), now));
            }
        }
        let before = self.records.as_ref().filter(|_| !self.bad.is_empty());
        if before.is_some_and(|(_, before)| !before.salvages().eq(records.salvages())) {
            self.bad.clear(); // the snapshot that one of them names may have been one of these
        }
        self.records = Some((asked, records));
    }

    fn saved_by(&mut self, now: Moment, asked: Moment, save: &Save, manifest: Manifest) {
        self.save_asked &= save.reason != Reason::Hand;
        if is_last_word(save.reason) {
            self.spoke_last();
        }
        self.save_took = now.since(asked);
        if save.export {
            self.exported = Some(now);
        }
        // a member that differs stays doubtful until it was asked again and does not
        if !save.peers.is_empty() && manifest.doubt != Some(Doubt::Differs) {
            self.peers_asked = Some(now);
        }
        self.saved = Some((now, manifest));
        self.catalogue = None;
    }

    fn catalogue_read(&mut self, inc: u64, asked: Moment, found: Vec<Manifest>, timers: &Timers) {
        let ctrl = self.records.as_ref().and_then(|(_, records)| records.ctrl.as_ref());
        let ended = ctrl.is_some_and(|ctrl| inc < ctrl.inc);
        let known = if ended { &mut self.ended } else { &mut self.catalogue };
        let before = known.replace((inc, asked, found)).map(|(_, asked, _)| asked);
        let rested = before.is_some_and(|before| asked.since(before) >= timers.lin);
        if self.has_no_source() && rested {
            self.bad.clear(); // there is nothing else to do than to try them again
        }
    }

    /// The attempt on record waits because there is nothing to restore.
    fn has_no_source(&self) -> bool {
        let ctrl = self.records.as_ref().and_then(|(_, records)| records.ctrl.as_ref());
        ctrl.is_some_and(|ctrl| ctrl.parked == Some(Parked::Approval(Why::NoSource)))
    }

    fn wrote(&mut self, asked: Moment, change: &Change, written: Written) {
        self.must_read = true;
        match (&*change.record, written) {
            (RecordChange::Ctrl { before: None, after }, Written::Applied) => {
                self.founding = Some((after.uid.clone(), true));
            }
            (RecordChange::Ctrl { before: Some(before), after }, Written::Applied)
                if before.lease != after.lease =>
            {
                let epoch = after.lease.as_ref().map_or(0, |lease| lease.epoch);
                self.watch.won(asked, epoch);
            }
            (RecordChange::Slot { before, after, .. }, Written::Applied)
                if before.owner != after.owner =>
            {
                self.seated = true;
            }
            (RecordChange::Slot { before, after, .. }, Written::Applied)
                if before.ran != after.ran =>
            {
                // a member that is adopted has a log, and is never begun
                self.unstarted = after.ran.clone().filter(|_| change.name == "first start");
            }
            // whether it was applied is told by the record that is read next
            (RecordChange::Save { after, .. }, Written::Applied | Written::Unknown) => {
                self.claimed = Some((after.rvn.clone(), asked));
            }
            (
                RecordChange::Ctrl { .. } | RecordChange::Slot { .. } | RecordChange::Save { .. },
                Written::Applied | Written::Refused | Written::Unknown,
            ) => {}
        }
    }

    fn looked(&mut self, asked: Moment, look: Look) {
        self.must_look = false;
        self.marker = self.marker.max(look.memory.marker);
        self.retired = self.retired.max(look.memory.retired);
        if let Answer::Status(status) = &look.etcd {
            self.starts = 0;
            if status.linearizable {
                self.reached = Some((status.cluster_id, asked));
            }
            let inc = look.memory.ran.as_ref().map_or(0, |ran| ran.inc);
            if self.revision.0 == inc {
                self.revision.1 = self.revision.1.max(status.revision);
            } else {
                self.revision = (inc, status.revision);
            }
        }
        if matches!(look.etcd, Answer::Refused { .. }) {
            self.refused = Some(asked);
        }
        self.look = Some((asked, look));
    }

    /// The machine, the data or etcd was changed: what we saw of it before is old.
    fn did(&mut self, now: Moment, effect: &Effect) {
        self.must_look = true;
        self.listed = None;
        match effect {
            Effect::Mark(marker) => {
                self.marker = self.marker.max(Some(*marker));
                self.kept = self.kept.max(Some((*marker, now)));
            }
            Effect::Unmark(_) => {
                self.marker = None;
                self.kept = None;
            }
            Effect::Retire(inc) => self.retired = self.retired.max(*inc),
            Effect::Start(_) => {
                self.unstarted = None;
                self.starts = self.starts.saturating_add(1);
                self.started_at = Some(now);
            }
            Effect::DisarmNoSpace => self.disarmed = self.retired + 1,
            Effect::Stop
            | Effect::RememberOpened(_)
            | Effect::RememberSeat(..)
            | Effect::RememberRan(_)
            | Effect::Swap { .. }
            | Effect::MoveAside { .. }
            | Effect::Restore(..)
            | Effect::RemoveMember(_)
            | Effect::AddLearner { .. }
            | Effect::Promote(_) => {}
            Effect::Prove
            | Effect::Discover
            | Effect::ReadRegistry
            | Effect::Write(_)
            | Effect::Found(_)
            | Effect::Exchange(_)
            | Effect::Look { .. }
            | Effect::ReadLog
            | Effect::FetchPlan(_)
            | Effect::PutPlan(_)
            | Effect::Save(_)
            | Effect::SalvageCopy { .. }
            | Effect::ReadCatalogue { .. }
            | Effect::Verify(_)
            | Effect::ListMembers => unreachable!("{effect:?} brings more than a yes"),
        }
    }
}
