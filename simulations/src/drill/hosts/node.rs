//! **node** — one host of a rig as kube-aws would have made it: units, environment files, a data volume.
//!
//! Comes from a number and the drill's stores. Goes to the stories, which do to it what operators and power
//! cuts do. Everything of ours on it is what `deploy/systemd` ships; what is here is the operator's part.

use crate::drill::{rig::Machine, trouble::Trouble};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Output,
};

/// etcd's unit.
pub(super) const ETCD: &str = "etcd-member.service";
/// The agent's.
pub(super) const AGENT: &str = "requorum.service";
/// etcd's data dir, which is a mount point.
const DATA: &str = "/var/lib/etcd";

/// What `deploy/systemd` ships, and where it goes.
const SHIPPED: [(&str, &str); 7] = [
    (
        "/etc/systemd/system/requorum.service",
        include_str!("../../../../deploy/systemd/requorum.service"),
    ),
    (
        "/etc/systemd/system/etcd-member.service.d/10-requorum.conf",
        include_str!("../../../../deploy/systemd/etcd-member.service.d/10-requorum.conf"),
    ),
    (
        "/etc/systemd/system/etcdadm-reconfigure.service",
        include_str!("../../../../deploy/systemd/etcdadm-reconfigure.service"),
    ),
    (
        "/etc/systemd/system/etcdadm-update-status.service",
        include_str!("../../../../deploy/systemd/etcdadm-update-status.service"),
    ),
    (
        "/etc/systemd/system/etcdadm-save.service",
        include_str!("../../../../deploy/systemd/etcdadm-save.service"),
    ),
    (
        "/usr/lib/tmpfiles.d/requorum.conf",
        include_str!("../../../../deploy/systemd/requorum.tmpfiles.conf"),
    ),
    (
        "/usr/lib/sysusers.d/requorum.conf",
        include_str!("../../../../deploy/systemd/requorum.sysusers.conf"),
    ),
];

/// etcd's unit as a distribution ships it, and kube-aws's drop-in for it. The names that it binds to are ours.
const OPERATORS: [(&str, &str); 3] = [
    (
        "/usr/lib/systemd/system/etcd-member.service",
        "[Unit]\nDescription=etcd\nAfter=network-online.target\n\
         [Service]\nType=notify\nUser=etcd\nExecStart=/opt/etcd/bin/etcd\nRestart=always\nRestartSec=1\n\
         [Install]\nWantedBy=multi-user.target\n",
    ),
    (
        "/etc/systemd/system/etcd-member.service.d/20-aws-cluster.conf",
        "[Unit]\nWants=cfn-etcd-environment.service\nAfter=cfn-etcd-environment.service\n\
         BindsTo=etcdadm-reconfigure.service etcdadm-update-status.service\n\
         After=etcdadm-reconfigure.service\nBefore=etcdadm-update-status.service\n\
         [Service]\nEnvironmentFile=-/etc/etcd-environment\n\
         EnvironmentFile=-/var/run/coreos/etcdadm/etcd-member.env\n",
    ),
    (
        // its file is on tmpfs: it is written at each boot
        "/etc/systemd/system/cfn-etcd-environment.service",
        "[Unit]\nDescription=Fetch the node's environment\nBefore=etcd-member.service requorum.service\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\n\
         ExecStart=/bin/sh -c 'mkdir -p /run/coreos && cp /etc/cfn/etcdadm-environment /run/coreos/'\n\
         [Install]\nWantedBy=multi-user.target\n",
    ),
];

/// What kube-aws's users write: the two switches, among all else.
const CLUSTER_YAML: &str = "clusterName: drill\netcd:\n  count: 3\n  snapshot:\n    automated: true\n  \
    disasterRecovery:\n    automated: true\n";

/// One host.
#[derive(Debug)]
pub(super) struct Node {
    /// `ETCD_NAME`.
    pub(super) name: String,
    /// Where clients reach its etcd.
    pub(super) client_url: String,
    /// The machine under it.
    pub(super) machine: Machine,
    /// Where its data volume is while it is off.
    volume: PathBuf,
}

impl Node {
    /// A host that has not been switched on, with everything in its place.
    ///
    /// # Errors
    /// When its directories can't be made.
    pub(super) fn new(index: usize, members: usize, site: &Site<'_>) -> Result<Self, Trouble> {
        let name = name(index);
        let number = number(index);
        let mut machine = Machine::new(&name, number, &site.dir.join(&name), site.base)?;
        for file in ["/opt/bin/requorum", "/opt/bin/etcdadm"] {
            machine.bind(site.binary, file)?;
        }
        for tool in ["etcd", "etcdctl", "etcdutl"] {
            machine.bind(&site.etcd_dir.join(tool), &format!("/opt/etcd/bin/{tool}"))?;
        }
        let volume = machine.volume(DATA)?;
        for (file, text) in SHIPPED.iter().chain(&OPERATORS) {
            machine.put(file, text, 0o644)?;
        }
        let client_url = format!("http://{}:2379", machine.ip);
        machine.put("/etc/etcd-environment", etcd_environment(&machine, members), 0o644)?;
        machine.put("/etc/cfn/etcdadm-environment", lines(site.stores), 0o600)?;
        machine.put("/etc/requorum/environment", own_environment(site), 0o600)?;
        machine.put("/etc/requorum/cluster.yaml", CLUSTER_YAML, 0o644)?;
        Ok(Self { name, client_url, machine, volume })
    }

