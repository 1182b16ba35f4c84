//! **generating** — what a package ships beside the program: its manual, and completions for shells.
//!
//! Comes in: the command line as it is declared. Goes out: text that can't differ from it.

use super::Cli;
use crate::{
    exit::{Code, Problem},
    render,
};
use clap::{CommandFactory as _, Subcommand};
use clap_complete::Shell;
use std::path::PathBuf;

/// What is written.
#[derive(Debug, Subcommand)]
pub enum Generate {
    /// The manual page of the program, on stdout
    Man {
        /// One page for each verb, into this directory
        #[arg(long, value_name = "DIR")]
        into: Option<PathBuf>,
    },
    /// Completions for bash, on stdout
    Bash,
    /// Completions for zsh, on stdout
    Zsh,
    /// Completions for fish, on stdout
    Fish,
}

pub(super) fn run(what: &Generate) -> Result<(), Problem> {
    let failed = |why: std::io::Error| {
        Problem::new(Code::Failed, "the manual can't be written").because(why)
    };
    let mut text = Vec::new();
    let shell = match what {
        Generate::Man { into: Some(dir) } => {
            std::fs::create_dir_all(dir).map_err(failed)?;
            return clap_mangen::generate_to(Cli::command(), dir).map_err(failed);
        }
        Generate::Man { into: None } => {
            clap_mangen::Man::new(Cli::command()).render(&mut text).map_err(failed)?;
            None
        }
        Generate::Bash => Some(Shell::Bash),
        Generate::Zsh => Some(Shell::Zsh),
        Generate::Fish => Some(Shell::Fish),
    };
    if let Some(shell) = shell {
        clap_complete::generate(shell, &mut Cli::command(), "requorum", &mut text);
    }
    render::raw(&String::from_utf8_lossy(&text));
    Ok(())
}
