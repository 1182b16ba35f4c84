//! **page** — `simulations/BENCHMARKS.md`: what was measured, for readers.
//!
//! Comes in: the figures. Goes out: a page that names the machine and says of each aim whether it was met.

use super::{
    Fallible,
    figures::{Figures, Minutes, Spread},
    shares::Sample,
    ways::LINKS,
};

/// Rows of the table of seconds: the row, what it is compared with, what it is.
const ROWS: [(&str, &str, &str); 12] = [
    ("raw", "raw", "etcd's stream, discarded"),
    ("etcdctl", "raw", "`etcdctl snapshot save` to a file, then its upload"),
    ("save-full", "raw", "our save of a whole file, until its manifest is there"),
    ("save-full-proven", "raw", "the same, with the proof of its content"),
    ("save-base", "raw", "our save of a chain's base: its blocks are noted besides"),
    ("save-base-proven", "raw", "the same, with the proof of its content"),
    ("save-incremental", "raw", "our save of what a minute's writes changed"),
    ("save-incremental-proven", "raw", "the same, with the proof of its content"),
    ("etcdutl", "etcdutl", "`etcdutl snapshot restore` of a local file"),
    ("restore", "etcdutl", "our restore of a whole file, from S3 to a data dir"),
    ("restore-chain", "etcdutl", "our restore of the end of a chain, likewise"),
    ("cp-fsync", "etcdutl", "a local file copied and synced"),
];
/// Rows whose memory is a tool's, which nobody looked at.
const TOOLS: [&str; 3] = ["etcdctl", "etcdutl", "cp-fsync"];
/// Rows of the table of shares.
const SHARES: [(Minutes, &str); 4] = [
    (Minutes::Plain, "without a compaction"),
    (Minutes::MinuteAgo, "that begins with a compaction to a minute ago"),
    (Minutes::Head, "that begins with a compaction to the head"),
    (Minutes::Ten, "of ten in a row, with a compaction to a minute ago each five (mean)"),
];

/// The whole page.
pub(super) fn page(figures: &Figures, rounds: usize, writes: u64) -> Fallible<String> {
    let machine = machine()?;
    let (least, most) = figures.sizes();
    let (least, most) = (least / 1_000_000, most / 1_000_000);
    let (seconds, shares, aims) = (seconds(figures), shares(figures), aims(figures));
    let (small, large) = figures.databases();
    let (small, large) = (small / 1_000_000, large / 1_000_000);
    let bases = figures.minutes(Minutes::Ten).iter().filter(|minute| minute.base).count();
    Ok(format!(
        "# What snapshots cost\n\n\
         `make bench-snapshots` measures and writes this page: a database of {least} to {most} MB, values of \
         1 KB that do not compress, {rounds} rounds of all ways in turn, each in a process of its own, etcd \
         and the S3 server, which holds its objects in memory, on the same {machine}.\n\n\
         {aims}\n\n\
         ## Seconds\n\n\
         {seconds}\n\n\
         `ratio` is of medians, to the way named beside it. Peak memory is that of the process that saves or \
         restores, without the tools it runs. The proof of a content is HashKV and the number of live keys, \
         which the guards against doubtful snapshots ask etcd for between the data and its manifest. \
         etcdutl checks the file's hash, bumps revisions and marks them compacted, as our restores do. The \
         chain that is restored has a base and {LINKS} packs of a minute each; its end holds the same content \
         as the whole file.\n\n\
         ## What a minute uploads\n\n\
         {shares}\n\n\
         The database had {small} to {large} MB; it grows until what compactions free is taken up again. \
         Minutes are counted in writes: {writes} puts, each of its own, that overwrite keys taken at random, \
         as fast as etcd takes them, with a commit for each 30 of them as at 300 a second. What is counted is \
         all that the save stored: blocks, index, manifest. A compaction is waited for until it is gone \
         from the database, and removes what came in five minutes. Among the ten minutes {bases} stored a new \
         base, because the packs had outgrown half of theirs; the minutes of the other lines stored none.\n",
    ))
}

