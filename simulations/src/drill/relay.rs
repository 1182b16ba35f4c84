//! **relay** — a TCP relay on loopback that can be cut, and that can lose answers.
//!
//! Comes in: an address to listen on and one to relay to. Goes out: bytes, unless it is cut, or
//! told to lose the next answers: the request goes through, the first byte of its answer closes the
//! connection. Why: "the store is unreachable" and "the write was applied but nobody heard" are
//! the two failures that drills and contract tests need, for any server and without its help.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// Bytes moved at a time.
const CHUNK: usize = 64 << 10;

/// A running relay; it ends when this is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    cut: watch::Sender<bool>,
    to_lose: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Listens on `listen` (port 0: any free one) and relays to `to`. Fails if the address is taken.
    pub async fn start(listen: SocketAddr, to: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let (cut, is_cut) = watch::channel(false);
        let to_lose = Arc::new(AtomicU32::new(0));
        let task = tokio::spawn(accept(listener, to, is_cut, Arc::clone(&to_lose)));
        Ok(Self { address, cut, to_lose, task })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `true`: closes every connection and lets no new one through; `false`: open again.
    pub fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }

    /// Loses the next `count` answers after their requests went through.
    pub fn lose_answers(&self, count: u32) {
        self.to_lose.store(count, Ordering::SeqCst);
    }

    /// How many of the answers to lose have not come yet.
    pub fn answers_to_lose(&self) -> u32 {
        self.to_lose.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort(); // the connections live in the task and end with it
    }
}

async fn accept(
    listener: TcpListener,
    to: SocketAddr,
    is_cut: watch::Receiver<bool>,
    to_lose: Arc<AtomicU32>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((client, _)) if !*is_cut.borrow() => {
                connections.spawn(connect(client, to, is_cut.clone(), Arc::clone(&to_lose)));
            }
            Ok(_) => {}                               // cut: dropped at once
            Err(_) => tokio::task::yield_now().await, // out of descriptors: the next may succeed
        }
    }
}

async fn connect(
    client: TcpStream,
    to: SocketAddr,
    mut is_cut: watch::Receiver<bool>,
    to_lose: Arc<AtomicU32>,
) {
    let Ok(server) = TcpStream::connect(to).await else { return };
    // Nagle's delay would add 40 ms to each small answer.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        _ = is_cut.wait_for(|cut| *cut) => {}
        _ = requests(from_client, to_server) => {}
        _ = answers(from_server, to_client, &to_lose) => {}
    }
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
    tokio::io::copy(&mut from, &mut to).await.map(drop)
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    to_lose: &AtomicU32,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let size = from.read(&mut chunk).await?;
        // "100 Continue" only invites the body: the request has not gone through yet.
        let answers = !chunk[..size].starts_with(b"HTTP/1.1 100");
        if size == 0 || (answers && take_one(to_lose)) {
            return Ok(());
        }
        to.write_all(&chunk[..size]).await?;
    }
}

/// Counts one down; false if there was none left.
fn take_one(counter: &AtomicU32) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}
