//! **cli** — the verbs. Each is a sentence over the settings, the socket or a port; what it
//! prints is `render`'s. The old `etcdadm` spellings are the same verbs.
//!
//! Reading order: how old names become new ones ([`etcdadm`]), verbs that ask etcd itself
//! (`direct`), who answers the others (`voice`), what is said to it (`words`), what needs no
//! cluster's answer (`alone`), may etcd start (`gate`), what a package ships
//! ([`generating`]), what is in the bucket ([`snapshots`], `adopting`, `pruning`, `rehearsing`), and the agent itself ([`agent`]).

pub mod etcdadm;
mod direct;
mod voice;
mod words;
mod alone;
mod gate;
mod interrupted;
pub mod generating;
pub mod snapshots;
mod adopting;
mod pruning;
mod rehearsing;
pub mod agent;

use crate::{
    config::{Gathered, Settings, flags::Flags, shown},
    driver::Ports,
    exit::{Code, Problem},
    ports::{etcd::Etcd, machine::Machine, permits::Permits},
    render::{self, Output},
};
use async_trait::async_trait;
use clap::{Parser, Subcommand, builder::NonEmptyStringValueParser};
use std::{path::PathBuf, sync::Arc};

/// Requorum brings etcd's quorum back, automatically and provably safely.
#[derive(Debug, Parser)]
#[command(
    name = "requorum",
    version,
    after_help = "Settings come from flags, the environment and /var/run/coreos/etcdadm-environment; --help lists them.\nExit codes: 0 done, 1 failed, 2 usage, 10 no snapshot, 11 held by another, 12 refused, 13 paused,\n14 not all was deleted, 15 store unreachable, 16 store ignores conditions, 17 foreign data, 18 no agent, 20 degraded,\n21 no quorum, 255 fenced. Any other code is a failure."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// How to show answers (stdout) and errors (stderr)
    #[arg(short, long, value_enum, default_value = "table", global = true)]
    pub output: Output,
    /// How to write log lines (stderr); REQUORUM_LOG filters them, such as `debug`
    #[arg(long, value_enum, default_value = "text", global = true)]
    pub log: Log,
    /// The settings' flags.
    #[command(flatten)]
    pub flags: Flags,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Log {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the agent of this node in the foreground
    Agent {
        /// Found a new, empty cluster if none exists under this prefix
        #[arg(long)]
        bootstrap: bool,
        /// Create the lock table first (on-demand billing) if it does not exist
        #[arg(long)]
        create_table: bool,
    },
    /// Show the cluster in one glance
    Status {
        /// Exit 20 if degraded, 21 if no quorum is proven, or with what keeps the agent from acting
        #[arg(long)]
        exit_code: bool,
        /// Show it again every so many seconds, until interrupted
        #[arg(short, long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
        watch: Option<u64>,
    },
    /// Show why the agent does what it does, and what it waits for
    Explain,
    /// Show the status as Prometheus text, for node_exporter's textfile collector
    Metrics,
    /// Save a verified snapshot now, and refresh exported/etcd-snapshots/snapshot.db
    Save {
        /// Do nothing where an agent runs, which saves by its own clock
        #[arg(long)]
        timer: bool,
    },
    /// List, inspect, verify, adopt, prune and rehearse snapshots
    #[command(subcommand)]
    Snapshot(snapshots::Snapshot),
    /// Ask the agents to restore the cluster
    Restore {
        /// Restore this manifest instead of the newest snapshot
        #[arg(long, value_name = "MANIFEST_KEY")]
        from: Option<String>,
        /// Restore although a quorum lives; its newer writes are lost
        #[arg(long)]
        rollback: bool,
        /// Why, for the record
        #[arg(long, value_parser = reason())]
        because: String,
    },
    /// Replace one member while a quorum lives
    Replace {
        /// The member; default: this node's
        name: Option<String>,
        /// Why, for the record
        #[arg(long, value_parser = reason(), default_value = "asked for by an operator")]
        because: String,
    },
    /// Say that the machine which ran a member is gone for good
    Attest {
        /// The member
        name: String,
        /// How you know, for the record
        #[arg(long, value_parser = reason())]
        because: String,
    },
    /// Consent to the attempt that waits for approval
    Approve {
        /// Its number, as `status` shows it
        attempt: u64,
    },
    /// Call off the open attempt, or the replacement of a member that does not come
    Abort,
    /// Begin nothing until resumed
    Pause {
        /// Why, for the record
        #[arg(long, value_parser = reason())]
        because: String,
    },
    /// End a pause
    Resume,
    /// Look once: exit 0 if all members are healthy, 20 if some are not, 21 without a quorum
    Check,
    /// Exit 0 if a linearizable read succeeds through any member
    #[command(alias = "cluster_is_healthy")]
    ClusterIsHealthy,
    /// Exit 0 if this node's member leads etcd
    #[command(alias = "member_is_leader")]
    MemberIsLeader,
    /// Say whether this node's etcd may start: exit 0 start, 1 not yet, 255 fenced
    Reconfigure {
        /// For etcd's unit: also prepare what etcd reads in this start
        #[arg(long)]
        gate: bool,
        /// For etcd's unit, once it has stopped: note whether an operator asked for it
        #[arg(long, conflicts_with = "gate")]
        stopped: bool,
    },
    /// Create the lock table (on-demand billing); done if it exists
    CreateTable,
    /// Show this node's settings
    #[command(subcommand)]
    Config(Config),
    /// Write the manual, or completions for a shell
    #[command(subcommand)]
    Generate(generating::Generate),
    /// Nothing: the agent sees by itself that etcd has started
    #[command(alias = "member_status_set_started", hide = true)]
    MemberStatusSetStarted,
    /// Compact etcd's history up to now
    Compact,
    /// Defragment this node's member
    Defrag,
}

