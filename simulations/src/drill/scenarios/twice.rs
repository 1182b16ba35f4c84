//! **twice** — the quorum is lost again while a recovery still heals, and again right after OPEN.

use super::stage::{LOAD, Loss, Stage};
use crate::drill::{
    host::Wipe,
    status::{Progress, place},
    trouble::Trouble,
};

pub(super) async fn play(stage: &mut Stage) -> Result<(), Trouble> {
    stage.load(LOAD).await?;
    strike(stage).await?;
    lost_again_at(stage, "healing").await?;
    lost_again_at(stage, "open").await?;
    stage.restored().await?;
    // Revisions that went back would be told by the accounts. What survivors knew is not asked
    // here: at the later cuts they may be quarantined.
    stage.account(Loss::LastRoundTrip { known: 0 }).await
}

/// Waits for the phase in the next incarnation and strikes there.
async fn lost_again_at(stage: &mut Stage, phase: &str) -> Result<(), Trouble> {
    stage.inc += 1;
    let goal = Progress { inc: stage.inc, attempt: 0, place: place(phase) };
    let at = stage.reached(&format!("{phase} of incarnation {}", stage.inc), goal).await?;
    strike(stage).await?;
    let early = at.inc == stage.inc && at.place < place("idle");
    let seen = crate::drill::status::phase_at(at.place);
    stage.checks.note(format!("the quorum was lost again at {phase}, before the end"), early, seen);
    Ok(())
}

async fn strike(stage: &mut Stage) -> Result<(), Trouble> {
    let (victims, _) = stage.majority_and_rest().await;
    stage.strike(&victims, Wipe::Data)
}
