//! **saving** — snapshots: by the clock, by hand, and at once when a quorum seems lost.
//!
//! While a quorum lives one member saves for all: the lowest seat that is healthy. Two may save
//! in a change of shifts; keys are immutable, so that costs a file and nothing else.

use super::{Scene, Step};
use crate::{effect::Effect, explanation::Code, manifest::Reason, registry::Phase, vote::Health};

impl Scene<'_> {
    /// The saver's part of the turn.
    pub(super) fn saver_part(&self) -> Option<Step> {
        self.owner()?;
        self.answer().filter(|status| !status.learner)?;
        let save =
            |reason, why| Step::act(Effect::Save { reason, inc: self.ctrl.inc }, Code::Saving, why);
        if self.core.known.save_asked {
            return save(Reason::Hand, "saves a snapshot because the operator asked");
        }
        if self.quorum_lives() {
            return self
                .is_due()
                .then(|| save(Reason::Timer, "saves a snapshot: it is time"))
                .flatten();
        }
        let suspects =
            self.ctrl.phase == Phase::Idle && self.is_failing_long() && !self.holds_nothing_new();
        suspects
            .then(|| save(Reason::Suspicion, "a quorum seems lost: saves what this member holds"))
            .flatten()
    }

    /// Half the confirm window has passed without a quorum: the snapshot should be ready when it ends.
    fn is_failing_long(&self) -> bool {
        let since = self.core.known.book.failing_since(self.slot, self.now, self.timers());
        since.is_some_and(|since| self.now.since(since) >= self.timers().confirm.half())
    }

    fn holds_nothing_new(&self) -> bool {
        let applied = self.answer().map_or(0, |status| status.applied);
        self.core
            .known
            .saved
            .as_ref()
            .is_some_and(|(_, saved)| saved.inc == self.ctrl.inc && saved.applied >= applied)
    }

    fn is_due(&self) -> bool {
        let period = self.timers().snapshot;
        let at_rest = matches!(self.ctrl.phase, Phase::Idle | Phase::Healing) && self.ctrl.opened;
        if period.0 == 0 || !at_rest || !self.i_see_a_quorum() || !self.is_first_healthy() {
            return false;
        }
        let mine = self.core.known.saved.as_ref().filter(|(_, saved)| saved.inc == self.ctrl.inc);
        let last = mine.map(|(at, _)| *at);
        let new = !self.holds_nothing_new();
        new && last.is_none_or(|at| self.now.since(at) >= period)
    }

    /// The lowest seat that is healthy does for all what one has to do.
    pub(super) fn is_first_healthy(&self) -> bool {
        let healthy = |slot| {
            self.vote(slot)
                .is_some_and(|vote| vote.inc == self.ctrl.inc && vote.health == Health::Healthy)
        };
        self.ctrl.members.iter().map(|member| member.slot).find(|slot| healthy(*slot))
            == Some(self.slot)
    }
}
