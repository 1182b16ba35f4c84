//! **drill** — the command: plays failures on real processes, or leaves a cluster to play with.
//!
//! Comes in: a name and options. Goes out: the report on stdout, progress on stderr, exit code 0
//! (all checks passed), 1 (a check failed, or the drill could not start), 2 (usage), 130
//! (interrupted). Ctrl-C drops whatever runs, and dropping it ends every process.

#![expect(clippy::print_stdout, reason = "a report is for stdout; only binaries print")]

use clap::{Args, Parser, Subcommand, ValueEnum};
use simulations::{
    drill::{
        cluster::{Cluster, Options},
        hosts::{self, Story},
        process::interrupted,
        report::{self, Report},
        rig,
        scenarios::{self, Scenario},
        stores::Stores,
        timeline::{Said, Tell},
        trouble::Trouble,
    },
    pace::Pace,
};
use std::{
    fs,
    io::{IsTerminal as _, Write as _},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

/// Failure drills on real etcd, real agents and embedded stores.
#[derive(Debug, Parser)]
#[command(name = "drill", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// The drill to play; a bare name plays all its variants (name:variant).
    name: Option<String>,
    /// List all drills.
    #[arg(long)]
    list: bool,
    /// Play all drills.
    #[arg(long, conflicts_with = "name")]
    all: bool,
    /// On hosts with a real systemd of their own; without a name, all their stories. Needs root.
    #[arg(long)]
    hosts: bool,
    /// Write report.json and report.txt into this directory.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// How to print the report.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring a cluster up, say how to play with it, and keep it until Ctrl-C.
    Up(Settings),
    /// Serve only the embedded S3 and DynamoDB, for agents run by hand.
    Stores {
        /// Keep the table here; default: a temporary directory. Objects live only as long as this runs.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Port of S3 on 127.0.0.1; 0: any free one.
        #[arg(long, default_value_t = 0)]
        s3_port: u16,
        /// Port of DynamoDB on 127.0.0.1; 0: any free one.
        #[arg(long, default_value_t = 0)]
        dynamodb_port: u16,
    },
}

#[derive(Debug, Args)]
struct Settings {
    /// Machines.
    #[arg(long, default_value = "3", value_parser = ["3", "5"])]
    members: String,
    /// Timers: short windows, or exactly what ships.
    #[arg(long, value_enum, default_value = "quick")]
    pace: PaceName,
    /// Directory of etcd and etcdutl; default: REQUORUM_ETCD_DIR, then target/tools/etcd/bin.
    #[arg(long, value_name = "DIR")]
    etcd: Option<PathBuf>,
    /// Leave logs and data behind.
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PaceName {
    Quick,
    Production,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let entered = if cli.hosts && !cli.list { rig::enter() } else { Ok(()) };
    let runtime = entered.and_then(|()| {
        tokio::runtime::Runtime::new().map_err(|error| Trouble::of("no runtime", error))
    });
    match runtime {
        Ok(runtime) => runtime.block_on(until_interrupted(cli)),
        Err(trouble) => {
            eprintln!("drill: {trouble}");
            ExitCode::FAILURE
        }
    }
}

async fn until_interrupted(cli: Cli) -> ExitCode {
    let done = tokio::select! {
        biased;
        () = interrupted() => {
            eprintln!("\ninterrupted; all processes of the drill have ended");
            return ExitCode::from(130);
        }
        done = act(cli) => done,
    };
    done.unwrap_or_else(|trouble| {
        eprintln!("drill: {trouble}");
        ExitCode::FAILURE
    })
}

async fn act(cli: Cli) -> Result<ExitCode, Trouble> {
    if cli.list && cli.hosts {
        for story in hosts::ALL {
            println!("{:<32} {}", story.name(), story.shows());
        }
        return Ok(ExitCode::SUCCESS);
    }
    if cli.list {
        for scenario in scenarios::ALL {
            println!("{:<32} {}", scenario.name(), scenario.shows());
        }
        return Ok(ExitCode::SUCCESS);
    }
    match cli.command {
        Some(Command::Up(settings)) => up(&settings.options()?).await,
        Some(Command::Stores { dir, s3_port, dynamodb_port }) => {
            stores(dir, s3_port, dynamodb_port).await
        }
        None => {
            let chosen = chosen(&cli);
            let chosen = match chosen {
                Ok(chosen) => chosen,
                Err(usage) => {
                    eprintln!("drill: {usage}");
                    return Ok(ExitCode::from(2));
                }
            };
            play(&chosen, &cli.settings.options()?, cli.output, cli.report.as_deref()).await
        }
    }
}

/// What is to be played.
#[derive(Clone, Copy)]
enum Play {
    Scenario(Scenario),
    Story(Story),
}

impl Play {
    fn name(self) -> String {
        match self {
            Self::Scenario(scenario) => scenario.name(),
            Self::Story(story) => format!("hosts:{}", story.name()),
        }
    }

    const fn shows(self) -> &'static str {
        match self {
            Self::Scenario(scenario) => scenario.shows(),
            Self::Story(story) => story.shows(),
        }
    }

    async fn run(self, options: &Options) -> Report {
        match self {
            Self::Scenario(scenario) => scenarios::run(scenario, options, teller()).await,
            Self::Story(story) => hosts::run(story, options, teller()).await,
        }
    }
}

