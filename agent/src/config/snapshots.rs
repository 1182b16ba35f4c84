//! **snapshots** — how snapshots are taken: `REQUORUM_SNAPSHOT_*`, which stand for `etcd.snapshot.*`.
//!
//! Comes from the environment. Goes to the core's timers and to the driver.

use super::{Environment, wrong};
use crate::exit::Problem;
use protocol::{limits::Timers, time::Span};

/// The timers, with what is set of the snapshots'.
pub(super) fn timed(env: &Environment, timers: Timers) -> Result<Timers, Problem> {
    let set = |key, default| Ok::<Span, Problem>(duration(env, key)?.unwrap_or(default));
    Ok(Timers {
        snapshot: set("REQUORUM_SNAPSHOT_INTERVAL", timers.snapshot)?,
        export: set("REQUORUM_SNAPSHOT_EXPORT_INTERVAL", timers.export)?,
        peer_check: set("REQUORUM_SNAPSHOT_PEER_CHECK", timers.peer_check)?,
        ..timers
    })
}

/// Whether regular snapshots store differences only.
pub(super) fn incremental(env: &Environment) -> Result<bool, Problem> {
    let key = "REQUORUM_SNAPSHOT_FORMAT";
    match env.get(key).map_or("incremental", String::as_str) {
        "incremental" => Ok(true),
        "full" => Ok(false),
        other => Err(wrong(key, other, "`incremental` or `full`")),
    }
}

/// Seconds of `90s`, `15m`, `1h`, `30d`.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    let (at, unit) = text.char_indices().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return None,
    };
    text[..at].parse::<u64>().ok()?.checked_mul(seconds)
}

/// `0s` is "never by itself". At most a week: a longer one is a slip.
fn duration(env: &Environment, key: &str) -> Result<Option<Span>, Problem> {
    const WEEK: u64 = 7 * 24 * 3600;
    let Some(text) = env.get(key) else { return Ok(None) };
    let span = seconds(text).filter(|seconds| *seconds <= WEEK).map(Span::seconds);
    span.map(Some)
        .ok_or_else(|| wrong(key, text, "a time such as `90s`, `15m` or `1h`, at most a week"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn times_are_read_with_their_unit() {
        let env = set(&[
            ("REQUORUM_SNAPSHOT_INTERVAL", "90s"),
            ("REQUORUM_SNAPSHOT_EXPORT_INTERVAL", "1m"),
            ("REQUORUM_SNAPSHOT_PEER_CHECK", "0s"),
        ]);
        let timers = timed(&env, Timers::PRODUCTION).expect("they are sound");
        assert_eq!(timers.snapshot, Span::seconds(90));
        assert_eq!(timers.export, Span::seconds(60));
        assert_eq!(timers.peer_check, Span(0));
        assert_eq!(timed(&set(&[]), Timers::QUICK).expect("nothing is set"), Timers::QUICK);
    }

    #[test]
    fn what_is_no_time_is_refused_by_name() {
        for wrong in ["", "m", "15", "1.5m", "-1s", "8000h", "18446744073709551615h", "15 m", "5µ"]
        {
            let env = set(&[("REQUORUM_SNAPSHOT_INTERVAL", wrong)]);
            let problem = timed(&env, Timers::PRODUCTION).expect_err(wrong);
            assert!(
                problem.sentence.contains("REQUORUM_SNAPSHOT_INTERVAL"),
                "{}",
                problem.sentence
            );
        }
    }
}
