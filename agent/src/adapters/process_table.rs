//! **process_table** — the etcd processes of this machine, ours or not, as /proc shows them.
//!
//! In: /proc. Out: for each etcd its pid, start time and what it was told to serve. A pid alone
//! names nobody (it is reused), a pid with its start time does, for the life of the boot. What
//! can't be read of a process makes it unclear, never absent: "no etcd runs on this data dir" is
//! half of the proof that a member is stopped (protocol.md 1.8, "Owning etcd without systemd").

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::stat,
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// One etcd process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Etcd {
    pub(super) id: ProcessId,
    /// Its `--data-dir`, as it resolves it; `None`: could not tell.
    data_dir: Option<PathBuf>,
    peer_urls: Vec<String>,
    client_urls: Vec<String>,
}

/// A process, told apart from later ones with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProcessId {
    pub(super) pid: i32,
    /// Clock ticks after boot.
    pub(super) started: u64,
}

/// Whether a process serves a given member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serves {
    Yes,
    No,
    /// Its arguments or its directories could not be read.
    Unclear,
}

/// All etcd processes that have not ended.
///
/// # Errors
/// /proc can't be listed.
pub(super) fn etcds() -> io::Result<Vec<Etcd>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok())
            && let Some(etcd) = look_at(pid)
        {
            found.push(etcd);
        }
    }
    Ok(found)
}

/// `None`: it ended, or is no etcd.
fn look_at(pid: i32) -> Option<Etcd> {
    let dir = PathBuf::from(format!("/proc/{pid}"));
    // The file comes first: execve(2) may fall between the two reads, and then the arguments are
    // the new program's, or still empty, but never those of the program before it.
    let file = fs::read_link(dir.join("exe"));
    let arguments = strings(&dir.join("cmdline")).unwrap_or_default();
    if !is_etcd(&file, &arguments) {
        return None;
    }
    let id = identify(pid)?;
    let environment = strings(&dir.join("environ"));
    let told = Told { arguments: &arguments, environment: environment.as_deref() };
    let urls = |flag, default: &str| {
        let default = || told.is_complete().then(|| default.to_owned());
        let urls = told.value(flag).or_else(default).unwrap_or_default();
        urls.split(',').filter(|url| !url.is_empty()).map(ToOwned::to_owned).collect()
    };
    Some(Etcd {
        id,
        data_dir: told.data_dir().and_then(|path| resolved(&dir, path)),
        peer_urls: urls("listen-peer-urls", "http://localhost:2380"),
        client_urls: urls("listen-client-urls", "http://localhost:2379"),
    })
}

/// A path as the process means it: relative to where it stands.
fn resolved(dir: &Path, path: String) -> Option<PathBuf> {
    let path = PathBuf::from(path);
    if path.is_absolute() {
        Some(path)
    } else {
        Some(fs::read_link(dir.join("cwd")).ok()?.join(path))
    }
}

/// By the file it executes; by its own name for itself where we may not see the file.
fn is_etcd(file: &io::Result<PathBuf>, arguments: &[String]) -> bool {
    match file {
        Ok(file) => {
            let name = file.file_name().and_then(OsStr::to_str).unwrap_or_default();
            name.strip_suffix(" (deleted)").unwrap_or(name) == "etcd"
        }
        Err(why) if why.kind() == io::ErrorKind::PermissionDenied => arguments
            .first()
            .is_some_and(|name| Path::new(name).file_name() == Some(OsStr::new("etcd"))),
        Err(_) => false, // a kernel thread, or it ended
    }
}

/// The process that has this pid now; `None`: there is none, or it has ended and waits to be reaped.
pub(super) fn identify(pid: i32) -> Option<ProcessId> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses and may hold anything; state is the third field,
    // the start time the 22nd (proc_pid_stat(5)).
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let state = *fields.first()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    Some(ProcessId { pid, started: fields.get(19)?.parse().ok()? })
}

/// Kills a process and waits until it is gone with all its threads. `false`: it did not go in time.
///
/// # Errors
/// We may not kill it.
pub(super) fn kill(id: ProcessId, patience: Duration) -> io::Result<bool> {
    let Some(pid) = Pid::from_raw(id.pid) else { return Ok(true) };
    let handle = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(Errno::SRCH) => return Ok(true),
        Err(why) => return Err(why.into()),
    };
    if identify(id.pid) != Some(id) {
        return Ok(true); // the handle is of a later process, or of one that has ended
    }
    match pidfd_send_signal(&handle, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(why) => return Err(why.into()),
    }
    let patience = Timespec::try_from(patience).map_err(|_| Errno::INVAL)?;
    match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&patience)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(why) => Err(why.into()),
    }
}

impl Etcd {
    /// Whether it has this data dir or listens to one of these peer URLs.
    pub(super) fn serves(&self, data_dir: &Path, peer_urls: &[String]) -> Serves {
        let shares_peer = peer_urls.iter().any(|url| self.peer_urls.contains(url));
        if shares_peer && same_namespace(self.id.pid, "net") {
            return Serves::Yes;
        }
        match &self.data_dir {
            None => Serves::Unclear,
            Some(own) if same_dir(self.id.pid, own, data_dir) => Serves::Yes,
            Some(_) => Serves::No,
        }
    }

    /// Only local sockets lead to it.
    pub(super) fn is_quarantined(&self) -> bool {
        !self.client_urls.is_empty() && self.client_urls.iter().all(|url| url.starts_with("unix"))
    }

    /// Its data dir is somewhere below `dir`, by a name that begins with `prefix`.
    pub(super) fn is_below(&self, dir: &Path, prefix: &str) -> bool {
        let below = self.data_dir.as_ref().and_then(|own| own.strip_prefix(dir).ok());
        below.is_some_and(|rest| rest.as_os_str().as_encoded_bytes().starts_with(prefix.as_bytes()))
    }
}

