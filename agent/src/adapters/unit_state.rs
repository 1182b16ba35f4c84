//! **unit_state** — what a unit is doing, as systemd told it at one moment, and what follows from that.
//!
//! Comes from [`unit_bus`](super::unit_bus) and the unit's cgroup. Goes to [`systemd`](super::systemd), which says
//! "stopped" only of a unit that is at rest and that nobody can start past the gate (protocol.md A3).

use std::{
    fmt, fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// A command of a unit as systemd tells it (org.freedesktop.systemd1(5), ExecStart): path, arguments, whether a
/// failure is ignored, and eight figures of its last run.
pub(super) type Command = (String, Vec<String>, bool, u64, u64, u64, u64, u32, i32, i32);

/// Where cgroups may be mounted, with version 1 beside version 2 or without.
const CGROUPS: [&str; 3] = ["/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"];

/// What a unit is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnitState {
    pub(super) active: String,
    pub(super) sub: String,
    /// How it ended last.
    pub(super) result: String,
    /// What it was asked to do and is about to: `start`, `stop`, `restart`.
    pub(super) job: Option<String>,
    /// One life of the unit.
    pub(super) invocation: String,
    /// Below the root of cgroups; empty: it has none.
    pub(super) cgroup: String,
    /// Every start of it passes our gate.
    pub(super) has_gate: bool,
    /// All that its own Condition...= and Assert...= lines asked of the last start was so.
    pub(super) is_wanted: bool,
}

impl UnitState {
    /// Nothing of it runs, and nothing will unless it is asked to.
    pub(super) fn is_at_rest(&self) -> bool {
        matches!(self.active.as_str(), "inactive" | "failed")
            && self.job.is_none()
            && !has_processes(&self.cgroup)
    }

    /// Somebody asked for a start, and its gate has not answered yet.
    pub(super) fn is_about_to_start(&self) -> bool {
        matches!(self.job.as_deref(), Some("start" | "restart"))
    }

    /// It is asked to stop, and not to start again.
    pub(super) fn is_about_to_stop(&self) -> bool {
        self.job.as_deref() == Some("stop")
    }

    /// Its process had ended by itself and systemd was about to start it again, when somebody stopped it: then no
    /// ExecStopPost is run (measured, systemd 252). Where systemd gave up it is `failed`, where the gate said no
    /// the result is that; where a condition of the unit's own said no, a mount that is away perhaps, nobody did.
    pub(super) fn was_stopped_between_two_lives(&self) -> bool {
        let idle = self.active == "inactive" && self.job.is_none() && self.is_wanted;
        idle && !matches!(self.result.as_str(), "success" | "exec-condition")
    }

    /// A process of this pid is one of the unit's. What can't be read is none.
    pub(super) fn holds(&self, pid: i32) -> bool {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let own = |line: &str| {
            let path = line.splitn(3, ':').nth(2)?;
            let below = path.strip_prefix(&self.cgroup)?;
            (below.is_empty() || below.starts_with('/')).then_some(())
        };
        !self.cgroup.is_empty() && text.lines().any(|line| own(line).is_some())
    }
}

impl fmt::Display for UnitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, last result {})", self.active, self.sub, self.result)
    }
}

/// Whether the commands that a unit runs before each start hold our gate, and it is listened to.
pub(super) fn is_gate(commands: &[Command]) -> bool {
    commands.iter().any(|(_, arguments, ignored, ..)| {
        let says = |word: &str| arguments.iter().any(|argument| argument == word);
        !ignored && says("reconfigure") && says("--gate")
    })
}

/// Whether a process is left in a cgroup. What can't be read is taken for one.
fn has_processes(cgroup: &str) -> bool {
    let Some(below) = cgroup.strip_prefix('/').filter(|below| !below.is_empty()) else {
        return false;
    };
    let mut dirs = CGROUPS.iter().map(|root| Path::new(root).join(below));
    dirs.any(|dir| dir.exists() && is_populated(&dir))
}

fn is_populated(dir: &PathBuf) -> bool {
    match fs::read_to_string(dir.join("cgroup.procs")) {
        Ok(pids) if pids.trim().is_empty() => {}
        Ok(_) => return true,
        Err(why) if why.kind() == ErrorKind::NotFound => return false,
        Err(_) => return true,
    }
    let Ok(below) = fs::read_dir(dir) else { return dir.exists() };
    below
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .any(|path| is_populated(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(active: &str, result: &str, job: Option<&str>) -> UnitState {
        UnitState {
            active: active.into(),
            sub: "dead".into(),
            result: result.into(),
            job: job.map(Into::into),
            invocation: String::new(),
            cgroup: String::new(),
            has_gate: true,
            is_wanted: true,
        }
    }

    #[test]
    fn rest_is_nothing_running_and_nothing_about_to() {
        assert!(state("inactive", "success", None).is_at_rest());
        assert!(state("failed", "exit-code", None).is_at_rest());
        for restless in [
            state("inactive", "success", Some("start")),
            state("activating", "exit-code", None), // an automatic restart
            state("deactivating", "success", Some("stop")),
            state("active", "success", None),
        ] {
            assert!(!restless.is_at_rest(), "{restless:?}");
        }
    }

    #[test]
    fn a_stop_between_two_lives_shows_in_the_result() {
        assert!(state("inactive", "signal", None).was_stopped_between_two_lives());
        assert!(!state("failed", "signal", None).was_stopped_between_two_lives());
        assert!(!state("inactive", "exec-condition", None).was_stopped_between_two_lives());
        assert!(!state("inactive", "success", None).was_stopped_between_two_lives());
        let unwanted = UnitState { is_wanted: false, ..state("inactive", "signal", None) };
        assert!(!unwanted.was_stopped_between_two_lives(), "its own condition keeps it down");
    }

    #[test]
    fn a_gate_that_is_not_heard_is_none() {
        let command = |arguments: &[&str], ignored| {
            let arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
            ("/opt/bin/requorum".to_owned(), arguments, ignored, 0, 0, 0, 0, 0, 0, 0)
        };
        let gate = ["/opt/bin/requorum", "reconfigure", "--gate"];
        assert!(is_gate(&[command(&["/bin/true"], false), command(&gate, false)]));
        assert!(!is_gate(&[command(&gate, true)]), "`-` ignores what it says");
        assert!(!is_gate(&[command(&gate[..2], false)]));
        assert!(!is_gate(&[]));
    }

    #[test]
    fn a_process_is_of_its_cgroup_and_of_those_above() {
        let pid = i32::try_from(std::process::id()).expect("a pid");
        let text = fs::read_to_string("/proc/self/cgroup").expect("it is there");
        let own =
            text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).max_by_key(|p| p.len());
        let own = own.expect("it is in one").to_owned();
        let of = |cgroup: &str| UnitState {
            cgroup: cgroup.to_owned(),
            ..state("active", "success", None)
        };
        assert!(!of("/no/such.service").holds(pid));
        assert!(!of("").holds(pid));
        if own.len() > 1 {
            assert!(of(&own).holds(pid), "{own}");
        }
    }
}
