//! **alone** — verbs that work where no agent runs: they go through the ports themselves.

use super::{
    Context,
    agent::{site_with_keys, store_problem},
    direct::answered,
    interrupted::unless_interrupted,
    words,
};
use crate::{
    config::Settings,
    driver::{Hands, Ports, perform},
    exit::{Code, Problem},
    local::{
        Request, Saved, Told,
        client::{ask_if_there, is_served},
    },
    render,
};
use protocol::{
    effect::{Effect, Save},
    event::{Failure, FailureKind, Outcome},
    manifest::{Manifest, Reason},
    registry::{Ctrl, Records},
};
use std::sync::Arc;

/// Saves through the agent, or, if none runs, directly from this node's etcd. For a `timer`, an agent that runs
/// is enough: it saves by its own clock.
pub(super) async fn save(context: &Context<'_>, timer: bool) -> Result<(), Problem> {
    if timer && is_served(&context.socket()).await? {
        render::say("an agent runs here and saves by its own clock", context.output);
        return Ok(());
    }
    if let Some(told) = ask_if_there::<Told>(&context.socket(), &Request::Save).await? {
        return words::show(context, told);
    }
    let settings = context.settings()?;
    let ports = context.doors.ports(settings).await?;
    let work = async {
        let manifest = save_alone(settings, ports).await?;
        render::saved(&Saved::from(&manifest), context.output);
        Ok(())
    };
    let done = "`requorum snapshot ls` shows whether it was saved";
    unless_interrupted(work, done).await
}

async fn save_alone(settings: &Settings, ports: Ports) -> Result<Manifest, Problem> {
    let hands = Hands::new(ports, site_with_keys(settings)?);
    let uid = discover(&hands).await?.ok_or_else(not_founded)?;
    let ctrl = read(&hands, uid.clone()).await?.ok_or_else(|| registry_lost(settings, &uid))?;
    let seat = ctrl.seat_named(&settings.name).ok_or_else(|| {
        Problem::new(Code::Foreign, format!("the cluster has no seat called {}", settings.name))
            .next("check ETCD_NAME and ETCDADM_CLUSTER_SNAPSHOTS_S3_URI")
    })?;
    same_cluster(&hands, &ctrl).await?;
    let whose = perform::For { uid: Some(ctrl.uid.clone()), slot: Some(seat.slot) };
    let source_keys = ctrl.source.as_ref().and_then(|source| source.live_keys);
    let adopted = ctrl.adopted.clone();
    let whole = Save::whole(Reason::Hand, ctrl.inc);
    let save = Save { export: settings.export, source_keys, adopted, ..whole };
    let effect = Effect::Save(Box::new(save));
    let saved = answer(perform::perform(&hands, &whose, &effect).await, "the save")?;
    let Outcome::Saved(manifest) = saved else { return Err(unexpected(&saved)) };
    Ok(manifest)
}

/// A snapshot of another cluster, or of an incarnation that is over, must not be filed under this
/// one.
async fn same_cluster(hands: &Hands, ctrl: &Ctrl) -> Result<(), Problem> {
    let answer = hands.ports.etcd.probe(&hands.door().await).await;
    let status = answered(answer, &hands.site.client_url)?;
    if Some(status.cluster_id) == ctrl.cluster_id {
        return Ok(());
    }
    Err(Problem::new(Code::Foreign, "this node's etcd is not of the cluster's present incarnation")
        .because(format!("it belongs to etcd cluster {}", status.cluster_id))
        .next("requorum reconfigure"))
}

/// Creates the lock table.
pub(super) async fn create_table(context: &Context<'_>) -> Result<(), Problem> {
    let settings = context.settings()?;
    let registry = Arc::clone(&context.doors.ports(settings).await?.registry);
    registry.create_table().await.map_err(|error| store_problem("the lock table", &error))?;
    render::say(&format!("the lock table {} is there", settings.table), context.output);
    Ok(())
}

/// The decision head of `uid`, if the table has one.
pub(super) async fn read(hands: &Hands, uid: String) -> Result<Option<Ctrl>, Problem> {
    Ok(read_records(hands, uid).await?.ctrl.clone())
}

/// All records of `uid`.
pub(super) async fn read_records(hands: &Hands, uid: String) -> Result<Arc<Records>, Problem> {
    let whose = perform::For { uid: Some(uid), slot: None };
    let read = perform::perform(hands, &whose, &Effect::ReadRegistry).await;
    let read = answer(readable(read)?, "reading the table")?;
    let Outcome::Records(records) = read else { return Err(unexpected(&read)) };
    Ok(records)
}

/// The cluster that lives under the prefix.
pub(super) async fn discover(hands: &Hands) -> Result<Option<String>, Problem> {
    let found = perform::perform(hands, &perform::For::default(), &Effect::Discover).await;
    let found = answer(readable(found)?, "looking for the cluster")?;
    let Outcome::Discovered(uid) = found else { return Err(unexpected(&found)) };
    Ok(uid)
}

pub(super) fn answer(outcome: Outcome, what: &str) -> Result<Outcome, Problem> {
    if let Outcome::Failed(failure) = outcome {
        return Err(failed(failure, what));
    }
    Ok(outcome)
}

/// What a failed effect means for whoever typed a command.
pub(super) fn failed(failure: Failure, what: &str) -> Problem {
    let code = match failure.kind {
        FailureKind::Unavailable => Code::StoreUnreachable,
        FailureKind::Bad | FailureKind::NoSpace => Code::Failed,
    };
    Problem::new(code, format!("{what} failed")).because(failure.text).next("requorum check")
}

/// A record that can't be read keeps us from the stores' word as their silence would; what is bad in
/// an answer to anything else says nothing about them.
fn readable(outcome: Outcome) -> Result<Outcome, Problem> {
    if let Outcome::Failed(Failure { kind: FailureKind::Bad, text }) = outcome {
        return Err(Problem::new(Code::StoreUnreachable, "a record can't be read")
            .because(text)
            .next("requorum explain"));
    }
    Ok(outcome)
}

pub(super) fn not_founded() -> Problem {
    Problem::new(Code::Failed, "no cluster was founded under this prefix yet").next(
        "requorum agent --bootstrap, on every node, or `requorum agent` to adopt a running etcd",
    )
}

/// The bucket knows a cluster that the table does not: a loss, never a reason to found another.
pub(super) fn registry_lost(settings: &Settings, uid: &str) -> Problem {
    Problem::new(
        Code::StoreUnreachable,
        format!("the bucket names cluster {uid}, but table {} has no record of it", settings.table),
    )
    .next("restore the table from its backup, or check REQUORUM_TABLE and AWS_REGION")
}

fn unexpected(outcome: &Outcome) -> Problem {
    Problem::new(Code::Failed, "an effect was answered with another one's outcome")
        .because(format!("{outcome:?}"))
}
