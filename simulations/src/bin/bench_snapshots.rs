//! **bench-snapshots** — what a snapshot costs: real etcd, the agent's own adapters, an S3 server on the
//! same machine. Figures are told as ratios to the raw stream, of medians, with their spread, and go to
//! `target/bench/snapshots.json`.
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
        snapshots::Snapshots as _,
    },
};
use clap::Parser;
use etcd_client::{Client, Txn, TxnOp};
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
/// The stream alone; its bytes hashed, read and uploaded as they come; and the way with a file between.
const WAYS: [&str; 3] = ["raw", "one-pass", "spooled"];

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
    let mut seconds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut peak: BTreeMap<&str, f64> = BTreeMap::new();
    for _ in 0..arguments.rounds {
        for way in WAYS {
            let (took, rss) = measure(way, &url, &server.url(), scratch.path(), &arguments).await?;
            seconds.entry(way).or_default().push(took);
            let highest = peak.entry(way).or_default();
            *highest = highest.max(rss);
        }
    }
    server.stop().await;
    tell(&mut seconds, &peak);
    write(&mut seconds, &peak)
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

#[expect(clippy::print_stdout, reason = "a measurement is told to the process that asked")]
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
        _ => {
            let file = scratch.join(format!("{}.db", std::process::id()));
            spool(&mut *client.snapshot(&door).await?, &file).await?;
            Etcdutl::new(etcd, scratch.join("data")).inspect(&file).await?;
            let mut pieces = LocalFile::open(&file).await?;
            store.upload(&key, &mut pieces).await?;
            std::fs::remove_file(&file)?;
        }
    }
    let took = began.elapsed().as_secs_f64();
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
fn tell(seconds: &mut BTreeMap<&str, Vec<f64>>, peak: &BTreeMap<&str, f64>) {
    println!(
        "{:10} {:>8} {:>8} {:>8} {:>9} {:>8}",
        "way", "median s", "min", "max", "over raw", "peak MB"
    );
    let raw = seconds.get_mut("raw").map(|took| median(took)).unwrap_or(f64::NAN);
    for way in WAYS {
        let Some(took) = seconds.get_mut(way) else { continue };
        let (middle, low, high) = (median(took), took[0], took[took.len() - 1]);
        let (ratio, rss) = (middle / raw, peak.get(way).copied().unwrap_or_default());
        println!("{way:10} {middle:8.2} {low:8.2} {high:8.2} {ratio:8.2}x {rss:8.0}");
    }
}

/// The same for machines: `target/bench/snapshots.json`.
fn write(
    seconds: &mut BTreeMap<&str, Vec<f64>>,
    peak: &BTreeMap<&str, f64>,
) -> Result<(), Box<dyn Error>> {
    let mut of = |way| seconds.get_mut(way).map(|took| median(took)).unwrap_or(f64::NAN);
    let document = serde_json::json!({
        "save_full_over_stream": of("one-pass") / of("raw"),
        "save_rss_mb": peak.get("one-pass"),
    });
    std::fs::create_dir_all("target/bench")?;
    let text = serde_json::to_string_pretty(&document)?;
    Ok(std::fs::write("target/bench/snapshots.json", text + "\n")?)
}

fn median(took: &mut [f64]) -> f64 {
    took.sort_by(f64::total_cmp);
    took[took.len() / 2]
}
