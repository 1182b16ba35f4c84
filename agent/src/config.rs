//! **config** — the settings of one node, from its environment, checked and defaulted.
//!
//! Comes in: the names that kube-aws and etcd already use (`ETCD_*`, `ETCDADM_*`), and ours
//! (`REQUORUM_*`). Goes out: [`Settings`], or a sentence that names the variable and the cure.
//! Unknown `REQUORUM_*` names are refused with the nearest one offered, so that a typing error
//! can't silently switch a guard off.

mod encryption;
mod etcd_tls;
pub mod env_file;
pub mod flags;
mod owner;
mod choices;
mod cluster_yaml;
mod shown;
mod sources;
mod names;
pub(crate) mod snapshots;

pub use owner::{Owner, Unit};
pub use shown::{Shown, shown};
pub use snapshots::Sealing;
pub use sources::{ENV_FILE, Gathered, Said, environment, gathered};

use crate::{
    adapters::{etcd_client::Certificates, s3_encryption::Encryption},
    exit::{Code, Problem},
};
use choices::{limited, mode, number, threshold, timers};
pub(crate) use names::nearest;
use protocol::{
    cluster::{Instance, Seat, Slot},
    coordinator::{Mode, Threshold},
    limits::{SLOTS_MAX, Timers},
};
use std::{collections::BTreeMap, path::PathBuf};

/// Everything one agent needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `ETCD_NAME`.
    pub name: String,
    /// The seats, from `ETCD_INITIAL_CLUSTER` and `REQUORUM_CLIENT_URLS`; used at genesis only.
    pub seats: Vec<Seat>,
    /// `ETCD_DATA_DIR`.
    pub data_dir: PathBuf,
    /// `ETCD_LISTEN_PEER_URLS`; by default this seat's peer URL.
    pub listen_peer_urls: String,
    /// `ETCD_LISTEN_CLIENT_URLS`; by default this seat's client URL.
    pub listen_client_urls: String,
    /// Bucket of `ETCDADM_CLUSTER_SNAPSHOTS_S3_URI`.
    pub bucket: String,
    /// Prefix in it, without slashes at its ends.
    pub prefix: String,
    /// `REQUORUM_S3_SSE` and `REQUORUM_S3_SSE_KMS_KEY_ID`; default: the bucket's own.
    pub encryption: Encryption,
    /// `REQUORUM_TABLE`, default `requorum`.
    pub table: String,
    /// `REQUORUM_STATE_DIR`, default `/var/lib/requorum`, on the root disk.
    pub state_dir: PathBuf,
    /// `REQUORUM_SERVICE`: `systemd` or `exec`; by default the first where a unit is named.
    pub owner: Owner,
    /// `REQUORUM_ETCD_DIR`: where etcd and etcdutl are; default: the first on `PATH`.
    pub etcd_dir: PathBuf,
    /// `REQUORUM_ETCD_ARGS`, split at white space.
    pub etcd_args: Vec<String>,
    /// What etcd reads from its environment: every `ETCD_*` name, wherever it was said.
    pub etcd_environment: Vec<(String, String)>,
    /// `ETCDCTL_CACERT`, `ETCDCTL_CERT`, `ETCDCTL_KEY`; `None`: clients come in without TLS.
    pub certificates: Option<Certificates>,
    /// `REQUORUM_INSTANCE`, default `/etc/machine-id`.
    pub instance: Instance,
    /// `REQUORUM_TIMERS`: `production` (default) or `quick`. In them `REQUORUM_SNAPSHOT_INTERVAL`,
    /// `REQUORUM_SNAPSHOT_EXPORT_INTERVAL` and `REQUORUM_SNAPSHOT_PEER_CHECK`, and kube-aws's two failure
    /// limits, where they are set.
    pub timers: Timers,
    /// `REQUORUM_SNAPSHOT_FORMAT`: `incremental` (default) or `full`.
    pub incremental: bool,
    /// `REQUORUM_SNAPSHOT_RECIPIENTS` and `REQUORUM_SNAPSHOT_IDENTITY_FILE`; by default nothing is sealed.
    pub sealing: Sealing,
    /// `REQUORUM_SNAPSHOT_EXPORT`: `plain`, `off`; default `plain`, and `off` where snapshots are sealed.
    pub export: bool,
    /// `REQUORUM_MODE`: `automatic` (default), `ask`, `off`.
    pub mode: Mode,
    /// `REQUORUM_THRESHOLD`: `quorum` (default), `1/N`.
    pub threshold: Threshold,
    /// `REQUORUM_MIN_MEMBERS`, default a quorum of the seats.
    pub min_members: Option<usize>,
    /// `REQUORUM_MAX_LOSS` in revisions, default no bound.
    pub max_loss: Option<u64>,
    /// `REQUORUM_HOLD`, for drills.
    pub hold: Option<String>,
}

