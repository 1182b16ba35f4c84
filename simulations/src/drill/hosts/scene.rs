//! **scene** — what every story of hosts plays on: hosts under load, watched; and its accounts.
//!
//! Comes from hosts that are well. Goes to one story, which strikes, waits and notes. What it can't do ends it as a
//! failed check.

use super::{Hosts, node::ETCD};
use crate::drill::{
    report::Lost,
    stores::BUCKET,
    timeline::{Said, Tell},
    trouble::Trouble,
    verdict::{self, Checks, Hash},
    writer::{Ack, Oracle, Writer},
};

use std::time::Duration;

/// Writes that make a load worth losing.
const LOAD: usize = 50;
/// Where a plain snapshot is for any tool.
pub(super) const EXPORTED: &str = "drill/exported/etcd-snapshots/snapshot.db";
/// Longer than systemd waits for an automatic restart, and an agent for one of its own.
const DWELL: Duration = Duration::from_secs(4);
/// What an agent votes while an operator's stop stands.
const STOPPED: &str = "stopped-by-operator";

/// Hosts under load, and their accounts.
pub(super) struct Scene {
    pub(super) hosts: Hosts,
    pub(super) writer: Writer,
    pub(super) checks: Checks,
    pub(super) inc: u64,
    pub(super) tell: Tell,
    pub(super) lost: Vec<Lost>,
    pub(super) hashes: Vec<Hash>,
}

impl Scene {
    /// A step of the story, for whoever watches.
    pub(super) fn say(&self, line: impl Into<String>) {
        (self.tell)(Said::Line(line.into()));
    }

    pub(super) fn exported(&self) -> Option<String> {
        self.hosts.stores().objects.version(BUCKET, EXPORTED)
    }

    pub(super) async fn load(&self) -> Result<(), Trouble> {
        let goal = self.writer.acknowledged() + LOAD;
        let what = format!("{LOAD} more writes are acknowledged");
        self.hosts.until(&what, async |_| (self.writer.acknowledged() >= goal).then_some(())).await
    }

    pub(super) async fn member_id(&self, index: usize) -> Result<u64, Trouble> {
        Ok(verdict::own_view(&self.hosts.nodes[index].client_url).await?.2)
    }

    /// Waits until a seat is refilled.
    pub(super) async fn another_member(&self, index: usize, before: u64) -> Result<(), Trouble> {
        self.hosts
            .until("another member serves in its place", async |hosts| {
                let (_, _, id) = verdict::own_view(&hosts.nodes[index].client_url).await.ok()?;
                (id != before).then_some(())
            })
            .await
    }

    pub(super) async fn stop_all(&mut self) -> Result<(), Trouble> {
        self.say(format!("systemctl stop {ETCD} on each"));
        self.hosts.one_by_one("stop", ETCD).await?;
        let all: Vec<usize> = (0..self.hosts.nodes.len()).collect();
        self.kept_down(&all).await
    }

    /// Their agents know that it was an operator, and none of them starts etcd.
    pub(super) async fn kept_down(&mut self, which: &[usize]) -> Result<(), Trouble> {
        self.hosts
            .until("the agents know of the operator's stop", async |hosts| {
                let votes = hosts.votes().await?;
                which.iter().all(|index| votes[*index] == STOPPED).then_some(())
            })
            .await?;
        // that nothing happens can only be waited for: longer than an agent takes to start what is down
        tokio::time::sleep(DWELL).await;
        for index in which {
            let state = self.hosts.nodes[*index].state_of(ETCD).await?;
            let what = format!("{} stays stopped", self.hosts.nodes[*index].name);
            self.checks.equal(&what, &state.as_str(), &"inactive");
        }
        Ok(())
    }

    pub(super) async fn healed_without_restore(&mut self) -> Result<(), Trouble> {
        self.hosts.healed(self.inc).await?;
        let highest = self.hosts.idle().await.unwrap_or(self.inc);
        self.checks.equal("no restore: the incarnation is the same", &highest, &self.inc);
        Ok(())
    }

    pub(super) async fn restored(&mut self) -> Result<(), Trouble> {
        self.inc += 1;
        self.hosts.healed(self.inc).await?;
        self.checks.note("restored once", true, format!("incarnation {}", self.inc));
        Ok(())
    }

    pub(super) async fn nothing_lost(&mut self) -> Result<(), Trouble> {
        self.account(Some(u64::MAX)).await
    }

    /// Ends the load and compares what is there with what was acknowledged: all up to revision `known` must
    /// be; `None`: what a snapshot does not hold may be lost.
    pub(super) async fn account(&mut self, known: Option<u64>) -> Result<(), Trouble> {
        self.writer.go_on();
        self.load().await?;
        self.writer.rest().await?;
        let oracle: Oracle = self.writer.so_far();
        let content = verdict::read_all(&self.hosts.urls()).await?;
        verdict::always(&mut self.checks, &oracle, &content);
        let lost: Vec<&Ack> = verdict::lost(&oracle, &content);
        if let Some(known) = known {
            let gone = lost.iter().filter(|ack| ack.revision <= known).count();
            let what = if known == u64::MAX {
                "no acknowledged write is lost".to_owned()
            } else {
                format!("all that the survivor knew is kept (revision {known})")
            };
            self.checks.note(what, gone == 0, format!("{gone} lost"));
        }
        let lost = lost.iter();
        self.lost = lost
            .map(|ack| Lost { number: ack.number, revision: ack.revision, before_cut: 0.0 })
            .collect();
        self.hashes = verdict::hashes(&self.hosts.members()).await?;
        verdict::same_content(&mut self.checks, &self.hashes);
        Ok(())
    }
}
