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
    etcd_command::ExecConfig,
    member_process::{self, Seen, Whereabouts, boot_id},
    process_table::{self, ProcessId},
};
use crate::ports::service::{Service, ServiceError};
use async_trait::async_trait;
use protocol::{effect::Start, observation::Process};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io,
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How long a SIGKILLed etcd may take to be gone; longer only in uninterruptible disk waits.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// How often "stopped?" is asked meanwhile.
const STOP_POLL: Duration = Duration::from_millis(20);
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

impl Exec {
    /// Prepares; starts nothing.
    pub fn new(config: ExecConfig) -> Self {
        Self { inner: Arc::new(Inner { config, children: Mutex::new(Vec::new()) }) }
    }

    /// The socket that leads to a quarantined member.
    pub fn socket(&self) -> PathBuf {
        self.inner.config.socket.clone()
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
                    self.blocking(move |_| member_process::end(&found)).await?;
                }
                Seen::Unknown(_) => tokio::time::sleep(STOP_POLL).await,
            }
        }
    }
}

#[async_trait]
impl Service for Exec {
    async fn state(&self) -> Process {
        let seen = self.blocking(|inner| Ok(inner.look())).await;
        seen.map_or(Process::Unknown, |seen| seen.process())
    }

    async fn start(&self, start: &Start) -> Result<(), ServiceError> {
        let start = start.clone();
        self.blocking(move |inner| inner.start(&start)).await
    }

    async fn stop(&self) -> Result<(), ServiceError> {
        if let Ok(ended) = tokio::time::timeout(STOP_PATIENCE, self.stop_for_good()).await {
            return ended;
        }
        match self.blocking(|inner| Ok(inner.look())).await? {
            Seen::Stopped => Ok(()),
            seen @ (Seen::Running(_) | Seen::Unknown(_)) => Err(member_process::not_stopped(&seen)),
        }
    }
}

impl Inner {
    fn pid_file(&self) -> PathBuf {
        self.config.state_dir.join("etcd.pid.json")
    }

    /// Looks at everything that tells whether our member runs.
    fn look(&self) -> Seen {
        self.reap();
        self.whereabouts().look(self.recorded())
    }

    fn whereabouts(&self) -> Whereabouts<'_> {
        Whereabouts {
            data_dir: &self.config.data_dir,
            listen_peer_urls: &self.config.listen_peer_urls,
            start_lock: Some(self.config.state_dir.join("etcd.lock")),
        }
    }

    fn start(&self, start: &Start) -> Result<(), ServiceError> {
        self.whereabouts().refuse(&self.look(), start)?;
        let state_dir = &self.config.state_dir;
        let failed =
            |what: &Path, why: &io::Error| ServiceError(format!("{}: {why}", what.display()));
        durable::make_dirs(state_dir).map_err(|why| failed(state_dir, &why))?;
        if start.quarantined {
            self.config.free_socket().map_err(|why| ServiceError(why.to_string()))?;
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
