//! **cluster** — N machines and their stores: brought up, watched, waited for, ended.
//!
//! Comes from the command line's options. Goes to the scenarios. Dropping it ends every process
//! and removes the directory, unless it is to be kept.

use super::{
    host::Host,
    status::{self, Status},
    stores::{BUCKET, Stores, TABLE},
    trouble::{Trouble, until},
    verdict,
    writer::connect,
};
use crate::pace::Pace;
use age::{secrecy::ExposeSecret as _, x25519::Identity};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

/// Names those for whom snapshots are sealed.
pub const RECIPIENTS: &str = "REQUORUM_SNAPSHOT_RECIPIENTS";
/// Names the file that opens sealed snapshots.
pub const IDENTITY_FILE: &str = "REQUORUM_SNAPSHOT_IDENTITY_FILE";

/// How a cluster is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many machines: 3 or 5.
    pub members: usize,
    /// Whose timers.
    pub pace: Pace,
    /// Where etcd and etcdutl are.
    pub etcd_dir: PathBuf,
    /// The agent's binary.
    pub binary: PathBuf,
    /// Leave logs and data behind.
    pub keep: bool,
    /// Hold point of every agent's first start.
    pub hold: Option<&'static str>,
    /// `REQUORUM_MIN_MEMBERS`.
    pub min_members: Option<usize>,
    /// Other settings of every agent.
    pub settings: &'static [(&'static str, &'static str)],
    /// Snapshots are sealed, for an identity that every agent holds.
    pub sealed: bool,
}

/// Machines and stores.
#[derive(Debug)]
pub struct Cluster {
    /// The machines. They are dropped first: an agent must not outlive its stores.
    pub hosts: Vec<Host>,
    /// S3 and DynamoDB.
    pub stores: Stores,
    /// Whose timers.
    pub pace: Pace,
    dir: tempfile::TempDir,
}

impl Cluster {
    /// Starts stores and agents. Nothing is ready yet.
    ///
    /// # Errors
    /// When no addresses are free, or a binary is absent.
    pub async fn start(options: &Options) -> Result<Self, Trouble> {
        require(&options.binary, "build it with `cargo build -p requorum`")?;
        for tool in ["etcd", "etcdutl"] {
            require(&options.etcd_dir.join(tool), "name etcd's directory with --etcd")?;
        }
        // Short: a unix socket's path may have 107 bytes.
        let mut dir = tempfile::Builder::new().prefix("drill-").tempdir();
        if let Ok(dir) = &mut dir {
            dir.disable_cleanup(options.keep);
        }
        let dir = dir.map_err(|e| Trouble::of("no temporary directory", e))?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let stores = Stores::start(any, any, dir.path(), false).await?;
        let ips = free_ips(options.members)?;
        let mut shared = shared_env(options, &stores, &ips);
        if options.sealed {
            shared.extend(sealed_env(dir.path())?);
        }
        let mut hosts = Vec::new();
        for (index, ip) in ips.iter().enumerate() {
            let name = name(index);
            let home = dir.path().join(&name);
            let binary = options.binary.clone();
            hosts.push(Host::new(name, &ip.to_string(), home, binary, shared.clone())?);
        }
        let mut cluster = Self { hosts, stores, pace: options.pace, dir };
        for host in &mut cluster.hosts {
            host.start_agent()?;
        }
        Ok(cluster)
    }

    /// Where everything of it is.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// All client URLs.
    pub fn urls(&self) -> Vec<String> {
        self.hosts.iter().map(|host| host.client_url.clone()).collect()
    }

    /// All status sockets.
    pub fn sockets(&self) -> Vec<PathBuf> {
        self.hosts.iter().map(Host::socket).collect()
    }

