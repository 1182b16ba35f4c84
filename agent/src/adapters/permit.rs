//! **permit** — the files between the agent and the gate: the permit, and what etcd's unit reads.
//!
//! Comes in: a start as the core decided it. Goes out: `permit.json` in the runtime directory, which is gone
//! at the next boot; and the member file, which systemd reads anew before each process of a unit
//! ([SRC] systemd src/core/execute.c exec_context_load_environment), so what the gate writes there is what
//! etcd finds.

use super::{
    durable, etcd_command::ExecConfig, member_process::boot_id, stops::Stops, unit_bus::Bus,
};
use crate::ports::{permits::Permits, service::ServiceError};
use async_trait::async_trait;
use protocol::{
    cluster::{ClusterId, MemberId},
    effect::{Expected, Join, Start},
};
use rustix::fs::{AtFlags, CWD, Gid, Uid, chownat, stat};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// `permit.json`.
#[derive(Serialize, Deserialize)]
struct Permit {
    version: u32,
    boot_id: String,
    quarantined: bool,
    member_id: u64,
    cluster_id: Option<u64>,
    join: Option<Joining>,
}

#[derive(Serialize, Deserialize)]
struct Joining {
    initial_cluster: String,
    token: String,
    existing: bool,
}

/// Where agent and gate meet.
#[derive(Clone)]
pub struct PermitFiles {
    unit: String,
    runtime_dir: PathBuf,
    member_file: PathBuf,
    config: ExecConfig,
}

impl PermitFiles {
    /// `runtime_dir`: ours, emptied at boot. `member_file`: what the unit reads last.
    pub fn new(unit: &str, runtime_dir: &Path, member_file: &Path, config: ExecConfig) -> Self {
        let (runtime_dir, member_file) = (runtime_dir.to_owned(), member_file.to_owned());
        Self { unit: unit.to_owned(), runtime_dir, member_file, config }
    }

    fn stops(&self) -> Stops {
        Stops::new(&self.runtime_dir)
    }

    /// What etcd's unit reads last.
    pub(super) fn member_file(&self) -> &Path {
        &self.member_file
    }

    fn permit(&self) -> PathBuf {
        self.runtime_dir.join("permit.json")
    }

    /// The agent's side: asks for this start.
    pub(super) fn leave(&self, start: &Start) -> Result<(), ServiceError> {
        let boot_id = boot_id().ok_or_else(|| ServiceError("this boot has no id".into()))?;
        let join = start.join.as_ref().map(|join| Joining {
            initial_cluster: join.initial_cluster.clone(),
            token: join.token.clone(),
            existing: join.existing,
        });
        let permit = Permit {
            version: 1,
            boot_id,
            quarantined: start.quarantined,
            member_id: start.member.member_id.0,
            cluster_id: start.member.cluster_id.map(|id| id.0),
            join,
        };
        let bytes = serde_json::to_vec(&permit).map_err(io::Error::from);
        bytes
            .and_then(|bytes| durable::write(&self.permit(), &bytes))
            .map_err(|why| named(&self.permit(), &why))
    }

    /// Nobody has taken it, and nobody should.
    pub(super) fn withdraw(&self) -> Result<(), ServiceError> {
        durable::remove(&self.permit()).map_err(|why| named(&self.permit(), &why))
    }
}

#[async_trait]
impl Permits for PermitFiles {
    fn take(&self) -> Result<Option<Start>, ServiceError> {
        let path = self.permit();
        let bytes = durable::read(&path).map_err(|why| named(&path, &why))?;
        let Some(bytes) = bytes else {
            self.stops().forget()?;
            return Ok(None);
        };
        self.withdraw()?; // first: what can't be understood must not stand in the way for ever
        let permit: Permit = serde_json::from_slice(&bytes)
            .map_err(|why| ServiceError(format!("{}: {why}", path.display())))?;
        if permit.version != 1 || Some(&permit.boot_id) != boot_id().as_ref() {
            return Ok(None);
        }
        let join = permit.join.map(|join| Join {
            initial_cluster: join.initial_cluster,
            token: join.token,
            existing: join.existing,
        });
        let member = Expected {
            member_id: MemberId(permit.member_id),
            cluster_id: permit.cluster_id.map(ClusterId),
        };
        Ok(Some(Start { quarantined: permit.quarantined, member, join }))
    }

    fn prepare(&self, start: Option<&Start>) -> Result<(), ServiceError> {
        if start.is_some_and(|start| start.quarantined) {
            self.config.free_socket().map_err(|why| ServiceError(why.to_string()))?;
            let dir = self.config.socket.parent().unwrap_or(&self.runtime_dir);
            open_to_etcd(dir, &self.config.data_dir).map_err(|why| named(dir, &why))?;
        }
        let told = start.map(|start| self.config.variables(start)).unwrap_or_default();
        let lines: String =
            told.iter().map(|(name, value)| format!("{name}={}\n", quoted(value))).collect();
        let text =
            format!("# Written by Requorum before each start of etcd; not to be edited.\n{lines}");
        if durable::read(&self.member_file).is_ok_and(|old| old.as_deref() == Some(text.as_bytes()))
        {
            return Ok(()); // a full /run keeps no etcd down for which nothing has to change
        }
        durable::write(&self.member_file, text.as_bytes())
            .map_err(|why| named(&self.member_file, &why))
    }

