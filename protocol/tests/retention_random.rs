//! Over some thousand random buckets, with random policies and references: pruning takes nothing that it
//! may not, prunes no further what it kept, and deletes no data that a manifest still needs
//! (retention.rs). What must stay is said here a second time, in other words.

use protocol::retention::{
    Datum, Entry, GARBAGE_AFTER, Judged, Policy, Protected, Verdict, garbage, judge,
};
use std::collections::BTreeMap;

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
/// Of 2033.
const NOW: u64 = 2_000_073_600;
const INC: u64 = 7;

fn verdict(judged: &[Judged], entry: &Entry) -> Verdict {
    let found = judged.iter().find(|judged| judged.key == entry.key);
    found.expect("each is judged").verdict
}

/// xorshift64: the same buckets on each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn taken(&mut self) -> Option<u64> {
        match self.below(20) {
            0 => None,
            1 => Some(NOW + self.below(DAY)),
            2 => Some(self.below(DAY)),
            3..=8 => Some(NOW - self.below(3 * HOUR)),
            9..=13 => Some(NOW - self.below(2 * DAY)),
            _ => Some(NOW - self.below(60 * DAY)),
        }
    }

    /// Entries of up to five incarnations, some of them chains; revisions repeat.
    fn entries(&mut self) -> Vec<Entry> {
        let mut tips: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        let suspects = 1 + self.below(6);
        let count = self.below(50);
        let one = |number: u64| {
            let (inc, revision) = (INC - 3 + self.below(5), self.below(40));
            let key = format!("inc/{inc}/snap/{revision:020}-{number}.json");
            let tip = tips.entry(inc).or_default();
            if self.one_in(3) {
                tip.clear();
            }
            tip.push(format!("inc/{inc}/data/{number}.db"));
            let (taken, suspect) = (self.taken(), self.one_in(suspects));
            Entry { key, inc, revision, taken, suspect, needs: tip.clone() }
        };
        (0..count).map(one).collect()
    }

    fn policy(&mut self) -> Policy {
        let all = self.below(2 * HOUR);
        let hourly_for = all + self.below(2 * DAY);
        let daily_for = hourly_for + self.below(40 * DAY);
        let most = self.one_in(2).then(|| self.below(20) as usize);
        Policy { all, hourly_for, daily_for, least: self.below(6) as usize, most }
    }

    /// Any of them by manifest or data, and sometimes one that isn't there.
    fn protected(&mut self, entries: &[Entry]) -> Protected {
        let name = |random: &mut Self| {
            let index = random.below(entries.len() as u64 + 1) as usize;
            entries.get(index).map_or("inc/5/snap/gone.json", |entry| {
                if random.one_in(2) { &entry.key } else { &entry.needs[0] }
            })
        };
        let count = self.below(4);
        let keys = (0..count).map(|_| name(self).to_owned()).collect();
        let chain = self.one_in(2).then(|| name(self).to_owned());
        Protected { inc: INC, keys, chain }
    }
}

fn must_stay(entries: &[Entry], policy: &Policy, protected: &Protected, entry: &Entry) -> bool {
    let named =
        |key: &String| protected.keys.contains(key) || protected.chain.as_ref() == Some(key);
    let rank = |entry: &Entry| (entry.revision, entry.taken, entry.key.clone());
    let newer =
        |other: &&Entry| !other.suspect && other.inc == entry.inc && rank(other) > rank(entry);
    let is_recent = entry.inc == INC || entry.inc == INC - 1;
    let least = policy.least.max(1);
    let is_among_the_newest = !entry.suspect && entries.iter().filter(newer).count() < least;
    let has_sound = entries.iter().any(|entry| entry.inc == INC && !entry.suspect);
    let is_unknown = entry.taken.is_none_or(|taken| taken > NOW);
    let is_young = entry.taken.is_some_and(|taken| NOW < taken + policy.all);
    let is_referred = named(&entry.key) || entry.needs.iter().any(named);
    let is_later = entry.inc > INC;
    (is_recent && is_among_the_newest)
        || !has_sound
        || is_unknown
        || is_young
        || is_referred
        || is_later
}

fn is_needed(entries: &[Entry], key: &String) -> bool {
    entries.iter().any(|entry| entry.needs.contains(key))
}

#[test]
fn no_random_bucket_loses_what_it_may_not() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut dropped, mut deleted) = (0, 0);
    for round in 0..6_000 {
        let mut entries = random.entries();
        let policy = random.policy();
        let protected = random.protected(&entries);
        let judged = judge(&entries, NOW, &policy, &protected);
        assert!(judged.is_sorted_by(|one, other| one.key < other.key), "{round}");
        assert_eq!(judged.len(), entries.len());
        entries.reverse();
        assert_eq!(judged, judge(&entries, NOW, &policy, &protected), "{round}: order matters");
        let (kept, gone): (Vec<Entry>, Vec<Entry>) =
            entries.iter().cloned().partition(|entry| verdict(&judged, entry) != Verdict::Drop);
        for entry in &gone {
            assert!(!must_stay(&entries, &policy, &protected, entry), "{round}: {entry:?}");
        }
        let again = judge(&kept, NOW, &policy, &protected);
        let stays = again.iter().all(|judged| judged.verdict != Verdict::Drop);
        assert!(stays, "{round}: what was kept is kept again");
        dropped += gone.len();
        deleted += collect(&kept, &gone, &judged, &protected);
    }
    assert!(dropped > 10_000 && deleted > 1_000, "it does prune: {dropped}, {deleted}");
}

/// Collects garbage before, amid and after the deletion of `gone`; and how much there is after it.
fn collect(kept: &[Entry], gone: &[Entry], judged: &[Judged], protected: &Protected) -> usize {
    let all = [kept, gone].concat();
    let datum = |key: &String| Datum { key: key.clone(), age: Some(GARBAGE_AFTER + 1) };
    let data: Vec<Datum> = all.iter().flat_map(|entry| &entry.needs).map(datum).collect();
    let found_with = |entries: &[Entry]| garbage(&data, entries, &[], judged, protected);
    assert!(found_with(&all).is_empty(), "all of it is needed");
    let amid: Vec<Entry> = kept.iter().chain(gone.iter().step_by(2)).cloned().collect();
    assert!(!found_with(&amid).iter().any(|key| is_needed(&amid, key)));
    let found = found_with(kept);
    assert!(!found.iter().any(|key| is_needed(kept, key) || protected.keys.contains(key)));
    // a listing that lost one that was kept
    if let Some((lost, rest)) = kept.split_first() {
        assert!(!found_with(rest).iter().any(|key| lost.needs.contains(key)));
    }
    found.len()
}
