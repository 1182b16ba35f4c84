//! **retention** — which snapshots may be deleted, and which data nobody needs any more.
//!
//! Comes from the manifests that the bucket lists, the time, and all that the records refer to.
//! Goes to whoever deletes: manifests first, by [`judge`]; data later, by [`garbage`], once no
//! manifest that exists needs it. A crash between the two leaves garbage, and never a manifest
//! without its data (protocol.md 1.7: the manifest is the commit point).
//!
//! Intuition: a snapshot goes only if it is known to be old, known to be ours, and others are known
//! to be as good. Whatever is not known keeps it. So these delete nothing: a listing that came back
//! empty, a clock that jumped or was never set, a manifest that can't be read, an incarnation without
//! a sound snapshot of its own, and a time in which nothing was saved.

mod unneeded;

pub use unneeded::{Datum, GARBAGE_AFTER, garbage};

use crate::registry::{Ctrl, Phase};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};

/// Seconds of an hour of the clock, the finer of the two grids. The grids are fixed in unix time: with
/// one that moves along with `now`, each run would choose others and in the end none would be left.
const HOUR: u64 = 3_600;
/// Seconds of a day of the clock, the coarser of the two grids.
const DAY: u64 = 24 * HOUR;
/// Unix seconds of 2020-01-01. No snapshot of ours is older: what claims to be was taken by a machine
/// whose clock was not set yet, and may be the latest of all.
const CLOCK_SET: u64 = 1_577_836_800;

/// What is known of one manifest that exists. Ordered by its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// The manifest's key, below the cluster's prefix.
    pub key: String,
    /// The incarnation it was taken of.
    pub inc: u64,
    /// The key space's revision. Within one incarnation it says which snapshot is newer, not a clock.
    pub revision: u64,
    /// When it was taken: unix seconds, as the saver's clock said. `None`: unknown.
    pub taken: Option<u64>,
    /// It was found to be bad, or is taken to be: no restore chooses it unless an operator says so.
    pub suspect: bool,
    /// Keys of the data it can't be restored without: its own and, if it is incremental, its base and
    /// all packs between. No manifest needs another manifest.
    pub needs: Vec<String>,
}

/// How long snapshots are kept, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Seconds. All that are younger are kept.
    pub all: u64,
    /// Seconds. Of those that are younger the newest of each hour of the clock is kept.
    pub hourly_for: u64,
    /// Seconds. Of those that are younger the newest of each day (UTC) is kept, and every suspect.
    pub daily_for: u64,
    /// How many of the newest are kept however old they are, of each of the last two incarnations;
    /// at least one. Suspects don't count.
    pub least: usize,
    /// How many are kept at most; suspects don't count. Where there are more, those that only an hour
    /// or a day keeps are given up, the oldest first; nothing else is, so there may be more than that.
    pub most: Option<usize>,
}

impl Policy {
    /// The shipped defaults.
    pub const DEFAULT: Self =
        Self { all: HOUR, hourly_for: DAY, daily_for: 30 * DAY, least: 10, most: None };

    /// Whether its parts agree: each window reaches further back than the finer one before it, at
    /// least one snapshot is always kept, and the count limit leaves room for those. [`judge`] is safe
    /// with any policy; one that doesn't agree is not what somebody meant.
    pub const fn is_consistent(&self) -> bool {
        let room = match self.most {
            Some(most) => most >= self.least,
            None => true,
        };
        self.all <= self.hourly_for && self.hourly_for <= self.daily_for && self.least >= 1 && room
    }
}

const _: () = assert!(Policy::DEFAULT.is_consistent());

/// Whether anything may be deleted by these records: not while an attempt or a restore is under way, or is
/// asked for, since it may come to refer to any snapshot. To be asked of the records that are judged by,
/// which are read after everything was listed.
pub fn may_begin(ctrl: &Ctrl) -> bool {
    ctrl.phase == Phase::Idle && ctrl.request.is_none()
}

/// What the records refer to. It must be read after the manifests were listed: what a restore chose
/// meanwhile is then in here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Protected {
    /// The present incarnation.
    pub inc: u64,
    /// Keys of manifests or data, below the cluster's prefix, that `ctrl`, its plan, source, fallbacks
    /// and request, votes or salvages name.
    pub keys: BTreeSet<String>,
    /// Key of the base, its manifest or its data, of the chain that is being extended. The next link
    /// has no manifest yet, and will need all before it.
    pub chain: Option<String>,
}

/// What shall become of one manifest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Judged {
    /// The manifest's key.
    pub key: String,
    /// What shall become of it.
    pub verdict: Verdict,
}

/// Kept or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It stays, and why: the strongest reason.
    Keep(Why),
    /// It may be deleted.
    Drop,
}

