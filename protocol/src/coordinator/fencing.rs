//! **fencing** — FENCING, both roles: the member's promise, and the leader's count.
//!
//! The member (protocol.md 1.8): stop, mark durably, see it stopped once more, read the log,
//! publish. A crash before the mark leaves etcd free to start and nothing counted; a crash after
//! it keeps etcd down, and the next look goes on from there.
//!
//! The leader: count what stands, call off what is not needed, commit what blocks.

use super::{Scene, Step, troubles::Copies};
use crate::{
    change,
    cluster::{MemberId, Slot},
    effect::{Effect, Lane},
    explanation::{Code, Note},
    fence::{self, Standing},
    guards,
    limits::{REFUSALS, STARTS_IN_VAIN},
    manifest::Reason,
    mutant::{self, Mutant},
    observation::{InAttempt, LogState},
    registry::{Evidence, Fence},
    time::Moment,
};
use alloc::{string::String, vec::Vec};

impl Scene<'_> {
    /// This machine's part of the open attempt.
    pub(super) fn consent(&self) -> Option<Step> {
        let concerned = fence::seats_concerned(self.ctrl).contains(&self.slot);
        if self.ctrl.paused.is_some() || !concerned || !self.may_testify() {
            return None;
        }
        let attempt = InAttempt { inc: self.ctrl.inc, attempt: self.ctrl.attempt };
        let promised = self.core.known.kept.is_some_and(|(kept, _)| kept >= attempt);
        let half = self.marker().is_some_and(|marker| marker >= attempt);
        let veto = self.quorum_lives() && !mutant::is(Mutant::HealthyConsents);
        if !half && self.ctrl.is_guarded() && veto {
            // S20: a healthy member never consents; its vote is the veto
            return None;
        }
        let promised = promised || (mutant::is(Mutant::RecordBeforeMarker) && self.is_stopped());
        if !promised {
            // a promise found on the disk may be in one of its two places only: it is made again
            let words = if half { None } else { self.last_words() };
            return words.or_else(|| self.promise(attempt));
        }
        self.see_it_stopped().or_else(|| self.publish_fence()).or_else(|| self.salvage())
    }

    /// C and D are the word of the machine that ran the member, N that of the seat's owner; any
    /// other machine's word about the seat is nothing (protocol.md 1.4 "Who may testify").
    fn may_testify(&self) -> bool {
        let unrun = self.nobody_ran() || mutant::is(Mutant::StrangerNeverRan);
        self.i_ran() || (self.owner().is_some() && unrun)
    }

    /// A member that still answers is asked for a snapshot before it is stopped: it needs no quorum
    /// and holds all the member has applied (etcd.md 4.2 A). Tried once; a failure stops nothing.
    fn last_words(&self) -> Option<Step> {
        let answers = self.answer().is_some();
        if !answers
            || self.core.known.last_words == Some(self.ctrl.attempt)
            || self.is_saved_lately()
        {
            return None;
        }
        let reason =
            if self.ctrl.is_guarded() { Reason::Suspicion } else { Reason::BeforeRollback };
        let effect = self.save(reason, None);
        if self.core.lanes.is_free(effect.lane(), self.now) {
            return Step::act(
                effect,
                Code::Saving,
                "saves what this member holds before it is stopped",
            );
        }
        let saving = matches!(self.core.lanes.running(effect.lane()), Some(Effect::Save(_)));
        saving.then(|| {
            Step::Wait(Note::new(Code::Saving, "the last snapshot of this member is under way"))
        })
    }

    /// What this member has applied is in the bucket already.
    fn is_saved_lately(&self) -> bool {
        let saved = self.core.known.saved.as_ref();
        let applied = self.answer().map_or(u64::MAX, |status| status.applied);
        saved.is_some_and(|(_, manifest)| {
            let of_it = manifest.inc == self.ctrl.inc && manifest.applied >= applied;
            of_it && guards::is_trusted(manifest, &self.ctrl.adopted)
        })
    }

    fn promise(&self, attempt: InAttempt) -> Option<Step> {
        if !self.is_stopped() && !mutant::is(Mutant::MarkedWhileRunning) {
            return Step::act(Effect::Stop, Code::Fencing, "stops etcd for good");
        }
        let text = alloc::format!(
            "promises never to run incarnation {} unless attempt {} is called off",
            attempt.inc,
            attempt.attempt
        );
        Step::act(Effect::Mark(attempt), Code::Fencing, text)
    }

    /// A gate that ran just before the mark may still have forked etcd: stopped counts only when it
    /// is seen after the mark is durable (protocol.md A3).
    fn see_it_stopped(&self) -> Option<Step> {
        if mutant::is(Mutant::NoSecondLook) || mutant::is(Mutant::MarkedWhileRunning) {
            return None;
        }
        if !self.is_stopped() {
            return Step::act(
                Effect::Stop,
                Code::Fencing,
                "stops etcd that was started beside the promise",
            );
        }
        let seen_after =
            self.core.known.kept.is_some_and(|(_, marked_at)| self.looked_at >= marked_at);
        (!seen_after).then(|| {
            Step::Wait(Note::new(Code::Fencing, "looks once more whether etcd is stopped"))
        })
    }

    fn publish_fence(&self) -> Option<Step> {
        let stands =
            self.mine.fence.as_ref().is_some_and(|fence| fence.attempt >= self.ctrl.attempt);
        if stands {
            return None;
        }
        if !self.i_ran() {
            let fence = self.my_fence(Evidence::NeverRan, None);
            let change = change::fence_never_ran(self.slot, self.mine, self.owner()?, fence);
            return Step::act(
                Effect::Write(change),
                Code::Fencing,
                "fenced: this seat never ran this incarnation",
            );
        }
        if self.data_is_lost() {
            let fence = self.my_fence(Evidence::DataLost, None);
            let change = change::fence_own(self.slot, self.mine, fence);
            return Step::act(Effect::Write(change), Code::Fencing, "fenced: its data is lost");
        }
        // F2: the fence stands for the member that ran here; another's log says nothing of that one
        let its_own = |id| {
            let ran = self.mine.ran.as_ref();
            ran.is_some_and(|ran| ran.member_id == id) || mutant::is(Mutant::ForeignLog)
        };
        let readable = matches!(self.data().log, LogState::Present { member_id, .. } if its_own(member_id))
            && self.data_inc() == Some(self.ctrl.inc);
        let read =
            self.core.known.log.as_ref().filter(|(attempt, _)| *attempt == self.ctrl.attempt);
        // a disk that stalls is given half of T_fence; what can't be read till then isn't waited for
        let stalls = self.core.known.failures.contains_key(&Lane::Machine)
            && self.in_phase() >= self.timers().fence.half();
        let log = match (readable && !(stalls && read.is_none()), read) {
            (true, None) => return Step::act(Effect::ReadLog, Code::Fencing, "reads its log"),
            (true, Some((_, log))) => log.clone(),
            (false, _) => None,
        };
        if readable && self.may_be_spoiled() {
            return self.try_a_copy();
        }
        if readable && self.is_spoiled() {
            let fence = self.my_fence(Evidence::DataLost, log); // its configurations count
            let text = "fenced: its data is lost, etcd refuses every copy of it";
            let change = change::fence_own(self.slot, self.mine, fence);
            return Step::act(Effect::Write(change), Code::Fencing, text);
        }
        let text = match &log {
            Some(log) => alloc::format!(
                "fenced by consent, log term {} index {}",
                log.last_term,
                log.last_index
            ),
            None => "fenced by consent; its data can't be read".into(),
        };
        let change = change::fence_own(self.slot, self.mine, self.my_fence(Evidence::Consent, log));
        Step::act(Effect::Write(change), Code::Fencing, text)
    }

    /// etcd was started again and again and never answered: its data may be what it refuses. Where
    /// that can't be tried, or not in time, it is not said.
    fn may_be_spoiled(&self) -> bool {
        let saved = self.core.known.saved.as_ref();
        let came_up = saved.is_some_and(|(at, manifest)| {
            manifest.reason == Reason::Salvage && self.saw_phase_at(*at)
        });
        let in_time = self.in_phase() < self.timers().fence.half();
        let undecided = !came_up && !self.is_spoiled() && self.copies().failed == 0;
        self.core.known.starts >= STARTS_IN_VAIN && undecided && in_time
    }

    /// Whether a moment is of the present phase.
    fn saw_phase_at(&self, at: Moment) -> bool {
        self.core.known.phase_since.is_some_and(|(_, since)| at >= since)
    }

    /// etcd refused so many copies of it that it is lost (protocol.md 1.4 "When data is lost").
    pub(super) fn is_spoiled(&self) -> bool {
        self.copies().refused >= REFUSALS
    }

    pub(super) fn copies(&self) -> Copies {
        let copies = self.core.known.copies.filter(|(attempt, _)| *attempt == self.ctrl.attempt);
        copies.map(|(_, copies)| copies).unwrap_or_default()
    }

    fn try_a_copy(&self) -> Option<Step> {
        Step::act(
            Effect::SalvageCopy { inc: self.ctrl.inc },
            Code::Salvaging,
            "etcd never came up with this data: it is tried on a copy",
        )
    }

    fn my_fence(&self, kind: Evidence, log: Option<crate::observation::LogSummary>) -> Fence {
        let instance = self.core.me.instance.clone();
        Fence { inc: self.ctrl.inc, attempt: self.ctrl.attempt, kind, instance, log }
    }

    // ------------------------------------------------------------ the leader

    /// Counts, calls off, waits or commits. Nothing here trusts anything but the records.
    pub(super) fn lead_fencing(&self) -> Option<Step> {
        let standing = fence::standing(self.ctrl, self.records);
        let guarded = self.ctrl.is_guarded() && !mutant::is(Mutant::VetoIgnored);
        if guarded && self.quorum_lives() {
            return self.call_off(Code::QuorumAlive, "a quorum lives");
        }
        if guarded && standing.recoverable {
            let text = alloc::format!(
                "{} members are intact, a plain restart suffices",
                standing.intact.len()
            );
            return self.call_off(Code::Recoverable, &text);
        }
        if let Some(because) = self.pause() {
            return Step::wait(Code::Paused, alloc::format!("paused: {because}"));
        }
        if let Some(step) = self.fence_attested(&standing) {
            return Some(step);
        }
        if !standing.blocks || self.scope_is_open(&standing) {
            return self.wait_for_evidence(&standing);
        }
        self.wait_to_gather(&standing).or_else(|| self.settle_source(&standing))
    }

    pub(super) fn call_off(&self, code: Code, why: &str) -> Option<Step> {
        let text = alloc::format!("calls attempt {} off: {why}", self.ctrl.attempt);
        Step::act(Effect::Write(change::abort(self.ctrl)), code, text)
    }

    /// O: an attestation becomes a fence for this attempt.
    fn fence_attested(&self, standing: &Standing) -> Option<Step> {
        if mutant::is(Mutant::AttestedUnwritten) {
            return None;
        }
        let slot = standing
            .missing
            .iter()
            .copied()
            .find(|slot| self.records.is_attested(*slot, self.ctrl.inc))?;
        let record = self.records.slot(slot);
        let machine = record.attest.as_ref()?.instance.clone();
        let change = change::fence_attested(slot, record, self.ctrl, &machine);
        Step::act(
            Effect::Write(change),
            Code::Fencing,
            alloc::format!("{} fenced by attestation", self.name(slot)),
        )
    }

    fn scope_is_open(&self, standing: &Standing) -> bool {
        let is_fenced = |slot: &Slot| standing.fenced.iter().any(|(fenced, _)| fenced == slot);
        self.ctrl.request.as_ref().is_some_and(|request| !request.scope.iter().all(is_fenced))
    }

    /// T_fence bounds an attempt that can't block; a machine that is waited for stretches it.
    fn wait_for_evidence(&self, standing: &Standing) -> Option<Step> {
        let lasted = self.in_phase();
        let text =
            alloc::format!("not enough evidence: {}", self.missing_evidence(standing).join("; "));
        if lasted >= self.timers().fence {
            return self.call_off(Code::EvidenceMissing, &text);
        }
        Step::wait(Code::EvidenceMissing, text)
    }

    /// What each unfenced seat lacks, in words an operator can act on (L3).
    pub(super) fn missing_evidence(&self, standing: &Standing) -> Vec<String> {
        let lacks = |slot: &Slot| {
            let name = self.name(*slot);
            match self.vote(*slot) {
                Some(_) => alloc::format!("{name}: its agent lives and has not fenced it yet"),
                None => alloc::format!(
                    "{name}: silent; bring its machine back, or if it is gone for good say `requorum attest {name} --because ...`"
                ),
            }
        };
        let shows = |slot: &Slot| {
            let log = self.records.slot(*slot).fence.as_ref()?.log.as_ref()?;
            let open = |config: &&Vec<MemberId>| {
                let free = standing.open_configs.iter();
                free.into_iter().any(|free| free.iter().all(|id| config.contains(id)))
            };
            let (name, voters) = (self.name(*slot), log.configs.iter().find(open)?.len());
            Some(alloc::format!(
                "{name}: its log shows {voters} voters, and too few of these are fenced; if that data \
                 is of no use, take its machine away and say `requorum attest {name} --because ...`"
            ))
        };
        let lacking: Vec<String> = standing.missing.iter().map(lacks).collect();
        if !lacking.is_empty() {
            return lacking;
        }
        standing.fenced.iter().filter_map(|(slot, _)| shows(slot)).collect()
    }

    /// Blocking already: wait T_gather for better sources, and T_permanent for a machine that may
    /// make this a plain restart (protocol.md 1.8).
    fn wait_to_gather(&self, standing: &Standing) -> Option<Step> {
        let blocking = self
            .core
            .known
            .blocking_since
            .map_or(crate::time::Span(0), |(_, since)| self.now.since(since));
        if blocking < self.timers().drain {
            return Step::wait(Code::Gathering, "waits until appends already sent have arrived");
        }
        let may_recover = self.ctrl.is_guarded()
            && standing.may_recover
            && !standing.waited.is_empty()
            && !mutant::is(Mutant::GatherOnly);
        if may_recover && blocking < self.timers().permanent {
            let names: Vec<String> = standing.waited.iter().map(|slot| self.name(*slot)).collect();
            let text = alloc::format!(
                "{} may hold intact data and make this a plain restart; waited for",
                names.join(", ")
            );
            return Step::wait(Code::WaitingForMachine, text);
        }
        if !may_recover && !standing.missing.is_empty() && blocking < self.timers().gather {
            return Step::wait(
                Code::Gathering,
                "the fences block already; waits for the rest of the members",
            );
        }
        None
    }

    /// How long this agent has seen the present phase, attempt and plan.
    pub(super) fn in_phase(&self) -> crate::time::Span {
        let since = self.core.known.phase_since.map(|(_, since)| since);
        since.map_or(crate::time::Span(0), |since| self.now.since(since))
    }
}
