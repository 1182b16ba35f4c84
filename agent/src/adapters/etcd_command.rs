//! **etcd_command** — etcd's command line and environment.
//!
//! Comes in: the settings of this node, and how the core wants etcd to start. Goes out: a command. What the
//! core decides (addresses, cluster, token) are flags, which etcd prefers to variables; whatever else the node
//! says of etcd, its certificates for one, are variables as they were found.

use super::process_table;
use protocol::effect::Start;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// What etcd would read from the environment against our word: it refuses to start when a variable
/// and a flag name the same thing, and these would make it another cluster's.
const NEVER_INHERITED: [&str; 8] = [
    "ETCD_INITIAL_CLUSTER",
    "ETCD_INITIAL_CLUSTER_TOKEN",
    "ETCD_INITIAL_CLUSTER_STATE",
    "ETCD_FORCE_NEW_CLUSTER",
    "ETCD_DISCOVERY",
    "ETCD_DISCOVERY_SRV",
    "ETCD_CONFIG_FILE",
    "ETCD_WAL_DIR",
];

/// How etcd is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecConfig {
    /// Directory of the `etcd` binary.
    pub etcd_dir: PathBuf,
    /// `--data-dir`.
    pub data_dir: PathBuf,
    /// Ours, 0700: socket, lock, pid and log of etcd.
    pub state_dir: PathBuf,
    /// `--name`.
    pub name: String,
    /// `--initial-advertise-peer-urls`.
    pub peer_url: String,
    /// `--listen-peer-urls`.
    pub listen_peer_urls: Vec<String>,
    /// `--listen-client-urls` outside quarantine.
    pub client_urls: Vec<String>,
    /// `--advertise-client-urls`.
    pub advertise_client_urls: Vec<String>,
    /// Clients come in by TLS, to its socket as well: where etcd knows users by their certificates, they are
    /// the only way in.
    pub secure: bool,
    /// What etcd reads from its environment beside the flags, such as `ETCD_CERT_FILE`, wherever it was said.
    pub environment: Vec<(String, String)>,
    /// Whatever else, such as quota.
    pub extra_args: Vec<String>,
}

impl ExecConfig {
    /// The socket that leads to a quarantined member.
    pub(super) fn socket(&self) -> PathBuf {
        self.state_dir.join("etcd.sock")
    }

    /// etcd as it is to start.
    pub(super) fn command(&self, start: &Start) -> Command {
        let mut command = Command::new(self.etcd_dir.join("etcd"));
        let arguments = self.arguments(start);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        for name in arguments.iter().filter_map(|argument| argument.strip_prefix("--")) {
            command.env_remove(process_table::variable(name.split('=').next().unwrap_or(name)));
        }
        for name in NEVER_INHERITED {
            command.env_remove(name);
        }
        command.args(arguments);
        command
    }

    fn arguments(&self, start: &Start) -> Vec<String> {
        let clients = if start.quarantined {
            let scheme = if self.secure { "unixs" } else { "unix" };
            format!("{scheme}://{}", absolute(&self.socket()).display())
        } else {
            self.client_urls.join(",")
        };
        let mut arguments = vec![
            format!("--name={}", self.name),
            format!("--data-dir={}", absolute(&self.data_dir).display()),
            format!("--initial-advertise-peer-urls={}", self.peer_url),
            format!("--listen-peer-urls={}", self.listen_peer_urls.join(",")),
            format!("--listen-client-urls={clients}"),
            format!("--advertise-client-urls={}", self.advertise_client_urls.join(",")),
        ];
        if let Some(join) = &start.join {
            let state = if join.existing { "existing" } else { "new" };
            arguments.push(format!("--initial-cluster={}", join.initial_cluster));
            arguments.push(format!("--initial-cluster-token={}", join.token));
            arguments.push(format!("--initial-cluster-state={state}"));
        }
        arguments.extend(self.extra_args.iter().cloned());
        arguments
    }
}

pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
