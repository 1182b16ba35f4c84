//! **requorum** — parse, settle, run, exit code. Also installed as `etcdadm`.

use agent::{
    adapters::{
        aws::{self, Clients, NoClients},
        boot_clock::BootClock,
        disk::Disk,
        dynamodb::DynamoTable,
        etcd_client::EtcdClient,
        etcd_command::ExecConfig,
        etcdutl::Etcdutl,
        exec::Exec,
        notify::Notify,
        permit::PermitFiles,
        s3::S3Store,
        s3_unfinished::Unfinished,
        stops::Stops,
        systemd::Systemd,
    },
    cli::{
        self, Cli, Context, Doors, Log, Verb,
        etcdadm::{self, Spoken},
    },
    config::{self, Gathered, Owner, Settings, Unit},
    driver::{Ports, conditions},
    exit::{Code, Problem},
    ports::{machine::Machine, object_store::StoreError, permits::Permits, service::Service},
    render,
};
use async_trait::async_trait;
use protocol::limits::Timers;
use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

#[tokio::main]
async fn main() -> ExitCode {
    let Spoken { cli, now_called } = match etcdadm::parse(std::env::args_os()) {
        Ok(spoken) => spoken,
        Err(error) => error.exit(), // --help and --version end with 0, a wrong command line with 2
    };
    if let Some(name) = now_called {
        render::talk(&format!("this verb is now called `{name}`"), cli.output);
    }
    let (output, gate) = (cli.output, matches!(cli.verb, Verb::Reconfigure { gate: true, .. }));
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            let problem = if gate { cli::loud(problem) } else { problem };
            render::problem(&problem, output);
            ExitCode::from(problem.code as u8)
        }
    }
}

async fn run(cli: Cli) -> Result<(), Problem> {
    speak_to_stderr(cli.log, matches!(cli.verb, Verb::Agent { .. }));
    let gate = matches!(cli.verb, Verb::Reconfigure { .. });
    let said = config::gathered(&cli.flags, std::env::vars_os(), !gate)?;
    let env = said.iter().map(|(name, said)| (name.clone(), said.value.clone())).collect();
    let settings = if gate { config::settle_gate(&env) } else { config::settle(&env) };
    // a whole look at etcd must fit into the gap over which evidence accrues
    let gap = settings.as_ref().map_or(Timers::PRODUCTION.gap, |settings| settings.timers.gap);
    let patience = Duration::from_millis(gap.0 / 5);
    let certificates = settings.as_ref().ok().and_then(|settings| settings.certificates.clone());
    let etcd = Arc::new(EtcdClient::new(patience, patience).trusting(certificates));
    let doors = RealDoors { etcd, unfinished: Unfinished::default() };
    // held to the very end: no second agent acts here while this one puts things away
    let _lock = match (&cli.verb, &settings) {
        (Verb::Agent { .. }, Ok(settings)) => Some(cli::agent::lock_state_dir(settings)?),
        (_, _) => None,
    };
    let done = act(cli, said, config::state_dir(&env), settings, &doors).await;
    doors.unfinished.none_left().await;
    done
}

async fn act(
    cli: Cli,
    said: Gathered,
    state_dir: PathBuf,
    settings: Result<Settings, Problem>,
    doors: &RealDoors,
) -> Result<(), Problem> {
    if let Verb::Agent { bootstrap, create_table } = cli.verb {
        let settings = settings?;
        let heart = Arc::new(Notify::default());
        let (ports, proven) = proven_ports(&settings, doors, create_table).await?;
        return cli::agent::run(&settings, ports, bootstrap, proven, heart).await;
    }
    let etcd = doors.etcd.clone();
    let context = Context { settings, said, state_dir, output: cli.output, etcd, doors };
    cli::run(cli.verb, &context).await
}