/// What is shown of the settings.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Check them, and show each as it is in force
    Show {
        /// Also who said it: a flag, the environment, a file; `-`: the default
        #[arg(long)]
        origin: bool,
    },
}

/// A reason is read by whoever asks later why: an empty one says nothing.
fn reason() -> NonEmptyStringValueParser {
    NonEmptyStringValueParser::new()
}

/// A gate that can't answer is a failure of etcd's unit, which systemd shows and tries again; only "not yet" leaves it
/// stopped in silence, because then the agent starts it.
pub fn loud(problem: Problem) -> Problem {
    if problem.code == Code::Failed { problem } else { Problem { code: Code::Fenced, ..problem } }
}

/// The doors that only few verbs need. `main` opens them when they are asked for.
#[async_trait]
pub trait Doors: Send + Sync {
    /// All ports. Whether the stores honour conditions has not been proven.
    async fn ports(&self, settings: &Settings) -> Result<Ports, Problem>;
    /// Disk and memory of this machine alone; asks no store.
    fn machine(&self, settings: &Settings) -> Arc<dyn Machine>;
    /// What the agent leaves for the gate of etcd's unit; `None`: it runs etcd itself.
    fn permits(&self, settings: &Settings) -> Option<Arc<dyn Permits>>;
}

/// Where a verb finds the agent and etcd.
pub struct Context<'a> {
    /// The settings of this node, or what is wrong with them: a question to a running agent needs
    /// none but the state directory.
    pub settings: Result<Settings, Problem>,
    /// What was said of them, and by whom.
    pub said: Gathered,
    /// The agent's state directory.
    pub state_dir: PathBuf,
    /// How answers are shown.
    pub output: Output,
    /// etcd's API.
    pub etcd: Arc<dyn Etcd>,
    /// Everything else.
    pub doors: &'a dyn Doors,
}

impl Context<'_> {
    /// The agent's socket.
    pub fn socket(&self) -> PathBuf {
        self.state_dir.join("agent.sock")
    }

    fn settings(&self) -> Result<&Settings, Problem> {
        self.settings.as_ref().map_err(Clone::clone)
    }
}

/// Runs any verb but `agent`, which main runs with all its ports.
///
/// # Errors
/// What the verb could not do, with its exit code.
pub async fn run(verb: Verb, context: &Context<'_>) -> Result<(), Problem> {
    match verb {
        Verb::Agent { .. } => Err(Problem::new(Code::Usage, "the agent is run by main")),
        Verb::Status { exit_code, watch } => words::status(context, exit_code, watch).await,
        Verb::Explain => words::explain(context).await,
        Verb::Metrics => words::metrics(context).await,
        Verb::Check => direct::check(context).await,
        Verb::ClusterIsHealthy => direct::cluster_is_healthy(context).await,
        Verb::MemberIsLeader => direct::member_is_leader(context).await,
        Verb::Compact => direct::compact(context).await,
        Verb::Defrag => direct::defrag(context).await,
        Verb::Reconfigure { stopped: true, .. } => gate::stopped(context).await,
        Verb::Reconfigure { gate: true, .. } => gate::pass(context).await,
        Verb::Reconfigure { .. } => gate::ask(context).await,
        Verb::Config(Config::Show { origin }) => {
            let rows = shown(context.settings()?, &context.said);
            render::settings(&rows, origin, context.output);
            Ok(())
        }
        Verb::Generate(what) => generating::run(&what),
        Verb::CreateTable => alone::create_table(context).await,
        Verb::MemberStatusSetStarted => Ok(()),
        Verb::Save { timer } => alone::save(context, timer).await,
        Verb::Snapshot(what) => snapshots::run(context, what).await,
        Verb::Restore { .. }
        | Verb::Replace { .. }
        | Verb::Attest { .. }
        | Verb::Approve { .. }
        | Verb::Abort
        | Verb::Pause { .. }
        | Verb::Resume => words::tell(context, verb).await,
    }
}
