//! **disk** — this machine's data dir and durable memory, as the core sees them.
//!
//! In: the data dir (perhaps a mount point, perhaps absent) and the state dir on the root disk.
//! Out: the port [`Machine`]. Looking changes nothing but one probe file; promises live in
//! [`memory_file`](super::memory_file), swaps in [`swap`](super::swap), the log is read by
//! [`wal_log`](super::wal_log). "Missing" is only said of what could be looked for (protocol.md 1.4,
//! "When data is lost"): it may cost a member its place.

use super::{memory_file::MemoryFiles, swap::Places, swap::Swap, wal::WalError, wal_log};
use crate::ports::machine::{Machine, MachineError};
use async_trait::async_trait;
use protocol::{
    cluster::{Digest, Slot},
    observation::{Data, InAttempt, LogState, LogSummary, Memory, Ran},
};
use rustix::fs::{Access, access, stat, statvfs};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// The directory in which the kernel's block devices stand by file system UUID (udev).
const BY_UUID: &str = "/dev/disk/by-uuid";

/// Data dir and memory of this machine.
#[derive(Clone, Debug)]
pub struct Disk {
    name: String,
    data_dir: PathBuf,
    places: Places,
    memory: MemoryFiles,
    /// One change at a time: a call that was given up may still be at work.
    changing: Arc<Mutex<()>>,
}

impl Disk {
    /// `name`: `ETCD_NAME`. `data_dir`: etcd's `--data-dir`. `state_dir`: ours, on the root disk, never
    /// on the volume that holds the data. Neither need exist.
    pub fn new(name: &str, data_dir: impl Into<PathBuf>, state_dir: impl AsRef<Path>) -> Self {
        let (name, data_dir) = (name.to_owned(), data_dir.into());
        let places = Places::new(&data_dir);
        let memory = MemoryFiles::new(state_dir.as_ref(), &data_dir);
        Self { name, data_dir, places, memory, changing: Arc::default() }
    }

    fn look(&self) -> Data {
        let (swap, belongs) = (self.places.unfinished(), self.places.belongs());
        let notes_are_bad =
            swap.as_ref().err().or_else(|| belongs.as_ref().err()).map(ToString::to_string);
        Data {
            fs: file_system(&self.data_dir),
            writable: is_writable(&self.data_dir, &self.places.own()),
            log: notes_are_bad.map_or_else(|| self.log(), LogState::Unreadable),
            swap: swap.unwrap_or_else(|_| Some("unreadable".to_owned())),
            restored: self.places.restored(&self.name).unwrap_or_default(),
            belongs: belongs.unwrap_or_default(),
        }
    }

    /// Whose log is in place.
    fn log(&self) -> LogState {
        match lacks(&self.data_dir, "member/wal") {
            Ok(true) => LogState::Missing,
            Ok(false) => match wal_log::head(&self.places.member()) {
                Ok(head) => {
                    LogState::Present { cluster_id: head.cluster_id, member_id: head.member_id }
                }
                Err(why) => LogState::Unreadable(why.to_string()),
            },
            Err(why) => LogState::Unreadable(format!("{}: {why}", self.data_dir.display())),
        }
    }

    fn remember_ran_now(&self, ran: &Ran) -> Result<(), MachineError> {
        let plan = Some(ran.plan.as_str()).filter(|plan| !plan.is_empty());
        self.places.note(ran.inc, plan)?;
        self.memory.remember_ran(ran) // last: with it the member may start without the stores
    }

    /// Runs `work`, which changes something, alone.
    async fn change(
        &self,
        work: impl FnOnce(&Self) -> Result<(), MachineError> + Send + 'static,
    ) -> Result<(), MachineError> {
        self.on_disk(move |disk| {
            let _alone = disk.changing.lock().unwrap_or_else(PoisonError::into_inner);
            work(disk)
        })
        .await
    }

    /// Runs `work` on a thread that may wait for the disk.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, MachineError> + Send + 'static,
    ) -> Result<T, MachineError> {
        let own = self.clone();
        tokio::task::spawn_blocking(move || work(&own)).await.unwrap_or_else(|why| {
            Err(MachineError::Failed(format!("the disk thread ended: {why}")))
        })
    }
}

