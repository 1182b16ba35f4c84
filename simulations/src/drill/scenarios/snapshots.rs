//! **snapshots** — snapshots that are laid over one another, that are damaged, and that are doubtful.
//!
//! Shows that the end of a chain restores like any other, that whatever is damaged is named and passed over
//! for the next older one, and that a snapshot of which most keys are gone waits for an operator.

use super::{
    Snapshots, damage, sealed,
    stage::{LOAD, Loss, Stage},
};
use crate::drill::{
    cluster::Cluster,
    host::{Host, Wipe},
    process,
    stores::BUCKET,
    trouble::Trouble,
    writer::connect,
};
use etcd_client::{DeleteOptions, Txn, TxnOp};
use rustix::process::Signal;
use serde_json::Value;

/// What the agents are told of snapshots: often, so that a chain grows while one watches, and never
/// exported by the clock, which would begin a new one.
pub(super) const SETTINGS: &[(&str, &str)] =
    &[("REQUORUM_SNAPSHOT_INTERVAL", "2s"), ("REQUORUM_SNAPSHOT_EXPORT_INTERVAL", "1h")];
/// Values beside the load: a base that is large, compared with what the load adds to it.
const BALLAST: usize = 4000;
const BALLAST_BYTES: usize = 2 << 10;
/// Puts of one transaction; etcd takes 128.
const AT_ONCE: usize = 100;
/// Where they stand; no key of the oracle's.
pub(super) const BALLAST_PREFIX: &str = "ballast/";
/// Objects that a snapshot at the end of a chain is made of: a base and two packs at least.
const LINKS: usize = 3;

/// One line of `snapshot ls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) key: String,
    pub(super) revision: u64,
    pub(super) incremental: bool,
    pub(super) live_keys: u64,
    pub(super) doubt: Option<String>,
}

pub(super) async fn play(stage: &mut Stage, what: Snapshots) -> Result<(), Trouble> {
    load_ballast(stage).await?;
    stage.load(LOAD).await?;
    match what {
        Snapshots::Chain => chain(stage).await,
        Snapshots::Sealed => sealed::play(stage).await,
        Snapshots::Damaged => damaged(stage).await,
        Snapshots::Doubtful => doubtful(stage).await,
    }
}

async fn chain(stage: &mut Stage) -> Result<(), Trouble> {
    let end = end_of_a_chain(stage).await?;
    stage.say(format!("{} is laid over {} objects", end.key, LINKS - 1));
    rehearse(stage).await?;
    interrupt_a_rehearsal(stage).await?;
    prune(stage).await?;
    lose_all_disks(stage).await
}

/// All disks are lost; what comes back is the end of a chain, and lost is what came after it.
pub(super) async fn lose_all_disks(stage: &mut Stage) -> Result<(), Trouble> {
    let folder = format!("inc/{}/", stage.inc);
    let all: Vec<usize> = (0..stage.cluster.hosts.len()).collect();
    stage.strike(&all, Wipe::Data)?;
    stage.restored().await?;
    // read only now: a save that was under way at the cut is published after it
    let newest = newest_of(&stage.cluster, |line| line.key.starts_with(&folder)).await?;
    let seen = format!("revision {}", newest.revision);
    stage.checks.note("the newest snapshot is the end of a chain", newest.incremental, seen);
    stage.account(Loss::AfterSnapshot { saved: newest.revision }).await
}

/// The newest snapshot is restored beside a live member, and `status` there shows it.
pub(super) async fn rehearse(stage: &mut Stage) -> Result<(), Trouble> {
    let host = &stage.cluster.hosts[0];
    let output = host.run(&["-o", "json", "snapshot", "rehearse"]).await?;
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let same = shown["passed"] == true && shown["live_keys"] == "same";
    let status = host.run(&["status"]).await?;
    let told = String::from_utf8_lossy(&status.stdout).contains("rehearsed");
    let seen = format!("{}; HashKV {}", shown["key"], shown["hash_kv"]);
    stage.checks.note("the end of a chain is rehearsed beside a live member", same && told, seen);
    Ok(())
}

/// A rehearsal that is interrupted in its midst leaves neither a process nor a file.
async fn interrupt_a_rehearsal(stage: &mut Stage) -> Result<(), Trouble> {
    let host = &stage.cluster.hosts[0];
    let scratch = host.data_dir().join(".requorum/scratch");
    let left = || std::fs::read_dir(&scratch).map_or(0, Iterator::count);
    let mut rehearsal = host.spawn(&["snapshot", "rehearse"])?;
    let pid = rehearsal.id().ok_or_else(|| Trouble("the rehearsal ended at once".into()))?;
    let begun = stage.cluster.until("a rehearsal is under way", async |_| {
        let running = rehearsal.try_wait().ok()?.is_none();
        (left() > 0 || !running).then_some(running)
    });
    let begun = begun.await?;
    process::signal(pid, Signal::INT)?;
    let ended = rehearsal.wait().await.map_err(|error| Trouble::of("the rehearsal", error))?;
    let clean = begun && ended.code() == Some(1) && left() == 0;
    let seen = format!("{ended}, {} files left", left());
    stage.checks.note("a rehearsal that is interrupted leaves nothing", clean, seen);
    Ok(())
}

