//! **etcdutl** — snapshot files through etcd's own tools: checked, restored, salvaged, rehearsed.
//!
//! In: a snapshot file or a stopped member. Out: the port [`Snapshots`]. Everything happens below
//! `<data dir>/.requorum`, on the data's own file system: restores in `new/<plan>`, the rest in
//! `scratch`. A tool that crashes on a file says something about the file (etcd.md 4.1); one that
//! can't be run, or is killed, says nothing about it.

use super::{
    booted,
    child::run,
    durable,
    local_file::LocalFile,
    rehearsal::Rehearsal,
    salvage,
    swap::{Places, is_restored_for},
};
use crate::ports::{
    pieces::Pieces,
    snapshots::{Expected, Inspected, Proven, Rehearsed, SnapshotError, Snapshots},
};
use async_trait::async_trait;
use protocol::{
    cluster::{Digest, Seat},
    plan::Plan,
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    process::Output,
};
use tokio::process::Command;

/// The first etcdutl with `--bump-revision` and `--mark-compacted` (etcd.md 3.3).
const LEAST: [u64; 3] = [3, 5, 10];
/// The trailer of a snapshot that came over the API: a SHA-256 of all bytes before it. bbolt's
/// pages are multiples of 512 bytes, so a remainder of 32 tells that it is there
/// ([SRC] etcdutl/snapshot/v3_snapshot.go hasChecksum).
const TRAILER: u64 = 32;

/// etcd's tools, on one data dir.
#[derive(Clone, Debug)]
pub struct Etcdutl {
    etcd_dir: PathBuf,
    data_dir: PathBuf,
    places: Places,
}

/// The trailer of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trailer {
    Right,
    Absent,
}

/// What `etcdutl snapshot status -w json` prints, as far as we read it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    revision: u64,
    total_key: u64,
}

impl Etcdutl {
    /// `etcd_dir`: where `etcd`, `etcdctl` and `etcdutl` are. `data_dir`: etcd's `--data-dir`.
    pub fn new(etcd_dir: impl Into<PathBuf>, data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        let places = Places::new(&data_dir);
        Self { etcd_dir: etcd_dir.into(), data_dir, places }
    }

    async fn etcdutl<I: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = I>,
    ) -> Result<Output, SnapshotError> {
        run(Command::new(self.etcd_dir.join("etcdutl")).args(arguments)).await
    }

    /// Refuses a tool that would ignore or not know the flags a restore needs.
    async fn check_version(&self, tool: &str, asked: &str) -> Result<(), SnapshotError> {
        let path = self.etcd_dir.join(tool);
        let out = run(Command::new(&path).arg(asked)).await?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let said = text.lines().next().and_then(|line| line.split_once(':'));
        let version = said.map(|(_, version)| version.trim()).unwrap_or_default();
        if parse_version(version).is_some_and(|version| version >= LEAST) {
            return Ok(());
        }
        let path = path.display();
        Err(SnapshotError::Failed(if version.is_empty() {
            format!("{path} does not say its version; 3.5.10 is the least")
        } else {
            format!("{path} is {version}, and 3.5.10 is the least")
        }))
    }

    /// Runs the restore into a fresh directory and makes it durable.
    async fn restore_into(
        &self,
        dir: &Path,
        file: &Path,
        seat: &Seat,
        plan: &Plan,
    ) -> Result<(), SnapshotError> {
        let work = dir.join("work");
        let mut command = Command::new(self.etcd_dir.join("etcdutl"));
        // the hash check is a second pass over what was proven already (etcd.md 7: a quarter of a restore)
        command.args(["snapshot", "restore", "--skip-hash-check"]).arg(file);
        command.args(["--name", &seat.name, "--initial-advertise-peer-urls", &seat.peer_url]);
        command.args(["--initial-cluster", &plan.initial_cluster()]);
        command.args(["--initial-cluster-token", &plan.token, "--data-dir"]).arg(&work);
        if plan.source.bump > 0 {
            command.args(["--bump-revision", &plan.source.bump.to_string(), "--mark-compacted"]);
        }
        let out = run(&mut command).await?;
        if !out.status.success() {
            return Err(verdict("etcdutl snapshot restore", &out));
        }
        let (dir, whose) = (dir.to_owned(), seat.name.clone());
        blocking(move || finish_restore(&dir, &whose)).await
    }
}

