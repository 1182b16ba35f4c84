//! **stops** — who stopped etcd's unit: the agent, or an operator.
//!
//! Comes in: the life of the unit that the agent is about to end, and the one that has ended. Goes out: a note in
//! the runtime directory that an operator stopped etcd, for this boot only. systemd shows the same `inactive,
//! success` for both (measured), and an operator's stop must be kept, while an agent's is its own to undo. What is
//! noted is the life that was ended and not who lives: an agent that is killed in the midst of its own stop has not
//! made an operator of itself, and hides none.

use super::durable;
use crate::ports::service::ServiceError;
use std::{
    io,
    path::{Path, PathBuf},
};

/// The notes.
#[derive(Clone, Debug)]
pub struct Stops {
    /// The life of the unit that an agent ended last, or is ending.
    own: PathBuf,
    /// It is there: an operator's stop stands.
    operators: PathBuf,
}

impl Stops {
    /// `runtime_dir`: ours, emptied at boot.
    pub fn new(runtime_dir: &Path) -> Self {
        Self {
            own: runtime_dir.join("stopped-by-agent"),
            operators: runtime_dir.join("stopped-by-operator"),
        }
    }

    /// The agent is about to end this life of the unit.
    pub(super) fn begin_own(&self, invocation: &str) -> Result<(), ServiceError> {
        if self.is_own(invocation) {
            return Ok(());
        }
        // the one before is kept: its ExecStopPost may still be under way
        let before = self.noted().lines().next().unwrap_or_default().to_owned();
        let both = format!("{invocation}\n{before}\n");
        durable::write(&self.own, both.as_bytes()).map_err(|why| named(&self.own, &why))
    }

    fn noted(&self) -> String {
        let noted = durable::read(&self.own).ok().flatten().unwrap_or_default();
        String::from_utf8(noted).unwrap_or_default()
    }

    /// Whether an agent ended this life of the unit, or is about to.
    pub(super) fn is_own(&self, invocation: &str) -> bool {
        !invocation.is_empty() && self.noted().lines().any(|own| own == invocation)
    }

    /// This life of the unit has ended; `asked`: because somebody asked it to. `true`: an operator, and it is noted.
    pub(super) fn ended(&self, invocation: &str, asked: bool) -> Result<bool, ServiceError> {
        if !asked || self.is_own(invocation) {
            return Ok(false);
        }
        let written = durable::write(&self.operators, invocation.as_bytes());
        written.map_err(|why| named(&self.operators, &why))?;
        Ok(true)
    }

    /// Whether an operator's stop stands. What can't be read is taken for one: an agent could not keep it.
    pub(super) fn by_operator(&self) -> bool {
        durable::exists(&self.operators).unwrap_or(true)
    }

    /// An operator, or the agent's plan, is about to start etcd.
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
        assert_eq!(stops.ended("life-1", false), Ok(false), "it ended by itself");
        assert_eq!(stops.ended("life-1", true), Ok(true));
        assert!(stops.by_operator());
        stops.forget().expect("forgotten");
        assert!(!stops.by_operator());
        stops.begin_own("life-2").expect("noted");
        stops.begin_own("life-2").expect("noted again");
        stops.begin_own("life-2b").expect("a restart came between");
        assert_eq!(stops.ended("life-2b", true), Ok(false));
        assert_eq!(stops.ended("life-2", true), Ok(false), "the agent's own, however late");
        assert_eq!(stops.ended("life-3", true), Ok(true), "and none of a later life");
    }
}
