//! **closure** — which configurations the fences must block (protocol.md 1.4 "Configuration closure").
//!
//! Comes from the decision head and the logs that the fences show. Goes to [`fence`](crate::fence).
//!
//! Intuition: etcd may go by more than the voters on record, so every configuration that is recorded,
//! intended or in a fenced log counts. But logs are old letters: a member that was away while its
//! peers were replaced still names them, and nobody can fence those any more. What is shown to be over
//! need not be blocked.
//!
//! Claims: K1 what is recorded or intended always counts; K2 so does what a log shows, unless another
//! log shows that it is over; K3 nobody who goes by a configuration that is over can be elected, or
//! count anything as committed that is not in that other log. The argument stands in ARCHITECTURE.md,
//! "When a configuration in a log is over".

use crate::{
    cluster::{Member, MemberId},
    mutant::{self, Mutant},
    observation::LogSummary,
    registry::Ctrl,
};
use alloc::{collections::BTreeSet, vec::Vec};

/// The configurations that count.
pub(crate) struct Closure<'a> {
    /// Those that may be active, as sorted ids.
    pub(crate) active: BTreeSet<Vec<MemberId>>,
    logs: Vec<&'a LogSummary>,
    /// The log by which others' configurations are over, if there is one.
    latest: Option<&'a LogSummary>,
}

impl<'a> Closure<'a> {
    /// One pass is the fixpoint here: all fences are in hand, and configurations add no fences.
    pub(crate) fn of(ctrl: &Ctrl, logs: Vec<&'a LogSummary>) -> Self {
        let intended = ctrl.intent.iter().map(|intent| ids_of(intent));
        let mut active: BTreeSet<Vec<MemberId>> =
            core::iter::once(ids_of(&ctrl.members)).chain(intended).collect();
        let latest = latest(&active, &logs);
        let mut closure = Self { active: BTreeSet::new(), logs, latest };
        for log in closure.logs.iter().filter(|_| !mutant::is(Mutant::ClosureOff)) {
            let shown = log.configs.iter().filter(|config| !closure.is_over(log, config));
            active.extend(shown.cloned());
        }
        active.retain(|config| !config.is_empty());
        closure.active = active;
        closure
    }

    /// K3: a configuration of `log` that is none of the last two which the latest log knows to be
    /// committed, and stands no higher than that log's commit index.
    pub(crate) fn is_over(&self, log: &LogSummary, config: &Vec<MemberId>) -> bool {
        let Some(latest) = self.latest.filter(|latest| !latest.configs.contains(config)) else {
            return false;
        };
        log.place_of(config).is_some_and(|place| place <= latest.commit)
    }

    /// Whether a member is a voter of anything recorded, intended or shown, over or not.
    pub(crate) fn names(&self, id: MemberId) -> bool {
        let shown = self.logs.iter().flat_map(|log| log.configs.iter());
        self.active.iter().chain(shown).any(|config| config.contains(&id))
    }
}

/// Of the logs that show both of the last two configurations they know to be committed, and go by one
/// that is on record or intended, the one that knows most. (A change that etcd refused when it applied
/// it is in the log all the same; such a log goes by nothing that is on record.)
fn latest<'a>(
    recorded: &BTreeSet<Vec<MemberId>>,
    logs: &[&'a LogSummary],
) -> Option<&'a LogSummary> {
    let telling =
        logs.iter().copied().filter(|log| log.settled && recorded.contains(&log.in_force));
    telling.max_by_key(|log| log.commit)
}

/// A configuration as its sorted ids.
pub(crate) fn ids_of(members: &[Member]) -> Vec<MemberId> {
    let set: BTreeSet<MemberId> = members.iter().map(|member| member.id).collect();
    set.into_iter().collect()
}