#[async_trait]
impl Snapshots for Etcdutl {
    async fn tools(&self) -> Result<(), SnapshotError> {
        self.check_version("etcd", "--version").await?;
        self.check_version("etcdctl", "version").await?;
        self.check_version("etcdutl", "version").await
    }

    async fn inspect(&self, file: &Path) -> Result<Inspected, SnapshotError> {
        let path = file.to_owned();
        let trailer = blocking(move || check_trailer(&path)).await?;
        let arguments = ["snapshot", "status", "-w", "json"].map(OsStr::new);
        let out = self.etcdutl(arguments.into_iter().chain([file.as_os_str()])).await?;
        if !out.status.success() {
            return Err(verdict("etcdutl snapshot status", &out));
        }
        let status: Status = serde_json::from_slice(&out.stdout).map_err(|why| {
            SnapshotError::Failed(format!("etcdutl snapshot status can't be understood: {why}"))
        })?;
        Ok(Inspected {
            revision: status.revision,
            total_keys: status.total_key,
            trailer_matches: trailer == Trailer::Right,
        })
    }

    async fn restore(
        &self,
        file: &Proven,
        name: &str,
        plan: &Plan,
        digest: Digest,
    ) -> Result<(), SnapshotError> {
        let seat =
            plan.seats.iter().find(|seat| seat.name == name).ok_or_else(|| {
                SnapshotError::Failed(format!("the plan has no seat named {name:?}"))
            })?;
        let dir = self.places.new_of(&digest.short());
        let (fresh, whose) = (dir.clone(), name.to_owned());
        if blocking(move || prepare_restore(&fresh, &whose)).await? {
            return Ok(());
        }
        self.check_version("etcdutl", "version").await?;
        self.restore_into(&dir, file.path(), seat, plan).await
    }

    async fn salvage(&self, file: &Path) -> Result<(), SnapshotError> {
        let scratch = self.scratch();
        salvage::salvage(&self.etcd_dir, &self.data_dir.join("member"), &scratch, file).await?;
        let path = file.to_owned();
        match blocking(move || check_trailer(&path)).await? {
            Trailer::Right => Ok(()),
            Trailer::Absent => Err(SnapshotError::Failed(
                "the salvaged snapshot came without its checksum".to_owned(),
            )),
        }
    }

    async fn rehearse(&self, file: &Path, expected: &Expected) -> Result<Rehearsed, SnapshotError> {
        self.check_version("etcdutl", "version").await?;
        let inside = self.inspect(file).await?.revision;
        let (etcd_dir, scratch) = (&self.etcd_dir, &self.scratch());
        Rehearsal { etcd_dir, scratch, file, inside, expected }.run().await
    }

    async fn pieces(&self, file: &Path) -> Result<Box<dyn Pieces>, SnapshotError> {
        let file = LocalFile::open(file).await.map_err(SnapshotError::Failed)?;
        Ok(Box::new(file))
    }

    fn room(&self) -> Option<u64> {
        let stats = rustix::fs::statvfs(&self.data_dir).ok()?;
        Some(stats.f_bavail.saturating_mul(stats.f_frsize))
    }

    fn scratch(&self) -> PathBuf {
        let dir = self.places.own().join("scratch");
        if let Err(why) = durable::make_dirs(&dir) {
            tracing::warn!(%why, dir = %dir.display(), "the scratch directory can't be made");
        }
        dir
    }

    async fn clear_scratch(&self) -> Result<(), SnapshotError> {
        let dir = self.places.own().join("scratch");
        blocking(move || booted::clear(&dir, "")).await
    }
}

/// Makes an empty directory for a restore. `true`: the restore is there, complete, and this seat's. What
/// a crash left half done is removed, and so is what another's machine restored onto this volume; it is
/// a copy, and it is only ever looked for in this one place.
fn prepare_restore(dir: &Path, name: &str) -> io::Result<bool> {
    if is_restored_for(dir, name)? {
        return Ok(true);
    }
    match fs::remove_dir_all(dir) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
        Ok(()) | Err(_) => {}
    }
    durable::make_dirs(dir)?;
    Ok(false)
}

/// etcdutl fsyncs the log's files but neither `snap/` nor the directories (etcd.md 2.3).
fn finish_restore(dir: &Path, name: &str) -> io::Result<()> {
    let work = dir.join("work");
    durable::sync_tree(&work)?;
    durable::rename(&work.join("member"), &dir.join("member"))?;
    fs::remove_dir(&work)?;
    durable::write(&dir.join("complete"), format!("{name}\n").as_bytes())
}

