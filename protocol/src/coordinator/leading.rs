//! **leading** — taking, keeping and giving up the lease, and what its holder does in each phase.

use super::{Mode, Scene, Step, Threshold};
use crate::{
    change,
    cluster::{Seat, Slot},
    effect::{Effect, Lane},
    explanation::{Code, Note},
    limits::{ABORTS_PER_WINDOW, FAILURES_OF_A_LEADER},
    mutant::{self, Mutant},
    observation::Answer,
    registry::{Lease, Phase},
    tally::Verdict,
    time::Moment,
    vote::Health,
};

impl Scene<'_> {
    /// The cluster's verdict from here.
    pub(super) fn verdict(&self) -> Verdict {
        if self.i_see_a_quorum() {
            return Verdict::QuorumAlive;
        }
        let (book, served) = (&self.core.known.book, self.served());
        book.verdict(self.ctrl, self.records, served, self.now, self.timers())
    }

    /// Since when clients are let into this incarnation, as seen from here.
    fn served(&self) -> Moment {
        let since = self.core.known.opened_since.filter(|(inc, _)| *inc == self.ctrl.inc);
        since.map(|(_, at)| at).unwrap_or_default()
    }

    /// The leader's part of the turn, or the way to become one.
    pub(super) fn leader_part(&self) -> Option<Step> {
        let Some(owner) = self.owner() else { return self.lost_seat() };
        if let Some(step) = self.seats_differ() {
            return Some(step);
        }
        let known = &self.core.known;
        if let Some(lease) =
            known.watch.to_renew(self.now, self.ctrl, &self.core.me.nonce, self.timers())
        {
            return self.renew_or_release(lease);
        }
        if known.watch.held(self.now, self.ctrl, &self.core.me.nonce, self.timers()).is_some() {
            return self.lead();
        }
        if !self.needs_leader() {
            return self.quiet();
        }
        if known.watch.may_take(self.now, self.ctrl, self.timers()) {
            let change = change::acquire(self.ctrl, self.slot, owner, self.core.fresh("rvn"));
            return Step::act(
                Effect::Write(change),
                Code::Leading,
                alloc::format!("takes the lease: {}", self.cause()),
            );
        }
        let holder =
            self.ctrl.lease.as_ref().map_or_else(Default::default, |lease| self.name(lease.holder));
        Step::wait(Code::LeaseHeld, alloc::format!("{holder} leads"))
    }

    /// Somebody took the seat from this very process.
    fn lost_seat(&self) -> Option<Step> {
        let lost = self.core.known.seated && self.mine.owner.is_some();
        lost.then(|| Step::Wait(Note::new(Code::SeatTaken, self.who_took_it())))
    }

    /// The seats in the records count, those in the settings only at genesis. Who was told of others
    /// does its member's part and leads nothing (protocol.md 1.10 "misconfigured N").
    fn seats_differ(&self) -> Option<Step> {
        let told = &self.policy().seats;
        let same =
            |one: &Seat, other: &Seat| one.name == other.name && one.peer_url == other.peer_url;
        let agree = told.len() == self.ctrl.seats.len()
            && told.iter().zip(&self.ctrl.seats).all(|(one, other)| same(one, other));
        if agree {
            return None;
        }
        let list = |seats: &[Seat]| {
            let pairs: alloc::vec::Vec<_> = seats
                .iter()
                .map(|seat| alloc::format!("{}={}", seat.name, seat.peer_url))
                .collect();
            pairs.join(",")
        };
        let text = alloc::format!(
            "ETCD_INITIAL_CLUSTER of this node names {} seats ({}), the cluster has {} ({}): \
             mend it and start the agent again; until then it leads nothing",
            told.len(),
            list(told),
            self.ctrl.seats.len(),
            list(&self.ctrl.seats)
        );
        Step::wait(Code::SeatsDiffer, text)
    }

    fn renew_or_release(&self, lease: &Lease) -> Option<Step> {
        let rvn = self.core.fresh("rvn");
        if self.needs_leader() {
            return Step::act(
                Effect::Write(change::renew(self.ctrl, lease, rvn)),
                Code::Leading,
                "renews the lease",
            );
        }
        let why = match (self.is_hampered(), self.is_left_to_others()) {
            (true, _) => "its own calls fail; another may get further",
            (false, true) => "another member can do more",
            (false, false) => "all is well",
        };
        Step::act(
            Effect::Write(change::release(self.ctrl, lease, rvn)),
            Code::AllWell,
            alloc::format!("gives the lease up: {why}"),
        )
    }

    /// Whether there is anything that only a leader may do, and that this agent can do.
    fn needs_leader(&self) -> bool {
        let unfinished = self.ctrl.phase != Phase::Idle
            || self.ctrl.op.is_some()
            || (self.ctrl.paused.is_none()
                && (self.wants_fencing() || self.wants_replacement() || self.is_above_threshold()));
        unfinished && !self.is_left_to_others() && (!self.is_hampered() || self.is_left_alone())
    }

    /// What a leader has to do fails here again and again, be it for want of space or of a way to
    /// the bucket: another is given the chance, for two terms of the lease after each failure.
    fn is_hampered(&self) -> bool {
        let pause = self.timers().lease_ttl.times(2);
        [Lane::Data, Lane::Votes]
            .into_iter()
            .any(|lane| self.core.lanes.is_failing(lane, self.now, FAILURES_OF_A_LEADER, pause))
    }

    /// Nobody took the lease up that was let go: what needs the table alone is better done than not.
    fn is_left_alone(&self) -> bool {
        let released = self.ctrl.lease.as_ref().is_some_and(|lease| lease.released);
        let patience = self.timers().lease_ttl + self.timers().lease_margin;
        released && self.core.known.watch.unchanged_for(self.now) >= patience
    }

    /// More than 1/N of the members failed, where that was set as the threshold.
    fn is_above_threshold(&self) -> bool {
        self.policy().threshold == Threshold::OneNth && self.failed().len() > 1
    }

    fn failed(&self) -> alloc::collections::BTreeSet<Slot> {
        let (book, served) = (&self.core.known.book, self.served());
        book.failed(self.ctrl, self.records, served, self.now, self.timers())
    }

    /// Above the threshold somebody leads and says so, also where there is nothing to be done yet.
    fn alarm(&self) -> Option<Step> {
        let names: alloc::vec::Vec<_> = self.failed().iter().map(|slot| self.name(*slot)).collect();
        let text = alloc::format!(
            "{} of {} members failed, more than 1/N: {}",
            names.len(),
            self.ctrl.members.len(),
            names.join(", ")
        );
        self.is_above_threshold().then(|| Step::Wait(Note::new(Code::AboveThreshold, text)))
    }

    /// A replacement and the first snapshot are asked of etcd: while a quorum lives, they are the
    /// work of an agent whose own member reaches it. The lost member's agent could only wait.
    fn is_left_to_others(&self) -> bool {
        if self.ctrl.phase == Phase::Genesis {
            // to adopt a cluster its members are asked for, by whoever's own etcd answers
            let ran = self.records.slots.iter().any(|(_, record)| record.ran.is_some());
            return ran && !matches!(self.look.etcd, Answer::Status(_));
        }
        let asks_etcd = matches!(self.ctrl.phase, Phase::Idle | Phase::Open | Phase::Healing);
        let reached = self.core.known.reached.filter(|(id, _)| Some(*id) == self.ctrl.cluster_id);
        let lately = reached.is_some_and(|(_, at)| self.now.since(at) <= self.timers().lin);
        let fences = self.wants_fencing() && !self.wish_waits();
        asks_etcd && !fences && !lately && self.quorum_lives()
    }

    fn cause(&self) -> &'static str {
        match (self.ctrl.phase, &self.ctrl.request) {
            (Phase::Fencing | Phase::Aborted | Phase::Committed | Phase::Restoring, _) => {
                "the work of a leader is unfinished"
            }
            (_, Some(_)) => "an operator asks for a restore",
            (_, None) if self.wants_fencing() => "a quorum seems lost",
            (Phase::Idle, None) if self.is_above_threshold() => {
                "more than 1/N of the members failed"
            }
            (Phase::Idle, None) => "a member is to be replaced",
            (_, None) => "the work of a leader is unfinished",
        }
    }

    /// Suspicion or request, in a phase from which an attempt may begin, and nobody says no.
    pub(super) fn wants_fencing(&self) -> bool {
        let asked = self.ctrl.request.is_some();
        (asked || self.suspects()) && self.ctrl.inc > 0
    }

    fn lead(&self) -> Option<Step> {
        match self.ctrl.phase {
            Phase::Genesis => self.end_genesis(),
            Phase::Idle => self
                .begin_fencing()
                .or_else(|| self.replace_members())
                .or_else(|| self.request_waits())
                .or_else(|| self.alarm()),
            Phase::Fencing => self.lead_fencing(),
            Phase::Aborted => self.leave_aborted(),
            Phase::Committed => self.go(Phase::Restoring, Code::Restoring, "the plan is pinned"),
            Phase::Restoring => self.lead_restoring(),
            Phase::Starting => self.begin_fencing().or_else(|| self.lead_starting()),
            Phase::Verifying => self.begin_fencing().or_else(|| self.lead_verifying()),
            Phase::Open => self.begin_fencing().or_else(|| self.lead_open()),
            Phase::Healing => self.begin_fencing().or_else(|| self.lead_healing()),
        }
    }

    pub(super) fn go(&self, to: Phase, code: Code, why: &str) -> Option<Step> {
        Step::act(
            Effect::Write(change::advance(self.ctrl, to)),
            code,
            alloc::format!("on to {}: {why}", to.name()),
        )
    }

    /// Opens an attempt, unless the operator paused us or too many were aborted lately.
    pub(super) fn begin_fencing(&self) -> Option<Step> {
        if !self.wants_fencing() {
            return None;
        }
        if let Some(because) = self.pause() {
            return Step::wait(Code::Paused, alloc::format!("paused: {because}"));
        }
        if self.ctrl.phase != Phase::Idle && mutant::is(Mutant::FencingBarred) {
            return None;
        }
        if let Some(step) = self.drift().or_else(|| self.cool_down()) {
            return Some(step);
        }
        if self.wish_waits() {
            return None;
        }
        // where a quorum is lost the attempt carries the wish, and takes it along if it is called off
        if let Some(step) = self.request_waits().filter(|_| !self.suspects()) {
            return Some(step);
        }
        let text = alloc::format!("opens attempt {}: {}", self.ctrl.attempt + 1, self.cause());
        Step::act(Effect::Write(change::start_fencing(self.ctrl)), Code::QuorumLost, text)
    }

    /// Why nothing may begin, if an operator paused us.
    pub(super) fn pause(&self) -> Option<&str> {
        self.ctrl.paused.as_deref().filter(|_| !mutant::is(Mutant::PausedIgnored))
    }

    /// The votes alone would begin an attempt.
    fn suspects(&self) -> bool {
        self.core.policy.mode != Mode::Off && self.verdict() == Verdict::QuorumLost
    }

    /// After an abort the next attempt waits T_recover, doubled with each, and a leader that finds
    /// three in a row waits a whole window of that (protocol.md L8). A window is counted from when
    /// this leader first saw the state: there is no wall clock to count by.
    fn cool_down(&self) -> Option<Step> {
        let aborts = self.ctrl.aborts;
        if aborts == 0 || self.ctrl.request.is_some() {
            return None;
        }
        let doublings = aborts.min(ABORTS_PER_WINDOW + 1);
        let window = self.timers().recover.times(1 << (doublings - 1));
        let since = self.core.known.phase_since.map(|(_, since)| since)?;
        if self.now.since(since) >= window {
            return None;
        }
        let text = alloc::format!(
            "{aborts} attempts were called off; the next waits {} s",
            window.0 / 1000
        );
        Step::wait(Code::CoolingDown, text)
    }

    /// A request begins only when all of its scope speak, the bucket takes our own vote, and what
    /// it asks for is proven to restore: nothing is stopped for a wish that can't be fulfilled
    /// (protocol.md 1.8).
    fn request_waits(&self) -> Option<Step> {
        let request = self.ctrl.request.as_ref()?;
        let mut needed = request.scope.iter().chain(core::iter::once(&self.slot));
        let speaks =
            |slot: Slot| self.vote(slot).is_some() || self.records.is_attested(slot, self.ctrl.inc);
        if let Some(silent) = needed.find(|slot| !speaks(**slot)) {
            let text = alloc::format!(
                "the requested restore waits for the agent of {}",
                self.name(*silent)
            );
            return Step::wait(Code::Gathering, text);
        }
        self.requested_source_waits(self.core.known.request_since?)
    }

    /// An attempt is only asked for, and can't begin yet: all else goes on meanwhile.
    fn wish_waits(&self) -> bool {
        !self.suspects() && matches!(self.request_waits(), Some(Step::Wait(_)))
    }

    fn leave_aborted(&self) -> Option<Step> {
        Step::act(
            Effect::Write(change::resume(self.ctrl)),
            Code::Recoverable,
            "the attempt is over; members start again",
        )
    }

    /// Nothing to lead: say why.
    pub(super) fn quiet(&self) -> Option<Step> {
        let wanted = || self.wants_fencing() || self.wants_replacement();
        if let Some(because) = self.ctrl.paused.as_ref().filter(|_| wanted()) {
            return Step::wait(
                Code::Paused,
                alloc::format!("there is something to do, but we are paused: {because}"),
            );
        }
        let counts = "no failure is counted while votes can't be exchanged";
        if let Some(note) = self.core.known.trouble(Lane::Votes, counts) {
            return Some(Step::Wait(note));
        }
        let failing: alloc::vec::Vec<_> = self
            .ctrl
            .members
            .iter()
            .filter(|member| {
                self.vote(member.slot).is_none_or(|vote| vote.health != Health::Healthy)
            })
            .map(|member| self.name(member.slot))
            .collect();
        if failing.is_empty() {
            return Step::wait(Code::AllWell, "all members answer");
        }
        match self.verdict() {
            Verdict::QuorumAlive => {
                let text = alloc::format!("a quorum lives; not healthy: {}", failing.join(", "));
                Step::wait(Code::Degraded, text)
            }
            Verdict::Pending | Verdict::QuorumLost => {
                let text = alloc::format!(
                    "no quorum is proven and no loss of one either; not healthy or silent: {}",
                    failing.join(", ")
                );
                Step::wait(Code::EvidenceMissing, text)
            }
        }
    }
}
