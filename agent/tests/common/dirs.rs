//! **dirs** — a data dir and a state dir of a test's own.

use agent::adapters::disk::Disk;
use std::{fs, path::PathBuf};

/// A data dir and a state dir of their own.
pub struct Dirs {
    /// Removed with everything in it.
    pub root: tempfile::TempDir,
}

impl Dirs {
    /// An empty data dir, no state dir yet.
    pub fn new() -> Self {
        let root = tempfile::tempdir().expect("a scratch directory");
        fs::create_dir(root.path().join("data")).expect("a data dir");
        Self { root }
    }

    /// The data dir.
    pub fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// The state dir.
    pub fn state(&self) -> PathBuf {
        self.root.path().join("state")
    }

    /// The adapter over both.
    pub fn disk(&self) -> Disk {
        Disk::new("a", self.data(), self.state())
    }

    /// A stand-in for a member: what is in it doesn't matter to a rename.
    pub fn member(&self, at: &str, content: &str) {
        let wal = self.data().join(at).join("wal");
        fs::create_dir_all(&wal).expect("a member");
        fs::write(wal.join("name"), content).expect("its content");
    }

    /// What a stand-in holds, if it is there.
    pub fn content(&self, at: &str) -> Option<String> {
        fs::read_to_string(self.data().join(at).join("wal/name")).ok()
    }

    /// A restored member that is complete.
    pub fn restored(&self, plan: &str, content: &str) {
        self.member(&format!(".requorum/new/{plan}/member"), content);
        let complete = self.data().join(".requorum/new").join(plan).join("complete");
        fs::write(complete, "a\n").expect("its mark");
    }
}
