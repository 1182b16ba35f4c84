//! **render** — the only file that prints. Data goes to stdout, talk and errors to stderr.
//!
//! Comes in: documents. Goes out: a table for people or one JSON document for machines. No colour
//! is used, so NO_COLOR and pipes need no exception.
#![expect(clippy::print_stdout, reason = "this is where printing is done")]

mod metrics;
mod snapshots;

pub use metrics::metrics_text;
pub use snapshots::{
    adopted_text, listing_text, parts_text, pruned_text, rehearsal_text, rehearsed_text,
};

use crate::{
    config::Shown,
    exit::Problem,
    local::{
        Saved, Told,
        check::{Check, Looked},
        documents::{Member, Status},
        rehearsed::Rehearsal,
        snapshots::{Adopted, Listing, Parts, Pruned},
    },
};
use std::fmt::Write as _;

/// How documents are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For machines; deploy/SCHEMAS.md has the schemas; they only grow.
    Json,
}

/// Text that is for a file.
pub fn raw(text: &str) {
    print!("{text}");
}

/// A failed verb, on stderr.
pub fn problem(problem: &Problem, output: Output) {
    #[expect(clippy::print_stderr, reason = "errors go to stderr")]
    match output {
        Output::Table => eprintln!("{problem}"),
        Output::Json => eprintln!("{}", json_text(&problem.document())),
    }
}

/// One line of talk, on stderr; machines, which read stderr for the problem's document, get none.
pub fn talk(line: &str, output: Output) {
    #[expect(clippy::print_stderr, reason = "talk goes to stderr")]
    match output {
        Output::Table => eprintln!("requorum: {line}"),
        Output::Json => {}
    }
}

/// A document, as it was asked for.
fn show<D: serde::Serialize>(document: &D, text: fn(&D) -> String, output: Output) {
    match output {
        Output::Table => println!("{}", text(document)),
        Output::Json => println!("{}", json_text(document)),
    }
}

/// A verb's answer that is one sentence.
pub fn say(sentence: &str, output: Output) {
    match output {
        Output::Table => println!("{sentence}"),
        Output::Json => {
            let document = serde_json::json!({ "schema": "requorum.done/1", "sentence": sentence });
            println!("{}", json_text(&document));
        }
    }
}

/// The agent's answer to a command.
pub fn told(told: &Told, output: Output) {
    show(told, |told| told.sentence.clone(), output);
}

/// A snapshot that was saved and verified.
pub fn saved(saved: &Saved, output: Output) {
    show(saved, saved_text, output);
}

/// `save` as text.
pub fn saved_text(saved: &Saved) -> String {
    let Saved { revision, size, key, .. } = saved;
    let sha256 = saved.sha256.get(..12).unwrap_or(&saved.sha256);
    let mut text =
        format!("saved and verified: revision {revision}, {size} bytes, sha256 {sha256}\n  {key}");
    if let Some(doubt) = &saved.doubt {
        let _ = write!(
            text,
            "\n  it is doubtful ({doubt}): no restore chooses it by itself and snapshot.db stays as it was; \
             if it is right: requorum snapshot adopt {key} --force {doubt} --because TEXT"
        );
    }
    text
}

/// One look at etcd itself.
pub fn check(check: &Check, output: Output) {
    show(check, check_text, output);
}

/// Settings, with who said each or without.
pub fn settings(rows: &[Shown], origin: bool, output: Output) {
    match output {
        Output::Table => println!("{}", settings_text(rows, origin)),
        Output::Json => {
            let document = serde_json::json!({ "schema": "requorum.config/1", "settings": rows });
            println!("{}", json_text(&document));
        }
    }
}

/// The status in one glance.
pub fn status(status: &Status, output: Output) {
    show(status, status_text, output);
}

/// The status for Prometheus.
pub fn metrics(status: &Status, output: Output) {
    show(status, metrics_text, output);
}

