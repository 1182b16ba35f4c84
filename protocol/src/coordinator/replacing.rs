//! **replacing** — one member at a time, while a quorum lives (protocol.md 1.9).
//!
//! Order: remove the dead one, add a learner, promote it; it works in every etcd from 3.5.10 on.
//! `ctrl.op` is the mutex and the log: each stage is written before etcd is asked, and found done
//! by listing the members, so an answer that was lost costs a look and nothing else. Stages only
//! roll forward.

use super::{Scene, Step, candidates::Candidate};
use crate::{
    change,
    cluster::{Member, MemberId, Seat, Slot},
    effect::{Effect, Expected, Join, Listed, Start},
    explanation::{Code, Note},
    mutant::{self, Mutant},
    observation::{LogState, Ran},
    registry::{Change, Ctrl, Operation, Stage},
    vote::Health,
};
use alloc::{borrow::Cow, string::String, vec::Vec};

impl Scene<'_> {
    /// The learner's disk went before it voted, or its machine for good, or etcd does not stay up on its
    /// data: it is taken out, and another added.
    fn begin_again(&self, op: &Operation, listed: &[Listed]) -> Option<Step> {
        let added = op.added?;
        self.records.slot(op.slot).ran.as_ref().filter(|ran| ran.member_id == added)?;
        let says = |health| self.vote(op.slot).is_some_and(|vote| vote.health == health);
        let long = || self.has_failed_long(op.slot);
        // whatever it still runs, it is not the learner
        let successor = self.vote(op.slot).is_some() && !self.is_attested_away(op.slot);
        let because = if says(Health::DataLost) && long() {
            "the learner lost its data"
        } else if successor && self.records.is_attested(op.slot, self.ctrl.inc) {
            "the learner's machine is gone"
        } else if says(Health::Stopped) && long() {
            "the learner's etcd does not stay up"
        } else {
            return None;
        };
        if let Some(next) = self.next_beside(op, listed) {
            let text = alloc::format!("{because}; it makes way for {}", self.name(next.slot));
            return self.write_operation(self.called_off(op), text);
        }
        let text = alloc::format!("{because}; another takes its place");
        self.write_operation(self.begun_again(op, added), text)
    }

    /// The operation from its start, with the learner as the one that leaves. Where its promotion may be
    /// under way, it is intended to vote until etcd lists it no more.
    pub(super) fn begun_again(&self, op: &Operation, added: MemberId) -> Ctrl {
        let again =
            Operation { removed: Some(added), added: None, stage: Stage::Intent, ..op.clone() };
        let learner = Member { slot: op.slot, id: added };
        let promoted = (op.stage == Stage::Promoting).then_some(learner);
        let intent = Some(self.others(op).chain(promoted).collect());
        Ctrl { op: Some(again), intent, ..self.ctrl.clone() }
    }

    /// The leader's part: begin or continue the one operation.
    pub(super) fn replace_members(&self) -> Option<Step> {
        if let Some(because) = self.pause() {
            return Step::wait(Code::Paused, alloc::format!("paused: {because}"));
        }
        if !self.i_see_a_quorum() {
            let idle = self.ctrl.op.is_none();
            return if idle {
                None
            } else {
                Step::wait(Code::ReplaceWaits, "a membership operation waits for a quorum")
            };
        }
        let Some(listed) = self.listed() else {
            let wanted = self.ctrl.op.is_some() || self.wants_replacement();
            return wanted.then(|| {
                Step::Do(Effect::ListMembers, Note::new(Code::Replacing, "lists etcd's members"))
            });
        };
        match &self.ctrl.op {
            Some(op) => self.continue_operation(op, listed),
            None if self.wants_replacement() => self.begin_operation(listed),
            None => None,
        }
    }

    /// A list read after the latest records: what etcd says now of the stage we are in.
    fn listed(&self) -> Option<&[Listed]> {
        let (asked, listed) = self.core.known.listed.as_ref()?;
        let (read_at, _) = self.core.known.records.as_ref()?;
        let young = self.now.since(*asked) <= self.timers().poll.times(2);
        (young || asked >= read_at).then_some(listed)
    }

    fn begin_operation(&self, listed: &[Listed]) -> Option<Step> {
        let candidates = || self.candidates();
        let next = candidates().find(|candidate| self.has_room(candidate, listed));
        let Candidate { slot, removed, because } = next.or_else(|| candidates().next())?;
        if next.is_none() {
            let text = alloc::format!(
                "{} can't be replaced: too few of the others are healthy",
                self.name(slot)
            );
            return Step::wait(Code::ReplaceWaits, text);
        }
        if listed.iter().any(|member| member.learner && !self.is_stray(member)) {
            return Step::wait(
                Code::ReplaceWaits,
                "etcd lists a learner already; nothing is added beside it",
            );
        }
        let known = |listed: &Listed| self.ctrl.members.iter().any(|member| member.id == listed.id);
        if !listed.iter().all(|member| known(member) || self.is_stray(member)) {
            return Step::wait(
                Code::ReplaceWaits,
                "etcd lists a member that the records don't know; reconcile it first",
            );
        }
        let others =
            self.ctrl.members.iter().copied().filter(|member| member.slot != slot).collect();
        let op = Operation {
            slot,
            removed,
            added: None,
            stage: Stage::Intent,
            elsewhere: false,
            because: because.into(),
        };
        let text = alloc::format!("replaces {}: {because}", self.name(slot));
        // while it lasts nobody else may get to compare: what was seen now goes on record with it
        let drift = self.drift_of(listed);
        let after = Ctrl { op: Some(op), intent: Some(others), drift, ..self.ctrl.clone() };
        self.write_operation(after, text)
    }

    pub(super) fn write_operation(
        &self,
        after: Ctrl,
        text: impl Into<Cow<'static, str>>,
    ) -> Option<Step> {
        Step::act(Effect::Write(change::operation(self.ctrl, after)), Code::Replacing, text)
    }

    fn continue_operation(&self, op: &Operation, listed: &[Listed]) -> Option<Step> {
        let seat = self.ctrl.seat(op.slot)?;
        let at_seat = listed.iter().find(|member| member.peer_url == seat.peer_url);
        if op.stage.may_start()
            && at_seat.is_some_and(|member| member.learner)
            && let Some(step) = self.begin_again(op, listed)
        {
            return Some(step);
        }
        match op.stage {
            Stage::Intent => self.take_out(op, listed),
            Stage::Removed => self.add_learner(op, seat, listed),
            Stage::Added => {
                self.give_way(op, listed).or_else(|| self.await_learner(op, seat, at_seat))
            }
            Stage::Promoting => self.give_way(op, listed).or_else(|| self.promote(op, at_seat)),
            Stage::CalledOff => self.take_back(at_seat),
        }
    }

    /// The voters beside the one whose seat is being refilled.
    fn others(&self, op: &Operation) -> impl Iterator<Item = Member> {
        self.ctrl.members.iter().copied().filter(|member| member.slot != op.slot)
    }

    /// The operation at another stage, and who is meant to vote from there on.
    fn at_stage(&self, op: &Operation, stage: Stage, added: Option<MemberId>) -> Ctrl {
        let op = Some(Operation { stage, added, ..op.clone() });
        Ctrl { op, ..self.ctrl.clone() }
    }

    fn take_out(&self, op: &Operation, listed: &[Listed]) -> Option<Step> {
        let still_listed = |id: &MemberId| listed.iter().any(|member| member.id == *id);
        if let Some(id) = op.removed.filter(still_listed) {
            if let Some(wait) = self.await_room(op, id, listed) {
                return Some(wait);
            }
            return Step::act(Effect::RemoveMember(id), Code::Replacing, "removes the lost member");
        }
        let members = self.others(op).collect();
        let after = Ctrl { members, intent: None, ..self.at_stage(op, Stage::Removed, None) };
        self.write_operation(after, "the lost member is out of the list")
    }

    fn add_learner(&self, op: &Operation, seat: &Seat, listed: &[Listed]) -> Option<Step> {
        let Some(found) = listed.iter().find(|member| member.peer_url == seat.peer_url) else {
            let stray = listed.iter().find(|member| self.is_stray(member));
            if let Some(stray) = stray {
                let text = "removes a learner that was added late and that nobody starts";
                return Step::act(Effect::RemoveMember(stray.id), Code::Replacing, text);
            }
            let effect = Effect::AddLearner { peer_url: seat.peer_url.clone() };
            return Step::act(effect, Code::Replacing, "adds a learner in its place");
        };
        if found.learner && !found.started {
            let after = self.at_stage(op, Stage::Added, Some(found.id));
            return self.write_operation(after, "the learner is listed; its machine may start it");
        }
        // whoever is there was begun already, by hand or by a start that came late: it is no learner
        // that could be started empty, and where it votes, fences must block it until it is out
        let again = Operation { removed: Some(found.id), ..op.clone() };
        let begun = Member { slot: op.slot, id: found.id };
        let voter = Some(begun).filter(|_| !found.learner);
        let intent = Some(self.others(op).chain(voter).collect());
        let after = Ctrl { intent, ..self.at_stage(&again, Stage::Intent, None) };
        let text = if found.learner {
            "a learner is in its place that was begun already; it leaves first"
        } else {
            "a voter was added by hand in its place; it leaves first"
        };
        self.write_operation(after, text)
    }

    fn await_learner(&self, op: &Operation, seat: &Seat, at_seat: Option<&Listed>) -> Option<Step> {
        // only what its machine has on record can be fenced once it votes
        let ran = self.records.slot(op.slot).ran.as_ref().map(|ran| ran.member_id);
        let known = |member: &&Listed| member.started && ran == Some(member.id);
        let Some(learner) = at_seat.filter(known) else {
            let text = alloc::format!("waits for {} to start as a learner", seat.name);
            return Step::wait(Code::Replacing, text);
        };
        let new = Member { slot: op.slot, id: learner.id };
        let intent = Some(self.others(op).chain(core::iter::once(new)).collect());
        let intent = intent.filter(|_| !mutant::is(Mutant::PromoteUnintended));
        let after = Ctrl { intent, ..self.at_stage(op, Stage::Promoting, Some(learner.id)) };
        self.write_operation(after, "the learner runs; it may be promoted")
    }

    fn promote(&self, op: &Operation, at_seat: Option<&Listed>) -> Option<Step> {
        if at_seat.is_some_and(|member| !member.learner) {
            let mut members = self.ctrl.intent.clone().unwrap_or_default();
            if mutant::is(Mutant::PromoteUnintended) {
                let id = op.added.unwrap_or(MemberId(0));
                members = self.others(op).chain([Member { slot: op.slot, id }]).collect();
            }
            members.sort_unstable();
            let after = Ctrl { op: None, intent: None, members, ..self.ctrl.clone() };
            return self.write_operation(after, "the new member votes");
        }
        let Some(id) = op.added else {
            return Step::wait(Code::ReplaceWaits, "the operation names no learner");
        };
        // S18: etcd goes by what the learner acknowledged, also where its etcd has ended since
        if !self.runs(op.slot) {
            let text = alloc::format!(
                "{} is promoted when its etcd runs: `requorum explain` there says why it does not",
                self.name(op.slot)
            );
            return Step::wait(Code::ReplaceWaits, text);
        }
        Step::act(Effect::Promote(id), Code::Replacing, "promotes the learner once it is in sync")
    }

    /// The new member's own machine: aside with the old data, `ran` before the start, then join.
    pub(super) fn replacement_part(&self) -> Option<Step> {
        let op = self.ctrl.op.as_ref().filter(|op| op.slot == self.slot)?;
        if mutant::is(Mutant::AsideEarly) && op.stage == Stage::Intent {
            return self.clear_the_way();
        }
        let added = op.added.filter(|_| op.stage.may_start())?;
        let owner = self.owner()?;
        let recorded =
            self.mine.ran.as_ref().filter(|ran| ran.inc == self.ctrl.inc && ran.member_id == added);
        if recorded.is_some() && !self.i_ran() {
            return Step::wait(
                Code::ReplaceWaits,
                "another machine ran the member that is being added here; attest it if it is gone",
            );
        }
        if recorded.is_none() && !op.elsewhere && self.is_volume_away() {
            let text = alloc::format!(
                "the data dir is empty and not on the file system that this node's member ran on: mount \
                 its volume, or if that is gone for good, say `requorum replace {}`",
                self.core.me.name
            );
            return Step::wait(Code::ReplaceWaits, text);
        }
        let holds_it = self.held() == Some(added);
        let record = |record: fn(Change) -> Change| {
            let fs = self.data().fs.clone()?;
            let instance = self.core.me.instance.clone();
            let ran =
                Ran { inc: self.ctrl.inc, instance, member_id: added, plan: String::new(), fs };
            let change = change::first_start(self.ctrl, self.slot, self.mine, owner, ran);
            let text = "puts on record that this machine runs the new member";
            Step::act(Effect::Write(record(change)), Code::Replacing, text)
        };
        match (recorded, holds_it) {
            (Some(_), true) => None,
            // a start meant for an earlier learner of this seat: etcd takes the id that is listed at its
            // peer URL. It has a log, so it stays, and is never begun again.
            (None, true) => record(change::of_begun),
            (None, false) => self.clear_the_way().or_else(|| record(|change| change)),
            (Some(ran), false) if self.look.memory.ran.as_ref() != Some(ran) => Step::act(
                Effect::RememberRan(ran.clone()),
                Code::Replacing,
                "copies `ran` to the root disk",
            ),
            (Some(_), false) if !self.is_stopped() => {
                Step::wait(Code::Replacing, "the learner is starting")
            }
            (Some(_), false) if !self.never_started() => {
                // it may be promoted any moment; empty, it would have forgotten what it acknowledged
                Step::wait(Code::Degraded, "the learner's data is gone; it is not started empty")
            }
            (Some(_), false) => {
                let member = Expected { member_id: added, cluster_id: self.ctrl.cluster_id };
                let start = Start { quarantined: false, member, join: Some(self.join(op.slot)) };
                Step::act(Effect::Start(start), Code::Replacing, "starts the learner")
            }
        }
    }

    /// The volume of another seat is mounted here: moved aside, its voter would pass for lost when it
    /// comes home.
    pub(super) fn leave_anothers_voter(&self) -> Option<Step> {
        let held = self.held();
        let voters = self.ctrl.members.iter().chain(self.ctrl.intent.iter().flatten());
        let mut elsewhere = voters.filter(|member| member.slot != self.slot);
        let text = "the data dir holds the member of another seat, which is left alone (S16): mount this \
                    node's own volume, or an empty one";
        elsewhere
            .any(|member| Some(member.id) == held)
            .then(|| Step::Wait(Note::new(Code::Foreign, text)))
    }

    fn clear_the_way(&self) -> Option<Step> {
        if !self.is_stopped() {
            return Step::act(Effect::Stop, Code::Replacing, "stops the member that was replaced");
        }
        if self.data().log == LogState::Missing {
            return None;
        }
        if let Some(foreign) = self.leave_anothers_voter() {
            return Some(foreign);
        }
        let inc = self.data_inc().unwrap_or(0);
        Step::act(Effect::MoveAside { inc }, Code::Replacing, "moves the old member's data aside")
    }

    fn join(&self, slot: Slot) -> Join {
        let listed = self
            .ctrl
            .seats
            .iter()
            .filter(|seat| seat.slot == slot || self.ctrl.is_member(seat.slot));
        let pairs: Vec<String> =
            listed.map(|seat| alloc::format!("{}={}", seat.name, seat.peer_url)).collect();
        Join { initial_cluster: pairs.join(","), token: self.ctrl.token.clone(), existing: true }
    }
}
