//! **shares** — how much of the database each minute has the agent upload.
//!
//! Comes in: a filled database. Goes out: one sample a minute: what the agent stored for its save, data,
//! index and manifest, and how large the database was. First ten minutes as they come, with a compaction
//! each five and a new base where the agent makes one. Then minutes with a compaction, again and again, so
//! that their spread is seen: to the revision of a minute before, and to the head.

use super::{Fallible, load::Load, product::Product, stage::Places};
use serde::{Deserialize, Serialize};

/// How this measurement is called.
pub(super) const WAY: &str = "shares";
/// Minutes of writes before the first base.
pub(super) const WARM_UP: u64 = 5;
/// Minutes from one compaction to the next, as kube-apiserver has it.
const EACH: u64 = 5;
/// Minutes of the long run.
const LONG: u64 = 10;

/// What a minute began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Began {
    /// Nothing but writes.
    Plain,
    /// A compaction to where the head was a minute before.
    MinuteAgo,
    /// A compaction to the head.
    Head,
}

impl Began {
    const fn minutes_ago(self) -> Option<u64> {
        match self {
            Self::Plain => None,
            Self::MinuteAgo => Some(1),
            Self::Head => Some(0),
        }
    }
}

/// One minute and its save.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Sample {
    pub(super) began: Began,
    /// Of the ten minutes as they come.
    pub(super) long: bool,
    /// The agent stored a whole file.
    pub(super) base: bool,
    /// Bytes that were stored.
    pub(super) stored: u64,
    /// Bytes of the database's file.
    pub(super) database: u64,
}

/// Measures all of them. `repeats`: how often each kind of compaction is measured alone.
pub(super) async fn measure(places: &Places, writes: u64, repeats: usize) -> Fallible<Vec<Sample>> {
    let mut load = Load::new(places, writes).await?;
    for _ in 0..WARM_UP {
        load.minute().await?;
    }
    load.compact(1).await?; // else the first compaction that counts would remove more than its share
    let mut samples = Vec::new();
    let plain = |minute| minute % EACH != 0;
    let long = (1..=LONG).map(|minute| if plain(minute) { Began::Plain } else { Began::MinuteAgo });
    run(places, &mut load, "ten minutes", long, &mut samples).await?;
    samples.iter_mut().for_each(|sample| sample.long = true);
    for began in [Began::MinuteAgo, Began::Head] {
        for repeat in 1..=repeats {
            let name = format!("{began:?} {repeat} of {repeats}");
            let minutes = (1..=EACH).map(|minute| if plain(minute) { Began::Plain } else { began });
            run(places, &mut load, &name, minutes, &mut samples).await?;
        }
    }
    Ok(samples)
}

/// A base, and then these minutes, each with its save.
async fn run(
    places: &Places,
    load: &mut Load,
    name: &str,
    minutes: impl Iterator<Item = Began>,
    samples: &mut Vec<Sample>,
) -> Fallible<()> {
    let product = Product::new(places, WAY).await?;
    product.save(Some(name)).await?;
    let mut before = product.stored().await?;
    for began in minutes {
        if let Some(minutes_ago) = began.minutes_ago() {
            load.compact(minutes_ago).await?;
        }
        load.minute().await?;
        let manifest = product.save(Some(name)).await?.manifest;
        let all = product.stored().await?;
        let sample = Sample {
            began,
            long: false,
            base: manifest.needs.is_empty(),
            stored: all - before,
            database: manifest.size,
        };
        let (stored, database) = (sample.stored / 1_000, sample.database / 1_000);
        eprintln!("{name}: {began:?}, {stored} KB of {database} KB");
        samples.push(sample);
        before = all;
    }
    product.clear().await
}
