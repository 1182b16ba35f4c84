//! **client** — asks the agent at its socket, within a bound.
//!
//! Comes from the verbs. "Nobody serves the socket" is told apart from "it may not be opened" and
//! from "no answer came": only the first lets a verb go on without the agent.

use super::{Request, Told, server::SAVE};
use crate::exit::{Code, Problem};
use serde::de::DeserializeOwned;
use std::{io, io::ErrorKind, path::Path, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

/// How long the agent may take to answer; longer than its own bounds, so that its sentence comes.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest answer, in bytes: nine seats and their reasons take a few KiB.
const ANSWER_MAX: u64 = 4 * 1024 * 1024;

/// Asks the agent that serves `socket`.
///
/// # Errors
/// [`Code::NoAgent`] if nobody serves it or it may not be opened; [`Code::Failed`] if no answer
/// came, or one that can't be understood: whether a command was carried out is unknown then.
pub async fn ask<T: DeserializeOwned>(socket: &Path, request: &Request) -> Result<T, Problem> {
    ask_if_there(socket, request).await?.ok_or_else(|| no_agent(socket))
}

/// Nobody serves the socket.
pub fn no_agent(socket: &Path) -> Problem {
    Problem::new(Code::NoAgent, "no agent runs on this machine")
        .because(format!("nobody serves {}", socket.display()))
        .next("systemctl start requorum.service, or `requorum agent` in the foreground")
}

/// Whether somebody serves `socket`.
///
/// # Errors
/// [`Code::NoAgent`]: it may not be opened.
pub async fn is_served(socket: &Path) -> Result<bool, Problem> {
    match UnixStream::connect(socket).await {
        Ok(_) => Ok(true),
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
        {
            Ok(false)
        }
        Err(error) => Err(cannot_open(socket, &error)),
    }
}

/// Asks the agent that serves `socket`; `None`: nobody does.
///
/// # Errors
/// As [`ask`], but for an agent that is not there.
pub async fn ask_if_there<T: DeserializeOwned>(
    socket: &Path,
    request: &Request,
) -> Result<Option<T>, Problem> {
    let stream = match UnixStream::connect(socket).await {
        Ok(stream) => stream,
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(cannot_open(socket, &error)),
    };
    let failed = |cause: String| {
        Problem::new(Code::Failed, "the agent did not answer; what was asked may still be done")
            .because(format!("{}: {cause}", socket.display()))
            .next("requorum status")
    };
    let patience = if *request == Request::Save { SAVE + PATIENCE } else { PATIENCE };
    let answer = timeout(patience, exchange(stream, request)).await;
    let answer = answer.map_err(|_| failed(format!("nothing in {} s", patience.as_secs())))?;
    let answer = answer.map_err(|error| failed(error.to_string()))?;
    understood(&answer).map(Some)
}

async fn exchange(mut stream: UnixStream, request: &Request) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// Reads an answer.
///
/// # Errors
/// [`Code::Failed`]: a refusal where a document was expected, or nothing that can be understood.
pub fn understood<T: DeserializeOwned>(answer: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(answer).map_err(|error| not_understood(answer, &error))
}

/// A refusal where a document was expected is the agent's own word; anything else is no word.
fn not_understood(answer: &[u8], error: &serde_json::Error) -> Problem {
    match serde_json::from_slice::<Told>(answer) {
        Ok(told) => Problem::new(Code::Failed, told.sentence).because(told.code),
        Err(_) => {
            let sentence = "the agent's answer can't be understood; is it of another version?";
            Problem::new(Code::Failed, sentence).because(error).next("requorum --version")
        }
    }
}

fn cannot_open(socket: &Path, error: &io::Error) -> Problem {
    let problem = Problem::new(Code::NoAgent, "the agent's socket can't be opened")
        .because(format!("{}: {error}", socket.display()));
    if error.kind() == ErrorKind::PermissionDenied {
        return problem.next("run it as root: sudo requorum status");
    }
    problem.next("set REQUORUM_STATE_DIR (--state-dir) as the agent has it")
}