/// Why a manifest stays, the strongest reason first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// Of a later incarnation than ours.
    NotOurs,
    /// The records refer to it or to data it needs.
    Referred,
    /// Of the chain that is being extended.
    Chain,
    /// Among the newest of the present incarnation.
    Least,
    /// Among the newest of the incarnation before.
    Incarnation,
    /// The present incarnation has none to restore from.
    NothingBetter,
    /// Its age is unknown.
    Unknown,
    /// Young.
    Young,
    /// Suspect, and not yet old.
    Suspect,
    /// The newest of its hour.
    Hourly,
    /// The newest of its day.
    Daily,
}

impl Why {
    /// The reason in a sentence, for the operator.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotOurs => "it belongs to a later incarnation than the one we know",
            Self::Referred => "the records refer to it or to data that it needs",
            Self::Chain => "it belongs to the chain that is being extended",
            Self::Least => "it is among the newest of the present incarnation",
            Self::Incarnation => "it is among the newest of the incarnation before",
            Self::NothingBetter => "the present incarnation has no sound snapshot yet",
            Self::Unknown => "its age is unknown: it has no time, or one that can't be true",
            Self::Young => "it is young",
            Self::Suspect => "it is suspect, and an operator may still want it",
            Self::Hourly => "it is the newest of its hour",
            Self::Daily => "it is the newest of its day",
        }
    }

    /// Whether the count limit may give it up. It may not touch what is young: a restore or an
    /// operator may be about to name it.
    const fn yields_to_the_count(self) -> bool {
        match self {
            Self::Hourly | Self::Daily => true,
            Self::NotOurs | Self::Referred | Self::Chain | Self::Least | Self::Incarnation => false,
            Self::NothingBetter | Self::Unknown | Self::Young | Self::Suspect => false,
        }
    }
}

/// Says of each manifest whether it stays, in the order of the keys. `now` is unix seconds.
///
/// What it keeps it keeps again: asked about those alone, it drops nothing more.
pub fn judge(entries: &[Entry], now: u64, policy: &Policy, protected: &Protected) -> Vec<Judged> {
    let mut entries: Vec<&Entry> = entries.iter().collect();
    entries.sort();
    // one that is listed twice must not count twice among the newest
    entries.dedup_by(|one, other| one.key == other.key);
    let scene = Scene::of(&entries, now, policy, protected);
    let mut verdicts: Vec<Verdict> = entries.iter().map(|entry| scene.verdict(entry)).collect();
    if let Some(most) = policy.most {
        give_up(&entries, &mut verdicts, most.max(policy.least));
    }
    let judged = |(entry, verdict): (&&Entry, Verdict)| Judged { key: entry.key.clone(), verdict };
    entries.iter().zip(verdicts).map(judged).collect()
}

/// Gives up the oldest of those that only an hour or a day keeps, until at most `most` that are not
/// suspect are left. Old by incarnation and revision: no clock can make it choose the wrong end.
fn give_up(entries: &[&Entry], verdicts: &mut [Verdict], most: usize) {
    let counts = |index: &usize| match verdicts[*index] {
        Verdict::Keep(Why::NotOurs) | Verdict::Drop => false,
        Verdict::Keep(_) => !entries[*index].suspect,
    };
    let mut kept: Vec<usize> = (0..entries.len()).filter(counts).collect();
    let excess = kept.len().saturating_sub(most);
    kept.retain(|index| match verdicts[*index] {
        Verdict::Keep(why) => why.yields_to_the_count(),
        Verdict::Drop => false,
    });
    kept.sort_by_key(|index| (entries[*index].inc, rank(entries[*index])));
    for index in kept.into_iter().take(excess) {
        verdicts[index] = Verdict::Drop;
    }
}

/// Which of two of one incarnation is newer. An idle cluster has many of one revision: there the time
/// decides, and then the key, so that no two are equal.
fn rank(entry: &Entry) -> (u64, Option<u64>, &str) {
    (entry.revision, entry.taken, &entry.key)
}

/// What a verdict depends on beside the entry itself.
struct Scene<'a> {
    policy: &'a Policy,
    protected: &'a Protected,
    now: u64,
    /// Ages are counted up to here: the latest sound snapshot of the present incarnation. Where
    /// nothing is saved, nothing grows old; and a jump of `now` alone ages nothing.
    latest: u64,
    /// The present incarnation has a snapshot that is not suspect.
    has_sound: bool,
    /// Base of the chain being extended: what it is called, and the data it needs.
    chain: BTreeSet<&'a str>,
    least: BTreeSet<&'a str>,
    hourly: BTreeSet<&'a str>,
    daily: BTreeSet<&'a str>,
}

