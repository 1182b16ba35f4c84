//! **twice** — the quorum is lost again while a recovery still heals, and again right after OPEN.
//!
//! Whoever leads is held at the phase in question, so that the loss falls into it for sure; then
//! all agents are started anew, without the hold point or with the next one.

use super::{
    leader_killed::{held, hold_next},
    stage::{LOAD, Loss, Stage},
};
use crate::drill::{
    host::Wipe,
    status::{phase_at, place},
    trouble::Trouble,
};

/// Where the first loss is followed by a second.
pub(super) const FIRST: &str = "healing";
const SECOND: &str = "open";

pub(super) async fn play(stage: &mut Stage) -> Result<(), Trouble> {
    stage.load(LOAD).await?;
    strike(stage).await?;
    lost_again_at(stage, FIRST, Some(SECOND)).await?;
    lost_again_at(stage, SECOND, None).await?;
    stage.restored().await?;
    // Revisions that went back would be told by the accounts. What survivors knew is not asked
    // here: at the later cuts they may be quarantined.
    stage.account(Loss::LastRoundTrip { known: None }).await
}

/// Waits until the leader is held at this phase of the next incarnation, and strikes there.
async fn lost_again_at(stage: &mut Stage, phase: &str, next: Option<&str>) -> Result<(), Trouble> {
    stage.inc += 1;
    held(stage, phase).await?;
    strike(stage).await?;
    // The held leader itself no longer tells; what the others have read is at most this far.
    let at = stage.timeline.latest().map(|status| status.progress()).unwrap_or_default();
    let there = (at.inc, at.place) <= (stage.inc, place(phase));
    stage.checks.note(format!("the quorum was lost again at {phase}"), there, phase_at(at.place));
    hold_next(stage, next)
}

async fn strike(stage: &mut Stage) -> Result<(), Trouble> {
    let (victims, _) = stage.majority_and_rest().await;
    stage.strike(&victims, Wipe::Data)
}
