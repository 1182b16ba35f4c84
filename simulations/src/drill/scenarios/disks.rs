//! **disks** — a majority wiped with a survivor, and all wiped.
//!
//! Shows the main job: voted, led, fenced, restored, and every acknowledged write accounted for.

use super::{
    Disks,
    stage::{LOAD, Loss, Stage},
};
use crate::drill::{host::Wipe, trouble::Trouble, verdict};
use std::time::Duration;

/// etcd's heartbeat is 100 ms; by then each follower has learned what was committed.
const A_HEARTBEAT: Duration = Duration::from_millis(500);

pub(super) async fn quorum_lost(stage: &mut Stage, rested: bool) -> Result<(), Trouble> {
    stage.load(LOAD).await?;
    let (victims, survivors) = stage.majority_and_rest().await;
    if rested {
        stage.writer.rest().await?;
        // What is waited for is time itself: one heartbeat.
        tokio::time::sleep(A_HEARTBEAT).await;
    }
    stage.strike(&victims, Wipe::Data)?;
    let known = stage.known_to(&survivors).await;
    stage.writer.go_on();
    stage.restored().await?;
    let loss = if rested { Loss::Nothing } else { Loss::LastRoundTrip { known: Some(known) } };
    stage.account(loss).await
}

pub(super) async fn all_lost(stage: &mut Stage, disks: Disks) -> Result<(), Trouble> {
    stage.load(LOAD).await?;
    let saved = save(stage).await?;
    stage.load(LOAD).await?; // may be lost, unless a snapshot of the clock holds it
    let all: Vec<usize> = (0..stage.cluster.hosts.len()).collect();
    match disks {
        Disks::Wiped => stage.strike(&all, Wipe::Data)?,
        Disks::WithRootState => stage.strike(&all, Wipe::DataAndState)?,
        Disks::DeletedDirectory => {
            for host in &stage.cluster.hosts {
                host.delete_data()?;
            }
            stage.say("deleted all data under running etcds");
            stage.load(LOAD).await?; // on deleted directories
            let inc = stage.highest_inc();
            stage.checks.equal("no restore while they acknowledge", &inc, &stage.inc);
            stage.strike(&all, Wipe::Data)?;
        }
    }
    stage.restored().await?;
    stage.account(Loss::AfterSnapshot { saved }).await
}

/// A save by hand; answers with the head before it: what the snapshot holds at least.
async fn save(stage: &mut Stage) -> Result<u64, Trouble> {
    let host = &stage.cluster.hosts[0];
    let (head, _, _) = verdict::own_view(&host.client_url).await?;
    let output = host.run(&["save"]).await?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    stage.checks.note("`requorum save` succeeds", output.status.success(), said);
    Ok(head)
}
