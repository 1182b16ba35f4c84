//! What pruning keeps, rule by rule: it must never take what a restore may need (retention.rs). Over
//! random buckets: retention_random.rs.

use protocol::registry::{Ctrl, Phase, Request};
use protocol::retention::{
    Datum, Entry, GARBAGE_AFTER, Judged, Policy, Protected, Verdict, Why, garbage, judge, may_begin,
};
use std::collections::BTreeSet;

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
/// A midnight of 2033.
const NOW: u64 = 2_000_073_600;
const INC: u64 = 7;
/// Keeps one and then goes by age alone.
const ONE: Policy = Policy { least: 1, ..Policy::DEFAULT };

fn entry(inc: u64, revision: u64, age: u64) -> Entry {
    let key = format!("inc/{inc}/snap/{revision:020}-a.json");
    let needs = vec![format!("inc/{inc}/data/{revision}.db")];
    Entry { key, inc, revision, taken: Some(NOW - age), suspect: false, needs }
}

fn suspect(entry: Entry) -> Entry {
    Entry { suspect: true, ..entry }
}

/// A sound snapshot of this moment, so that time goes on for the others.
fn latest() -> Entry {
    entry(INC, 1_000_000, 0)
}

fn protected(keys: &[&str]) -> Protected {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    Protected { inc: INC, keys, chain: None }
}

fn verdict(judged: &[Judged], entry: &Entry) -> Verdict {
    let found = judged.iter().find(|judged| judged.key == entry.key);
    found.expect("each is judged").verdict
}

/// What becomes of `entries` where the latest snapshot is of this moment.
fn verdicts(entries: &[Entry], policy: &Policy, protected: &Protected) -> Vec<Verdict> {
    let mut all = entries.to_vec();
    all.push(latest());
    let judged = judge(&all, NOW, policy, protected);
    entries.iter().map(|entry| verdict(&judged, entry)).collect()
}

fn alone(entry: Entry, policy: &Policy) -> Verdict {
    verdicts(&[entry], policy, &protected(&[]))[0]
}

fn datum(key: &str) -> Datum {
    Datum { key: key.to_owned(), age: Some(GARBAGE_AFTER + 1) }
}

fn base() -> Entry {
    entry(INC, 10, 90 * DAY)
}

/// A link of the chain on [`base`].
fn link(revision: u64) -> Entry {
    let mut link = entry(INC, revision, 90 * DAY);
    link.needs.extend(base().needs);
    link
}

#[test]
fn the_policy_that_ships_agrees_with_itself_and_others_may_not() {
    assert!(Policy::DEFAULT.is_consistent());
    assert!(Policy { most: Some(10), ..Policy::DEFAULT }.is_consistent());
    assert!(!Policy { most: Some(9), ..Policy::DEFAULT }.is_consistent());
    assert!(!Policy { least: 0, ..Policy::DEFAULT }.is_consistent());
    assert!(!Policy { all: 2 * DAY, ..Policy::DEFAULT }.is_consistent());
    assert!(!Policy { daily_for: HOUR, ..Policy::DEFAULT }.is_consistent());
}

#[test]
fn all_that_are_young_are_kept() {
    assert_eq!(alone(entry(INC, 1, HOUR - 1), &ONE), Verdict::Keep(Why::Young));
    let entries = [entry(INC - 1, 1, 9 * DAY), entry(INC - 2, 1, HOUR - 1)];
    assert_eq!(verdicts(&entries, &ONE, &protected(&[]))[1], Verdict::Keep(Why::Young));
}