impl<'a> Scene<'a> {
    fn of(entries: &[&'a Entry], now: u64, policy: &'a Policy, protected: &'a Protected) -> Self {
        let inc = protected.inc;
        let is_sound = |entry: &&&Entry| !entry.suspect && entry.inc <= inc;
        let sound: Vec<&Entry> = entries.iter().filter(is_sound).copied().collect();
        let present: Vec<&Entry> = sound.iter().filter(|entry| entry.inc == inc).copied().collect();
        let latest = present.iter().filter_map(|entry| known(entry, now)).max();
        // One that was never opened left none: then the one before is the last that did.
        let before = sound.iter().map(|entry| entry.inc).filter(|one| *one < inc).max();
        let mut least = newest(&present, policy.least);
        let of_before = |entry: &&&Entry| Some(entry.inc) == before;
        let earlier: Vec<&Entry> = sound.iter().filter(of_before).copied().collect();
        least.append(&mut newest(&earlier, policy.least));
        Self {
            policy,
            protected,
            now,
            latest: latest.unwrap_or(0),
            has_sound: !present.is_empty(),
            chain: chain(entries, protected),
            least,
            hourly: newest_of_each(&sound, HOUR, now),
            daily: newest_of_each(&sound, DAY, now),
        }
    }

    fn verdict(&self, entry: &Entry) -> Verdict {
        let why = self.whatever_its_age(entry).or_else(|| self.by_age(entry));
        why.map_or(Verdict::Drop, Verdict::Keep)
    }

    fn whatever_its_age(&self, entry: &Entry) -> Option<Why> {
        let keys = &self.protected.keys;
        if entry.inc > self.protected.inc {
            return Some(Why::NotOurs);
        }
        if keys.contains(&entry.key) || entry.needs.iter().any(|need| keys.contains(need)) {
            return Some(Why::Referred);
        }
        let in_chain = |key: &String| self.chain.contains(key.as_str());
        if in_chain(&entry.key) || entry.needs.iter().any(in_chain) {
            return Some(Why::Chain);
        }
        if self.least.contains(entry.key.as_str()) {
            let is_present = entry.inc == self.protected.inc;
            return Some(if is_present { Why::Least } else { Why::Incarnation });
        }
        (!self.has_sound).then_some(Why::NothingBetter)
    }

    fn by_age(&self, entry: &Entry) -> Option<Why> {
        let Some(taken) = known(entry, self.now) else { return Some(Why::Unknown) };
        let age = self.latest.saturating_sub(taken);
        let key = entry.key.as_str();
        if age < self.policy.all {
            Some(Why::Young)
        } else if entry.suspect {
            (age < self.policy.daily_for).then_some(Why::Suspect)
        } else if age < self.policy.hourly_for && self.hourly.contains(key) {
            Some(Why::Hourly)
        } else if age < self.policy.daily_for && self.daily.contains(key) {
            Some(Why::Daily)
        } else {
            None
        }
    }
}

/// When it was taken, if that can be true. In the future, or before there was a clock, it can't: a
/// clock that jumped is no reason to delete.
fn known(entry: &Entry, now: u64) -> Option<u64> {
    entry.taken.filter(|taken| (CLOCK_SET..=now).contains(taken))
}

/// The names of the base of the chain being extended. All that need it stay: the next link may follow
/// any of them, and a link's manifest is small beside the data, which the last link needs anyway.
fn chain<'a>(entries: &[&'a Entry], protected: &'a Protected) -> BTreeSet<&'a str> {
    let Some(base) = &protected.chain else { return BTreeSet::new() };
    let needs = entries.iter().filter(|entry| entry.key == *base).flat_map(|entry| &entry.needs);
    needs.map(String::as_str).chain([base.as_str()]).collect()
}

/// The newest `count` of one incarnation's sound entries; one at least.
fn newest<'a>(sound: &[&'a Entry], count: usize) -> BTreeSet<&'a str> {
    let mut sound = sound.to_vec();
    sound.sort_by(|one, other| rank(other).cmp(&rank(one)));
    sound.into_iter().take(count.max(1)).map(|entry| entry.key.as_str()).collect()
}

/// The newest of each incarnation in each `seconds` of the clock.
fn newest_of_each<'a>(sound: &[&'a Entry], seconds: u64, now: u64) -> BTreeSet<&'a str> {
    let mut chosen: BTreeMap<(u64, u64), &Entry> = BTreeMap::new();
    for entry in sound {
        let Some(taken) = known(entry, now) else { continue };
        let best = chosen.entry((entry.inc, taken / seconds)).or_insert(entry);
        if rank(best) < rank(entry) {
            *best = entry;
        }
    }
    chosen.into_values().map(|entry| entry.key.as_str()).collect()
}
