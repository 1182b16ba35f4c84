//! **process** — signals by pid, and which etcd processes work on a directory.
//!
//! Comes from pids that a host owns: children, or etcds found in /proc by their data dir. Nothing
//! is ever signalled by name alone: a pid counts as ours only while its command line or its
//! environment names a directory of this drill.

use super::trouble::Trouble;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// How long a killed process may take to be gone: it may have to write back dirty pages.
const GONE_WITHIN: Duration = Duration::from_secs(20);
const GLANCE: Duration = Duration::from_millis(5);

/// Ends with Ctrl-C, or a polite kill.
pub async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        return std::future::pending().await; // no signals here; then Ctrl-C kills as usual
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
}

/// Sends a signal. A process that is gone already is no error: what was wanted is so.
pub fn signal(pid: u32, signal: Signal) -> Result<(), Trouble> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let target = raw.ok_or_else(|| Trouble(format!("{pid} is no process id")))?;
    match kill_process(target, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(Trouble::of(format!("can't send {signal:?} to process {pid}"), error)),
    }
}

/// SIGKILL, and waits until no thread of it is left.
pub fn kill_and_await(pid: u32) -> Result<(), Trouble> {
    signal(pid, Signal::KILL)?;
    await_that(&format!("process {pid} is gone"), || !is_running(pid))
}

/// SIGSTOP, and waits until it stands still: a signal is only a request.
pub fn pause_and_await(pid: u32) -> Result<(), Trouble> {
    signal(pid, Signal::STOP)?;
    await_that(&format!("process {pid} stands still"), || {
        matches!(state(pid), Some('T' | 't' | 'Z') | None)
    })
}

/// Whether any thread of it still runs. A killed process whose parent stands still stays a zombie;
/// once only its first thread is left, its files are closed and its locks are free.
pub fn is_running(pid: u32) -> bool {
    match state(pid) {
        None => false,
        Some('Z' | 'X') => {
            fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|threads| threads.count() > 1)
        }
        Some(_) => true,
    }
}

/// The etcd that runs on exactly this data dir.
pub fn etcd_on(data_dir: &Path) -> Option<u32> {
    etcds().into_iter().find(|pid| runs_on(*pid, data_dir))
}

/// All etcds whose command line or environment names something below `dir`.
pub fn etcds_below(dir: &Path) -> Vec<u32> {
    let needle = format!("{}/", dir.display());
    etcds().into_iter().filter(|pid| words(*pid).iter().any(|w| w.contains(&needle))).collect()
}

fn etcds() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| is_etcd(*pid) && is_running(*pid)).collect()
}

fn is_etcd(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == "etcd")
}

fn runs_on(pid: u32, data_dir: &Path) -> bool {
    let dir = data_dir.display().to_string();
    let flag = format!("--data-dir={dir}");
    let variable = format!("ETCD_DATA_DIR={dir}");
    let words = words(pid);
    if words.iter().any(|word| *word == dir || *word == flag) {
        return true;
    }
    // The flag wins over the environment: an etcd on a copy inherits the agent's variables.
    let flagged = words.iter().any(|word| word.starts_with("--data-dir"));
    !flagged && words.contains(&variable)
}

/// Its arguments, then its environment.
fn words(pid: u32) -> Vec<String> {
    let mut words = Vec::new();
    for file in ["cmdline", "environ"] {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        words.extend(bytes.split(|b| *b == 0).map(|w| String::from_utf8_lossy(w).into_owned()));
    }
    words
}

/// The state letter of proc(5); it follows the last parenthesis, as a name may hold any.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

fn await_that(what: &str, done: impl Fn() -> bool) -> Result<(), Trouble> {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > GONE_WITHIN {
            return Err(Trouble(format!(
                "waited {} s in vain until {what}",
                GONE_WITHIN.as_secs()
            )));
        }
        thread::sleep(GLANCE);
    }
    Ok(())
}
