//! **requorum** — parse, settle, run, exit code. Also installed as `etcdadm`.

use agent::{
    adapters::{
        aws::{self, Clients},
        conditions,
        disk::Disk,
        dynamodb::DynamoTable,
        etcd_client::EtcdClient,
        etcdutl::Etcdutl,
        exec::{Exec, ExecConfig},
        s3::S3Store,
    },
    cli::{
        self, Cli, Context, Doors, Log, Verb,
        etcdadm::{self, Spoken},
    },
    config::{self, Settings},
    driver::Ports,
    exit::{Code, Problem},
    ports::{
        machine::Machine,
        object_store::{ObjectStore, StoreError},
        registry::Registry,
    },
    render,
};
use async_trait::async_trait;
use protocol::limits::Timers;
use std::{process::ExitCode, sync::Arc, time::Duration};

#[tokio::main]
async fn main() -> ExitCode {
    let Spoken { cli, now_called } = match etcdadm::parse(std::env::args_os()) {
        Ok(spoken) => spoken,
        Err(error) => error.exit(), // --help and --version end with 0, a wrong command line with 2
    };
    if let Some(name) = now_called {
        render::talk(&format!("this verb is now called `{name}`"));
    }
    let output = cli.output;
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            render::problem(&problem, output);
            ExitCode::from(problem.code as u8)
        }
    }
}

async fn run(cli: Cli) -> Result<(), Problem> {
    speak_to_stderr(cli.log);
    let env = config::environment(&cli.flags, std::env::vars_os())?;
    let settings = config::settle(&env);
    // a whole look at etcd must fit into the gap over which evidence accrues
    let gap = settings.as_ref().map_or(Timers::PRODUCTION.gap, |settings| settings.timers.gap);
    let patience = Duration::from_millis(gap.0 / 5);
    let etcd = Arc::new(EtcdClient::new(patience, patience));
    let doors = RealDoors { etcd: etcd.clone() };
    if let Verb::Agent { bootstrap, create_table } = cli.verb {
        let settings = settings?;
        let _lock = cli::agent::lock_state_dir(&settings)?;
        let ports = proven_ports(&settings, &doors, create_table).await?;
        return cli::agent::run(&settings, ports, bootstrap).await;
    }
    let state_dir = config::state_dir(&env);
    let context = Context { settings, state_dir, output: cli.output, etcd, doors: &doors };
    cli::run(cli.verb, &context).await
}

fn speak_to_stderr(log: Log) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("REQUORUM_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log {
        Log::Text => lines.with_ansi(false).init(),
        Log::Json => lines.json().init(),
    }
}

/// What stands behind the ports in the field.
struct RealDoors {
    etcd: Arc<EtcdClient>,
}

#[async_trait]
impl Doors for RealDoors {
    async fn ports(&self, settings: &Settings) -> Result<Ports, Problem> {
        let Clients { s3, dynamodb } =
            aws::clients(&aws::Settings::default()).await.map_err(|error| {
                Problem::new(Code::Usage, error.to_string()).next("export AWS_REGION=...")
            })?;
        Ok(Ports {
            store: Arc::new(S3Store::new(s3, &settings.bucket)),
            registry: Arc::new(DynamoTable::new(dynamodb, &settings.table)),
            etcd: self.etcd.clone(),
            service: Arc::new(Exec::new(exec(settings))),
            machine: self.machine(settings),
            snapshots: Arc::new(Etcdutl::new(settings.etcd_dir.clone(), settings.data_dir.clone())),
        })
    }

    fn machine(&self, settings: &Settings) -> Arc<dyn Machine> {
        Arc::new(Disk::new(&settings.data_dir, &settings.state_dir))
    }
}

/// The ports, after the stores were seen to honour conditions.
async fn proven_ports(
    settings: &Settings,
    doors: &RealDoors,
    create_table: bool,
) -> Result<Ports, Problem> {
    let ports = doors.ports(settings).await?;
    if create_table {
        let created = ports.registry.create_table().await;
        created.map_err(|error| cli::agent::store_problem("the lock table", &error))?;
    }
    prove_conditions(settings, &*ports.store, &*ports.registry).await?;
    Ok(ports)
}

/// A store that ignores conditions would elect two leaders: automation is refused. One that gives
/// no answer now is tried again and again by the agent itself, which decides nothing meanwhile.
async fn prove_conditions(
    settings: &Settings,
    store: &dyn ObjectStore,
    table: &dyn Registry,
) -> Result<(), Problem> {
    let probe = format!("probe/{}", settings.instance);
    match conditions::probe(store, &settings.prefix, table, &probe).await {
        Ok(()) => Ok(()),
        Err(conditions::ProbeError::Unknown(StoreError::Unavailable(error))) => {
            tracing::warn!(
                error,
                "the stores do not answer yet; whether they honour conditions is not proven"
            );
            Ok(())
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

fn exec(settings: &Settings) -> ExecConfig {
    let seat = settings.seats.iter().find(|seat| seat.name == settings.name);
    ExecConfig {
        etcd_dir: settings.etcd_dir.clone(),
        data_dir: settings.data_dir.clone(),
        state_dir: settings.state_dir.clone(),
        name: settings.name.clone(),
        peer_url: seat.map(|seat| seat.peer_url.clone()).unwrap_or_default(),
        listen_peer_urls: urls(&settings.listen_peer_urls),
        client_urls: urls(&settings.listen_client_urls),
        advertise_client_urls: seat.map(|seat| seat.client_url.clone()).into_iter().collect(),
        extra_args: settings.etcd_args.clone(),
    }
}

fn urls(text: &str) -> Vec<String> {
    text.split(',').map(|url| url.trim().to_owned()).collect()
}
