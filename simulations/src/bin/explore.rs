//! **explore** — tries every order of things on the real core (`simulations/src/explore`).
//!
//! It needs the core's hooks for explorers, which exist where debug assertions do: a release build
//! of it says so and does nothing.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(debug_assertions)]
    return simulations::explore::command::main();
    #[cfg(not(debug_assertions))]
    {
        eprintln!("explore: build it without --release");
        ExitCode::from(2)
    }
}
