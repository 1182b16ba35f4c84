//! **exec** — owns etcd without systemd: starts it, adopts it, proves it stopped.
//!
//! In: how etcd is to be run. Out: the port [`Service`]. etcd runs in a process group of its own
//! and outlives the agent; PDEATHSIG isn't used, since etcd must never depend on us (protocol.md
//! 1.8). "Stopped" is only said when everything agrees: no process with this data dir or peer
//! address, the start lock free, etcd's own lock on `member/snap/db` free, the peer port closed.
//!
//! The start lock closes the one gap that a scan of /proc leaves: between fork and exec a child
//! looks like the agent. etcd's standard input is the file `<state dir>/etcd.lock`, locked before
//! the fork; the lock lives as long as any process holds that file open, so it is free only once
//! the child of a killed agent, exec'd or not, has ended.

use super::{
    durable,
    etcd_command::{ExecConfig, absolute},
    process_table::{self, Etcd, ProcessId, Serves},
    wal_log,
};
use crate::ports::service::{Service, ServiceError};
use async_trait::async_trait;
use protocol::{effect::Start, observation::Process};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io,
    net::{TcpStream, ToSocketAddrs},
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Longest path of a unix socket: sockaddr_un holds 108 bytes, the last one zero (unix(7)).
const SOCKET_PATH_MAX: usize = 107;
/// How long a SIGKILLed etcd may take to be gone; longer only in uninterruptible disk waits.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// How long one look at a killed process lasts.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// How often "stopped?" is asked meanwhile.
const STOP_POLL: Duration = Duration::from_millis(20);
/// How long a connection to our own peer port may take before it proves nothing.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);
/// etcd under our own supervision.
#[derive(Clone, Debug)]
pub struct Exec {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: ExecConfig,
    /// Those we started ourselves, to be reaped.
    children: Mutex<Vec<Child>>,
}

/// `etcd.pid.json`: the process that was started last.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct PidFile {
    version: u32,
    boot_id: String,
    pid: i32,
    started: u64,
}

/// What the machine shows of our member.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Running(Vec<Etcd>),
    Stopped,
    /// And why it can't be told.
    Unknown(String),
}

impl Exec {
    /// Prepares; starts nothing.
    pub fn new(config: ExecConfig) -> Self {
        Self { inner: Arc::new(Inner { config, children: Mutex::new(Vec::new()) }) }
    }

    /// The socket that leads to a quarantined member.
    pub fn socket(&self) -> PathBuf {
        self.inner.socket()
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, ServiceError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .unwrap_or_else(|why| Err(ServiceError(format!("the process thread ended: {why}"))))
    }

    /// Kills until nothing is left to kill and everything agrees that it is stopped.
    async fn stop_for_good(&self) -> Result<(), ServiceError> {
        loop {
            match self.blocking(|inner| Ok(inner.look())).await? {
                Seen::Stopped => return Ok(()),
                Seen::Running(found) => {
                    self.blocking(move |_| found.iter().try_for_each(|etcd| end(etcd.id))).await?;
                }
                Seen::Unknown(_) => tokio::time::sleep(STOP_POLL).await,
            }
        }
    }
}

#[async_trait]
impl Service for Exec {
    async fn state(&self) -> Process {
        match self.blocking(|inner| Ok(inner.look())).await {
            Ok(Seen::Running(found)) => {
                Process::Running { quarantined: found.iter().all(Etcd::is_quarantined) }
            }
            Ok(Seen::Stopped) => Process::Stopped,
            Ok(Seen::Unknown(_)) | Err(_) => Process::Unknown,
        }
    }

    async fn start(&self, start: &Start) -> Result<(), ServiceError> {
        let start = start.clone();
        self.blocking(move |inner| inner.start(&start)).await
    }

    async fn stop(&self) -> Result<(), ServiceError> {
        if let Ok(ended) = tokio::time::timeout(STOP_PATIENCE, self.stop_for_good()).await {
            return ended;
        }
        let why = match self.blocking(|inner| Ok(inner.look())).await? {
            Seen::Stopped => return Ok(()),
            Seen::Running(found) => format!("process {} does not end", found[0].id.pid),
            Seen::Unknown(why) => why,
        };
        Err(ServiceError(format!("etcd can't be proven stopped: {why}")))
    }
}

/// SIGKILL, and wait a while for the end; whoever asked looks again.
fn end(id: ProcessId) -> Result<(), ServiceError> {
    let pid = id.pid;
    process_table::kill(id, KILL_PATIENCE)
        .map(drop)
        .map_err(|why| ServiceError(format!("etcd (pid {pid}) can't be killed: {why}")))
}

impl Inner {
    fn socket(&self) -> PathBuf {
        self.config.socket()
    }

    fn pid_file(&self) -> PathBuf {
        self.config.state_dir.join("etcd.pid.json")
    }