/// `snapshot prune` of all that may go.
const PRUNE: &str = "snapshot prune --all-for 0s --hourly-for 0s --daily-for 0s --least 1";

/// What `snapshot prune` ends with where the store refuses to delete something.
const UNDELETED: i32 = 14;

/// All that may go is deleted, but for one snapshot that the store does not let go; what is left are
/// snapshots that are whole.
async fn prune(stage: &mut Stage) -> Result<(), Trouble> {
    // two whole files that are older than the end of the chain: the vote of who saved them names the second
    // only, so the first may go whatever the chain is made of
    save(stage).await?;
    save(stage).await?;
    end_of_a_chain(stage).await?;
    let host = &stage.cluster.hosts[0];
    let before = listed(host).await?;
    let words: Vec<&str> = PRUNE.split(' ').collect();
    let dry = host.run(&[&["-o", "json"], &words[..], &["--dry-run"]].concat()).await?;
    let shown: Value = serde_json::from_slice(&dry.stdout).unwrap_or_default();
    let goes = |shown: &&Value| shown["kept"] == false;
    let doomed = shown["snapshots"].as_array().and_then(|all| all.iter().find(goes));
    let doomed = doomed.and_then(|doomed| doomed["key"].as_str());
    let doomed = doomed.ok_or_else(|| Trouble("`snapshot prune` would delete nothing".into()))?;
    stage.cluster.stores.objects.hold(BUCKET, doomed);
    let output = host.run(&words).await?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let after = listed(host).await?;
    let gone: Vec<&Line> = before.iter().filter(|line| !after.contains(line)).collect();
    let stays = |key: &str| after.iter().any(|line| line.key == key);
    let newest = before.first().is_some_and(|newest| stays(&newest.key));
    let pruned = !gone.is_empty() && newest;
    let named = output.status.code() == Some(UNDELETED) && said.contains(doomed);
    stage.checks.note(
        "what the store does not let go is named, and stays",
        named && stays(doomed),
        said.clone(),
    );
    let mut whole = true;
    for line in &after {
        whole &= host.run(&["snapshot", "verify", &line.key]).await?.status.success();
    }
    let seen = format!("{} of {} deleted {said}", gone.len(), before.len());
    stage.checks.note("what is no longer needed is deleted, the newest stays", pruned, seen);
    let seen = format!("{} are left", after.len());
    stage.checks.note("all that is left is whole", whole, seen);
    Ok(())
}

async fn damaged(stage: &mut Stage) -> Result<(), Trouble> {
    let end = end_of_a_chain(stage).await?;
    damage::matrix(stage, &end.key).await?;
    let whole = save(stage).await?;
    stage.load(LOAD).await?;
    end_of_a_chain(stage).await?;
    let all: Vec<usize> = (0..stage.cluster.hosts.len()).collect();
    stage.strike(&all, Wipe::Data)?;
    // no member is left that could save: what is newer than the save by hand is spoilt, one way each
    let lines = listed(&stage.cluster.hosts[0]).await?;
    let newer: Vec<&Line> = lines.iter().filter(|line| line.revision > whole).collect();
    let spoilt = damage::spoil(stage, &newer).await?;
    stage.checks.note("what is newer was spoilt", spoilt > 0, format!("{spoilt} snapshots"));
    stage.restored().await?;
    let source = stage.timeline.source_revision();
    stage.checks.equal("the next older sound one was taken", &source, &Some(whole));
    stage.account(Loss::AfterSnapshot { saved: whole }).await
}

async fn doubtful(stage: &mut Stage) -> Result<(), Trouble> {
    stage.writer.rest().await?; // what is written on would soon be as many keys as go
    let before = snapshot(stage, "a snapshot holds the ballast", |line| {
        line.live_keys >= BALLAST as u64 && line.doubt.is_none()
    });
    let before = before.await?;
    let mut client = connect(&stage.cluster.hosts[0].client_url).await?;
    let options = DeleteOptions::new().with_prefix();
    let deleted = client.delete(BALLAST_PREFIX, Some(options)).await;
    let deleted = deleted.map_err(|error| Trouble::of("deleting the ballast", error))?;
    stage.say(format!("{} of the keys are deleted", deleted.deleted()));
    let shrunk = |line: &Line| line.doubt.as_deref() == Some("shrunk");
    let doubted = snapshot(stage, "a snapshot of what is left is doubtful", shrunk).await?;
    let all: Vec<usize> = (0..stage.cluster.hosts.len()).collect();
    stage.strike(&all, Wipe::Data)?;
    let asked = stage.cluster.until("an operator is asked", async |cluster| {
        let statuses = cluster.statuses().await?;
        let mut parked = statuses.iter().filter_map(|(_, status)| status.parked());
        parked.any(|why| why == "approval-doubt").then_some(())
    });
    asked.await?;
    let inc = stage.highest_inc();
    stage.checks.equal("nothing is restored unasked", &inc, &stage.inc);
    refused_without_its_name(stage, &doubted.key).await?;
    let newest = newest_of(&stage.cluster, shrunk).await?;
    let words = ["snapshot", "adopt", &newest.key, "--force", "shrunk", "--because", "deleted so"];
    let output = stage.cluster.hosts[0].run(&words).await?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    stage.checks.note("`snapshot adopt` is heard", output.status.success(), said);
    stage.writer.go_on();
    stage.restored().await?;
    let source = stage.timeline.source_revision();
    stage.checks.equal(
        "what the operator answers for is restored",
        &source,
        &Some(newest.revision),
    );
    let seen = format!("{} before", before.revision);
    stage.checks.note(
        "it is newer than the last one that was not doubted",
        newest.revision > before.revision,
        seen,
    );
    stage.account(Loss::AfterSnapshot { saved: newest.revision }).await
}

