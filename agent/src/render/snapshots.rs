//! **snapshots** — tables of snapshots for people.

use super::{Align, or_dash, table};
use crate::local::{
    rehearsed::Rehearsal,
    snapshots::{Adopted, Listed, Listing, Parts, Pruned},
};
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use std::fmt::Write as _;

/// `snapshot ls` as a table; a star marks the one that a restore would choose now.
pub fn listing_text(listing: &Listing) -> String {
    let head = [
        ("REVISION", Align::Right),
        ("KEYS", Align::Right),
        ("SIZE", Align::Right),
        ("FORMAT", Align::Left),
        ("TAKEN", Align::Left),
        ("BY", Align::Left),
        ("FOR", Align::Left),
        ("DOUBT", Align::Left),
        ("KEY", Align::Left),
    ];
    let row = |listed: &Listed| {
        let star = if listed.newest { "*" } else { "" };
        [
            format!("{}{star}", listed.revision),
            or_dash(listed.live_keys),
            size(listed.size),
            listed.format.to_owned(),
            or_dash(listed.taken.map(moment)),
            or_dash(listed.taken_by.clone()),
            listed.reason.to_owned(),
            doubt(listed),
            listed.key.clone(),
        ]
    };
    let mut text = format!("cluster {}   incarnation {}", listing.uid, listing.inc);
    if listing.snapshots.is_empty() {
        text.push_str("\n\nno snapshot");
    } else {
        let rows = listing.snapshots.iter().map(row).collect();
        let _ = write!(text, "\n\n{}", table(head, rows));
    }
    for listed in &listing.snapshots {
        if let Some(adopted) = &listed.adopted {
            let _ = write!(text, "\n  adopted     {} {}", listed.key, adopted_text(adopted));
        }
    }
    for key in &listing.unreadable {
        let _ = write!(text, "\n  unreadable  {key}");
    }
    text
}

/// Who answers for a snapshot, and why.
pub fn adopted_text(adopted: &Adopted) -> String {
    let when = adopted.said.map(|said| format!(", {}", moment(said))).unwrap_or_default();
    format!("by {}{when}: {}", adopted.by, adopted.because)
}

/// A doubt that an operator overruled is in brackets.
fn doubt(listed: &Listed) -> String {
    match listed.doubt {
        Some(doubt) if listed.trusted => format!("({doubt})"),
        doubt => or_dash(doubt),
    }
}

/// `snapshot inspect` as text.
pub fn parts_text(parts: &Parts) -> String {
    let listed = &parts.listed;
    let lines = [
        ("revision", listed.revision.to_string()),
        ("keys", or_dash(listed.live_keys)),
        ("size", format!("{} bytes", listed.size)),
        ("sha256", listed.sha256.clone()),
        ("HashKV", or_dash(parts.hash_kv.clone())),
        ("compacted", or_dash(parts.compact_revision)),
        ("taken", or_dash(listed.taken.map(moment))),
        ("of", or_dash(listed.taken_by.clone())),
        ("for", listed.reason.to_owned()),
        ("doubt", doubt(listed)),
        ("adopted", or_dash(listed.adopted.as_ref().map(adopted_text))),
        ("etcd", format!("{}, cluster {}", parts.etcd_version, parts.cluster_id)),
    ];
    let mut text = listed.key.clone();
    for (name, value) in lines {
        let _ = write!(text, "\n  {name:9}  {value}");
    }
    for part in &parts.objects {
        let size = part.size.map_or_else(|| "MISSING".into(), size);
        let _ = write!(text, "\n  object     {size:>9}  {}", part.key);
    }
    text
}

/// `snapshot prune` as text.
pub fn pruned_text(pruned: &Pruned) -> String {
    let head = [("SNAPSHOT", Align::Left), ("", Align::Left)];
    let gone = if pruned.dry_run { "would be deleted" } else { "deleted" };
    let rows = pruned.snapshots.iter().map(|verdict| {
        let what = verdict.because.map_or_else(|| gone.into(), |why| format!("kept: {why}"));
        [verdict.key.clone(), what]
    });
    let kept = pruned.snapshots.iter().filter(|verdict| verdict.kept).count();
    let mut text = table(head, rows.collect());
    for key in &pruned.garbage {
        let _ = write!(text, "\n  data that no snapshot needs, {gone}: {key}");
    }
    for refused in &pruned.refused {
        let _ = write!(text, "\n  could not be deleted: {}: {}", refused.key, refused.because);
    }
    let all = pruned.snapshots.len();
    let _ = write!(text, "\n\n{kept} kept, {} {gone}", all - kept);
    text
}

/// `snapshot rehearse` as text.
pub fn rehearsal_text(rehearsal: &Rehearsal) -> String {
    format!(
        "rehearsed: {} restores, revision {}\n  HashKV     {}\n  live keys  {}",
        rehearsal.key, rehearsal.revision, rehearsal.hash_kv, rehearsal.live_keys
    )
}

/// The last rehearsal in a line.
pub fn rehearsed_text(rehearsal: &Rehearsal) -> String {
    let how = match &rehearsal.failure {
        Some(failure) => format!("FAILED: {failure}"),
        None => "it restores".into(),
    };
    format!("revision {} at {}: {how}", rehearsal.revision, moment(rehearsal.when))
}

/// Bytes as people say them.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1000.0, 0);
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Seconds since 1970 as a date, in UTC.
fn moment(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let date = DateTime::from_secs(seconds).fmt(DateTimeFormat::DateTime);
    date.unwrap_or_else(|_| "no date".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_dates_read_well() {
        assert_eq!(size(999), "999 B");
        assert_eq!(size(20_480), "20.5 kB");
        assert_eq!(size(999_999), "1.0 MB");
        assert_eq!(size(1_251_000_000), "1.3 GB");
        assert_eq!(moment(1_790_000_000), "2026-09-21T14:13:20Z");
        assert_eq!(moment(u64::MAX), "no date");
    }
}
