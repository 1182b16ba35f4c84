//! **evidence** — a majority gone with their agents: silence proves nothing, so nothing happens
//! until an operator attests; then it needs seats to restore onto, or leave to do with one.

use super::{
    After,
    stage::{LOAD, Loss, Stage},
};
use crate::{
    drill::{
        status::{Progress, place},
        trouble::Trouble,
        verdict,
    },
    pace::lasting,
};

const BECAUSE: &str = "the drill removed the machine for good";

pub(super) async fn play(stage: &mut Stage, after: After) -> Result<(), Trouble> {
    stage.load(LOAD).await?;
    let (gone, survivors) = stage.majority_and_rest().await;
    // The load rests: what is shown here is about evidence, not about the last round trip.
    stage.writer.rest().await?;
    for index in &gone {
        stage.cluster.hosts[*index].vanish()?;
    }
    stage.cut();
    let names: Vec<String> = gone.iter().map(|i| stage.cluster.hosts[*i].name.clone()).collect();
    stage.say(format!("gone for good with their agents: {}", names.join(", ")));
    never_by_itself(stage, &names).await?;
    // Once as to a node whose agent can't be found: the operator is heard all the same.
    attest(stage, survivors[0], &names, after == After::Replacements).await?;
    stage.writer.go_on();
    let open = Progress { inc: stage.inc + 1, attempt: 0, place: place("open") };
    match after {
        After::Replacements => {
            parked(stage).await?;
            replace(stage, &gone)?;
            stage.reached("the replacements let it restore", open).await?;
        }
        After::MinMembersOne => {
            stage.reached("it restores at once", open).await?;
            let changes = stage.timeline.changes();
            let waited = changes.iter().filter_map(|change| change.parked.clone()).next();
            let seen = waited.clone().unwrap_or_else(|| "it never waited".into());
            stage.checks.note("attested, it restores at once", waited.is_none(), seen);
            let url = stage.cluster.hosts[survivors[0]].client_url.clone();
            let (voters, _) = stage
                .cluster
                .until("the survivor serves", async |_| verdict::members(&url).await.ok())
                .await?;
            stage.checks.equal("restored onto the survivors alone", &voters, &survivors.len());
            replace(stage, &gone)?;
        }
    }
    stage.restored().await?;
    stage.account(Loss::Nothing).await
}

/// It names what is missing and does not restore, however long nothing is heard.
async fn never_by_itself(stage: &mut Stage, names: &[String]) -> Result<(), Trouble> {
    let missing = stage
        .cluster
        .until("the missing evidence is named per slot", async |_| {
            let missing = stage.timeline.latest()?.missing().join("; ");
            names.iter().all(|name| missing.contains(name.as_str())).then_some(missing)
        })
        .await?;
    stage.checks.note("it names the missing evidence per slot", true, missing);
    // What is waited for is time itself: all windows in which silence could be taken for proof.
    let timers = stage.cluster.pace.timers();
    tokio::time::sleep(lasting(timers.permanent + timers.fence + timers.gather)).await;
    let inc = stage.highest_inc();
    stage.checks.equal("silence alone never restores", &inc, &stage.inc);
    Ok(())
}

async fn attest(
    stage: &mut Stage,
    from: usize,
    names: &[String],
    agent: bool,
) -> Result<(), Trouble> {
    for name in names {
        let host = &stage.cluster.hosts[from];
        let elsewhere = stage.cluster.dir().join("no-agent-here").display().to_string();
        let mut words = vec!["attest", name, "--because", BECAUSE];
        if !agent {
            words.extend(["--state-dir", &elsewhere]);
        }
        // Refused while a vote of the machine is still fresh, so it may have to be said again.
        stage
            .cluster
            .until(&format!("`requorum attest {name}` is taken"), async |_| {
                let output = host.run(&words).await.ok()?;
                output.status.success().then_some(())
            })
            .await?;
    }
    let how = if agent { "through the agent" } else { "without an agent" };
    stage.checks.note(format!("the operator attested each, {how}"), true, names.join(", "));
    Ok(())
}

async fn parked(stage: &mut Stage) -> Result<(), Trouble> {
    let why = stage
        .cluster
        .until("it waits and says MIN_MEMBERS", async |_| {
            let status = stage.timeline.latest()?;
            let said = format!("{} {}", status.parked().unwrap_or_default(), status.waiting());
            said.to_ascii_uppercase().replace('-', "_").contains("MIN_MEMBERS").then_some(said)
        })
        .await?;
    stage.checks.note("attested, it waits and says MIN_MEMBERS", true, why);
    let inc = stage.highest_inc();
    stage.checks.equal("nothing is restored before seats are claimed", &inc, &stage.inc);
    Ok(())
}

fn replace(stage: &mut Stage, gone: &[usize]) -> Result<(), Trouble> {
    for index in gone {
        let host = &mut stage.cluster.hosts[*index];
        host.fresh_machine()?;
        host.start_agent()?;
    }
    stage.say("empty replacement machines are switched on");
    Ok(())
}
