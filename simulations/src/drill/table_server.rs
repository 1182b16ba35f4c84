//! **table_server** — DynamoDB in our own process, behind a relay that can be cut.
//!
//! Comes in: an address and, to keep the table, a directory. Goes out: a running server. The server
//! is `dynoxide` (SQLite inside), chosen because its conditional writes and transactions hold in
//! 32-way races (components.md). It takes any credentials.

use super::relay::Relay;
use std::{io, net::Ipv4Addr, net::SocketAddr, path::Path};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct TableServer {
    relay: Relay,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), String>>,
}

impl TableServer {
    /// Serves on `listen` (port 0: any free one). `dir`: where the tables are kept; `None`: in memory.
    pub async fn start(listen: SocketAddr, dir: Option<&Path>) -> io::Result<Self> {
        let opened = match dir {
            Some(dir) => {
                let file = dir.join("tables.sqlite");
                dynoxide::Database::new(&file.to_string_lossy())
            }
            None => dynoxide::Database::memory(),
        };
        let database = opened.map_err(|error| io::Error::other(error.to_string()))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let relay = Relay::start(listen, listener.local_addr()?).await?;
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await; // a dropped handle stops the server too
        };
        let serving = dynoxide::server::serve_with_shutdown(listener, database, shutdown);
        Ok(Self { relay, stop, task: tokio::spawn(serving) })
    }

    /// The endpoint for `AWS_ENDPOINT_URL_DYNAMODB`.
    pub fn url(&self) -> String {
        format!("http://{}", self.relay.address())
    }

    /// `true`: unreachable; `false`: reachable again, with everything it held.
    pub fn cut(&self, cut: bool) {
        self.relay.cut(cut);
    }

    /// The relay in front of it.
    pub const fn relay(&self) -> &Relay {
        &self.relay
    }

    /// Stops it; returns when the last request has ended and the tables are on disk.
    pub async fn stop(self) -> io::Result<()> {
        drop(self.relay); // ends the connections, which would hold the server up
        let _ = self.stop.send(()); // the server may have ended by itself
        self.task.await.map_err(io::Error::other)?.map_err(io::Error::other)
    }
}
