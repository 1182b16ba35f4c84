//! **etcd** — a member's durable half: its log, term and commit index, and what follows from them.
//!
//! Comes from whoever replicates entries ([`raft`](crate::simulate::raft)). Goes to looks, saves and
//! fences. What matters stays true: an entry is committed once a quorum of the configuration in
//! force has it durably, a configuration counts from its commit on, and a snapshot holds what the
//! member has applied, which may be less than its log (protocol.md 1.4, "Why (ii)").

use protocol::{
    cluster::{ClusterId, MemberId, cluster_id, member_id},
    observation::{Check, LogSummary},
};
use std::rc::Rc;

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

/// What a data dir's `member` holds. Indexes count from 1; `log[i - 1]` is entry i.
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
    /// Terms and entries.
    pub log: Vec<(u64, Entry)>,
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
        Self {
            cluster: cluster_id(peers.iter().map(|peer| peer.id)),
            id: member_id(url, token),
            base_revision: 1,
            base: Rc::default(),
            log: vec![(1, Entry::Members(Rc::new(peers)))],
            term: 1,
            commit: 1, // etcd commits its bootstrap configuration at once
        }
    }

    /// The configurations in the log, each with its index.
    pub fn configs(&self) -> impl DoubleEndedIterator<Item = (usize, &Rc<Vec<Peer>>)> {
        self.log.iter().enumerate().filter_map(|(at, (_, entry))| match entry {
            Entry::Members(peers) => Some((at + 1, peers)),
            Entry::Blank | Entry::Put(_) => None,
        })
    }

    /// The membership in force: the last that is known to be committed.
    pub fn peers(&self) -> Rc<Vec<Peer>> {
        let known = self.configs().rev().find(|(index, _)| *index <= self.commit);
        known.map(|(_, peers)| Rc::clone(peers)).unwrap_or_default()
    }

    /// The voters in force.
    pub fn voters(&self) -> Vec<MemberId> {
        voters(&self.peers())
    }

    /// The writes it has applied, oldest first.
    pub fn keys(&self) -> Vec<u64> {
        self.keys_up_to(u64::MAX)
    }

    fn keys_up_to(&self, revision: u64) -> Vec<u64> {
        let count = usize::try_from(revision.saturating_sub(self.base_revision));
        let puts = self.log.iter().take(self.commit).filter_map(|(_, entry)| match entry {
            Entry::Put(number) => Some(*number),
            Entry::Blank | Entry::Members(_) => None,
        });
        self.base.iter().copied().chain(puts.take(count.unwrap_or(usize::MAX))).collect()
    }

    /// The revision of what it has applied.
    pub fn revision(&self) -> u64 {
        let applied = self.log.iter().take(self.commit);
        self.base_revision
            + applied.filter(|(_, entry)| matches!(entry, Entry::Put(_))).count() as u64
    }

    /// Term and index of its last entry: what elections go by.
    pub fn last(&self) -> (u64, usize) {
        (self.log.last().map_or(0, |(term, _)| *term), self.log.len())
    }

    /// What our reader would say of it. Which configurations may be active: the one in force, the one
    /// just before it unless that came with the first, and each later one (protocol.md 1.4).
    pub fn summary(&self) -> LogSummary {
        let all: Vec<(usize, Vec<MemberId>)> =
            self.configs().map(|(index, peers)| (index, voters(peers))).collect();
        let in_force = all.iter().rposition(|(index, _)| *index <= self.commit).unwrap_or(0);
        let first = in_force.saturating_sub(1);
        let mut configs: Vec<Vec<MemberId>> = Vec::new();
        for (_, config) in all.iter().skip(first) {
            if !configs.contains(config) {
                configs.push(config.clone());
            }
        }
        LogSummary {
            last_term: self.last().0,
            last_index: self.log.len() as u64,
            commit: self.commit as u64,
            in_force: all.get(in_force).map(|(_, config)| config.clone()).unwrap_or_default(),
            configs,
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

    /// Takes a leader's log as it was when it was sent; how much of it this member now has, or `None`
    /// if the message is of an older term.
    pub fn append(&mut self, term: u64, log: &[(u64, Entry)], commit: usize) -> Option<usize> {
        if term < self.term {
            return None;
        }
        self.term = term;
        let same = self.log.iter().zip(log).take_while(|(mine, theirs)| mine.0 == theirs.0).count();
        if same < log.len() {
            // an entry of another term gives way, with all that follow it
            self.log.truncate(same);
            self.log.extend_from_slice(&log[same..]);
        }
        self.commit = self.commit.max(commit.min(log.len()));
        Some(log.len())
    }
}

/// The voters of a membership, sorted.
pub fn voters(peers: &[Peer]) -> Vec<MemberId> {
    let mut ids: Vec<MemberId> =
        peers.iter().filter(|peer| !peer.learner).map(|peer| peer.id).collect();
    ids.sort_unstable();
    ids
}
