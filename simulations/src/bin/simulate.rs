//! **simulate** — plays whole clusters by their seeds. The same seed is the same story.

#![expect(clippy::print_stdout, reason = "a program that tells what it found")]

use clap::Parser;
use protocol::mutant::Mutant;
use simulations::{
    pace::Pace,
    simulate::{Options, runs, shrink::shrink},
};
use std::{collections::BTreeMap, process::ExitCode, time::Instant};

/// Half of what a turn costs is many small texts that come and go.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Plays whole clusters by their seeds: agents, machines, etcd, table and bucket, with all that goes
/// wrong drawn from the seed. Ends with 1 if an invariant of protocol.md 1.11 does not hold.
#[derive(Parser)]
#[command(name = "simulate")]
struct Arguments {
    /// Play this seed only, and tell its story.
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds to play.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Seats of the cluster; 0: three, four or five, by the seed.
    #[arg(long, default_value_t = 0)]
    members: usize,
    /// Play the windows that ship, instead of those of drills: what goes wrong is spread as much wider.
    #[arg(long)]
    production: bool,
    /// How long things go wrong, in simulated minutes of quick windows.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Leave a failing seed as it is.
    #[arg(long)]
    whole: bool,
    /// Put this fault into the core first (see `explore --mutants`).
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(name) = &arguments.mutant {
        let Some(mutant) = Mutant::named(name) else {
            println!("simulate: no mutant is called {name}");
            return ExitCode::from(2);
        };
        if let Err(why) = switch_to(mutant) {
            println!("simulate: {why}");
            return ExitCode::from(2);
        }
    }
    match arguments.seed {
        Some(seed) => tell(&arguments, seed),
        None => play(&arguments),
    }
}

#[cfg(debug_assertions)]
fn switch_to(mutant: Mutant) -> Result<(), &'static str> {
    Mutant::switch(Some(mutant));
    Ok(())
}

#[cfg(not(debug_assertions))]
fn switch_to(_: Mutant) -> Result<(), &'static str> {
    Err("a release build has no mutants: build it without --release")
}

fn options(arguments: &Arguments, seed: u64) -> Options {
    let members = match arguments.members {
        0 => Options::seats(seed),
        members => members,
    };
    let pace = if arguments.production { Pace::Production } else { Pace::Quick };
    Options::drawn(seed, members, pace, arguments.minutes)
}

fn tell(arguments: &Arguments, seed: u64) -> ExitCode {
    let mut options = options(arguments, seed);
    println!("{options}");
    let first = runs::run(options.clone(), false);
    if first.broken.is_some() && !arguments.whole {
        options = shrink(options);
        println!("shrunk to:\n{options}");
    }
    let verdict = runs::run(options, true);
    for line in &verdict.story {
        println!("{line}");
    }
    println!("trace {:016x}, {} events, {:?}", verdict.trace, verdict.events, verdict.witness.0);
    match verdict.broken {
        None => ExitCode::SUCCESS,
        Some(broken) => {
            println!("BROKEN {broken}");
            ExitCode::FAILURE
        }
    }
}

fn play(arguments: &Arguments) -> ExitCode {
    let begun = Instant::now();
    let (mut simulated, mut events, mut failed) = (0, 0, 0);
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in arguments.from..arguments.from + arguments.seeds {
        let options = options(arguments, seed);
        let verdict = runs::run(options.clone(), false);
        simulated += verdict.simulated;
        events += verdict.events;
        for (what, count) in verdict.witness.0 {
            *seen.entry(what).or_default() += count;
        }
        if let Some(broken) = verdict.broken {
            failed += 1;
            println!(
                "seed {seed}: {broken}\n  simulate --seed {seed} --minutes {} tells it",
                arguments.minutes
            );
        }
    }
    let took = begun.elapsed().as_secs_f64();
    for (what, count) in &seen {
        println!("{count:>9} {what}");
    }
    println!(
        "{} seeds, {failed} failed; {:.1} h simulated in {took:.1} s: {:.0} x real time, {:.0} events/s",
        arguments.seeds,
        simulated as f64 / 3_600_000.0,
        simulated as f64 / 1000.0 / took,
        events as f64 / took
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
