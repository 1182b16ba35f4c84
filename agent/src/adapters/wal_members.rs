//! **wal_members** — which configurations a log shows that may be active (protocol.md 1.4).
//!
//! In: the membership changes of a log, the voters at its snapshot, its commit index. Out: sorted
//! sets of voters. Pure. Taking every configuration in a log literally would block every legitimate
//! restore: a fresh log of three holds {c}, {c,a} and {c,a,b}, and the long dead stay in logs.
//!
//! May be active: the one after the last change that is known to be committed; the one just before
//! it, unless that change bootstrapped or restored the cluster (nobody ever ran the one before);
//! and the one after each later change. Learners never count. Each comes with the highest index at
//! which it may stand, and all with whether the first two are both told for sure: where the last
//! known change is older than the log, what came before it is not.
//!
//! Where the log doesn't tell, the answer errs towards one configuration too many: that can delay
//! a restore, never make one unsafe. (One such case: etcd may refuse a logged change when it applies
//! it, as a second add of one peer URL; the log doesn't say so.)

use super::protobuf::{Fields, Malformed, Value, numbers};
use std::collections::{BTreeMap, BTreeSet};

/// What one change does to one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Becomes a voter, new or promoted.
    Vote(u64),
    /// Becomes a learner. Never demotes: etcd refuses that.
    Learn(u64),
    /// Leaves.
    Leave(u64),
}

/// One logged change of membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) index: u64,
    pub(super) term: u64,
    /// Usually one act; empty for a change of URLs only.
    pub(super) acts: Vec<Act>,
}

/// `raftpb.ConfState`, the voters at a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ConfState {
    pub(super) voters: Vec<u64>,
    /// The other half of a joint configuration; etcd never makes one.
    pub(super) outgoing: Vec<u64>,
}

impl ConfState {
    /// voters = 1, learners = 2, voters_outgoing = 3, learners_next = 4, auto_leave = 5.
    pub(super) fn parse(message: &[u8]) -> Result<Self, Malformed> {
        let mut state = Self::default();
        for field in Fields::of(message) {
            match field? {
                (1, value) => numbers(value, &mut state.voters)?,
                (3, value) => numbers(value, &mut state.outgoing)?,
                (_, Value::Number(_) | Value::Bytes(_)) => {}
            }
        }
        Ok(state)
    }
}

/// `raftpb.ConfChange`: id = 1, type = 2, node_id = 3, context = 4.
pub(super) fn parse_v1(message: &[u8]) -> Result<Vec<Act>, Malformed> {
    act(message, 2, 3).map(|act| act.into_iter().collect())
}

/// `raftpb.ConfChangeV2`: transition = 1, changes = 2 (type = 1, node_id = 2), context = 3.
pub(super) fn parse_v2(message: &[u8]) -> Result<Vec<Act>, Malformed> {
    let mut acts = Vec::new();
    for field in Fields::of(message) {
        match field? {
            (2, Value::Bytes(single)) => acts.extend(act(single, 1, 2)?),
            (_, Value::Number(_) | Value::Bytes(_)) => {}
        }
    }
    Ok(acts)
}

/// One change of one node: 0 adds a voter, 1 removes, 2 updates URLs, 3 adds a learner. Node 0 is
/// raft's "nobody".
fn act(message: &[u8], type_field: u64, node_field: u64) -> Result<Option<Act>, Malformed> {
    let (mut kind, mut node) = (0, 0);
    for field in Fields::of(message) {
        match field? {
            (field, Value::Number(number)) if field == type_field => kind = number,
            (field, Value::Number(number)) if field == node_field => node = number,
            (_, Value::Number(_) | Value::Bytes(_)) => {}
        }
    }
    match kind {
        _ if node == 0 => Ok(None),
        0 => Ok(Some(Act::Vote(node))),
        1 => Ok(Some(Act::Leave(node))),
        2 => Ok(None),
        3 => Ok(Some(Act::Learn(node))),
        _ => Err(Malformed),
    }
}

/// How many entries at the very beginning of the log founded the cluster: etcd writes one
/// "add node" per member at index 1..n in term 1, at bootstrap and at restore; the first leader
/// has term 2.
pub(super) fn founding(changes: &[Change]) -> u64 {
    let founds = |(at, change): &(usize, &Change)| {
        change.index == *at as u64 + 1
            && change.term == 1
            && matches!(change.acts.as_slice(), [Act::Vote(_)])
    };
    changes.iter().enumerate().take_while(founds).count() as u64
}

/// The highest index that a record can hold.
const NEVER_OVER: u64 = i64::MAX as u64;

