//! **systemd** — etcd as a unit: started through its gate, killed, proven stopped.
//!
//! In: the unit's name, how etcd is to be run. Out: the port [`Service`]. The agent can't hand arguments to a
//! unit: it leaves a [`permit`](super::permit) and asks for a start; the unit's ExecCondition takes the permit
//! and writes what etcd reads. "Stopped" is what [`member_process`](super::member_process) says, and a unit
//! at rest: no job queued, no automatic restart waiting, nothing left in its cgroup (protocol.md A3).

use super::{
    etcd_command::ExecConfig,
    member_process::{self, Seen, Whereabouts},
    permit::PermitFiles,
    process_table::Etcd,
    stops::Stops,
    unit_bus::Bus,
    unit_state::UnitState,
};
use crate::ports::service::{Service, ServiceError};
use async_trait::async_trait;
use protocol::{effect::Start, observation::Process};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a start may take until etcd's process is there. The gate asks no store for a permit.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// How long a SIGKILLed etcd may take to be gone; longer only in uninterruptible disk waits.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// How long the gate of somebody else's start may take to answer before that start is taken back: it says no
/// by itself by then, unless the stores are silent.
const GATE_PATIENCE: Duration = Duration::from_secs(5);
/// How often either is asked meanwhile.
const POLL: Duration = Duration::from_millis(20);

/// etcd under systemd.
#[derive(Clone)]
pub struct Systemd {
    inner: Arc<Inner>,
}

struct Inner {
    unit: String,
    config: ExecConfig,
    permits: PermitFiles,
    stops: Stops,
    bus: Bus,
}

impl Systemd {
    /// Whether the unit is one that can be owned: an agent that could never prove its etcd stopped must not vote
    /// as if it could.
    ///
    /// # Errors
    /// systemd does not know it, or it has no gate.
    pub async fn check(&self) -> Result<(), ServiceError> {
        let state = self.inner.bus.state().await?;
        if state.has_gate { Ok(()) } else { Err(ServiceError(self.inner.no_gate())) }
    }

    /// Prepares; starts nothing, and asks nobody yet.
    pub fn new(unit: &str, config: ExecConfig, permits: PermitFiles, stops: Stops) -> Self {
        Self {
            inner: Arc::new(Inner {
                unit: unit.to_owned(),
                config,
                permits,
                stops,
                bus: Bus::new(unit),
            }),
        }
    }

    /// What the machine shows, without the unit.
    async fn look(&self) -> Seen {
        let inner = Arc::clone(&self.inner);
        let looked = tokio::task::spawn_blocking(move || inner.whereabouts().look(None)).await;
        looked.unwrap_or_else(|why| Seen::Unknown(format!("the process thread ended: {why}")))
    }

    /// The machine and the unit: each may know of a process that the other does not.
    async fn seen(&self) -> Seen {
        let before = self.inner.bus.state().await;
        match self.look().await {
            Seen::Stopped => {}
            Seen::Running(found) => return self.inner.of_the_unit(found, before.as_ref().ok()),
            unknown @ Seen::Unknown(_) => return unknown,
        }
        // a gate that was at work before the look may have made way for etcd since
        for state in [before, self.inner.bus.state().await] {
            match state {
                Ok(state) if !state.has_gate => return Seen::Unknown(self.inner.no_gate()),
                Ok(state) if state.is_at_rest() => {}
                Ok(state) => return Seen::Unknown(format!("its unit is {state}")),
                Err(why) => return Seen::Unknown(why.0),
            }
        }
        Seen::Stopped
    }

