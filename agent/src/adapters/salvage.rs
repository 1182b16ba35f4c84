//! **salvage** — a snapshot from a stopped member, taken from a copy of its data.
//!
//! In: a member directory that nothing runs on. Out: a snapshot file with etcd's own checksum. The
//! copy is booted with `--force-new-cluster`, reachable through a socket in its own directory, and
//! asked for `Maintenance.Snapshot`; what of the log was not known to be committed is left out
//! (etcd.md 4.2 C). The member itself is never opened for writing (protocol.md S16), and the copy
//! never becomes a cluster: it has the old identity.

use super::{
    booted::{Booted, Place, absolute, clear},
    child::run,
    etcdutl::{blocking, verdict},
};
use crate::ports::snapshots::SnapshotError;
use std::{ffi::OsStr, path::Path};
use tokio::process::Command;

/// Copies are named so, that a later salvage finds what an earlier one left.
const PREFIX: &str = "salvage-";

/// Takes a snapshot of `member` into `file`, with a copy below `scratch`.
pub(super) async fn salvage(
    etcd_dir: &Path,
    member: &Path,
    scratch: &Path,
    file: &Path,
) -> Result<(), SnapshotError> {
    let leftovers = scratch.to_owned();
    blocking(move || clear(&leftovers, PREFIX)).await?;
    let copy = Place::make(scratch, PREFIX)?;
    copy_member(member, copy.path()).await?;
    let whose = "a copy of this member";
    let mut etcd = Booted::start(etcd_dir, &copy, copy.path(), whose, &["--force-new-cluster"])?;
    etcd.answers().await?;
    let taken = save(&mut etcd, file).await;
    etcd.end().await;
    taken
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

async fn save(etcd: &mut Booted, file: &Path) -> Result<(), SnapshotError> {
    let file = absolute(file);
    // No deadline unless one is given.
    let out = etcd.ask(["snapshot", "save"].map(OsStr::new).into_iter().chain([file.as_os_str()]));
    let out = out.await?;
    if out.status.success() { Ok(()) } else { Err(verdict("etcdctl snapshot save", &out)) }
}
