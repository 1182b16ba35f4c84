//! The house rules, as tests. Each failure says the cure.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is the parent").to_owned()
}

fn rust_files() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for member in ["protocol", "agent", "simulations"] {
        collect(&root().join(member), &mut found);
    }
    assert!(found.len() > 50, "the walk over the sources found too little to mean anything");
    found
}

fn collect(dir: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).expect("a source directory can be listed") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root()).expect("below the root").display().to_string();
            found.push((name, fs::read_to_string(&path).expect("a source file can be read")));
        }
    }
}

fn all_hold(rule: &str, offenders: &[String]) {
    assert!(offenders.is_empty(), "{rule}:\n  {}", offenders.join("\n  "));
}

#[test]
fn every_file_says_what_it_is() {
    let silent =
        rust_files().into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(name, _)| name);
    all_hold(
        "open the file with `//!`: what comes in, what goes out, why",
        &silent.collect::<Vec<_>>(),
    );
}

#[test]
fn no_file_is_longer_than_a_reader_holds() {
    let long = rust_files()
        .into_iter()
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES)
        .map(|(name, lines)| format!("{name}: {lines}"));
    all_hold("split the file at a seam of meaning", &long.collect::<Vec<_>>());
}

/// Lines that a reader holds in the head.
const LINES: usize = 400;

#[test]
fn nothing_unfinished_is_left() {
    let words = [
        concat!("FIX", "ME"),
        concat!("to", "do!("),
        concat!("db", "g!("),
        concat!("#[ig", "nore]"),
    ];
    let left =
        rust_files().into_iter().filter(|(_, text)| words.iter().any(|word| text.contains(word)));
    all_hold("finish it or take it out", &left.map(|(name, _)| name).collect::<Vec<_>>());
}

#[test]
fn the_core_cannot_touch_the_world() {
    let words = ["std::", "Instant", "SystemTime", "HashMap", "HashSet", "f32", "f64", "tracing"];
    let reaches = |text: &str| {
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n");
        words.iter().find(|word| code.contains(**word)).copied()
    };
    let offenders: Vec<String> = rust_files()
        .iter()
        .filter(|(name, _)| name.starts_with("protocol/src"))
        .filter_map(|(name, text)| reaches(text).map(|word| format!("{name}: {word}")))
        .collect();
    all_hold("protocol is pure: hand it in as an event", &offenders);
}

#[test]
fn decisions_do_not_know_bytes() {
    let offenders: Vec<String> = rust_files()
        .into_iter()
        .filter(|(name, _)| name.starts_with("protocol/src") && !name.contains("/wire/"))
        .filter(|(_, text)| text.contains("crate::wire") || text.contains("serde"))
        .map(|(name, _)| name)
        .collect();
    all_hold("events arrive parsed; bytes belong to wire/", &offenders);
}

#[test]
fn the_driver_names_no_adapter() {
    let offenders: Vec<String> = rust_files()
        .into_iter()
        .filter(|(name, _)| {
            name.starts_with("agent/src/driver") || name.starts_with("agent/src/cli")
        })
        .filter(|(_, text)| text.contains("crate::adapters") || text.contains("aws_sdk"))
        .map(|(name, _)| name)
        .collect();
    all_hold("go through a port; main plugs the adapters in", &offenders);
}

#[test]
fn the_map_names_files_that_exist() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let named = map.split('`').filter(|word| {
        let roots = ["protocol/", "agent/", "simulations/", "deploy/"];
        roots.iter().any(|root| word.starts_with(root)) && !word.contains(char::is_whitespace)
    });
    let lost: Vec<String> =
        named.filter(|name| !root().join(name).exists()).map(ToOwned::to_owned).collect();
    all_hold("mend ARCHITECTURE.md", &lost);
}
