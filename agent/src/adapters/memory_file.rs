//! **memory_file** — what this machine promised, on the root disk and in the data volume.
//!
//! In: promises to keep or take back. Out: the merged [`Memory`]. The files are
//! `<state dir>/memory.json` (everything) and `<data dir>/.requorum/memory.json` (the promises
//! only): a volume that moves to another machine carries its promise along, and a machine whose
//! volume is remounted keeps it (protocol.md A2, mutant M7). Of each promise the higher one holds.
//! A file that can't be read or understood is an error; "nothing remembered" is only said when the
//! file system says that there is no such file.

use super::durable;
use crate::ports::machine::MachineError;
use protocol::{
    cluster::{Instance, MemberId, Slot},
    observation::{InAttempt, Memory, Ran},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    io,
    path::{Path, PathBuf},
};

/// The format's version; a reader refuses others.
const VERSION: u32 = 1;

/// What is kept in both places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Promises {
    /// (incarnation, attempt): "not this incarnation or an older one".
    marker: Option<(u64, u64)>,
    /// Highest incarnation never to be run again.
    retired: u64,
}

/// The root disk's file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Root {
    version: u32,
    promises: Promises,
    uid: Option<String>,
    slot: Option<u8>,
    opened: u64,
    ran: Option<RanFile>,
}

/// The data volume's file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Volume {
    version: u32,
    promises: Promises,
}

/// [`Ran`] as it is written; the id in hexadecimal, as etcd shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct RanFile {
    inc: u64,
    instance: String,
    member_id: String,
    plan: String,
    fs: String,
}

/// The two files.
#[derive(Clone, Debug)]
pub(super) struct MemoryFiles {
    root: PathBuf,
    data_dir: PathBuf,
}

impl MemoryFiles {
    pub(super) fn new(state_dir: &Path, data_dir: &Path) -> Self {
        Self { root: state_dir.join("memory.json"), data_dir: data_dir.to_owned() }
    }

    /// Everything remembered: the higher of both for each promise.
    pub(super) fn read(&self) -> Result<Memory, MachineError> {
        let root = self.root()?;
        let volume = self.volume()?.promises;
        let marker = root.promises.marker.max(volume.marker);
        Ok(Memory {
            uid: root.uid,
            slot: root.slot.map(Slot),
            marker: marker.map(|(inc, attempt)| InAttempt { inc, attempt }),
            retired: root.promises.retired.max(volume.retired),
            opened: root.opened,
            ran: root.ran.map(|ran| self.ran(ran)).transpose()?,
        })
    }

    /// Keeps a marker; a higher one that is there already says more and stays.
    pub(super) fn mark(&self, marker: InAttempt) -> Result<(), MachineError> {
        let marker = (marker.inc, marker.attempt);
        self.promise(|promises| promises.marker = promises.marker.max(Some(marker)))
    }

    /// Takes back exactly this marker, wherever it stands.
    pub(super) fn unmark(&self, marker: InAttempt) -> Result<(), MachineError> {
        let marker = (marker.inc, marker.attempt);
        self.promise(|promises| promises.marker = promises.marker.filter(|kept| *kept != marker))
    }

    /// Never `inc` or older again.
    pub(super) fn retire(&self, inc: u64) -> Result<(), MachineError> {
        self.promise(|promises| promises.retired = promises.retired.max(inc))
    }

    pub(super) fn remember_opened(&self, inc: u64) -> Result<(), MachineError> {
        self.change_root(|root| root.opened = root.opened.max(inc))
    }

    pub(super) fn remember_seat(&self, uid: &str, slot: Slot) -> Result<(), MachineError> {
        self.change_root(|root| {
            root.uid = Some(uid.to_owned());
            root.slot = Some(slot.0);
        })
    }

    pub(super) fn remember_ran(&self, ran: &Ran) -> Result<(), MachineError> {
        self.change_root(|root| {
            root.ran = Some(RanFile {
                inc: ran.inc,
                instance: ran.instance.0.clone(),
                member_id: ran.member_id.to_string(),
                plan: ran.plan.clone(),
                fs: ran.fs.clone(),
            });
        })
    }

    /// Changes the promises in both files, the root disk's first. Where there is no data dir at
    /// all there is no etcd data either that the second copy could hold back.
    fn promise(&self, change: impl Fn(&mut Promises)) -> Result<(), MachineError> {
        self.change_root(|root| change(&mut root.promises))?;
        let there = durable::exists(&self.data_dir).map_err(|why| failed(&self.data_dir, &why))?;
        if !there {
            return Ok(());
        }
        let mut volume = self.volume()?;
        change(&mut volume.promises);
        write(&self.volume_path(), &volume)
    }

    fn change_root(&self, change: impl Fn(&mut Root)) -> Result<(), MachineError> {
        let mut root = self.root()?;
        change(&mut root);
        write(&self.root, &root)
    }

    fn root(&self) -> Result<Root, MachineError> {
        let (uid, slot, ran) = (None, None, None);
        let nothing =
            Root { version: VERSION, promises: Promises::default(), uid, slot, opened: 0, ran };
        Ok(read(&self.root, |root: &Root| root.version)?.unwrap_or(nothing))
    }

    fn volume(&self) -> Result<Volume, MachineError> {
        let nothing = Volume { version: VERSION, promises: Promises::default() };
        Ok(read(&self.volume_path(), |volume: &Volume| volume.version)?.unwrap_or(nothing))
    }

    fn volume_path(&self) -> PathBuf {
        self.data_dir.join(".requorum").join("memory.json")
    }

    fn ran(&self, ran: RanFile) -> Result<Ran, MachineError> {
        let id = u64::from_str_radix(&ran.member_id, 16)
            .map_err(|_| corrupt(&self.root, "its member id is no hexadecimal number"))?;
        let (instance, member_id) = (Instance(ran.instance), MemberId(id));
        Ok(Ran { inc: ran.inc, instance, member_id, plan: ran.plan, fs: ran.fs })
    }
}

/// Reads a versioned document; `None`: there is none.
pub(super) fn read<T: DeserializeOwned>(
    path: &Path,
    version: impl Fn(&T) -> u32,
) -> Result<Option<T>, MachineError> {
    let Some(bytes) = durable::read(path).map_err(|why| failed(path, &why))? else {
        return Ok(None);
    };
    let document = serde_json::from_slice(&bytes).map_err(|why| corrupt(path, &why.to_string()))?;
    if version(&document) != VERSION {
        return Err(corrupt(path, "it was written by another version of requorum"));
    }
    Ok(Some(document))
}

/// Writes a document durably.
pub(super) fn write<T: Serialize>(path: &Path, document: &T) -> Result<(), MachineError> {
    let mut text =
        serde_json::to_vec_pretty(document).map_err(|why| corrupt(path, &why.to_string()))?;
    text.push(b'\n');
    durable::write(path, &text).map_err(|why| failed(path, &why))
}

/// The disk refused.
pub(super) fn failed(path: &Path, why: &io::Error) -> MachineError {
    let text = format!("{}: {why}", path.display());
    if durable::is_full(why) { MachineError::NoSpace(text) } else { MachineError::Failed(text) }
}

fn corrupt(path: &Path, why: &str) -> MachineError {
    MachineError::Failed(format!(
        "{} can't be understood ({why}); nothing starts until it is repaired or this machine is attested gone",
        path.display()
    ))
}
