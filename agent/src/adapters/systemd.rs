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
    stops::Stops,
    unit_bus::Bus,
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
    config: ExecConfig,
    permits: PermitFiles,
    stops: Stops,
    bus: Bus,
}

impl Systemd {
    /// Prepares; starts nothing, and asks nobody yet.
    pub fn new(unit: &str, config: ExecConfig, permits: PermitFiles, stops: Stops) -> Self {
        Self { inner: Arc::new(Inner { config, permits, stops, bus: Bus::new(unit) }) }
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
        let seen = self.look().await;
        if seen != Seen::Stopped {
            return seen;
        }
        // a gate that was at work before the look may have made way for etcd since
        for state in [before, self.inner.bus.state().await] {
            match state {
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
            let state = self.inner.bus.state().await?;
            if let running @ Seen::Running(_) = self.look().await {
                let quarantined = running.process() == Process::Running { quarantined: true };
                if quarantined == start.quarantined {
                    return Ok(());
                }
                self.stop().await?;
                return Err(ServiceError(format!(
                    "etcd did not take its client URLs from {}: does its unit, or a script in it, set \
                     them by a flag or after that file?",
                    self.inner.permits.member_file().display()
                )));
            }
            if state.is_at_rest() {
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
                    self.inner.bus.stop_and_kill().await?;
                    if !self.inner.bus.state().await?.is_at_rest() {
                        tokio::time::sleep(POLL).await;
                        continue;
                    }
                    // what runs is not of the unit
                    let killed = tokio::task::spawn_blocking(move || member_process::end(&found));
                    killed.await.unwrap_or_else(|why| Err(ServiceError(why.to_string())))?;
                }
                Seen::Unknown(_) => {
                    let state = self.inner.bus.state().await?;
                    let waits = state.is_about_to_start() && begun.elapsed() < GATE_PATIENCE;
                    if !waits && !state.is_at_rest() {
                        self.inner.bus.stop_and_kill().await?;
                    }
                    tokio::time::sleep(POLL).await;
                }
            }
        }
    }
}

#[async_trait]
impl Service for Systemd {
    async fn state(&self) -> Process {
        match self.seen().await {
            Seen::Stopped if self.inner.stops.by_operator() => Process::StoppedByOperator,
            seen @ (Seen::Running(_) | Seen::Stopped | Seen::Unknown(_)) => seen.process(),
        }
    }

    async fn start(&self, start: &Start) -> Result<(), ServiceError> {
        let inner = &self.inner;
        let seen = self.seen().await;
        inner.whereabouts().refuse(&seen, start)?;
        inner.bus.refuse_flags(&inner.config.variables(start)).await?;
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
        started?;
        inner.stops.forget()
    }

    async fn stop(&self) -> Result<(), ServiceError> {
        let inner = &self.inner;
        inner.permits.withdraw()?;
        inner.stops.begin_own()?;
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
        inner.stops.end_own()?;
        if ended.is_ok() {
            inner.bus.forget_failure().await; // a killed unit counts as failed until it is told otherwise
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
}
