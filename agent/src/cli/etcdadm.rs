//! **etcdadm** — the same binary under the name that kube-aws' units and habits call.
//!
//! Comes in: the words of the command line. Goes out: a [`Cli`], and the new name of the verb to
//! be printed once on stderr, so that scripts get mended by those who read their logs.

use super::Cli;
use clap::{CommandFactory, Parser};
use std::{ffi::OsString, path::Path};

/// A command line understood.
#[derive(Debug)]
pub struct Spoken {
    /// What is wanted.
    pub cli: Cli,
    /// What the verb is called now, if it was called by its old name.
    pub now_called: Option<String>,
}

/// Reads the words of a command line, the program's name first.
///
/// # Errors
/// clap's own sentence; it also carries `--help` and `--version`.
pub fn parse(words: impl Iterator<Item = OsString>) -> Result<Spoken, clap::Error> {
    let mut words: Vec<OsString> = words.collect();
    let program = words.first().and_then(|word| Path::new(word).file_name());
    let old = program.is_some_and(|name| name == "etcdadm");
    let verb = verb(&words);
    if old && needs_reason(verb.as_deref(), &words) {
        words.extend(["--because".into(), "asked for as etcdadm".into()]);
    }
    let cli = Cli::try_parse_from(words)?;
    let now_called = verb.filter(|_| old).map(|verb| format!("requorum {verb}"));
    Ok(Spoken { cli, now_called })
}

/// The verb's new name; flags may stand before it.
fn verb(words: &[OsString]) -> Option<String> {
    let command = Cli::command();
    let mut said = words.iter().skip(1).filter_map(|word| word.to_str());
    said.find_map(|word| Some(command.find_subcommand(word)?.get_name().to_owned()))
}

/// `etcdadm restore` knew no `--because`.
fn needs_reason(verb: Option<&str>, words: &[OsString]) -> bool {
    let given = |word: &OsString| word.to_str().is_some_and(|word| word.starts_with("--because"));
    let asks = words.iter().any(|word| word == "--help" || word == "-h");
    verb == Some("restore") && !asks && !words.iter().any(given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Verb;

    fn spoken(line: &str) -> Spoken {
        parse(line.split_whitespace().map(OsString::from)).expect("a sound line")
    }

    #[test]
    fn the_old_verbs_are_the_new_ones() {
        for verb in ["save", "restore", "check", "reconfigure", "replace", "compact", "defrag"] {
            let spoken = spoken(&format!("/opt/bin/etcdadm {verb}"));
            assert_eq!(spoken.now_called, Some(format!("requorum {verb}")));
        }
        for verb in ["cluster_is_healthy", "member_is_leader", "member_status_set_started"] {
            let spoken = spoken(&format!("etcdadm {verb}"));
            assert_eq!(spoken.now_called, Some(format!("requorum {}", verb.replace('_', "-"))));
        }
    }

    #[test]
    fn only_the_old_name_may_restore_without_a_reason() {
        let Verb::Restore { because, .. } = spoken("etcdadm restore").cli.verb else {
            unreachable!("restore was said");
        };
        assert_eq!(because, "asked for as etcdadm");
        let words = ["requorum", "restore"].map(OsString::from);
        assert!(parse(words.into_iter()).is_err());
        assert_eq!(spoken("requorum check").now_called, None);
        let old = spoken("etcdadm -o json restore");
        assert_eq!(old.now_called.as_deref(), Some("requorum restore"));
    }
}
