//! **restoring** — COMMITTED to OPEN, both roles: download, restore, swap, start, compare.
//!
//! A member obeys the plan that `ctrl` pins and nothing else. It restores beside its old data,
//! swaps only when STARTING is read, writes `ran` before the first start, and shows its content.
//! The leader only compares records; it never dials a member.

use super::{Scene, Step};
use crate::{
    change,
    cluster::{Digest, Slot, quorum},
    effect::{Effect, Lane},
    explanation::Code,
    mutant::{self, Mutant},
    observation::{LogState, Ran},
    plan::Plan,
    registry::{Phase, Pin, Restored, Started},
};
use alloc::{collections::BTreeSet, string::String, vec::Vec};

impl Scene<'_> {
    /// The revision at which restored members are compared, while that is of interest.
    pub(super) fn check_at(&self) -> Option<u64> {
        let compares = matches!(self.ctrl.phase, Phase::Starting | Phase::Verifying);
        let source = self.ctrl.source.as_ref().filter(|_| compares)?;
        Some(source.revision + source.bump)
    }

    /// This machine's part of the plan.
    pub(super) fn restore_part(&self) -> Option<Step> {
        let pin = self.ctrl.plan.as_ref()?;
        let member = self.my_member()?;
        if self.nobody_ran() {
            self.owner()?;
            let Some(plan) = self.plan() else {
                return self.fetch_plan(pin);
            };
            if plan.uid != self.ctrl.uid || plan.inc != self.ctrl.inc {
                return Step::wait(
                    Code::Unable,
                    "the pinned plan is of another cluster or incarnation",
                );
            }
            return self.restore(plan).or_else(|| self.first_start(plan, member.id));
        }
        self.show_content()
    }

    /// A plan that is not what was pinned can't be obeyed: the leader is told, and pins another.
    fn fetch_plan(&self, pin: &Pin) -> Option<Step> {
        if self.core.known.unable.contains(&pin.sha256) && self.ctrl.phase == Phase::Restoring {
            return self.report_failure(pin.sha256);
        }
        Step::act(Effect::FetchPlan(pin.clone()), Code::Restoring, "reads the plan")
    }

    /// Says once that this machine can't do its part of the plan.
    fn report_failure(&self, plan: Digest) -> Option<Step> {
        let said = self.mine.restore.as_ref().filter(|restored| restored.plan == plan);
        if said.is_some_and(|restored| restored.failed) {
            let text = match self.core.known.failures.get(&Lane::Data) {
                Some(failure) => alloc::format!("this machine can't do its part: {}", failure.text),
                None => "this machine can't do its part of the plan".into(),
            };
            return Step::wait(Code::Unable, text);
        }
        self.report(Restored { plan, attempt: self.ctrl.attempt, started: None, failed: true })
    }

    /// Restore beside the old data, and say so.
    fn restore(&self, plan: &Plan) -> Option<Step> {
        let digest = self.ctrl.plan.as_ref()?.sha256;
        if !self.is_stopped() {
            return Step::act(Effect::Stop, Code::Restoring, "stops what still runs here");
        }
        if self.is_volume_away() && !mutant::is(Mutant::RestoresBeneath) {
            let text = alloc::format!(
                "nothing is restored here: the data dir is empty and not on the file system that this \
                 node's member ran on. Mount its volume; to use another disk, say `requorum replace {}` \
                 once the cluster serves, or give the node a new REQUORUM_INSTANCE and an empty state \
                 directory",
                self.core.me.name
            );
            return Step::wait(Code::DataLost, text);
        }
        let short = digest.short();
        let swapping = self.data().swap.as_ref() == Some(&short);
        let ready = self.data().restored.contains(&short) || swapping || self.holds_plan(plan);
        let empty = plan.source.object.is_none();
        let reported = self.mine.restore.as_ref().filter(|restored| restored.plan == digest);
        let restoring = self.ctrl.phase == Phase::Restoring; // later it is tried again and again
        if !empty && !ready && restoring && self.core.known.unable.contains(&digest) {
            return self.report_failure(digest);
        }
        if !empty && !ready {
            return Step::act(
                Effect::Restore(plan.clone().into(), digest),
                Code::Restoring,
                "restores the pinned snapshot",
            );
        }
        if reported.is_none_or(|restored| restored.attempt != self.ctrl.attempt) {
            return self.report(Restored {
                plan: digest,
                attempt: self.ctrl.attempt,
                started: None,
                failed: false,
            });
        }
        None
    }

    /// The data dir is empty and elsewhere than where this machine ran its member: what was restored
    /// beneath a mount point would be hidden by the volume when that is back.
    pub(super) fn is_volume_away(&self) -> bool {
        let mine = |ran: &&Ran| ran.instance == self.core.me.instance;
        let remembered = self.look.memory.ran.as_ref().filter(mine);
        let ran = remembered.or_else(|| self.mine.ran.as_ref().filter(mine));
        let elsewhere = ran.is_some_and(|ran| self.data().fs.as_ref() != Some(&ran.fs));
        elsewhere && self.data().log == LogState::Missing
    }

    fn report(&self, restored: Restored) -> Option<Step> {
        let owner = self.owner()?;
        let change = change::report(self.slot, self.mine, owner, restored);
        Step::act(Effect::Write(change), Code::Restoring, "reports its part of the plan")
    }

    /// Swap, write `ran`; its copy and the start itself are `keep_running`'s.
    fn first_start(&self, plan: &Plan, member_id: crate::cluster::MemberId) -> Option<Step> {
        let may_start = matches!(
            self.ctrl.phase,
            Phase::Starting | Phase::Verifying | Phase::Open | Phase::Healing
        );
        if !may_start {
            return Step::wait(Code::Restoring, "restored; starts when enough members are");
        }
        if let Some(foreign) = self.leave_anothers_voter() {
            return Some(foreign);
        }
        let digest = self.ctrl.plan.as_ref()?.sha256;
        if plan.source.object.is_some() && (!self.holds_plan(plan) || self.data().swap.is_some()) {
            let old_inc = self.data_inc().unwrap_or_else(|| self.ctrl.inc.saturating_sub(1));
            let effect = Effect::Swap { plan: plan.clone().into(), digest, old_inc };
            return Step::act(
                effect,
                Code::Starting,
                "swaps the restored member in; the old data is kept",
            );
        }
        if plan.source.object.is_none() && self.data().log != LogState::Missing {
            let inc = self.data_inc().unwrap_or(0);
            return Step::act(Effect::MoveAside { inc }, Code::Starting, "moves older data aside");
        }
        let fs = self.data().fs.clone()?;
        let instance = self.core.me.instance.clone();
        let ran = Ran { inc: self.ctrl.inc, instance, member_id, plan: digest.short(), fs };
        let change = change::first_start(self.ctrl, self.slot, self.mine, self.owner()?, ran);
        Step::act(
            Effect::Write(change),
            Code::Starting,
            "puts on record that this machine runs the member",
        )
    }

    /// Once it runs: show cluster id, leader and content, until the record says the same.
    fn show_content(&self) -> Option<Step> {
        let verifies = matches!(self.ctrl.phase, Phase::Starting | Phase::Verifying);
        let plan = self.ctrl.plan.as_ref()?.sha256;
        let status = self.answer().filter(|_| verifies && self.i_ran())?;
        let (revision, check) = (status.revision, status.check);
        let shown = self
            .mine
            .restore
            .as_ref()
            .filter(|restored| restored.plan == plan && restored.attempt == self.ctrl.attempt);
        let told = shown.and_then(|restored| restored.started);
        let same = told.is_some_and(|told| told.leader == status.leader && told.check == check);
        if same || check.is_none() {
            return None;
        }
        let started =
            Started { cluster_id: status.cluster_id, leader: status.leader, revision, check };
        self.report(Restored {
            plan,
            attempt: self.ctrl.attempt,
            started: Some(started),
            failed: false,
        })
    }

    // ------------------------------------------------------------ the leader

    /// The members' reports on the present plan and attempt.
    fn reports(&self) -> Vec<(Slot, &Restored)> {
        let Some(pin) = &self.ctrl.plan else { return Vec::new() };
        let report = |slot: Slot| {
            self.records
                .slot(slot)
                .restore
                .as_ref()
                .filter(|r| r.plan == pin.sha256 && r.attempt == self.ctrl.attempt)
        };
        self.ctrl
            .members
            .iter()
            .filter_map(|member| Some((member.slot, report(member.slot)?)))
            .collect()
    }

    /// Barrier: nobody starts before all members of the plan, or after T_restore a quorum of them,
    /// have restored it.
    pub(super) fn lead_restoring(&self) -> Option<Step> {
        let reports = self.reports();
        let ready = reports.iter().filter(|(_, restored)| !restored.failed).count();
        let failed = reports.len() - ready;
        let all = self.ctrl.members.len();
        let enough = ready >= quorum(all)
            && (ready + failed == all || self.in_phase() >= self.timers().restore);
        if ready == all || enough {
            return self.go(
                Phase::Starting,
                Code::Starting,
                &alloc::format!("{ready} of {all} have restored the plan"),
            );
        }
        let hopeless =
            all - failed < quorum(all) || self.in_phase() >= self.timers().restore.times(2);
        if hopeless && !mutant::is(Mutant::NoReplan) {
            return self.replan();
        }
        Step::wait(Code::Restoring, alloc::format!("{ready} of {all} have restored the plan"))
    }

    /// Too few can restore this plan: another token, whoever lives now, the next older snapshot if
    /// the object itself is the trouble. No member of k+1 has been started, so nothing is lost.
    fn replan(&self) -> Option<Step> {
        let (source, fallbacks) = match self.source_again() {
            Ok(chosen) => chosen,
            Err(step) => return Some(step),
        };
        let seats = self.new_seats();
        if seats.len() < quorum(self.ctrl.seats.len()).min(self.ctrl.members.len()) {
            return Step::wait(Code::MinMembers, "too few agents live to restore the plan on");
        }
        let epoch = self.ctrl.lease.as_ref().map_or(0, |lease| lease.epoch);
        let drafted = self.core.known.drafted.as_ref().filter(|(pin, plan)| {
            let same =
                (plan.inc, plan.attempt, plan.epoch) == (self.ctrl.inc, self.ctrl.attempt, epoch);
            same && plan.source == source
                && plan.seats == seats
                && Some(pin) != self.ctrl.plan.as_ref()
        });
        if let Some((pin, plan)) = drafted {
            let text = alloc::format!(
                "pins another plan, from revision {}: too few could restore the last one",
                plan.source.revision
            );
            return Step::act(
                Effect::Write(change::replan(self.ctrl, plan, pin)),
                Code::Restoring,
                text,
            );
        }
        let loss = self.core.known.book.highest_revision().saturating_sub(source.revision);
        let loss = self
            .plan()
            .map_or(loss, |plan| plan.loss + plan.source.revision.saturating_sub(source.revision));
        let plan = self.new_plan(source, fallbacks, loss, self.ctrl.inc);
        Step::act(Effect::PutPlan(plan.into()), Code::Restoring, "writes another plan")
    }

    pub(super) fn lead_starting(&self) -> Option<Step> {
        let started =
            self.reports().iter().filter(|(_, restored)| restored.started.is_some()).count();
        let all = self.ctrl.members.len();
        if mutant::is(Mutant::OpenUnverified) && started > 0 {
            return self.go(Phase::Open, Code::Opening, "nothing was compared");
        }
        let enough = started >= quorum(all) && self.in_phase() >= self.timers().restore;
        if started == all || enough {
            return self.go(
                Phase::Verifying,
                Code::Verifying,
                &alloc::format!("{started} of {all} run in quarantine"),
            );
        }
        let text = alloc::format!("{started} of {all} run in quarantine");
        self.start_over(&text).or_else(|| Step::wait(Code::Starting, text))
    }

    /// OPEN needs: the plan's cluster id, one leader, revision at least R, one HashKV at R on all
    /// that started, and the manifest's live keys there (protocol.md 1.8; S14).
    pub(super) fn lead_verifying(&self) -> Option<Step> {
        let shown: Vec<Started> =
            self.reports().iter().filter_map(|(_, restored)| restored.started).collect();
        match self.disagreement(&shown) {
            None => self.go(
                Phase::Open,
                Code::Opening,
                &alloc::format!("{} members agree at one revision", shown.len()),
            ),
            Some(trouble) => {
                self.start_over(&trouble).or_else(|| Step::wait(Code::Verifying, trouble))
            }
        }
    }

    /// An incarnation that served nobody and can't be verified is fenced and restored anew, without
    /// loss (protocol.md 1.8: "retry, then FENCING on inc k+1"). Not where etcd does not let the leader
    /// ask: the users came with the snapshot, and the next incarnation would have the same.
    fn start_over(&self, trouble: &str) -> Option<Step> {
        if let Some(refused) = self.refusal() {
            return Some(refused);
        }
        let asks = self
            .core
            .known
            .refused
            .map_or_else(|| self.in_phase(), |refused| self.now.since(refused));
        let tried = self.in_phase().min(asks);
        if tried < self.timers().restore.times(2) || self.ctrl.paused.is_some() {
            return None;
        }
        let text = alloc::format!("opens attempt {}: {trouble}", self.ctrl.attempt + 1);
        Step::act(Effect::Write(change::start_fencing(self.ctrl)), Code::Verifying, text)
    }

    fn disagreement(&self, shown: &[Started]) -> Option<String> {
        let source = self.ctrl.source.as_ref()?;
        let agreed = source.revision + source.bump;
        let leaders: BTreeSet<_> = shown.iter().map(|started| started.leader).collect();
        let checks: BTreeSet<_> = shown.iter().map(|started| started.check).collect();
        let check = checks.first().copied().flatten();
        if shown.len() < quorum(self.ctrl.members.len()) {
            return Some(alloc::format!("only {} members run", shown.len()));
        }
        if shown.iter().any(|started| Some(started.cluster_id) != self.ctrl.cluster_id) {
            return Some("a member runs under another cluster id than the plan's".into());
        }
        if leaders.len() != 1 || leaders.contains(&None) {
            return Some("the members do not follow one leader yet".into());
        }
        if checks.len() != 1 || check.is_none_or(|check| check.revision != agreed) {
            return Some(alloc::format!("the members do not show one HashKV at revision {agreed}"));
        }
        if shown.iter().any(|started| started.revision < agreed) {
            return Some(alloc::format!("a member's revision is below {agreed}"));
        }
        let counted = check.map(|check| check.live_keys);
        if source.live_keys.is_some() && counted != source.live_keys {
            return Some("the members do not hold as many live keys as the manifest says".into());
        }
        None
    }
}
