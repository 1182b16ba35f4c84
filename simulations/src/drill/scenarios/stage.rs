//! **stage** — what every scenario plays on: a cluster under load, watched; and its accounts.
//!
//! Comes from the options. Goes to one scenario, which strikes, waits and notes; then into a
//! report. What a scenario can't do ends it as a failed check.

use crate::drill::{
    cluster::{Cluster, Options},
    host::Wipe,
    report::{Lost, Report},
    status::Progress,
    timeline::{Said, Tell, Timeline},
    trouble::Trouble,
    verdict::{self, Checks, Content, Hash},
    writer::{Ack, Oracle, Writer},
};
use std::time::{Duration, Instant};

/// Writes that make a load worth losing.
pub(super) const LOAD: usize = 100;
/// Writes that show that a cluster is back.
const SOME_WRITES: usize = 20;
/// What the last round trip before a cut may be on a busy machine: etcd's heartbeat of 100 ms
/// tells a follower at the latest what was committed, and both processes compete for two cores.
const LAST_ROUND_TRIP: Duration = Duration::from_secs(1);

/// What a recovery may lose of what was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// Nothing.
    Nothing,
    /// Only what no survivor had learned yet, in the last round trip before a cut; all up to the
    /// revision that a survivor knew is kept.
    LastRoundTrip {
        /// Highest revision that a survivor had applied at the cut; `None`: it was not asked.
        known: Option<u64>,
    },
    /// Exactly the writes after the snapshot, which holds at least this revision.
    AfterSnapshot {
        /// Head when a save by hand had ended.
        saved: u64,
    },
}

/// A cluster under load.
pub(super) struct Stage {
    pub(super) cluster: Cluster,
    pub(super) writer: Writer,
    pub(super) timeline: Timeline,
    pub(super) checks: Checks,
    /// The incarnation at the last time all was well.
    pub(super) inc: u64,
    cuts: Vec<Instant>,
    tell: Tell,
    oracle: Oracle,
    lost: Vec<Lost>,
    hashes: Vec<Hash>,
}

impl Stage {
    /// Brings a cluster up, waits until it is well, and puts it under load.
    pub(super) async fn open(options: &Options, tell: Tell) -> Result<Self, Trouble> {
        let cluster = Cluster::start(options).await?;
        tell(Said::Line(format!(
            "{} machines start in {}",
            options.members,
            cluster.dir().display()
        )));
        let timeline = Timeline::follow(cluster.sockets(), tell.clone());
        let inc = cluster.ready().await?;
        let writer = Writer::start(&cluster.urls());
        Ok(Self {
            cluster,
            writer,
            timeline,
            checks: Checks::default(),
            inc,
            cuts: Vec::new(),
            tell,
            oracle: Oracle::default(),
            lost: Vec::new(),
            hashes: Vec::new(),
        })
    }

    /// A step of the story, for whoever watches.
    pub(super) fn say(&self, line: impl Into<String>) {
        (self.tell)(Said::Line(line.into()));
    }

    /// How many members are a majority.
    pub(super) fn majority(&self) -> usize {
        self.cluster.hosts.len() / 2 + 1
    }

    /// A majority, etcd's leader first, and the rest.
    pub(super) async fn majority_and_rest(&self) -> (Vec<usize>, Vec<usize>) {
        let mut order = self.cluster.leader_first().await;
        let rest = order.split_off(self.majority().min(order.len()));
        (order, rest)
    }

    /// Waits until so many more writes are acknowledged.
    pub(super) async fn load(&self, more: usize) -> Result<(), Trouble> {
        let goal = self.writer.acknowledged() + more;
        self.cluster
            .until(&format!("{more} more writes are acknowledged"), async |_| {
                (self.writer.acknowledged() >= goal).then_some(())
            })
            .await
    }

    /// From here the figures count.
    pub(super) fn cut(&mut self) {
        let at = self.timeline.cut();
        self.cuts.push(at);
    }

    /// These machines lose their disks, together as nearly as can be.
    pub(super) fn strike(&mut self, victims: &[usize], what: Wipe) -> Result<(), Trouble> {
        let names: Vec<&str> =
            victims.iter().map(|index| self.cluster.hosts[*index].name.as_str()).collect();
        self.say(format!("killed and wiped: {}", names.join(", ")));
        for index in victims {
            self.cluster.hosts[*index].pause_agent()?;
        }
        for index in victims {
            self.cluster.hosts[*index].kill_etcd()?;
        }
        self.cut();
        for index in victims {
            self.cluster.hosts[*index].wipe(what)?;
        }
        Ok(())
    }

    /// Highest revision that any of these has applied, as it says itself: a survivor answers without
    /// a quorum.
    pub(super) async fn known_to(&mut self, survivors: &[usize]) -> u64 {
        let mut known = 0;
        for index in survivors {
            if let Ok((revision, _, _)) =
                verdict::own_view(&self.cluster.hosts[*index].client_url).await
            {
                known = known.max(revision);
            }
        }
        let seen = format!("revision {known}");
        self.checks.note("a survivor answers without a quorum", known > 0, seen);
        known
    }

    /// Waits until some agent has got to this phase of this incarnation, or beyond.
    pub(super) async fn reached(&self, what: &str, goal: Progress) -> Result<Progress, Trouble> {
        self.cluster
            .until(what, async |_| {
                let now = self.timeline.latest()?.progress();
                // The attempt is not counted on here: an aborted one in between is no fault.
                ((now.inc, now.place) >= (goal.inc, goal.place) && now.attempt >= goal.attempt)
                    .then_some(now)
            })
            .await
    }

