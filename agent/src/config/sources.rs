//! **sources** — flags, environment and environment files become one [`Environment`].
//!
//! The first of them that says something about a name wins; an empty value says nothing, as etcd
//! and systemd have it. What the gate wrote for an earlier start of etcd is nobody's setting: etcd's unit
//! hands it to the gate of the next one as well.

use super::{Environment, env_file, flags::Flags, owner::MEMBER_FILE};
use crate::exit::{Code, Problem};
use std::{
    ffi::OsString,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// Where kube-aws leaves the environment of etcd and its tools.
pub const ENV_FILE: &str = "/var/run/coreos/etcdadm-environment";
/// Where it leaves that of etcd alone.
const ETCD_FILE: &str = "/etc/etcd-environment";
/// For our own settings: kube-aws writes the two others anew at each boot.
const OWN_FILE: &str = "/etc/requorum/environment";

/// Gathers what flags, the process's variables and the environment file say.
///
/// # Errors
/// [`Code::Usage`]: a variable of ours is not UTF-8, the file that was asked for is absent, or one
/// that is there can't be read.
pub fn environment(
    flags: &Flags,
    process: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Environment, Problem> {
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
    let asked = flags.env_file.clone().or_else(|| all.get("REQUORUM_ENV_FILE").map(PathBuf::from));
    let must = asked.is_some();
    let usual = [OWN_FILE, ENV_FILE, ETCD_FILE].map(PathBuf::from);
    let sources = asked.map_or_else(|| usual.to_vec(), |file| vec![file]);
    let mut files = Environment::new();
    for file in sources {
        for (name, value) in read(&file, must)? {
            // `PATH` and the like in that file are for units; a setting may be said there
            if is_setting(&name) && !value.trim().is_empty() {
                files.entry(name).or_insert(value);
            }
        }
    }
    let said = |name: &str| all.get(name).or_else(|| files.get(name));
    let member_file = PathBuf::from(said(MEMBER_FILE.0).map_or(MEMBER_FILE.1, String::as_str));
    for (name, value) in read(&member_file, false)? {
        if all.get(&name) == Some(&value) {
            all.remove(&name);
        }
    }
    all.extend(flags.said().filter(|(_, value)| !value.trim().is_empty()));
    for (name, value) in files {
        all.entry(name).or_insert(value);
    }
    Ok(all)
}

fn is_setting(name: &str) -> bool {
    ["ETCD_", "ETCDADM_", "ETCDCTL_", "REQUORUM_"].iter().any(|prefix| name.starts_with(prefix))
}

/// What an environment file says; one that needn't be there says nothing where it is not.
fn read(path: &Path, must: bool) -> Result<Environment, Problem> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && !must => {
            return Ok(Environment::new());
        }
        Err(error) => {
            return Err(Problem::new(Code::Usage, format!("{} can't be read", path.display()))
                .because(error)
                .next("run it as root, or name a readable file with --env-file FILE"));
        }
    };
    env_file::parse(&text).map_err(|error| {
        Problem::new(Code::Usage, format!("{} is damaged", path.display()))
            .because(error)
            .next(format!("close the quotes in {}", path.display()))
    })
}
