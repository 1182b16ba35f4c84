//! **member_process** — whether this machine's member runs, whoever started it.
//!
//! In: its data dir and peer addresses. Out: [`Seen`]. "Stopped" is only said when everything agrees
//! (protocol.md 1.8): no process with this data dir or peer address, the locks free, the peer port closed.
//! [`exec`](super::exec) and [`systemd`](super::systemd) both ask here; neither may say "stopped" of what the
//! other takes for running.

use super::{
    process_table::{self, Etcd, ProcessId, Serves},
    wal_log,
};
use crate::ports::service::ServiceError;
use protocol::{effect::Start, observation::Process};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, File},
    io,
    net::{TcpStream, ToSocketAddrs},
    path::{Path, PathBuf},
    time::Duration,
};

/// How long one look at a killed process lasts.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection to our own peer port may take before it proves nothing.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);

/// By what our member is known.
pub(super) struct Whereabouts<'a> {
    pub(super) data_dir: &'a Path,
    pub(super) listen_peer_urls: &'a [String],
    /// A lock that every process of it holds from its fork on, where we fork it.
    pub(super) start_lock: Option<PathBuf>,
}

/// What the machine shows of our member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Running(Vec<Etcd>),
    Stopped,
    /// And why it can't be told.
    Unknown(String),
}

impl Seen {
    pub(super) fn process(&self) -> Process {
        match self {
            Self::Running(found) => {
                Process::Running { quarantined: found.iter().all(Etcd::is_quarantined) }
            }
            Self::Stopped => Process::Stopped,
            Self::Unknown(_) => Process::Unknown,
        }
    }
}

impl Whereabouts<'_> {
    /// Looks at everything that tells. `recorded`: a process that is known to be ours even if it does not
    /// show what it serves.
    pub(super) fn look(&self, recorded: Option<ProcessId>) -> Seen {
        let etcds = match process_table::etcds() {
            Ok(etcds) => etcds,
            Err(why) => return Seen::Unknown(format!("/proc can't be read: {why}")),
        };
        let (mut ours, mut unclear) = (Vec::new(), None);
        for etcd in etcds {
            let is_recorded = recorded == Some(etcd.id);
            match etcd.serves(self.data_dir, self.listen_peer_urls) {
                Serves::Yes => ours.push(etcd),
                Serves::Unclear if is_recorded => ours.push(etcd),
                Serves::Unclear => unclear = Some(etcd.id.pid),
                Serves::No => {}
            }
        }
        if !ours.is_empty() {
            return Seen::Running(ours);
        }
        if let Some(pid) = unclear {
            return Seen::Unknown(format!(
                "etcd (pid {pid}) does not show its data dir; run the agent as root"
            ));
        }
        self.doubts().map_or(Seen::Stopped, Seen::Unknown)
    }

    /// What speaks against "stopped" although no process was found.
    fn doubts(&self) -> Option<String> {
        let locks = [self.start_lock.clone(), Some(self.data_dir.join("member/snap/db"))];
        let held = locks.iter().flatten().find_map(|path| match is_locked(path) {
            Ok(false) => None,
            Ok(true) => Some(format!("{} is still locked", path.display())),
            Err(why) => Some(format!("{}: {why}", path.display())),
        });
        held.or_else(|| self.listen_peer_urls.iter().find_map(|url| doubt_of_port(url)))
    }

    /// What speaks against this start: that it runs, or that the data dir holds something else.
    pub(super) fn refuse(&self, seen: &Seen, start: &Start) -> Result<(), ServiceError> {
        match seen {
            Seen::Stopped => {}
            Seen::Running(found) => {
                return Err(ServiceError(format!("etcd already runs as pid {}", found[0].id.pid)));
            }
            Seen::Unknown(why) => {
                return Err(ServiceError(format!("etcd may still run: {why}")));
            }
        }
        if start.join.is_none() && !self.data_dir.join("member/wal").is_dir() {
            // Without a log etcd would found a cluster of its own.
            let dir = self.data_dir.display();
            return Err(ServiceError(format!("{dir} holds no member to start")));
        }
        wal_log::is_of(&self.data_dir.join("member"), &start.member).map_err(ServiceError)
    }
}

/// SIGKILL to all of them, and a while for their end; whoever asked looks again.
pub(super) fn end(found: &[Etcd]) -> Result<(), ServiceError> {
    found.iter().try_for_each(|etcd| {
        let pid = etcd.id.pid;
        process_table::kill(etcd.id, KILL_PATIENCE)
            .map(drop)
            .map_err(|why| ServiceError(format!("etcd (pid {pid}) can't be killed: {why}")))
    })
}

/// Why a stop did not come about in time.
pub(super) fn not_stopped(seen: &Seen) -> ServiceError {
    let why = match seen {
        Seen::Stopped => "its unit is not at rest".to_owned(),
        Seen::Running(found) => format!("process {} does not end", found[0].id.pid),
        Seen::Unknown(why) => why.clone(),
    };
    ServiceError(format!("etcd can't be proven stopped: {why}"))
}

/// This boot of the machine.
pub(super) fn boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

/// Whether somebody holds an exclusive lock on the file; a file that isn't there is not locked.
fn is_locked(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(why) => return Err(why),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(false), // given back as the file is closed
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(why) => Err(why.into()),
    }
}

/// Why a peer URL isn't known to be closed; `None`: its port refuses connections.
fn doubt_of_port(url: &str) -> Option<String> {
    let (scheme, address) = url.split_once("://").unwrap_or(("http", url));
    if scheme.starts_with("unix") {
        return None; // a socket file says nothing; the locks do
    }
    let address = address.trim_end_matches('/');
    let address = address.replacen("0.0.0.0:", "127.0.0.1:", 1).replacen("[::]:", "[::1]:", 1);
    let resolved = match address.to_socket_addrs() {
        Ok(resolved) => resolved,
        Err(why) => return Some(format!("{url}: {why}")),
    };
    resolved.into_iter().find_map(|address| {
        match TcpStream::connect_timeout(&address, CONNECT_PATIENCE) {
            Ok(_) => Some(format!("something still listens at {url}")),
            Err(why) if why.kind() == io::ErrorKind::ConnectionRefused => None,
            Err(why) => Some(format!("whether {url} is closed can't be told: {why}")),
        }
    })
}