/// The last decision, with what it rests on.
pub fn explain(status: &Status, output: Output) {
    show(status, explain_text, output);
}

/// What snapshots there are.
pub fn listing(listing: &Listing, output: Output) {
    show(listing, listing_text, output);
}

/// One snapshot and what it is made of.
pub fn parts(parts: &Parts, output: Output) {
    show(parts, parts_text, output);
}

/// What became of the snapshots.
pub fn pruned(pruned: &Pruned, output: Output) {
    show(pruned, pruned_text, output);
}

/// What a rehearsal showed.
pub fn rehearsal(rehearsal: &Rehearsal, output: Output) {
    show(rehearsal, rehearsal_text, output);
}

/// Any document as JSON.
pub fn json_text(document: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(document)
        .unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}

/// Lines up cells below their heads; numbers to the right. Widths are counted in characters.
fn table<const N: usize>(head: [(&str, Align); N], rows: Vec<[String; N]>) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].0.len()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: [&str; N]| {
        let mut line = String::new();
        for ((cell, (_, align)), width) in cells.iter().zip(head).zip(widths) {
            let _ = match align {
                Align::Left => write!(line, "  {cell:width$}"),
                Align::Right => write!(line, "  {cell:>width$}"),
            };
        }
        line.trim_end().to_owned()
    };
    let heads = line(head.map(|(name, _)| name));
    let lines = rows.iter().map(|row| line(std::array::from_fn(|column| row[column].as_str())));
    std::iter::once(heads).chain(lines).collect::<Vec<String>>().join("\n")
}

#[derive(Clone, Copy)]
enum Align {
    Left,
    Right,
}

fn or_dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "-".into(), |text| text.to_string())
}

/// `check` as a table.
pub fn check_text(check: &Check) -> String {
    let yes = |known: bool| if known { "yes" } else { "no" };
    let head = [
        ("MEMBER", Align::Left),
        ("CLIENT URL", Align::Left),
        ("ANSWERS", Align::Left),
        ("QUORUM", Align::Left),
        ("LEADS", Align::Left),
        ("REVISION", Align::Right),
        ("VERSION", Align::Left),
        ("ALARMS", Align::Left),
    ];
    let row = |member: &Looked| {
        [
            member.name.clone(),
            member.client_url.clone(),
            if member.refused.is_some() { "refuses".into() } else { yes(member.answers).into() },
            yes(member.linearizable).into(),
            or_dash(member.leads.map(yes)),
            or_dash(member.revision),
            or_dash(member.version.clone()),
            member.alarms.join(","),
        ]
    };
    let rows = check.members.iter().map(row).collect();
    format!("{}\n\n{}", check.verdict, table(head, rows))
}

/// `config show` as a table.
pub fn settings_text(rows: &[Shown], origin: bool) -> String {
    let head = [("NAME", Align::Left), ("VALUE", Align::Left), ("ORIGIN", Align::Left)];
    let row = |row: &Shown| [row.name.clone(), row.value.clone(), or_dash(row.origin.clone())];
    if origin {
        return table(head, rows.iter().map(row).collect());
    }
    let lines: Vec<String> = rows.iter().map(|row| format!("{}={}", row.name, row.value)).collect();
    lines.join("\n")
}

