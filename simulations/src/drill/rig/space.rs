//! **space** — the private namespaces in which a rig lives, so that nothing of it can be left behind.
//!
//! Comes from a drill that was started as any program. Goes on as the same program with the same
//! arguments within namespaces of its own for network, mounts and processes; what it makes there
//! ends with them, however it ends. Only cgroups are the machine's; those are swept.

use crate::drill::trouble::Trouble;
use std::{
    ffi::OsString,
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Set within: the process outside, and the network namespace that was left.
const INSIDE: &str = "REQUORUM_RIG_INSIDE";
const OUTER: &str = include_str!("enter.sh");
const INNER: &str = include_str!("inside.sh");
/// Everything that is run from outside a host's own root.
const NEEDED: [&str; 6] = ["sh", "setpriv", "unshare", "nsenter", "ip", "find"];

/// Goes into the rig's namespaces: at first call this program is replaced by one that runs it again
/// within, and does not return; there, it returns at once. So call it before anything else is
/// begun. Within, SIGTERM and SIGINT come as usual, and what is killed takes everything with it.
///
/// # Errors
/// When this is not root, or a tool or a cgroup hierarchy of version 2 is missing.
pub fn enter() -> Result<(), Trouble> {
    if within()?.is_some() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Trouble("hosts with a real systemd need root; run this as root".to_owned()));
    }
    if let Some(tool) = NEEDED.iter().find(|tool| !on_path(tool)) {
        return Err(Trouble(format!("{tool} is not on PATH; hosts need util-linux and iproute2")));
    }
    let program = std::env::current_exe().map_err(|e| Trouble::of("this program's path", e))?;
    let mark = format!("{} {}", std::process::id(), network()?);
    let mut outer = Command::new("sh");
    outer.args(["-c", OUTER, "requorum-rig", INNER]).arg(cgroups()?).arg(program);
    outer.args(std::env::args_os().skip(1)).env(INSIDE, mark);
    Err(Trouble::of("can't run sh", outer.exec()))
}

/// The cgroup of a host of this rig. It is named after the process outside, which is what a later
/// rig looks for before it sweeps.
pub(super) fn cgroup_of(host: &str) -> Result<PathBuf, Trouble> {
    let outer =
        within()?.ok_or_else(|| Trouble("hosts live in a rig: enter it first".to_owned()))?;
    Ok(cgroups()?.join(format!("requorum-rig-{outer}-{host}")))
}

/// Runs a tool to its end; what it says on stderr is the trouble.
pub(super) fn tool(words: &[&str]) -> Result<(), Trouble> {
    let Some((program, args)) = words.split_first() else { return Ok(()) };
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|e| Trouble::of(format!("can't run {program}"), e))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Trouble::of(format!("{} failed", words.join(" ")), said.trim_end()))
}

/// The process outside, if this one is within: the variable alone may have come from a shell.
fn within() -> Result<Option<u32>, Trouble> {
    let mark = std::env::var(INSIDE).unwrap_or_default();
    let Some((outer, left)) = mark.split_once(' ') else { return Ok(None) };
    Ok(if left == network()? { None } else { outer.parse().ok() })
}

/// The name of our network namespace.
fn network() -> Result<String, Trouble> {
    let link =
        fs::read_link("/proc/self/ns/net").map_err(|e| Trouble::of("/proc/self/ns/net", e))?;
    Ok(link.display().to_string())
}

/// Where cgroups of version 2 are mounted: at /sys/fs/cgroup, or beside those of version 1.
fn cgroups() -> Result<PathBuf, Trouble> {
    let mounts = fs::read_to_string("/proc/self/mounts");
    let mounts = mounts.map_err(|e| Trouble::of("/proc/self/mounts", e))?;
    let mut all = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let found = all.find_map(|words| match words.as_slice() {
        [_, place, "cgroup2", ..] => Some(PathBuf::from(place)),
        _ => None,
    });
    found.ok_or_else(|| Trouble("no cgroup2 is mounted here; systemd can't run without".to_owned()))
}

fn on_path(tool: &str) -> bool {
    let path: OsString = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| Path::new(&dir).join(tool).is_file())
}
