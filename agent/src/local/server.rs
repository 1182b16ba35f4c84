//! **server** — answers at the agent's socket. Bad input gets a sentence; a slow asker gets the door.
//!
//! Comes from [`client`](super::client) and from drills. Goes as [`Ask`] to the agent's loop, which
//! alone knows anything. Nothing that arrives here can hold the agent up: a line is bounded in
//! length and time, connections in number.

use super::{LINE_MAX, Request, Saved, Told, documents};
use crate::driver::run::{Ask, View};
use protocol::{
    cluster::{Digest, Seat},
    coordinator as core,
    event::Command,
    explanation::Note,
    registry,
};
use std::{
    fs::Permissions,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

/// How long one asker may take for its line, and for taking its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the loop may take to answer; shorter than the client's own patience.
const ANSWER: Duration = Duration::from_secs(8);
/// How long a snapshot may take, as the driver bounds it, and a little.
pub(super) const SAVE: Duration = Duration::from_secs(1830);
/// Most askers served at once; the next ones wait in the kernel's queue.
const ASKERS_MAX: usize = 16;

/// Binds the socket, over a stale one, open to its owner alone. It is made under another name and
/// moved into place, so that it is never seen with wider permissions than 0600. Whether another
/// agent is alive is told by the lock of the state directory, not by the socket.
///
/// # Errors
/// The path is too long for a socket (107 bytes), or the directory can't be written.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    let fresh = path.with_extension("new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&fresh)?;
    std::fs::set_permissions(&fresh, Permissions::from_mode(0o600))?;
    std::fs::rename(&fresh, path)?;
    Ok(listener)
}

/// What answers need beside the loop's.
#[derive(Clone, Debug)]
pub struct Known {
    /// The seats, whose names requests bear.
    pub seats: Vec<Seat>,
    /// Where the last rehearsal is noted.
    pub state_dir: PathBuf,
}

impl Known {
    fn status(&self, view: &View) -> documents::Status {
        let rehearsed = super::rehearsed::read(&self.state_dir);
        documents::Status { rehearsed, ..documents::status(view) }
    }
}

/// Serves until the agent ends.
pub async fn serve(
    listener: UnixListener,
    asks: mpsc::Sender<Ask>,
    seats: Vec<Seat>,
    state_dir: PathBuf,
) {
    let known = Arc::new(Known { seats, state_dir });
    let places = Arc::new(Semaphore::new(ASKERS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return; // never closed
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (asks, known) = (asks.clone(), Arc::clone(&known));
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, asks, &known).await {
                        tracing::debug!(%error, "an asker at the socket went away");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the local socket can't accept; trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, asks: mpsc::Sender<Ask>, known: &Known) -> io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(reading.take(LINE_MAX));
    let reply = match timeout(PATIENCE, reader.read_until(b'\n', &mut line)).await {
        Ok(read) => {
            read?;
            reply(&line, &asks, known).await
        }
        Err(_) => refused("BAD_REQUEST", "the request did not end within 5 s"),
    };
    let mut bytes = reply.to_string().into_bytes();
    bytes.push(b'\n');
    timeout(PATIENCE, writing.write_all(&bytes)).await.map_err(io::Error::other)?
}

async fn reply(line: &[u8], asks: &mpsc::Sender<Ask>, known: &Known) -> serde_json::Value {
    if !line.ends_with(b"\n") {
        return refused("BAD_REQUEST", "the request is cut off or longer than 64 KiB");
    }
    let request = match serde_json::from_slice::<Request>(line) {
        Ok(request) => request,
        Err(error) => return refused("BAD_REQUEST", format!("the request can't be read: {error}")),
    };
    let bound = if request == Request::Save { SAVE } else { ANSWER };
    timeout(bound, ask(request, asks, known)).await.unwrap_or_else(|_| {
        let seconds = bound.as_secs();
        refused("BUSY", format!("no answer within {seconds} s; what was asked may still be done"))
    })
}

fn refused(code: &str, sentence: impl Into<String>) -> serde_json::Value {
    serde_json::json!(Told::new(false, code, sentence))
}

/// The loop's answer to a request.
pub(crate) async fn ask(
    request: Request,
    asks: &mpsc::Sender<Ask>,
    known: &Known,
) -> serde_json::Value {
    let ending = || refused("ENDING", "the agent is ending");
    if request == Request::Status {
        let (reply, view) = oneshot::channel();
        // a failed send hands the reply's sender back: waiting for it would be for ever
        if asks.send(Ask::Status(reply)).await.is_err() {
            return ending();
        }
        return view.await.map_or_else(|_| ending(), |view| serde_json::json!(known.status(&view)));
    }
    let Some(command) = command(request, &known.seats) else {
        return refused("NO_SEAT", "no seat has that name; `requorum status` lists them");
    };
    let (reply, told) = oneshot::channel();
    if asks.send(Ask::Tell(command, reply)).await.is_err() {
        return ending();
    }
    told.await.map_or_else(|_| ending(), |told| serde_json::json!(document(told)))
}

fn document(told: core::Told) -> Told {
    let told_so = |accepted, note: Note| Told::new(accepted, note.code.name(), note.text);
    match told {
        core::Told::Accepted(note) => told_so(true, note),
        core::Told::Refused(note) => told_so(false, note),
        core::Told::Saved(manifest) => Told {
            saved: Some(Saved::from(&*manifest)),
            ..Told::new(
                true,
                "SAVED",
                format!("saved and verified: revision {}", manifest.revision),
            )
        },
    }
}

/// The core's word for a request; `None`: it names no seat.
fn command(request: Request, seats: &[Seat]) -> Option<Command> {
    let slot = |name: &str| seats.iter().find(|seat| seat.name == name).map(|seat| seat.slot);
    Some(match request {
        Request::Restore { rollback, source, by, because } => Command::Restore(registry::Request {
            rollback,
            source,
            scope: Vec::new(),
            by,
            because,
            attempt: None,
        }),
        Request::Attest { name, by, because } => {
            Command::Attest { slot: slot(&name)?, by, because }
        }
        Request::Approve { attempt } => Command::Approve { attempt },
        Request::Abort => Command::Abort,
        Request::Replace { name, because } => Command::Replace { slot: slot(&name)?, because },
        Request::Save => Command::Save,
        Request::Adopt { sha256, inc, by, because, said } => {
            tracing::info!(sha256, by, because, "an operator answers for a snapshot");
            Command::Adopt { sha256: Digest::parse(&sha256)?, inc, by, because, said }
        }
        Request::Pause { because } => Command::Pause { because },
        Request::Resume | Request::Status => Command::Resume,
    })
}