/// An agent logs what it does; a verb's answer is its output, and log lines beside it are noise.
fn speak_to_stderr(log: Log, agent: bool) {
    let level = if agent { "info" } else { "error" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("REQUORUM_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log {
        Log::Text => lines.with_ansi(false).init(),
        Log::Json => lines.json().init(),
    }
}

/// What stands behind the ports in the field.
struct RealDoors {
    etcd: Arc<EtcdClient>,
    /// What was begun in the bucket and is not over.
    unfinished: Unfinished,
}

#[async_trait]
impl Doors for RealDoors {
    async fn ports(&self, settings: &Settings) -> Result<Ports, Problem> {
        let ca_bundle = std::env::var_os("AWS_CA_BUNDLE").map(PathBuf::from);
        let Clients { s3, dynamodb } =
            aws::clients(&aws::Settings { ca_bundle, ..aws::Settings::default() }).await.map_err(
                |error| {
                    let next = match error {
                        NoClients::NoRegion => "export AWS_REGION=...",
                        NoClients::BadBundle(_) => "export AWS_CA_BUNDLE=FILE, or unset it",
                    };
                    Problem::new(Code::Usage, error.to_string()).next(next)
                },
            )?;
        let store = S3Store::new(s3, &settings.bucket).encrypting(settings.encryption.clone());
        Ok(Ports {
            clock: Arc::new(BootClock),
            store: Arc::new(store.counting(self.unfinished.clone())),
            registry: Arc::new(DynamoTable::new(dynamodb, &settings.table)),
            etcd: self.etcd.clone(),
            service: service(settings),
            machine: self.machine(settings),
            snapshots: Arc::new(Etcdutl::new(settings.etcd_dir.clone(), settings.data_dir.clone())),
        })
    }

    fn machine(&self, settings: &Settings) -> Arc<dyn Machine> {
        Arc::new(Disk::new(&settings.name, &settings.data_dir, &settings.state_dir))
    }

    fn permits(&self, settings: &Settings) -> Option<Arc<dyn Permits>> {
        match &settings.owner {
            Owner::Exec => None,
            Owner::Systemd(unit) => Some(Arc::new(permits(unit, settings))),
        }
    }
}

/// The ports of an agent, and whether the stores were seen to honour conditions.
async fn proven_ports(
    settings: &Settings,
    doors: &RealDoors,
    create_table: bool,
) -> Result<(Ports, bool), Problem> {
    let ports = doors.ports(settings).await?;
    ports.snapshots.tools().await.map_err(|error| {
        Problem::new(Code::Usage, "etcd's tools are not what a restore needs")
            .because(error)
            .next("install etcd, etcdctl and etcdutl 3.5.10 or newer, or set REQUORUM_ETCD_DIR")
    })?;
    if let Owner::Systemd(unit) = &settings.owner {
        systemd(unit, settings).check().await.map_err(|error| {
            Problem::new(Code::Usage, "etcd's unit can't be owned by an agent")
                .because(error)
                .next(format!("systemctl cat {}", unit.name))
        })?;
    }
    if let Err(error) = ports.snapshots.clear_scratch().await {
        tracing::warn!(%error, "what an earlier agent left in the data dir can't be removed");
    }
    if create_table {
        let created = ports.registry.create_table().await;
        created.map_err(|error| cli::agent::store_problem("the lock table", &error))?;
    }
    match prove_conditions(settings, &ports).await {
        Ok(proven) => Ok((ports, proven)),
        Err(problem) if has_run(&ports).await => {
            // its etcd must be kept running whatever the stores say (protocol.md 1.4, boot rule 2);
            // the core decides nothing before it has proven them itself
            tracing::warn!(cause = problem.cause, "automation is off: {}", problem.sentence);
            Ok((ports, false))
        }
        Err(problem) => Err(problem),
    }
}

/// Whether this machine ever ran a member.
async fn has_run(ports: &Ports) -> bool {
    ports.machine.memory().await.is_ok_and(|memory| memory.ran.is_some())
}

/// A store that ignores conditions would elect two leaders: automation is refused. One that gives
/// no answer now is tried again and again by the agent itself, which decides nothing meanwhile.
async fn prove_conditions(settings: &Settings, ports: &Ports) -> Result<bool, Problem> {
    let rows = conditions::rows_of(&settings.instance);
    match conditions::probe(&*ports.store, &settings.prefix, &*ports.registry, &rows).await {
        Ok(()) => Ok(true),
        Err(conditions::ProbeError::Unknown(StoreError::Unavailable(error))) => {
            tracing::warn!(error, "the stores do not answer yet; automation is off until they do");
            Ok(false)
        }
        Err(conditions::ProbeError::Unknown(error)) => {
            Err(cli::agent::store_problem("a store", &error))
        }
        Err(broken @ conditions::ProbeError::Broken { .. }) => {
            let problem = Problem::new(
                Code::StoreUnconditional,
                "automation is refused: a store ignores conditions",
            );
            Err(problem.because(broken).next("use a store that honours If-Match and If-None-Match"))
        }
    }
}

fn service(settings: &Settings) -> Arc<dyn Service> {
    match &settings.owner {
        Owner::Exec => Arc::new(Exec::new(exec(settings))),
        Owner::Systemd(unit) => Arc::new(systemd(unit, settings)),
    }
}

fn systemd(unit: &Unit, settings: &Settings) -> Systemd {
    let stops = Stops::new(&unit.runtime_dir);
    Systemd::new(&unit.name, exec(settings), permits(unit, settings), stops)
}

fn permits(unit: &Unit, settings: &Settings) -> PermitFiles {
    PermitFiles::new(&unit.name, &unit.runtime_dir, &unit.member_file, exec(settings))
}

fn exec(settings: &Settings) -> ExecConfig {
    let seat = settings.seats.iter().find(|seat| seat.name == settings.name);
    ExecConfig {
        etcd_dir: settings.etcd_dir.clone(),
        data_dir: settings.data_dir.clone(),
        state_dir: settings.state_dir.clone(),
        socket: settings.socket(),
        name: settings.name.clone(),
        peer_url: seat.map(|seat| seat.peer_url.clone()).unwrap_or_default(),
        listen_peer_urls: urls(&settings.listen_peer_urls),
        client_urls: urls(&settings.listen_client_urls),
        secure: settings.certificates.is_some(),
        environment: settings.etcd_environment.clone(),
        advertise_client_urls: seat.map(|seat| seat.client_url.clone()).into_iter().collect(),
        extra_args: settings.etcd_args.clone(),
    }
}

fn urls(text: &str) -> Vec<String> {
    text.split(',').map(|url| url.trim().to_owned()).collect()
}
