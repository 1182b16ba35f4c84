//! **report** — what a drill has shown, as text and as JSON (`requorum.drill/1`).
//!
//! Comes from a finished run. Goes to stdout and, on request, to a directory. Every figure stands
//! below the name of the timers it was measured with.

use super::{
    cluster::Options,
    timeline::Figures,
    verdict::{Check, Checks, Hash},
};
use crate::pace::Pace;
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Lost writes that the text lists one by one; the JSON has all.
const LISTED: usize = 20;

/// An acknowledged write that is not there any more.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Lost {
    /// Its number.
    pub number: u64,
    /// The revision it was acknowledged with.
    pub revision: u64,
    /// Seconds from its acknowledgement to the last cut; negative: after it.
    pub before_cut: f64,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Scenario and variant.
    pub name: String,
    /// What it shows.
    pub shows: String,
    /// Members.
    pub members: usize,
    /// Timers.
    pub pace: Pace,
    /// Seconds from the last cut.
    pub figures: Figures,
    /// Writes acknowledged.
    pub acknowledged: usize,
    /// Writes without an answer.
    pub unknown: usize,
    /// Acknowledged and not there.
    pub lost: Vec<Lost>,
    /// Each member's HashKV.
    pub hashes: Vec<Hash>,
    /// All checks.
    pub checks: Checks,
    /// Where logs and data were kept, with `--keep`.
    pub kept: Option<String>,
}

impl Report {
    /// Of a run that has shown nothing yet.
    pub fn empty(name: String, shows: &str, options: &Options) -> Self {
        Self {
            name,
            shows: shows.to_owned(),
            members: options.members,
            pace: options.pace,
            figures: Figures::default(),
            acknowledged: 0,
            unknown: 0,
            lost: Vec::new(),
            hashes: Vec::new(),
            checks: Checks::default(),
            kept: None,
        }
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let _ = self.write(&mut out); // writing to a String can't fail
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{}   {} members, pace {}", self.name, self.members, self.pace.name())?;
        writeln!(out, "  {}\n", self.shows)?;
        let timed = self.named().iter().any(|(_, seconds)| seconds.is_some());
        for (name, seconds) in self.named().into_iter().filter(|_| timed) {
            let seconds = seconds.map_or_else(|| "-".into(), |s| format!("{s:.1} s"));
            writeln!(out, "  time to {name:<12} {seconds:>9}")?;
        }
        let lost = self.lost.len();
        writeln!(
            out,
            "{}  writes acknowledged {}, without an answer {}, acknowledged and lost {lost}",
            if timed { "\n" } else { "" },
            self.acknowledged,
            self.unknown
        )?;
        for lost in self.lost.iter().take(LISTED) {
            let Lost { number, revision, before_cut } = lost;
            writeln!(
                out,
                "    lost: write {number}, revision {revision}, {before_cut:.3} s before the cut"
            )?;
        }
        if lost > LISTED {
            writeln!(out, "    and {} more (-o json lists all)", lost - LISTED)?;
        }
        for Hash { name, revision, hash, compacted } in &self.hashes {
            writeln!(out, "  {name}  HashKV {hash:08x} at {revision}, compacted {compacted}")?;
        }
        writeln!(out)?;
        for Check { what, passed, seen } in &self.checks.0 {
            let mark = if *passed { "passed" } else { "FAILED" };
            if seen.contains('\n') {
                let block = seen.trim_end().replace('\n', "\n            ");
                writeln!(out, "  {mark}  {what}:\n            {block}")?;
            } else {
                writeln!(out, "  {mark}  {what}  ({seen})")?;
            }
        }
        if let Some(dir) = &self.kept {
            writeln!(out, "\n  kept: {dir}")?;
        }
        Ok(())
    }

    /// For machines.
    pub fn json(&self) -> Value {
        let times: serde_json::Map<String, Value> =
            self.named().iter().map(|(name, s)| (name.replace(' ', "_"), json!(s))).collect();
        json!({
            "scenario": self.name,
            "shows": self.shows,
            "members": self.members,
            "pace": self.pace.name(),
            "seconds_to": times,
            "acknowledged": self.acknowledged,
            "unknown": self.unknown,
            "lost": self.lost,
            "hash_kv": self.hashes,
            "checks": self.checks,
            "passed": self.checks.0.len() - self.checks.failed(),
            "failed": self.checks.failed(),
            "kept": self.kept,
        })
    }

    const fn named(&self) -> [(&'static str, Option<f64>); 5] {
        let Figures { detect, elect, fence, restore, first_write } = self.figures;
        [
            ("detect", detect),
            ("elect", elect),
            ("fence", fence),
            ("restore", restore),
            ("first write", first_write),
        ]
    }
}

/// Checks of all runs that passed, and that failed.
pub fn totals(reports: &[Report]) -> (usize, usize) {
    let failed: usize = reports.iter().map(|report| report.checks.failed()).sum();
    let all: usize = reports.iter().map(|report| report.checks.0.len()).sum();
    (all - failed, failed)
}

/// All runs as one document.
pub fn document(reports: &[Report]) -> Value {
    let (passed, failed) = totals(reports);
    let runs: Vec<Value> = reports.iter().map(Report::json).collect();
    json!({ "schema": "requorum.drill/1", "runs": runs, "passed": passed, "failed": failed })
}

/// The closing line.
pub fn closing(reports: &[Report]) -> String {
    let (passed, failed) = totals(reports);
    format!("{passed} passed, {failed} failed")
}
