//! **words** — verbs that ask about the cluster or say an operator's word, to whoever answers.

use super::{
    Context, Verb,
    voice::{Voice, Watch},
};
use crate::{
    exit::{Code, Problem},
    local::{Request, Told, documents::Status},
    render,
};
use std::time::Duration;

pub(super) async fn status(
    context: &Context<'_>,
    exit_code: bool,
    watch: Option<u64>,
) -> Result<(), Problem> {
    let voice = Voice::find(context, Watch::ForFreshness).await?;
    loop {
        let status: Status = voice.ask(&Request::Status).await?;
        render::status(&status, context.output);
        match watch {
            // ended by SIGINT, or by the agent's end
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None if exit_code => return verdict(&status),
            None => return Ok(()),
        }
    }
}

fn verdict(status: &Status) -> Result<(), Problem> {
    let healthy = status
        .members
        .iter()
        .all(|member| member.fresh && member.vote.as_deref() == Some("healthy"));
    if let Some(problem) = hindrance(status) {
        return Err(problem);
    }
    match (status.verdict.as_str(), healthy) {
        ("quorum-alive", true) => Ok(()),
        ("quorum-alive", false) => {
            Err(Problem::new(Code::Degraded, "a quorum lives, not every member is healthy"))
        }
        (_, _) => {
            Err(Problem::new(Code::QuorumLost, "no quorum is proven to live")
                .next("requorum explain"))
        }
    }
}

/// What keeps the agent from telling, or from acting: an exit code of its own.
fn hindrance(status: &Status) -> Option<Problem> {
    // a pause is told even where there is nothing to hold back just now
    let paused = status.paused.as_ref().map(|why| {
        let sentence = format!("an operator paused automation: {why}");
        Problem::new(Code::Paused, sentence).next("requorum resume")
    });
    let reason = status.reasons.iter().find_map(|reason| {
        let code = hindering(&reason.code)?;
        let problem = Problem::new(code, reason.text.clone()).because(reason.code.clone());
        Some(problem.next("requorum explain"))
    });
    reason.or(paused)
}

/// The exit code of a reason that keeps the agent from acting, wherever it is met.
fn hindering(reason: &str) -> Option<Code> {
    Some(match reason {
        "STORE_UNREACHABLE" | "RECORD_UNREADABLE" | "REGISTRY_LOST" | "BUCKET_LOST" => {
            Code::StoreUnreachable
        }
        "STORES_UNPROVEN" => Code::StoreUnconditional,
        "FOREIGN" | "NO_SEAT" | "SEATS_DIFFER" => Code::Foreign,
        "SEAT_TAKEN" => Code::Held,
        "PAUSED" => Code::Paused,
        "NO_SNAPSHOT" => Code::NoSnapshot,
        _ => return None,
    })
}

pub(super) async fn explain(context: &Context<'_>) -> Result<(), Problem> {
    let voice = Voice::find(context, Watch::ForFreshness).await?;
    let status: Status = voice.ask(&Request::Status).await?;
    render::explain(&status, context.output);
    Ok(())
}

pub(super) async fn metrics(context: &Context<'_>) -> Result<(), Problem> {
    let voice = Voice::find(context, Watch::ForFreshness).await?;
    let status: Status = voice.ask(&Request::Status).await?;
    render::metrics(&status, context.output);
    Ok(())
}

/// Speaks one operator's word and prints the answer.
pub(super) async fn tell(context: &Context<'_>, verb: Verb) -> Result<(), Problem> {
    let request = request(context, verb)?;
    let attests = matches!(request, Request::Attest { .. });
    let watch = if attests { Watch::ForSilence } else { Watch::ForFreshness };
    let told: Told = Voice::find(context, watch).await?.ask(&request).await?;
    show(context, told)
}

/// Prints the agent's answer, or ends with its refusal.
pub(super) fn show(context: &Context<'_>, told: Told) -> Result<(), Problem> {
    if let Some(saved) = &told.saved {
        render::saved(saved, context.output);
        return Ok(());
    }
    if told.accepted {
        render::told(&told, context.output);
        return Ok(());
    }
    let code = match told.code.as_str() {
        "LEASE_HELD" => Code::Held,
        "BUSY" | "ENDING" | "BAD_REQUEST" | "RETRYING" | "UNABLE" | "BLIND" => Code::Failed,
        reason => hindering(reason).unwrap_or(Code::Refused),
    };
    Err(Problem::new(code, told.sentence).because(told.code).next("requorum explain"))
}

/// Who speaks, for the record.
pub(super) fn by() -> String {
    std::env::var("SUDO_USER")
        .or_else(|_| std::env::var("USER"))
        .unwrap_or_else(|_| "unknown".into())
}

fn request(context: &Context<'_>, verb: Verb) -> Result<Request, Problem> {
    Ok(match verb {
        Verb::Restore { from, rollback, because } => {
            Request::Restore { rollback, source: from, by: by(), because }
        }
        Verb::Replace { name, because } => Request::Replace {
            name: match name {
                Some(name) => name,
                None => context.settings()?.name.clone(),
            },
            because,
        },
        Verb::Attest { name, because } => Request::Attest { name, by: by(), because },
        Verb::Approve { attempt } => Request::Approve { attempt },
        Verb::Abort => Request::Abort,
        Verb::Pause { because } => Request::Pause { because },
        Verb::Resume => Request::Resume,
        Verb::Agent { .. }
        | Verb::Save { .. }
        | Verb::Config(_)
        | Verb::Generate(_)
        | Verb::Snapshot(_)
        | Verb::Status { .. }
        | Verb::Explain
        | Verb::Metrics
        | Verb::Check
        | Verb::ClusterIsHealthy
        | Verb::MemberIsLeader
        | Verb::MemberStatusSetStarted
        | Verb::Reconfigure { .. }
        | Verb::CreateTable
        | Verb::Compact
        | Verb::Defrag => {
            return Err(Problem::new(Code::Usage, "that verb is no word to the agent"));
        }
    })
}
