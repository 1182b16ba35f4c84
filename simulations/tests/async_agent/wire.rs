//! **wire** — the AWS SDK's transport in a simulated host: HTTP/1.1 over turmoil's TCP.
//!
//! Comes in: requests as the SDK signed them. Goes out: the same over a simulated connection, by the
//! client the SDK itself is built on. Here, where a call leaves the agent, is also where it dies: a
//! lit [fuse](super::world::Fuse) ends it between any two store calls.

use super::{
    NAMES,
    world::{Fate, Shared, Store},
};
use agent::adapters::aws::{self, Transport};
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings,
            SharedHttpClient, SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    shared::IntoShared,
};
use futures::stream::{FuturesUnordered, StreamExt};
use hyper::{
    Uri,
    rt::{Executor, Read, ReadBufCursor, Write},
};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::TokioIo,
};
use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};
use tokio::sync::mpsc;
use turmoil::net::TcpStream;

/// The transport of the agent on machine `at`, made anew each time it starts, and what must run
/// beside the agent for it to work.
pub(crate) fn transport(shared: &Shared, at: usize) -> (Transport, impl Future<Output = ()>) {
    let (connections, opened) = mpsc::unbounded_channel();
    // idle connections would else be dropped by the time of the world outside
    let client = Client::builder(OneTask(connections))
        .pool_idle_timeout(None::<Duration>)
        .retry_canceled_requests(false)
        .build(Connector);
    let http: SharedHttpClient = Wire { shared: shared.clone(), at, client }.into_shared();
    (Transport { http, time: SimulatedTime.into_shared() }, all_in_one(opened))
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs all connections of a client in one task. As tasks of their own they would be dropped in the
/// order of their numbers when the host crashes, which tokio counts for the whole process, and the
/// order of their last packets would depend on what else was played before.
#[derive(Clone)]
struct OneTask(mpsc::UnboundedSender<Task>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for OneTask {
    fn execute(&self, task: F) {
        drop(self.0.send(Box::pin(task))); // nobody takes it only when the host has ended
    }
}

async fn all_in_one(mut opened: mpsc::UnboundedReceiver<Task>) {
    let mut all = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(task) = opened.recv() => all.push(task),
            Some(()) = all.next(), if !all.is_empty() => {}
            else => return,
        }
    }
}

/// What a signature is dated with.
#[derive(Debug)]
struct SimulatedTime;

impl TimeSource for SimulatedTime {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + turmoil::since_epoch().unwrap_or_default()
    }
}

#[derive(Clone)]
struct Wire {
    shared: Shared,
    at: usize,
    client: Client<Connector, SdkBody>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire({})", self.at)
    }
}

impl HttpClient for Wire {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let wire = self.clone();
        HttpConnectorFuture::new(async move {
            let (store, does) = match request.headers().get("x-amz-target") {
                Some(target) => (Store::Table, target.rsplit('.').next().unwrap_or(target).into()),
                None => (Store::Bucket, format!("{} {}", verb(&request), kind(request.uri()))),
            };
            let fate = wire.shared.lock().call(wire.at, store, &does);
            if fate == Fate::DieBefore {
                wire.shared.lock().die(wire.at);
                return std::future::pending().await;
            }
            if fate == Fate::Late {
                turmoil::hold(NAMES[wire.at], store.host());
            }
            if fate == Fate::Deaf {
                turmoil::partition_oneway(store.host(), NAMES[wire.at]);
            }
            let answer = wire.send(request).await;
            if fate == Fate::Lost {
                return Err(ConnectorError::io("the answer is lost".into()));
            }
            if fate == Fate::DieAfter {
                wire.shared.lock().die(wire.at);
                return std::future::pending().await;
            }
            answer
        })
    }
}

impl Wire {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let request =
            request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
        let answer =
            self.client.request(request).await.map_err(|error| ConnectorError::io(error.into()))?;
        HttpResponse::try_from(answer.map(SdkBody::from_body_1_x))
            .map_err(|error| ConnectorError::other(error.into(), None))
    }
}

/// Its method; the call that makes parts an object looks else like the one that begins them.
fn verb(request: &HttpRequest) -> &str {
    let completes = request.method() == "POST" && request.uri().contains("uploadId=");
    if completes { "COMPLETE" } else { request.method() }
}

/// What a call is about, without what differs from run to run: the host, the query, ids and digests.
fn kind(uri: &str) -> String {
    let path = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let path = path.split('?').next().unwrap_or(path);
    let random = |word: &str| word.split(['-', '.']).any(|part| part.len() >= 12);
    let end = |word: &str| match word.rsplit_once('.') {
        Some((_, end)) => format!("*.{end}"),
        None => "*".to_owned(),
    };
    let words = path.split('/').skip(2);
    let words = words.map(|word| if random(word) { end(word) } else { word.to_owned() });
    words.collect::<Vec<_>>().join("/")
}

/// Opens simulated connections.
#[derive(Clone)]
struct Connector;

impl tower::Service<Uri> for Connector {
    type Response = Tcp;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Tcp>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().to_owned();
            let opened = TcpStream::connect((host, uri.port_u16().unwrap_or(80)));
            let opened = tokio::time::timeout(aws::CONNECT, opened).await;
            Ok(Tcp(TokioIo::new(opened.map_err(|_| io::ErrorKind::TimedOut)??)))
        })
    }
}

/// A simulated connection, as hyper takes it.
struct Tcp(TokioIo<TcpStream>);

impl Connection for Tcp {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl Write for Tcp {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
