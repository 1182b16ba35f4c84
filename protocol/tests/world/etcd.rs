//! **etcd** — a small model of etcd: members with a log each, one leader per cluster, nothing lost
//! between running members. Comes from the machines that run it, goes to their looks.
//!
//! Simplified on purpose: replication among running voters of one cluster is immediate, so a
//! member's log ends where it last ran beside a quorum. What matters here stays true: no quorum, no
//! progress; a restored member has another cluster id; an acknowledged write is on a quorum.

use protocol::{
    cluster::{ClusterId, MemberId, cluster_id, member_id, quorum},
    observation::{Answer, Check, LogSummary, Status},
};
use std::collections::BTreeSet;

/// One entry of a member's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A client's write, by its number.
    Put(u64),
    /// The membership from here on.
    Members(Vec<Peer>),
}

/// A member as the log names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Peer {
    pub(crate) id: MemberId,
    pub(crate) peer_url: String,
    pub(crate) learner: bool,
    pub(crate) started: bool,
}

/// What a data dir's `member` holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Store {
    pub(crate) cluster: ClusterId,
    pub(crate) id: MemberId,
    pub(crate) base_revision: u64,
    pub(crate) base: Vec<u64>,
    pub(crate) log: Vec<(u64, Entry)>,
    pub(crate) term: u64,
}

impl Store {
    /// A member that starts a new cluster, from `name=url,...` and a token.
    pub(crate) fn founded(url: &str, initial: &str, token: &str) -> Self {
        let urls: Vec<&str> = initial
            .split(',')
            .map(|pair| pair.split_once('=').expect("the core wrote name=url").1)
            .collect();
        let peers = urls.iter().map(|url| Peer {
            id: member_id(url, token),
            peer_url: (*url).to_owned(),
            learner: false,
            started: true,
        });
        let peers: Vec<Peer> = peers.collect();
        Self {
            cluster: cluster_id(peers.iter().map(|peer| peer.id)),
            id: member_id(url, token),
            base_revision: 1,
            base: Vec::new(),
            log: vec![(1, Entry::Members(peers))],
            term: 1,
        }
    }

    pub(crate) fn peers(&self) -> Vec<Peer> {
        let last = self.log.iter().rev().find_map(|(_, entry)| match entry {
            Entry::Members(peers) => Some(peers.clone()),
            Entry::Put(_) => None,
        });
        last.unwrap_or_default()
    }

    pub(crate) fn keys(&self) -> Vec<u64> {
        let puts = self.log.iter().filter_map(|(_, entry)| match entry {
            Entry::Put(number) => Some(*number),
            Entry::Members(_) => None,
        });
        self.base.iter().copied().chain(puts).collect()
    }

    pub(crate) fn revision(&self) -> u64 {
        self.base_revision + (self.keys().len() - self.base.len()) as u64
    }

    pub(crate) fn applied(&self) -> u64 {
        self.log.len() as u64
    }

    pub(crate) fn summary(&self) -> LogSummary {
        let mut voters: Vec<MemberId> =
            self.peers().iter().filter(|peer| !peer.learner).map(|peer| peer.id).collect();
        voters.sort_unstable();
        LogSummary {
            last_term: self.log.last().map_or(0, |(term, _)| *term),
            last_index: self.applied(),
            commit: self.applied(),
            in_force: voters.clone(),
            configs: vec![voters],
            places: vec![self.applied()],
            settled: true, // whoever has a change here knows it to be committed
        }
    }

    /// HashKV and live keys at `revision`, if this member has it.
    fn check(&self, revision: u64) -> Option<Check> {
        if revision < self.base_revision || revision > self.revision() {
            return None;
        }
        let count = self.base.len() + (revision - self.base_revision) as usize;
        let keys = self.keys();
        let hash_kv = keys[..count]
            .iter()
            .fold(revision as u32, |hash, key| hash.wrapping_mul(31).wrapping_add(*key as u32 + 1));
        Some(Check { revision, hash_kv, live_keys: count as u64 })
    }
}

/// A running member: which machine, and its store.
pub(crate) struct Running<'a> {
    pub(crate) store: &'a mut Store,
    pub(crate) leader: &'a mut Option<MemberId>,
}

/// One round of raft: elects, replicates and commits among the running members of each cluster.
pub(crate) fn round(running: &mut [Running<'_>]) {
    let clusters: BTreeSet<ClusterId> = running.iter().map(|member| member.store.cluster).collect();
    for cluster in clusters {
        let best = running
            .iter()
            .filter(|member| member.store.cluster == cluster)
            .map(|member| &*member.store)
            .filter(|store| store.peers().iter().any(|peer| peer.id == store.id && !peer.learner))
            .max_by_key(|store| {
                (
                    store.log.last().map_or(0, |(term, _)| *term),
                    store.log.len(),
                    u64::MAX - store.id.0,
                )
            });
        let Some(best) = best else { continue };
        round_of(best.clone(), running);
    }
}

fn round_of(best: Store, running: &mut [Running<'_>]) {
    let voters: Vec<MemberId> =
        best.peers().iter().filter(|peer| !peer.learner).map(|peer| peer.id).collect();
    let mine = |member: &&Running<'_>| member.store.cluster == best.cluster;
    let ids: BTreeSet<MemberId> =
        running.iter().filter(mine).map(|member| member.store.id).collect();
    let twice = running.iter().filter(mine).count() != ids.len();
    assert!(!twice, "one member runs on two machines: {ids:?}");
    let live = voters.iter().filter(|id| ids.contains(id)).count();
    let leads = live >= quorum(voters.len());
    let before = running.iter().filter(mine).find_map(|member| *member.leader);
    let leader = before.filter(|id| voters.contains(id) && ids.contains(id)).unwrap_or(best.id);
    let term = if before == Some(leader) { best.term } else { best.term + 1 };
    let mut peers = best.peers();
    for peer in &mut peers {
        // it says its name: a removed member at the same URL says nothing for it
        peer.started |= running.iter().filter(mine).any(|member| member.store.id == peer.id);
    }
    let mut log = best.log.clone();
    if leads && peers != best.peers() {
        log.push((term, Entry::Members(peers.clone())));
    }
    for member in running.iter_mut().filter(|member| member.store.cluster == best.cluster) {
        let listed = peers.iter().any(|peer| peer.id == member.store.id);
        *member.leader = (leads && listed).then_some(leader);
        if leads && listed {
            member.store.log = log.clone();
            member.store.base = best.base.clone();
            member.store.base_revision = best.base_revision;
            member.store.term = term;
        }
    }
}

/// Appends `entry` on every running member that follows a leader of `cluster`; whether it was
/// committed.
pub(crate) fn propose(cluster: ClusterId, entry: &Entry, running: &mut [Running<'_>]) -> bool {
    let mut done = false;
    for member in running.iter_mut() {
        if member.store.cluster == cluster && member.leader.is_some() {
            let term = member.store.term;
            member.store.log.push((term, entry.clone()));
            done = true;
        }
    }
    done
}

/// What a probe of a running member brings.
pub(crate) fn answer(store: &Store, leader: Option<MemberId>, check_at: Option<u64>) -> Answer {
    let learner = store.peers().iter().any(|peer| peer.id == store.id && peer.learner);
    Answer::Status(Status {
        cluster_id: store.cluster,
        member_id: store.id,
        leader,
        term: store.term,
        applied: store.applied(),
        revision: store.revision(),
        linearizable: leader.is_some() && !learner,
        learner,
        alarms: Vec::new(),
        version: "3.5.30".to_owned(),
        check: check_at.and_then(|revision| store.check(revision)),
    })
}
