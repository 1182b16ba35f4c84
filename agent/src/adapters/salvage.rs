//! **salvage** — a snapshot from a stopped member, taken from a copy of its data.
//!
//! In: a member directory that nothing runs on. Out: a snapshot file with etcd's own checksum. The
//! copy is booted with `--force-new-cluster`, reachable through a socket in its own directory, and
//! asked for `Maintenance.Snapshot`; what of the log was not known to be committed is left out
//! (etcd.md 4.2 C). The member itself is never opened for writing (protocol.md S16), and the copy
//! never becomes a cluster: it has the old identity.

use super::{
    durable,
    etcdutl::{blocking, run, verdict},
    process_table,
};
use crate::ports::snapshots::SnapshotError;
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::process::{Child, Command};

/// Copies are named so, that a later salvage finds what an earlier one left.
const PREFIX: &str = "salvage-";
/// The copy's client socket, relative to its directory: a path of any length would not fit.
const ENDPOINT: &str = "unix://s.sock:0";
/// How long the copy may take to answer: it indexes all keys first (about 4 µs each, etcd.md 2.3).
const BOOT_PATIENCE: Duration = Duration::from_secs(600);
/// How often it is asked.
const BOOT_POLL: Duration = Duration::from_millis(100);
/// How long what a killed agent left may take to end.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// The copy's directory; removed when dropped.
struct Copy(PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(why) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%why, dir = %self.0.display(), "a salvage copy could not be removed");
        }
    }
}

/// Takes a snapshot of `member` into `file`, with a copy below `scratch`.
pub(super) async fn salvage(
    etcd_dir: &Path,
    member: &Path,
    scratch: &Path,
    file: &Path,
) -> Result<(), SnapshotError> {
    let leftovers = scratch.to_owned();
    blocking(move || clear_copies(&leftovers)).await?;
    let dir = scratch.join(format!("{PREFIX}{}", uuid::Uuid::new_v4().simple()));
    let made = dir.clone();
    blocking(move || durable::make_dirs(&made)).await?;
    let copy = Copy(dir);
    copy_member(member, &copy.0).await?;
    let mut etcd = boot(etcd_dir, &copy.0)?;
    let taken = match answers(etcd_dir, &copy.0, &mut etcd).await {
        Ok(()) => save(etcd_dir, &copy.0, file).await,
        Err(why) => Err(why),
    };
    _ = etcd.kill().await; // before its directory goes
    drop(copy);
    taken
}