impl Settings {
    /// The socket that leads to a quarantined member. Where etcd runs as a user of its own, it can't make
    /// one in the agent's state directory.
    pub fn socket(&self) -> PathBuf {
        match &self.owner {
            Owner::Exec => self.state_dir.join("etcd.sock"),
            Owner::Systemd(unit) => unit.runtime_dir.join("member/etcd.sock"),
        }
    }
}

/// A snapshot of the environment.
pub type Environment = BTreeMap<String, String>;

/// Reads and checks the settings.
///
/// # Errors
/// [`Code::Usage`], with a sentence that names the variable.
pub fn settle(env: &Environment) -> Result<Settings, Problem> {
    names::refuse_unknown(env)?;
    let name = required(env, "ETCD_NAME", "this node's name in ETCD_INITIAL_CLUSTER")?;
    let peers = pairs(
        "ETCD_INITIAL_CLUSTER",
        &required(env, "ETCD_INITIAL_CLUSTER", "name=peer-url,...")?,
    )?;
    let seats = seats(env, &name, &peers)?;
    let Some(seat) = seats.iter().find(|seat| seat.name == name) else {
        return Err(wrong("ETCD_NAME", &name, "one of the names in ETCD_INITIAL_CLUSTER"));
    };
    let (bucket, prefix) = s3_uri(env)?;
    let optional =
        |key: &str, default: &str| env.get(key).cloned().unwrap_or_else(|| default.to_owned());
    let (data_dir, state_dir) = directories(env)?;
    let sealing = snapshots::sealing(env)?;
    Ok(Settings {
        data_dir,
        state_dir,
        listen_peer_urls: optional("ETCD_LISTEN_PEER_URLS", &listen(&seat.peer_url)),
        listen_client_urls: optional("ETCD_LISTEN_CLIENT_URLS", &listen(&seat.client_url)),
        bucket,
        prefix,
        encryption: encryption::encryption(env)?,
        table: optional("REQUORUM_TABLE", "requorum"),
        owner: owner::owner(env)?,
        etcd_dir: etcd_dir(env),
        etcd_args: optional("REQUORUM_ETCD_ARGS", "")
            .split_whitespace()
            .map(ToOwned::to_owned)
            .collect(),
        etcd_environment: etcd_environment(env),
        certificates: etcd_tls::certificates(env, &seats, seat)?,
        instance: instance(env)?,
        timers: snapshots::timed(env, limited(env, timers(env)?)?)?,
        incremental: snapshots::incremental(env)?,
        export: snapshots::export(env, &sealing)?,
        sealing,
        mode: mode(env)?,
        threshold: threshold(env)?,
        min_members: number(env, "REQUORUM_MIN_MEMBERS", 1..=seats.len() as u64)?
            .map(|n| n as usize),
        max_loss: number(env, "REQUORUM_MAX_LOSS", 0..=u64::MAX)?,
        hold: env.get("REQUORUM_HOLD").cloned(),
        seats,
        name,
    })
}