/// `status` as a table. The leader bears a star; a vote that doesn't count is in brackets.
pub fn status_text(status: &Status) -> String {
    let head = [
        ("MEMBER", Align::Left),
        ("VOTE", Align::Left),
        ("AGE", Align::Right),
        ("REVISION", Align::Right),
        ("FENCE", Align::Left),
        ("RAN", Align::Left),
    ];
    let leader = status.leader.as_ref().map(|leader| leader.name.as_str());
    let row = |member: &Member| {
        let star = if leader == Some(member.name.as_str()) { "*" } else { "" };
        [
            format!("{}{star}", member.name),
            vote(member),
            or_dash(member.vote_age_ms.map(age)),
            member.revision.to_string(),
            or_dash(member.fence.clone()),
            member.ran.map_or_else(|| "never".into(), |inc| format!("inc {inc}")),
        ]
    };
    let rows: Vec<_> = status.members.iter().map(row).collect();
    let mut text = heading(status);
    if !rows.is_empty() {
        let _ = write!(text, "\n\n{}", table(head, rows));
    }
    text.push('\n');
    if let Some(paused) = &status.paused {
        let _ = write!(text, "\n  paused    {paused}");
    }
    if let Some(asked) = &status.request {
        let what = if asked.rollback { "a rollback" } else { "a restore" };
        let source = asked.source.as_ref().map(|key| format!(" from {key}")).unwrap_or_default();
        let _ = write!(text, "\n  asked     {what}{source}, by {}: {}", asked.by, asked.because);
    }
    if let Some(drift) = &status.drift {
        let _ = write!(text, "\n  drift     {drift}");
    }
    if let Some(snapshot) = &status.newest_snapshot {
        let _ = write!(text, "\n  snapshot  revision {}  {}", snapshot.revision, snapshot.key);
    }
    if let Some(rehearsed) = &status.rehearsed {
        let _ = write!(text, "\n  rehearsed {}", rehearsed_text(rehearsed));
    }
    for missing in &status.missing {
        let _ = write!(text, "\n  missing   {missing}");
    }
    let _ = write!(text, "\n  now       {}", status.waiting);
    text
}

/// A member's vote; one that doesn't count is in brackets.
fn vote(member: &Member) -> String {
    match &member.vote {
        Some(vote) if member.fresh => vote.clone(),
        Some(vote) => format!("({vote})"),
        None => "silent".into(),
    }
}

/// Milliseconds as people say them.
fn age(millis: u64) -> String {
    match millis / 1000 {
        seconds @ 0..60 => format!("{seconds}.{}s", millis % 1000 / 100),
        seconds @ 60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        seconds => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

fn heading(status: &Status) -> String {
    let uid = status.uid.as_deref().unwrap_or("unknown");
    let leader = status.leader.as_ref().map_or_else(
        || "no leader needed".into(),
        |leader| format!("leader {} (epoch {})", leader.name, leader.epoch),
    );
    let attempt = if is_under_way(status) {
        format!(" of attempt {}", status.attempt)
    } else {
        String::new()
    };
    let parked =
        status.parked.as_ref().map(|parked| format!(", parked: {parked}")).unwrap_or_default();
    format!(
        "cluster {uid}   incarnation {}   phase {}{attempt}{parked}   {}   {leader}",
        status.inc, status.phase, status.verdict
    )
}

/// An attempt is open: its number is what `approve` wants.
fn is_under_way(status: &Status) -> bool {
    !matches!(status.phase.as_str(), "genesis" | "idle" | "unknown") && status.attempt > 0
}

/// `explain` as text: the decision, its reasons, the votes it rests on, what is missing.
pub fn explain_text(status: &Status) -> String {
    let said = |member: &Member| {
        let heard = member
            .vote_age_ms
            .map_or_else(|| "never heard".into(), |millis| format!("voted {} ago", age(millis)));
        (member.name.clone(), format!("{}, {heard}", vote(member)))
    };
    let reasons = status.reasons.iter().map(|reason| (reason.code.clone(), reason.text.clone()));
    let missing = status.missing.iter().map(|text| ("missing".to_owned(), text.clone()));
    let answered = |adopted: &Adopted| {
        let short = adopted.sha256.get(..12).unwrap_or(&adopted.sha256);
        ("adopted".to_owned(), format!("{short} {}", adopted_text(adopted)))
    };
    let adopted = status.adopted.iter().map(answered);
    let lines: Vec<(String, String)> =
        reasons.chain(status.members.iter().map(said)).chain(missing).chain(adopted).collect();
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut text = status.waiting.clone();
    for (name, line) in lines {
        let _ = write!(text, "\n  {name:width$}  {line}");
    }
    text
}
