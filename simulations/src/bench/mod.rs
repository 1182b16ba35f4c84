//! **bench** — what a snapshot costs: real etcd, the agent's own hands, an S3 server on the same machine.
//!
//! Comes in: a size and a number of rounds. Goes out: `target/bench/snapshots.json` for machines and
//! `simulations/BENCHMARKS.md` for readers. Two questions: how long saves and restores take, beside the
//! stream alone and etcd's own tools ([`ways`]); how much of the database a minute of writes has the agent
//! upload ([`shares`]).
//!
//! Every way is measured in a process of its own, round after round, so that a machine that becomes
//! slower does so for all of them, and peak memory is that of one way.
//!
//! In reading order: what runs meanwhile ([`stage`], [`load`]), the agent's hands and a clock on them
//! ([`product`], [`watched`]), the measurements, what they come to ([`figures`], [`page`]).

mod stage;
mod load;
mod watched;
mod product;
mod ways;
mod shares;
mod figures;
mod page;

use clap::Parser;
use figures::Figures;
use load::{ENTRY, fill};
use shares::Sample;
use stage::{Places, Stage, ask};
use std::{error::Error, path::PathBuf};
use ways::Measured;

/// What any step of a measurement comes to.
pub type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Writes of a minute at 300 a second.
const MINUTE: u64 = 18_000;
/// Where figures for machines go.
const DOCUMENT: &str = "target/bench/snapshots.json";

/// Measures what a snapshot costs.
#[derive(Debug, Parser)]
pub struct Arguments {
    /// Size of the database, in MB. Below 1000 a minute has fewer writes, in proportion.
    #[arg(long, default_value_t = 1_000)]
    megabytes: u64,
    /// Rounds of all ways.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where etcd, etcdctl and etcdutl are.
    #[arg(long, env = "REQUORUM_ETCD_DIR", default_value = "target/tools/etcd/bin")]
    etcd: PathBuf,
    /// Where the table for readers goes.
    #[arg(long, default_value = "simulations/BENCHMARKS.md")]
    page: PathBuf,
    /// One measurement, in this process: the way, etcd's URL, the store's URL, a scratch directory.
    #[arg(long, hide = true, num_args = 4)]
    once: Vec<String>,
}

impl Arguments {
    const fn writes(&self) -> u64 {
        let share = MINUTE * self.megabytes / 1_000;
        if share < MINUTE { share } else { MINUTE }
    }

    /// How often what is done seldom is repeated, for its spread.
    fn repeats(&self) -> usize {
        self.rounds.min(3)
    }

    /// Bytes to fill a database with that shall have its size after some minutes of writes.
    fn before(&self, minutes: u64) -> u64 {
        (self.megabytes * 1_000_000).saturating_sub(minutes * self.writes() * ENTRY)
    }
}

/// Measures, or does the one measurement that it was started for; answers with what belongs on stdout.
///
/// # Errors
/// When anything on the way failed: a figure that came about otherwise than it says is none.
pub async fn run(arguments: &Arguments) -> Fallible<String> {
    if let [way, etcd, store, scratch] = arguments.once.as_slice() {
        let places = Places {
            etcd: etcd.clone(),
            store: store.clone(),
            scratch: scratch.into(),
            tools: arguments.etcd.clone(),
        };
        return match way.as_str() {
            shares::WAY => {
                let repeats = arguments.repeats();
                let samples = shares::measure(&places, arguments.writes(), repeats).await?;
                Ok(serde_json::to_string(&samples)?)
            }
            way => Ok(serde_json::to_string(&ways::once(way, &places, arguments.writes()).await?)?),
        };
    }
    let mut figures = Figures::default();
    time(arguments, &mut figures).await?;
    weigh(arguments, &mut figures).await?;
    let document = serde_json::to_string_pretty(&figures.document())? + "\n";
    let page = page::page(&figures, arguments.rounds, arguments.writes())?;
    std::fs::create_dir_all("target/bench")?;
    std::fs::write(DOCUMENT, document)?;
    std::fs::write(&arguments.page, &page)?;
    Ok(page)
}

/// How long each way takes.
async fn time(arguments: &Arguments, figures: &mut Figures) -> Fallible<()> {
    let stage = Stage::start(&arguments.etcd).await?;
    fill(stage.places(), arguments.before(ways::LINKS)).await?;
    let _: Measured = ask(ways::SOURCE, &stage, arguments).await?;
    for round in 1..=arguments.rounds {
        eprintln!("round {round} of {}", arguments.rounds);
        for way in ways::WAYS {
            // what one way left for the disk to do is no part of the next
            tokio::task::spawn_blocking(rustix::fs::sync).await?;
            figures.take(ask(way, &stage, arguments).await?);
        }
    }
    stage.stop().await;
    Ok(())
}

/// How much of the database is uploaded.
async fn weigh(arguments: &Arguments, figures: &mut Figures) -> Fallible<()> {
    let stage = Stage::start(&arguments.etcd).await?;
    fill(stage.places(), arguments.before(shares::WARM_UP)).await?;
    let samples: Vec<Sample> = ask(shares::WAY, &stage, arguments).await?;
    figures.weighed(samples);
    stage.stop().await;
    Ok(())
}
