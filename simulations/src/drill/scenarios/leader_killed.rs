//! **leader_killed** — the leading agent stands still at a named point and is killed there.
//!
//! `REQUORUM_HOLD=<phase>` lets the agent that leads pause for ever when it first reads that phase
//! as leader; it writes `hold <phase>` to `<state dir>/hold` first. All agents start with it, since
//! nobody knows who will lead. Once one holds, the others are restarted without it, before the
//! held one's lease has run out, so that its successor goes on.

use super::stage::{LOAD, Loss, Stage};
use crate::drill::{
    host::Wipe,
    status::{Progress, place},
    trouble::Trouble,
};
use std::fs;

/// The phase that has none after it but the end.
const LAST: &str = "healing";

pub(super) async fn play(stage: &mut Stage, point: &'static str) -> Result<(), Trouble> {
    stage.load(LOAD).await?;
    let (victims, survivors) = stage.majority_and_rest().await;
    let aborts = point == "aborted";
    let known = if aborts {
        for index in &victims {
            stage.cluster.hosts[*index].pause_etcd()?;
        }
        stage.cut();
        stage.say("stopped a majority of etcds, disks intact");
        None
    } else {
        stage.strike(&victims, Wipe::Data)?;
        Some(stage.known_to(&survivors).await)
    };
    let held = held(stage, point).await?;
    let at = arrived(stage, point);
    release_others(stage, &held)?;
    stage.cluster.host(&held)?.kill_agent();
    stage.say(format!("killed {held}, which led, at {point}"));
    succeeded(stage, &held, at).await?;
    let next = if point == LAST { "goes on" } else { "reached the next phase" };
    let what = format!("another agent took the lease from {held} and {next}");
    stage.checks.note(what, true, "it did");
    let host = stage.cluster.host(&held)?;
    host.unset("REQUORUM_HOLD");
    host.start_agent()?;
    if aborts {
        stage.healed_without_restore().await?;
        stage.account(Loss::Nothing).await
    } else {
        stage.restored().await?;
        stage.account(Loss::LastRoundTrip { known }).await
    }
}

/// The name of the machine whose agent holds.
pub(super) async fn held(stage: &Stage, point: &str) -> Result<String, Trouble> {
    let line = format!("hold {point}");
    stage
        .cluster
        .until(&format!("the leading agent holds at {point}"), async |cluster| {
            let holds = cluster.hosts.iter().find(|host| {
                fs::read_to_string(host.state_dir().join("hold"))
                    .is_ok_and(|text| text.lines().any(|written| written == line))
            })?;
            Some(holds.name.clone())
        })
        .await
}

/// Restarts every agent with this hold point, or with none.
pub(super) fn hold_next(stage: &mut Stage, point: Option<&str>) -> Result<(), Trouble> {
    for host in &mut stage.cluster.hosts {
        host.kill_agent();
        match point {
            Some(point) => host.set("REQUORUM_HOLD", point),
            None => host.unset("REQUORUM_HOLD"),
        }
        host.start_agent()?;
    }
    Ok(())
}

/// Restarts all agents but the held one without a hold point.
fn release_others(stage: &mut Stage, held: &str) -> Result<(), Trouble> {
    for host in stage.cluster.hosts.iter_mut().filter(|host| host.name != held) {
        host.kill_agent();
        host.unset("REQUORUM_HOLD");
        host.start_agent()?;
    }
    Ok(())
}

/// Where the recovery stands while the leader holds.
fn arrived(stage: &Stage, point: &str) -> Progress {
    let attempt = stage.timeline.latest().map_or(1, |status| status.attempt());
    let place_of = place(point);
    let inc = if place_of >= place("committed") { stage.inc + 1 } else { stage.inc };
    Progress { inc, attempt, place: place_of }
}

async fn succeeded(stage: &Stage, held: &str, at: Progress) -> Result<(), Trouble> {
    stage
        .cluster
        .until(&format!("another agent than {held} leads beyond its phase"), async |_| {
            let leader = stage.timeline.leader()?;
            let now = stage.timeline.latest()?.progress();
            // HEALING ends when every member serves, and the killed agent may have been about to
            // start its own
            let beyond = now > at || (now == at && at.place == place(LAST));
            (leader.name != held && beyond).then_some(())
        })
        .await
}
