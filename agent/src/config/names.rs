//! **names** — which `REQUORUM_*` names there are.
//!
//! Comes from the environment. Goes out: nothing, or a sentence with the nearest name: a typing
//! error must not silently switch a guard off.

use super::Environment;
use crate::exit::{Code, Problem};

/// Names of ours. A name that is not here is an error.
const OURS: [&str; 26] = [
    "REQUORUM_CLIENT_URLS",
    "REQUORUM_CLUSTER_YAML",
    "REQUORUM_ENV_FILE",
    "REQUORUM_ETCD_ARGS",
    "REQUORUM_ETCD_DIR",
    "REQUORUM_HOLD",
    "REQUORUM_INSTANCE",
    "REQUORUM_LOG",
    "REQUORUM_MAX_LOSS",
    "REQUORUM_MIN_MEMBERS",
    "REQUORUM_MODE",
    "REQUORUM_RUNTIME_DIR",
    "REQUORUM_S3_SSE",
    "REQUORUM_S3_SSE_KMS_KEY_ID",
    "REQUORUM_SERVICE",
    "REQUORUM_SNAPSHOT_EXPORT",
    "REQUORUM_SNAPSHOT_EXPORT_INTERVAL",
    "REQUORUM_SNAPSHOT_FORMAT",
    "REQUORUM_SNAPSHOT_IDENTITY_FILE",
    "REQUORUM_SNAPSHOT_INTERVAL",
    "REQUORUM_SNAPSHOT_PEER_CHECK",
    "REQUORUM_SNAPSHOT_RECIPIENTS",
    "REQUORUM_STATE_DIR",
    "REQUORUM_TABLE",
    "REQUORUM_THRESHOLD",
    "REQUORUM_TIMERS",
];

pub(super) fn refuse_unknown(env: &Environment) -> Result<(), Problem> {
    let unknown =
        env.keys().find(|key| key.starts_with("REQUORUM_") && !OURS.contains(&key.as_str()));
    let Some(unknown) = unknown else { return Ok(()) };
    let near = nearest(&OURS, unknown);
    Err(Problem::new(Code::Usage, format!("{unknown} is no setting; did you mean {near}?"))
        .next("mend it in /var/run/coreos/etcdadm-environment or in the unit"))
}

/// Whether a gate needs what is said under this name.
pub(super) fn is_a_gates(name: &str) -> bool {
    const OF_OURS: [&str; 6] = [
        "REQUORUM_CLIENT_URLS",
        "REQUORUM_INSTANCE",
        "REQUORUM_RUNTIME_DIR",
        "REQUORUM_SERVICE",
        "REQUORUM_STATE_DIR",
        "REQUORUM_TABLE",
    ];
    let others = ["ETCD_", "ETCDCTL_", "ETCDADM_"].iter().any(|prefix| name.starts_with(prefix));
    OF_OURS.contains(&name) || (others && !name.ends_with("_FAILURE_PERIOD_LIMIT"))
}

/// The known word that is most like another.
pub(crate) fn nearest<'a>(known: &[&'a str], unknown: &str) -> &'a str {
    known.iter().max_by_key(|known| likeness(known, unknown)).copied().unwrap_or_default()
}

/// How alike two names are: the letters they share at both ends.
fn likeness(one: &str, other: &str) -> usize {
    let head = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    let tail = one.bytes().rev().zip(other.bytes().rev()).take_while(|(a, b)| a == b).count();
    head + tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_is_offered_the_nearest_name() {
        let env = [("REQUORUM_MIN_MEMBER".to_owned(), "2".to_owned())].into();
        let problem = refuse_unknown(&env).expect_err("unknown");
        assert!(problem.sentence.contains("did you mean REQUORUM_MIN_MEMBERS?"), "{problem}");
    }
}
