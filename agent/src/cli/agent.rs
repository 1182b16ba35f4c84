//! **agent** — the verb that runs for ever: probe the stores, open the socket, loop.

use crate::{
    config::Settings,
    driver::{
        Ports, Site,
        run::{Agent, Ask},
        seal::Seal,
    },
    exit::{Code, Problem},
    local::server,
    ports::{heart::Heart, object_store::StoreError},
};
use protocol::{cluster::Nonce, coordinator::Policy, observation::Identity};
use std::{fs::File, sync::Arc};
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
    heart: Arc<dyn Heart>,
) -> Result<(), Problem> {
    let site = site_with_keys(settings)?;
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
    let agent = Agent::new(policy, identity(settings), ports, site).watched(heart);
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
        exports: settings.export,
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

/// Who moves snapshots must be able to open what it seals, and what was sealed before.
///
/// # Errors
/// [`Code::Usage`]: the identity file can't be read, or doesn't open what is sealed for the recipients.
pub(super) fn site_with_keys(settings: &Settings) -> Result<Site, Problem> {
    let site = site(settings);
    let Some(file) = &settings.sealing.identity_file else { return Ok(site) };
    let read = std::fs::read_to_string(file).map_err(|error| error.to_string());
    let opened = read.and_then(|text| site.seal.clone().opened_by(&text));
    let proven = opened.and_then(|seal| seal.prove().map(|()| seal));
    let seal = proven.map_err(|why| {
        let file = file.display();
        let text = format!("REQUORUM_SNAPSHOT_IDENTITY_FILE {file} opens no snapshot of this node");
        let recipient =
            format!("age-keygen -y {file}, and add what it prints to REQUORUM_SNAPSHOT_RECIPIENTS");
        Problem::new(Code::Usage, text).because(why).next(recipient)
    })?;
    Ok(Site { seal, ..site })
}

/// What this node is called and where it is. It seals, and opens nothing.
pub(super) fn site(settings: &Settings) -> Site {
    let seat = settings.seats.iter().find(|seat| seat.name == settings.name);
    Site {
        prefix: settings.prefix.clone(),
        name: settings.name.clone(),
        instance: settings.instance.clone(),
        client_url: seat.map(|seat| seat.client_url.clone()).unwrap_or_default(),
        socket: settings.socket(),
        state_dir: settings.state_dir.clone(),
        incremental: settings.incremental,
        seal: Seal::for_recipients(&settings.sealing.recipients),
        hold: settings.hold.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settle;
    use age::{secrecy::ExposeSecret as _, x25519::Identity};

    fn settings(recipient: &str, identity_file: &str) -> Settings {
        let pairs = [
            ("ETCD_NAME", "etcd0"),
            ("ETCD_INITIAL_CLUSTER", "etcd0=http://127.0.0.1:2380"),
            ("ETCD_DATA_DIR", "/var/lib/etcd"),
            ("ETCD_ADVERTISE_CLIENT_URLS", "http://127.0.0.1:2379"),
            ("ETCDADM_CLUSTER_SNAPSHOTS_S3_URI", "s3://bucket/a"),
            ("REQUORUM_ETCD_DIR", "/usr/bin"),
            ("REQUORUM_INSTANCE", "i-1"),
            ("REQUORUM_SNAPSHOT_RECIPIENTS", recipient),
            ("REQUORUM_SNAPSHOT_IDENTITY_FILE", identity_file),
        ];
        let env = pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        settle(&env.collect()).expect("they are sound")
    }

    #[test]
    fn a_node_that_can_not_open_what_it_seals_is_refused() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let file = dir.path().join("identity");
        let path = file.to_str().expect("a plain path");
        let (mine, other) = (Identity::generate(), Identity::generate());
        let refused = |recipient: &Identity, named: &str| {
            let problem = site_with_keys(&settings(&recipient.to_public().to_string(), path));
            let problem = problem.expect_err("nothing opens it");
            assert_eq!(problem.code, Code::Usage);
            assert!(problem.sentence.contains("REQUORUM_SNAPSHOT_IDENTITY_FILE"), "{problem}");
            assert!(problem.to_string().contains(named) && problem.next.is_some(), "{problem}");
        };
        refused(&mine, "No such file");
        std::fs::write(&file, "# nothing\n").expect("a file");
        refused(&mine, "holds no identity");
        std::fs::write(&file, mine.to_string().expose_secret()).expect("a file");
        refused(&other, "none of its identities opens");
        assert!(site_with_keys(&settings(&mine.to_public().to_string(), path)).is_ok());
    }
}
