//! **command** — what `explore` says and does: tries every order of things on the real core, and tells the shortest
//! story of what breaks.
//!
//! Comes in: which sub-models, how many seats, which bound. Goes out: a line for each sub-model,
//! with the bound that was hit if one was; stories on stdout; exit code 0 (all came out as they
//! must), 1 (something broke), 2 (usage).

#![expect(clippy::print_stdout, reason = "a report is for stdout; only binaries print")]

use super::{
    Report, run,
    submodels::{self, SubModel},
};
use crate::gate::{Kill, Layer, attack};
use clap::{Parser, ValueEnum};
use protocol::mutant::Mutant;

use std::{
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

/// Exhaustive search over the real protocol core.
#[derive(Debug, Parser)]
#[command(name = "explore")]
struct Cli {
    /// Seats.
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u8).range(3..=5))]
    members: u8,
    /// What may go wrong: `crash`: processes only; `all`: disks, machines and operators too.
    #[arg(long, value_enum, default_value = "all")]
    faults: Faults,
    /// Only this sub-model.
    #[arg(long)]
    model: Option<String>,
    /// End each sub-model after so many states.
    #[arg(long)]
    bound: Option<u64>,
    /// List the sub-models.
    #[arg(long)]
    list: bool,
    /// Try mirror images as well.
    #[arg(long)]
    unreduced: bool,
    /// Attack the core with all of its mutants, or with this one: each must be noticed.
    #[arg(long, num_args = 0..=1, default_missing_value = "all", value_name = "NAME")]
    mutants: Option<String>,
    /// Seeds of the simulator that are played for a mutant which no sub-model notices.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// Run the same sub-models in Stateright too, and compare.
    #[cfg(feature = "stateright")]
    #[arg(long)]
    stateright: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Faults {
    Crash,
    All,
}

/// Runs the command.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(name) = &cli.mutants {
        return attack_all(name, cli.seeds);
    }
    let chosen = chosen(&cli);
    if cli.list {
        for sub in &chosen {
            println!("{:<12} {}\n{:>12} {}", sub.name, sub.covers, "", sub.bounds_in_words());
        }
        return ExitCode::SUCCESS;
    }
    if chosen.is_empty() {
        eprintln!("explore: no such sub-model; see --list");
        return ExitCode::from(2);
    }
    #[cfg(feature = "stateright")]
    if cli.stateright {
        return side_by_side(&chosen, cli.bound);
    }
    let began = Instant::now();
    println!("{}", HEAD);
    let reports = run_all(&chosen, cli.bound);
    let right = reports.iter().zip(&chosen).filter(|(report, sub)| report.is_right(sub)).count();
    let total: u64 = reports.iter().map(|report| report.unique).sum();
    println!(
        "\n{right} of {} came out as they must; {total} states in {:.1} s",
        chosen.len(),
        began.elapsed().as_secs_f32()
    );
    println!("Their union covers: {}.", submodels::covered(&chosen).join(", "));
    if right == chosen.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Each mutant must be noticed by one of the layers.
