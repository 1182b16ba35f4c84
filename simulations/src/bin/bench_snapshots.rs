//! **bench-snapshots** — what a snapshot costs: real etcd, the agent's own adapters, an S3 server on the
//! same machine. Figures are ratios of medians, with their spread: a save over the raw stream, a restore
//! over etcdutl's of a local file, with its hash check on. They go to `target/bench/snapshots.json`, and
//! as a table with the machine named to `simulations/BENCHMARKS.md`.
//!
//! Every way is measured in a process of its own, round after round, so that a machine that becomes
//! slower does so for all of them, and peak memory is that of one way.

use agent::{
    adapters::{
        aws::{Settings, clients},
        etcd_client::EtcdClient,
        etcdutl::Etcdutl,
        local_file::LocalFile,
        s3::S3Store,
    },
    ports::{
        etcd::{Door, Etcd as _},
        object_store::ObjectStore as _,
        pieces::Pieces,
        snapshots::{Proven, Snapshots as _},
    },
};
use clap::Parser;
use etcd_client::{Client, Txn, TxnOp};
use protocol::{
    cluster::{Digest, Seat, Slot},
    plan::Plan,
    registry::Source,
};
use simulations::drill::object_server::{Credentials, ObjectServer};
use std::{
    collections::BTreeMap,
    error::Error,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const BUCKET: &str = "bench";
/// Every way, beside the one that it is compared with: the stream alone; its bytes hashed, read and uploaded
/// as they come; the same with a file between. A local file restored by etcdutl, with its hash check;
/// from the store to a restored data dir; a local file copied and synced.
const WAYS: [(&str, &str); 6] = [
    ("raw", "raw"),
    ("one-pass", "raw"),
    ("spooled", "raw"),
    ("etcdutl", "etcdutl"),
    ("restore", "etcdutl"),
    ("cp-fsync", "etcdutl"),
];
/// What is restored: in the store, and in the scratch directory.
const SOURCE: &str = "source.db";
/// As a restore bumps revisions (protocol.md 1.8).
const BUMP: u64 = 1_000_000_000;

/// Measures what a snapshot costs.
#[derive(Debug, Parser)]
struct Arguments {
    /// Size of the database, in MB.
    #[arg(long, default_value_t = 1_000)]
    megabytes: u64,
    /// Rounds of all ways.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where etcd and etcdutl are.
    #[arg(long, env = "REQUORUM_ETCD_DIR", default_value = "target/tools/etcd/bin")]
    etcd: PathBuf,
    /// One measurement, in this process: the way, etcd's URL, the store's URL, a scratch directory.
    #[arg(long, hide = true, num_args = 4)]
    once: Vec<String>,
}

/// A process that ends with its guard.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // both fail only for a child that was waited for; nobody does
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    if let [way, door, store, scratch] = arguments.once.as_slice() {
        return once(way, door, store, Path::new(scratch), &arguments.etcd).await;
    }
    let scratch = tempfile::tempdir()?;
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let url = format!("http://127.0.0.1:{port}");
    let child = Command::new(arguments.etcd.join("etcd"))
        .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
        .args(["--listen-peer-urls", "http://127.0.0.1:0", "--quota-backend-bytes", "8589934592"])
        .args(["--unsafe-no-fsync", "--data-dir"]) // how it is filled is no part of what is measured
        .arg(scratch.path().join("etcd"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let _etcd = Guard(child);
    fill(&url, arguments.megabytes).await?;

    let bodies = scratch.path().join("bodies");
    std::fs::create_dir(&bodies)?;
    let credentials = Credentials { access: "bench".into(), secret: "secret".into() };
    let server = ObjectServer::start((Ipv4Addr::LOCALHOST, 0).into(), &credentials, bodies).await?;
    server.create_bucket(BUCKET);
    measure("source", &url, &server.url(), scratch.path(), &arguments).await?;
    let mut seconds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut peak: BTreeMap<&str, f64> = BTreeMap::new();
    for _ in 0..arguments.rounds {
        for (way, _) in WAYS {
            let (took, rss) = measure(way, &url, &server.url(), scratch.path(), &arguments).await?;
            seconds.entry(way).or_default().push(took);
            let highest = peak.entry(way).or_default();
            *highest = highest.max(rss);
        }
    }
    server.stop().await;
    let table = table(&mut seconds, &peak);
    tell(&table);
    write(&mut seconds, &peak, &table, &arguments)
}

/// Fills etcd with keys whose values of 1 KB do not compress.
async fn fill(url: &str, megabytes: u64) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    let mut client = loop {
        if let Ok(mut client) = Client::connect([url], None).await
            && client.status().await.is_ok()
        {
            break client;
        }
        if began.elapsed() > Duration::from_secs(60) {
            return Err("etcd does not answer".into());
        }
    };
    let mut random = fastrand::Rng::with_seed(1);
    let mut written = 0_u64;
    while written * 1_100 < megabytes * 1_000_000 {
        let puts: Vec<TxnOp> = (0..100)
            .map(|key| {
                let value: Vec<u8> = (0..1_000).map(|_| random.u8(..)).collect();
                TxnOp::put(format!("key/{}", written + key), value, None)
            })
            .collect();
        client.txn(Txn::new().and_then(puts)).await?;
        written += 100;
    }
    let size = client.status().await?.db_size();
    eprintln!("{written} keys, {} MB", size / 1_000_000);
    Ok(())
}

/// One way in a process of its own: seconds and MB at its peak.
async fn measure(
    way: &str,
    door: &str,
    store: &str,
    scratch: &Path,
    arguments: &Arguments,
) -> Result<(f64, f64), Box<dyn Error>> {
    let output = tokio::process::Command::new(std::env::current_exe()?)
        .args(["--once", way, door, store])
        .arg(scratch)
        .arg("--etcd")
        .arg(&arguments.etcd)
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await?;
    let told = String::from_utf8(output.stdout)?;
    let mut numbers = told.split_whitespace().map(str::parse::<f64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(took)), Some(Ok(rss))) if output.status.success() => Ok((took, rss)),
        _ => Err(format!("{way} failed: {told}").into()),
    }
}

