//! **lease** — an etcd lease ends between restore and OPEN, so the restored content changes by
//! itself while it is being verified. That must not be taken for damage: no loop.
//!
//! The leader is held at VERIFYING for longer than the lease lasts, then killed.

use super::{
    leader_killed::{held, release_others},
    stage::{LOAD, Loss, Stage},
};
use crate::drill::{host::Wipe, trouble::Trouble, writer::connect};
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
    let held = held(stage, POINT).await?;
    release_others(stage, &held)?;
    // What is waited for is time itself: the lease's.
    tokio::time::sleep(ENDED_BY).await;
    let attempt = stage.timeline.latest().map_or(0, |status| status.attempt());
    stage.cluster.host(&held)?.kill_agent();
    stage.writer.go_on();
    let host = stage.cluster.host(&held)?;
    host.unset("REQUORUM_HOLD");
    host.start_agent()?;
    stage.restored().await?;
    let after = stage.timeline.latest().map_or(0, |status| status.attempt());
    stage.checks.equal("no loop: no further attempt was needed", &after, &attempt);
    let answer = client.get(KEY, None).await.map_err(|e| Trouble::of(&url, e))?;
    stage.checks.equal("the leased key is gone", &answer.count(), &0);
    stage.account(Loss::Nothing).await
}