#[test]
fn the_newest_of_each_hour_is_kept_for_a_day_and_of_each_day_for_a_month() {
    let of_the_hour = [entry(INC, 1, 5 * HOUR - 10), entry(INC, 2, 5 * HOUR - 20)];
    let kept = [Verdict::Drop, Verdict::Keep(Why::Hourly)];
    assert_eq!(verdicts(&of_the_hour, &ONE, &protected(&[])), kept);
    let of_the_day = [entry(INC, 1, 5 * DAY - 10), entry(INC, 2, 4 * DAY + 3 * HOUR)];
    let kept = [Verdict::Drop, Verdict::Keep(Why::Daily)];
    assert_eq!(verdicts(&of_the_day, &ONE, &protected(&[])), kept);
    assert_eq!(alone(entry(INC, 1, 30 * DAY - 1), &ONE), Verdict::Keep(Why::Daily));
    assert_eq!(alone(entry(INC, 1, 30 * DAY), &ONE), Verdict::Drop);
}

#[test]
fn each_incarnation_has_hours_and_days_of_its_own() {
    let entries = [
        entry(INC, 1, 5 * HOUR - 10),
        entry(INC - 1, 9, 5 * HOUR - 10),
        entry(INC - 2, 5, 5 * HOUR - 10),
    ];
    let hourly = Verdict::Keep(Why::Hourly);
    let kept = [hourly, Verdict::Keep(Why::Incarnation), hourly];
    assert_eq!(verdicts(&entries, &ONE, &protected(&[])), kept);
}

#[test]
fn what_an_hour_kept_a_day_finds_again_as_time_goes_on() {
    // one each ten minutes for forty days, pruned each hour
    let mut kept: Vec<Entry> = Vec::new();
    let begin = NOW - 40 * DAY;
    for step in 0..40 * 24 * 6 {
        let taken = begin + step * 600;
        kept.push(Entry { taken: Some(taken), ..entry(INC, step, 0) });
        if step % 6 == 0 {
            let judged = judge(&kept, taken, &Policy::DEFAULT, &protected(&[]));
            kept.retain(|entry| verdict(&judged, entry) != Verdict::Drop);
        }
    }
    let days: BTreeSet<u64> =
        kept.iter().filter_map(|entry| entry.taken).map(|t| t / DAY).collect();
    assert!(days.len() >= 30, "a snapshot of each of thirty days: {}", days.len());
    assert!(kept.len() < 75, "and not many more: {}", kept.len());
}

#[test]
fn the_newest_are_kept_however_old_and_whatever_the_policy_says() {
    let entries: Vec<Entry> = (1..=12).map(|revision| entry(INC, revision, 90 * DAY)).collect();
    let kept = verdicts(&entries, &Policy::DEFAULT, &protected(&[]));
    let old = [Verdict::Drop; 3];
    assert_eq!(kept[..3], old);
    assert_eq!(kept[3..], [Verdict::Keep(Why::Least); 9], "and the latest is the tenth");
    let nothing = Policy { all: 0, hourly_for: 0, daily_for: 0, least: 0, most: Some(0) };
    let judged = judge(&[latest()], NOW, &nothing, &protected(&[]));
    assert_eq!(verdict(&judged, &latest()), Verdict::Keep(Why::Least));
}

#[test]
fn the_revision_says_which_is_the_newest_and_no_clock() {
    let entries = [entry(INC, 1, 0), entry(INC, 2, 90 * DAY)];
    let judged = judge(&entries, NOW, &ONE, &protected(&[]));
    assert_eq!(verdict(&judged, &entries[1]), Verdict::Keep(Why::Least));
}

#[test]
fn a_listing_with_doubles_counts_each_once() {
    let two = Policy { least: 2, ..Policy::DEFAULT };
    let second = entry(INC, 1, 90 * DAY);
    let judged = judge(&[latest(), latest(), second.clone(), latest()], NOW, &two, &protected(&[]));
    assert_eq!(judged.len(), 2);
    assert_eq!(verdict(&judged, &second), Verdict::Keep(Why::Least));
}

#[test]
fn the_newest_of_the_incarnation_before_are_kept_and_older_ones_may_vanish_wholly() {
    let entries = [
        entry(INC - 1, 1, 90 * DAY),
        entry(INC - 1, 2, 90 * DAY),
        suspect(entry(INC - 1, 3, 90 * DAY)),
        entry(INC - 2, 9, 90 * DAY),
    ];
    let kept = [Verdict::Drop, Verdict::Keep(Why::Incarnation), Verdict::Drop, Verdict::Drop];
    assert_eq!(verdicts(&entries, &ONE, &protected(&[])), kept);
}