/// What a log shows of configurations that may be active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Active {
    /// Sorted voters, each with the highest index at which they may stand.
    pub(super) configs: Vec<(Vec<u64>, u64)>,
    /// The last that is known to be committed and the one before it are both told.
    pub(super) settled: bool,
}

/// The configurations that may be active. `changes` are all that are left in the log, in order,
/// those the snapshot at `base_index` contains included; `commit` is at least `base_index`.
pub(super) fn may_be_active(
    changes: &[Change],
    base: &ConfState,
    base_index: u64,
    commit: u64,
) -> Active {
    let founding = founding(changes);
    let commit = commit.max(founding); // a founding is committed by being written
    let known = changes.partition_point(|change| change.index <= commit);
    let mut voters: BTreeSet<u64> = base.voters.iter().copied().collect();
    let mut place = base_index;
    let mut before = None;
    let mut active = Vec::new();
    for (at, change) in changes.iter().enumerate() {
        let earlier = &changes[..at];
        let is_last_known = at + 1 == known && change.index > founding;
        if change.index <= base_index {
            if is_last_known {
                before = Some((undone(&voters, change, earlier), change.index));
            }
            continue;
        }
        if is_last_known {
            before = Some((voters.clone(), change.index));
        }
        if at >= known {
            active.push((voters.clone(), place));
        }
        apply(&mut voters, change);
        place = change.index;
    }
    active.push((voters, place));
    active.extend(before);
    active.push((base.outgoing.iter().copied().collect(), NEVER_OVER));
    let mut places: BTreeMap<Vec<u64>, u64> = BTreeMap::new();
    for (set, place) in active.into_iter().filter(|(set, _)| !set.is_empty()) {
        let highest = places.entry(set.into_iter().collect()).or_default();
        *highest = place.max(*highest);
    }
    let settled = known > 0 && base.outgoing.is_empty();
    Active { configs: places.into_iter().collect(), settled }
}

/// The configuration in force at `commit`: the one that the member itself goes by.
pub(super) fn in_force(
    changes: &[Change],
    base: &ConfState,
    base_index: u64,
    commit: u64,
) -> Vec<u64> {
    let commit = commit.max(founding(changes));
    let mut voters: BTreeSet<u64> = base.voters.iter().copied().collect();
    let known = changes.iter().filter(|change| (base_index + 1..=commit).contains(&change.index));
    known.for_each(|change| apply(&mut voters, change));
    voters.into_iter().collect()
}

fn apply(voters: &mut BTreeSet<u64>, change: &Change) {
    for act in &change.acts {
        match act {
            Act::Vote(node) => _ = voters.insert(*node),
            Act::Learn(_) => {}
            Act::Leave(node) => _ = voters.remove(node),
        }
    }
}

/// The voters before `change`, from those after all changes the snapshot contains; `change` is the
/// last of these, `earlier` are those before it.
fn undone(after: &BTreeSet<u64>, change: &Change, earlier: &[Change]) -> BTreeSet<u64> {
    let mut voters = after.clone();
    for act in change.acts.iter().rev() {
        match act {
            Act::Vote(node) if voted(*node, earlier) != Some(true) => _ = voters.remove(node),
            Act::Leave(node) if voted(*node, earlier) != Some(false) => _ = voters.insert(*node),
            Act::Vote(_) | Act::Leave(_) | Act::Learn(_) => {}
        }
    }
    voters
}