/// Ends and removes what an earlier agent left when it was killed: copies with the etcds on them,
/// and files half written.
pub(super) fn clear(scratch: &Path) -> io::Result<()> {
    if !durable::exists(scratch)? {
        return Ok(());
    }
    let scratch = scratch.canonicalize()?;
    end_etcds(&scratch)?;
    for entry in fs::read_dir(&scratch)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Ends and removes what a salvage left that was given up.
fn clear_copies(scratch: &Path) -> io::Result<()> {
    let scratch = scratch.canonicalize()?;
    end_etcds(&scratch)?;
    for entry in fs::read_dir(&scratch)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn end_etcds(scratch: &Path) -> io::Result<()> {
    for etcd in process_table::etcds()?.iter().filter(|etcd| etcd.is_below(scratch)) {
        process_table::kill(etcd.id, KILL_PATIENCE)?;
    }
    Ok(())
}

/// Copies without reading where the file system can share blocks (XFS, btrfs).
async fn copy_member(member: &Path, dir: &Path) -> Result<(), SnapshotError> {
    let mut command = Command::new("cp");
    command
        .args(["-a", "--reflink=auto", "--sparse=auto", "--"])
        .arg(member)
        .arg(dir.join("member"));
    command.env("LC_ALL", "C");
    let out = run(&mut command).await?;
    if out.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    let text = format!("{} can't be copied: {}", member.display(), said.trim());
    if said.contains("No space left on device") || said.contains("Disk quota exceeded") {
        Err(SnapshotError::NoSpace(text))
    } else {
        Err(SnapshotError::Failed(text))
    }
}

/// Starts etcd on the copy; it is killed when the handle is dropped.
fn boot(etcd_dir: &Path, dir: &Path) -> Result<Child, SnapshotError> {
    let failed =
        |why: io::Error| SnapshotError::Failed(format!("the salvage copy can't be started: {why}"));
    let log = File::create(log_of(dir)).map_err(failed)?;
    let mut command = Command::new(absolute(&etcd_dir.join("etcd")));
    command
        .args(["--name", "salvage", "--force-new-cluster", "--data-dir"])
        .arg(absolute(dir))
        .args(["--listen-client-urls", ENDPOINT])
        .args(["--advertise-client-urls", "http://127.0.0.1:1"]) // never listened to
        .args(["--listen-peer-urls", "http://127.0.0.1:0"])
        .args(["--initial-advertise-peer-urls", "http://127.0.0.1:0"])
        .args(["--initial-cluster", "salvage=http://127.0.0.1:0"])
        .env_clear()
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(failed)?)
        .stderr(log)
        .kill_on_drop(true);
    command.spawn().map_err(failed)
}

/// Waits until the copy answers a linearizable read: then all that was committed is applied.
async fn answers(etcd_dir: &Path, dir: &Path, etcd: &mut Child) -> Result<(), SnapshotError> {
    let asking = async {
        loop {
            if let Ok(Some(ended)) = etcd.try_wait() {
                return Err(judged(ended, refusal(dir)));
            }
            let mut probe = etcdctl(etcd_dir, dir);
            probe.args(["--command-timeout=5s", "get", "--limit=1", "requorum"]);
            if run(&mut probe).await?.status.success() {
                return Ok(());
            }
            tokio::time::sleep(BOOT_POLL).await;
        }
    };
    tokio::time::timeout(BOOT_PATIENCE, asking).await.unwrap_or_else(|_| {
        let minutes = BOOT_PATIENCE.as_secs() / 60;
        Err(SnapshotError::Failed(format!(
            "the salvage copy did not answer within {minutes} minutes"
        )))
    })
}

async fn save(etcd_dir: &Path, dir: &Path, file: &Path) -> Result<(), SnapshotError> {
    let mut command = etcdctl(etcd_dir, dir);
    command.args(["snapshot", "save"]).arg(absolute(file)); // no deadline unless one is given
    let out = run(&mut command).await?;
    if out.status.success() { Ok(()) } else { Err(verdict("etcdctl snapshot save", &out)) }
}

fn etcdctl(etcd_dir: &Path, dir: &Path) -> Command {
    let mut command = Command::new(absolute(&etcd_dir.join("etcdctl")));
    command.current_dir(dir).args(["--endpoints", ENDPOINT, "--dial-timeout=5s"]);
    command
}

/// What the end of the copy's etcd says. It speaks of the data only in words that speak of nothing
/// else (protocol.md 1.4: "other than space, permission, port or flags"); a version that refuses to
/// run with newer data, a kill, a missing library say nothing about it.
fn judged(ended: ExitStatus, why: String) -> SnapshotError {
    let said = why.to_ascii_lowercase();
    if said.contains("no space left") || said.contains("quota exceeded") {
        return SnapshotError::NoSpace(why);
    }
    let of_the_data = [
        "crc mismatch",
        "checksum error",
        "invalid database",
        "corrupt",
        "unexpected fault address",
        "assertion failed",
        "page type is",
        "already freed",
        "slice bounds out of range",
        "index out of range",
    ];
    if ended.code().is_some() && of_the_data.iter().any(|cause| said.contains(cause)) {
        SnapshotError::Bad(why)
    } else {
        SnapshotError::Failed(why)
    }
}

/// Why etcd ended: the message of its last fatal, panic or error line.
fn refusal(dir: &Path) -> String {
    let log = fs::read(log_of(dir)).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let grave = ["\"level\":\"fatal\"", "\"level\":\"panic\"", "panic:", "\"level\":\"error\""];
    let line = grave.iter().find_map(|mark| log.lines().rev().find(|line| line.contains(mark)));
    let line: String = line.unwrap_or("it said nothing").chars().take(500).collect();
    format!("etcd refuses a copy of this member: {line}")
}

fn log_of(dir: &Path) -> PathBuf {
    dir.join("etcd.log")
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
