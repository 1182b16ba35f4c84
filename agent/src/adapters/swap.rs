//! **swap** — exchanges the member in place for one that was restored beside it.
//!
//! In: a data dir, a plan's short digest, the incarnations it ends and begins. Out: the same dir
//! with the new `member/`, the old one under `.requorum/old`. The data dir itself may be a mount
//! point, so only `member/` is renamed (design.md 1.6). The next step is always read off the disk,
//! so whoever comes after a crash goes on where it happened. Nothing is deleted but emptied
//! directories and our own notes.

use super::{
    durable,
    memory_file::{self, failed},
};
use crate::ports::machine::MachineError;
use protocol::observation::Belongs;
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Members kept of one incarnation and plan before we ask for help.
const KEPT_MAX: u32 = 1000;

/// Whether a directory holds a member that was completely restored for the seat called `name`. A volume may
/// come from another seat's machine, with what that had restored.
///
/// # Errors
/// It can't be told: then what is there must stay.
pub(super) fn is_restored_for(dir: &Path, name: &str) -> io::Result<bool> {
    match fs::read(dir.join("complete")) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(false),
        whose => {
            Ok(whose?.trim_ascii_end() == name.as_bytes() && durable::exists(&dir.join("member"))?)
        }
    }
}

/// The places inside a data dir.
#[derive(Clone, Debug)]
pub(super) struct Places {
    data_dir: PathBuf,
}

/// `swap.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    version: u32,
    plan: String,
    new_inc: u64,
    old_inc: u64,
}

/// `incarnation.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    version: u32,
    inc: u64,
    plan: Option<String>,
}

/// One step of a swap; after each the disk says which is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `swap.json` names the plan.
    Record,
    /// The old `member` leaves.
    MoveOut,
    /// The new `member` comes.
    MoveIn,
    /// `incarnation.json` says whose it is.
    Note,
    /// The plan's emptied directory and `swap.json` go.
    Clear,
}

/// A swap of one plan.
#[derive(Clone, Debug)]
pub struct Swap {
    places: Places,
    begun: Begun,
}

impl Places {
    pub(super) fn new(data_dir: &Path) -> Self {
        Self { data_dir: data_dir.to_owned() }
    }

    pub(super) fn member(&self) -> PathBuf {
        self.data_dir.join("member")
    }

    pub(super) fn own(&self) -> PathBuf {
        self.data_dir.join(".requorum")
    }

    /// Where the plan's restored member stands.
    pub(super) fn new_of(&self, plan: &str) -> PathBuf {
        self.own().join("new").join(plan)
    }

    fn swap_json(&self) -> PathBuf {
        self.own().join("swap.json")
    }

    fn incarnation_json(&self) -> PathBuf {
        self.own().join("incarnation.json")
    }

    /// The plan of a swap that was begun and not finished.
    pub(super) fn unfinished(&self) -> Result<Option<String>, MachineError> {
        let begun = memory_file::read(&self.swap_json(), |begun: &Begun| begun.version)?;
        Ok(begun.map(|begun| begun.plan))
    }

    /// Whose the member in place is; `None` if nothing is in place, or nobody noted it.
    pub(super) fn belongs(&self) -> Result<Option<Belongs>, MachineError> {
        if !exists(&self.member())? {
            return Ok(None);
        }
        let note = memory_file::read(&self.incarnation_json(), |note: &Note| note.version)?;
        Ok(note.map(|note| Belongs { inc: note.inc, plan: note.plan }))
    }

    /// Notes whose the member in place is, or will be once etcd made it.
    pub(super) fn note(&self, inc: u64, plan: Option<&str>) -> Result<(), MachineError> {
        let note = Note { version: 1, inc, plan: plan.map(ToOwned::to_owned) };
        memory_file::write(&self.incarnation_json(), &note)
    }

