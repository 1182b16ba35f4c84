//! **voice** — who answers a verb: the agent of this node, or, where none runs, an observer of our
//! own that reads the table and the votes for a while and puts words on record itself.
//!
//! Comes from the verbs that ask about the cluster. An operator at night, on a node whose agent is
//! dead, gets the same answers in the same words; only freshness takes a moment, because a vote
//! counts only once it was seen to rise.

use super::{
    Context,
    agent::{identity, policy, site},
};
use crate::{
    driver::run::{Agent, Ask},
    exit::Problem,
    local::{Request, client, server},
    render,
};
use serde::de::DeserializeOwned;
use std::{path::PathBuf, time::Duration};
use tokio::sync::{mpsc, oneshot};

/// How many periods of votes an observer watches: in two a living agent's vote rises for sure.
const PERIODS: u64 = 3;

/// How sure an observer must be that who is silent stays silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    /// So long that a living agent's vote counts.
    ForFreshness,
    /// So long that the core takes silence for silence (`attest`).
    ForSilence,
}

/// Whoever answers.
pub(super) enum Voice {
    /// The agent that serves this socket.
    Agent(PathBuf),
    /// Ourselves.
    Observer(Observer),
}

/// A loop of our own that only looks and records words; it ends when this is dropped.
pub(super) struct Observer {
    asks: mpsc::Sender<Ask>,
    known: server::Known,
    _stop: oneshot::Sender<()>,
}

impl Voice {
    /// The agent, or an observer that has watched long enough to tell.
    pub(super) async fn find(context: &Context<'_>, watch: Watch) -> Result<Self, Problem> {
        let socket = context.socket();
        if client::is_served(&socket).await? {
            return Ok(Self::Agent(socket));
        }
        let settings = context.settings().map_err(|unset| {
            let nobody = client::no_agent(&socket);
            let cause = nobody.cause.unwrap_or_default();
            // without them this command can't look for itself
            Problem { cause: Some(format!("{cause}, and {}", unset.sentence)), ..nobody }
        })?;
        let ports = context.doors.ports(settings).await?;
        let timers = &settings.timers;
        let watch = match watch {
            Watch::ForFreshness => timers.vote.times(PERIODS),
            Watch::ForSilence => timers.lin + timers.vote.times(PERIODS),
        };
        let watch = Duration::from_millis(watch.0);
        let line = format!(
            "no agent runs on this machine; watching the table and the votes for {:.1} s",
            watch.as_secs_f64()
        );
        render::talk(&line, context.output);
        let (asks, asked) = mpsc::channel(4);
        let (stop, stopped) = oneshot::channel();
        let policy = policy(settings, false, true);
        let observer = Agent::observer(policy, identity(settings), ports, site(settings));
        let (seats, state_dir) = (settings.seats.clone(), context.state_dir.clone());
        let known = server::Known { seats, state_dir };
        tokio::spawn(observer.run(asked, stopped));
        tokio::time::sleep(watch).await;
        Ok(Self::Observer(Observer { asks, known, _stop: stop }))
    }

    /// Asks, and reads the answer.
    pub(super) async fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, Problem> {
        match self {
            Self::Agent(socket) => client::ask(socket, request).await,
            Self::Observer(observer) => {
                let answer = server::ask(request.clone(), &observer.asks, &observer.known).await;
                client::understood(answer.to_string().as_bytes())
            }
        }
    }
}
