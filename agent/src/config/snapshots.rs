//! **snapshots** — how snapshots are taken: `REQUORUM_SNAPSHOT_*`, which stand for `etcd.snapshot.*`.
//!
//! Comes from the environment. Goes to the core's timers and to the driver.

use super::{Environment, wrong};
use crate::exit::{Code, Problem};
use age::x25519::Recipient;
use protocol::{limits::Timers, time::Span};
use std::path::PathBuf;

/// Most recipients: what is sealed begins with a note for each of them.
const RECIPIENTS_MAX: usize = 100;

/// For whom snapshots are sealed, and where what opens them is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sealing {
    /// Nobody: they are stored as they are.
    pub recipients: Vec<Recipient>,
    /// Also without recipients, for what was sealed before.
    pub identity_file: Option<PathBuf>,
}

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

/// Who may open snapshots. Without what opens them here nothing is sealed: whoever is to restore must be able
/// to read.
pub(super) fn sealing(env: &Environment) -> Result<Sealing, Problem> {
    let (to, with) = ("REQUORUM_SNAPSHOT_RECIPIENTS", "REQUORUM_SNAPSHOT_IDENTITY_FILE");
    let identity_file = env.get(with).map(PathBuf::from);
    if let Some(file) = identity_file.as_ref().filter(|file| !file.is_absolute()) {
        return Err(wrong(with, &file.display().to_string(), "an absolute path"));
    }
    let Some(text) = env.get(to) else {
        return Ok(Sealing { recipients: Vec::new(), identity_file });
    };
    let recipients: Vec<Recipient> = text
        .split(',')
        .map(|one| one.trim().parse().map_err(|_| wrong(to, text, "age1...,age1...")))
        .collect::<Result<_, _>>()?;
    if recipients.len() > RECIPIENTS_MAX {
        return Err(wrong(to, text, &format!("at most {RECIPIENTS_MAX} recipients")));
    }
    if identity_file.is_none() {
        let sentence =
            format!("{to} is set and {with} is not: a snapshot nobody here can open is none");
        return Err(Problem::new(Code::Usage, sentence).next(format!(
            "age-keygen -o FILE, add the recipient that it prints to {to}, and set {with}=FILE"
        )));
    }
    Ok(Sealing { recipients, identity_file })
}

/// Whether a plain file may be copied to the old URI.
pub(super) fn export(env: &Environment, sealing: &Sealing) -> Result<bool, Problem> {
    let key = "REQUORUM_SNAPSHOT_EXPORT";
    match env.get(key).map(String::as_str) {
        None => Ok(sealing.recipients.is_empty()),
        Some("plain") => Ok(true),
        Some("off") => Ok(false),
        Some(other) => Err(wrong(key, other, "`plain` or `off`")),
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

    #[test]
    fn sealed_snapshots_need_what_opens_them_and_are_not_exported_unasked() {
        let identity = age::x25519::Identity::generate();
        let one = identity.to_public().to_string();
        let (to, with) = ("REQUORUM_SNAPSHOT_RECIPIENTS", "REQUORUM_SNAPSHOT_IDENTITY_FILE");
        assert_eq!(sealing(&set(&[])), Ok(Sealing::default()));
        let both = format!("{one}, {}", age::x25519::Identity::generate().to_public());
        let sealed = sealing(&set(&[(to, &both), (with, "/etc/key")])).expect("it is sound");
        assert_eq!((sealed.recipients.len(), &sealed.recipients[0]), (2, &identity.to_public()));
        let before = sealing(&set(&[(with, "/etc/key")])).expect("for what was sealed before");
        assert!(before.recipients.is_empty());
        for (pairs, named) in [
            (vec![(to, one.as_str())], with),
            (vec![(to, "age1nobody"), (with, "/etc/key")], to),
            (vec![(to, ","), (with, "/etc/key")], to),
            (vec![(to, &one), (with, "key")], with),
        ] {
            let problem = sealing(&set(&pairs)).expect_err("refused");
            assert!(problem.sentence.contains(named) && problem.code == Code::Usage, "{problem}");
        }
        let key = "REQUORUM_SNAPSHOT_EXPORT";
        assert_eq!(export(&set(&[]), &Sealing::default()), Ok(true));
        assert_eq!(export(&set(&[(key, "off")]), &Sealing::default()), Ok(false));
        assert_eq!(export(&set(&[]), &sealed), Ok(false));
        assert_eq!(export(&set(&[(key, "plain")]), &sealed), Ok(true));
        assert!(export(&set(&[(key, "yes")]), &sealed).is_err());
    }
}