/// Whether what was aimed at was reached.
fn aims(figures: &Figures) -> String {
    let percent = |share: Option<f64>| share.map(|share| share * 100.0);
    let aims = [
        ("a save and its upload, over the raw stream", 1.3, figures.ratio("save-full", "raw"), "x"),
        ("resident memory of a save", 150.0, figures.peak_of_saves(), " MB"),
        (
            "upload of a minute at 300 writes/s without a compaction, of the database",
            3.0,
            percent(figures.share(Minutes::Plain)),
            " %",
        ),
        (
            "S3 to a data dir, a whole file, over etcdutl's restore of a local one",
            1.2,
            figures.ratio("restore", "etcdutl"),
            "x",
        ),
    ];
    let mut lines =
        vec!["| aim | at most | measured | |".to_owned(), "|---|--:|--:|---|".to_owned()];
    for (aim, most, measured, unit) in aims {
        let (figure, verdict) = match measured {
            Some(figure) if figure <= most => (format!("{figure:.2}{unit}"), "met"),
            Some(figure) => (format!("{figure:.2}{unit}"), "**not met**"),
            None => ("–".to_owned(), "not measured"),
        };
        lines.push(format!("| {aim} | {most}{unit} | {figure} | {verdict} |"));
    }
    lines.join("\n")
}

fn seconds(figures: &Figures) -> String {
    let mut lines = vec![
        "| way | | median s | min | max | ratio | to | peak MB |".to_owned(),
        "|---|---|--:|--:|--:|--:|---|--:|".to_owned(),
    ];
    for (row, to, what) in ROWS {
        let (Some(took), Some(ratio)) = (figures.seconds(row), figures.ratio(row, to)) else {
            continue;
        };
        let Spread { median, least, most, .. } = took;
        let peak = figures.peak(row).filter(|_| !TOOLS.contains(&row));
        let peak = peak.map_or_else(|| "–".to_owned(), |peak| format!("{peak:.0}"));
        lines.push(format!(
            "| {row} | {what} | {median:.2} | {least:.2} | {most:.2} | {ratio:.2} | {to} | {peak} |"
        ));
    }
    lines.join("\n")
}

fn shares(figures: &Figures) -> String {
    let mut lines = vec![
        "| a minute | % of the database | min | max | MB | minutes |".to_owned(),
        "|---|--:|--:|--:|--:|--:|".to_owned(),
    ];
    for (minutes, what) in SHARES {
        let (Some(share), Some(spread)) = (figures.share(minutes), figures.shares(minutes)) else {
            continue;
        };
        let Spread { least, most, count, .. } = spread;
        let megabytes = mean_megabytes(&figures.minutes(minutes));
        let [share, least, most] = [share, least, most].map(|share| share * 100.0);
        lines.push(format!(
            "| {what} | {share:.2} | {least:.2} | {most:.2} | {megabytes:.1} | {count} |"
        ));
    }
    lines.join("\n")
}

fn mean_megabytes(minutes: &[Sample]) -> f64 {
    let all: u64 = minutes.iter().map(|minute| minute.stored).sum();
    all as f64 / 1_000_000.0 / minutes.len() as f64
}

/// The machine, and how this program was built.
fn machine() -> Fallible<String> {
    let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
    let names: Vec<&str> =
        cpus.lines().filter_map(|line| line.strip_prefix("model name")).collect();
    let name = names.first().map_or("unknown", |name| name.trim_start_matches([' ', '\t', ':']));
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes: u64 =
        total.and_then(|rest| rest.split_whitespace().next()).unwrap_or("0").parse()?;
    let build = if cfg!(debug_assertions) { "a development build" } else { "a release build" };
    Ok(format!("{} cores ({name}, {} GB of memory), {build}", names.len(), kilobytes >> 20))
}
