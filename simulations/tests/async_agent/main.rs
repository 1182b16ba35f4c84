//! **async_agent** — the real agent in simulated hosts: its driver, its S3 and DynamoDB adapters and
//! the AWS SDK itself, over turmoil's TCP, against our S3 and dynoxide, in simulated time.
//!
//! Comes from seeds. Goes out: nothing, or the seed, the invariant that broke and the end of the
//! trace. etcd, its process and the disk are the walkthroughs' models, behind the agent's ports.
//! `ASYNC_SEED=n` plays one seed again, `ASYNC_SEEDS=n` so many,
//! `ASYNC_SAVERS=n` so many of savers, `ASYNC_TRACE=file` writes its trace,
//! `ASYNC_LOG=debug` lets its agents speak.

#![expect(clippy::print_stdout, reason = "a seed is told before it is played")]

#[path = "../../../protocol/tests/world/etcd.rs"]
mod etcd;
#[path = "../../../protocol/tests/world/machine.rs"]
#[expect(dead_code, reason = "the walkthroughs break machines in more ways")]
mod machine;
mod plot;
mod world;
mod watch;
mod database;
mod direct;
mod shelf;
mod wire;
mod stores;
mod files;
mod traps;
mod etcd_ports;
mod host;
mod mishaps;
mod run;

use plot::Plot;
use run::{Broken, Played, play};
use std::{
    env, fs,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};
use world::{Fate, Fuse};

/// The machines of the simulated cluster.
const NAMES: [&str; 3] = ["a", "b", "c"];
/// The bucket.
const BUCKET: &str = "requorum";
/// The lock table.
const TABLE: &str = "requorum";
/// Prefix of the keys in the bucket.
const PREFIX: &str = "p";
/// Seeds played if nothing else is said.
const SEEDS: u64 = 200;
/// Seeds of savers' plots.
const SAVERS: u64 = 12;
/// Seeds played twice.
const TWICE: u64 = 10;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().expect("a number of seeds or a seed"))
}

fn listen() {
    let Ok(filter) = env::var("ASYNC_LOG") else { return };
    let lines = tracing_subscriber::fmt().without_time().with_ansi(false);
    let lines = lines.with_env_filter(filter).with_test_writer();
    drop(lines.try_init()); // another test was first
}

fn keep_trace(trace: &[String]) {
    if let Ok(file) = env::var("ASYNC_TRACE") {
        fs::write(file, trace.join("\n")).expect("the trace can be written");
    }
}

/// Plays a plot that must end well.
fn must_end_well(plot: &Plot) -> Played {
    match play(plot) {
        Ok(played) => {
            keep_trace(&played.trace);
            played
        }
        Err(Broken { what, trace }) => {
            keep_trace(&trace);
            let told: Vec<_> = trace.iter().filter(|line| !line.contains(" > ")).collect();
            let last = told.len().saturating_sub(60);
            let last: Vec<_> = told[last..].iter().map(|line| line.as_str()).collect();
            panic!(
                "{what}\nASYNC_SEED={} plays it again; {plot:#?}\n{}",
                plot.seed,
                last.join("\n")
            );
        }
    }
}

/// The same seed, the same story: every store call, every change of a machine, at the same moment.
#[test]
fn a_seed_repeats_itself() {
    listen();
    let twice = number("ASYNC_TWICE").unwrap_or(TWICE);
    let seeds = number("ASYNC_SEED").map_or(0..twice, |seed| seed..seed + 1);
    for seed in seeds {
        let (one, other) = (must_end_well(&Plot::of(seed)), must_end_well(&Plot::of(seed)));
        let pairs = one.trace.iter().zip(&other.trace).enumerate();
        let differs = pairs.filter(|(_, (one, other))| one != other).map(|(at, _)| at).next();
        let around = |trace: &[String]| {
            let at = differs.unwrap_or(trace.len());
            trace[at.saturating_sub(25)..trace.len().min(at + 5)].join("\n")
        };
        assert!(
            one.digest == other.digest,
            "seed {seed} went two ways:\n{}\nand\n{}",
            around(&one.trace),
            around(&other.trace)
        );
    }
}

/// At each of the writes by which a restore is decided its author dies before it or after it, or the
/// write arrives when another agent leads.
#[test]
fn each_decision_meets_each_fate() {
    listen();
    let decided = must_end_well(&Plot::two_disks_lost(None)).decisions;
    let plots: Vec<Plot> = decided
        .iter()
        .flat_map(|(at, calls)| (1..=*calls).map(|calls| (*at, calls)))
        .flat_map(|(at, calls)| {
            let fates = [Fate::DieBefore, Fate::DieAfter, Fate::Late];
            fates.map(|fate| (at, Fuse { calls, fate, decisions_only: true }))
        })
        .map(|fuse| Plot::two_disks_lost(Some(fuse)))
        .collect();
    println!("{} plots: {decided:?}", plots.len());
    play_all(&plots);
}

