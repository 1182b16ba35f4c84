//! **etcd** — members with a log each, and raft as far as it matters here: who has persisted what,
//! which acknowledgements are on their way, and what a leader may count as committed when.
//!
//! Comes in: what the explorer lets happen to running members. Goes out: logs, and what a look at
//! a member shows. An acknowledgement that was sent counts whenever its leader gets round to it,
//! also when its sender was stopped long ago (protocol.md 1.4, formulation (ii)).

use super::machine::Around;
use protocol::{
    cluster::{ClusterId, MemberId, quorum},
    observation::{Check, LogSummary, Status},
};

/// The index of what founds a log; entries of the model follow it.
const FOUNDED: u64 = 1;

/// An entry of a log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Entry {
    /// A client's write, by its number.
    Put(u8),
    /// The voters from here on.
    Voters(Vec<MemberId>),
    /// A learner is added.
    Learner(MemberId),
    /// A learner is removed.
    Gone(MemberId),
    /// A learner says its name: it was started once.
    Started(MemberId),
}

/// One member's data.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Member {
    pub(super) inc: u64,
    pub(super) cluster: ClusterId,
    pub(super) id: MemberId,
    /// The voters it was founded with.
    pub(super) founders: Vec<MemberId>,
    /// Writes it was founded with, a bit each, and their revision.
    pub(super) base: u8,
    pub(super) revision: u64,
    /// Terms and entries.
    pub(super) log: Vec<(u8, Entry)>,
    /// How many of them it knows to be committed.
    pub(super) commit: u8,
    /// The highest term it has heard of.
    pub(super) term: u8,
}

/// A member's process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Run {
    pub(super) quarantined: bool,
    /// It takes itself for the leader.
    pub(super) leads: Option<Leads>,
}

/// What a leader knows, and forgets when it ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Leads {
    pub(super) term: u8,
    /// Acknowledgements sent to it: who has how much of its log.
    pub(super) acks: Vec<(MemberId, u8)>,
}

impl Run {
    pub(super) const fn new(quarantined: bool) -> Self {
        Self { quarantined, leads: None }
    }
}

impl Member {
    fn index(&self, entries: u8) -> u64 {
        FOUNDED + u64::from(entries)
    }

    /// Length of the log.
    pub(super) fn len(&self) -> u8 {
        u8::try_from(self.log.len()).expect("logs are short")
    }

    /// Term of the last entry and how many there are: what an election compares.
    pub(super) fn last(&self) -> (u8, u8) {
        (self.log.last().map_or(0, |(term, _)| *term), self.len())
    }

    /// The voters after the first `entries` of the log.
    pub(super) fn voters_at(&self, entries: u8) -> &[MemberId] {
        let known = self.log.iter().take(usize::from(entries)).rev();
        let changed = known.filter_map(|(_, entry)| match entry {
            Entry::Voters(voters) => Some(voters),
            Entry::Put(_) | Entry::Learner(_) | Entry::Gone(_) | Entry::Started(_) => None,
        });
        changed.into_iter().next().unwrap_or(&self.founders)
    }

    /// The configuration it goes by.
    pub(super) fn in_force(&self) -> &[MemberId] {
        self.voters_at(self.commit)
    }

    /// What a reader of its log reports (protocol.md 1.4, "Which configurations of a log may be
    /// active").
    pub(super) fn summary(&self) -> LogSummary {
        let mut configs = vec![self.in_force().to_vec()];
        let mut places = vec![self.index(self.commit)];
        let changes: Vec<u8> = (0..self.len())
            .filter(|at| {
                let entry = &self.log[usize::from(*at)].1;
                matches!(entry, Entry::Voters(_) | Entry::Learner(_) | Entry::Gone(_))
            })
            .collect();
        let applied = changes.iter().rev().find(|at| **at < self.commit);
        configs.extend(applied.map(|at| self.voters_at(*at).to_vec()));
        places.extend(applied.map(|at| self.index(*at + 1)));
        let later = changes.iter().filter(|at| **at >= self.commit);
        configs.extend(later.clone().map(|at| self.voters_at(*at + 1).to_vec()));
        places.extend(later.map(|at| self.index(*at + 1)));
        LogSummary {
            last_term: u64::from(self.last().0) + 1,
            last_index: self.index(self.len()),
            commit: self.index(self.commit),
            in_force: self.in_force().to_vec(),
            configs,
            places,
            settled: true,
        }
    }

    /// Writes in the first `entries` of its log and in what it was founded with, a bit each.
    pub(super) fn content(&self, entries: u8) -> u8 {
        self.log.iter().take(usize::from(entries)).fold(
            self.base,
            |content, (_, entry)| match entry {
                Entry::Put(number) => content | 1 << number,
                Entry::Voters(_) | Entry::Learner(_) | Entry::Gone(_) | Entry::Started(_) => {
                    content
                }
            },
        )
    }

    /// The revision of its first `entries`.
    pub(super) fn revision_at(&self, entries: u8) -> u64 {
        let new = (self.content(entries) & !self.base).count_ones();
        self.revision + u64::from(new)
    }

    /// How much of it is in a snapshot: what it knows to be committed.
    pub(super) fn applied(&self) -> u64 {
        self.index(self.commit)
    }

    pub(super) fn status(&self, around: Around, check_at: Option<u64>) -> Status {
        let content = self.content(0);
        let check = check_at.filter(|at| *at == self.revision).map(|revision| Check {
            revision,
            hash_kv: u32::from(content) + 1,
            live_keys: u64::from(content.count_ones()),
        });
        Status {
            cluster_id: self.cluster,
            member_id: self.id,
            leader: self.in_force().first().copied().filter(|_| around.quorum),
            term: 1,
            applied: self.applied(),
            revision: self.revision_at(self.commit),
            linearizable: around.quorum && self.in_force().contains(&self.id),
            learner: !self.in_force().contains(&self.id),
            alarms: Vec::new(),
            version: "3.5.30".to_owned(),
            check,
        }
    }

    /// Whether an entry that was committed as the `at`-th in `term` is in this log.
    pub(super) fn holds(&self, at: u8, entry: &(u8, Entry)) -> bool {
        self.log.get(usize::from(at)).is_some_and(|mine| mine.1 == entry.1)
    }

    /// A follower takes the leader's log over.
    pub(super) fn follow(&mut self, leader: &Self, term: u8) {
        self.log = leader.log.clone();
        self.commit = self.commit.max(leader.commit);
        self.term = term;
    }
}

impl Leads {
    /// How many entries of its log a leader may count as committed: `mine` it has itself, and only
    /// an entry of its own term is ever counted.
    pub(super) fn committed(&self, leader: &Member) -> u8 {
        let voters = leader.in_force();
        let has = |id: &MemberId, entries| {
            *id == leader.id || self.acks.iter().any(|(from, has)| from == id && *has >= entries)
        };
        let counted = |entries: &u8| {
            let held = voters.iter().filter(|id| has(id, *entries)).count();
            held >= quorum(voters.len()) && leader.log[usize::from(*entries) - 1].0 == self.term
        };
        (leader.commit + 1..=leader.len()).rev().find(counted).unwrap_or(leader.commit)
    }

    /// An acknowledgement was sent.
    pub(super) fn acknowledge(&mut self, from: MemberId, entries: u8) {
        self.acks.retain(|(id, _)| *id != from);
        self.acks.push((from, entries));
        self.acks.sort_unstable();
    }
}
