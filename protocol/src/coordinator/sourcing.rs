//! **sourcing** — the end of FENCING: which snapshot, how many members, the operator's consent,
//! the plan, the commit. Everything before the commit may be done twice; the commit only once.

use super::{Mode, Scene, Step};
use crate::{
    change,
    cluster::{Digest, Seat, Slot, quorum},
    effect::Effect,
    explanation::{Code, Note},
    fence::Standing,
    guards,
    limits::REVISION_END,
    manifest::{Doubt, Manifest},
    plan::Plan,
    registry::{Approval, Parked, Source, Why},
    source::{self, Choice},
    time::Moment,
    vote::Health,
};
use alloc::{borrow::Cow, collections::BTreeSet, string::String, vec::Vec};

/// A survivor's data can't be saved.
pub(super) const SALVAGE: Parked = Parked::Approval(Why::Salvage);

/// Most snapshots that a plan names as passed over.
const NAMED_MAX: usize = 8;

impl Scene<'_> {
    /// The manifests of the present incarnation, read during this attempt; or the step that reads them.
    #[expect(clippy::result_large_err, reason = "the step is taken at once")]
    pub(super) fn catalogue(&self) -> Result<&[Manifest], Step> {
        let phase_since = self.core.known.phase_since.map(|(_, since)| since);
        self.catalogue_of(self.ctrl.inc, phase_since.unwrap_or_default())
    }

    /// The manifests of an incarnation, read at `since` or later; or the step that reads them.
    #[expect(clippy::result_large_err, reason = "the step is taken at once")]
    pub(super) fn catalogue_of(&self, inc: u64, since: Moment) -> Result<&[Manifest], Step> {
        let known = &self.core.known;
        let read = if inc < self.ctrl.inc { &known.ended } else { &known.catalogue };
        let read = read
            .as_ref()
            .filter(|(of, asked, _)| *of == inc && *asked >= since)
            .filter(|(_, asked, found)| !self.lacks_salvage(inc, *asked, found));
        match read {
            Some((_, _, manifests)) => Ok(manifests),
            None => {
                let note = Note::new(Code::Salvaging, "reads which snapshots there are");
                Err(Step::Do(Effect::ReadCatalogue { inc, pointers: self.pointers() }, note))
            }
        }
    }

    /// Snapshots that this attempt has seen to be of no use.
    pub(super) fn bad_snapshots(&self) -> Vec<Digest> {
        self.core.known.bad_in(self.ctrl.attempt)
    }

    /// Whether a snapshot was proven to be whole at `since` or later; else the step that proves it.
    #[expect(clippy::result_large_err, reason = "the step is taken at once")]
    pub(super) fn proven(&self, source: &Source, since: Moment) -> Result<(), Step> {
        let Some(pin) = &source.object else { return Ok(()) };
        let mut verified = self.core.known.verified.iter();
        if verified.any(|(sha256, asked)| *sha256 == pin.sha256 && *asked >= since) {
            return Ok(());
        }
        let revision = source.revision;
        let text = alloc::format!("proves that the snapshot at revision {revision} restores");
        Err(Step::Do(Effect::Verify(source.clone()), Note::new(Code::Salvaging, text)))
    }

    /// Manifest keys that votes, salvages and a request name: LIST may be behind (protocol.md 1.7).
    pub(super) fn pointers(&self) -> Vec<String> {
        let salvages = self.records.salvages().map(|(_, salvage)| salvage);
        let named = self.ctrl.request.as_ref().and_then(|request| request.source.clone());
        let mut keys = self.core.known.book.manifests();
        keys.extend(salvages.filter_map(|salvage| salvage.manifest.clone()));
        keys.extend(named);
        keys
    }

    /// F blocks and has gathered: choose, verify, ask, count, plan, commit.
    pub(super) fn settle_source(&self, standing: &Standing) -> Option<Step> {
        if let Some(step) = self.await_salvage(standing) {
            return Some(step);
        }
        let catalogue = match self.catalogue() {
            Ok(catalogue) => catalogue,
            Err(step) => return Some(step),
        };
        let chosen = match self.choose(catalogue) {
            Ok(chosen) => chosen,
            Err(step) => return Some(step),
        };
        let loss = self.core.known.book.highest_revision().saturating_sub(chosen.0.revision);
        self.ask_about_doubtful(catalogue, &chosen.0)
            .or_else(|| self.ask_operator(loss))
            .or_else(|| self.count_members())
            .or_else(|| self.commit(standing, chosen, loss))
    }

    /// The operator consented to this very question of this very attempt, among others perhaps.
    pub(super) fn is_approved(&self, parked: Parked, about: Option<Slot>) -> bool {
        self.ctrl.approved.contains(&Approval { attempt: self.ctrl.attempt, parked, about })
    }

    /// A rollback throws intact data away: it is saved first, whatever that takes.
    pub(super) fn is_rollback(&self) -> bool {
        self.ctrl.request.as_ref().is_some_and(|request| request.rollback)
    }

    #[expect(clippy::result_large_err, reason = "the step is taken at once")]
    fn choose(&self, catalogue: &[Manifest]) -> Result<(Source, Vec<String>), Step> {
        // what was whole at an earlier attempt may be gone by now
        let since = self.core.known.phase_since.map(|(_, since)| since).unwrap_or_default();
        match source::choose(self.ctrl, catalogue, &self.bad_snapshots()) {
            Choice::Manifest(manifest, fallbacks) => {
                let source = source::from_manifest(&manifest, self.highest_seen(catalogue));
                self.proven(&source, since).map(|()| (source, fallbacks))
            }
            Choice::Again(source) => {
                let source = source::again(&source, self.highest_seen(catalogue));
                self.proven(&source, since).map(|()| (source, Vec::new()))
            }
            Choice::None => self.choose_another(),
        }
    }

    /// An incarnation that was never opened is restored from what it was made from, or, where that can't be
    /// read any more, from the next one that its plan could have fallen back on.
    #[expect(clippy::result_large_err, reason = "the step is taken at once")]
    fn choose_another(&self) -> Result<(Source, Vec<String>), Step> {
        let named = self.ctrl.request.as_ref().is_some_and(|request| request.source.is_some());
        let old = self.ctrl.source.as_ref().filter(|_| !self.ctrl.opened && !named);
        if let Some(found) = old.map(|old| self.fall_back(old)).transpose()?.flatten() {
            return Ok(found);
        }
        Err(self.look_again().unwrap_or_else(|| {
            self.park(Parked::Approval(Why::NoSource), Code::NoSnapshot, self.no_source())
        }))
    }

    /// Where there is nothing to restore, somebody may put it there: the bucket is read again.
    fn look_again(&self) -> Option<Step> {
        let inc = source::lineage(self.ctrl);
        let known = &self.core.known;
        let read = if inc < self.ctrl.inc { &known.ended } else { &known.catalogue };
        let (_, asked, _) = read.as_ref()?;
        let due = self.ctrl.parked.is_some() && self.now.since(*asked) >= self.timers().lin;
        let effect = Effect::ReadCatalogue { inc, pointers: self.pointers() };
        let note = Note::new(Code::NoSnapshot, self.no_source());
        due.then_some(Step::Do(effect, note))
    }

    /// What keeps a request from beginning: its source is not there, or not proven yet.
    pub(super) fn requested_source_waits(&self, since: Moment) -> Option<Step> {
        let catalogue = match self.catalogue_of(self.ctrl.inc, since) {
            Ok(catalogue) => catalogue,
            Err(step) => return Some(step),
        };
        match source::choose(self.ctrl, catalogue, &self.bad_snapshots()) {
            Choice::Manifest(manifest, _) => {
                self.proven(&source::from_manifest(&manifest, 0), since).err()
            }
            Choice::Again(source) => self.proven(&source, since).err(),
            Choice::None => self.named_waits(catalogue), // or a survivor may be salvaged
        }
    }

    /// The named snapshot is damaged or not there; somebody may put it there, so it is looked for
    /// again and again, at a slow pace.
    fn named_waits(&self, catalogue: &[Manifest]) -> Option<Step> {
        let named = self.ctrl.request.as_ref()?.source.as_ref()?;
        let note = Note::new(Code::NoSnapshot, self.no_source());
        let damaged = catalogue.iter().find(|manifest| manifest.key() == *named);
        if let Some(doubted) =
            damaged.filter(|found| !guards::is_trusted(found, &self.ctrl.adopted))
        {
            let (why, force) = doubted.doubt.map(Doubt::name).map_or_else(
                || ("nobody answers for it any more".into(), String::new()),
                |doubt| (doubt.into(), alloc::format!(" --force {doubt}")),
            );
            let why: String = why;
            let text = alloc::format!(
                "the snapshot that the request names is doubtful ({why}): say `requorum snapshot adopt \
                 {named}{force} --because TEXT`, or `requorum abort`"
            );
            return Some(Step::Wait(Note::new(Code::DoubtfulSnapshot, text)));
        }
        let effect = match damaged {
            Some(damaged) => Effect::Verify(source::from_manifest(damaged, 0)),
            None => Effect::ReadCatalogue { inc: self.ctrl.inc, pointers: self.pointers() },
        };
        let (_, asked, _) = self.core.known.catalogue.as_ref()?;
        let due = damaged.is_some() || self.now.since(*asked) >= self.timers().lin;
        Some(if due { Step::Do(effect, note) } else { Step::Wait(note) })
    }

    fn no_source(&self) -> &'static str {
        if self.ctrl.request.as_ref().is_some_and(|request| request.source.is_some()) {
            "the snapshot that the request names is not there, or does not restore; say `requorum abort`"
        } else {
            "no verified snapshot of this incarnation, and no survivor's data: bring back a machine \
             that has some, bring a snapshot with `requorum snapshot adopt KEY --because TEXT`, or say \
             `requorum abort`"
        }
    }

    /// The highest revision that a client of this cluster may have seen, as far as it was said.
    fn highest_seen(&self, catalogue: &[Manifest]) -> u64 {
        let saved = catalogue.iter().map(|manifest| manifest.revision).max().unwrap_or(0);
        let saved = saved.min(REVISION_END);
        let began = self.ctrl.source.as_ref().map_or(0, |source| source.revision + source.bump);
        self.core.known.book.highest_revision().max(saved).max(began)
    }

    pub(super) fn park(
        &self,
        parked: Parked,
        code: Code,
        text: impl Into<Cow<'static, str>>,
    ) -> Step {
        let note = Note::new(code, text);
        if self.ctrl.parked == Some(parked) {
            return Step::Wait(note);
        }
        Step::Do(Effect::Write(change::park(self.ctrl, Some(parked))), note)
    }

    /// A newer snapshot is doubtful, or only another cluster's is left: to go on may lose what clients were
    /// told, or restore what they never wrote. An operator knows which is right.
    fn ask_about_doubtful(&self, catalogue: &[Manifest], chosen: &Source) -> Option<Step> {
        let named = self.ctrl.request.as_ref().is_some_and(|request| request.source.is_some());
        let parked = Parked::Approval(Why::Doubt);
        if named || self.is_approved(parked, None) {
            return None;
        }
        let object = chosen.object.as_ref()?;
        // what is restored once more, because nothing was saved since, was chosen before
        let chosen = catalogue.iter().find(|manifest| manifest.sha256 == object.sha256)?;
        let note = self.question(catalogue, chosen, u64::MAX)?;
        Some(self.park(parked, note.code, note.text))
    }

    /// Policy: what would be lost, and who may say yes to it.
    fn ask_operator(&self, loss: u64) -> Option<Step> {
        if self.ctrl.request.is_some() {
            return None;
        }
        let policy = self.policy();
        let too_much = policy.max_loss.is_some_and(|bound| loss > bound);
        let why = match (policy.mode, too_much) {
            (Mode::Automatic, false) => return None,
            (Mode::Automatic, true) => Why::Loss,
            (Mode::Ask | Mode::Off, _) => Why::Ask,
        };
        if self.is_approved(Parked::Approval(why), None) {
            return None;
        }
        let attempt = self.ctrl.attempt;
        let text = alloc::format!(
            "at least {loss} revisions would be lost; say `requorum approve {attempt}` or `requorum abort`"
        );
        Some(self.park(Parked::Approval(why), Code::ApprovalNeeded, text))
    }

    /// The seats whose agents live and say nothing of a volume that is away: they become the new voters.
    pub(super) fn new_seats(&self) -> Vec<Seat> {
        let away = |slot| self.vote(slot).is_some_and(|vote| vote.health == Health::Unmounted);
        let live: Vec<_> = self.live_slots().filter(|slot| !away(*slot)).collect();
        self.ctrl.seats.iter().filter(|seat| live.contains(&seat.slot)).cloned().collect()
    }

    fn count_members(&self) -> Option<Step> {
        let needed =
            self.policy().min_members.unwrap_or_else(|| quorum(self.ctrl.seats.len())).max(1);
        let live = self.new_seats().len();
        if live >= needed {
            return None;
        }
        let text = alloc::format!(
            "{live} of at least {needed} agents live and have their volume: start agents on the missing \
             seats, mount what is away, or set REQUORUM_MIN_MEMBERS"
        );
        Some(self.park(Parked::MinMembers, Code::MinMembers, text))
    }

    fn commit(
        &self,
        standing: &Standing,
        chosen: (Source, Vec<String>),
        loss: u64,
    ) -> Option<Step> {
        let (source, fallbacks) = chosen;
        let epoch = self.ctrl.lease.as_ref().map_or(0, |lease| lease.epoch);
        let drafted = self.core.known.drafted.as_ref().filter(|(_, plan)| {
            let same = (plan.attempt, plan.epoch, plan.inc)
                == (self.ctrl.attempt, epoch, self.ctrl.inc + 1);
            same && plan.source == source && plan.seats == self.new_seats()
        });
        if let Some((pin, plan)) = drafted {
            let counted: Vec<_> = standing.fenced.iter().map(|(slot, _)| *slot).collect();
            let text = alloc::format!(
                "commits attempt {}: incarnation {} is over, revision {} is restored; at least {loss} \
                 revisions are lost",
                self.ctrl.attempt,
                self.ctrl.inc,
                plan.source.revision
            );
            return Step::act(
                Effect::Write(change::commit(self.ctrl, self.records, plan, pin, &counted)),
                Code::Restoring,
                text,
            );
        }
        let plan = self.new_plan(source, fallbacks, loss, self.ctrl.inc + 1);
        Step::act(Effect::PutPlan(plan.into()), Code::Restoring, "writes the plan")
    }

    /// What this attempt found to be of no use, for whoever asks later why an older one was restored: the
    /// plan is written once and stays in the bucket.
    fn passed_over(&self) -> String {
        let bad = self.bad_snapshots();
        let read = [&self.core.known.catalogue, &self.core.known.ended];
        let found = read.into_iter().flatten().flat_map(|(_, _, manifests)| manifests);
        let keys = found.filter(|manifest| bad.contains(&manifest.sha256)).map(Manifest::key);
        let keys: BTreeSet<String> = keys.collect();
        let keys: Vec<String> = keys.into_iter().rev().take(NAMED_MAX).collect(); // the newest first
        if keys.is_empty() {
            return String::new();
        }
        alloc::format!("; passed over, since they could not be restored: {}", keys.join(", "))
    }

    pub(super) fn new_plan(
        &self,
        source: Source,
        fallbacks: Vec<String>,
        loss: u64,
        inc: u64,
    ) -> Plan {
        let because = match &self.ctrl.request {
            Some(request) => alloc::format!("asked for by {}: {}", request.by, request.because),
            None => alloc::format!("a quorum of incarnation {} was lost", inc - 1),
        } + &self.passed_over();
        Plan {
            uid: self.ctrl.uid.clone(),
            inc,
            attempt: self.ctrl.attempt,
            epoch: self.ctrl.lease.as_ref().map_or(0, |lease| lease.epoch),
            token: alloc::format!("{}-{inc}-{}", self.ctrl.uid, self.core.fresh("token")),
            seats: self.new_seats(),
            source,
            fallbacks,
            loss,
            because,
        }
    }
}