#[test]
fn an_incarnation_that_left_no_snapshot_does_not_count_as_the_one_before() {
    let entries = [suspect(entry(INC - 1, 2, 90 * DAY)), entry(INC - 3, 1, 90 * DAY)];
    let kept = verdicts(&entries, &ONE, &protected(&[]));
    assert_eq!(kept, [Verdict::Drop, Verdict::Keep(Why::Incarnation)]);
}

#[test]
fn suspects_take_no_place_and_are_kept_for_a_month_on_their_own() {
    let entries = [entry(INC, 1, 2 * DAY - 10), suspect(entry(INC, 2, 2 * DAY - 20))];
    let kept = [Verdict::Keep(Why::Daily), Verdict::Keep(Why::Suspect)];
    assert_eq!(verdicts(&entries, &ONE, &protected(&[])), kept);
    let later = suspect(entry(INC, 2_000_000, 30 * DAY));
    assert_eq!(alone(later, &ONE), Verdict::Drop, "it is the newest by revision, and is suspect");
}

#[test]
fn while_the_present_incarnation_has_nothing_sound_nothing_is_dropped() {
    let old =
        [entry(INC - 1, 1, 90 * DAY), entry(INC - 1, 2, 90 * DAY), entry(INC - 4, 1, 90 * DAY)];
    let mut entries = old.to_vec();
    entries.push(suspect(latest()));
    let judged = judge(&entries, NOW, &ONE, &protected(&[]));
    assert!(judged.iter().all(|judged| judged.verdict != Verdict::Drop));
    assert_eq!(verdict(&judged, &old[0]), Verdict::Keep(Why::NothingBetter));
    assert!(judge(&[], NOW, &ONE, &protected(&[])).is_empty());
}

#[test]
fn what_the_records_refer_to_is_kept_by_either_name() {
    let old = entry(INC - 3, 1, 90 * DAY);
    for name in [&old.key, &old.needs[0]] {
        let kept = verdicts(std::slice::from_ref(&old), &ONE, &protected(&[name]));
        assert_eq!(kept, [Verdict::Keep(Why::Referred)]);
    }
}

#[test]
fn the_chain_that_is_being_extended_is_kept_whichever_name_its_base_is_given() {
    let (base, link, other) = (base(), link(11), entry(INC, 12, 90 * DAY));
    for name in [&base.key, &base.needs[0]] {
        let protected = Protected { chain: Some(name.clone()), ..protected(&[]) };
        let kept = verdicts(&[base.clone(), link.clone(), other.clone()], &ONE, &protected);
        let chain = Verdict::Keep(Why::Chain);
        assert_eq!(kept, [chain, chain, Verdict::Drop]);
    }
    let bare = Entry { needs: Vec::new(), ..base };
    let protected = Protected { chain: Some(bare.key.clone()), ..protected(&[]) };
    assert_eq!(verdicts(&[bare], &ONE, &protected), [Verdict::Keep(Why::Chain)]);
}

#[test]
fn an_age_that_is_unknown_or_cannot_be_true_keeps_it() {
    let before = entry(INC - 1, 1, 0); // takes the place of the incarnation before
    for taken in [None, Some(NOW + 1), Some(0), Some(90 * DAY)] {
        for entry in [entry(INC, 1, 0), entry(INC - 5, 1, 0), suspect(entry(INC, 1, 0))] {
            let entries = [before.clone(), Entry { taken, ..entry }];
            let kept = verdicts(&entries, &ONE, &protected(&[]))[1];
            assert_eq!(kept, Verdict::Keep(Why::Unknown), "{taken:?}");
        }
    }
}

