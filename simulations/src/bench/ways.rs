//! **ways** — saves and restores, each beside what it is compared with, each once in this process.
//!
//! Comes in: the name of a way. Goes out: seconds of each row that it fills in the table, and the peak of
//! this process's memory.

use super::{
    Fallible,
    load::Load,
    product::{BUMP, Product, SEAT, Saved, stores},
    stage::{BUCKET, Places},
};
use agent::{
    adapters::{local_file::LocalFile, s3::S3Store},
    ports::object_store::ObjectStore as _,
};
use etcd_client::Client;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::process::Command;

/// All ways that are timed, in the order of a round.
pub(super) const WAYS: [&str; 8] = [
    "raw",
    "etcdctl",
    "save-full",
    "save-incremental",
    "etcdutl",
    "restore",
    "restore-chain",
    "cp-fsync",
];
/// Before all rounds: what is restored in them.
pub(super) const SOURCE: &str = "source";
/// Packs of the chain whose end is restored, a minute each.
pub(super) const LINKS: u64 = 10;

/// Clusters in the bucket: one whole snapshot, and a chain that ends in the same content.
const WHOLE: &str = "whole";
const CHAIN: &str = "chain";
/// The same content in a local file.
const FILE: &str = "source.db";

/// What one process measured.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Measured {
    /// By the table's row.
    pub(super) seconds: BTreeMap<String, f64>,
    /// The most memory that this process had resident; its tools' is not in it.
    pub(super) peak_mb: f64,
    /// Bytes of what was saved or restored.
    pub(super) bytes: u64,
}

impl Measured {
    fn note(&mut self, row: &str, took: Duration) {
        self.seconds.insert(row.to_owned(), took.as_secs_f64());
    }

    /// A save with and without its proof of the content.
    fn save(&mut self, row: &str, saved: &Saved) {
        self.note(row, saved.took.saturating_sub(saved.proving));
        self.note(&format!("{row}-proven"), saved.took);
        self.bytes = saved.manifest.size;
    }
}

/// Goes one way.
pub(super) async fn once(way: &str, places: &Places, writes: u64) -> Fallible<Measured> {
    let mut measured = Measured::default();
    let file = places.scratch.join(FILE);
    let began = Instant::now();
    match way {
        "raw" => {
            measured.bytes = discard(places).await?;
            measured.note(way, began.elapsed());
        }
        "etcdctl" => {
            let spool = tempfile::tempdir_in(&places.scratch)?;
            let store = S3Store::new(stores(places).await?.s3, BUCKET);
            etcdctl(places, &spool.path().join(FILE)).await?;
            let mut pieces = LocalFile::open(&spool.path().join(FILE)).await?;
            store.upload("etcdctl.db", &mut pieces).await?;
            measured.note(way, began.elapsed());
            store.delete("etcdctl.db").await?;
        }
        "save-full" => {
            let product = Product::new(places, "save-full").await?;
            measured.save(way, &product.save(None).await?);
            product.clear().await?;
        }
        "save-incremental" => incremental(places, writes, &mut measured).await?,
        "etcdutl" | "cp-fsync" => {
            let dir = tempfile::tempdir_in(&places.scratch)?;
            match way {
                "etcdutl" => etcdutl(places, &file, &dir.path().join("data")).await?,
                _ => copy(&file, &dir.path().join("copy")).await?,
            }
            measured.note(way, began.elapsed()); // what it leaves is removed after it was measured
        }
        "restore" | "restore-chain" => {
            let uid = if way == "restore" { WHOLE } else { CHAIN };
            let product = Product::new(places, uid).await?;
            let manifest = product.newest().await?;
            measured.note(way, product.restore(&manifest).await?);
            measured.bytes = manifest.size;
        }
        SOURCE => source(places, writes, &file).await?,
        _ => return Err(format!("there is no way called {way}").into()),
    }
    measured.peak_mb = peak()?;
    Ok(measured)
}

/// The stream, and nothing else: how many bytes came.
async fn discard(places: &Places) -> Fallible<u64> {
    let mut stream = Client::connect([&places.etcd], None).await?.snapshot().await?;
    let mut bytes = 0;
    while let Some(piece) = stream.message().await? {
        bytes += piece.blob().len() as u64;
    }
    Ok(bytes)
}

/// A base, a minute's writes, and what differs then.
async fn incremental(places: &Places, writes: u64, measured: &mut Measured) -> Fallible<()> {
    let product = Product::new(places, "save-incremental").await?;
    let mut load = Load::new(places, writes).await?;
    measured.save("save-base", &product.save(Some(CHAIN)).await?);
    load.minute().await?;
    let saved = product.save(Some(CHAIN)).await?;
    if saved.manifest.needs.is_empty() {
        return Err("the incremental save stored a whole file".into());
    }
    measured.save("save-incremental", &saved);
    product.clear().await
}

/// What is restored later: a chain, and the same content whole, in the store and in a file.
async fn source(places: &Places, writes: u64, file: &Path) -> Fallible<()> {
    let product = Product::new(places, CHAIN).await?;
    let mut load = Load::new(places, writes).await?;
    product.save(Some(CHAIN)).await?;
    let mut end = None;
    for _ in 0..LINKS {
        load.minute().await?;
        end = Some(product.save(Some(CHAIN)).await?.manifest);
    }
    let links = end.map_or(0, |end| end.needs.len() as u64);
    if links != LINKS {
        return Err(format!("the chain to be restored has {links} links, not {LINKS}").into());
    }
    Product::new(places, WHOLE).await?.save(None).await?;
    etcdctl(places, file).await
}

async fn etcdctl(places: &Places, file: &Path) -> Fallible<()> {
    let mut command = Command::new(places.tools.join("etcdctl"));
    command.args(["--endpoints", &places.etcd, "snapshot", "save"]).arg(file);
    done(command).await
}

/// As the agent has it restore, and with its check of the file's hash, which the agent does itself.
async fn etcdutl(places: &Places, file: &Path, data_dir: &Path) -> Fallible<()> {
    let (name, url) = SEAT;
    let mut command = Command::new(places.tools.join("etcdutl"));
    command.args(["snapshot", "restore", "--name", name, "--initial-advertise-peer-urls", url]);
    command.args(["--initial-cluster", &format!("{name}={url}"), "--mark-compacted"]);
    command.args(["--bump-revision", &BUMP.to_string(), "--data-dir"]).arg(data_dir).arg(file);
    done(command).await
}

async fn done(mut command: Command) -> Fallible<()> {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = quiet.kill_on_drop(true).status().await?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

async fn copy(from: &Path, to: &Path) -> Fallible<()> {
    tokio::fs::copy(from, to).await?;
    tokio::fs::File::open(to).await?.sync_all().await?;
    Ok(())
}

/// MB that this process had resident at most.
fn peak() -> Fallible<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next()).unwrap_or("0");
    Ok(kilobytes.parse::<f64>()? * 1.024 / 1_000.0)
}