    /// The first boot: users, the data volume's owner, what starts at each boot from now on.
    ///
    /// # Errors
    /// When a step fails.
    pub(super) async fn set_up(&mut self) -> Result<(), Trouble> {
        self.machine.boot()?;
        self.must(&["systemd-sysusers"]).await?;
        self.must(&["chown", "etcd:etcd", DATA]).await?;
        self.must(&["chmod", "700", DATA]).await?;
        self.must(&["systemctl", "enable", "--now", "cfn-etcd-environment.service"]).await?;
        self.must(&["systemctl", "enable", ETCD, AGENT]).await.map(drop)
    }

    /// Runs a command inside, whatever comes of it.
    ///
    /// # Errors
    /// When it can't be run at all.
    pub(super) async fn run(&self, words: &[&str]) -> Result<Output, Trouble> {
        let mut command = tokio::process::Command::from(self.machine.command(words)?);
        let output = command.kill_on_drop(true).output().await;
        output.map_err(|e| Trouble::of(format!("{} on {}", words.join(" "), self.name), e))
    }

    /// Runs a command inside that has to succeed.
    ///
    /// # Errors
    /// When it does not; says what it said.
    pub(super) async fn must(&self, words: &[&str]) -> Result<String, Trouble> {
        let output = self.run(words).await?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(said);
        }
        let why = String::from_utf8_lossy(&output.stderr);
        let what = format!("{} on {} ended with {}", words.join(" "), self.name, output.status);
        Err(Trouble::of(what, format!("{said}{why}")))
    }

    /// A line of a shell that has read kube-aws's file, as its documentation says it.
    ///
    /// # Errors
    /// When it fails.
    pub(super) async fn shell(&self, line: &str) -> Result<String, Trouble> {
        let line = format!("set -a; . /var/run/coreos/etcdadm-environment; set +a; {line}");
        self.must(&["sh", "-c", &line]).await
    }

    /// Whether a unit is `active`, `inactive`, `failed` or on its way.
    ///
    /// # Errors
    /// When systemd can't be asked.
    pub(super) async fn state_of(&self, unit: &str) -> Result<String, Trouble> {
        let output = self.run(&["systemctl", "is-active", unit]).await?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The agent's socket, while the host is on.
    ///
    /// # Errors
    /// When it is off.
    pub(super) fn socket(&self) -> Result<PathBuf, Trouble> {
        self.machine.path("/var/lib/requorum/agent.sock")
    }

    /// Empties the data volume of a host that is off.
    ///
    /// # Errors
    /// When it is on, or the disk refuses.
    pub(super) fn empty_volume(&self) -> Result<(), Trouble> {
        if self.machine.is_on() {
            return Err(Trouble(format!("{} is on", self.name)));
        }
        let at = |e| Trouble::of(self.volume.display(), e);
        for entry in std::fs::read_dir(&self.volume).map_err(at)? {
            let path = entry.map_err(at)?.path();
            let gone = if path.is_dir() {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            };
            gone.map_err(|e| Trouble::of(path.display(), e))?;
        }
        Ok(())
    }

    /// The end of what agent and etcd said.
    pub(super) async fn journal(&self) -> String {
        let words = ["journalctl", "-n", "40", "--no-pager", "-o", "cat", "-u", AGENT, "-u", ETCD];
        match self.run(&words).await {
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Err(trouble) => trouble.to_string(),
        }
    }
}

/// What all nodes of a drill share.
pub(super) struct Site<'a> {
    /// Where their disks go.
    pub(super) dir: &'a Path,
    /// The disk that they start from.
    pub(super) base: &'a Path,
    /// The agent's binary.
    pub(super) binary: &'a Path,
    /// Where etcd and its tools are.
    pub(super) etcd_dir: &'a Path,
    /// How the stores are reached.
    pub(super) stores: &'a BTreeMap<String, String>,
    /// Whose timers.
    pub(super) timers: &'a str,
}

fn name(index: usize) -> String {
    format!("etcd{}", index + 1)
}

fn number(index: usize) -> u8 {
    u8::try_from(index + 1).unwrap_or(u8::MAX)
}

/// What etcd itself reads: kube-aws keeps its name, URLs and data dir here.
fn etcd_environment(machine: &Machine, members: usize) -> String {
    let ip = &machine.ip;
    let seats: Vec<String> = (0..members)
        .map(|index| format!("{}=http://10.77.0.{}:2380", name(index), 10 + number(index)))
        .collect();
    format!(
        "ETCD_NAME={}\nETCD_DATA_DIR={DATA}\nETCD_INITIAL_CLUSTER={}\nETCD_INITIAL_CLUSTER_STATE=new\n\
         ETCD_LISTEN_PEER_URLS=http://0.0.0.0:2380\nETCD_INITIAL_ADVERTISE_PEER_URLS=http://{ip}:2380\n\
         ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379\nETCD_ADVERTISE_CLIENT_URLS=http://{ip}:2379\n",
        machine.name,
        seats.join(",")
    )
}

fn own_environment(site: &Site<'_>) -> String {
    format!("REQUORUM_ETCD_DIR=/opt/etcd/bin\nREQUORUM_TIMERS={}\n", site.timers)
}

fn lines(pairs: &BTreeMap<String, String>) -> String {
    pairs.iter().map(|(name, value)| format!("{name}='{value}'\n")).collect()
}