fn attack_all(name: &str, seeds: u64) -> ExitCode {
    std::panic::set_hook(Box::new(|_| {})); // an assertion of a mutant is a finding, told below
    let meant = |mutant: &Mutant| name == "all" || mutant.name() == name;
    let chosen = Mutant::ALL.iter().filter(|mutant| meant(mutant));
    let (mut killed, mut alive) = (0, Vec::new());
    for mutant in chosen {
        let name = mutant.name();
        let Some(Kill { by, after, broken }) = attack(*mutant, seeds) else {
            println!("{name:<26} LIVES: {}", mutant.what());
            alive.push(name);
            continue;
        };
        killed += 1;
        let first = broken.lines().next().unwrap_or_default();
        match by {
            Layer::Explore(model) => {
                println!("{name:<26} explore {model}, {after} states: {first}");
            }
            Layer::Simulate(seed) => {
                println!("{name:<26} simulate {seed}, {after} seeds: {first}");
            }
        }
    }
    println!("{killed} mutants were noticed, {} live: {}", alive.len(), alive.join(" "));
    if killed > 0 && alive.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

const HEAD: &str =
    "sub-model        states  generated depth   turns  seconds  how far, and what came of it";

fn chosen(cli: &Cli) -> Vec<SubModel> {
    let named = |sub: &&SubModel| cli.model.as_ref().is_none_or(|name| *name == sub.name);
    let of_faults = |sub: &&SubModel| cli.faults == Faults::All || !sub.hurts();
    let sized = |sub: &SubModel| SubModel { reduced: !cli.unreduced, ..sub.clone() };
    let chosen = submodels::ALL.iter().filter(named).filter(of_faults).map(sized);
    chosen.map(|sub| sub.with_members(usize::from(cli.members))).collect()
}

/// On two threads, each taking the next; told in the order of the table.
fn run_all(chosen: &[SubModel], bound: Option<u64>) -> Vec<Report> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Option<Report>>> = Mutex::new(vec![None; chosen.len()]);
    let work = || {
        while let Some(sub) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
            // a lie must be found, however deep it lies
            let report = run(sub, bound.filter(|_| !sub.breaks));
            let at = chosen.iter().position(|other| other.name == sub.name).unwrap_or_default();
            let mut done = done.lock().expect("nobody ends while holding it");
            done[at] = Some(report);
        }
    };
    thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    let done = done.into_inner().expect("nobody holds it any more");
    let reports: Vec<Report> = done.into_iter().flatten().collect();
    for (report, sub) in reports.iter().zip(chosen) {
        tell(report, sub);
    }
    reports
}

fn tell(report: &Report, sub: &SubModel) {
    let far = if report.exhausted && report.violation.is_none() {
        "all of it".to_owned()
    } else if report.violation.is_some() {
        "to the first that breaks".to_owned()
    } else {
        format!("BOUND: {} states", report.unique)
    };
    println!(
        "{:<12} {:>10} {:>10} {:>5} {:>7} {:>8.1}  {far}{}",
        report.name,
        report.unique,
        report.generated,
        report.depth,
        report.turns,
        report.took.as_secs_f32(),
        verdict(report, sub),
    );
    println!("{:>12} {}; {}", "", sub.covers, sub.bounds_in_words());
    if let Some((name, story)) = &report.violation {
        println!("{:>12} {name}, in {} steps:", "", story.len());
        for line in story {
            println!("{:>12} {line}", "");
        }
    }
}

fn verdict(report: &Report, sub: &SubModel) -> String {
    let unseen: Vec<String> = report.unseen.iter().map(|seen| format!("{seen:?}")).collect();
    match (&report.violation, report.is_right(sub), unseen.is_empty()) {
        (Some(_), true, _) => "; broken, as it must be: an operator lied".to_owned(),
        (Some(_), false, _) => "; BROKEN".to_owned(),
        (None, _, _) if sub.breaks => "; NOT BROKEN, although an operator lied".to_owned(),
        (None, _, false) => format!("; NOT SHOWN: {}", unseen.join(", ")),
        (None, _, true) => String::new(),
    }
}

#[cfg(feature = "stateright")]
fn side_by_side(chosen: &[SubModel], bound: Option<u64>) -> ExitCode {
    println!("sub-model        states    explore/s  stateright/s   (generated a user-CPU second)");
    let mut same = true;
    for sub in chosen.iter().filter(|sub| !sub.breaks) {
        let Some(race) = super::crosscheck::race(sub, bound) else {
            println!("{:<12} is larger than the bound; not compared", sub.name);
            continue;
        };
        same &= race.ours.unique == race.theirs.unique;
        println!(
            "{:<12} {:>10} {:>12.0} {:>13.0}{}",
            sub.name,
            race.ours.unique,
            race.ours.rate(),
            race.theirs.rate(),
            if race.ours.unique == race.theirs.unique { "" } else { "   COUNTS DIFFER" },
        );
    }
    if same { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
