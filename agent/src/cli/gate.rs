//! **gate** — may this node's etcd start? Asked by people (`reconfigure`), and by etcd's unit before each start
//! of it, by whomever (`reconfigure --gate`).
//!
//! Comes in: what the machine holds and remembers, the agent's permit, the lock table if it answers. Goes out:
//! an exit code, and with `--gate` the variables that etcd will read. It waits for nobody: no other host, no
//! restore, no running agent (protocol.md A3). What to answer is [`protocol::boot`]'s.

use super::{
    Context,
    agent::site,
    alone::{discover, read},
};
use crate::{
    config::Settings,
    driver::Hands,
    exit::{Code, Problem},
    ports::{permits::Permits, service::ServiceError},
    render,
};
use protocol::{
    boot::{Gate, Table, gate, permitted},
    observation::{Data, Memory},
};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// How long the stores may take to answer; without them the durable memory decides (boot rule 2).
const PATIENCE: Duration = Duration::from_secs(30);

/// Says whether etcd may start.
pub(super) async fn ask(context: &Context<'_>) -> Result<(), Problem> {
    let settings = context.settings()?;
    let (data, memory) = here(context, settings).await?;
    let table = second_opinion(context, settings, &memory).await;
    told(gate(&settings.instance, &data, &memory, &table), context)
}

/// The same for a unit that is about to start, and what etcd is to read then.
pub(super) async fn pass(context: &Context<'_>) -> Result<(), Problem> {
    let settings = context.settings()?;
    let permits = permits(context, settings)?;
    let start = permits.take().map_err(|error| unprepared(&error))?;
    let (data, memory) = here(context, settings).await?;
    let word = match &start {
        Some(start) => permitted(&settings.instance, &data, &memory, start),
        None => {
            let table = second_opinion(context, settings, &memory).await;
            gate(&settings.instance, &data, &memory, &table)
        }
    };
    if matches!(word, Gate::Start(_)) {
        permits.prepare(start.as_ref()).map_err(|error| unprepared(&error))?;
    }
    told(word, context)
}

/// Notes for the agent whether an operator stopped the unit, or it ended by itself, or by the agent's word.
pub(super) async fn stopped(context: &Context<'_>) -> Result<(), Problem> {
    let permits = permits(context, context.settings()?)?;
    let variable = |name: &str| std::env::var(name).unwrap_or_default(); // systemd.exec(5)
    let (invocation, result) = (variable("INVOCATION_ID"), variable("SERVICE_RESULT"));
    let asked = permits.stopped(&invocation, &result).await.map_err(|error| {
        Problem::new(Code::Failed, "whether an operator stopped etcd could not be noted")
            .because(error)
            .next("requorum pause --because TEXT, if it is to stay stopped")
    })?;
    let text = if asked {
        "an operator stopped etcd: no agent starts it again by itself"
    } else {
        "etcd ended by itself or by its agent: nothing is noted"
    };
    render::say(text, context.output);
    Ok(())
}

fn permits(context: &Context<'_>, settings: &Settings) -> Result<Arc<dyn Permits>, Problem> {
    context.doors.permits(settings).ok_or_else(|| {
        Problem::new(Code::Usage, "no unit runs this node's etcd: it has no gate").next(
            "name the unit in ETCDADM_MEMBER_SYSTEMD_SERVICE_NAME, or set REQUORUM_SERVICE=systemd",
        )
    })
}

fn unprepared(error: &ServiceError) -> Problem {
    Problem::new(Code::Fenced, "what etcd should read can't be prepared; it must not start")
        .because(error)
        .next("requorum status")
}

async fn here(context: &Context<'_>, settings: &Settings) -> Result<(Data, Memory), Problem> {
    let machine = context.doors.machine(settings);
    let memory = machine.memory().await.map_err(|error| {
        Problem::new(Code::Fenced, "what this machine promised can't be read; etcd must not start")
            .because(error)
            .next(format!("ls -l {}", settings.state_dir.display()))
    })?;
    Ok((machine.data().await, memory))
}

fn told(word: Gate, context: &Context<'_>) -> Result<(), Problem> {
    match word {
        Gate::Start(why) => {
            render::say(&format!("etcd may start: {why}"), context.output);
            Ok(())
        }
        Gate::Pending(why) => {
            Err(Problem::new(Code::Failed, "etcd must not start yet; the agent starts it")
                .because(why)
                .next("requorum status"))
        }
        Gate::Fenced(why) => {
            Err(Problem::new(Code::Fenced, "etcd must not start: this machine is fenced")
                .because(why)
                .next("requorum explain"))
        }
    }
}

/// What the table says, within a bound.
async fn second_opinion(context: &Context<'_>, settings: &Settings, memory: &Memory) -> Table {
    let looked = async {
        let hands = Hands::new(context.doors.ports(settings).await?, site(settings));
        let uid = match memory.uid.clone() {
            Some(uid) => Some(uid),
            None => discover(&hands).await?,
        };
        let Some(uid) = uid else { return Ok(Table::NotFounded) };
        let ctrl = read(&hands, uid).await?;
        // a table that lost its cluster is no word on this machine
        Ok::<Table, Problem>(ctrl.map_or(Table::Unread, Table::Read))
    };
    match timeout(PATIENCE, looked).await {
        Ok(Ok(table)) => return table,
        Ok(Err(problem)) => {
            tracing::warn!(
                cause = problem.cause,
                "decided without the table: {}",
                problem.sentence
            );
        }
        Err(_) => tracing::warn!("decided without the table, which does not answer"),
    }
    Table::Unread
}
