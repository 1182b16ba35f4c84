//! **stops** — who stopped etcd's unit: the agent, or an operator.
//!
//! Comes in: that the agent is about to stop it, and what the unit's ExecStopPost finds. Goes out: a note in the
//! runtime directory that an operator stopped etcd, for this boot only. systemd shows the same `inactive, success`
//! for both (measured), and an operator's stop must be kept, while an agent's is its own to undo.

use super::{
    durable,
    process_table::{self, ProcessId},
};
use crate::ports::service::ServiceError;
use std::{
    io,
    path::{Path, PathBuf},
};

/// The notes.
#[derive(Clone, Debug)]
pub struct Stops {
    /// The agent that is stopping etcd just now. It counts as long as that process lives: one that was killed in
    /// the midst of it must not hide an operator's stop for ever.
    own: PathBuf,
    /// It is there: an operator's stop stands.
    operators: PathBuf,
}

impl Stops {
    /// `runtime_dir`: ours, emptied at boot.
    pub fn new(runtime_dir: &Path) -> Self {
        Self {
            own: runtime_dir.join("stopping"),
            operators: runtime_dir.join("stopped-by-operator"),
        }
    }

    /// Whatever ends the unit from now on, it is this process, until [`end_own`](Self::end_own).
    pub(super) fn begin_own(&self) -> Result<(), ServiceError> {
        let own = i32::try_from(std::process::id()).ok().and_then(process_table::identify);
        let ProcessId { pid, started } =
            own.ok_or_else(|| ServiceError("this process does not see itself in /proc".into()))?;
        let written = durable::write(&self.own, format!("{pid} {started}").as_bytes());
        written.map_err(|why| named(&self.own, &why))
    }

    /// The unit is at rest, or it was given up.
    pub(super) fn end_own(&self) -> Result<(), ServiceError> {
        durable::remove(&self.own).map_err(|why| named(&self.own, &why))
    }

    /// The unit has ended; `asked`: because it was asked to. `true`: by an operator, and that is noted.
    pub(super) fn ended(&self, asked: bool) -> Result<bool, ServiceError> {
        if !asked || self.is_own()? {
            return Ok(false);
        }
        durable::write(&self.operators, b"").map_err(|why| named(&self.operators, &why))?;
        Ok(true)
    }

    /// Whether the agent that is said to be stopping it lives.
    fn is_own(&self) -> Result<bool, ServiceError> {
        let said = durable::read(&self.own).map_err(|why| named(&self.own, &why))?;
        let said = String::from_utf8(said.unwrap_or_default()).unwrap_or_default();
        let parsed = said.split_once(' ').and_then(|(pid, started)| {
            Some(ProcessId { pid: pid.parse().ok()?, started: started.parse().ok()? })
        });
        Ok(parsed.is_some_and(|own| process_table::identify(own.pid) == Some(own)))
    }

    /// Whether an operator's stop stands. What can't be read is taken for one: an agent could not keep it.
    pub(super) fn by_operator(&self) -> bool {
        durable::exists(&self.operators).unwrap_or(true)
    }

    /// An operator, or the agent's plan, starts etcd again.
    pub(super) fn forget(&self) -> Result<(), ServiceError> {
        durable::remove(&self.operators).map_err(|why| named(&self.operators, &why))
    }
}

fn named(path: &Path, why: &io::Error) -> ServiceError {
    ServiceError(format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operators_stop_is_told_from_the_agents() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let stops = Stops::new(&dir.path().join("run"));
        assert!(!stops.by_operator());
        assert_eq!(stops.ended(false), Ok(false), "it ended by itself");
        assert_eq!(stops.ended(true), Ok(true));
        assert!(stops.by_operator());
        stops.forget().expect("forgotten");
        assert!(!stops.by_operator());
        stops.begin_own().expect("noted");
        assert_eq!(stops.ended(true), Ok(false), "the agent's own stop");
        stops.end_own().expect("done");
        assert_eq!(stops.ended(true), Ok(true), "and none later");
    }

    #[test]
    fn an_agent_that_was_killed_hides_no_operators_stop() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let stops = Stops::new(dir.path());
        stops.begin_own().expect("noted");
        let own = std::fs::read_to_string(&stops.own).expect("the note");
        let (pid, _) = own.split_once(' ').expect("two numbers");
        for later in [format!("{pid} 1"), format!("{} 1", i32::MAX), "half".to_owned()] {
            std::fs::write(&stops.own, later).expect("written");
            assert_eq!(stops.ended(true), Ok(true));
        }
    }
}