/// The settings of a gate: where some are wrong that it does not need, it answers without them. A typing error in the
/// name of a guard must keep no etcd down that may run (protocol.md 1.4, boot rule 2).
///
/// # Errors
/// As [`settle`], for what a gate needs: which member this is, where its data and its records are.
pub fn settle_gate(env: &Environment) -> Result<Settings, Problem> {
    settle(env).or_else(|problem| {
        let needed: Environment = env
            .iter()
            .filter(|(name, _)| names::is_a_gates(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let settings = settle(&needed)?;
        tracing::warn!("the gate answers without what is wrong: {}", problem.sentence);
        Ok(settings)
    })
}

fn wrong(key: &str, value: &str, wanted: &str) -> Problem {
    Problem::new(Code::Usage, format!("{key} is `{value}`; it must be {wanted}")).next(
        "mend it in /var/run/coreos/etcdadm-environment or in the unit, then start the agent again",
    )
}

fn required(env: &Environment, key: &str, what: &str) -> Result<String, Problem> {
    env.get(key).filter(|value| !value.is_empty()).cloned().ok_or_else(|| {
        Problem::new(Code::Usage, format!("{key} is not set; it is {what}"))
            .next("set -a; source /var/run/coreos/etcdadm-environment; set +a")
    })
}

/// The agent's socket alone needs this one setting: questions to a running agent must not fail
/// for others.
pub fn state_dir(env: &Environment) -> PathBuf {
    env.get("REQUORUM_STATE_DIR").map_or("/var/lib/requorum", String::as_str).into()
}

/// Data and state. The promise not to run is kept on the root disk *and* in the data volume
/// (protocol.md 1.4); a state directory inside the data would be lost with it.
fn directories(env: &Environment) -> Result<(PathBuf, PathBuf), Problem> {
    let data = PathBuf::from(required(env, "ETCD_DATA_DIR", "etcd's data directory")?);
    let state = state_dir(env);
    for (key, dir) in [("ETCD_DATA_DIR", &data), ("REQUORUM_STATE_DIR", &state)] {
        let climbs = dir.components().any(|part| part == std::path::Component::ParentDir);
        if !dir.is_absolute() || climbs {
            return Err(wrong(key, &dir.display().to_string(), "an absolute path without `..`"));
        }
    }
    if state.starts_with(&data) {
        let wanted = "a directory on the root disk, outside ETCD_DATA_DIR";
        return Err(wrong("REQUORUM_STATE_DIR", &state.display().to_string(), wanted));
    }
    Ok((data, state))
}

/// Where etcd listens if nothing is said: at the advertised address; everywhere at that port if
/// that is a name, because etcd listens at addresses only.
fn listen(advertised: &str) -> String {
    let parts = advertised.split_once("://").and_then(|(scheme, rest)| {
        let (host, port) = rest.rsplit_once(':')?;
        Some((scheme, host.trim_matches(['[', ']']), port))
    });
    match parts {
        Some((scheme, host, port)) if host.parse::<std::net::IpAddr>().is_err() => {
            format!("{scheme}://0.0.0.0:{port}")
        }
        Some(_) | None => advertised.to_owned(),
    }
}

/// `name=url,name=url` in the order written.
fn pairs(key: &str, text: &str) -> Result<Vec<(String, String)>, Problem> {
    let pair = |part: &str| {
        let (name, url) = part.trim().split_once('=')?;
        let sound = !name.is_empty() && (url.starts_with("http://") || url.starts_with("https://"));
        sound.then(|| (name.to_owned(), url.trim_end_matches('/').to_owned()))
    };
    let parsed: Option<Vec<_>> = text.split(',').map(pair).collect();
    let parsed = parsed.ok_or_else(|| wrong(key, text, "name=http(s)://host:port,..."))?;
    let names: std::collections::BTreeSet<_> = parsed.iter().map(|(name, _)| name).collect();
    let urls: std::collections::BTreeSet<_> = parsed.iter().map(|(_, url)| url).collect();
    if names.len() != parsed.len() || urls.len() != parsed.len() || parsed.len() > SLOTS_MAX {
        return Err(wrong(key, text, &format!("1 to {SLOTS_MAX} different names and URLs")));
    }
    Ok(parsed)
}

/// Seats are numbered by name, so that every node counts them alike however it lists them.
fn seats(env: &Environment, name: &str, peers: &[(String, String)]) -> Result<Vec<Seat>, Problem> {
    let clients = match env.get("REQUORUM_CLIENT_URLS") {
        Some(text) => pairs("REQUORUM_CLIENT_URLS", text)?,
        None => client_urls_like_mine(env, name, peers)?,
    };
    let sorted: BTreeMap<_, _> = peers.iter().cloned().collect();
    let seat = |(number, (name, peer_url)): (usize, (String, String))| {
        let client_url = clients.iter().find(|(at, _)| *at == name).map(|(_, url)| url.clone());
        let slot = Slot(u8::try_from(number).unwrap_or(u8::MAX));
        client_url.map(|client_url| Seat { slot, name, peer_url, client_url })
    };
    let seats: Option<Vec<Seat>> = sorted.into_iter().enumerate().map(seat).collect();
    seats.ok_or_else(|| {
        let said = env.get("REQUORUM_CLIENT_URLS").map(String::as_str).unwrap_or_default();
        wrong("REQUORUM_CLIENT_URLS", said, "one URL for each name in ETCD_INITIAL_CLUSTER")
    })
}

/// Where nothing is said: every node's clients come in at its peer host, with this node's scheme
/// and port.
fn client_urls_like_mine(
    env: &Environment,
    name: &str,
    peers: &[(String, String)],
) -> Result<Vec<(String, String)>, Problem> {
    let key = "ETCD_ADVERTISE_CLIENT_URLS";
    let mine = required(env, key, "this node's client URL")?;
    let mine = mine.split(',').next().unwrap_or_default().trim_end_matches('/').to_owned();
    let (scheme, _) =
        mine.split_once("://").ok_or_else(|| wrong(key, &mine, "http(s)://host:port"))?;
    let (_, port) =
        mine.rsplit_once(':').ok_or_else(|| wrong(key, &mine, "http(s)://host:port"))?;
    let host = |url: &str| {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        rest.rsplit_once(':').map_or(rest, |(host, _)| host).to_owned()
    };
    let url = |(at, peer): &(String, String)| {
        let url =
            if at == name { mine.clone() } else { format!("{scheme}://{}:{port}", host(peer)) };
        (at.clone(), url)
    };
    Ok(peers.iter().map(url).collect())
}

fn s3_uri(env: &Environment) -> Result<(String, String), Problem> {
    let key = "ETCDADM_CLUSTER_SNAPSHOTS_S3_URI";
    let uri = required(env, key, "s3://bucket/prefix")?;
    let rest = uri.strip_prefix("s3://").ok_or_else(|| wrong(key, &uri, "s3://bucket/prefix"))?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(wrong(key, &uri, "s3://bucket/prefix"));
    }
    Ok((bucket.to_owned(), prefix.trim_matches('/').to_owned()))
}

/// `ETCDCTL_*` and `ETCDADM_*` are other programs' names.
fn etcd_environment(env: &Environment) -> Vec<(String, String)> {
    let of_etcd = env.iter().filter(|(name, _)| name.starts_with("ETCD_"));
    of_etcd.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Where etcd's tools are: on PATH, or beside our own binary. That they are nowhere keeps an agent from running, which
/// asks them for their versions; it must keep no gate from answering.
fn etcd_dir(env: &Environment) -> PathBuf {
    if let Some(dir) = env.get("REQUORUM_ETCD_DIR") {
        return dir.into();
    }
    let path = env.get("PATH").cloned().unwrap_or_default();
    let own = std::env::current_exe().ok().and_then(|file| Some(file.parent()?.to_owned()));
    let found = std::env::split_paths(&path)
        .chain(own)
        .find(|dir| dir.join("etcd").is_file() && dir.join("etcdutl").is_file());
    found.unwrap_or_else(|| "/usr/bin".into())
}

fn instance(env: &Environment) -> Result<Instance, Problem> {
    if let Some(instance) = env.get("REQUORUM_INSTANCE").filter(|value| !value.is_empty()) {
        return Ok(Instance(instance.clone()));
    }
    let id = std::fs::read_to_string("/etc/machine-id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default();
    if id.is_empty() {
        let problem = Problem::new(
            Code::Usage,
            "this machine has no identity: /etc/machine-id is empty or not there",
        );
        return Err(problem.next("set REQUORUM_INSTANCE to a name that no other machine ever had"));
    }
    Ok(Instance(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Environment {
        let pairs = [
            ("ETCD_NAME", "etcd1"),
            ("ETCD_INITIAL_CLUSTER", "etcd1=http://127.0.0.2:2380,etcd0=http://127.0.0.1:2380"),
            ("ETCD_DATA_DIR", "/var/lib/etcd"),
            ("ETCD_ADVERTISE_CLIENT_URLS", "http://127.0.0.2:2379"),
            ("ETCDADM_CLUSTER_SNAPSHOTS_S3_URI", "s3://bucket/a/b/"),
            ("REQUORUM_ETCD_DIR", "/usr/bin"),
            ("REQUORUM_INSTANCE", "i-1"),
        ];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn seats_are_counted_alike_on_every_node() {
        let settings = settle(&sound()).expect("sound");
        assert_eq!(settings.seats[0].name, "etcd0");
        assert_eq!(settings.seats[0].client_url, "http://127.0.0.1:2379");
        assert_eq!((settings.bucket.as_str(), settings.prefix.as_str()), ("bucket", "a/b"));
        assert_eq!(settings.timers, Timers::PRODUCTION);
    }

    #[test]
    fn each_wrong_value_names_itself() {
        let cases = [
            ("ETCD_NAME", "etcd9"),
            ("ETCD_INITIAL_CLUSTER", "etcd1=ftp://x"),
            ("ETCDADM_CLUSTER_SNAPSHOTS_S3_URI", "bucket/a"),
            ("ETCD_INITIAL_CLUSTER", "etcd1=http://127.0.0.1:1,etcd0=http://127.0.0.1:1"),
            ("ETCD_DATA_DIR", "data"),
            ("ETCD_DATA_DIR", "/var/lib/../etcd"),
            ("REQUORUM_STATE_DIR", "/var/lib/etcd/requorum"),
            ("REQUORUM_TIMERS", "fast"),
            ("REQUORUM_MODE", "yes"),
            ("REQUORUM_THRESHOLD", "half"),
            ("REQUORUM_MIN_MEMBERS", "0"),
            ("REQUORUM_MAX_LOSS", "-1"),
        ];
        for (key, value) in cases {
            let mut env = sound();
            env.insert(key.into(), value.into());
            let problem = settle(&env).expect_err(key);
            assert!(problem.sentence.contains(key) && problem.code == Code::Usage, "{problem}");
        }
    }

    #[test]
    fn etcd_listens_at_addresses_only() {
        assert_eq!(listen("https://etcd0.internal:2380"), "https://0.0.0.0:2380");
        assert_eq!(listen("http://10.0.0.1:2380"), "http://10.0.0.1:2380");
        assert_eq!(listen("http://[::1]:2380"), "http://[::1]:2380");
    }
}