/// Plays plots on all cores; each must end well. What they came to, without their traces.
fn play_all(plots: &[Plot]) -> Vec<Played> {
    let (next, begun) = (AtomicUsize::new(0), Instant::now());
    let all = Mutex::new(Vec::new());
    let workers = thread::available_parallelism().map_or(1, |cores| cores.get());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(plot) = plots.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let played = Played { trace: Vec::new(), ..must_end_well(plot) };
                    all.lock().expect("who fails keeps no lock").push(played);
                }
            });
        }
    });
    let all = all.into_inner().expect("who fails keeps no lock");
    let sum = |of: fn(&Played) -> u64| all.iter().map(of).sum::<u64>();
    println!(
        "{} plots in {:.0?}: {} simulated seconds, {} restores, {} aborted attempts, {} \
         acknowledged writes declared lost, {} whole snapshots, {} packs, {} handovers, {} manifests \
         and {} data pruned, longest recovery once healed {} ms",
        all.len(),
        begun.elapsed(),
        sum(|played| played.lasted) / 1000,
        sum(|played| played.restores),
        sum(|played| played.aborts),
        sum(|played| played.declared_lost),
        sum(|played| played.whole),
        sum(|played| played.packs),
        sum(|played| played.handovers),
        sum(|played| played.dropped),
        sum(|played| played.swept),
        all.iter().map(|played| played.recovery).max().unwrap_or_default(),
    );
    all
}

/// Whatever goes wrong between agents and stores, nothing unsafe happens, and the cluster comes back.
#[test]
fn seeds_end_well() {
    listen();
    if let Some(seed) = number("ASYNC_SEED") {
        println!("seed {seed}");
        let played = must_end_well(&Plot::of(seed));
        println!("{:?}", Played { trace: Vec::new(), ..played });
        return;
    }
    let seeds = number("ASYNC_SEEDS").unwrap_or(SEEDS);
    println!("seeds 0..{seeds}");
    let all = play_all(&(0..seeds).map(Plot::of).collect::<Vec<_>>());
    let some = |of: fn(&Played) -> u64| seeds < SEEDS || all.iter().any(|played| of(played) > 0);
    assert!(some(|played| played.restores), "no seed led to a restore: the plots prove nothing");
    assert!(some(|played| played.aborts), "no seed led to an abort: the plots prove nothing");
}

/// Whoever dies, hears nothing or stands still in the middle of a save, and whatever retention deletes
/// meanwhile: what is listed restores, and snapshots are saved again.
#[test]
fn savers_end_well() {
    listen();
    if let Some(seed) = number("ASYNC_SEED") {
        let played = must_end_well(&Plot::of_savers(seed));
        println!("{:?}", Played { trace: Vec::new(), ..played });
        return;
    }
    let seeds = number("ASYNC_SAVERS").unwrap_or(SAVERS);
    let all = play_all(&(0..seeds).map(Plot::of_savers).collect::<Vec<_>>());
    let mut sprung = std::collections::BTreeMap::new();
    for (what, times) in all.iter().flat_map(|played| &played.sprung) {
        *sprung.entry(what.as_str()).or_insert(0) += times;
    }
    println!("{sprung:#?}");
    if seeds < SAVERS {
        return;
    }
    let some = |of: fn(&Played) -> u64| all.iter().map(of).sum::<u64>() > 10;
    assert!(some(|played| played.packs), "no chains were made: the plots prove nothing");
    assert!(some(|played| played.whole), "no chain began anew: the plots prove nothing");
    assert!(some(|played| played.handovers), "nobody took over: the plots prove nothing");
    assert!(some(|played| played.dropped), "no manifest was pruned: the plots prove nothing");
    assert!(some(|played| played.swept), "no data was deleted: the plots prove nothing");
}

/// A large file whose parts, or whose completion, the bucket takes without an answer: the save fails, its
/// parts are given up, and the next one is as good as any; or it is found out that all is there.
#[test]
fn large_files_end_well() {
    listen();
    let played = must_end_well(&Plot::of_large_files());
    let met = |what: &str| played.sprung.get(what).copied().unwrap_or(0);
    assert_eq!((met("Base Lost"), met("Complete Lost")), (6, 1));
    assert_eq!(played.uploads, 0, "parts were left behind");
    assert!(played.packs > 3 && played.whole > 3);
}