#[test]
fn where_nothing_is_saved_nothing_grows_old() {
    let entries = [entry(INC, 1, 20 * DAY), entry(INC, 2, DAY), entry(INC - 1, 1, 10 * DAY)];
    let at_once = judge(&entries, NOW, &ONE, &protected(&[]));
    let in_ten_years = judge(&entries, NOW + 3650 * DAY, &ONE, &protected(&[]));
    assert_eq!(at_once, in_ten_years, "a clock that jumped looks the same");
}

#[test]
fn a_later_incarnation_is_not_ours_to_judge() {
    let later = Entry { taken: Some(NOW - 90 * DAY), ..entry(INC + 1, 1, 0) };
    assert_eq!(alone(later, &ONE), Verdict::Keep(Why::NotOurs));
}

#[test]
fn the_count_limit_gives_up_the_oldest_of_an_hour_or_day_and_nothing_else() {
    let daily: Vec<Entry> = (2..20).map(|age| entry(INC, 100 - age, age * DAY)).collect();
    let mut entries = daily.clone();
    entries.extend((0..4).map(|age| entry(INC, 200 - age, 60 + age)));
    entries.push(suspect(entry(INC, 1, 29 * DAY)));
    let policy = Policy { most: Some(10), ..ONE };
    let kept = verdicts(&entries, &policy, &protected(&[]));
    assert_eq!(
        kept[..5],
        [Verdict::Keep(Why::Daily); 5],
        "with four young ones and the latest: ten"
    );
    assert_eq!(kept[5..18], [Verdict::Drop; 13]);
    assert_eq!(kept[18..22], [Verdict::Keep(Why::Young); 4]);
    assert_eq!(kept[22], Verdict::Keep(Why::Suspect), "it neither counts nor is counted out");
    let tight = verdicts(&entries, &Policy { most: Some(1), ..ONE }, &protected(&[]));
    assert_eq!(tight[18..22], [Verdict::Keep(Why::Young); 4], "the limit may be passed");
    let least = verdicts(&entries, &Policy { most: Some(1), least: 8, ..ONE }, &protected(&[]));
    let kept = least.iter().filter(|verdict| **verdict != Verdict::Drop).count();
    assert_eq!(kept, 8, "the suspect, and with the latest the eight that must be left");
    let before: Vec<Entry> =
        (2..20).map(|age| Entry { inc: INC - 2, ..entry(INC, 100 - age, age * DAY) }).collect();
    let policy = Policy { most: Some(1), least: 8, ..ONE };
    let mut all = before;
    all.push(entry(INC - 1, 1, 40 * DAY));
    let kept = verdicts(&all, &policy, &protected(&[]));
    let kept = kept.iter().filter(|verdict| **verdict != Verdict::Drop).count();
    assert_eq!(kept, 7, "with the latest eight, though the last two incarnations have but two");
}

#[test]
fn each_reason_is_a_sentence_of_its_own() {
    let all = [
        Why::NotOurs,
        Why::Referred,
        Why::Chain,
        Why::Least,
        Why::Incarnation,
        Why::NothingBetter,
        Why::Unknown,
        Why::Young,
        Why::Suspect,
        Why::Hourly,
        Why::Daily,
    ];
    let sentences: BTreeSet<&str> = all.iter().map(|why| why.reason()).collect();
    assert_eq!(sentences.len(), all.len());
}

#[test]
fn data_is_garbage_once_no_manifest_needs_it_and_a_day_has_passed() {
    let entries = [latest(), entry(INC + 1, 1, 0)];
    let data = [
        datum("inc/7/data/z.db"),
        datum("inc/5/data/a.db"),
        datum("inc/7/data/1000000.db"), // needed
        datum("inc/7/data/named.db"),
        datum("inc/7/data/base.db"),
        datum("inc/8/data/later.db"),
        datum("inc/7/plan/x.json"),
        datum("elsewhere/data/x"),
        Datum { key: "inc/7/data/new.db".into(), age: Some(GARBAGE_AFTER) },
        Datum { key: "inc/7/data/unknown.db".into(), age: None },
        datum("inc/7/data/z.db"),
    ];
    let ours = |keys: &[&str]| garbage(&data, &entries, &[], &[], &protected(keys));
    let all = ["inc/5/data/a.db", "inc/7/data/base.db", "inc/7/data/named.db", "inc/7/data/z.db"];
    assert_eq!(ours(&[]), all, "in the order of the keys, each once");
    assert_eq!(ours(&["inc/7/plan/x.json"]), all, "a plan needs no data beside what it names");
    assert_eq!(
        ours(&["inc/7/data/named.db"]),
        ["inc/5/data/a.db"],
        "named, and what stands before it in its chain is known to nobody"
    );
    let chain = Protected { chain: Some("inc/7/data/base.db".into()), ..protected(&[]) };
    assert_eq!(garbage(&data, &entries, &[], &[], &chain), ["inc/5/data/a.db"]);
}

