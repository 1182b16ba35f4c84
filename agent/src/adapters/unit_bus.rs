//! **unit_bus** — one systemd unit over D-Bus: what it is doing, and five words to it.
//!
//! In: the unit's name. Out: [`UnitState`], or why it can't be told. Every question is asked anew, over a
//! connection that is made again when it was lost: after `systemctl daemon-reexec` the bus is another.

use crate::ports::service::ServiceError;
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{sync::Mutex, time::timeout};
use zbus::{Connection, OwnedObjectPath, OwnedVariant};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
/// How long systemd may take to answer; it answers at once unless it is stuck.
const PATIENCE: Duration = Duration::from_secs(5);

/// A command of a unit as systemd tells it (org.freedesktop.systemd1(5), ExecStart): path, arguments, whether a
/// failure is ignored, and eight figures of its last run.
type Command = (String, Vec<String>, bool, u64, u64, u64, u64, u32, i32, i32);

/// What a unit is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnitState {
    active: String,
    sub: String,
    /// How it ended last.
    result: String,
    /// What it was asked to do and is about to: `start`, `stop`, `restart`.
    job: Option<String>,
    has_processes: bool,
}

impl UnitState {
    /// Nothing of it runs, and nothing will unless it is asked to.
    pub(super) fn is_at_rest(&self) -> bool {
        matches!(self.active.as_str(), "inactive" | "failed")
            && self.job.is_none()
            && !self.has_processes
    }
}

impl UnitState {
    /// Somebody asked for a start, and its gate has not answered yet.
    pub(super) fn is_about_to_start(&self) -> bool {
        matches!(self.job.as_deref(), Some("start" | "restart"))
    }

    /// It is asked to stop, and not to start again.
    pub(super) fn is_about_to_stop(&self) -> bool {
        self.job.as_deref() == Some("stop")
    }
}

impl fmt::Display for UnitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, last result {})", self.active, self.sub, self.result)
    }
}

/// A unit's place on the bus.
pub(super) struct Bus {
    unit: String,
    connection: Mutex<Option<Connection>>,
}

impl Bus {
    pub(super) fn new(unit: &str) -> Self {
        Self { unit: unit.to_owned(), connection: Mutex::new(None) }
    }

    /// What the unit is doing.
    ///
    /// # Errors
    /// systemd does not answer, or knows no such unit.
    pub(super) async fn state(&self) -> Result<UnitState, ServiceError> {
        let path = self.path().await?;
        let text = async |interface: &str, name: &str| {
            let value = self.property(&path, interface, name).await?;
            String::try_from(value).map_err(|why| self.failed(&format!("reading {name}"), &why))
        };
        let unit = "org.freedesktop.systemd1.Unit";
        let service = "org.freedesktop.systemd1.Service";
        if text(unit, "LoadState").await? == "not-found" {
            return Err(ServiceError(format!("systemd knows no unit {}", self.unit)));
        }
        Ok(UnitState {
            active: text(unit, "ActiveState").await?,
            sub: text(unit, "SubState").await?,
            result: text(service, "Result").await?,
            job: self.job(&path).await?,
            has_processes: has_processes(&text(service, "ControlGroup").await?),
        })
    }

    /// Asks for a start, and does not wait for it. The start limit is for those who try again and again by
    /// themselves, not for the agent's word.
    pub(super) async fn start(&self) -> Result<(), ServiceError> {
        self.forget_failure().await;
        self.tell("StartUnit", &(self.unit.as_str(), "replace")).await
    }

    /// Takes every queued start back, and kills what runs: etcd's log is made for that.
    pub(super) async fn stop_and_kill(&self) -> Result<(), ServiceError> {
        self.tell("StopUnit", &(self.unit.as_str(), "replace")).await?;
        let killed = self.tell("KillUnit", &(self.unit.as_str(), "all", 9_i32)).await;
        if let Err(why) = killed {
            tracing::debug!(%why, "nothing was left to kill"); // whoever asked looks again
        }
        Ok(())
    }

    /// Failures that are over are not counted. That it did not fail is no trouble.
    pub(super) async fn forget_failure(&self) {
        if let Err(why) = self.tell("ResetFailedUnit", &(self.unit.as_str(),)).await {
            tracing::debug!(%why, "its failures are not forgotten");
        }
    }

