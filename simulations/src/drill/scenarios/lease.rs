//! **lease** — an etcd lease ends between restore and OPEN, so the restored content changes by
//! itself while it is being verified. That must not be taken for damage: no loop.
//!
//! Whoever leads at VERIFYING is held there, and each successor too, until the lease has ended.

use super::{
    leader_killed::{held, hold_next},
    stage::{LOAD, Loss, Stage},
};
use crate::drill::{
    host::Wipe,
    status::{Progress, place},
    trouble::Trouble,
    writer::connect,
};
use etcd_client::PutOptions;
use std::time::Duration;

/// etcd's least lease: one and a half elections, in whole seconds ([SRC] server.go minTTL).
const TTL: i64 = 2;
/// A restored lease begins anew when a leader is elected, so it lasts at most this long.
const ENDED_BY: Duration = Duration::from_secs(10);
const KEY: &str = "lease/short";
const POINT: &str = "verifying";

pub(super) async fn play(stage: &mut Stage) -> Result<(), Trouble> {
    stage.load(LOAD).await?;
    let (victims, survivors) = stage.majority_and_rest().await;
    stage.writer.rest().await?;
    let url = stage.cluster.hosts[survivors[0]].client_url.clone();
    let mut client = connect(&url).await?;
    let lease = client.lease_grant(TTL, None).await.map_err(|e| Trouble::of(&url, e))?;
    let options = PutOptions::new().with_lease(lease.id());
    client.put(KEY, "short", Some(options)).await.map_err(|e| Trouble::of(&url, e))?;
    stage.strike(&victims, Wipe::Data)?; // a lease can't end without a quorum
    held(stage, POINT).await?;
    let before = stage.timeline.latest().map_or(0, |status| status.attempt());
    // What is waited for is time itself: the lease's.
    tokio::time::sleep(ENDED_BY).await;
    let open = Progress { inc: stage.inc + 1, attempt: 0, place: place("open") };
    let now = stage.timeline.latest().map(|status| status.progress()).unwrap_or_default();
    let still = (now.inc, now.place) < (open.inc, open.place);
    stage.checks.note(
        "the lease ended before OPEN",
        still,
        crate::drill::status::phase_at(now.place),
    );
    hold_next(stage, None)?;
    stage.writer.go_on();
    stage.restored().await?;
    let after = stage.timeline.latest().map_or(0, |status| status.attempt());
    stage.checks.equal("no loop: no further attempt was needed", &after, &before);
    let answer = client.get(KEY, None).await.map_err(|e| Trouble::of(&url, e))?;
    stage.checks.equal("the leased key is gone", &answer.count(), &0);
    stage.account(Loss::Nothing).await
}
