//! **child** — processes of ours, none of which outlives who waits for it.
//!
//! In: a command. Out: what a tool printed, or a hold on a server. Once the hold is gone the process
//! is too, with all its threads, and not merely told to go: whoever removes the directory it worked
//! in finds nobody who still writes there.

use super::process_table::{self, ProcessId};
use crate::ports::snapshots::SnapshotError;
use std::{
    io,
    path::Path,
    process::{ExitStatus, Output, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
};

/// How long a killed process may take to end; longer only in uninterruptible disk waits.
pub(super) const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// A process that ends when this is dropped.
pub(super) struct Held {
    child: Child,
    /// `None`: it had ended before it could be looked at.
    id: Option<ProcessId>,
}

impl Held {
    pub(super) fn spawn(command: &mut Command) -> io::Result<Self> {
        let child = command.stdin(Stdio::null()).kill_on_drop(true).spawn()?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid {
            spare_others(pid);
        }
        Ok(Self { child, id: pid.and_then(process_table::identify) })
    }

    /// Waits until it ends by itself.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Ends it now, without holding up a thread.
    pub(super) async fn end(&mut self) {
        _ = self.child.kill().await; // an error says that it has ended
    }

    async fn output(&mut self) -> io::Result<Output> {
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let (status, stdout, stderr) =
            tokio::try_join!(self.child.wait(), all_of(stdout), all_of(stderr))?;
        Ok(Output { status, stdout, stderr })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        match process_table::kill(id, KILL_PATIENCE) {
            Ok(true) => _ = self.child.try_wait(), // nothing is left of it
            Ok(false) => tracing::warn!(pid = id.pid, "a killed process does not end"),
            Err(why) => tracing::warn!(%why, pid = id.pid, "a process could not be killed"),
        }
    }
}

/// Where memory runs out the kernel ends this one first and not the live member (proc(5),
/// oom_score_adj). What a kill ends says nothing about any data.
fn spare_others(pid: i32) {
    if let Err(why) = std::fs::write(format!("/proc/{pid}/oom_score_adj"), "1000") {
        tracing::debug!(%why, pid, "it may be ended late where memory runs out");
    }
}

async fn all_of(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// Runs a tool to its end; it is killed if nobody waits for it any more.
pub(super) async fn run(command: &mut Command) -> Result<Output, SnapshotError> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"ETCD"))
    {
        command.env_remove(name); // what is meant for the member would change what its tools do
    }
    let done = match Held::spawn(command) {
        Ok(mut tool) => tool.output().await,
        Err(why) => Err(why),
    };
    done.map_err(|why| {
        let tool = command.as_std().get_program();
        SnapshotError::Failed(format!("{} can't be run: {why}", Path::new(tool).display()))
    })
}
