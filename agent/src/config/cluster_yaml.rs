//! **cluster_yaml** — what kube-aws's `cluster.yaml` says of snapshots and disaster recovery.
//!
//! Comes in: the file, which describes a whole cluster and is on no node unless somebody puts it there. Goes out:
//! our own names and values, so that a setting is checked in one place only, whoever said it. Below
//! `etcd.snapshot` and `etcd.disasterRecovery` every key must be one of ours, or a typing error would switch a
//! guard off; all else in the file is kube-aws's.

use super::nearest;
use crate::exit::{Code, Problem};
use saphyr::{LoadableYamlNode as _, Scalar, Yaml};
use std::path::Path;

/// Where the file is looked for; it needn't be there.
pub(super) const FILE: &str = "/etc/requorum/cluster.yaml";

const SNAPSHOT: &str = "etcd.snapshot";
const RECOVERY: &str = "etcd.disasterRecovery";

/// Keys below the two, and what they stand for. `automated` is both: see [`automated`].
const KEYS: [(&str, &str, &str); 13] = [
    (SNAPSHOT, "automated", "REQUORUM_SNAPSHOT_INTERVAL"),
    (SNAPSHOT, "interval", "REQUORUM_SNAPSHOT_INTERVAL"),
    (SNAPSHOT, "format", "REQUORUM_SNAPSHOT_FORMAT"),
    (SNAPSHOT, "export", "REQUORUM_SNAPSHOT_EXPORT"),
    (SNAPSHOT, "exportInterval", "REQUORUM_SNAPSHOT_EXPORT_INTERVAL"),
    (SNAPSHOT, "peerCheck", "REQUORUM_SNAPSHOT_PEER_CHECK"),
    (SNAPSHOT, "recipients", "REQUORUM_SNAPSHOT_RECIPIENTS"),
    (SNAPSHOT, "identityFile", "REQUORUM_SNAPSHOT_IDENTITY_FILE"),
    (RECOVERY, "automated", "REQUORUM_MODE"),
    (RECOVERY, "mode", "REQUORUM_MODE"),
    (RECOVERY, "threshold", "REQUORUM_THRESHOLD"),
    (RECOVERY, "minMembers", "REQUORUM_MIN_MEMBERS"),
    (RECOVERY, "maxLoss", "REQUORUM_MAX_LOSS"),
];

/// A key and its value as they stand in the file.
struct Said {
    branch: &'static str,
    key: &'static str,
    name: &'static str,
    value: String,
}

/// What the file says, by our names.
///
/// # Errors
/// [`Code::Usage`]: it is no YAML, a key of ours is misspelt, or two of them contradict each other.
pub(super) fn settings(file: &Path, text: &str) -> Result<Vec<(String, String)>, Problem> {
    let at = |sentence: String| {
        Problem::new(Code::Usage, format!("{}: {sentence}", file.display()))
            .next(format!("mend {}, then start the agent again", file.display()))
    };
    let documents = Yaml::load_from_str(text).map_err(|why| at(format!("no YAML: {why}")))?;
    let etcd = documents.first().and_then(|root| root.as_mapping_get("etcd"));
    let mut said = Vec::new();
    for branch in [SNAPSHOT, RECOVERY] {
        let name = branch.trim_start_matches("etcd.");
        let Some(node) = etcd.and_then(|etcd| etcd.as_mapping_get(name)) else { continue };
        if matches!(node, Yaml::Value(Scalar::Null)) {
            continue; // the branch with nothing below it
        }
        let Some(pairs) = node.as_mapping() else {
            return Err(at(format!("{branch} has no keys below it")));
        };
        let said_something =
            |(_, value): &(&Yaml<'_>, &Yaml<'_>)| !matches!(value, Yaml::Value(Scalar::Null));
        for (key, value) in pairs.iter().filter(said_something) {
            said.push(read(branch, key, value).map_err(&at)?);
        }
    }
    automated(&said).map_err(at)
}

fn read(branch: &'static str, key: &Yaml<'_>, value: &Yaml<'_>) -> Result<Said, String> {
    let own = || KEYS.iter().filter(|(place, _, _)| *place == branch);
    let text = scalar(key).ok_or_else(|| format!("a key below {branch} is no word"))?;
    let Some((_, key, name)) = own().find(|(_, known, _)| *known == text) else {
        let known: Vec<&str> = own().map(|(_, known, _)| *known).collect();
        let near = nearest(&known, &text);
        return Err(format!("{branch}.{text} is no setting; did you mean {branch}.{near}?"));
    };
    let value = scalar(value).ok_or_else(|| format!("{branch}.{key} is no single value"))?;
    Ok(Said { branch, key, name, value })
}

