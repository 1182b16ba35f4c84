//! **direct** — verbs that ask etcd itself and need no agent.

use super::Context;
use crate::{
    exit::{Code, Problem},
    local::check::{Check, Looked},
    ports::etcd::{Door, EtcdError},
    render,
};
use protocol::observation::{Answer, Status};
use std::sync::Arc;
use tokio::task::JoinSet;

fn own_url<'a>(context: &'a Context<'_>) -> Result<&'a str, Problem> {
    let settings = context.settings()?;
    let seat = settings.seats.iter().find(|seat| seat.name == settings.name);
    seat.map(|seat| seat.client_url.as_str())
        .ok_or_else(|| Problem::new(Code::Usage, "ETCD_NAME is none of the seats"))
}

fn refused(error: EtcdError) -> Problem {
    Problem::new(Code::Failed, "etcd refused or did not answer")
        .because(error)
        .next("requorum check")
}

/// What this node's etcd said of itself.
pub(super) fn answered(answer: Answer, url: &str) -> Result<Status, Problem> {
    match answer {
        Answer::Status(status) => Ok(status),
        Answer::Refused { why, .. } => Err(not_allowed(url, &why)),
        Answer::Silent => {
            let text = format!("this node's etcd does not answer at {url}");
            Err(Problem::new(Code::Failed, text).next("requorum status"))
        }
    }
}

fn not_allowed(url: &str, why: &str) -> Problem {
    Problem::new(Code::Failed, format!("etcd at {url} does not let us ask"))
        .because(why)
        .next("name a certificate of etcd's user root in ETCDCTL_CACERT, ETCDCTL_CERT, ETCDCTL_KEY")
}

/// Where no linearizable read came back: a member that hides a quorum from us may serve others.
fn hidden(check: &Check) -> Option<Problem> {
    let member = check.members.iter().find(|member| member.refused.is_some())?;
    Some(not_allowed(&member.client_url, member.refused.as_deref()?))
}

/// One look at every seat at once: the slowest one bounds it, not their sum.
async fn look(context: &Context<'_>) -> Result<Check, Problem> {
    let mut looks = JoinSet::new();
    for seat in context.settings()?.seats.clone() {
        let etcd = Arc::clone(&context.etcd);
        looks.spawn(async move {
            let answer = etcd.probe(&Door::Client(seat.client_url.clone())).await;
            (seat.slot, Looked::new(seat.name, seat.client_url, &answer))
        });
    }
    let mut looked = looks.join_all().await;
    looked.sort_by_key(|(slot, _)| *slot);
    Ok(Check::new(looked.into_iter().map(|(_, looked)| looked).collect()))
}

pub(super) async fn check(context: &Context<'_>) -> Result<(), Problem> {
    let check = look(context).await?;
    render::check(&check, context.output);
    let all = check.members.len();
    let healthy = check.members.iter().filter(|member| member.linearizable).count();
    let sentence = format!("{healthy} of {all} members serve linearizable reads");
    match healthy {
        0 => Err(hidden(&check)
            .unwrap_or_else(|| Problem::new(Code::QuorumLost, sentence).next("requorum explain"))),
        some if some < all || check.has_alarm() => {
            let cause = if some < all { "a member does not" } else { "a member reports an alarm" };
            Err(Problem::new(Code::Degraded, sentence).because(cause).next("requorum status"))
        }
        _ => Ok(()),
    }
}

pub(super) async fn cluster_is_healthy(context: &Context<'_>) -> Result<(), Problem> {
    let check = look(context).await?;
    if check.members.iter().any(|member| member.linearizable) {
        render::say("a quorum lives", context.output);
        return Ok(());
    }
    Err(hidden(&check).unwrap_or_else(|| {
        Problem::new(Code::QuorumLost, "no linearizable read succeeds through any member")
            .next("requorum explain")
    }))
}

pub(super) async fn member_is_leader(context: &Context<'_>) -> Result<(), Problem> {
    let url = own_url(context)?.to_owned();
    let status = answered(context.etcd.probe(&Door::Client(url.clone())).await, &url)?;
    if status.leader == Some(status.member_id) {
        render::say("this member leads", context.output);
        return Ok(());
    }
    Err(Problem::new(Code::Failed, "this member does not lead"))
}

pub(super) async fn compact(context: &Context<'_>) -> Result<(), Problem> {
    let door = Door::Client(own_url(context)?.to_owned());
    let revision = context.etcd.compact(&door, 0).await.map_err(refused)?;
    render::say(&format!("history up to revision {revision} is compacted"), context.output);
    Ok(())
}

pub(super) async fn defrag(context: &Context<'_>) -> Result<(), Problem> {
    let url = own_url(context)?.to_owned();
    let door = Door::Client(url.clone());
    // a defragmentation may take minutes: an etcd that hangs must not look like one at work
    answered(context.etcd.probe(&door).await, &url)?;
    context.etcd.defragment(&door).await.map_err(refused)?;
    render::say("this node's member is defragmented", context.output);
    Ok(())
}
