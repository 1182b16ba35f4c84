//! **voting** — what this agent says of its own member. A hint for the others, never a proof.

use super::{Scene, Step};
use crate::{
    explanation::Code,
    limits::REVISION_MAX,
    observation::{LogState, Process},
    vote::{Health, Vote},
};
use alloc::format;

impl Scene<'_> {
    /// My vote, if the seat is mine to speak for.
    pub(super) fn my_vote(&self) -> Option<Vote> {
        self.owner()?;
        let known = &self.core.known;
        known.book.read_at()?; // before that my seat's last vote is not known, and would be lost
        let said = known.book.last(self.slot).filter(|vote| vote.inc == self.ctrl.inc);
        let said = said.map_or(0, |vote| vote.revision).min(REVISION_MAX);
        Some(Vote {
            slot: self.slot,
            instance: self.core.me.instance.clone(),
            nonce: self.core.me.nonce.clone(),
            seq: known.seq + 1,
            inc: self.ctrl.inc,
            health: self.my_health(),
            quarantined: self.look.process == Process::Running { quarantined: true },
            revision: if known.revision.0 == self.ctrl.inc {
                known.revision.1.max(said)
            } else {
                said
            },
            manifest: known.saved.as_ref().map(|(_, manifest)| manifest.key()),
            doubt: known.saved.as_ref().and_then(|(_, manifest)| manifest.doubt),
        })
    }

    /// How my member is (the table of evidence in protocol.md 1.4).
    pub(super) fn my_health(&self) -> Health {
        if self.i_see_a_quorum() {
            return Health::Healthy;
        }
        let runs_this_inc = self.i_ran() && self.data_inc() == Some(self.ctrl.inc);
        match self.look.process {
            Process::Unknown => Health::Unknown,
            Process::Running { .. } if self.look.etcd.hides_a_quorum().is_some() => Health::Unknown,
            Process::Running { .. } if runs_this_inc => Health::NoQuorum,
            Process::Running { .. } => Health::Unknown,
            Process::Stopped | Process::StoppedByOperator => self.health_of_a_stopped_member(),
        }
    }

    /// What an operator must mend before this agent can tell anything of its member.
    pub(super) fn refusal(&self) -> Option<Step> {
        let runs = matches!(self.look.process, Process::Running { .. });
        let why = self.look.etcd.hides_a_quorum().filter(|_| runs)?;
        Step::wait(
            Code::EtcdRefuses,
            format!(
                "this node's etcd runs and does not let the agent ask: {why}; give it a certificate of \
                 etcd's user root (ETCDCTL_CACERT, ETCDCTL_CERT, ETCDCTL_KEY)"
            ),
        )
    }

    fn health_of_a_stopped_member(&self) -> Health {
        if !self.i_ran() {
            let may_take_over =
                self.nobody_ran() || self.records.is_attested(self.slot, self.ctrl.inc);
            return match may_take_over {
                true if self.is_volume_away() => Health::Unmounted,
                true => Health::NeverRan,
                false => Health::Unknown,
            };
        }
        match &self.data().log {
            LogState::Present { .. } if self.data_inc() == Some(self.ctrl.inc) => {
                if self.is_kept_down() { Health::StoppedByOperator } else { Health::Stopped }
            }
            LogState::Present { .. } | LogState::Unreadable(_) => Health::Unknown,
            LogState::Missing if self.data_is_lost() => Health::DataLost,
            LogState::Missing if self.never_started() => Health::Stopped,
            LogState::Missing if self.data().swap.is_some() => Health::Unknown,
            LogState::Missing => Health::Unmounted,
        }
    }
}
