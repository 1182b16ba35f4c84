//! **flags** — every setting as a flag, for whom the environment is not the place.
//!
//! Comes from the command line. Goes to [`environment`](super::environment) as the variable that
//! it stands for, so a setting is checked in one place only, whoever said it.

use std::path::PathBuf;

/// The settings' flags; each stands for the variable that its help names.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Settings (flag, then environment, then environment file)")]
pub struct Flags {
    /// Read settings from this file, as systemd reads an EnvironmentFile [REQUORUM_ENV_FILE;
    /// default: /var/run/coreos/etcdadm-environment if it exists]
    #[arg(long, value_name = "FILE", global = true, hide_short_help = true)]
    pub env_file: Option<PathBuf>,
    /// This member's name, one of those in the initial cluster [ETCD_NAME]
    #[arg(long, value_name = "NAME", global = true, hide_short_help = true)]
    pub etcd_name: Option<String>,
    /// All seats, name=peer-url,... [ETCD_INITIAL_CLUSTER]
    #[arg(long, value_name = "SEATS", global = true, hide_short_help = true)]
    pub initial_cluster: Option<String>,
    /// etcd's data directory [ETCD_DATA_DIR]
    #[arg(long, value_name = "DIR", global = true, hide_short_help = true)]
    pub data_dir: Option<String>,
    /// Where clients reach this member [ETCD_ADVERTISE_CLIENT_URLS]
    #[arg(long, value_name = "URL", global = true, hide_short_help = true)]
    pub client_url: Option<String>,
    /// Where clients reach each member, name=url,... [REQUORUM_CLIENT_URLS; default: each seat's
    /// peer host with this member's client scheme and port]
    #[arg(long, value_name = "SEATS", global = true, hide_short_help = true)]
    pub client_urls: Option<String>,
    /// Bucket and prefix, s3://bucket/prefix [ETCDADM_CLUSTER_SNAPSHOTS_S3_URI]
    #[arg(long, value_name = "URI", global = true, hide_short_help = true)]
    pub snapshots: Option<String>,
    /// DynamoDB table of the lock records [REQUORUM_TABLE; default: requorum]
    #[arg(long, value_name = "TABLE", global = true, hide_short_help = true)]
    pub table: Option<String>,
    /// The agent's memory and socket [REQUORUM_STATE_DIR; default: /var/lib/requorum]
    #[arg(long, value_name = "DIR", global = true, hide_short_help = true)]
    pub state_dir: Option<String>,
    /// Directory with etcd and etcdutl [REQUORUM_ETCD_DIR; default: on PATH, else beside this program]
    #[arg(long, value_name = "DIR", global = true, hide_short_help = true)]
    pub etcd_dir: Option<String>,
    /// This machine's identity, never used by another one [REQUORUM_INSTANCE; default:
    /// /etc/machine-id]
    #[arg(long, value_name = "ID", global = true, hide_short_help = true)]
    pub instance: Option<String>,
    /// automatic, ask or off [REQUORUM_MODE; default: automatic]
    #[arg(long, value_name = "MODE", global = true, hide_short_help = true)]
    pub mode: Option<String>,
}

impl Flags {
    /// What was said, under the names of the variables.
    pub(super) fn said(&self) -> impl Iterator<Item = (String, String)> {
        let pairs = [
            ("ETCD_NAME", &self.etcd_name),
            ("ETCD_INITIAL_CLUSTER", &self.initial_cluster),
            ("ETCD_DATA_DIR", &self.data_dir),
            ("ETCD_ADVERTISE_CLIENT_URLS", &self.client_url),
            ("REQUORUM_CLIENT_URLS", &self.client_urls),
            ("ETCDADM_CLUSTER_SNAPSHOTS_S3_URI", &self.snapshots),
            ("REQUORUM_TABLE", &self.table),
            ("REQUORUM_STATE_DIR", &self.state_dir),
            ("REQUORUM_ETCD_DIR", &self.etcd_dir),
            ("REQUORUM_INSTANCE", &self.instance),
            ("REQUORUM_MODE", &self.mode),
        ];
        pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)))
    }
}