#[test]
fn a_pack_in_the_middle_stays_while_the_last_of_its_chain_does() {
    let (mut last, middle) = (link(12), link(11));
    last.needs.extend(middle.needs.clone());
    let data: Vec<Datum> = last.needs.iter().map(|key| datum(key)).collect();
    let none: [String; 0] = [];
    assert_eq!(garbage(&data, &[last.clone()], &[], &[], &protected(&[])), none);
    assert_eq!(garbage(&data, &[latest(), base()], &[], &[], &protected(&[])).len(), 2);
}

#[test]
fn nothing_is_garbage_where_a_manifest_could_not_be_read() {
    let data = [datum("inc/5/data/a.db"), datum("inc/7/data/a.db")];
    let unread = |key: &str| garbage(&data, &[latest()], &[key.into()], &[], &protected(&[]));
    assert_eq!(unread("inc/7/snap/1-a.json"), ["inc/5/data/a.db"]);
    assert_eq!(unread("inc/5/snap/1-a.json"), ["inc/7/data/a.db"]);
    assert!(unread("who/knows").is_empty(), "it may be of any incarnation");
}

#[test]
fn a_listing_that_shows_too_little_makes_no_garbage() {
    let data = [datum("inc/5/data/a.db"), datum("inc/6/data/a.db"), datum("inc/7/data/a.db")];
    let none: [String; 0] = [];
    assert_eq!(garbage(&data, &[], &[], &[], &protected(&[])), none, "nothing there");
    assert_eq!(garbage(&data, &[suspect(latest())], &[], &[], &protected(&[])), none);
    let seen = garbage(&data, &[latest()], &[], &[], &protected(&[]));
    assert_eq!(seen, ["inc/5/data/a.db", "inc/7/data/a.db"], "no manifest of the one before");
    let judged = |verdict| Judged { key: entry(5, 1, 0).key, verdict };
    let kept = [judged(Verdict::Keep(Why::Daily))];
    let seen = garbage(&data, &[latest()], &[], &kept, &protected(&[]));
    assert_eq!(seen, ["inc/7/data/a.db"], "one that was kept is gone");
    let dropped = [judged(Verdict::Drop)];
    let seen = garbage(&data, &[latest()], &[], &dropped, &protected(&[]));
    assert_eq!(seen, ["inc/5/data/a.db", "inc/7/data/a.db"]);
    let seen = garbage(&data, &[latest()], &[], &[], &protected(&[&entry(5, 1, 0).key]));
    assert_eq!(seen, ["inc/7/data/a.db"], "one that the records name is not listed");
}

#[test]
fn nothing_begins_beside_a_recovery_or_a_wish_for_one() {
    let seated = Ctrl::seated("u".to_owned(), Vec::new());
    let idle = Ctrl { phase: Phase::Idle, ..seated };
    assert!(may_begin(&idle));
    for phase in Phase::ALL.iter().filter(|phase| **phase != Phase::Idle) {
        assert!(!may_begin(&Ctrl { phase: *phase, ..idle.clone() }), "{}", phase.name());
    }
    let text = String::new;
    let request = Request {
        rollback: true,
        source: None,
        scope: Vec::new(),
        by: text(),
        because: text(),
        attempt: None,
    };
    assert!(!may_begin(&Ctrl { request: Some(request), ..idle }));
}