async fn once(
    way: &str,
    url: &str,
    endpoint: &str,
    scratch: &Path,
    etcd: &Path,
) -> Result<(), Box<dyn Error>> {
    let settings = Settings {
        region: Some("us-east-1".into()),
        s3_endpoint: Some(endpoint.to_owned()),
        dynamodb_endpoint: None,
        credentials: Some(("bench".into(), "secret".into())),
        transport: None,
    };
    let store = S3Store::new(clients(&settings).await?.s3, BUCKET);
    let client = EtcdClient::new(Duration::from_secs(2), Duration::from_secs(2));
    let door = Door::Client(url.to_owned());
    let key = format!("{way}/{}", std::process::id());
    let began = Instant::now();
    match way {
        "raw" => {
            let mut stream = Client::connect([url], None).await?.snapshot().await?;
            while stream.message().await?.is_some() {}
        }
        "one-pass" => {
            _ = store.upload(&key, &mut *client.snapshot(&door).await?).await?;
        }
        "source" => {
            let file = scratch.join(SOURCE);
            spool(&mut *client.snapshot(&door).await?, &file).await?;
            store.upload(SOURCE, &mut LocalFile::open(&file).await?).await?;
        }
        "etcdutl" | "restore" | "cp-fsync" => {
            let dir = tempfile::tempdir_in(scratch)?;
            let took = restore(way, &store, scratch, dir.path(), etcd).await?;
            return told(took); // what it leaves is removed after it was measured
        }
        _ => {
            let file = scratch.join(format!("{}.db", std::process::id()));
            spool(&mut *client.snapshot(&door).await?, &file).await?;
            Etcdutl::new(etcd, scratch.join("data")).inspect(&file).await?;
            let mut pieces = LocalFile::open(&file).await?;
            store.upload(&key, &mut pieces).await?;
            std::fs::remove_file(&file)?;
        }
    }
    told(began.elapsed())
}

/// One way to a restored data dir below `dir`.
async fn restore(
    way: &str,
    store: &S3Store,
    scratch: &Path,
    dir: &Path,
    etcd: &Path,
) -> Result<Duration, Box<dyn Error>> {
    let began = Instant::now();
    match way {
        "etcdutl" => {
            let restored = tokio::process::Command::new(etcd.join("etcdutl"))
                .args([
                    "snapshot",
                    "restore",
                    "--name",
                    "s0",
                    "--initial-cluster",
                    "s0=http://127.0.0.1:1",
                ])
                .args(["--initial-advertise-peer-urls", "http://127.0.0.1:1", "--mark-compacted"])
                .args(["--bump-revision", &BUMP.to_string(), "--data-dir"])
                .arg(dir.join("data"))
                .arg(scratch.join(SOURCE))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .await?;
            if !restored.success() {
                return Err("etcdutl did not restore".into());
            }
        }
        "cp-fsync" => {
            let (from, to) = (scratch.join(SOURCE), dir.join("copy"));
            tokio::fs::copy(from, &to).await?;
            tokio::fs::File::open(to).await?.sync_all().await?;
        }
        _ => {
            let file = dir.join(SOURCE);
            let moved = store.download(SOURCE, &file).await?.ok_or("there is no source")?;
            let proven = Proven::new(&file, &moved.sha256, &moved.sha256).ok_or("it is damaged")?;
            let tools = Etcdutl::new(etcd, dir.join("data"));
            tools.restore(&proven, "s0", &plan(), Digest::of(b"the plan")).await?;
        }
    }
    Ok(began.elapsed())
}

