//! **rehearsal** — proof that a snapshot file restores, by restoring it.
//!
//! In: a file, the revision inside it, and what was recorded of the member it came from. Out: whether
//! an etcd that runs on it shows the same. Once as it is, because HashKV is equal only at equal
//! (revision, compact revision) and the bump changes both (etcd.md 8); once as a real restore does it,
//! and there the live keys are counted. A difference makes the file bad. What could not be compared is
//! named and never taken for the same.
//!
//! Leases run on in the restored etcd from the moment it leads. One that ends before the first answer
//! makes a later revision of it, so a later one than the file's says nothing about the file.

use super::{
    booted::{Booted, First, NAME, PEER_URL, Place, clear, field},
    child::run,
    etcdutl::{blocking, verdict},
};
use crate::ports::snapshots::{Expected, Rehearsed, SnapshotError, Verdict};
use protocol::limits::BUMP_MIN;
use serde::Deserialize;
use std::{path::Path, process::Output};
use tokio::process::Command;

/// Places are named so, that a later rehearsal finds what an earlier one left.
const PREFIX: &str = "rehearsal-";
/// etcd's answers that walk its whole database; slow disks take minutes.
const SLOW: &str = "--command-timeout=10m";
/// How the restored data is called in errors.
const WHOSE: &str = "the restored snapshot";

/// One rehearsal.
pub(super) struct Rehearsal<'a> {
    /// Where `etcd`, `etcdctl` and `etcdutl` are.
    pub(super) etcd_dir: &'a Path,
    /// Where places are made.
    pub(super) scratch: &'a Path,
    /// The snapshot.
    pub(super) file: &'a Path,
    /// The revision inside it, as etcdutl reads it.
    pub(super) inside: u64,
    /// What was recorded.
    pub(super) expected: &'a Expected,
}

/// How it is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Restore {
    AsItIs,
    Bumped,
}

/// What `etcdctl endpoint hashkv -w json` prints, as far as we read it.
#[derive(Deserialize)]
struct Endpoint {
    #[serde(rename = "HashKV")]
    answer: Hashed,
}

/// Zeros are left out by etcd.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Hashed {
    hash: u32,
    compact_revision: i64,
}

impl Rehearsal<'_> {
    pub(super) async fn run(&self) -> Result<Rehearsed, SnapshotError> {
        if self.inside != self.expected.revision {
            return Err(differs("revision", "the file holds", self.inside, self.expected.revision));
        }
        let leftovers = self.scratch.to_owned();
        blocking(move || clear(&leftovers, PREFIX)).await?;
        let hash_kv = self.trial(Restore::AsItIs).await?;
        let live_keys = self.trial(Restore::Bumped).await?;
        Ok(Rehearsed { hash_kv, live_keys })
    }

    /// Restores, boots, compares, and removes all of it.
    async fn trial(&self, how: Restore) -> Result<Verdict, SnapshotError> {
        let place = Place::make(self.scratch, PREFIX)?;
        let data = place.path().join("data");
        self.restore(&data, how).await?;
        let mut etcd = Booted::start(self.etcd_dir, &place, &data, WHOSE, &[])?;
        let compared = match etcd.answers().await? {
            First::Locked => Ok(Verdict::Unknown(
                "the snapshot asks for a user, so its content can't be looked at".to_owned(),
            )),
            First::Revision(shown) => {
                let head = match how {
                    Restore::AsItIs => self.inside,
                    Restore::Bumped => self.inside.saturating_add(BUMP_MIN),
                };
                is_head(shown, head)?;
                match how {
                    Restore::AsItIs => self.hash_kv(&mut etcd).await,
                    Restore::Bumped => self.live_keys(&mut etcd, head).await,
                }
            }
        };
        etcd.end().await;
        compared
    }

    async fn restore(&self, data: &Path, how: Restore) -> Result<(), SnapshotError> {
        let mut command = Command::new(self.etcd_dir.join("etcdutl"));
        command.args(["snapshot", "restore"]).arg(self.file);
        command.args(["--name", NAME, "--initial-advertise-peer-urls", PEER_URL]);
        command.args(["--initial-cluster", &format!("{NAME}={PEER_URL}")]);
        let token = uuid::Uuid::new_v4().simple().to_string();
        command.args(["--initial-cluster-token", &token, "--data-dir"]).arg(data);
        match how {
            Restore::AsItIs => {}
            Restore::Bumped => {
                command.args(["--bump-revision", &BUMP_MIN.to_string(), "--mark-compacted"]);
            }
        }
        let out = run(&mut command).await?;
        if out.status.success() { Ok(()) } else { Err(verdict("etcdutl snapshot restore", &out)) }
    }

    async fn hash_kv(&self, etcd: &mut Booted) -> Result<Verdict, SnapshotError> {
        let Some(check) = self.expected.check else {
            return Ok(Verdict::Unknown("no HashKV was recorded".to_owned()));
        };
        let Some(compact) = self.expected.compact else {
            let why = "the compact revision that the recorded HashKV goes with is not known";
            return Ok(Verdict::Unknown(why.to_owned()));
        };
        let revision = check.revision.to_string();
        let out = etcd.ask([SLOW, "endpoint", "hashkv", "--rev", &revision, "-w", "json"]).await?;
        if !out.status.success() {
            let said = last_line(&out);
            if said.contains("required revision") {
                // Compacted, or beyond the head.
                let why = format!("there is no HashKV at revision {revision} to compare: {said}");
                return Ok(Verdict::Unknown(why));
            }
            return Err(SnapshotError::Failed(format!("etcdctl endpoint hashkv: {said}")));
        }
        let hashed = hashed(&out)?;
        // etcd says -1 for "never compacted" ([SRC] mvcc/kvstore.go NewStore).
        let compacted = u64::try_from(hashed.compact_revision).unwrap_or(0);
        if compacted != compact {
            return Ok(Verdict::Unknown(format!(
                "{WHOSE} is compacted to {compacted}, HashKV was recorded at {compact}, and it is equal only at equal ones"
            )));
        }
        if hashed.hash != check.hash_kv {
            let what = format!("HashKV at revision {revision}");
            return Err(differs(&what, &format!("{WHOSE} has"), hashed.hash, check.hash_kv));
        }
        Ok(Verdict::Same)
    }

    async fn live_keys(&self, etcd: &mut Booted, head: u64) -> Result<Verdict, SnapshotError> {
        let Some(expected) = self.expected.live_keys else {
            return Ok(Verdict::Unknown("no count of live keys was recorded".to_owned()));
        };
        let rev = format!("--rev={head}"); // leases that end meanwhile take no key from it
        let all = [SLOW, "get", "", "--prefix", "--count-only", &rev, "-w", "fields"];
        let out = etcd.ask(all).await?;
        if !out.status.success() {
            return Err(SnapshotError::Failed(format!("etcdctl get: {}", last_line(&out))));
        }
        let counted = field(&out, "Count")?;
        if counted == expected {
            Ok(Verdict::Same)
        } else {
            Err(differs("count of live keys", &format!("{WHOSE} has"), counted, expected))
        }
    }
}