/// An operator must say which doubt is overruled.
async fn refused_without_its_name(stage: &mut Stage, key: &str) -> Result<(), Trouble> {
    for words in [
        vec!["snapshot", "adopt", key, "--because", "no doubt is named"],
        vec!["snapshot", "adopt", key, "--force", "empty", "--because", "another doubt is named"],
    ] {
        let output = stage.cluster.hosts[0].run(&words).await?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let refused = output.status.code() == Some(12) && said.contains("--force shrunk");
        stage.checks.note("a doubt that is not named is not overruled", refused, said);
    }
    Ok(())
}

async fn load_ballast(stage: &Stage) -> Result<(), Trouble> {
    let mut client = connect(&stage.cluster.hosts[0].client_url).await?;
    for first in (0..BALLAST).step_by(AT_ONCE) {
        let puts = (first..first + AT_ONCE).map(|number| {
            TxnOp::put(format!("{BALLAST_PREFIX}{number}"), vec![number as u8; BALLAST_BYTES], None)
        });
        let put = client.txn(Txn::new().and_then(puts.collect::<Vec<_>>())).await;
        put.map_err(|error| Trouble::of("putting ballast", error))?;
    }
    stage.say(format!("{BALLAST} values of {BALLAST_BYTES} bytes lie beside the load"));
    Ok(())
}

/// Waits until the newest snapshot is made of a base and some packs.
pub(super) async fn end_of_a_chain(stage: &Stage) -> Result<Line, Trouble> {
    let what = "the newest snapshot is the end of a chain";
    let found = stage.cluster.until(what, async |cluster| {
        let newest = newest(cluster).await.ok()?;
        let output =
            cluster.hosts[0].run(&["-o", "json", "snapshot", "inspect", &newest.key]).await;
        let shown: Value = serde_json::from_slice(&output.ok()?.stdout).ok()?;
        (shown["objects"].as_array()?.len() >= LINKS).then_some(newest)
    });
    found.await
}

/// Waits for a snapshot.
async fn snapshot(
    stage: &Stage,
    what: &str,
    wanted: impl Fn(&Line) -> bool,
) -> Result<Line, Trouble> {
    stage.cluster.until(what, async |cluster| newest_of(cluster, &wanted).await.ok()).await
}

async fn newest(cluster: &Cluster) -> Result<Line, Trouble> {
    newest_of(cluster, |_| true).await
}

async fn newest_of(cluster: &Cluster, wanted: impl Fn(&Line) -> bool) -> Result<Line, Trouble> {
    let lines = listed(&cluster.hosts[0]).await?;
    let found = lines.into_iter().find(wanted);
    found.ok_or_else(|| Trouble("no such snapshot is listed".into()))
}

/// What `snapshot ls` shows, the newest first.
pub(super) async fn listed(host: &Host) -> Result<Vec<Line>, Trouble> {
    let output = host.run(&["-o", "json", "snapshot", "ls", "--all"]).await?;
    let shown: Value = serde_json::from_slice(&output.stdout)
        .map_err(|_| Trouble(String::from_utf8_lossy(&output.stderr).trim().to_owned()))?;
    let line = |shown: &Value| {
        Some(Line {
            key: shown["key"].as_str()?.to_owned(),
            revision: shown["revision"].as_u64()?,
            incremental: shown["format"] == "incremental",
            live_keys: shown["live_keys"].as_u64().unwrap_or(0),
            doubt: shown["doubt"].as_str().map(ToOwned::to_owned),
        })
    };
    let lines: Option<Vec<Line>> =
        shown["snapshots"].as_array().and_then(|all| all.iter().map(line).collect());
    lines.ok_or_else(|| Trouble("`snapshot ls` shows no list".into()))
}

/// A save by hand; answers with its revision.
async fn save(stage: &mut Stage) -> Result<u64, Trouble> {
    let output = stage.cluster.hosts[0].run(&["-o", "json", "save"]).await?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    stage.checks.note("`requorum save` succeeds", output.status.success(), said);
    let saved: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    saved["revision"].as_u64().ok_or_else(|| Trouble("`save` tells no revision".into()))
}
