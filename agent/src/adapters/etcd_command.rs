//! **etcd_command** — etcd's command line and environment.
//!
//! Comes in: the settings of this node, and how the core wants etcd to start. Goes out: a command. What the
//! core decides (addresses, cluster, token) are flags, which etcd prefers to variables; whatever else the node
//! says of etcd, its certificates for one, are variables as they were found.

use super::{durable, process_table};
use protocol::effect::Start;
use std::{
    fs, io,
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

/// Longest path of a unix socket: sockaddr_un holds 108 bytes, the last one zero (unix(7)).
const SOCKET_PATH_MAX: usize = 107;

/// The flag that says where clients come in.
const CLIENTS: &str = "listen-client-urls";
/// The flag that opens a port for clients of its own, beside the one of quarantine.
const CLIENTS_BESIDE: &str = "listen-client-http-urls";

/// How etcd is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecConfig {
    /// Directory of the `etcd` binary.
    pub etcd_dir: PathBuf,
    /// `--data-dir`.
    pub data_dir: PathBuf,
    /// Ours, 0700: lock, pid and log of an etcd that we run ourselves.
    pub state_dir: PathBuf,
    /// The socket that leads to a quarantined member, in a directory that nobody else may enter.
    pub socket: PathBuf,
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
    /// Makes the directory and the way free for etcd's socket; nothing runs that could still own it.
    ///
    /// # Errors
    /// The path is too long for a socket, or what lies there can't be removed.
    pub(super) fn free_socket(&self) -> io::Result<()> {
        let socket = absolute(&self.socket);
        let length = socket.as_os_str().len();
        if length > SOCKET_PATH_MAX {
            return Err(io::Error::other(format!(
                "{} has {length} bytes and a socket's path at most {SOCKET_PATH_MAX}; choose a shorter directory",
                socket.display()
            )));
        }
        let named =
            |why: io::Error| io::Error::new(why.kind(), format!("{}: {why}", socket.display()));
        if let Some(dir) = socket.parent() {
            durable::make_dirs(dir).map_err(named)?;
        }
        match fs::remove_file(&socket) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => Err(named(why)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// etcd as it is to start.
    pub(super) fn command(&self, start: &Start) -> Command {
        let mut command = Command::new(self.etcd_dir.join("etcd"));
        let arguments = self.arguments(start);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        for argument in &arguments {
            let flag = argument.trim_start_matches('-'); // etcd takes one dash or two
            command.env_remove(process_table::variable(flag.split('=').next().unwrap_or(flag)));
        }
        for name in NEVER_INHERITED {
            command.env_remove(name);
        }
        if start.quarantined {
            command.env_remove(process_table::variable(CLIENTS_BESIDE));
        }
        command.args(arguments);
        command
    }

    /// Where a quarantined member listens.
    fn quarantine_url(&self) -> String {
        let scheme = if self.secure { "unixs" } else { "unix" };
        format!("{scheme}://{}", absolute(&self.socket).display())
    }

    /// What a unit that runs etcd must find in its environment for this start; empty: as if it was not said
    /// ([SRC] etcd pkg/flags/flag.go setFlagFromEnv). Flags in the unit would go before: they are refused.
    pub(super) fn variables(&self, start: &Start) -> Vec<(String, String)> {
        // the seats may stay: with data etcd asks for none, and the next gate needs them
        let silenced = NEVER_INHERITED.iter().filter(|name| **name != "ETCD_INITIAL_CLUSTER");
        let mut told: Vec<(String, String)> =
            silenced.map(|name| ((*name).to_owned(), String::new())).collect();
        if start.quarantined {
            told.push((process_table::variable(CLIENTS), self.quarantine_url()));
            told.push((process_table::variable(CLIENTS_BESIDE), String::new()));
        }
        let Some(join) = &start.join else { return told };
        let state = if join.existing { "existing" } else { "new" };
        let says = [
            ("ETCD_INITIAL_CLUSTER", join.initial_cluster.as_str()),
            ("ETCD_INITIAL_CLUSTER_TOKEN", join.token.as_str()),
            ("ETCD_INITIAL_CLUSTER_STATE", state),
        ];
        told.retain(|(name, _)| !says.iter().any(|(said, _)| name == said));
        told.extend(says.map(|(name, value)| (name.to_owned(), value.to_owned())));
        told
    }

    fn arguments(&self, start: &Start) -> Vec<String> {
        let clients =
            if start.quarantined { self.quarantine_url() } else { self.client_urls.join(",") };
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
        let mut is_its_value = false;
        let extra = self.extra_args.iter().filter(|argument| {
            let lets_in = argument.trim_start_matches('-').starts_with(CLIENTS_BESIDE);
            let goes = start.quarantined && (lets_in || is_its_value);
            is_its_value = lets_in && !argument.contains('=');
            !goes
        });
        arguments.extend(extra.cloned());
        arguments
    }
}

pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{cluster::MemberId, effect::Expected};
    use std::ffi::OsStr;

    fn config(extra_args: &[&str]) -> ExecConfig {
        let set = |name: &str| (name.to_owned(), "http://10.0.0.1:1".to_owned());
        ExecConfig {
            etcd_dir: "/usr/bin".into(),
            data_dir: "/data".into(),
            state_dir: "/state".into(),
            socket: "/state/etcd.sock".into(),
            name: "a".into(),
            peer_url: "http://10.0.0.1:2380".into(),
            listen_peer_urls: vec!["http://10.0.0.1:2380".into()],
            client_urls: vec!["http://10.0.0.1:2379".into()],
            advertise_client_urls: vec!["http://10.0.0.1:2379".into()],
            secure: false,
            environment: vec![set("ETCD_LISTEN_CLIENT_HTTP_URLS"), set("ETCD_SNAPSHOT_COUNT")],
            extra_args: extra_args.iter().map(|argument| (*argument).to_owned()).collect(),
        }
    }

    fn command(extra_args: &[&str], quarantined: bool) -> Command {
        let member = Expected { member_id: MemberId(1), cluster_id: None };
        config(extra_args).command(&Start { quarantined, member, join: None })
    }

    fn is_told(command: &Command, name: &str) -> bool {
        command.get_envs().any(|(said, value)| said == OsStr::new(name) && value.is_some())
    }

    #[test]
    fn quarantine_has_one_way_in() {
        let beside = ["-listen-client-http-urls", "http://10.0.0.1:1", "--quota-backend-bytes=1"];
        let other = ["--listen-client-http-urls=http://10.0.0.1:1", "--quota-backend-bytes=1"];
        for extra in [&beside[..], &other[..]] {
            let shut = command(extra, true);
            let told: Vec<_> = shut.get_args().filter_map(OsStr::to_str).collect();
            assert!(told.contains(&"--listen-client-urls=unix:///state/etcd.sock"), "{told:?}");
            assert!(told.contains(&"--quota-backend-bytes=1"), "{told:?}");
            assert!(!told.iter().any(|said| said.ends_with(":1")), "{told:?}");
            assert!(!is_told(&shut, "ETCD_LISTEN_CLIENT_HTTP_URLS"));
            assert_eq!(
                command(extra, false).get_args().count(),
                shut.get_args().count() + extra.len() - 1
            );
        }
        assert!(is_told(&command(&[], false), "ETCD_LISTEN_CLIENT_HTTP_URLS"));
    }

    #[test]
    fn no_variable_says_what_a_flag_says() {
        for extra in ["--snapshot-count=1", "-snapshot-count=1"] {
            assert!(!is_told(&command(&[extra], false), "ETCD_SNAPSHOT_COUNT"), "{extra}");
        }
        assert!(is_told(&command(&[], false), "ETCD_SNAPSHOT_COUNT"));
    }
}
