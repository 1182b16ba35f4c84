//! **unneeded** — the data that no manifest needs: what a save left that never came to its manifest,
//! and what stays behind when a manifest is deleted.
//!
//! Comes from two listings of the bucket, manifests and data, with the verdicts on the former. Goes to
//! whoever deletes. What a manifest needs is known only if it was read: wherever one that should be
//! there was not, nothing of that incarnation is garbage. A chain of incremental snapshots never leaves
//! its incarnation, since a restore begins a new history.

use super::{Entry, Judged, Protected, Verdict};
use alloc::{collections::BTreeSet, string::String, vec::Vec};

/// Seconds after which data that no manifest needs is garbage: a day. An upload under way has no
/// manifest yet, and none takes as long.
pub const GARBAGE_AFTER: u64 = 86_400;

/// One object of data that the bucket lists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Datum {
    /// Its key, below the cluster's prefix.
    pub key: String,
    /// Seconds since it was written, both ends by the store's own clock. `None`: unknown.
    pub age: Option<u64>,
}

/// The keys of the data that may be deleted, in their order.
///
/// * `data` must have been listed before the manifests were: then a save that came to its manifest
///   meanwhile is among the entries.
/// * `entries` are all manifests that exist, those about to be dropped included: what they need goes
///   only when they are gone.
/// * `unreadable` are the keys of manifests that are listed, and could not be read or parsed.
/// * `judged` is what [`judge`](super::judge) said last. One that it kept and that is no longer listed
///   shows that the listing can't be trusted.
pub fn garbage(
    data: &[Datum],
    entries: &[Entry],
    unreadable: &[String],
    judged: &[Judged],
    protected: &Protected,
) -> Vec<String> {
    let listed: BTreeSet<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
    let needs = entries.iter().flat_map(|entry| &entry.needs);
    let needed: BTreeSet<&str> = needs.map(String::as_str).collect();
    let missing = missing(&listed, &needed, judged, protected);
    let mut doubtful = BTreeSet::new();
    for key in unreadable.iter().map(String::as_str).chain(missing) {
        // whose data it needs can't be told: it may be anybody's
        let Some((inc, _)) = place(key) else { return Vec::new() };
        doubtful.insert(inc);
    }
    let has_sound = entries.iter().any(|entry| entry.inc == protected.inc && !entry.suspect);
    if !has_sound {
        return Vec::new(); // perhaps a listing that failed; certainly no time to delete
    }
    let is_garbage = |datum: &&Datum| {
        let Some((inc, folder)) = place(&datum.key) else { return false };
        // a listing that shows a recent incarnation without any manifest has perhaps not shown all
        let is_recent = inc.saturating_add(1) >= protected.inc;
        let is_known = !is_recent || entries.iter().any(|entry| entry.inc == inc);
        folder == "data"
            && inc <= protected.inc
            && is_known
            && !doubtful.contains(&inc)
            && datum.age.is_some_and(|age| age > GARBAGE_AFTER)
            && !needed.contains(datum.key.as_str())
    };
    let found: BTreeSet<&String> = data.iter().filter(is_garbage).map(|datum| &datum.key).collect();
    found.into_iter().cloned().collect()
}

/// The manifests that should be listed and are not: those kept last time, and those that the records
/// name. Data that the records name counts too where no manifest needs it: it may be a link of a chain,
/// and the links before it are then known to nobody. So nothing that is named is ever garbage. Plans stand elsewhere and need nothing.
fn missing<'a>(
    listed: &BTreeSet<&str>,
    needed: &BTreeSet<&str>,
    judged: &'a [Judged],
    protected: &'a Protected,
) -> Vec<&'a str> {
    let is_kept = |judged: &&Judged| match judged.verdict {
        Verdict::Keep(_) => true,
        Verdict::Drop => false,
    };
    let kept = judged.iter().filter(is_kept).map(|judged| judged.key.as_str());
    let gone = kept.filter(|key| !listed.contains(key));
    let named = protected.keys.iter().chain(&protected.chain).map(String::as_str);
    let unknown = named.filter(|key| {
        let is_plan = place(key).is_some_and(|(_, folder)| folder == "plan");
        !is_plan && !listed.contains(key) && !needed.contains(key)
    });
    gone.chain(unknown).collect()
}

/// The incarnation and the folder that a key `inc/<incarnation>/<folder>/...` names (protocol.md 1.7).
fn place(key: &str) -> Option<(u64, &str)> {
    let (inc, rest) = key.strip_prefix("inc/")?.split_once('/')?;
    let (folder, name) = rest.split_once('/')?;
    let is_plain = inc.bytes().all(|byte| byte.is_ascii_digit()) && !inc.starts_with('0');
    let inc = inc.parse().ok().filter(|_| is_plain && !name.is_empty())?;
    Some((inc, folder))
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn only_a_plain_key_tells_its_incarnation() {
        assert_eq!(place("inc/3/data/s.db"), Some((3, "data")));
        assert_eq!(place("inc/3/plan/7-9-e3b0.json"), Some((3, "plan")));
        for other in ["", "inc/3/data", "inc/3/data/", "inc/x/data/s", "inc/+3/data/s"] {
            assert_eq!(place(other), None, "{other}");
        }
        for other in ["inc/03/data/s", "x/inc/3/data/s", "inc/99999999999999999999/data/s"] {
            assert_eq!(place(other), None, "{other}");
        }
    }
}
