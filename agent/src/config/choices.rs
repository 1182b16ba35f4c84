//! **choices** — settings that are one of a few words, or a number.
//!
//! Comes in: the environment. Goes out: the core's own types, or a sentence that says which words there are.

use super::{Environment, wrong};
use crate::exit::Problem;
use protocol::{
    coordinator::{Mode, Threshold},
    limits::Timers,
};

pub(super) fn timers(env: &Environment) -> Result<Timers, Problem> {
    match env.get("REQUORUM_TIMERS").map_or("production", String::as_str) {
        "production" => Ok(Timers::PRODUCTION),
        "quick" => Ok(Timers::QUICK),
        other => Err(wrong("REQUORUM_TIMERS", other, "`production` or `quick`")),
    }
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
