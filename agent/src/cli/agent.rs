//! **agent** — the verb that runs for ever: probe the stores, open the socket, loop.

use crate::{
    config::Settings,
    driver::{
        Ports, Site,
        run::{Agent, Ask},
    },
    exit::{Code, Problem},
    local::server,
    ports::object_store::StoreError,
};
use protocol::{cluster::Nonce, coordinator::Policy, observation::Identity};
use std::fs::File;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};

/// Makes the directory this agent remembers in, and takes it for itself: one agent a machine.
///
/// # Errors
/// [`Code::Held`] if another agent runs here.
pub fn lock_state_dir(settings: &Settings) -> Result<File, Problem> {
    let dir = &settings.state_dir;
    let cannot = |error: std::io::Error| {
        Problem::new(Code::Usage, format!("REQUORUM_STATE_DIR {} can't be used", dir.display()))
            .because(error)
    };
    std::fs::create_dir_all(dir).map_err(cannot)?;
    let file = File::create(dir.join("lock")).map_err(cannot)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(
        |_| {
            Problem::new(Code::Held, format!("another agent runs with {}", dir.display()))
                .next("requorum status")
        },
    )?;
    Ok(file)
}

/// Clients' ports that need TLS can't be spoken to yet: an agent that never hears its member would
/// wait for ever, or take it for lost.
///
/// # Errors
/// [`Code::Usage`]: a seat's client URL is `https://`.
pub fn refuse_tls(settings: &Settings) -> Result<(), Problem> {
    let secure = settings.seats.iter().find(|seat| seat.client_url.starts_with("https://"));
    let Some(seat) = secure else { return Ok(()) };
    let sentence = format!(
        "this version does not speak TLS to etcd's clients' port yet, and {}'s is {}",
        seat.name, seat.client_url
    );
    Err(Problem::new(Code::Usage, sentence).next(
        "let etcd also listen at http://127.0.0.1:2379, and name that in REQUORUM_CLIENT_URLS",
    ))
}

/// A store's trouble at start.
pub fn store_problem(what: &str, error: &StoreError) -> Problem {
    let next = match error {
        StoreError::Missing(_) => "create it; for the lock table: requorum create-table",
        StoreError::Forbidden(_) => "check the credentials and the policy of this machine's role",
        StoreError::Unavailable(_)
        | StoreError::Source(_)
        | StoreError::Local(_)
        | StoreError::NoSpace(_)
        | StoreError::Bad(_) => {
            "check AWS_REGION, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL_DYNAMODB and the network"
        }
    };
    Problem::new(Code::StoreUnreachable, format!("{what} can't be used")).because(error).next(next)
}

/// Runs until SIGTERM or SIGINT. etcd goes on running.
///
/// # Errors
/// What kept the agent from starting.
pub async fn run(
    settings: &Settings,
    ports: Ports,
    bootstrap: bool,
    proven: bool,
) -> Result<(), Problem> {
    let socket = settings.state_dir.join("agent.sock");
    let listener = server::bind(&socket).map_err(|error| {
        Problem::new(Code::Usage, format!("the socket {} can't be opened", socket.display()))
            .because(error)
    })?;
    let (asks, asked) = mpsc::channel::<Ask>(16);
    tokio::spawn(server::serve(listener, asks, settings.seats.clone(), settings.state_dir.clone()));
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(async move {
        wait_for_signal().await;
        // nobody listens any more only if the agent has ended by itself
        stop.send(()).ok();
    });
    tracing::info!(name = settings.name, instance = %settings.instance, "agent starts");
    let policy = policy(settings, bootstrap, proven);
    let agent = Agent::new(policy, identity(settings), ports, site(settings));
    agent.run(asked, stopped).await;
    drop(std::fs::remove_file(&socket));
    tracing::info!("agent ends; etcd goes on running");
    Ok(())
}

async fn wait_for_signal() {
    let (Ok(mut term), Ok(mut int)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

pub(super) fn policy(settings: &Settings, bootstrap: bool, proven: bool) -> Policy {
    Policy {
        timers: settings.timers,
        mode: settings.mode,
        threshold: settings.threshold,
        min_members: settings.min_members,
        max_loss: settings.max_loss,
        seats: settings.seats.clone(),
        bootstrap,
        proven,
    }
}

pub(super) fn identity(settings: &Settings) -> Identity {
    Identity {
        instance: settings.instance.clone(),
        nonce: Nonce(uuid::Uuid::new_v4().to_string()),
        name: settings.name.clone(),
    }
}

pub(super) fn site(settings: &Settings) -> Site {
    let seat = settings.seats.iter().find(|seat| seat.name == settings.name);
    Site {
        prefix: settings.prefix.clone(),
        name: settings.name.clone(),
        instance: settings.instance.clone(),
        client_url: seat.map(|seat| seat.client_url.clone()).unwrap_or_default(),
        socket: settings.state_dir.join("etcd.sock"),
        state_dir: settings.state_dir.clone(),
        incremental: settings.incremental,
        hold: settings.hold.clone(),
    }
}
