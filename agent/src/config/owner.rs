//! **owner** — who runs this node's etcd: its systemd unit, or the agent itself.
//!
//! Comes in: kube-aws's names of the unit and of the file that the unit reads, and ours. Goes out: [`Owner`].
//! Who names a unit has one: it is the default then (design.md 1.9).

use super::{Environment, wrong};
use crate::exit::Problem;
use std::path::PathBuf;

/// The unit, as kube-aws calls it.
const UNIT: &str = "etcd-member.service";
/// The setting that names the file which etcd's unit reads last, and where kube-aws's unit reads it.
pub(super) const MEMBER_FILE: (&str, &str) =
    ("ETCDADM_MEMBER_ENV_FILE", "/var/run/coreos/etcdadm/etcd-member.env");

/// Who starts and stops etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The agent, as a child that outlives it.
    Exec,
    /// systemd.
    Systemd(Unit),
}

/// etcd's unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// `ETCDADM_MEMBER_SYSTEMD_UNIT_NAME`, or `ETCDADM_MEMBER_SYSTEMD_SERVICE_NAME` and `.service`.
    pub name: String,
    /// `ETCDADM_MEMBER_ENV_FILE`: what the unit reads after all other variables.
    pub member_file: PathBuf,
    /// `REQUORUM_RUNTIME_DIR`, default `/run/requorum`: what must not outlive a boot.
    pub runtime_dir: PathBuf,
}

pub(super) fn owner(env: &Environment) -> Result<Owner, Problem> {
    let said = |name: &str| env.get(name).filter(|value| !value.is_empty()).cloned();
    let service = said("ETCDADM_MEMBER_SYSTEMD_SERVICE_NAME").map(|name| format!("{name}.service"));
    let unit = said("ETCDADM_MEMBER_SYSTEMD_UNIT_NAME").or(service);
    let by_unit = match said("REQUORUM_SERVICE").as_deref() {
        None => unit.is_some(),
        Some("systemd") => true,
        Some("exec") => false,
        Some(other) => return Err(wrong("REQUORUM_SERVICE", other, "`systemd` or `exec`")),
    };
    if !by_unit {
        return Ok(Owner::Exec);
    }
    let name = unit.unwrap_or_else(|| UNIT.to_owned());
    let plain = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c); // systemd.unit(5)
    if !name.ends_with(".service") || !name.chars().all(plain) {
        return Err(wrong("ETCDADM_MEMBER_SYSTEMD_UNIT_NAME", &name, "the name of a service unit"));
    }
    let path = |key: &str, default: &str| {
        let path = PathBuf::from(said(key).unwrap_or_else(|| default.to_owned()));
        if path.is_absolute() {
            return Ok(path);
        }
        Err(wrong(key, &path.display().to_string(), "an absolute path"))
    };
    Ok(Owner::Systemd(Unit {
        name,
        member_file: path(MEMBER_FILE.0, MEMBER_FILE.1)?,
        runtime_dir: path("REQUORUM_RUNTIME_DIR", "/run/requorum")?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(set: &[(&str, &str)]) -> Result<Owner, Problem> {
        owner(&set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn who_names_a_unit_has_one() {
        let unit = |name: &str, file: &str| {
            let (name, runtime_dir) = (name.to_owned(), "/run/requorum".into());
            Ok(Owner::Systemd(Unit { name, member_file: file.into(), runtime_dir }))
        };
        let service = ("ETCDADM_MEMBER_SYSTEMD_SERVICE_NAME", "etcd");
        assert_eq!(owned(&[]), Ok(Owner::Exec));
        assert_eq!(owned(&[("REQUORUM_SERVICE", "systemd")]), unit(UNIT, MEMBER_FILE.1));
        assert_eq!(owned(&[service]), unit("etcd.service", MEMBER_FILE.1));
        assert_eq!(owned(&[service, ("REQUORUM_SERVICE", "exec")]), Ok(Owner::Exec));
        let named = ("ETCDADM_MEMBER_SYSTEMD_UNIT_NAME", "etcd-main.service");
        let file = ("ETCDADM_MEMBER_ENV_FILE", "/run/a.env");
        assert_eq!(owned(&[service, named, file]), unit("etcd-main.service", "/run/a.env"));
    }

    #[test]
    fn what_is_no_unit_is_refused_by_name() {
        assert!(owned(&[("REQUORUM_SERVICE", "upstart")]).is_err());
        for (key, value) in [
            ("ETCDADM_MEMBER_SYSTEMD_UNIT_NAME", "etcd.timer"),
            ("ETCDADM_MEMBER_SYSTEMD_UNIT_NAME", "../etcd.service"),
            ("ETCDADM_MEMBER_ENV_FILE", "member.env"),
            ("REQUORUM_RUNTIME_DIR", "run"),
        ] {
            let problem = owned(&[("REQUORUM_SERVICE", "systemd"), (key, value)]).expect_err(key);
            assert!(problem.sentence.contains(key), "{problem}");
        }
    }
}
