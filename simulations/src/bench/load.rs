//! **load** — what clients do to the database: they fill it, they write, and it is compacted.
//!
//! Comes in: a number of bytes or writes. Goes out: the database, changed. Time is counted in writes:
//! a minute at 300 writes a second is so many puts, as fast as etcd takes them. Values are of 1 KB that do
//! not compress; after the fill every write overwrites a key taken at random, in a put of its own.

use super::{Fallible, stage::Places};
use etcd_client::{Client, CompactionOptions, GetOptions, Txn, TxnOp};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Bytes of the database that one write takes: three of 1.1 KB on a page of 4 KiB.
pub(super) const ENTRY: u64 = 1_365;
/// Bytes of a value.
const VALUE: usize = 1_000;
/// Writes on their way at once.
const LANES: u64 = 32;
/// Puts of one transaction while the database is filled.
const BATCH: u64 = 100;
const PREFIX: &str = "key/";
/// How long etcd may take to start.
const START: Duration = Duration::from_secs(60);

fn key(number: u64) -> String {
    format!("{PREFIX}{number}")
}

fn value(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut value = vec![0; VALUE];
    random.fill(&mut value);
    value
}

/// Fills etcd until its database has this size.
pub(super) async fn fill(places: &Places, bytes: u64) -> Fallible<()> {
    let began = Instant::now();
    let mut client = loop {
        if let Ok(mut client) = Client::connect([&places.etcd], None).await
            && client.status().await.is_ok()
        {
            break client;
        }
        if began.elapsed() > START {
            return Err("etcd does not answer".into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let mut random = fastrand::Rng::with_seed(1);
    let (mut written, mut size) = (0, 0);
    while size < bytes {
        let puts: Vec<TxnOp> = (written..written + BATCH)
            .map(|number| TxnOp::put(key(number), value(&mut random), None))
            .collect();
        client.txn(Txn::new().and_then(puts)).await?;
        written += BATCH;
        size = u64::try_from(client.status().await?.db_size())?;
    }
    let (megabytes, took) = (size / 1_000_000, began.elapsed().as_secs());
    eprintln!("filled: {written} keys, {megabytes} MB, in {took} s");
    Ok(())
}

/// Clients of a database that was filled.
pub(super) struct Load {
    client: Client,
    keys: u64,
    /// Writes of a minute.
    writes: u64,
}

impl Load {
    pub(super) async fn new(places: &Places, writes: u64) -> Fallible<Self> {
        let mut client = Client::connect([&places.etcd], None).await?;
        let counted = GetOptions::new().with_prefix().with_count_only();
        let keys = u64::try_from(client.get(PREFIX, Some(counted)).await?.count())?;
        Ok(Self { client, keys, writes })
    }

    /// A minute's writes.
    pub(super) async fn minute(&mut self) -> Fallible<()> {
        // another seed each time: a value that was written before would be no change
        let seed = u64::try_from(self.head().await?)?;
        let mut lanes = JoinSet::new();
        for lane in 0..LANES {
            let share = (self.writes + lane) / LANES; // together exactly `writes`
            let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(LANES).wrapping_add(lane));
            let (mut client, keys) = (self.client.clone(), self.keys);
            lanes.spawn(async move {
                for _ in 0..share {
                    client.put(key(random.u64(0..keys)), value(&mut random), None).await?;
                }
                Ok::<(), etcd_client::Error>(())
            });
        }
        while let Some(ended) = lanes.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// Compacts history up to so many minutes ago; returns once it is gone from the database.
    pub(super) async fn compact(&mut self, minutes_ago: u64) -> Fallible<()> {
        let revision = self.head().await? - i64::try_from(minutes_ago * self.writes)?;
        let options = CompactionOptions::new().with_physical();
        self.client.compact(revision, Some(options)).await?;
        Ok(())
    }

    async fn head(&mut self) -> Fallible<i64> {
        let status = self.client.status().await?;
        let header = status.header().ok_or("etcd's status has no header")?;
        Ok(header.revision())
    }
}