/// `automated` says yes or no to what the branch is about. Whatever else is said there must agree: two words that
/// contradict each other are refused, not weighed.
fn automated(said: &[Said]) -> Result<Vec<(String, String)>, String> {
    let find = |branch, key| said.iter().find(|one| one.branch == branch && one.key == key);
    let mut settings = Vec::new();
    for one in said.iter().filter(|one| one.key != "automated") {
        settings.push((one.name.to_owned(), one.value.clone()));
    }
    let mut wanted = Vec::new();
    for (branch, other, off, on) in
        [(SNAPSHOT, "interval", "0s", None), (RECOVERY, "mode", "off", Some("automatic"))]
    {
        let Some(switch) = find(branch, "automated") else { continue };
        let yes = match switch.value.as_str() {
            "true" | "yes" | "on" => true, // as YAML 1.1 has it, which kube-aws reads
            "false" | "no" | "off" => false,
            word => {
                return Err(format!("{branch}.automated is `{word}`; it must be true or false"));
            }
        };
        wanted.push((branch, yes));
        let beside = find(branch, other);
        if let Some(beside) = beside
            && is_off(&beside.value) == yes
        {
            let (a, b) = (yes, &beside.value);
            return Err(format!(
                "{branch}.automated is {a} and {branch}.{other} is `{b}`: they contradict each other"
            ));
        }
        let stands_for = if yes { on } else { Some(off) };
        if let (None, Some(value)) = (beside, stands_for) {
            settings.push((switch.name.to_owned(), value.to_owned()));
        }
    }
    if wanted.contains(&(SNAPSHOT, false)) && wanted.contains(&(RECOVERY, true)) {
        return Err(format!(
            "{RECOVERY}.automated is true and {SNAPSHOT}.automated is false: without snapshots there would be nothing to restore from"
        ));
    }
    Ok(settings)
}

/// Words that switch something off.
fn is_off(value: &str) -> bool {
    matches!(value, "off" | "0" | "0s" | "0m" | "0h")
}

/// A single value as it would be said in an environment.
fn scalar(node: &Yaml<'_>) -> Option<String> {
    match node {
        Yaml::Value(Scalar::Boolean(value)) => Some(value.to_string()),
        Yaml::Value(Scalar::Integer(value)) => Some(value.to_string()),
        Yaml::Value(Scalar::String(value)) => Some(value.to_string()),
        Yaml::Representation(text, ..) => Some(text.to_string()),
        Yaml::Value(_)
        | Yaml::Sequence(_)
        | Yaml::Mapping(_)
        | Yaml::Tagged(..)
        | Yaml::Alias(_)
        | Yaml::BadValue => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Result<Vec<(String, String)>, Problem> {
        let mut settings = settings(Path::new("/etc/cluster.yaml"), text)?;
        settings.sort();
        Ok(settings)
    }

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_kube_awss_is_left_alone() {
        let text = "clusterName: prod\netcd:\n  count: 3\n  nodes:\n    - name: etcd0\n  snapshot:\n    automated: true\n  disasterRecovery:\n    automated: true\nworker: {}\n";
        assert_eq!(said(text), Ok(pairs(&[("REQUORUM_MODE", "automatic")])));
        for nothing in ["", "worker: {}\n", "etcd:\n", "etcd:\n  snapshot:\n"] {
            assert_eq!(said(nothing), Ok(Vec::new()), "{nothing:?}");
        }
    }

    #[test]
    fn switches_stand_for_settings_of_ours() {
        let off = "etcd: {snapshot: {automated: false}, disasterRecovery: {automated: false}}";
        let wanted = [("REQUORUM_MODE", "off"), ("REQUORUM_SNAPSHOT_INTERVAL", "0s")];
        assert_eq!(said(off), Ok(pairs(&wanted)));
        let all = "etcd:\n  snapshot:\n    automated: true\n    interval: 30s\n    format: full\n  disasterRecovery:\n    automated: true\n    mode: ask\n    minMembers: 2\n    threshold: 1/N\n";
        let wanted = [
            ("REQUORUM_MIN_MEMBERS", "2"),
            ("REQUORUM_MODE", "ask"),
            ("REQUORUM_SNAPSHOT_FORMAT", "full"),
            ("REQUORUM_SNAPSHOT_INTERVAL", "30s"),
            ("REQUORUM_THRESHOLD", "1/N"),
        ];
        assert_eq!(said(all), Ok(pairs(&wanted)));
    }

    #[test]
    fn what_is_misspelt_or_contradicts_itself_is_refused_by_name() {
        let refused = [
            ("etcd: {snapshot: {autmated: true}}", "did you mean etcd.snapshot.automated?"),
            (
                "etcd: {disasterRecovery: {minMember: 2}}",
                "did you mean etcd.disasterRecovery.minMembers?",
            ),
            ("etcd: {snapshot: {automated: yes please}}", "true or false"),
            ("etcd: {snapshot: {automated: false, interval: 30s}}", "contradict"),
            ("etcd: {snapshot: {automated: true, interval: 0s}}", "contradict"),
            ("etcd: {disasterRecovery: {automated: true, mode: off}}", "contradict"),
            ("etcd: {disasterRecovery: {automated: false, mode: ask}}", "contradict"),
            (
                "etcd: {snapshot: {automated: false}, disasterRecovery: {automated: true}}",
                "nothing to restore",
            ),
            ("etcd: {snapshot: [1]}", "no keys"),
            ("etcd: {snapshot: {interval: [1]}}", "no single value"),
            ("etcd: {snapshot: {", "no YAML"),
        ];
        for (text, named) in refused {
            let problem = said(text).expect_err(named);
            assert!(problem.sentence.contains(named), "{problem}");
            assert!(problem.sentence.starts_with("/etc/cluster.yaml: "), "{problem}");
        }
    }
}