    /// Waits for exactly one restore, up to the end of HEALING.
    pub(super) async fn restored(&mut self) -> Result<(), Trouble> {
        self.cluster.healed(self.inc + 1).await?;
        self.inc += 1;
        let highest = self.highest_inc();
        self.checks.equal("restored once", &highest, &self.inc);
        Ok(())
    }

    /// Waits until all is well again in the same incarnation.
    pub(super) async fn healed_without_restore(&mut self) -> Result<(), Trouble> {
        self.cluster.healed(self.inc).await?;
        let highest = self.highest_inc();
        self.checks.equal("no restore: the incarnation is the same", &highest, &self.inc);
        Ok(())
    }

    /// The incarnation any agent has ever told of.
    pub(super) fn highest_inc(&self) -> u64 {
        self.timeline.changes().iter().map(|change| change.progress.inc).max().unwrap_or(0)
    }

    /// Lets the load run on for a while, ends it, and compares what is there with what was said.
    pub(super) async fn account(&mut self, loss: Loss) -> Result<(), Trouble> {
        self.writer.go_on();
        self.load(SOME_WRITES).await?;
        self.writer.rest().await?;
        self.oracle = self.writer.so_far();
        let content = verdict::read_all(&self.cluster.urls()).await?;
        verdict::always(&mut self.checks, &self.oracle, &content);
        self.judge_losses(loss, &content);
        let hosts = self.cluster.hosts.iter();
        let members: Vec<_> = hosts.map(|h| (h.name.clone(), h.client_url.clone())).collect();
        self.hashes = verdict::hashes(&members).await?;
        verdict::same_content(&mut self.checks, &self.hashes);
        let n = self.cluster.hosts.len();
        let members = verdict::members(&self.cluster.hosts[0].client_url).await?;
        self.checks.equal("all seats are voters, none a learner", &members, &(n, 0));
        Ok(())
    }

    fn judge_losses(&mut self, loss: Loss, content: &Content) {
        let lost: Vec<Ack> = verdict::lost(&self.oracle, content).into_iter().copied().collect();
        self.lost = lost.iter().map(|ack| self.describe(ack)).collect();
        let count = lost.len();
        match loss {
            Loss::Nothing => {
                self.checks.note(
                    "no acknowledged write is lost",
                    count == 0,
                    format!("{count} lost"),
                );
            }
            Loss::LastRoundTrip { known } => {
                if let Some(known) = known {
                    let learned = lost.iter().filter(|ack| ack.revision <= known).count();
                    let what = format!("all that a survivor knew is kept (revision {known})");
                    self.checks.note(what, learned == 0, format!("{learned} of it lost"));
                }
                let early = lost.iter().filter(|ack| !self.shortly_before_a_cut(ack)).count();
                let what = "lost writes were acknowledged in the last round trip before a cut";
                self.checks.note(
                    what,
                    early == 0,
                    format!("{count} lost, {early} of them earlier"),
                );
            }
            Loss::AfterSnapshot { saved } => self.judge_snapshot(saved, &lost, content),
        }
    }

    fn judge_snapshot(&mut self, saved: u64, lost: &[Ack], content: &Content) {
        // What the old cluster acknowledged, whenever the answer was read; its id tells it apart.
        let now = self.oracle.acks.last().map(|ack| ack.cluster);
        let before: Vec<&Ack> =
            self.oracle.acks.iter().filter(|ack| Some(ack.cluster) != now).collect();
        // The agents' word where they gave it; else the highest kept write of before.
        let kept = before
            .iter()
            .filter(|ack| content.keys.contains_key(&crate::drill::writer::key(ack.number)))
            .map(|ack| ack.revision)
            .max();
        let source = self.timeline.source_revision().or(kept).unwrap_or(0);
        let after: Vec<u64> =
            before.iter().filter(|ack| ack.revision > source).map(|ack| ack.number).collect();
        let gone: Vec<u64> = lost.iter().map(|ack| ack.number).collect();
        let what = format!("lost are exactly the writes after the snapshot's revision {source}");
        self.checks.note(
            what,
            gone == after,
            format!("{} lost, {} after", gone.len(), after.len()),
        );
        let what = "the newest snapshot was taken";
        self.checks.note(what, source >= saved, format!("{source}, saved by hand at {saved}"));
    }

    fn shortly_before_a_cut(&self, ack: &Ack) -> bool {
        self.cuts.iter().any(|cut| {
            let before = cut.saturating_duration_since(ack.acked);
            let after = ack.acked.saturating_duration_since(*cut);
            before <= LAST_ROUND_TRIP && after <= LAST_ROUND_TRIP
        })
    }

    fn describe(&self, ack: &Ack) -> Lost {
        let before_cut = self.cuts.last().map_or(0.0, |cut| {
            cut.saturating_duration_since(ack.acked).as_secs_f64()
                - ack.acked.saturating_duration_since(*cut).as_secs_f64()
        });
        Lost { number: ack.number, revision: ack.revision, before_cut }
    }

    /// Ends the cluster and says what was shown.
    pub(super) fn report(self, name: &str, shows: &str, options: &Options) -> Report {
        let oracle = if self.oracle.acks.is_empty() { self.writer.so_far() } else { self.oracle };
        Report {
            name: name.to_owned(),
            shows: shows.to_owned(),
            members: options.members,
            pace: options.pace,
            figures: self.timeline.figures(|cut| self.writer.first_after(cut)),
            acknowledged: oracle.acks.len(),
            unknown: oracle.unknown.len(),
            lost: self.lost,
            hashes: self.hashes,
            checks: self.checks,
            kept: options.keep.then(|| self.cluster.dir().display().to_string()),
        }
    }
}
