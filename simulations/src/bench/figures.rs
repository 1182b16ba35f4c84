//! **figures** — what all measurements come to.
//!
//! Comes in: each process's measurement, round after round. Goes out: medians with their spread, ratios of
//! medians, shares of the database, and the document for machines: its keys are what other tools look for,
//! and never change their meaning.

use super::{
    shares::{Began, Sample},
    ways::Measured,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Ratios in the document: the key, the row, and the row that it is compared with.
const RATIOS: [(&str, &str, &str); 5] = [
    ("save_full_over_stream", "save-full", "raw"),
    ("save_incremental_over_stream", "save-incremental", "raw"),
    ("restore_over_etcdutl", "restore", "etcdutl"),
    ("restore_chain_over_etcdutl", "restore-chain", "etcdutl"),
    ("restore_over_cp_fsync", "restore", "cp-fsync"),
];
/// Shares in the document.
const SHARES: [(&str, Minutes); 3] = [
    ("upload_share_300w", Minutes::Plain),
    ("upload_share_compaction", Minutes::MinuteAgo),
    ("upload_share_10min", Minutes::Ten),
];

/// Which minutes a share is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Minutes {
    /// Without compaction and without a new base.
    Plain,
    /// With a compaction to a minute ago, without a new base.
    MinuteAgo,
    /// With a compaction to the head, without a new base.
    Head,
    /// Ten as they come.
    Ten,
}

/// Figures of one kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
    pub(super) mean: f64,
    pub(super) count: usize,
}

impl Spread {
    /// `None`: there is no figure.
    fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        let count = sorted.len();
        let mean = sorted.iter().sum::<f64>() / count as f64;
        Some(Self { median: f64::midpoint(low, high), least, most, mean, count })
    }
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(super) struct Figures {
    seconds: BTreeMap<String, Vec<f64>>,
    peak: BTreeMap<String, f64>,
    bytes: Vec<u64>,
    samples: Vec<Sample>,
}

impl Figures {
    /// What one process measured.
    pub(super) fn take(&mut self, measured: Measured) {
        for (row, took) in measured.seconds {
            let highest = self.peak.entry(row.clone()).or_default();
            *highest = highest.max(measured.peak_mb);
            self.seconds.entry(row).or_default().push(took);
        }
        self.bytes.extend(Some(measured.bytes).filter(|bytes| *bytes > 0));
    }

    /// What each minute had the agent upload.
    pub(super) fn weighed(&mut self, samples: Vec<Sample>) {
        self.samples = samples;
    }

    /// Seconds of a row.
    pub(super) fn seconds(&self, row: &str) -> Option<Spread> {
        Spread::of(self.seconds.get(row)?.iter().copied())
    }

    /// A ratio of medians.
    pub(super) fn ratio(&self, row: &str, to: &str) -> Option<f64> {
        Some(self.seconds(row)?.median / self.seconds(to)?.median)
    }

    /// The same ratio in each round alone.
    fn ratio_by_round(&self, row: &str, to: &str) -> Option<Spread> {
        let (these, those) = (self.seconds.get(row)?, self.seconds.get(to)?);
        Spread::of(these.iter().zip(those).map(|(this, that)| this / that))
    }

    /// MB at the peak of the process that a row was measured in.
    pub(super) fn peak(&self, row: &str) -> Option<f64> {
        self.peak.get(row).copied()
    }

    /// The most that any save had resident.
    pub(super) fn peak_of_saves(&self) -> Option<f64> {
        ["save-full", "save-incremental"].iter().filter_map(|row| self.peak(row)).reduce(f64::max)
    }

    /// Bytes of the smallest and the largest file that was saved or restored.
    pub(super) fn sizes(&self) -> (u64, u64) {
        ends(self.bytes.iter().copied())
    }

    /// Bytes of the database at the end of a minute, at its smallest and its largest.
    pub(super) fn databases(&self) -> (u64, u64) {
        ends(self.samples.iter().map(|sample| sample.database))
    }

    /// Minutes of one kind.
    pub(super) fn minutes(&self, minutes: Minutes) -> Vec<Sample> {
        let of = |began| move |sample: &Sample| sample.began == began && !sample.base;
        let all = self.samples.iter().copied();
        match minutes {
            Minutes::Plain => all.filter(of(Began::Plain)).collect(),
            Minutes::MinuteAgo => all.filter(of(Began::MinuteAgo)).collect(),
            Minutes::Head => all.filter(of(Began::Head)).collect(),
            Minutes::Ten => all.filter(|sample| sample.long).collect(),
        }
    }

    /// Their shares of the database.
    pub(super) fn shares(&self, minutes: Minutes) -> Option<Spread> {
        let minutes = self.minutes(minutes);
        Spread::of(minutes.iter().map(|minute| minute.stored as f64 / minute.database as f64))
    }

    /// One share: of single minutes the median; of ten in a row the mean, for it is of all of them.
    pub(super) fn share(&self, minutes: Minutes) -> Option<f64> {
        let spread = self.shares(minutes)?;
        Some(if minutes == Minutes::Ten { spread.mean } else { spread.median })
    }

    /// The document for machines: ratios of medians, shares as fractions of one, MB; and what they are
    /// made of.
    pub(super) fn document(&self) -> Value {
        let (mut document, mut spread) = (Map::new(), Map::new());
        for (key, row, to) in RATIOS {
            document.insert(key.to_owned(), json!(self.ratio(row, to)));
            spread.insert(key.to_owned(), shown(self.ratio_by_round(row, to)));
        }
        for (key, minutes) in SHARES {
            document.insert(key.to_owned(), json!(self.share(minutes)));
            spread.insert(key.to_owned(), shown(self.shares(minutes)));
        }
        document.insert("save_rss_mb".to_owned(), json!(self.peak_of_saves()));
        spread.insert(
            "upload_share_compaction_to_head".to_owned(),
            shown(self.shares(Minutes::Head)),
        );
        let rows = self.seconds.keys().map(|row| {
            let mut seconds = shown(self.seconds(row));
            seconds["peak_mb"] = json!(self.peak(row));
            (row.clone(), seconds)
        });
        spread.insert("seconds".to_owned(), Value::Object(rows.collect()));
        document.insert("spread".to_owned(), Value::Object(spread));
        Value::Object(document)
    }
}

fn ends(sizes: impl Iterator<Item = u64> + Clone) -> (u64, u64) {
    (sizes.clone().min().unwrap_or(0), sizes.max().unwrap_or(0))
}

fn shown(spread: Option<Spread>) -> Value {
    let Some(Spread { median, least, most, mean, count }) = spread else { return json!({}) };
    json!({ "median": median, "min": least, "max": most, "mean": mean, "count": count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_even_number_lies_between_two() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]).expect("four figures");
        assert!((spread.median - 2.5).abs() < 1e-9 && (spread.mean - 2.5).abs() < 1e-9);
        assert!(Spread::of([]).is_none());
    }

    #[test]
    fn a_new_base_counts_among_the_ten_minutes_and_in_no_single_one() {
        let minute =
            |stored, base, long| Sample { began: Began::Plain, long, base, stored, database: 100 };
        let mut figures = Figures::default();
        figures.weighed(vec![
            minute(2, false, true),
            minute(100, true, true),
            minute(4, false, false),
        ]);
        let share = |minutes| figures.share(minutes).expect("a share");
        assert!((share(Minutes::Plain) - 0.03).abs() < 1e-9);
        assert!((share(Minutes::Ten) - 0.51).abs() < 1e-9);
    }
}
