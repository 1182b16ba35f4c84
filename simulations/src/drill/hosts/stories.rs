//! **stories** — what happens on hosts with a real systemd, and what must have come of it.
//!
//! Comes from a name on the command line. Goes to a report. The first four are what kube-aws's documentation
//! promised; the others are what befalls real hosts.

use super::{
    Hosts, base,
    node::{AGENT, ETCD},
    scene::{EXPORTED, Scene},
};
use crate::drill::{
    cluster::Options,
    report::Report,
    status::Status,
    timeline::{Figures, Tell},
    trouble::Trouble,
    verdict::{self, Checks},
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
}

/// Every story.
pub const ALL: [Story; 10] = [
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
        }
    }
}

/// Plays one story on hosts of its own, which have ended when this returns or is dropped.
pub async fn run(story: Story, options: &Options, tell: Tell) -> Report {
    let mut report = Report {
        name: format!("hosts:{}", story.name()),
        shows: story.shows().to_owned(),
        members: options.members,
        pace: options.pace,
        figures: Figures::default(),
        acknowledged: 0,
        unknown: 0,
        lost: Vec::new(),
        hashes: Vec::new(),
        checks: Checks::default(),
        kept: None,
    };
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

impl Scene {
    async fn saved(&mut self) -> Result<(), Trouble> {
        self.load().await?;
        for agent in ["runs", "does not run"] {
            let before = self.exported();
            self.say(format!("`etcdadm save` where an agent {agent}"));
            let said = self.hosts.nodes[0].shell("/opt/bin/etcdadm save").await?;
            let after = self.exported();
            let what = format!("where an agent {agent}, `etcdadm save` exports {EXPORTED}");
            self.checks.note(what, after.is_some() && after != before, said.trim());
            self.hosts.nodes[0].must(&["systemctl", "stop", AGENT]).await?;
            self.load().await?;
        }
        let said = self.hosts.nodes[0].shell("/opt/bin/etcdadm save --timer").await?;
        self.checks.note(
            "the timer of a host without an agent saves",
            said.contains("snap"),
            said.trim(),
        );
        self.hosts.nodes[0].must(&["systemctl", "start", AGENT]).await?;
        let said = self.hosts.nodes[0].shell("/opt/bin/etcdadm save --timer").await?;
        let left = said.contains("by its own clock");
        self.checks.note("the timer of a host with one leaves it to the agent", left, said.trim());
        self.healed_without_restore().await
    }

    async fn automated(&mut self) -> Result<(), Trouble> {
        let shown = self.hosts.nodes[0].shell("/opt/bin/requorum config show --origin").await?;
        let mode = shown.lines().find(|line| line.contains("REQUORUM_MODE")).unwrap_or_default();
        let told = mode.contains("automatic") && mode.contains("cluster.yaml");
        self.checks.note("cluster.yaml switches automation on", told, mode);
        for which in ["one", "another"] {
            let before = self.hosts.newest_snapshot().await.unwrap_or(0);
            self.load().await?;
            let what = format!("{which} snapshot is taken by a clock");
            let look =
                async |hosts: &Hosts| hosts.newest_snapshot().await.filter(|at| *at > before);
            let after = self.hosts.until(&what, look).await?;
            self.checks.note(what, true, format!("revision {after} after {before}"));
        }
        self.say("one host loses power and its data volume");
        let before = self.member_id(2).await?;
        self.hosts.power_off(&[2])?;
        self.hosts.nodes[2].empty_volume()?;
        self.hosts.boot(&[2])?;
        self.hosts.nodes[2].must(&["chown", "etcd:etcd", "/var/lib/etcd"]).await?;
        self.another_member(2, before).await?;
        self.healed_without_restore().await?;
        self.nothing_lost().await
    }

    async fn replaced(&mut self) -> Result<(), Trouble> {
        self.load().await?;
        let node = &self.hosts.nodes[0];
        self.say(format!(
            "{}: systemctl stop {ETCD}; etcdadm replace; systemctl start {ETCD}",
            node.name
        ));
        let before = self.member_id(0).await?;
        let node = &self.hosts.nodes[0];
        node.must(&["systemctl", "stop", ETCD]).await?;
        self.kept_down(&[0]).await?;
        let node = &self.hosts.nodes[0];
        node.shell("/opt/bin/etcdadm replace").await?;
        node.must(&["systemctl", "start", ETCD]).await?;
        self.another_member(0, before).await?;
        self.healed_without_restore().await?;
        let owner = self.hosts.nodes[0].must(&["stat", "-c", "%U", "/var/lib/etcd/member"]).await?;
        self.checks.equal("its data is etcd's", &owner.trim(), &"etcd");
        self.nothing_lost().await
    }

    async fn stopped(&mut self) -> Result<(), Trouble> {
        self.load().await?;
        self.stop_all().await?;
        let says = |status: &Status| status.codes().iter().any(|c| c == "STOPPED_BY_OPERATOR");
        let told = self.hosts.statuses().await.is_some_and(|all| all.iter().all(says));
        self.checks.note("each agent says why it starts nothing", told, "STOPPED_BY_OPERATOR");
        self.say(format!("systemctl start {ETCD} on each, one after the other"));
        self.hosts.one_by_one("start", ETCD).await?;
        self.healed_without_restore().await?;
        self.nothing_lost().await
    }

    async fn stopped_and_restored(&mut self) -> Result<(), Trouble> {
        self.load().await?;
        self.hosts.nodes[0].shell("/opt/bin/etcdadm save").await?;
        self.load().await?;
        self.writer.rest().await?;
        self.stop_all().await?;
        self.say("etcdadm restore --rollback; systemctl start on each, one after the other");
        let words =
            "/opt/bin/etcdadm restore --rollback --because 'the promise of the old documentation'";
        self.hosts.nodes[0].shell(words).await?;
        self.hosts.one_by_one("start", ETCD).await?;
        self.restored().await?;
        let owner =
            self.hosts.nodes[1].must(&["stat", "-c", "%U", "/var/lib/etcd/member/snap/db"]).await?;
        self.checks.equal("what was restored is etcd's", &owner.trim(), &"etcd");
        self.writer.go_on();
        self.account(None).await
    }

    async fn quorum_lost(&mut self) -> Result<(), Trouble> {
        self.load().await?;
        let victims: Vec<usize> =
            (1..self.hosts.nodes.len()).take(self.hosts.nodes.len() / 2 + 1).collect();
        self.say("a majority of the hosts lose power, and their data volumes");
        self.hosts.power_off(&victims)?;
        let known = verdict::own_view(&self.hosts.nodes[0].client_url).await?.0;
        for index in &victims {
            self.hosts.nodes[*index].empty_volume()?;
        }
        self.hosts.boot(&victims)?;
        for index in &victims {
            // another disk belongs to root, until kube-aws's unit gives it to etcd
            self.hosts.nodes[*index].must(&["chown", "etcd:etcd", "/var/lib/etcd"]).await?;
        }
        self.restored().await?;
        self.account(Some(known)).await
    }

    async fn power_cut(&mut self) -> Result<(), Trouble> {
        self.load().await?;
        let all: Vec<usize> = (0..self.hosts.nodes.len()).collect();
        self.say("all hosts lose power, and boot again");
        self.hosts.power_off(&all)?;
        self.hosts.boot(&all)?;
        self.healed_without_restore().await?;
        self.nothing_lost().await
    }

    async fn restarting(&mut self) -> Result<(), Trouble> {
        self.load().await?;
        self.say(format!("{ETCD} is killed, and stopped before systemd starts it again"));
        self.hosts.nodes[0].must(&["systemctl", "kill", "-s", "KILL", ETCD]).await?;
        self.hosts
            .until("systemd is about to start etcd again", async |hosts| {
                let words = ["systemctl", "show", "-P", "SubState", ETCD];
                let sub = hosts.nodes[0].must(&words).await.ok()?;
                (sub.trim() == "auto-restart").then_some(())
            })
            .await?;
        self.hosts.nodes[0].must(&["systemctl", "stop", ETCD]).await?;
        self.kept_down(&[0]).await?;
        self.hosts.nodes[0].must(&["systemctl", "mask", "--runtime", ETCD]).await?;
        let refused = self.hosts.nodes[0].run(&["systemctl", "start", ETCD]).await?;
        self.checks.note(
            "a masked unit is not started",
            !refused.status.success(),
            "systemctl start",
        );
        self.kept_down(&[0]).await?;
        self.hosts.nodes[0].must(&["systemctl", "unmask", "--runtime", ETCD]).await?;
        self.hosts.nodes[0].must(&["systemctl", "start", ETCD]).await?;
        self.healed_without_restore().await?;
        self.nothing_lost().await
    }

    async fn no_gate(&mut self) -> Result<(), Trouble> {
        self.load().await?;
        let file = "/etc/systemd/system/etcd-member.service.d/90-operator.conf";
        self.say(format!("{file} says ExecCondition="));
        let node = &self.hosts.nodes[0];
        let before = node.must(&["systemctl", "show", "-P", "MainPID", ETCD]).await?;
        node.machine.put(file, "[Service]\nExecCondition=\n", 0o644)?;
        node.must(&["systemctl", "daemon-reload"]).await?;
        let restarted = node.run(&["systemctl", "restart", AGENT]).await?;
        let journal = node.journal().await;
        let said = journal.lines().find(|line| line.contains("has no gate")).unwrap_or_default();
        let refused = !restarted.status.success() && !said.is_empty();
        self.checks.note("the agent does not run, and says why", refused, said);
        let node = &self.hosts.nodes[0];
        let after = node.must(&["systemctl", "show", "-P", "MainPID", ETCD]).await?;
        node.must(&["rm", file]).await?;
        node.must(&["systemctl", "daemon-reload"]).await?;
        node.must(&["systemctl", "restart", AGENT]).await?;
        self.checks.equal("etcd went on running", &after, &before);
        self.healed_without_restore().await?;
        self.nothing_lost().await
    }

    async fn agents_end(&mut self) -> Result<(), Trouble> {
        self.load().await?;
        let mut before = Vec::new();
        for node in &self.hosts.nodes {
            before.push(node.must(&["systemctl", "show", "-P", "MainPID", ETCD]).await?);
        }
        self.say("agents: SIGKILL; systemctl daemon-reload; daemon-reexec; restart");
        for node in &self.hosts.nodes {
            node.must(&["systemctl", "kill", "-s", "KILL", AGENT]).await?;
            node.must(&["systemctl", "daemon-reload"]).await?;
            node.must(&["systemctl", "daemon-reexec"]).await?;
        }
        self.hosts.one_by_one("restart", AGENT).await?;
        self.load().await?;
        self.healed_without_restore().await?;
        let mut after = Vec::new();
        for node in &self.hosts.nodes {
            after.push(node.must(&["systemctl", "show", "-P", "MainPID", ETCD]).await?);
        }
        self.checks.equal("etcd went on running", &after, &before);
        let security = self.hosts.nodes[0].must(&["systemd-analyze", "security", AGENT]).await?;
        let line =
            security.lines().find(|line| line.contains("Overall exposure")).unwrap_or_default();
        let score =
            line.split_whitespace().find_map(|word| word.parse::<f64>().ok()).unwrap_or(10.0);
        self.checks.note(
            "the agent's sandbox scores 3.0 or better",
            score <= 3.0,
            score.to_string(),
        );
        self.nothing_lost().await
    }
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