    /// Waits until etcd's process is there as it was meant to be, or the unit has given it up.
    async fn has_started(&self, start: &Start) -> Result<(), ServiceError> {
        loop {
            let before = self.inner.bus.state().await?;
            let looked = self.look().await;
            let state = self.inner.bus.state().await?;
            if let Seen::Running(found) = looked {
                let seen = self.inner.of_the_unit(found, Some(&state));
                if seen.process() == (Process::Running { quarantined: start.quarantined }) {
                    return Ok(());
                }
                if matches!(seen, Seen::Running(_)) {
                    self.stop().await?;
                    return Err(self.inner.not_as_meant());
                }
            } else if before.is_at_rest() && state.is_at_rest() {
                return Err(ServiceError(format!("etcd was not started: its unit is {state}")));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Kills until nothing is left to kill and everything agrees that it is stopped.
    async fn stop_for_good(&self) -> Result<(), ServiceError> {
        let begun = Instant::now();
        loop {
            match self.seen().await {
                Seen::Stopped => return Ok(()),
                Seen::Running(found) => {
                    self.stop_unit().await?;
                    if self.inner.bus.state().await?.is_at_rest() {
                        // what runs is not of the unit
                        let killed =
                            tokio::task::spawn_blocking(move || member_process::end(&found));
                        killed.await.unwrap_or_else(|why| Err(ServiceError(why.to_string())))?;
                    }
                }
                Seen::Unknown(_) => {
                    let state = self.inner.bus.state().await?;
                    let waits = state.is_about_to_start() && begun.elapsed() < GATE_PATIENCE;
                    if !waits && !state.is_at_rest() {
                        self.stop_unit().await?;
                    }
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Ends the life that the unit has now, as the agent's own doing. That it can't be noted, on a full /run
    /// perhaps, must not keep a fenced etcd running.
    async fn stop_unit(&self) -> Result<(), ServiceError> {
        let state = self.inner.bus.state().await?;
        if let Err(why) = self.inner.stops.begin_own(&state.invocation) {
            tracing::warn!(%why, "the agent's own stop of etcd is not noted, and will look like an operator's");
        }
        self.inner.bus.stop_and_kill().await?;
        // an automatic restart may have begun another life in between
        let after = self.inner.bus.state().await?;
        if let Err(why) = self.inner.stops.begin_own(&after.invocation) {
            tracing::debug!(%why, "not noted either");
        }
        Ok(())
    }
}

#[async_trait]
impl Service for Systemd {
    async fn state(&self) -> Process {
        match self.seen().await {
            Seen::Stopped if self.inner.is_kept_down().await => Process::StoppedByOperator,
            Seen::Unknown(why) => {
                tracing::debug!(why, "whether etcd runs can't be told");
                Process::Unknown
            }
            seen @ (Seen::Running(_) | Seen::Stopped) => seen.process(),
        }
    }

    async fn start(&self, start: &Start) -> Result<(), ServiceError> {
        let inner = &self.inner;
        let seen = self.seen().await;
        inner.whereabouts().refuse(&seen, start)?;
        inner.bus.refuse_flags(&inner.config.variables(start)).await?;
        // before the unit is asked: an operator's stop that comes later is to be kept
        inner.stops.forget()?;
        inner.permits.leave(start)?;
        let started = async {
            inner.bus.start().await?;
            self.has_started(start).await
        };
        let started = tokio::time::timeout(START_PATIENCE, started).await.unwrap_or_else(|_| {
            let seconds = START_PATIENCE.as_secs();
            Err(ServiceError(format!("etcd's unit has not started it within {seconds} s")))
        });
        // a permit that nobody took must not serve whoever starts the unit next
        inner.permits.withdraw()?;
        started
    }

    async fn stop(&self) -> Result<(), ServiceError> {
        if let Err(why) = self.inner.permits.withdraw() {
            tracing::warn!(%why, "a permit is left"); // a fenced etcd is stopped all the same
        }
        let ended = tokio::time::timeout(STOP_PATIENCE, self.stop_for_good()).await;
        let ended = match ended {
            Ok(ended) => ended,
            Err(_) => match self.seen().await {
                Seen::Stopped => Ok(()),
                seen @ (Seen::Running(_) | Seen::Unknown(_)) => {
                    Err(member_process::not_stopped(&seen))
                }
            },
        };
        if ended.is_ok() {
            self.inner.bus.forget_failure().await; // a killed unit counts as failed until it is told otherwise
        }
        ended
    }
}

impl Inner {
    fn whereabouts(&self) -> Whereabouts<'_> {
        Whereabouts {
            data_dir: &self.config.data_dir,
            listen_peer_urls: &self.config.listen_peer_urls,
            start_lock: None,
        }
    }

    /// An etcd that runs while the unit does, and is none of the unit's processes, was started by somebody whom a
    /// stop of the unit does not reach, such as a container's daemon.
    fn of_the_unit(&self, found: Vec<Etcd>, state: Option<&UnitState>) -> Seen {
        let outside = |state: &&UnitState| {
            !state.cgroup.is_empty()
                && !state.is_at_rest()
                && !found.iter().any(|etcd| state.holds(etcd.id.pid))
        };
        if state.filter(outside).is_some() {
            return Seen::Unknown(format!(
                "etcd (pid {}) is no process of {}: in a container, its unit can't be owned",
                found[0].id.pid, self.unit
            ));
        }
        Seen::Running(found)
    }

    fn not_as_meant(&self) -> ServiceError {
        ServiceError(format!(
            "etcd did not take its client URLs from {}: does {}, or a script in it, set them by a flag, or \
             from a file that it reads after that one?",
            self.permits.member_file().display(),
            self.unit
        ))
    }

    fn no_gate(&self) -> String {
        format!(
            "{} has no gate: anybody could start etcd past a fence. Put 10-requorum.conf into \
             /etc/systemd/system/{}.d, see that no later file says ExecCondition=, and run \
             `systemctl daemon-reload`",
            self.unit, self.unit
        )
    }

    /// An operator's stop stands: its ExecStopPost noted it, or systemd shows that it came between two lives.
    async fn is_kept_down(&self) -> bool {
        if self.stops.by_operator() {
            return true;
        }
        let cut = |state: &UnitState| {
            state.was_stopped_between_two_lives() && !self.stops.is_own(&state.invocation)
        };
        let cut = self.bus.state().await.is_ok_and(|state| cut(&state));
        cut && !self.bus.lost_company().await.unwrap_or(false)
    }
}
