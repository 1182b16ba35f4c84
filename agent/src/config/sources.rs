//! **sources** — flags, environment, environment files and `cluster.yaml` become one [`Environment`].
//!
//! The first of them that says something about a name wins; an empty value says nothing, as etcd
//! and systemd have it. What the gate wrote for an earlier start of etcd is nobody's setting: etcd's unit
//! hands it to the gate of the next one as well.

use super::{Environment, cluster_yaml, env_file, flags::Flags, owner::MEMBER_FILE};
use crate::exit::{Code, Problem};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// Where kube-aws leaves the environment of etcd and its tools.
pub const ENV_FILE: &str = "/var/run/coreos/etcdadm-environment";
/// Where it leaves that of etcd alone.
const ETCD_FILE: &str = "/etc/etcd-environment";
/// What the gate writes of this is a list of the seats like any other.
const SEATS: &str = "ETCD_INITIAL_CLUSTER";
/// For our own settings: kube-aws writes the two others anew at each boot.
const OWN_FILE: &str = "/etc/requorum/environment";

/// A setting and who said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its value.
    pub value: String,
    /// `flag`, `environment`, or the file.
    pub origin: String,
}

/// Settings by their names, and who said each.
pub type Gathered = BTreeMap<String, Said>;

/// What [`gathered`] gives, without who said it.
///
/// # Errors
/// The same.
pub fn environment(
    flags: &Flags,
    process: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Environment, Problem> {
    let all = gathered(flags, process, true)?;
    Ok(all.into_iter().map(|(name, said)| (name, said.value)).collect())
}

/// Gathers what flags, the process's variables, the environment files and `cluster.yaml` say; a gate does without the
/// last, which says nothing that it needs.
///
/// # Errors
/// [`Code::Usage`]: a variable of ours is not UTF-8, the file that was asked for is absent, or one
/// that is there can't be read.
pub fn gathered(
    flags: &Flags,
    process: impl Iterator<Item = (OsString, OsString)>,
    yaml_too: bool,
) -> Result<Gathered, Problem> {
    let mut said = variables(process)?;
    let asked = flags.env_file.clone().or_else(|| said.get("REQUORUM_ENV_FILE").map(PathBuf::from));
    let must = asked.is_some();
    let usual = [OWN_FILE, ENV_FILE, ETCD_FILE].map(PathBuf::from);
    let sources = asked.map_or_else(|| usual.to_vec(), |file| vec![file]);
    let mut files = Gathered::new();
    for file in sources {
        for (name, value) in read(&file, must)? {
            // `PATH` and the like in that file are for units; a setting may be said there
            if is_setting(&name) {
                add(&mut files, name, value, &file.display().to_string());
            }
        }
    }
    let find = |name: &str| said.get(name).or_else(|| Some(&files.get(name)?.value)).cloned();
    let member_file = find(MEMBER_FILE.0).unwrap_or_else(|| MEMBER_FILE.1.to_owned());
    let yaml = find("REQUORUM_CLUSTER_YAML");
    for (name, value) in read(Path::new(&member_file), false)? {
        if name != SEATS && said.get(&name) == Some(&value) {
            said.remove(&name);
        }
    }
    let mut all = Gathered::new();
    flags.said().for_each(|(name, value)| add(&mut all, name, value, "flag"));
    said.into_iter().for_each(|(name, value)| add(&mut all, name, value, "environment"));
    for (name, said) in files {
        all.entry(name).or_insert(said);
    }
    let (file, must) = (yaml.as_deref().unwrap_or(cluster_yaml::FILE), yaml.is_some());
    let text = if yaml_too { text_of(Path::new(file), must)? } else { None };
    if let Some(text) = text {
        for (name, value) in cluster_yaml::settings(Path::new(file), &text)? {
            add(&mut all, name, value, file);
        }
    }
    Ok(all)
}

/// Who comes first is heard; an empty value says nothing.
fn add(all: &mut Gathered, name: String, value: String, origin: &str) {
    if !value.trim().is_empty() {
        all.entry(name).or_insert_with(|| Said { value, origin: origin.to_owned() });
    }
}

/// The variables of the process.
fn variables(process: impl Iterator<Item = (OsString, OsString)>) -> Result<Environment, Problem> {
    let mut all = Environment::new();
    for (name, value) in process {
        let Ok(name) = name.into_string() else { continue }; // not one of ours: ours are ASCII
        match value.into_string() {
            Ok(value) if !value.trim().is_empty() => drop(all.insert(name, value)),
            Ok(_) => {}
            Err(_) if is_setting(&name) => {
                return Err(Problem::new(Code::Usage, format!("{name} is not valid UTF-8"))
                    .next(format!("set {name} again")));
            }
            Err(_) => {}
        }
    }
    Ok(all)
}

pub(super) fn is_setting(name: &str) -> bool {
    ["ETCD_", "ETCDADM_", "ETCDCTL_", "REQUORUM_"].iter().any(|prefix| name.starts_with(prefix))
}

/// What an environment file says; one that needn't be there says nothing where it is not.
fn read(path: &Path, must: bool) -> Result<Environment, Problem> {
    let Some(text) = text_of(path, must)? else { return Ok(Environment::new()) };
    env_file::parse(&text).map_err(|error| {
        Problem::new(Code::Usage, format!("{} is damaged", path.display()))
            .because(error)
            .next(format!("close the quotes in {}", path.display()))
    })
}

/// A file's text; `None`: it is not there, and needn't be.
fn text_of(path: &Path, must: bool) -> Result<Option<String>, Problem> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound && !must => Ok(None),
        Err(error) => Err(Problem::new(Code::Usage, format!("{} can't be read", path.display()))
            .because(error)
            .next("run it as root, or name a readable file with --env-file FILE")),
    }
}