/// Compares a file with its own trailer. A trailer that is wrong is an error of kind `InvalidData`.
fn check_trailer(file: &Path) -> io::Result<Trailer> {
    let bad = |why: &str| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", file.display()))
    };
    let opened = File::open(file)?;
    let size = opened.metadata()?.len();
    match size % 512 {
        0 if size > 0 => return Ok(Trailer::Absent),
        TRAILER if size > TRAILER => {}
        _ => return Err(bad("it is no snapshot, or it is cut")),
    }
    let mut reader = BufReader::with_capacity(1 << 20, opened);
    let mut sha = Sha256::new();
    io::copy(&mut reader.by_ref().take(size - TRAILER), &mut sha)?;
    let mut trailer = Vec::new();
    reader.read_to_end(&mut trailer)?;
    if sha.finalize().as_slice() != trailer {
        return Err(bad("its content does not match its checksum"));
    }
    Ok(Trailer::Right)
}

/// `3.5.30` as numbers; a suffix such as `-rc.1` is cut off.
fn parse_version(text: &str) -> Option<[u64; 3]> {
    let plain = text.split(['-', '+']).next()?;
    let mut parts = plain.split('.').map(|part| part.parse().ok());
    let version = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(version)
}

/// What a tool's failure says: of the disk, of the file, or nothing.
pub(super) fn verdict(tool: &str, out: &Output) -> SnapshotError {
    let said = String::from_utf8_lossy(&out.stderr);
    if said.contains("no space left on device") || said.contains("disk quota exceeded") {
        return SnapshotError::NoSpace(format!("{tool}: the disk is full"));
    }
    let panicked = said
        .lines()
        .find(|line| line.starts_with("panic:") || line.starts_with("unexpected fault"));
    if out.status.code() == Some(2) && panicked.is_some() {
        return SnapshotError::Bad(format!(
            "{tool} crashed on it: {}",
            panicked.unwrap_or_default()
        ));
    }
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    let text = format!("{tool}: {}", last.trim());
    let of_the_file =
        ["hash", "sha256", "checksum", "invalid database", "version mismatch", "corrupt"];
    if of_the_file.iter().any(|word| last.to_ascii_lowercase().contains(word)) {
        SnapshotError::Bad(text)
    } else {
        SnapshotError::Failed(text)
    }
}

/// Runs disk work on a thread that may wait, and names what its failure means.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, SnapshotError> {
    let done = tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|why| Err(io::Error::other(format!("the disk thread ended: {why}"))));
    done.map_err(|why| classed(why.to_string(), &why))
}

/// What went wrong with `what`: the disk is full, or it says nothing.
pub(super) fn named(what: &impl std::fmt::Display, why: &io::Error) -> SnapshotError {
    classed(format!("{what}: {why}"), why)
}

fn classed(text: String, why: &io::Error) -> SnapshotError {
    if why.kind() == io::ErrorKind::InvalidData {
        SnapshotError::Bad(text)
    } else if durable::is_full(why) {
        SnapshotError::NoSpace(text)
    } else {
        SnapshotError::Failed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_ready_is_removed_only_where_it_is_known_not_to_be_ours() {
        let root = tempfile::tempdir().expect("a directory");
        let dir = root.path().join("plan");
        let restored = |mark: &[u8]| {
            fs::create_dir_all(dir.join("member")).expect("a member");
            fs::write(dir.join("complete"), mark).expect("its mark");
        };
        restored(b"a\n");
        assert!(prepare_restore(&dir, "a").expect("it can be told"));
        fs::remove_file(dir.join("complete")).expect("removed");
        fs::create_dir(dir.join("complete")).expect("a mark that can't be read");
        assert!(prepare_restore(&dir, "a").is_err());
        assert!(dir.join("member").exists(), "nobody could tell whose it is");
        fs::remove_dir(dir.join("complete")).expect("removed");
        restored(b"b\n");
        assert!(!prepare_restore(&dir, "a").expect("it can be told"));
        assert!(!dir.join("member").exists(), "another's, and a copy");
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(parse_version("3.5.9") < Some(LEAST));
        assert!(parse_version("3.5.30") > Some(LEAST));
        assert!(parse_version("3.6.0-rc.1") > Some(LEAST));
        assert_eq!(parse_version("3.5"), None);
        assert_eq!(parse_version(""), None);
    }
}
