//! **choices** — settings that are one of a few words, or a number.
//!
//! Comes in: the environment. Goes out: the core's own types, or a sentence that says which words there are.

use super::{Environment, wrong};
use crate::exit::Problem;
use protocol::{
    coordinator::{Mode, Threshold},
    limits::Timers,
    time::Span,
};

/// Seconds of a week: whoever waits longer for a failure to be one has switched it off.
const WEEK: u64 = 7 * 24 * 3600;

pub(super) fn timers(env: &Environment) -> Result<Timers, Problem> {
    match env.get("REQUORUM_TIMERS").map_or("production", String::as_str) {
        "production" => Ok(Timers::PRODUCTION),
        "quick" => Ok(Timers::QUICK),
        other => Err(wrong("REQUORUM_TIMERS", other, "`production` or `quick`")),
    }
}

/// kube-aws's two limits, in seconds, by either of its spellings: how long the cluster must have failed before it
/// is restored, and a member before it is replaced. kube-aws looked at its own clock once and took 10 s; what is
/// shorter than it takes to hear of a living quorum is lengthened to that.
pub(super) fn limited(env: &Environment, timers: Timers) -> Result<Timers, Problem> {
    let limit = |names: [&'static str; 2], least: Span, default: Span| {
        let said = names.into_iter().find(|name| env.contains_key(*name));
        let Some(name) = said else { return Ok(default) };
        let seconds = number(env, name, 0..=WEEK)?.unwrap_or_default();
        Ok::<Span, Problem>(Span::seconds(seconds).max(least))
    };
    let cluster = ["ETCDADM_CLUSTER_FAILURE_PERIOD_LIMIT", "ETCD_CLUSTER_FAILURE_PERIOD_LIMIT"];
    let member = ["ETCDADM_MEMBER_FAILURE_PERIOD_LIMIT", "ETCD_MEMBER_FAILURE_PERIOD_LIMIT"];
    let confirm = limit(cluster, timers.lin, timers.confirm)?;
    Ok(Timers { confirm, replace: limit(member, timers.lin, timers.replace)?, ..timers })
}

pub(super) fn mode(env: &Environment) -> Result<Mode, Problem> {
    match env.get("REQUORUM_MODE").map_or("automatic", String::as_str) {
        "automatic" => Ok(Mode::Automatic),
        "ask" => Ok(Mode::Ask),
        "off" => Ok(Mode::Off),
        other => Err(wrong("REQUORUM_MODE", other, "`automatic`, `ask` or `off`")),
    }
}

pub(super) fn threshold(env: &Environment) -> Result<Threshold, Problem> {
    match env.get("REQUORUM_THRESHOLD").map_or("quorum", String::as_str) {
        "quorum" => Ok(Threshold::Quorum),
        "1/N" => Ok(Threshold::OneNth),
        other => Err(wrong("REQUORUM_THRESHOLD", other, "`quorum` or `1/N`")),
    }
}

pub(super) fn number(
    env: &Environment,
    key: &str,
    range: std::ops::RangeInclusive<u64>,
) -> Result<Option<u64>, Problem> {
    let Some(text) = env.get(key) else { return Ok(None) };
    let parsed = text.parse().ok().filter(|number| range.contains(number));
    let bounds = format!("a number from {} to {}", range.start(), range.end());
    parsed.map(Some).ok_or_else(|| wrong(key, text, &bounds))
}