#[async_trait]
impl Machine for Disk {
    async fn data(&self) -> Data {
        let looked = self.on_disk(|disk| Ok(disk.look())).await;
        looked.unwrap_or_else(|why| Data {
            fs: None,
            writable: false,
            log: LogState::Unreadable(why.to_string()),
            swap: None,
            restored: Vec::new(),
            belongs: None,
        })
    }

    async fn memory(&self) -> Result<Memory, MachineError> {
        self.on_disk(|disk| disk.memory.read()).await
    }

    async fn mark(&self, marker: InAttempt) -> Result<(), MachineError> {
        self.change(move |disk| disk.memory.mark(marker)).await
    }

    async fn unmark(&self, marker: InAttempt) -> Result<(), MachineError> {
        self.change(move |disk| disk.memory.unmark(marker)).await
    }

    async fn retire(&self, inc: u64) -> Result<(), MachineError> {
        self.change(move |disk| disk.memory.retire(inc)).await
    }

    async fn remember_opened(&self, inc: u64) -> Result<(), MachineError> {
        self.change(move |disk| disk.memory.remember_opened(inc)).await
    }

    async fn remember_seat(&self, uid: &str, slot: Slot) -> Result<(), MachineError> {
        let uid = uid.to_owned();
        self.change(move |disk| disk.memory.remember_seat(&uid, slot)).await
    }

    async fn remember_ran(&self, ran: &Ran) -> Result<(), MachineError> {
        let ran = ran.clone();
        self.change(move |disk| disk.remember_ran_now(&ran)).await
    }

    async fn swap(&self, plan: Digest, new_inc: u64, old_inc: u64) -> Result<(), MachineError> {
        self.change(move |disk| Swap::new(&disk.data_dir, &plan.short(), new_inc, old_inc).finish())
            .await
    }

    async fn move_aside(&self, inc: u64) -> Result<(), MachineError> {
        self.change(move |disk| disk.places.move_aside(inc)).await
    }

    async fn read_log(&self) -> Result<LogSummary, MachineError> {
        self.on_disk(|disk| {
            wal_log::summary(&disk.places.member()).map_err(|why| match why {
                WalError::Damaged(why) => MachineError::Bad(why),
                WalError::Unread(why) => MachineError::Failed(why),
            })
        })
        .await
    }
}

/// Whether `below` is shown not to exist under `dir`: the deepest directory that exists on the
/// way was listed, and the next name is not in it. An error: could not look.
fn lacks(dir: &Path, below: &str) -> io::Result<bool> {
    let target = dir.join(below);
    let mut at = target.as_path();
    while let Some(above) = at.parent() {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        match fs::read_dir(above) {
            Ok(listed) => {
                let name = at.file_name();
                for entry in listed {
                    if Some(entry?.file_name().as_os_str()) == name {
                        return Ok(false);
                    }
                }
                return Ok(true);
            }
            Err(why) if why.kind() == io::ErrorKind::NotFound => at = above,
            Err(why) => return Err(why),
        }
    }
    Ok(false)
}

/// The nearest directory at or above `dir` that exists.
fn nearest(dir: &Path) -> Option<&Path> {
    dir.ancestors().find(|at| at.is_dir())
}

/// The file system `dir` is on, or would be: its UUID where udev knows it, else the id that the
/// file system states itself. Device numbers change from boot to boot and identify nothing; where
/// there is nothing better, there is no answer.
fn file_system(dir: &Path) -> Option<String> {
    let at = nearest(dir)?;
    let device = stat(at).ok()?.st_dev;
    let uuid = fs::read_dir(BY_UUID).ok().and_then(|links| {
        let names = links.filter_map(Result::ok);
        let mut own =
            names.filter(|link| stat(link.path()).is_ok_and(|node| node.st_rdev == device));
        own.next()?.file_name().into_string().ok()
    });
    let stated = || statvfs(at).ok().map(|stats| stats.f_fsid).filter(|id| *id != 0);
    uuid.map(|uuid| format!("uuid:{uuid}")).or_else(|| stated().map(|id| format!("fsid:{id:016x}")))
}

/// Whether a file can be made in the data dir. Where it doesn't exist yet: whether it could be made.
fn is_writable(data_dir: &Path, own: &Path) -> bool {
    let Some(at) = nearest(own) else { return false };
    if at != own && at != data_dir {
        return access(at, Access::WRITE_OK).is_ok();
    }
    let probe = at.join(".requorum-probe");
    let wrote = fs::write(&probe, b"requorum").is_ok();
    fs::remove_file(&probe).is_ok() && wrote
}
