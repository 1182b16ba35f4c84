//! **sources** — flags, environment and environment file become one [`Environment`].
//!
//! The first of them that says something about a name wins; an empty value says nothing, as etcd
//! and systemd have it.

use super::{Environment, env_file, flags::Flags};
use crate::exit::{Code, Problem};
use std::{ffi::OsString, io::ErrorKind, path::PathBuf};

/// Where kube-aws leaves the environment of etcd and its tools.
pub const ENV_FILE: &str = "/var/run/coreos/etcdadm-environment";

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
    all.extend(flags.said().filter(|(_, value)| !value.trim().is_empty()));
    let asked = flags.env_file.clone().or_else(|| all.get("REQUORUM_ENV_FILE").map(PathBuf::from));
    for (name, value) in read(asked)? {
        // `PATH` and the like in that file are for units; a setting may be said there
        if is_setting(&name) && !value.trim().is_empty() {
            all.entry(name).or_insert(value);
        }
    }
    Ok(all)
}

fn is_setting(name: &str) -> bool {
    ["ETCD_", "ETCDADM_", "ETCDCTL_", "REQUORUM_"].iter().any(|prefix| name.starts_with(prefix))
}

fn read(asked: Option<PathBuf>) -> Result<Environment, Problem> {
    let path = asked.clone().unwrap_or_else(|| ENV_FILE.into());
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && asked.is_none() => {
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