/// Whether etcd shows the revision it must.
fn is_head(shown: u64, head: u64) -> Result<(), SnapshotError> {
    if shown > head {
        return Err(SnapshotError::Failed(format!(
            "{WHOSE} went on to revision {shown} from {head} before it was looked at, as a lease that ends makes it; rehearse it again"
        )));
    }
    if shown < head {
        return Err(differs("revision", &format!("{WHOSE} shows"), shown, head));
    }
    Ok(())
}

fn differs<T: std::fmt::Display>(what: &str, who: &str, seen: T, expected: T) -> SnapshotError {
    SnapshotError::Bad(format!("the {what} differs: {who} {seen}, and {expected} was expected"))
}

fn hashed(out: &Output) -> Result<Hashed, SnapshotError> {
    let asked: Result<[Endpoint; 1], _> = serde_json::from_slice(&out.stdout);
    asked.map(|[endpoint]| endpoint.answer).map_err(|why| {
        SnapshotError::Failed(format!("etcdctl endpoint hashkv can't be understood: {why}"))
    })
}

fn last_line(out: &Output) -> String {
    let said = String::from_utf8_lossy(&out.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    last.unwrap_or("it said nothing").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_ended_makes_no_file_bad() {
        assert_eq!(is_head(7, 7), Ok(()));
        let late = is_head(8, 7);
        assert!(matches!(&late, Err(SnapshotError::Failed(why)) if why.contains("8")), "{late:?}");
        let lost = is_head(6, 7);
        assert!(matches!(&lost, Err(SnapshotError::Bad(why)) if why.contains("6")), "{lost:?}");
    }

    #[test]
    fn what_etcd_leaves_out_is_zero() {
        let said = |text: &str| Output {
            status: std::process::ExitStatus::default(),
            stdout: text.as_bytes().to_vec(),
            stderr: Vec::new(),
        };
        let zero = hashed(&said(r#"[{"Endpoint":"e","HashKV":{}}]"#)).expect("an answer");
        assert_eq!((zero.hash, zero.compact_revision), (0, 0));
        let never = r#"[{"HashKV":{"header":{},"hash":4294967295,"compact_revision":-1}}]"#;
        let never = hashed(&said(never)).expect("an answer");
        assert_eq!((never.hash, never.compact_revision), (u32::MAX, -1));
        assert!(hashed(&said("[]")).is_err());
    }
}
