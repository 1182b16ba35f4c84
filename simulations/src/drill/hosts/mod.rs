//! **hosts** — a cluster of hosts with a real systemd, as someone who runs kube-aws's etcd nodes has it.
//!
//! Comes from the command line's options. Goes to its stories: what the old documentation promised, and what
//! happens to real hosts. Dropping it ends every host; it lives in a [`rig`](super::rig).

mod node;
mod scene;
mod plays;
mod stories;

pub use stories::{ALL, Story, named, run};

use super::{
    cluster::Options,
    status,
    stores::{BUCKET, Stores},
    trouble::{Trouble, until},
    verdict,
};
use crate::pace::Pace;
use node::{AGENT, ETCD, Node, Site};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where the drill itself is, as its hosts see it.
const DRILL: [u8; 4] = [10, 77, 0, 1];
/// Hosts boot, and units wait for one another: on top of what agents take.
const BOOTS: Duration = Duration::from_secs(60);

/// Hosts and stores.
#[derive(Debug)]
struct Hosts {
    /// They are dropped first: an agent must not outlive its stores.
    nodes: Vec<Node>,
    stores: Stores,
    pace: Pace,
    dir: tempfile::TempDir,
}

impl Hosts {
    /// Boots them, starts etcd on each, then the agents, which adopt it, and waits until all is well.
    ///
    /// # Errors
    /// When something is absent, or that does not come about.
    async fn start(options: &Options, base: &Path) -> Result<(Self, u64), Trouble> {
        let dir = tempfile::Builder::new().prefix("hosts-").tempdir();
        let mut dir = dir.map_err(|e| Trouble::of("no temporary directory", e))?;
        dir.disable_cleanup(options.keep);
        let any = SocketAddr::from((DRILL, 0));
        let stores = Stores::start(any, any, dir.path(), false).await?;
        let mut env = stores.env();
        env.insert("ETCDADM_CLUSTER_SNAPSHOTS_S3_URI".into(), format!("s3://{BUCKET}/drill"));
        env.insert("ETCDADM_MEMBER_SYSTEMD_SERVICE_NAME".into(), "etcd-member".into());
        env.insert("ETCDADM_MEMBER_COUNT".into(), options.members.to_string());
        let site = Site {
            dir: dir.path(),
            base,
            binary: &options.binary,
            etcd_dir: &options.etcd_dir,
            stores: &env,
            timers: options.pace.name(),
        };
        let nodes: Result<Vec<Node>, Trouble> =
            (0..options.members).map(|index| Node::new(index, options.members, &site)).collect();
        let mut hosts = Self { nodes: nodes?, stores, pace: options.pace, dir };
        for node in &mut hosts.nodes {
            node.set_up().await?;
        }
        hosts.nodes[0].shell("/opt/bin/requorum create-table").await?;
        for unit in [ETCD, AGENT] {
            for node in &hosts.nodes {
                node.must(&["systemctl", "start", unit]).await?;
            }
        }
        let inc = hosts.until("the cluster is adopted", async |hosts| hosts.idle().await).await?;
        hosts.healed(inc).await?;
        Ok((hosts, inc))
    }

    const fn stores(&self) -> &Stores {
        &self.stores
    }

    /// `true`: neither store answers; `false`: both do again, with all that they held.
    fn cut_stores(&self, cut: bool) {
        self.stores.objects.cut(cut);
        self.stores.tables.cut(cut);
    }

    /// Where their disks are.
    fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.client_url.clone()).collect()
    }

    /// Names and client URLs.
    fn members(&self) -> Vec<(String, String)> {
        self.nodes.iter().map(|node| (node.name.clone(), node.client_url.clone())).collect()
    }

    /// Waits; says what for, and what hosts said, when it was in vain.
    ///
    /// # Errors
    /// When the wait was in vain.
    async fn until<T>(
        &self,
        what: &str,
        mut look: impl AsyncFnMut(&Self) -> Option<T>,
    ) -> Result<T, Trouble> {
        let patience = self.pace.patience() + BOOTS;
        match until(what, patience, async || Ok(look(self).await)).await {
            Ok(answer) => Ok(answer),
            Err(trouble) => Err(Trouble(format!("{trouble}\n{}", self.explain().await))),
        }
    }

    async fn explain(&self) -> String {
        let mut text = String::new();
        for node in &self.nodes {
            let journal = node.journal().await;
            text.push_str(&format!("--- {}\n{journal}\n", node.name));
        }
        text
    }

    /// The status that each agent tells; `None`: one does not answer.
    async fn statuses(&self) -> Option<Vec<status::Status>> {
        let mut all = Vec::new();
        for node in &self.nodes {
            all.push(status::ask(&node.socket().ok()?).await.ok()?);
        }
        Some(all)
    }

    /// All agents say idle; the highest incarnation that any tells.
    async fn idle(&self) -> Option<u64> {
        let statuses = self.statuses().await?;
        let idle = statuses.iter().all(|status| status.phase() == "idle");
        let inc = statuses.iter().map(status::Status::inc).max()?;
        (idle && inc > 0).then_some(inc)
    }

    /// All agents say idle in this incarnation, and all members serve as voters.
    ///
    /// # Errors
    /// When that does not come about.
    async fn healed(&self, inc: u64) -> Result<(), Trouble> {
        self.until(&format!("incarnation {inc} is idle and all members serve"), async |hosts| {
            (hosts.idle().await == Some(inc) && hosts.all_serve().await).then_some(())
        })
        .await
    }

    async fn all_serve(&self) -> bool {
        for node in &self.nodes {
            if verdict::members(&node.client_url).await != Ok((self.nodes.len(), 0)) {
                return false;
            }
        }
        true
    }

    /// The revision of the newest snapshot that any agent took.
    async fn newest_snapshot(&self) -> Option<u64> {
        self.statuses().await?.iter().filter_map(status::Status::newest_snapshot).max()
    }

    /// What every agent votes of its own member.
    async fn votes(&self) -> Option<Vec<String>> {
        let statuses = self.statuses().await?;
        statuses.iter().zip(&self.nodes).map(|(status, node)| status.vote_of(&node.name)).collect()
    }

    /// `systemctl VERB UNIT` on these nodes, one after the other, as the documentation's loop does it.
    ///
    /// # Errors
    /// When one fails.
    async fn one_by_one(&self, verb: &str, unit: &str) -> Result<(), Trouble> {
        for node in &self.nodes {
            node.must(&["systemctl", verb, unit]).await?;
        }
        Ok(())
    }

    /// Boots all hosts.
    ///
    /// # Errors
    /// When one does not come up.
    fn boot(&mut self, which: &[usize]) -> Result<(), Trouble> {
        which.iter().try_for_each(|index| self.nodes[*index].machine.boot())
    }

    /// Pulls the plug of these.
    ///
    /// # Errors
    /// When one is not gone in time.
    fn power_off(&mut self, which: &[usize]) -> Result<(), Trouble> {
        which.iter().try_for_each(|index| self.nodes[*index].machine.power_off())
    }
}

/// The disk that hosts start from, as `.ci/tools-hosts` makes it beside etcd.
///
/// # Errors
/// When it is absent.
fn base(etcd_dir: &Path) -> Result<PathBuf, Trouble> {
    let base = etcd_dir.join("../../hosts/rootfs");
    base.canonicalize()
        .map_err(|e| Trouble::of(format!("{}: run .ci/tools-hosts as root", base.display()), e))
}
