//! **bench-snapshots** — the command: what a snapshot costs on this machine (`simulations/src/bench`).
//!
//! Comes in: a size and a number of rounds. Goes out: the page on stdout and in `simulations/BENCHMARKS.md`,
//! figures in `target/bench/snapshots.json`, progress on stderr; exit code 0, 1 (something failed), 130
//! (interrupted). Ctrl-C drops whatever runs, and dropping it ends every process and removes every file.

#![expect(clippy::print_stdout, reason = "a page is for stdout; only binaries print")]

use clap::Parser as _;
use simulations::{
    bench::{self, Arguments},
    drill::process::interrupted,
};
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = tokio::select! {
        biased;
        () = interrupted() => {
            return ExitCode::from(130);
        }
        done = bench::run(&arguments) => done,
    };
    match done {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("bench-snapshots: {why}");
            ExitCode::FAILURE
        }
    }
}
