//! **writer** — the oracle: numbered writes, and which of them etcd acknowledged.
//!
//! Comes from the client URLs alone, as any client of the cluster would see them. Goes to the
//! verdict. Every key is written at most once, whatever became of the write, so "which write is
//! this?" never arises; a write without an answer is recorded as unknown, and may be there or not.

use super::trouble::Trouble;
use etcd_client::{Client, ConnectOptions};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinSet, time::timeout};

/// All keys of the oracle stand below this.
pub const PREFIX: &str = "drill/";
/// Writers side by side, so that several writes are in flight at any cut.
const LANES: usize = 4;
/// A client's patience: longer than an etcd election takes would hide one.
const PATIENCE: Duration = Duration::from_millis(1_000);
/// Pause between two writes of a lane: about 200 writes a second in all on a free machine.
const BREATH: Duration = Duration::from_millis(20);
/// Pause after a write without an answer.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// A write that etcd acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Its number.
    pub number: u64,
    /// The revision etcd named.
    pub revision: u64,
    /// The cluster id in the answer: each incarnation has its own.
    pub cluster: u64,
    /// When it was sent.
    pub sent: Instant,
    /// When the answer was there.
    pub acked: Instant,
}

/// All that was written so far.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// In the order of their answers.
    pub acks: Vec<Ack>,
    /// Numbers of writes without an answer.
    pub unknown: BTreeSet<u64>,
    /// The last number that was used.
    pub last: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Write,
    Rest,
    Stop,
}

/// A load that runs in the background. It ends when this is dropped.
#[derive(Debug)]
pub struct Writer {
    oracle: Arc<Mutex<Oracle>>,
    order: watch::Sender<Order>,
    resting: watch::Receiver<usize>,
    lanes: JoinSet<()>,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Write => "write",
            Self::Rest => "rest",
            Self::Stop => "stop",
        })
    }
}

/// One writer of the load.
struct Lane {
    urls: Vec<String>,
    at: usize,
    client: Option<Client>,
    oracle: Arc<Mutex<Oracle>>,
    order: watch::Receiver<Order>,
    resting: watch::Sender<usize>,
}

impl Writer {
    /// Starts writing through whichever of the URLs answers.
    pub fn start(urls: &[String]) -> Self {
        let oracle = Arc::new(Mutex::new(Oracle::default()));
        let (order, orders) = watch::channel(Order::Write);
        let (rest, resting) = watch::channel(0);
        let mut lanes = JoinSet::new();
        for at in 0..LANES {
            let lane = Lane {
                urls: urls.to_vec(),
                at,
                client: None,
                oracle: Arc::clone(&oracle),
                order: orders.clone(),
                resting: rest.clone(),
            };
            lanes.spawn(lane.run());
        }
        Self { oracle, order, resting, lanes }
    }

    /// How many writes are acknowledged.
    pub fn acknowledged(&self) -> usize {
        lock(&self.oracle).acks.len()
    }

    /// What has been written so far.
    pub fn so_far(&self) -> Oracle {
        lock(&self.oracle).clone()
    }

    /// When the first write that was sent after `since` was acknowledged.
    pub fn first_after(&self, since: Instant) -> Option<Instant> {
        let oracle = lock(&self.oracle);
        oracle.acks.iter().filter(|ack| ack.sent >= since).map(|ack| ack.acked).min()
    }

    /// Pauses; returns once no write is in flight.
    ///
    /// # Errors
    /// When the load has ended.
    pub async fn rest(&mut self) -> Result<(), Trouble> {
        self.order.send_replace(Order::Rest);
        let ended = |_| Trouble("the load ended by itself".into());
        self.resting.wait_for(|resting| *resting == LANES).await.map(drop).map_err(ended)
    }

    /// Goes on writing.
    pub fn go_on(&self) {
        self.order.send_replace(Order::Write);
    }

    /// Ends the load and hands over what it knows.
    pub async fn stop(mut self) -> Oracle {
        self.order.send_replace(Order::Stop);
        while self.lanes.join_next().await.is_some() {}
        lock(&self.oracle).clone()
    }
}

impl Lane {
    async fn run(mut self) {
        loop {
            let order = *self.order.borrow_and_update();
            match order {
                Order::Stop => return,
                Order::Rest => {
                    self.resting.send_modify(|resting| *resting += 1);
                    let changed = self.order.changed().await;
                    self.resting.send_modify(|resting| *resting -= 1);
                    if changed.is_err() {
                        return;
                    }
                }
                Order::Write => {
                    let pause = if self.write().await { BREATH } else { AFTER_FAILURE };
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Writes the next number; `false`: nobody acknowledged it.
    async fn write(&mut self) -> bool {
        let Some(mut client) = self.client().await else {
            // Nothing was sent, so no number was used.
            self.at += 1;
            return false;
        };
        let number = {
            let mut oracle = lock(&self.oracle);
            oracle.last += 1;
            let number = oracle.last;
            oracle.unknown.insert(number); // until it is acknowledged
            number
        };
        let sent = Instant::now();
        let put = client.put(key(number), number.to_string(), None);
        let Ok(Ok(answer)) = timeout(PATIENCE, put).await else {
            self.client = None;
            self.at += 1;
            return false;
        };
        let acked = Instant::now();
        let Some(header) = answer.header() else { return false };
        let revision = u64::try_from(header.revision()).unwrap_or(0);
        let cluster = header.cluster_id();
        let mut oracle = lock(&self.oracle);
        oracle.unknown.remove(&number);
        oracle.acks.push(Ack { number, revision, cluster, sent, acked });
        true
    }

    async fn client(&mut self) -> Option<Client> {
        if self.client.is_none() {
            let url = self.urls.get(self.at % self.urls.len().max(1))?;
            self.client = connect(url).await.ok();
        }
        self.client.clone()
    }
}

/// The key of a number; keys order as their numbers do.
pub fn key(number: u64) -> String {
    format!("{PREFIX}{number:012}")
}

/// A client of one URL with the load's patience.
///
/// # Errors
/// When the URL is none.
pub async fn connect(url: &str) -> Result<Client, Trouble> {
    let options = ConnectOptions::new().with_connect_timeout(PATIENCE).with_timeout(PATIENCE);
    Client::connect([url], Some(options)).await.map_err(|e| Trouble::of(url, e))
}

/// A panic in a lane would be a bug of the drill; its record up to then is still true.
fn lock(oracle: &Mutex<Oracle>) -> MutexGuard<'_, Oracle> {
    oracle.lock().unwrap_or_else(PoisonError::into_inner)
}
