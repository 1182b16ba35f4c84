//! **unit_bus** — one systemd unit over D-Bus: what it is doing, and five words to it.
//!
//! In: the unit's name. Out: [`UnitState`](super::unit_state), or why it can't be told. Every question is asked anew, over a
//! connection that is made again when it was lost: after `systemctl daemon-reexec` the bus is another.

use super::unit_state::{Command, UnitState, is_gate};
use crate::ports::service::ServiceError;
use std::{fmt, time::Duration};
use tokio::{sync::Mutex, time::timeout};
use zbus::{Connection, OwnedObjectPath, OwnedVariant};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
/// How long systemd may take to answer; it answers at once unless it is stuck.
const PATIENCE: Duration = Duration::from_secs(5);

const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
/// The kinds of dependency by which one unit's end is another's (systemd.unit(5)).
const COMPANY: [&str; 4] = ["Requires", "Requisite", "BindsTo", "PartOf"];
/// The same, seen from the other end.
const FOLLOWERS: [&str; 3] = ["RequiredBy", "BoundBy", "ConsistsOf"];

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
        if self.text(&path, UNIT, "LoadState").await? == "not-found" {
            return Err(ServiceError(format!("systemd knows no unit {}", self.unit)));
        }
        Ok(UnitState {
            active: self.text(&path, UNIT, "ActiveState").await?,
            sub: self.text(&path, UNIT, "SubState").await?,
            result: self.text(&path, SERVICE, "Result").await?,
            job: self.job(&path).await?,
            invocation: hex::encode(self.read::<Vec<u8>>(&path, UNIT, "InvocationID").await?),
            cgroup: self.text(&path, SERVICE, "ControlGroup").await?,
            is_wanted: self.read::<bool>(&path, UNIT, "ConditionResult").await?
                && self.read::<bool>(&path, UNIT, "AssertResult").await?,
            has_gate: is_gate(&self.read::<Vec<Command>>(&path, SERVICE, "ExecCondition").await?),
        })
    }

    /// Whether a unit that this one needs has ended since this one began: then systemd stops this one by itself, with
    /// a job like an operator's. One that needs this one in turn, as kube-aws's do, ends with it in good order; then
    /// only its failure counts.
    pub(super) async fn lost_company(&self) -> Result<bool, ServiceError> {
        let path = self.path().await?;
        let began = self.read::<u64>(&path, UNIT, "ActiveEnterTimestampMonotonic").await?;
        let mut mutual = Vec::new();
        for kind in FOLLOWERS {
            mutual.extend(self.read::<Vec<String>>(&path, UNIT, kind).await?);
        }
        for kind in COMPANY {
            for unit in self.read::<Vec<String>>(&path, UNIT, kind).await? {
                let body = &(unit.as_str(),);
                let found =
                    self.call("/org/freedesktop/systemd1", MANAGER, "LoadUnit", body).await?;
                let found: OwnedObjectPath =
                    found.body().deserialize().map_err(|why| self.failed("finding it", &why))?;
                let ended =
                    self.read::<u64>(&found, UNIT, "InactiveEnterTimestampMonotonic").await?;
                let active = self.text(&found, UNIT, "ActiveState").await?;
                let gone = active == "failed" || (active == "inactive" && !mutual.contains(&unit));
                if gone && ended > began {
                    return Ok(true);
                }
            }
        }
        Ok(false)
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
        let commands = self.read::<Vec<Command>>(&path, SERVICE, "ExecStart").await?;
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
        let (job, path) = self.read::<(u32, OwnedObjectPath)>(path, UNIT, "Job").await?;
        if job == 0 {
            return Ok(None);
        }
        self.text(&path, "org.freedesktop.systemd1.Job", "JobType").await.map(Some)
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

    async fn text(
        &self,
        path: &OwnedObjectPath,
        interface: &str,
        name: &str,
    ) -> Result<String, ServiceError> {
        self.read(path, interface, name).await
    }

    /// A property as the type that it is of.
    async fn read<T>(
        &self,
        path: &OwnedObjectPath,
        interface: &str,
        name: &str,
    ) -> Result<T, ServiceError>
    where
        T: TryFrom<OwnedVariant, Error: fmt::Display>,
    {
        let value = self.property(path, interface, name).await?;
        T::try_from(value).map_err(|why| self.failed(&format!("reading {name}"), &why))
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