    /// Looks at everything that tells whether our member runs.
    fn look(&self) -> Seen {
        self.reap();
        let etcds = match process_table::etcds() {
            Ok(etcds) => etcds,
            Err(why) => return Seen::Unknown(format!("/proc can't be read: {why}")),
        };
        let recorded = self.recorded();
        let (mut ours, mut unclear) = (Vec::new(), None);
        for etcd in etcds {
            let is_recorded = recorded == Some(etcd.id);
            match etcd.serves(&self.config.data_dir, &self.config.listen_peer_urls) {
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
        let locks =
            [self.config.state_dir.join("etcd.lock"), self.config.data_dir.join("member/snap/db")];
        let held = locks.iter().find_map(|path| match is_locked(path) {
            Ok(false) => None,
            Ok(true) => Some(format!("{} is still locked", path.display())),
            Err(why) => Some(format!("{}: {why}", path.display())),
        });
        held.or_else(|| self.config.listen_peer_urls.iter().find_map(|url| doubt_of_port(url)))
    }

    fn start(&self, start: &Start) -> Result<(), ServiceError> {
        match self.look() {
            Seen::Stopped => {}
            Seen::Running(found) => {
                return Err(ServiceError(format!("etcd already runs as pid {}", found[0].id.pid)));
            }
            Seen::Unknown(why) => {
                return Err(ServiceError(format!("etcd may still run: {why}")));
            }
        }
        if start.join.is_none() && !self.config.data_dir.join("member/wal").is_dir() {
            // Without a log etcd would found a cluster of its own.
            let dir = self.config.data_dir.display();
            return Err(ServiceError(format!("{dir} holds no member to start")));
        }
        wal_log::is_of(&self.config.data_dir.join("member"), &start.member)
            .map_err(ServiceError)?;
        let state_dir = &self.config.state_dir;
        let failed =
            |what: &Path, why: &io::Error| ServiceError(format!("{}: {why}", what.display()));
        durable::make_dirs(state_dir).map_err(|why| failed(state_dir, &why))?;
        if start.quarantined {
            self.free_socket()?;
        }
        let lock = state_dir.join("etcd.lock");
        let held = open(&lock).map_err(|why| failed(&lock, &why))?;
        flock(&held, FlockOperation::NonBlockingLockExclusive)
            .map_err(|why| failed(&lock, &why.into()))?;
        let log = state_dir.join("etcd.log");
        durable::turn_over(&log).map_err(|why| failed(&log, &why))?;
        let out = open(&log).map_err(|why| failed(&log, &why))?;
        let err = out.try_clone().map_err(|why| failed(&log, &why))?;
        let mut command = self.config.command(start);
        command.process_group(0);
        command.stdin(Stdio::from(held)).stdout(Stdio::from(out)).stderr(Stdio::from(err));
        let binary = self.config.etcd_dir.join("etcd");
        let child = command.spawn().map_err(|why| failed(&binary, &why))?;
        self.record(&child);
        self.children.lock().unwrap_or_else(PoisonError::into_inner).push(child);
        Ok(())
    }

    /// Makes way for etcd's socket; nothing runs that could still own it.
    fn free_socket(&self) -> Result<(), ServiceError> {
        let socket = absolute(&self.socket());
        let length = socket.as_os_str().len();
        if length > SOCKET_PATH_MAX {
            return Err(ServiceError(format!(
                "{} has {length} bytes and a socket's path at most {SOCKET_PATH_MAX}; choose a shorter state directory",
                socket.display()
            )));
        }
        match fs::remove_file(&socket) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => {
                Err(ServiceError(format!("{}: {why}", socket.display())))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Notes pid and start time for the next agent. A help only: /proc and the lock tell as well.
    fn record(&self, child: &Child) {
        let id = i32::try_from(child.id()).ok().and_then(process_table::identify);
        let (Some(id), Some(boot_id)) = (id, boot_id()) else { return };
        let file = PidFile { version: 1, boot_id, pid: id.pid, started: id.started };
        let written = serde_json::to_vec(&file)
            .map_err(io::Error::from)
            .and_then(|text| durable::write(&self.pid_file(), &text));
        if let Err(why) = written {
            tracing::warn!(%why, "the pid of etcd could not be noted");
        }
    }

    /// The process that was noted last, in this boot.
    fn recorded(&self) -> Option<ProcessId> {
        let bytes = durable::read(&self.pid_file()).ok()??;
        let file: PidFile = serde_json::from_slice(&bytes).ok()?;
        let is_of_now = file.version == 1 && Some(file.boot_id) == boot_id();
        is_of_now.then_some(ProcessId { pid: file.pid, started: file.started })
    }

    fn reap(&self) {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
    }
}

/// Opens a file of ours for appending.
fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).mode(0o600).open(path)
}

fn boot_id() -> Option<String> {
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
