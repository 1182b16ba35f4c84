//! **booted** — an etcd of ours for a short while, on data that is nobody's.
//!
//! In: a data dir in a [`Place`] of its own below `scratch`. Out: the answers of an etcd that runs on
//! it, for the salvage and the rehearsal. A socket in that place is the only way to it; its peer port
//! is one of loopback that nobody is told. What it gets wrong says something about the data only
//! where its own words do. When all is dropped the process goes first and its place after it, also
//! where nobody waits for the end; what an agent leaves that was killed is found by its name.

use super::{
    child::{Held, KILL_PATIENCE, run},
    durable, etcdutl, process_table,
};
use crate::ports::snapshots::SnapshotError;
use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    time::Duration,
};
use tokio::process::Command;

/// Its name; data that a restore made must have it too.
pub(super) const NAME: &str = "scratch";
/// Its peer URL: any free port.
pub(super) const PEER_URL: &str = "http://127.0.0.1:0";
/// Its client socket, relative to its place: a path of any length would not fit.
const ENDPOINT: &str = "unix://s.sock:0";
/// How long it may take to answer: it indexes all keys first (about 4 µs each, etcd.md 2.3).
const BOOT_PATIENCE: Duration = Duration::from_secs(600);
/// How often it is asked.
const BOOT_POLL: Duration = Duration::from_millis(100);

/// A directory of one boot; removed when dropped.
pub(super) struct Place(PathBuf);

impl Place {
    /// Makes one below `scratch`; its name begins with `prefix`. It need not survive a power loss.
    pub(super) fn make(scratch: &Path, prefix: &str) -> Result<Self, SnapshotError> {
        let make = || {
            let name = format!("{prefix}{}", uuid::Uuid::new_v4().simple());
            let dir = scratch.canonicalize()?.join(name);
            DirBuilder::new().mode(0o700).create(&dir)?;
            Ok(Self(dir))
        };
        make().map_err(|why| etcdutl::named(&scratch.display(), &why))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(why) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%why, dir = %self.0.display(), "a scratch directory could not be removed");
        }
    }
}

/// Removes what begins with `prefix` in `scratch`, and ends the etcds there before.
pub(super) fn clear(scratch: &Path, prefix: &str) -> io::Result<()> {
    if !durable::exists(scratch)? {
        return Ok(());
    }
    let scratch = scratch.canonicalize()?;
    for etcd in process_table::etcds()?.iter().filter(|etcd| etcd.is_below(&scratch, prefix)) {
        process_table::kill(etcd.id, KILL_PATIENCE)?;
    }
    for entry in fs::read_dir(&scratch)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What the first linearizable read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// The revision etcd shows; all that was committed is applied.
    Revision(u64),
    /// etcd is there and asks for a user: authentication is part of the data.
    Locked,
}

/// An etcd that runs; it ends when this is dropped.
pub(super) struct Booted {
    etcd: Held,
    etcd_dir: PathBuf,
    dir: PathBuf,
    whose: &'static str,
}

impl Booted {
    /// Starts etcd on `data`, which is `place` or below it. `whose`: what the data is, in errors.
    pub(super) fn start(
        etcd_dir: &Path,
        place: &Place,
        data: &Path,
        whose: &'static str,
        flags: &[&str],
    ) -> Result<Self, SnapshotError> {
        let failed = |why: io::Error| etcdutl::named(&format!("{whose} can't be started"), &why);
        let (dir, etcd_dir) = (place.path().to_owned(), absolute(etcd_dir));
        let log = File::create(log_of(&dir)).map_err(failed)?;
        let mut command = Command::new(etcd_dir.join("etcd"));
        command
            .args(["--name", NAME, "--data-dir"])
            .arg(data)
            .args(flags)
            .args(["--listen-client-urls", ENDPOINT])
            .args(["--advertise-client-urls", "http://127.0.0.1:1"]) // never listened to
            .args(["--listen-peer-urls", PEER_URL])
            .args(["--initial-advertise-peer-urls", PEER_URL])
            .args(["--initial-cluster", &format!("{NAME}={PEER_URL}")])
            .env_clear()
            .current_dir(&dir)
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(Stdio::from(log));
        let etcd = Held::spawn(&mut command).map_err(failed)?;
        Ok(Self { etcd, etcd_dir, dir, whose })
    }

    /// Waits until it answers a linearizable read.
    pub(super) async fn answers(&mut self) -> Result<First, SnapshotError> {
        let whose = self.whose;
        tokio::time::timeout(BOOT_PATIENCE, self.first()).await.unwrap_or_else(|_| {
            let minutes = BOOT_PATIENCE.as_secs() / 60;
            Err(SnapshotError::Failed(format!("{whose} did not answer within {minutes} minutes")))
        })
    }

    async fn first(&mut self) -> Result<First, SnapshotError> {
        loop {
            let out = self
                .ask(["--command-timeout=5s", "get", "requorum", "--count-only", "-w", "fields"])
                .await?;
            if out.status.success() {
                return Ok(First::Revision(field(&out, "Revision")?));
            }
            // The user is asked for only after the quorum was ([SRC] v3_server.go Range).
            if String::from_utf8_lossy(&out.stderr).contains("user name is empty") {
                return Ok(First::Locked);
            }
            tokio::time::sleep(BOOT_POLL).await;
        }
    }

    /// Puts a question with `etcdctl`. An error: it can't be run, or etcd has ended.
    pub(super) async fn ask<I: AsRef<OsStr>>(
        &mut self,
        arguments: impl IntoIterator<Item = I>,
    ) -> Result<Output, SnapshotError> {
        let mut command = Command::new(self.etcd_dir.join("etcdctl"));
        command.current_dir(&self.dir).args(["--endpoints", ENDPOINT, "--dial-timeout=5s"]);
        command.args(arguments);
        let ended = tokio::select! {
            biased;
            ended = self.etcd.ended() => ended,
            out = run(&mut command) => return out,
        };
        Err(match ended {
            Ok(status) => judged(status, refusal(&self.dir, self.whose)),
            Err(why) => etcdutl::named(&format!("{} can't be watched", self.whose), &why),
        })
    }

    /// Ends it before its place goes.
    pub(super) async fn end(mut self) {
        self.etcd.end().await;
    }
}

/// A number of what etcdctl prints with `-w fields`.
pub(super) fn field(out: &Output, name: &str) -> Result<u64, SnapshotError> {
    let said = String::from_utf8_lossy(&out.stdout);
    let found = said.lines().find_map(|line| {
        let (key, value) = line.split_once(" : ")?;
        if key.trim_matches('"') == name { value.trim().parse().ok() } else { None }
    });
    found.ok_or_else(|| SnapshotError::Failed(format!("etcdctl get does not say its {name}")))
}

/// What the end of etcd says. It speaks of the data only in words that speak of nothing else
/// (protocol.md 1.4: "other than space, permission, port or flags"); a version that refuses to run
/// with newer data, a kill, a missing library say nothing about it.
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
fn refusal(dir: &Path, whose: &str) -> String {
    let log = fs::read(log_of(dir)).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let grave = ["\"level\":\"fatal\"", "\"level\":\"panic\"", "panic:", "\"level\":\"error\""];
    let line = grave.iter().find_map(|mark| log.lines().rev().find(|line| line.contains(mark)));
    let line: String = line.unwrap_or("it said nothing").chars().take(500).collect();
    format!("etcd refuses {whose}: {line}")
}

fn log_of(dir: &Path) -> PathBuf {
    dir.join("etcd.log")
}

pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
