//! **metrics** — the status as Prometheus reads it: node_exporter's textfile collector, or any scraper of
//! text.
//!
//! Comes in: the status document. Goes out: one sample a line, in the text exposition format (prometheus.io,
//! "Exposition formats"). What is not known has no sample: an absent figure is no zero.

use crate::local::documents::{Member, Status};
use std::fmt::Write as _;

/// Samples, grouped by name.
#[derive(Default)]
struct Page(String);

impl Page {
    /// Begins a metric; all are gauges.
    fn gauge(&mut self, name: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP requorum_{name} {help}\n# TYPE requorum_{name} gauge");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "requorum_{name}{labels} {value}");
    }

    /// A metric of one sample, if its value is known.
    fn one(&mut self, name: &str, help: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.gauge(name, help);
            self.sample(name, &[], value);
        }
    }
}

/// A label's value, as the format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// `metrics`.
pub fn metrics_text(status: &Status) -> String {
    let mut page = Page::default();
    page.gauge("verdict", "Whether a quorum lives, as the votes say.");
    for verdict in ["quorum-alive", "quorum-lost", "pending", "unknown"] {
        page.sample("verdict", &[("verdict", verdict)], u64::from(status.verdict == verdict));
    }
    page.gauge("phase", "The phase of the records.");
    page.sample("phase", &[("phase", &status.phase)], 1);
    let known = status.uid.is_some();
    page.one("incarnation", "The incarnation on record.", known.then_some(status.inc));
    page.one("attempt", "The number of the latest attempt.", known.then_some(status.attempt));
    page.one("opened", "Clients are let in.", known.then_some(u64::from(status.opened)));
    page.one(
        "paused",
        "An operator paused automation.",
        known.then_some(status.paused.is_some().into()),
    );
    page.gauge("parked", "An attempt waits for somebody; the label says for what.");
    let parked = status.parked.as_deref();
    page.sample("parked", &[("for", parked.unwrap_or(""))], u64::from(parked.is_some()));
    members(&mut page, &status.members);
    snapshots(&mut page, status);
    page.gauge(
        "reason",
        "Why the agent does what it does; protocol/src/explanation.rs lists the codes.",
    );
    let mut codes: Vec<&str> = status.reasons.iter().map(|reason| reason.code.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    for code in codes {
        page.sample("reason", &[("code", code)], 1);
    }
    page.0.trim_end().to_owned()
}

fn members(page: &mut Page, members: &[Member]) {
    page.gauge("member_vote", "A member's last vote; 0: it is too old to count.");
    for member in members {
        if let Some(vote) = &member.vote {
            page.sample(
                "member_vote",
                &[("member", &member.name), ("vote", vote)],
                member.fresh.into(),
            );
        }
    }
    page.gauge("member_revision", "The highest revision a member voted.");
    for member in members {
        page.sample("member_revision", &[("member", &member.name)], member.revision);
    }
}

fn snapshots(page: &mut Page, status: &Status) {
    let newest = status.newest_snapshot.as_ref();
    page.one(
        "newest_snapshot_revision",
        "Revision of the newest snapshot that this agent took; none where it took none yet.",
        newest.map(|newest| newest.revision),
    );
    page.one(
        "newest_snapshot_timestamp_seconds",
        "When it was taken, in seconds since 1970.",
        newest.and_then(|newest| newest.taken),
    );
    let rehearsed = status.rehearsed.as_ref();
    page.one(
        "rehearsal_passed",
        "The last rehearsal here: etcd came up on the snapshot, and nothing differed.",
        rehearsed.map(|rehearsed| rehearsed.passed.into()),
    );
    page.one(
        "rehearsal_revision",
        "Revision of the snapshot that was rehearsed last here.",
        rehearsed.map(|rehearsed| rehearsed.revision),
    );
    page.one(
        "rehearsal_timestamp_seconds",
        "When it was rehearsed, in seconds since 1970.",
        rehearsed.map(|rehearsed| rehearsed.when),
    );
}