/// What a process was told, by flags and by environment, as etcd reads it: flags win.
struct Told<'a> {
    arguments: &'a [String],
    environment: Option<&'a [String]>,
}

impl Told<'_> {
    /// A process that has only just begun shows no arguments and no environment yet: to take etcd's
    /// defaults for what it was told would be a guess.
    fn is_complete(&self) -> bool {
        !self.arguments.is_empty() && self.environment.is_some_and(|seen| !seen.is_empty())
    }

    /// The data dir it was told, or etcd's default. `None`: could not tell.
    fn data_dir(&self) -> Option<String> {
        if self.flag("config-file").is_some() {
            return None;
        }
        let told = self.flag("data-dir").or_else(|| self.variable("data-dir"));
        if told.is_none() && (!self.is_complete() || self.variable("config-file").is_some()) {
            return None;
        }
        told.or_else(|| {
            let name = self.value("name").unwrap_or_else(|| "default".to_owned());
            Some(format!("{name}.etcd"))
        })
    }

    fn value(&self, name: &str) -> Option<String> {
        self.flag(name).or_else(|| self.variable(name))
    }

    /// `--name=value`, `--name value`, with one dash or two; the last one counts.
    fn flag(&self, name: &str) -> Option<String> {
        let mut value = None;
        for (at, argument) in self.arguments.iter().enumerate() {
            let Some(flag) = argument.strip_prefix('-') else { continue };
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            if flag == name {
                value = self.arguments.get(at + 1).cloned();
            } else if let Some(given) =
                flag.strip_prefix(name).and_then(|rest| rest.strip_prefix('='))
            {
                value = Some(given.to_owned());
            }
        }
        value
    }

    fn variable(&self, name: &str) -> Option<String> {
        let name = format!("{}=", variable(name));
        self.environment?.iter().find_map(|pair| pair.strip_prefix(&name)).map(ToOwned::to_owned)
    }
}

/// The environment variable of an etcd flag: `data-dir` is `ETCD_DATA_DIR`.
pub(super) fn variable(flag: &str) -> String {
    format!("ETCD_{}", flag.to_ascii_uppercase().replace('-', "_"))
}

/// Whether a process means by `theirs` what we mean by `ours`. Compared by identity, since another
/// container may use the same path; by name where the directory is gone.
fn same_dir(pid: i32, theirs: &Path, ours: &Path) -> bool {
    let inside = theirs.strip_prefix("/").unwrap_or(theirs);
    let seen = stat(Path::new(&format!("/proc/{pid}/root")).join(inside));
    match (seen, stat(ours)) {
        (Ok(a), Ok(b)) => (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino),
        (Err(_), Ok(_) | Err(_)) | (Ok(_), Err(_)) => {
            let ours = std::path::absolute(ours).unwrap_or_else(|_| ours.to_owned());
            theirs == ours && same_namespace(pid, "mnt")
        }
    }
}

/// Whether a process is in our namespace of this kind; in doubt it is.
fn same_namespace(pid: i32, kind: &str) -> bool {
    let theirs = fs::read_link(format!("/proc/{pid}/ns/{kind}"));
    match (theirs, fs::read_link(format!("/proc/self/ns/{kind}"))) {
        (Ok(theirs), Ok(ours)) => theirs == ours,
        (Ok(_), Err(_)) | (Err(_), Ok(_) | Err(_)) => true,
    }
}

/// The NUL-separated strings of a /proc file; `None`: we may not read it.
fn strings(file: &Path) -> Option<Vec<String>> {
    let bytes = fs::read(file).ok()?;
    let parts = bytes.split(|byte| *byte == 0).filter(|part| !part.is_empty());
    Some(parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(arguments: &[&str], environment: Option<&[&str]>) -> Option<String> {
        let owned = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (arguments, environment) = (owned(arguments), environment.map(owned));
        Told { arguments: &arguments, environment: environment.as_deref() }.data_dir()
    }

    #[test]
    fn a_data_dir_is_told_in_many_ways() {
        let dir = Some("/d".to_owned());
        assert_eq!(told(&["etcd", "--data-dir", "/d"], None), dir);
        assert_eq!(told(&["etcd", "-data-dir=/d"], None), dir);
        assert_eq!(told(&["etcd"], Some(&["ETCD_DATA_DIR=/d"])), dir);
        assert_eq!(told(&["etcd", "--data-dir=/d"], Some(&["ETCD_DATA_DIR=/e"])), dir);
        assert_eq!(told(&["etcd", "--name", "a"], Some(&["HOME=/"])), Some("a.etcd".to_owned()));
    }

    #[test]
    fn what_can_not_be_read_is_not_guessed() {
        assert_eq!(told(&["etcd"], None), None);
        assert_eq!(told(&["etcd", "--config-file", "/c"], Some(&["HOME=/"])), None);
    }

    #[test]
    fn a_process_that_has_only_just_begun_shows_nothing_yet() {
        assert_eq!(told(&[], Some(&[])), None);
        assert_eq!(told(&[], Some(&["HOME=/"])), None);
        assert_eq!(told(&["etcd"], Some(&[])), None);
        assert_eq!(told(&["etcd", "--data-dir=/d"], Some(&[])), Some("/d".to_owned()));
    }

    #[test]
    fn we_are_who_we_are() {
        let own = i32::try_from(std::process::id()).expect("a pid");
        assert_eq!(identify(own).map(|id| id.pid), Some(own));
        assert_eq!(identify(i32::MAX), None);
    }
}