    /// The machine of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn host(&mut self, name: &str) -> Result<&mut Host, Trouble> {
        let none = || Trouble(format!("no machine is called {name}"));
        self.hosts.iter_mut().find(|host| host.name == name).ok_or_else(none)
    }

    /// Waits with the pace's patience; says what it waited for, what the agents wait for, and the
    /// end of their logs when it was in vain. An agent that ended by itself ends the wait.
    ///
    /// # Errors
    /// When the wait was in vain.
    pub async fn until<T>(
        &self,
        what: &str,
        mut look: impl AsyncFnMut(&Self) -> Option<T>,
    ) -> Result<T, Trouble> {
        let waited = until(what, self.pace.patience(), async || {
            if let Some(answer) = look(self).await {
                return Ok(Some(answer));
            }
            match self.hosts.iter().find_map(Host::agent_ended) {
                Some(ended) => Err(Trouble(format!("{ended} while waiting until {what}"))),
                None => Ok(None),
            }
        });
        match waited.await {
            Ok(answer) => Ok(answer),
            Err(trouble) => Err(Trouble(format!("{trouble}\n{}", self.explain().await))),
        }
    }

    /// What every agent says it waits for, and the end of its log.
    pub async fn explain(&self) -> String {
        let mut text = String::new();
        for host in &self.hosts {
            let says = match status::ask(&host.socket()).await {
                Ok(status) => format!("{}, waiting: {}", status.phase(), status.waiting()),
                Err(trouble) => trouble.to_string(),
            };
            let log = host.log_tail();
            text.push_str(&format!("--- {}: {says}\n{log}\n", host.name));
        }
        text
    }

    /// The status of every machine whose agent we have not killed; `None` if one did not answer.
    pub async fn statuses(&self) -> Option<Vec<(String, Status)>> {
        let mut all = Vec::new();
        for host in self.hosts.iter().filter(|host| host.has_agent()) {
            all.push((host.name.clone(), status::ask(&host.socket()).await.ok()?));
        }
        Some(all)
    }

    /// All agents say idle, in this incarnation, and all N members serve as voters.
    ///
    /// # Errors
    /// When that does not come about.
    pub async fn healed(&self, inc: u64) -> Result<(), Trouble> {
        let what = format!("incarnation {inc} is idle and all members serve");
        self.until(&what, async |cluster| {
            let statuses = cluster.statuses().await?;
            let idle = statuses.iter().all(|(_, s)| s.phase() == "idle" && s.inc() == inc);
            (idle && cluster.all_serve().await).then_some(())
        })
        .await
    }

    /// Every machine's etcd answers a linearizable read and lists N voters and no learner.
    pub async fn all_serve(&self) -> bool {
        for host in &self.hosts {
            if verdict::members(&host.client_url).await != Ok((self.hosts.len(), 0)) {
                return false;
            }
        }
        true
    }

    /// The first start is over: genesis done, all members serve. Answers with the incarnation.
    ///
    /// # Errors
    /// When that does not come about.
    pub async fn ready(&self) -> Result<u64, Trouble> {
        let inc = self
            .until("the first incarnation is idle", async |cluster| {
                let statuses = cluster.statuses().await?;
                let idle = statuses.iter().all(|(_, status)| status.phase() == "idle");
                let inc = statuses.iter().map(|(_, status)| status.inc()).max()?;
                (idle && inc > 0).then_some(inc)
            })
            .await?;
        self.healed(inc).await?;
        Ok(inc)
    }

    /// Machine indexes in the order in which they are struck: etcd's leader first, which is the
    /// harder case, since a follower that survives may not know yet what was committed.
    pub async fn leader_first(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.hosts.len()).collect();
        for (index, host) in self.hosts.iter().enumerate() {
            if let Ok((_, leader, own)) = verdict::own_view(&host.client_url).await
                && leader == own
            {
                order.rotate_left(index);
                break;
            }
        }
        order
    }

    /// Whether this machine's etcd acknowledges a linearizable read.
    pub async fn serves(&self, index: usize) -> bool {
        let Some(host) = self.hosts.get(index) else { return false };
        let Ok(mut client) = connect(&host.client_url).await else { return false };
        client.get("health", None).await.is_ok()
    }
}

fn require(file: &Path, cure: &str) -> Result<(), Trouble> {
    if file.exists() {
        return Ok(());
    }
    Err(Trouble(format!("{} is absent: {cure}", file.display())))
}

fn name(index: usize) -> String {
    format!("etcd{}", index + 1)
}

fn shared_env(options: &Options, stores: &Stores, ips: &[Ipv4Addr]) -> BTreeMap<String, String> {
    let list = |port: u16| {
        let pairs: Vec<String> = ips
            .iter()
            .enumerate()
            .map(|(index, ip)| format!("{}=http://{ip}:{port}", name(index)))
            .collect();
        pairs.join(",")
    };
    let mut env = stores.env();
    for (key, value) in [
        ("ETCD_INITIAL_CLUSTER", list(2380)),
        ("REQUORUM_CLIENT_URLS", list(2379)),
        ("ETCDADM_CLUSTER_SNAPSHOTS_S3_URI", format!("s3://{BUCKET}/drill")),
        ("REQUORUM_TABLE", TABLE.into()),
        ("REQUORUM_ETCD_DIR", options.etcd_dir.display().to_string()),
        ("REQUORUM_TIMERS", options.pace.name().into()),
    ] {
        env.insert(key.to_owned(), value);
    }
    if let Some(point) = options.hold {
        env.insert("REQUORUM_HOLD".into(), point.into());
    }
    if let Some(least) = options.min_members {
        env.insert("REQUORUM_MIN_MEMBERS".into(), least.to_string());
    }
    for (key, value) in options.settings {
        env.insert((*key).to_owned(), (*value).to_owned());
    }
    env
}

/// For whom snapshots are sealed, and the file that opens them.
fn sealed_env(dir: &Path) -> Result<[(String, String); 2], Trouble> {
    let identity = Identity::generate();
    let file = dir.join("identity.age");
    std::fs::write(&file, identity.to_string().expose_secret())
        .map_err(|e| Trouble::of(file.display(), e))?;
    Ok([
        (RECIPIENTS.to_owned(), identity.to_public().to_string()),
        (IDENTITY_FILE.to_owned(), file.display().to_string()),
    ])
}

/// Loopback addresses of a network of our own, on which etcd's usual ports are free: what a drill
/// prints then reads like a real cluster, and two drills side by side do not meet.
fn free_ips(members: usize) -> Result<Vec<Ipv4Addr>, Trouble> {
    let seed = std::process::id();
    for shift in 0..u32::from(u8::MAX) {
        let [_, _, high, low] = (seed.wrapping_add(shift)).to_be_bytes();
        // 127.0.x.y is left to everybody else.
        let network = |last: u8| Ipv4Addr::new(127, high % 200 + 20, low, last);
        let ips: Vec<Ipv4Addr> = (11..).take(members).map(network).collect();
        let free =
            |ip: &Ipv4Addr| [2379, 2380].iter().all(|p| TcpListener::bind((*ip, *p)).is_ok());
        if ips.iter().all(free) {
            return Ok(ips);
        }
    }
    Err(Trouble("no loopback network has the ports 2379 and 2380 free".into()))
}