    async fn stopped(&self, invocation: &str, result: &str) -> Result<bool, ServiceError> {
        // one that ends by itself is asked to stop by systemd, where another unit is bound to it and it to that
        if !matches!(result, "success" | "timeout") {
            return Ok(false);
        }
        let bus = Bus::new(&self.unit);
        // in doubt it was an operator: etcd that stays down is seen, one that comes back unasked may not be
        let lost = bus.lost_company().await.unwrap_or(false);
        let asked = bus.state().await?.is_about_to_stop() && !lost;
        self.stops().ended(invocation, asked)
    }
}

/// The socket's directory is for the user that owns the data, as whom etcd runs, and for root.
fn open_to_etcd(dir: &Path, data_dir: &Path) -> io::Result<()> {
    let owner = stat(data_dir)?;
    let (uid, gid) = (Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid));
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    chownat(CWD, dir, Some(uid), Some(gid), AtFlags::empty())?;
    let above = dir.parent().unwrap_or(dir);
    fs::set_permissions(above, fs::Permissions::from_mode(0o711)) // etcd passes, and sees nothing
}

/// A value as systemd and shells read it: in double quotes, four characters escaped
/// (config/env_file.rs).
fn quoted(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '`' | '$') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

fn named(path: &Path, why: &io::Error) -> ServiceError {
    ServiceError(format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::env_file;

    fn files(dir: &Path) -> PermitFiles {
        let config = ExecConfig {
            etcd_dir: "/usr/bin".into(),
            data_dir: dir.join("data"),
            state_dir: dir.join("state"),
            socket: dir.join("run/member/etcd.sock"),
            name: "a".into(),
            peer_url: "http://10.0.0.1:2380".into(),
            listen_peer_urls: Vec::new(),
            client_urls: Vec::new(),
            advertise_client_urls: Vec::new(),
            secure: true,
            environment: Vec::new(),
            extra_args: Vec::new(),
        };
        fs::create_dir_all(dir.join("data")).expect("a data dir");
        PermitFiles::new("etcd.service", &dir.join("run"), &dir.join("etc/member.env"), config)
    }

    fn start(join: Option<Join>) -> Start {
        let member = Expected { member_id: MemberId(7), cluster_id: Some(ClusterId(9)) };
        Start { quarantined: true, member, join }
    }

    fn join() -> Join {
        let initial_cluster = "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380".into();
        Join { initial_cluster, token: "to\"ken$HOME".into(), existing: true }
    }

    #[test]
    fn a_permit_is_for_one_start() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let files = files(dir.path());
        assert_eq!(files.take(), Ok(None));
        for start in [start(None), start(Some(join()))] {
            files.leave(&start).expect("left");
            assert_eq!(files.take(), Ok(Some(start)));
            assert_eq!(files.take(), Ok(None), "it was taken");
        }
        files.leave(&start(None)).expect("left");
        files.withdraw().expect("withdrawn");
        assert_eq!(files.take(), Ok(None));
        durable::write(&files.permit(), b"{").expect("written");
        assert!(files.take().is_err(), "half a permit is none");
        assert_eq!(files.take(), Ok(None), "and does not stay");
    }

    #[test]
    fn a_permit_of_another_boot_is_none() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let files = files(dir.path());
        files.leave(&start(None)).expect("left");
        let text = fs::read_to_string(files.permit()).expect("a permit");
        let other = text.replace(&boot_id().expect("a boot id"), "another boot");
        assert_ne!(text, other);
        fs::write(files.permit(), other).expect("written");
        assert_eq!(files.take(), Ok(None));
    }

    #[test]
    fn etcd_reads_what_the_core_decided_and_nothing_of_an_earlier_start() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let files = files(dir.path());
        let read = || {
            let text = fs::read_to_string(&files.member_file).expect("a member file");
            env_file::parse(&text).expect("a sound file")
        };
        files.prepare(Some(&start(Some(join())))).expect("written");
        let told = read();
        assert!(told["ETCD_LISTEN_CLIENT_URLS"].starts_with("unixs://"), "{told:?}");
        assert_eq!(told["ETCD_INITIAL_CLUSTER"], join().initial_cluster);
        assert_eq!(told["ETCD_INITIAL_CLUSTER_TOKEN"], join().token);
        assert_eq!(told["ETCD_INITIAL_CLUSTER_STATE"], "existing");
        assert_eq!(told["ETCD_FORCE_NEW_CLUSTER"], "");
        let dir = fs::metadata(files.config.socket.parent().expect("a directory")).expect("made");
        assert_eq!(dir.permissions().mode() & 0o777, 0o700);
        let open = Start { quarantined: false, ..start(None) };
        files.prepare(Some(&open)).expect("written");
        assert!(!read().contains_key("ETCD_LISTEN_CLIENT_URLS"));
        assert_eq!(read()["ETCD_INITIAL_CLUSTER_STATE"], "");
        assert!(!read().contains_key("ETCD_INITIAL_CLUSTER"), "the next gate needs the seats");
        files.prepare(None).expect("written");
        assert!(read().is_empty());
    }
}