fn chosen(cli: &Cli) -> Result<Vec<Play>, Trouble> {
    let stories = |found: Vec<Story>| found.into_iter().map(Play::Story).collect();
    let scenarios = |found: Vec<Scenario>| found.into_iter().map(Play::Scenario).collect();
    match (&cli.name, cli.all, cli.hosts) {
        (Some(name), _, true) => hosts::named(name).map(stories),
        (None, _, true) => Ok(stories(hosts::ALL.to_vec())),
        (Some(name), _, false) => scenarios::named(name).map(scenarios),
        (None, true, false) => Ok(scenarios(scenarios::ALL.to_vec())),
        (None, false, false) => {
            Err(Trouble("name a drill, or say --all, --hosts or --list".into()))
        }
    }
}

async fn play(
    chosen: &[Play],
    options: &Options,
    output: Output,
    into: Option<&Path>,
) -> Result<ExitCode, Trouble> {
    eprintln!("{}", options.pace.describe());
    let mut reports: Vec<Report> = Vec::new();
    for play in chosen {
        eprintln!("\n{}: {}", play.name(), play.shows());
        let report = play.run(options).await;
        if output == Output::Text {
            println!("\n{}", report.text());
        }
        reports.push(report);
    }
    let document = format!("{:#}", report::document(&reports));
    if let Some(dir) = into {
        let texts: Vec<String> = reports.iter().map(Report::text).collect();
        let text = format!("{}\n{}\n", texts.join("\n"), report::closing(&reports));
        write(dir, "report.json", &document)?;
        write(dir, "report.txt", &text)?;
    }
    match output {
        Output::Text => println!("{}", report::closing(&reports)),
        Output::Json => println!("{document}"),
    }
    let (_, failed) = report::totals(&reports);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn up(options: &Options) -> Result<ExitCode, Trouble> {
    eprintln!("{}", options.pace.describe());
    let cluster = Cluster::start(options).await?;
    eprintln!("{} machines start in {}", options.members, cluster.dir().display());
    cluster.ready().await?;
    println!("The cluster is ready.\n");
    for host in &cluster.hosts {
        let file = cluster.dir().join(format!("{}.env", host.name));
        let lines: Vec<String> =
            host.env().iter().map(|(key, value)| format!("{key}='{value}'\n")).collect();
        fs::write(&file, lines.concat()).map_err(|e| Trouble::of(file.display(), e))?;
        println!("{}  {}", host.name, host.client_url);
        println!("  speak as it    set -a; . {}; set +a", file.display());
        println!("  lose its etcd  pkill -9 -f {}", host.data_dir().display());
        println!("  lose its disk  find {} -mindepth 1 -delete", host.data_dir().display());
    }
    println!("\nthen      {} status", options.binary.display());
    let urls = cluster.urls().join(",");
    let etcdctl = options.etcd_dir.join("etcdctl");
    println!("or        {} --endpoints {urls} endpoint status -w table", etcdctl.display());
    println!("\nCtrl-C ends it all.");
    std::future::pending().await
}

async fn stores(dir: Option<PathBuf>, s3: u16, dynamodb: u16) -> Result<ExitCode, Trouble> {
    let scratch = tempfile::tempdir().map_err(|e| Trouble::of("no temporary directory", e))?;
    let durable = dir.is_some();
    let dir = dir.unwrap_or_else(|| scratch.path().to_owned());
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stores = Stores::start(local(s3), local(dynamodb), &dir, durable).await?;
    for (key, value) in stores.env() {
        println!("export {key}='{value}'");
    }
    eprintln!("bucket and table are called requorum; Ctrl-C ends both servers");
    std::future::pending().await
}

impl Settings {
    fn options(&self) -> Result<Options, Trouble> {
        let own = std::env::current_exe().map_err(|e| Trouble::of("where am I?", e))?;
        let built = own.parent().unwrap_or_else(|| Path::new("."));
        let fetched = built.parent().unwrap_or(built).join("tools/etcd/bin");
        let named =
            self.etcd.clone().or_else(|| Some(std::env::var_os("REQUORUM_ETCD_DIR")?.into()));
        let etcd_dir = std::path::absolute(named.unwrap_or(fetched));
        Ok(Options {
            members: if self.members == "5" { 5 } else { 3 },
            pace: match self.pace {
                PaceName::Quick => Pace::Quick,
                PaceName::Production => Pace::Production,
            },
            etcd_dir: etcd_dir.map_err(|e| Trouble::of("--etcd", e))?,
            binary: built.join("requorum"),
            keep: self.keep,
            hold: None,
            min_members: None,
            settings: &[],
            sealed: false,
        })
    }
}

/// On a terminal the last line lives; elsewhere only what changed is told.
fn teller() -> Tell {
    let terminal = std::io::stderr().is_terminal();
    Arc::new(move |said| {
        let mut out = std::io::stderr().lock();
        // A closed stderr is no reason to end a drill.
        let _ = match (said, terminal) {
            (Said::Line(line), true) => writeln!(out, "\r\x1b[2K{line}"),
            (Said::Line(line), false) => writeln!(out, "{line}"),
            (Said::Live(line), true) => {
                let short: String = line.chars().take(100).collect();
                write!(out, "\r\x1b[2K{short}").and_then(|()| out.flush())
            }
            (Said::Live(_), false) => Ok(()),
        };
    })
}

fn write(dir: &Path, name: &str, text: &str) -> Result<(), Trouble> {
    let path = dir.join(name);
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(&path, text))
        .map_err(|e| Trouble::of(path.display(), e))
}