fn plan() -> Plan {
    let url = "http://127.0.0.1:1".to_owned();
    let (name, client_url) = ("s0".to_owned(), "http://127.0.0.1:2".to_owned());
    Plan {
        uid: "bench".to_owned(),
        inc: 2,
        attempt: 1,
        epoch: 1,
        token: "bench-2".to_owned(),
        seats: vec![Seat { slot: Slot(0), name, peer_url: url, client_url }],
        source: Source { object: None, revision: 1, bump: BUMP, live_keys: None, size: 0 },
        fallbacks: Vec::new(),
        loss: 0,
        because: "a measurement".to_owned(),
    }
}

#[expect(clippy::print_stdout, reason = "a measurement is told to the process that asked")]
fn told(took: Duration) -> Result<(), Box<dyn Error>> {
    let took = took.as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|rest| rest.split_whitespace().next()).unwrap_or("0");
    println!("{took} {}", peak.parse::<f64>()? / 1_000.0);
    Ok(())
}

/// Takes all there is into a file, which is on the disk when this ends.
async fn spool(pieces: &mut dyn Pieces, file: &Path) -> Result<(), Box<dyn Error>> {
    use tokio::io::AsyncWriteExt as _;
    let mut file = tokio::fs::File::create_new(file).await?;
    let mut piece = Vec::new();
    while pieces.next(&mut piece).await? {
        file.write_all(&piece).await?;
        piece.clear();
    }
    Ok(file.sync_all().await?)
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn tell(table: &str) {
    println!("{table}");
}

/// The figures, as Markdown.
fn table(seconds: &mut BTreeMap<&str, Vec<f64>>, peak: &BTreeMap<&str, f64>) -> String {
    let mut lines = vec![
        "| way | median s | min | max | ratio | to | peak MB |".to_owned(),
        "|---|--:|--:|--:|--:|---|--:|".to_owned(),
    ];
    for (way, to) in WAYS {
        let beside = seconds.get_mut(to).map_or(f64::NAN, |took| median(took));
        let Some(took) = seconds.get_mut(way) else { continue };
        let (middle, low, high) = (median(took), took[0], took[took.len() - 1]);
        let (ratio, rss) = (middle / beside, peak.get(way).copied().unwrap_or_default());
        lines.push(format!(
            "| {way} | {middle:.2} | {low:.2} | {high:.2} | {ratio:.2} | {to} | {rss:.0} |"
        ));
    }
    lines.join("\n")
}

/// For machines: `target/bench/snapshots.json`; for readers: `simulations/BENCHMARKS.md`.
fn write(
    seconds: &mut BTreeMap<&str, Vec<f64>>,
    peak: &BTreeMap<&str, f64>,
    table: &str,
    arguments: &Arguments,
) -> Result<(), Box<dyn Error>> {
    let mut of = |way| seconds.get_mut(way).map_or(f64::NAN, |took| median(took));
    let document = serde_json::json!({
        "save_full_over_stream": of("one-pass") / of("raw"),
        "restore_over_etcdutl": of("restore") / of("etcdutl"),
        "restore_over_cp_fsync": of("restore") / of("cp-fsync"),
        "save_rss_mb": peak.get("one-pass"),
    });
    std::fs::create_dir_all("target/bench")?;
    let text = serde_json::to_string_pretty(&document)?;
    std::fs::write("target/bench/snapshots.json", text + "\n")?;
    let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
    let names: Vec<&str> =
        cpus.lines().filter_map(|line| line.strip_prefix("model name")).collect();
    let name = names.first().map_or("unknown", |name| name.trim_start_matches([' ', '\t', ':']));
    let build = if cfg!(debug_assertions) { "a development build" } else { "a release build" };
    let page = format!(
        "# What snapshots cost\n\n\
         `make bench-snapshots` measures and writes this page: {} MB of values of 1 KB that do not compress, \
         {} rounds of all ways in turn, each in a process of its own, etcd and the S3 server on the same {} \
         cores ({name}), {build}. `ratio` is of medians, to the way named beside it: the raw stream for \
         saves, etcdutl's restore of a local file with its hash check for restores.\n\n{table}\n",
        arguments.megabytes,
        arguments.rounds,
        names.len(),
    );
    Ok(std::fs::write("simulations/BENCHMARKS.md", page)?)
}

fn median(took: &mut [f64]) -> f64 {
    took.sort_by(f64::total_cmp);
    took[took.len() / 2]
}