    /// Plans whose member stands ready, restored for the seat called `name`.
    pub(super) fn restored(&self, name: &str) -> io::Result<Vec<String>> {
        let listed = match fs::read_dir(self.own().join("new")) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed?,
        };
        let mut ready = Vec::new();
        for entry in listed {
            let entry = entry?;
            if is_restored_for(&entry.path(), name).unwrap_or(false)
                && let Ok(plan) = entry.file_name().into_string()
            {
                ready.push(plan);
            }
        }
        ready.sort_unstable();
        Ok(ready)
    }

    /// Moves the member in place to `.requorum/old/inc-<inc>-<n>`, with the note of whose it is.
    pub(super) fn move_aside(&self, inc: u64) -> Result<(), MachineError> {
        if !exists(&self.member())? {
            return Ok(());
        }
        let kept = self.move_out(|n| format!("inc-{inc}-{n}"))?;
        let note = self.incarnation_json();
        if exists(&note)? {
            let to = kept.join("incarnation.json");
            durable::rename(&note, &to).map_err(|why| failed(&note, &why))?;
        }
        Ok(())
    }

    /// Moves `member` into the first free directory of these names below `.requorum/old`.
    fn move_out(&self, name: impl Fn(u32) -> String) -> Result<PathBuf, MachineError> {
        let old = self.own().join("old");
        for n in 1..=KEPT_MAX {
            let kept = old.join(name(n));
            let target = kept.join("member");
            if exists(&target)? {
                continue;
            }
            durable::make_dirs(&kept).map_err(|why| failed(&kept, &why))?;
            durable::rename(&self.member(), &target).map_err(|why| failed(&target, &why))?;
            return Ok(kept);
        }
        let text = format!("{} holds {KEPT_MAX} old members; move some elsewhere", old.display());
        Err(MachineError::NoSpace(text))
    }
}

impl Swap {
    /// The swap that ends `old_inc` and begins `new_inc` with the plan of this short digest.
    pub fn new(data_dir: &Path, plan: &str, new_inc: u64, old_inc: u64) -> Self {
        let begun = Begun { version: 1, plan: plan.to_owned(), new_inc, old_inc };
        Self { places: Places::new(data_dir), begun }
    }

    /// Does what is left to do.
    ///
    /// # Errors
    /// The disk refuses, or there is nothing whole to swap in.
    pub fn finish(&self) -> Result<(), MachineError> {
        while let Some(step) = self.next_step()? {
            self.perform(step)?;
        }
        Ok(())
    }

    /// What is next, read off the disk; `None`: the swap is done.
    ///
    /// # Errors
    /// The disk can't be read, or there is nothing whole to swap in.
    pub fn next_step(&self) -> Result<Option<Step>, MachineError> {
        let ready = exists(&self.new_dir().join("member"))?;
        let in_place = exists(&self.places.member())?;
        let begun = memory_file::read(&self.places.swap_json(), |begun: &Begun| begun.version)?;
        let noted = self.places.belongs()?.is_some_and(|belongs| {
            belongs.inc == self.begun.new_inc && belongs.plan.as_deref() == Some(&self.begun.plan)
        });
        let recorded = begun.as_ref() == Some(&self.begun);
        match (recorded, ready, in_place) {
            (false, true, _) if exists(&self.new_dir().join("complete"))? => Ok(Some(Step::Record)),
            (false, false, true) if noted => Ok(None),
            (true, true, true) => Ok(Some(Step::MoveOut)),
            (true, true, false) => Ok(Some(Step::MoveIn)),
            (true, false, true) if noted => Ok(Some(Step::Clear)),
            (true, false, true) => Ok(Some(Step::Note)),
            (false, true | false, _) | (true, false, false) => {
                let dir = self.new_dir();
                let text = format!("{} holds no completely restored member", dir.display());
                Err(MachineError::Failed(text))
            }
        }
    }

    /// Does one step; each is durable when it returns.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn perform(&self, step: Step) -> Result<(), MachineError> {
        let (plan, places) = (&self.begun.plan, &self.places);
        match step {
            Step::Record => memory_file::write(&places.swap_json(), &self.begun),
            Step::MoveOut => places.move_out(|n| self.kept_as(n)).map(drop),
            Step::MoveIn => {
                let from = self.new_dir().join("member");
                durable::give(&from, &places.data_dir).map_err(|why| failed(&from, &why))?;
                durable::rename(&from, &places.member()).map_err(|why| failed(&from, &why))
            }
            Step::Note => places.note(self.begun.new_inc, Some(plan)),
            Step::Clear => {
                let (dir, record) = (self.new_dir(), places.swap_json());
                let complete = dir.join("complete");
                durable::remove(&complete).map_err(|why| failed(&complete, &why))?;
                _ = fs::remove_dir(&dir); // only if nothing is in it; a leftover harms nobody
                durable::remove(&record).map_err(|why| failed(&record, &why))
            }
        }
    }

    fn kept_as(&self, n: u32) -> String {
        let (inc, plan) = (self.begun.old_inc, &self.begun.plan);
        if n == 1 { format!("inc-{inc}-{plan}") } else { format!("inc-{inc}-{plan}.{n}") }
    }

    fn new_dir(&self) -> PathBuf {
        self.places.new_of(&self.begun.plan)
    }
}

fn exists(path: &Path) -> Result<bool, MachineError> {
    durable::exists(path).map_err(|why| failed(path, &why))
}
