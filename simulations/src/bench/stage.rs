//! **stage** — what runs while something is measured: one etcd, one S3 server, and one process that does
//! what is measured.
//!
//! Comes in: where etcd is. Goes out: addresses. Whatever is dropped here ends, and is waited for: on
//! Ctrl-C, too, nothing is left behind.

use super::{Arguments, Fallible};
use crate::drill::{
    object_files::Files,
    object_server::{Credentials, ObjectServer},
    process,
};
use rustix::process::Signal;
use serde::de::DeserializeOwned;
use std::{
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;

/// The bucket.
pub(super) const BUCKET: &str = "bench";
/// Access key and secret key of the store.
pub(super) const CREDENTIALS: (&str, &str) = ("bench", "secret");
/// Puts after which etcd commits: as many as come in its 100 ms at 300 a second. Writes come faster here,
/// and lay out pages as if they did not.
const BATCH: &str = "30";
/// How long a measuring process may take to put its tools away.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where everything is.
#[derive(Debug)]
pub(super) struct Places {
    /// etcd's client URL.
    pub(super) etcd: String,
    /// The store's endpoint.
    pub(super) store: String,
    /// A directory for whatever is measured.
    pub(super) scratch: PathBuf,
    /// Where etcd's binaries are.
    pub(super) tools: PathBuf,
}

/// etcd and the store. Fields end in their order: the directory last.
pub(super) struct Stage {
    places: Places,
    server: ObjectServer,
    _etcd: Etcd,
    _scratch: TempDir,
}

struct Etcd(Child);

impl Drop for Etcd {
    fn drop(&mut self) {
        // both fail only for a child that was waited for; nobody does
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Stage {
    pub(super) async fn start(tools: &Path) -> Fallible<Self> {
        let scratch = tempfile::tempdir()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let url = format!("http://127.0.0.1:{port}");
        let mut command = Command::new(tools.join("etcd"));
        command
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", "http://127.0.0.1:0", "--log-level", "error"])
            .args(["--quota-backend-bytes", "8589934592", "--backend-batch-limit", BATCH])
            .args(["--unsafe-no-fsync", "--data-dir"]) // how it is filled is no part of what is measured
            .arg(scratch.path().join("etcd"));
        // a group of its own: Ctrl-C at the terminal is for us, who then end it
        let etcd = command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let etcd = Etcd(etcd);
        let (access, secret) = CREDENTIALS;
        let credentials = Credentials { access: access.into(), secret: secret.into() };
        let local = (Ipv4Addr::LOCALHOST, 0).into();
        let server = ObjectServer::start(local, &credentials, Files::in_memory()).await?;
        server.create_bucket(BUCKET);
        let places = Places {
            etcd: url,
            store: server.direct_url(),
            scratch: scratch.path().to_owned(),
            tools: tools.to_owned(),
        };
        Ok(Self { places, server, _etcd: etcd, _scratch: scratch })
    }

    pub(super) const fn places(&self) -> &Places {
        &self.places
    }

    pub(super) async fn stop(self) {
        self.server.stop().await;
    }
}

/// A process that measures. It ends its own tools when it is asked to end.
struct Measuring(tokio::process::Child);

impl Drop for Measuring {
    fn drop(&mut self) {
        let Some(pid) = self.0.id() else { return };
        // it fails only for what is gone
        let _ = process::signal(pid, Signal::TERM);
        let asked = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && asked.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Measures one way in a process of its own, and answers with what that told.
pub(super) async fn ask<T: DeserializeOwned>(
    way: &str,
    stage: &Stage,
    arguments: &Arguments,
) -> Fallible<T> {
    let Places { etcd, store, scratch, tools } = &stage.places;
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.args(["--once", way, etcd, store]).arg(scratch).arg("--etcd").arg(tools);
    command.args(["--megabytes", &arguments.megabytes.to_string()]);
    command.args(["--rounds", &arguments.rounds.to_string()]);
    command.process_group(0).kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut measuring = Measuring(command.spawn()?);
    let mut told = Vec::new();
    if let Some(mut stdout) = measuring.0.stdout.take() {
        stdout.read_to_end(&mut told).await?;
    }
    if !measuring.0.wait().await?.success() {
        return Err(format!("{way} failed").into());
    }
    Ok(serde_json::from_slice(&told)?)
}
