//! **no_restore** — failures that must not end in a restore: one member lost, all killed with
//! intact disks, and a minority lost while another machine is only away.

use super::stage::{LOAD, Loss, Stage};
use crate::{
    drill::{host::Wipe, status, trouble::Trouble, verdict},
    pace::lasting,
};

pub(super) async fn one_member_lost(stage: &mut Stage) -> Result<(), Trouble> {
    stage.load(LOAD).await?;
    let victim = stage.cluster.leader_first().await[0];
    let url = stage.cluster.hosts[victim].client_url.clone();
    let (_, _, before) = verdict::own_view(&url).await?;
    stage.strike(&[victim], Wipe::Data)?;
    stage.load(LOAD).await?; // the quorum lives on
    stage
        .cluster
        .until("the lost member serves under a new id", async |cluster| {
            let (_, _, now) = verdict::own_view(&url).await.ok()?;
            (now != before && cluster.serves(victim).await).then_some(())
        })
        .await?;
    stage.healed_without_restore().await?;
    stage.checks.note("the lost member was replaced", true, "it has a new member id");
    stage.account(Loss::Nothing).await
}

pub(super) async fn all_killed(stage: &mut Stage) -> Result<(), Trouble> {
    stage.load(LOAD).await?;
    for host in &stage.cluster.hosts {
        host.kill_etcd()?;
    }
    stage.cut();
    stage.say("killed all etcds, disks intact");
    stage.load(1).await?;
    stage.healed_without_restore().await?;
    stage.account(Loss::Nothing).await
}

/// The power goes while neither store can be reached: etcd depends on neither.
pub(super) async fn stores_silent(stage: &mut Stage) -> Result<(), Trouble> {
    stage.load(LOAD).await?;
    stage.cluster.stores.objects.cut(true);
    stage.cluster.stores.tables.cut(true);
    for host in &mut stage.cluster.hosts {
        host.power_off()?;
    }
    stage.cut();
    stage.say("S3 and DynamoDB are unreachable, and all machines lose power");
    for host in &mut stage.cluster.hosts {
        host.start_agent()?;
    }
    stage.load(LOAD).await?;
    stage.checks.note("writes are acknowledged while both stores are silent", true, "they were");
    stage.cluster.stores.objects.cut(false);
    stage.cluster.stores.tables.cut(false);
    stage.say("both stores are back");
    stage.healed_without_restore().await?;
    stage.account(Loss::Nothing).await
}

pub(super) async fn reboot(stage: &mut Stage) -> Result<(), Trouble> {
    stage.load(LOAD).await?;
    let (mut away, _) = stage.majority_and_rest().await;
    // One of the majority only reboots; the others of it lose their disks.
    let rebooting = away.pop().ok_or_else(|| Trouble("a majority has no members".into()))?;
    stage.cluster.hosts[rebooting].power_off()?;
    let name = stage.cluster.hosts[rebooting].name.clone();
    stage.say(format!("{name} reboots, its agent is away as well"));
    stage.strike(&away, Wipe::Data)?;
    let fencing = status::place("fencing");
    stage
        .cluster
        .until("the agents begin to fence", async |_| {
            (stage.timeline.latest()?.progress().place == fencing).then_some(())
        })
        .await?;
    // What is waited for is time itself: the window in which a hasty leader would commit.
    let timers = stage.cluster.pace.timers();
    tokio::time::sleep(lasting(timers.gather + timers.drain + timers.poll.times(2))).await;
    let inc = stage.highest_inc();
    stage.checks.equal("the machine that is away is waited for", &inc, &stage.inc);
    stage.cluster.hosts[rebooting].start_agent()?;
    stage.say(format!("{name} is back"));
    stage.healed_without_restore().await?;
    stage.account(Loss::Nothing).await
}
