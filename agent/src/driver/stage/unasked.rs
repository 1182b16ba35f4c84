//! **unasked** — ports that a save does not need: whoever comes there is refused.
//!
//! Comes from the [stage](super::Stage). Of files, only those that are fetched are read.

use super::{Stage, moved};
use crate::ports::{
    clock::Clock,
    machine::{Machine, MachineError},
    object_store::{Moved, StoreError},
    pieces::Pieces,
    registry::{Item, ItemWrite, Registry},
    service::{Service, ServiceError},
    snapshots::{Expected, Inspected, Proven, Rehearsed, SnapshotError, Snapshots},
};
use async_trait::async_trait;
use protocol::{
    cluster::{Digest, Slot},
    effect::Start,
    observation::{Data, InAttempt, LogState, LogSummary, Memory, Process, Ran},
    plan::Plan,
    registry::Written,
    time::Moment,
};
use std::path::{Path, PathBuf};

const WHY: &str = "nobody is asked for that";

fn no_tool<T>() -> Result<T, SnapshotError> {
    Err(SnapshotError::Failed(WHY.into()))
}

fn no_disk<T>() -> Result<T, MachineError> {
    Err(MachineError::Failed(WHY.into()))
}

impl Clock for Stage {
    fn now(&self) -> Moment {
        Moment(1)
    }

    fn unix(&self) -> u64 {
        1_790_000_000
    }
}

#[async_trait]
impl Registry for Stage {
    async fn read(&self, _: &str) -> Result<Vec<Item>, StoreError> {
        Err(StoreError::Unavailable(WHY.into()))
    }

    async fn write(&self, _: &str, _: &ItemWrite) -> Result<Written, StoreError> {
        Err(StoreError::Unavailable(WHY.into()))
    }

    async fn create_table(&self) -> Result<(), StoreError> {
        Err(StoreError::Unavailable(WHY.into()))
    }
}

#[async_trait]
impl Service for Stage {
    async fn state(&self) -> Process {
        Process::Running { quarantined: false }
    }

    async fn start(&self, _: &Start) -> Result<(), ServiceError> {
        Err(ServiceError(WHY.into()))
    }

    async fn stop(&self) -> Result<(), ServiceError> {
        Err(ServiceError(WHY.into()))
    }
}

#[async_trait]
impl Machine for Stage {
    async fn data(&self) -> Data {
        let log = LogState::Missing;
        let (restored, swap, belongs) = (Vec::new(), None, None);
        Data { fs: None, writable: true, log, swap, restored, belongs }
    }

    async fn memory(&self) -> Result<Memory, MachineError> {
        no_disk()
    }

    async fn mark(&self, _: InAttempt) -> Result<(), MachineError> {
        no_disk()
    }

    async fn unmark(&self, _: InAttempt) -> Result<(), MachineError> {
        no_disk()
    }

    async fn retire(&self, _: u64) -> Result<(), MachineError> {
        no_disk()
    }

    async fn remember_opened(&self, _: u64) -> Result<(), MachineError> {
        no_disk()
    }

    async fn remember_seat(&self, _: &str, _: Slot) -> Result<(), MachineError> {
        no_disk()
    }

    async fn remember_ran(&self, _: &Ran) -> Result<(), MachineError> {
        no_disk()
    }

    async fn swap(&self, _: Digest, _: u64, _: u64) -> Result<(), MachineError> {
        no_disk()
    }

    async fn move_aside(&self, _: u64) -> Result<(), MachineError> {
        no_disk()
    }

    async fn read_log(&self) -> Result<LogSummary, MachineError> {
        no_disk()
    }
}

/// A file that is read at once.
struct Whole(Vec<u8>, bool);

#[async_trait]
impl Pieces for Whole {
    async fn next(&mut self, into: &mut Vec<u8>) -> Result<bool, String> {
        into.extend_from_slice(if self.1 { &[] } else { &self.0 });
        Ok(!std::mem::replace(&mut self.1, true))
    }

    fn moved(&self) -> Moved {
        moved(&self.0)
    }
}

#[async_trait]
impl Snapshots for Stage {
    async fn tools(&self) -> Result<(), SnapshotError> {
        no_tool()
    }

    async fn inspect(&self, _: &Path) -> Result<Inspected, SnapshotError> {
        no_tool()
    }

    async fn restore(&self, _: &Proven, _: &str, _: &Plan, _: Digest) -> Result<(), SnapshotError> {
        no_tool()
    }

    async fn salvage(&self, _: &Path) -> Result<(), SnapshotError> {
        no_tool()
    }

    async fn rehearse(&self, _: &Path, _: &Expected) -> Result<Rehearsed, SnapshotError> {
        no_tool()
    }

    async fn pieces(&self, file: &Path) -> Result<Box<dyn Pieces>, SnapshotError> {
        let bytes = std::fs::read(file).map_err(|e| SnapshotError::Failed(e.to_string()))?;
        Ok(Box::new(Whole(bytes, false)))
    }

    fn room(&self) -> Option<u64> {
        None
    }

    fn scratch(&self) -> PathBuf {
        self.scratch.path().to_owned()
    }

    async fn clear_scratch(&self) -> Result<(), SnapshotError> {
        no_tool()
    }
}
