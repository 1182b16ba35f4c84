//! **store_down** — S3 can't be reached for the whole outage: nothing is emptied, nothing is
//! overwritten, and recovery follows when it returns.

use super::stage::{LOAD, Loss, Stage};
use crate::{
    drill::{host::Wipe, trouble::Trouble},
    pace::lasting,
};
use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

pub(super) async fn play(stage: &mut Stage) -> Result<(), Trouble> {
    stage.load(LOAD).await?;
    let (victims, survivors) = stage.majority_and_rest().await;
    stage.cluster.stores.objects.cut(true);
    stage.say("S3 is unreachable");
    let before = members_on_disk(stage, &survivors)?;
    stage.strike(&victims, Wipe::Data)?;
    let known = stage.known_to(&survivors).await;
    // What is waited for is time itself: all windows of a recovery that had S3.
    let timers = stage.cluster.pace.timers();
    tokio::time::sleep(lasting(timers.confirm.times(2) + timers.gather + timers.fence)).await;
    let inc = stage.highest_inc();
    stage.checks.equal("nothing is restored without S3", &inc, &stage.inc);
    let after = members_on_disk(stage, &survivors)?;
    stage.checks.equal("no survivor's data was emptied or moved", &after, &before);
    stage.cluster.stores.objects.cut(false);
    stage.say("S3 is back");
    stage.restored().await?;
    stage.account(Loss::LastRoundTrip { known: Some(known) }).await
}

/// Inodes of each survivor's database and log directory: emptying, moving or rewriting changes
/// them, running and being killed does not.
fn members_on_disk(stage: &Stage, survivors: &[usize]) -> Result<Vec<u64>, Trouble> {
    let mut inodes = Vec::new();
    for index in survivors {
        let data = stage.cluster.hosts[*index].data_dir();
        for part in ["member", "member/snap/db", "member/wal"] {
            inodes.push(inode(&data.join(part))?);
        }
    }
    Ok(inodes)
}

fn inode(path: &Path) -> Result<u64, Trouble> {
    fs::metadata(path).map(|found| found.ino()).map_err(|e| Trouble::of(path.display(), e))
}
