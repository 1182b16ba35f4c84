//! **simulated** — what the simulator promises: a seed is one story, seeds that failed once hold for ever,
//! and what it says it reaches it does reach.

use simulations::{
    gate,
    pace::Pace,
    simulate::{Options, runs, shrink::shrink},
};
use std::collections::BTreeMap;

/// Seeds that failed once, each with a sentence.
const SEEDS: &str = include_str!("seeds.txt");

#[test]
fn the_same_seed_is_the_same_story() {
    for seed in [1, 7, 12] {
        let (one, other) =
            (runs::run(gate::options(seed), false), runs::run(gate::options(seed), true));
        assert_eq!((one.trace, one.events), (other.trace, other.events), "seed {seed}");
        assert!(one.events > 10_000, "seed {seed} is a story");
    }
    let traces: Vec<u64> = [1, 7].map(|seed| runs::run(gate::options(seed), false).trace).into();
    assert_ne!(traces[0], traces[1]);
}

#[test]
fn seeds_that_failed_once_hold() {
    let mut played = 0;
    for line in SEEDS.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.splitn(4, ' ');
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
        let (Some(seed), Some(members), Some(minutes)) = (number(), number(), number()) else {
            panic!("{line}: SEED MEMBERS MINUTES and a sentence");
        };
        let members = usize::try_from(members).expect("a handful");
        let verdict = runs::run(Options::drawn(seed, members, Pace::Quick, minutes), false);
        assert_eq!(verdict.broken, None, "{line}");
        played += 1;
    }
    assert!(played > 0);
}

#[test]
fn seeds_hold_and_reach_what_matters() {
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in 1_000_000..1_000_000 + 60 {
        let verdict = runs::run(gate::options(seed), false);
        assert_eq!(verdict.broken, None, "simulate --seed {seed} tells it");
        for (what, count) in verdict.witness.0 {
            *seen.entry(what).or_default() += count;
        }
    }
    for what in [
        "attempt",
        "abort",
        "commit",
        "restored",
        "healed",
        "replaced",
        "attested",
        "doubtful",
        "consent",
        "data-lost",
        "never-ran",
        "rollback or unopened",
    ] {
        assert!(seen.contains_key(what), "no seed came to: {what} ({seen:?})");
    }
}

#[test]
fn a_failing_run_shrinks_to_less() {
    use protocol::mutant::Mutant;
    // switches this process's core: the other tests of this file would meet it, so it is the last word
    // of a process of its own
    if std::env::var_os("SHRINKS").is_none() {
        let me = std::env::current_exe().expect("this test runs");
        let done = std::process::Command::new(me)
            .args(["a_failing_run_shrinks_to_less", "--exact"])
            .env("SHRINKS", "1")
            .output()
            .expect("it starts again");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
        return;
    }
    Mutant::switch(Some(Mutant::UnmarkUnasked));
    let fails = |seed: &u64| runs::run(gate::options(*seed), false).broken.is_some();
    let whole = gate::options((0..20).find(fails).expect("the mutant is noticed"));
    let less = shrink(whole.clone());
    assert!(less.faults.len() < whole.faults.len(), "{} faults are left", less.faults.len());
    let same = |options| runs::run(options, false).invariant().map(ToOwned::to_owned);
    assert_eq!(same(less), same(whole));
}