/// Whether `node` was a voter after `changes`; `None`: they don't tell.
fn voted(node: u64, changes: &[Change]) -> Option<bool> {
    changes.iter().rev().flat_map(|change| change.acts.iter().rev()).find_map(|act| match act {
        Act::Vote(of) if *of == node => Some(true),
        Act::Learn(of) | Act::Leave(of) if *of == node => Some(false),
        Act::Vote(_) | Act::Learn(_) | Act::Leave(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(index: u64, term: u64, act: Act) -> Change {
        Change { index, term, acts: vec![act] }
    }

    fn founded_by_three() -> Vec<Change> {
        (1..=3).map(|node| change(node, 1, Act::Vote(node))).collect()
    }

    fn none() -> ConfState {
        ConfState::default()
    }

    fn of(voters: &[u64]) -> ConfState {
        ConfState { voters: voters.to_vec(), outgoing: Vec::new() }
    }

    fn sets(changes: &[Change], base: &ConfState, base_index: u64, commit: u64) -> Vec<Vec<u64>> {
        let active = may_be_active(changes, base, base_index, commit);
        active.configs.into_iter().map(|(set, _)| set).collect()
    }

    #[test]
    fn each_configuration_says_how_high_it_may_stand() {
        let mut changes = founded_by_three();
        changes.push(change(10, 2, Act::Leave(1)));
        changes.push(change(20, 2, Act::Vote(4)));
        let active = may_be_active(&changes, &none(), 0, 15);
        let told = [(vec![1, 2, 3], 10), (vec![2, 3], 10), (vec![2, 3, 4], 20)];
        assert_eq!(active, Active { configs: told.to_vec(), settled: true });
        let kept = may_be_active(&changes[4..], &of(&[2, 3]), 15, 25);
        let told = [(vec![2, 3], 20), (vec![2, 3, 4], 20)];
        assert_eq!(kept, Active { configs: told.to_vec(), settled: true });
    }

    #[test]
    fn a_log_that_begins_after_the_last_change_does_not_tell_what_was_before_it() {
        let active = may_be_active(&[], &of(&[1, 2, 3]), 22, 25);
        assert_eq!(active, Active { configs: vec![(vec![1, 2, 3], 22)], settled: false });
        let later = [change(30, 2, Act::Vote(4))];
        assert!(!may_be_active(&later, &of(&[1, 2, 3]), 22, 25).settled, "not known committed");
        assert!(may_be_active(&later, &of(&[1, 2, 3]), 22, 30).settled);
        let founded = may_be_active(&founded_by_three(), &none(), 0, 0);
        assert!(founded.settled, "nothing was before the founding");
    }

    #[test]
    fn a_founding_is_one_configuration_even_if_its_commit_was_not_written() {
        for commit in 0..9 {
            let active = sets(&founded_by_three(), &none(), 0, commit);
            assert_eq!(active, [[1, 2, 3]], "{commit}");
        }
    }

    #[test]
    fn a_learner_does_not_count_until_it_is_promoted() {
        let mut changes = founded_by_three();
        changes.push(change(10, 2, Act::Learn(4)));
        assert_eq!(sets(&changes, &none(), 0, 10), [[1, 2, 3]]);
        changes.push(change(20, 2, Act::Vote(4)));
        let both: [&[u64]; 2] = [&[1, 2, 3], &[1, 2, 3, 4]];
        assert_eq!(in_force(&changes, &none(), 0, 15), [1, 2, 3]);
        assert_ne!(in_force(&changes, &none(), 0, 20), [1, 2, 3], "known to be committed");
        assert_eq!(sets(&changes, &none(), 0, 20), both);
        assert_eq!(sets(&changes, &none(), 0, 15), both, "logged, not known committed");
    }

    #[test]
    fn older_configurations_are_dead() {
        let mut changes = founded_by_three();
        changes.push(change(10, 2, Act::Leave(1)));
        changes.push(change(20, 2, Act::Learn(4)));
        changes.push(change(30, 2, Act::Vote(4)));
        let both: [&[u64]; 2] = [&[2, 3], &[2, 3, 4]];
        assert_eq!(sets(&changes, &none(), 0, 40), both);
        changes.push(change(50, 2, Act::Leave(2)));
        let all: [&[u64]; 3] = [&[2, 3], &[2, 3, 4], &[3, 4]];
        assert_eq!(sets(&changes, &none(), 0, 40), all);
    }

    #[test]
    fn a_snapshot_after_the_last_change_hides_nothing_that_the_log_still_tells() {
        let mut changes = founded_by_three();
        changes.push(change(10, 2, Act::Vote(4)));
        let both: [&[u64]; 2] = [&[1, 2, 3], &[1, 2, 3, 4]];
        assert_eq!(sets(&changes, &of(&[1, 2, 3, 4]), 12, 15), both);
        changes.push(change(20, 2, Act::Leave(1)));
        let next: [&[u64]; 2] = [&[1, 2, 3, 4], &[2, 3, 4]];
        assert_eq!(sets(&changes, &of(&[2, 3, 4]), 22, 25), next);
    }

    #[test]
    fn one_that_left_before_the_log_begins_is_taken_for_a_voter() {
        let left = [change(20, 2, Act::Leave(9))];
        let both: [&[u64]; 2] = [&[1, 2], &[1, 2, 9]];
        assert_eq!(sets(&left, &of(&[1, 2]), 22, 25), both);
        let learner = [change(19, 2, Act::Learn(9)), change(20, 2, Act::Leave(9))];
        assert_eq!(sets(&learner, &of(&[1, 2]), 22, 25), [[1, 2]]);
    }

    #[test]
    fn a_restored_log_is_one_configuration() {
        let active = sets(&founded_by_three(), &of(&[1, 2, 3]), 3, 3);
        assert_eq!(active, [[1, 2, 3]]);
    }
}
