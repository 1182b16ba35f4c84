//! **interrupted** — a verb that somebody ends before its time.
//!
//! Comes in: the work, and what is left of it when it is dropped. Goes out: what the work came to, or the
//! signal that ended it. What was begun goes with the work: files and children of ours by being dropped,
//! uploads before the process ends (`s3_unfinished`).

use crate::exit::{Code, Problem};
use std::future::Future;
use tokio::signal::unix::{SignalKind, signal};

/// Does `work` until SIGINT or SIGTERM.
///
/// # Errors
/// The work's own, and [`Code::Failed`] with `done`, in words, where it was interrupted.
pub(super) async fn unless_interrupted(
    work: impl Future<Output = Result<(), Problem>>,
    done: &str,
) -> Result<(), Problem> {
    let listen = |kind| {
        signal(kind)
            .map_err(|error| Problem::new(Code::Failed, "no signal can be heard").because(error))
    };
    let (mut int, mut term) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let heard = tokio::select! {
        ended = work => return ended,
        _ = int.recv() => "SIGINT",
        _ = term.recv() => "SIGTERM",
    };
    Err(Problem::new(Code::Failed, format!("{heard} ended it; {done}")).next("say it again"))
}
