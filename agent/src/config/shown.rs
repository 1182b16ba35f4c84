//! **shown** — every setting as it is in force, and who said it: `config show`.
//!
//! Comes in: the settings, and what flags, variables and files said. Goes out: rows. A default has no origin. What
//! is said and not ours, such as etcd's own flags, is shown as it was said. None of our settings is a secret: keys
//! are named by their files.

use super::{Gathered, Owner, Settings};
use protocol::{
    coordinator::{Mode, Threshold},
    time::Span,
};
use std::collections::BTreeMap;

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Shown {
    /// Its name as a variable.
    pub name: String,
    /// Its value in force.
    pub value: String,
    /// `flag`, `environment`, a file; null: the default.
    pub origin: Option<String>,
}

/// All settings, by their names.
pub fn shown(settings: &Settings, said: &Gathered) -> Vec<Shown> {
    let mut rows: BTreeMap<String, String> = said
        .iter()
        .filter(|(name, _)| super::sources::is_setting(name))
        .map(|(name, said)| (name.clone(), said.value.clone()))
        .collect();
    for (name, value) in in_force(settings) {
        rows.insert(name.to_owned(), value);
    }
    let origin = |name: &str| said.get(name).map(|said| said.origin.clone());
    rows.into_iter().map(|(name, value)| Shown { origin: origin(&name), name, value }).collect()
}

/// What has a default, or is worked out.
fn in_force(settings: &Settings) -> Vec<(&'static str, String)> {
    let timers = &settings.timers;
    let list = |of: &mut dyn Iterator<Item = String>| of.collect::<Vec<_>>().join(",");
    let urls =
        list(&mut settings.seats.iter().map(|seat| format!("{}={}", seat.name, seat.client_url)));
    let mut rows = vec![
        ("ETCD_LISTEN_CLIENT_URLS", settings.listen_client_urls.clone()),
        ("ETCD_LISTEN_PEER_URLS", settings.listen_peer_urls.clone()),
        ("ETCDADM_CLUSTER_FAILURE_PERIOD_LIMIT", seconds(timers.confirm)),
        ("ETCDADM_MEMBER_FAILURE_PERIOD_LIMIT", seconds(timers.replace)),
        ("REQUORUM_CLIENT_URLS", urls),
        ("REQUORUM_ETCD_DIR", settings.etcd_dir.display().to_string()),
        ("REQUORUM_INSTANCE", settings.instance.0.clone()),
        ("REQUORUM_MODE", mode(settings.mode).to_owned()),
        ("REQUORUM_SNAPSHOT_EXPORT", if settings.export { "plain" } else { "off" }.to_owned()),
        ("REQUORUM_SNAPSHOT_EXPORT_INTERVAL", seconds(timers.export) + "s"),
        (
            "REQUORUM_SNAPSHOT_FORMAT",
            if settings.incremental { "incremental" } else { "full" }.to_owned(),
        ),
        ("REQUORUM_SNAPSHOT_INTERVAL", seconds(timers.snapshot) + "s"),
        ("REQUORUM_SNAPSHOT_PEER_CHECK", seconds(timers.peer_check) + "s"),
        ("REQUORUM_STATE_DIR", settings.state_dir.display().to_string()),
        ("REQUORUM_TABLE", settings.table.clone()),
        ("REQUORUM_THRESHOLD", threshold(settings.threshold).to_owned()),
    ];
    match &settings.owner {
        Owner::Exec => rows.push(("REQUORUM_SERVICE", "exec".to_owned())),
        Owner::Systemd(unit) => rows.extend([
            ("REQUORUM_SERVICE", "systemd".to_owned()),
            ("ETCDADM_MEMBER_SYSTEMD_UNIT_NAME", unit.name.clone()),
            ("ETCDADM_MEMBER_ENV_FILE", unit.member_file.display().to_string()),
            ("REQUORUM_RUNTIME_DIR", unit.runtime_dir.display().to_string()),
        ]),
    }
    rows
}

fn seconds(span: Span) -> String {
    (span.0 / 1000).to_string()
}

const fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Automatic => "automatic",
        Mode::Ask => "ask",
        Mode::Off => "off",
    }
}

const fn threshold(threshold: Threshold) -> &'static str {
    match threshold {
        Threshold::Quorum => "quorum",
        Threshold::OneNth => "1/N",
    }
}
