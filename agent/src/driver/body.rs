//! **body** — effects on this machine: looking, stopping, marking, starting; and on etcd's list.

use super::{Checking, Done, Hands, unavailable};
use crate::ports::machine::MachineError;
use protocol::{
    cluster::ClusterId,
    effect::Effect,
    event::{Failure, FailureKind, Outcome},
    observation::{Answer, Check, Look, Process},
};
use std::{sync::Arc, time::Duration};

/// How long a look waits for the check beside it: most take less.
const A_MOMENT: Duration = Duration::from_millis(500);

impl From<MachineError> for Failure {
    fn from(error: MachineError) -> Self {
        let kind = match &error {
            MachineError::NoSpace(_) => FailureKind::NoSpace,
            MachineError::Bad(_) => FailureKind::Bad,
            MachineError::Failed(_) => FailureKind::Unavailable,
        };
        Self { kind, text: error.to_string() }
    }
}

impl Hands {
    pub(super) async fn look(&self, check_at: Option<u64>) -> Done {
        let mut process = self.ports.service.state().await;
        let mut etcd = match process {
            Process::Stopped | Process::StoppedByOperator => Answer::Silent,
            Process::Running { .. } | Process::Unknown => {
                self.ports.etcd.probe(&self.door().await).await
            }
        };
        if matches!(etcd, Answer::Refused { .. }) {
            // what ends while it is asked hangs up as well
            process = self.ports.service.state().await;
        }
        if let (Answer::Status(status), Some(revision)) = (&mut etcd, check_at) {
            status.check = self.checked(status.cluster_id, revision).await;
        }
        let memory = self.ports.machine.memory().await?;
        let data = self.ports.machine.data().await;
        Ok(Outcome::Looked(Look { process, etcd, data: data.into(), memory: memory.into() }))
    }

    /// The content of my own member at a revision, once it is known. HashKV walks the whole database
    /// and may take longer than a look: it is asked beside the looks, and what it brings is kept.
    async fn checked(&self, cluster: ClusterId, revision: u64) -> Option<Check> {
        let mut asked = self.check.lock().await;
        if asked.as_ref().is_none_or(|asked| (asked.cluster, asked.revision) != (cluster, revision))
        {
            let (etcd, door) = (Arc::clone(&self.ports.etcd), self.door().await);
            let task = tokio::spawn(async move { etcd.check(&door, revision).await.ok() });
            *asked = Some(Checking { cluster, revision, task, found: None });
        }
        let checking = asked.as_mut()?;
        if checking.found.is_none()
            && let Ok(ended) = tokio::time::timeout(A_MOMENT, &mut checking.task).await
        {
            checking.found = ended.ok().flatten();
        }
        let found = checking.found;
        if found.is_none() && checking.task.is_finished() {
            *asked = None; // it failed; the next look asks again
        }
        found
    }

    /// One effect of the machine lane.
    #[expect(clippy::wildcard_enum_match_arm, reason = "`perform` names every effect once")]
    pub(super) async fn change_machine(&self, effect: &Effect) -> Done {
        let (machine, service) = (&self.ports.machine, &self.ports.service);
        match effect {
            Effect::Stop => service.stop().await.map_err(unavailable)?,
            Effect::Start(start) => {
                self.kept.forget().await; // its room is etcd's now
                service.start(start).await.map_err(unavailable)?;
            }
            Effect::Mark(marker) => machine.mark(*marker).await?,
            Effect::Unmark(marker) => machine.unmark(*marker).await?,
            Effect::Retire(inc) => machine.retire(*inc).await?,
            Effect::RememberOpened(inc) => machine.remember_opened(*inc).await?,
            Effect::RememberSeat(uid, slot) => machine.remember_seat(uid, *slot).await?,
            Effect::RememberRan(ran) => machine.remember_ran(ran).await?,
            Effect::Swap { plan, digest, old_inc } => {
                machine.swap(*digest, plan.inc, *old_inc).await?
            }
            Effect::MoveAside { inc } => machine.move_aside(*inc).await?,
            Effect::ReadLog => return Ok(Outcome::Log(machine.read_log().await?)),
            other => unreachable!("{} is no effect of the machine lane", other.name()),
        }
        Ok(Outcome::Ok)
    }

    /// One effect of the etcd lane, through my own member.
    #[expect(clippy::wildcard_enum_match_arm, reason = "`perform` names every effect once")]
    pub(super) async fn change_etcd(&self, effect: &Effect) -> Done {
        let (etcd, door) = (&self.ports.etcd, self.door().await);
        match effect {
            Effect::ListMembers => {
                Ok(Outcome::Members(etcd.members(&door).await.map_err(unavailable)?))
            }
            Effect::RemoveMember(id) => {
                etcd.remove(&door, *id).await.map(|()| Outcome::Ok).map_err(unavailable)
            }
            Effect::AddLearner { peer_url } => etcd
                .add_learner(&door, peer_url)
                .await
                .map(Outcome::LearnerAdded)
                .map_err(unavailable),
            Effect::Promote(id) => {
                etcd.promote(&door, *id).await.map(|()| Outcome::Ok).map_err(unavailable)
            }
            Effect::DisarmNoSpace => {
                etcd.disarm_no_space(&door).await.map(|()| Outcome::Ok).map_err(unavailable)
            }
            other => unreachable!("{} is no effect of the etcd lane", other.name()),
        }
    }
}
