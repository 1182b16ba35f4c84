//! **etcd** — a member's durable half: its log, term and commit index, and what follows from them.
//!
//! Comes from whoever replicates entries ([`raft`](crate::simulate::raft)). Goes to looks, saves and
//! fences. What matters stays true: an entry is committed once a quorum of the configuration in
//! force has it durably, a configuration counts from its commit on, and a snapshot holds what the
//! member has applied, which may be less than its log (protocol.md 1.4, "Why (ii)").

use super::log::Log;
use protocol::{
    cluster::{ClusterId, MemberId, cluster_id, member_id},
    observation::{Check, LogSummary},
};
use std::{collections::BTreeMap, rc::Rc};

/// What an entry of the log does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A new leader's first.
    Blank,
    /// A client's write, by its number.
    Put(u64),
    /// The membership from its commit on.
    Members(Rc<Vec<Peer>>),
}

/// A member as the log names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// Its id.
    pub id: MemberId,
    /// Its peer URL.
    pub peer_url: String,
    /// Has no vote yet.
    pub learner: bool,
}

/// What a data dir's `member` holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Whose cluster it is.
    pub cluster: ClusterId,
    /// Its own id.
    pub id: MemberId,
    /// The revision it was restored at; 1 if it was born empty.
    pub base_revision: u64,
    /// The keys it was restored with, in the order of their writing.
    pub base: Rc<Vec<u64>>,
    /// A digest of those keys.
    pub base_sum: u64,
    /// What it was told since.
    pub log: Log,
    /// The highest term it has seen.
    pub term: u64,
    /// How much of the log it knows to be committed, and has applied.
    pub commit: usize,
}

impl Store {
    /// A member that starts a new cluster, from `name=url,...` and a token.
    pub fn founded(url: &str, initial: &str, token: &str) -> Self {
        let urls = initial.split(',').filter_map(|pair| Some(pair.split_once('=')?.1));
        let peers: Vec<Peer> = urls
            .map(|url| Peer { id: member_id(url, token), peer_url: url.to_owned(), learner: false })
            .collect();
        let cluster = cluster_id(peers.iter().map(|peer| peer.id));
        let mut log = Log::default();
        log.push(1, Entry::Members(Rc::new(peers)));
        Self {
            cluster,
            id: member_id(url, token),
            base_revision: 1,
            base: Rc::default(),
            base_sum: 0,
            log,
            term: 1,
            commit: 1, // etcd commits its bootstrap configuration at once
        }
    }

    /// The membership in force: the last that is known to be committed.
    pub fn peers(&self) -> Option<&Rc<Vec<Peer>>> {
        self.log.config(self.commit).map(|(_, peers)| peers)
    }

    /// The voters in force.
    pub fn voters(&self) -> Vec<MemberId> {
        self.peers().map(|peers| voters(peers)).unwrap_or_default()
    }

    /// Whether `id` is a voter in force.
    pub fn has_voter(&self, id: MemberId) -> bool {
        let mut peers = self.peers().into_iter().flat_map(|peers| peers.iter());
        peers.any(|peer| peer.id == id && !peer.learner)
    }

    /// Whether the membership in force leaves this member out.
    pub fn is_left_out(&self) -> bool {
        self.peers().is_some_and(|peers| peers.iter().all(|peer| peer.id != self.id))
    }

    /// Whether the membership in force gives this member a vote: etcd can't be forced into a new cluster
    /// on the data of one that has none (`removed all voters`).
    pub fn is_voter(&self) -> bool {
        self.peers()
            .is_none_or(|peers| peers.iter().any(|peer| peer.id == self.id && !peer.learner))
    }

    /// The writes it has applied, oldest first.
    pub fn keys(&self) -> Vec<u64> {
        self.keys_up_to(u64::MAX)
    }

    fn keys_up_to(&self, revision: u64) -> Vec<u64> {
        let count = usize::try_from(revision.saturating_sub(self.base_revision));
        let puts = self.log.writes(self.commit).take(count.unwrap_or(usize::MAX));
        self.base.iter().copied().chain(puts).collect()
    }

    /// A digest of the writes it has applied.
    pub fn sum(&self) -> u64 {
        self.base_sum ^ self.log.sum(self.commit)
    }

    /// The revision of what it has applied.
    pub fn revision(&self) -> u64 {
        self.base_revision + self.log.puts(self.commit)
    }

    /// What elections go by: term and index of its last entry.
    pub fn last(&self) -> (u64, usize) {
        (self.log.term(self.log.len()), self.log.len())
    }

    /// What our reader would say of it. Which configurations may be active: the one in force, the one
    /// just before it unless that came with the first, and each later one (protocol.md 1.4).
    pub fn summary(&self) -> LogSummary {
        let mut all: Vec<(usize, Vec<MemberId>)> =
            self.log.configs().map(|(index, peers)| (index, voters(peers))).collect();
        all.reverse();
        let in_force = all.iter().rposition(|(index, _)| *index <= self.commit).unwrap_or(0);
        let first = in_force.saturating_sub(1);
        let mut told: BTreeMap<Vec<MemberId>, u64> = BTreeMap::new();
        for (index, config) in all.iter().skip(first) {
            told.insert(config.clone(), *index as u64); // the highest of its places comes last
        }
        let (configs, places) = told.into_iter().unzip();
        LogSummary {
            last_term: self.last().0,
            last_index: self.log.len() as u64,
            commit: self.commit as u64,
            in_force: all.get(in_force).map(|(_, config)| config.clone()).unwrap_or_default(),
            configs,
            places,
            settled: all.get(in_force).is_some_and(|(index, _)| *index <= self.commit),
        }
    }

    /// HashKV and live keys at `revision`, if this member has it.
    pub fn check(&self, revision: u64) -> Option<Check> {
        if revision < self.base_revision || revision > self.revision() {
            return None;
        }
        let keys = self.keys_up_to(revision);
        let hash_kv = keys
            .iter()
            .fold(revision as u32, |hash, key| hash.wrapping_mul(31).wrapping_add(*key as u32 + 1));
        Some(Check { revision, hash_kv, live_keys: keys.len() as u64 })
    }

    /// Takes what a leader's log had after the entry `before` (its index and term) when it was sent.
    pub fn append(
        &mut self,
        term: u64,
        before: (usize, u64),
        tail: &[(u64, Entry)],
        commit: usize,
    ) -> Appended {
        if term < self.term {
            return Appended::Stale;
        }
        self.term = term;
        let (index, its) = before;
        if index > self.log.len() || self.log.term(index) != its {
            return Appended::Gap;
        }
        for (at, (term, entry)) in (index + 1..).zip(tail) {
            if at <= self.log.len() && self.log.term(at) == *term {
                continue;
            }
            // an entry of another term gives way, with all that follow it
            self.log.truncate(at - 1);
            self.log.push(*term, entry.clone());
        }
        let matched = index + tail.len();
        self.commit = self.commit.max(commit.min(matched));
        Appended::UpTo(matched)
    }
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is of an older term than the member's.
    Stale,
    /// The member lacks what comes before it.
    Gap,
    /// The member has the leader's log up to here.
    UpTo(usize),
}

/// The voters of a membership, sorted.
pub fn voters(peers: &[Peer]) -> Vec<MemberId> {
    let mut ids: Vec<MemberId> =
        peers.iter().filter(|peer| !peer.learner).map(|peer| peer.id).collect();
    ids.sort_unstable();
    ids
}
