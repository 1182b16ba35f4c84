//! **stories** — what happens on hosts with a real systemd, and what must have come of it.
//!
//! Comes from a name on the command line. Goes to a report. The first four are what kube-aws's documentation
//! promised; the others are what befalls real hosts.

use super::{Hosts, base, scene::Scene};
use crate::drill::{
    cluster::Options, report::Report, timeline::Tell, trouble::Trouble, verdict::Checks,
    writer::Writer,
};

/// A story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// `etcdadm save`, with and without an agent.
    Saved,
    /// `automated: true`: snapshots by a clock, and a lost member replaced.
    Automated,
    /// One node stopped, replaced, started.
    Replaced,
    /// All nodes stopped, then started one after the other.
    Stopped,
    /// The same with a restore asked for in between.
    StoppedAndRestored,
    /// Two lose power and their disks.
    QuorumLost,
    /// All lose power.
    PowerCut,
    /// The agents end, by whatever; units are reloaded.
    AgentsEnd,
    /// etcd is stopped just when systemd is about to start it again; its unit is masked.
    Restarting,
    /// An operator's file takes the gate away.
    NoGate,
    /// etcd is restarted where no agent runs and no store answers.
    GateAlone,
}

/// Every story.
pub const ALL: [Story; 11] = [
    Story::Saved,
    Story::Automated,
    Story::Replaced,
    Story::Stopped,
    Story::StoppedAndRestored,
    Story::QuorumLost,
    Story::PowerCut,
    Story::AgentsEnd,
    Story::Restarting,
    Story::NoGate,
    Story::GateAlone,
];

impl Story {
    /// As the command line takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Saved => "saved",
            Self::Automated => "automated",
            Self::Replaced => "replaced",
            Self::Stopped => "stopped",
            Self::StoppedAndRestored => "stopped-and-restored",
            Self::QuorumLost => "quorum-lost",
            Self::PowerCut => "power-cut",
            Self::AgentsEnd => "agents-end",
            Self::Restarting => "restarting",
            Self::NoGate => "no-gate",
            Self::GateAlone => "gate-alone",
        }
    }

    /// What it shows.
    pub const fn shows(self) -> &'static str {
        match self {
            Self::Saved => {
                "`etcdadm save` exports a plain snapshot, where an agent runs and where none does"
            }
            Self::Automated => {
                "`automated: true`: snapshots are taken by a clock, a host that lost its disk is refilled"
            }
            Self::Replaced => {
                "one node is stopped, `etcdadm replace`d and started; nothing is lost"
            }
            Self::Stopped => {
                "etcd is stopped on every node, then started one by one; nothing is restored"
            }
            Self::StoppedAndRestored => {
                "etcd is stopped on every node, a restore asked for, etcd started one by one"
            }
            Self::QuorumLost => {
                "two hosts lose power and their disks; all that the third knew is kept"
            }
            Self::PowerCut => {
                "all hosts lose power; etcd comes back by itself, nothing is restored"
            }
            Self::Restarting => {
                "etcd is stopped between its end and an automatic restart, and masked; that is kept too"
            }
            Self::GateAlone => {
                "etcd is restarted where no agent runs and no store answers: it needs neither"
            }
            Self::NoGate => {
                "an operator's file takes the gate away; no agent votes for such a unit"
            }
            Self::AgentsEnd => "agents are killed, reloaded and restarted; etcd does not notice",
        }
    }

    async fn play(self, scene: &mut Scene) -> Result<(), Trouble> {
        match self {
            Self::Saved => scene.saved().await,
            Self::Automated => scene.automated().await,
            Self::Replaced => scene.replaced().await,
            Self::Stopped => scene.stopped().await,
            Self::StoppedAndRestored => scene.stopped_and_restored().await,
            Self::QuorumLost => scene.quorum_lost().await,
            Self::PowerCut => scene.power_cut().await,
            Self::AgentsEnd => scene.agents_end().await,
            Self::Restarting => scene.restarting().await,
            Self::NoGate => scene.no_gate().await,
            Self::GateAlone => scene.gate_alone().await,
        }
    }
}

/// Plays one story on hosts of its own, which have ended when this returns or is dropped.
pub async fn run(story: Story, options: &Options, tell: Tell) -> Report {
    let mut report = Report::empty(format!("hosts:{}", story.name()), story.shows(), options);
    let opened = async {
        let base = base(&options.etcd_dir)?;
        Hosts::start(options, &base).await
    };
    let (hosts, inc) = match opened.await {
        Ok(opened) => opened,
        Err(trouble) => {
            report.checks.note("a healthy cluster came up", false, trouble.to_string());
            return report;
        }
    };
    let writer = Writer::start(&hosts.urls());
    let (checks, hashes) = (Checks::default(), Vec::new());
    let mut scene = Scene { hosts, writer, checks, inc, tell, lost: Vec::new(), hashes };
    let played = story.play(&mut scene).await;
    let seen = played.as_ref().map_or_else(ToString::to_string, |()| "it was".to_owned());
    scene.checks.note("the story was played to its end", played.is_ok(), seen);
    let oracle = scene.writer.so_far();
    report.acknowledged = oracle.acks.len();
    report.unknown = oracle.unknown.len();
    report.lost = scene.lost;
    report.hashes = scene.hashes;
    report.checks = scene.checks;
    report.kept = options.keep.then(|| scene.hosts.dir().display().to_string());
    report
}

/// The stories that a name on the command line means.
///
/// # Errors
/// When there is no such name; says which there are.
pub fn named(name: &str) -> Result<Vec<Story>, Trouble> {
    let found: Vec<Story> = ALL.into_iter().filter(|story| story.name() == name).collect();
    if found.is_empty() {
        let known: Vec<&str> = ALL.iter().map(|story| story.name()).collect();
        return Err(Trouble(format!(
            "no story of hosts is called {name}; there are: {}",
            known.join(", ")
        )));
    }
    Ok(found)
}