    /// A flag in the unit goes before what the unit reads from its environment, and etcd refuses to start where
    /// both are said ([SRC] etcd pkg/flags/flag.go verifyEnv).
    pub(super) async fn refuse_flags(&self, told: &[(String, String)]) -> Result<(), ServiceError> {
        let path = self.path().await?;
        let commands =
            self.property(&path, "org.freedesktop.systemd1.Service", "ExecStart").await?;
        let commands = Vec::<Command>::try_from(commands)
            .map_err(|why| self.failed("reading its ExecStart", &why))?;
        let said = commands.iter().flat_map(|command| &command.1).find(|argument| {
            let flag = argument.trim_start_matches('-');
            let flag = flag.split('=').next().unwrap_or(flag);
            let variable = super::process_table::variable(flag);
            argument.starts_with('-') && told.iter().any(|(name, _)| *name == variable)
        });
        let Some(flag) = said else { return Ok(()) };
        Err(ServiceError(format!(
            "{} starts etcd with the flag {flag}, which the agent must set itself: say it as a variable in \
             /etc/etcd-environment instead",
            self.unit
        )))
    }

    /// What the unit was asked to do and is about to.
    async fn job(&self, path: &OwnedObjectPath) -> Result<Option<String>, ServiceError> {
        let job = self.property(path, "org.freedesktop.systemd1.Unit", "Job").await?;
        let (job, path) = <(u32, OwnedObjectPath)>::try_from(job)
            .map_err(|why| self.failed("reading its job", &why))?;
        if job == 0 {
            return Ok(None);
        }
        let kind = self.property(&path, "org.freedesktop.systemd1.Job", "JobType").await?;
        String::try_from(kind).map(Some).map_err(|why| self.failed("reading its job", &why))
    }

    async fn tell<B>(&self, method: &str, body: &B) -> Result<(), ServiceError>
    where
        B: serde::Serialize + zbus::zvariant::DynamicType + Sync,
    {
        self.call("/org/freedesktop/systemd1", MANAGER, method, body).await.map(drop)
    }

    /// Where systemd keeps the unit, which it loads if need be.
    async fn path(&self) -> Result<OwnedObjectPath, ServiceError> {
        let body = &(self.unit.as_str(),);
        let answer = self.call("/org/freedesktop/systemd1", MANAGER, "LoadUnit", body).await?;
        answer.body().deserialize().map_err(|why| self.failed("finding it", &why))
    }

    async fn property(
        &self,
        path: &OwnedObjectPath,
        interface: &str,
        name: &str,
    ) -> Result<OwnedVariant, ServiceError> {
        let properties = "org.freedesktop.DBus.Properties";
        let answer = self.call(path.as_str(), properties, "Get", &(interface, name)).await?;
        answer.body().deserialize().map_err(|why| self.failed(&format!("reading {name}"), &why))
    }

    async fn call<B>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<zbus::Message, ServiceError>
    where
        B: serde::Serialize + zbus::zvariant::DynamicType + Sync,
    {
        let mut kept = self.connection.lock().await;
        let asked = async {
            let connection = match kept.take() {
                Some(connection) => connection,
                None => Connection::system().await?,
            };
            let answer =
                connection.call_method(Some(SYSTEMD), path, Some(interface), method, body).await;
            if matches!(&answer, Ok(_) | Err(zbus::Error::MethodError(..))) {
                *kept = Some(connection);
            }
            answer
        };
        match timeout(PATIENCE, asked).await {
            Ok(answer) => answer.map_err(|why| self.failed(method, &why)),
            Err(_) => Err(ServiceError(format!("systemd does not answer {method}"))),
        }
    }

    fn failed(&self, what: &str, why: &dyn fmt::Display) -> ServiceError {
        ServiceError(format!("{what} of unit {}: {why}", self.unit))
    }
}

/// Whether a process is left in the unit's cgroup. What can't be read is taken for one.
fn has_processes(cgroup: &str) -> bool {
    let Some(below) = cgroup.strip_prefix('/').filter(|below| !below.is_empty()) else {
        return false; // it has none
    };
    let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"];
    let dirs = roots.iter().map(|root| Path::new(root).join(below)).filter(|dir| dir.exists());
    dirs.into_iter().any(|dir| is_populated(&dir))
}

fn is_populated(dir: &PathBuf) -> bool {
    match fs::read_to_string(dir.join("cgroup.procs")) {
        Ok(pids) if pids.trim().is_empty() => {}
        Ok(_) => return true,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return false,
        Err(_) => return true,
    }
    let Ok(below) = fs::read_dir(dir) else { return dir.exists() };
    below
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .any(|path| is_populated(&path))
}
