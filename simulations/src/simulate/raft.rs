//! **raft** — a small raft between the members that run: who follows whom, what is replicated, what
//! is committed. Appends and acknowledgements are messages with a delay, so that one may sit in the
//! buffers of a machine that stands still and commit an entry minutes later (protocol.md 1.4).
//!
//! Elections are one step: a candidate asks everybody it reaches at once. They keep etcd's pre-vote
//! (nobody who hears a leader grants anything) and check-quorum (a leader that reaches no quorum
//! steps down). Heartbeats are not sent; whether a leader is heard is looked up when asked.

use super::{Happening, Sim};
use crate::world::{
    etcd::{Appended, Entry, Peer, voters},
    machine::{Role, Service},
};
use protocol::cluster::{ClusterId, MemberId, quorum};
use std::{collections::BTreeMap, rc::Rc};

/// What members send each other.
pub(super) struct Message {
    cluster: ClusterId,
    from: MemberId,
    to: MemberId,
    term: u64,
    what: What,
}

enum What {
    /// What the leader's log has after the entry `before` (its index and term).
    Append { before: (usize, u64), tail: Vec<(u64, Entry)>, commit: usize, base: Base },
    /// How much of the leader's log the sender has; `None`: not what came before the append.
    Ack { matched: Option<usize> },
}

/// What a cluster began with: the snapshot that goes before every log.
#[derive(Clone)]
struct Base {
    keys: Rc<Vec<u64>>,
    sum: u64,
    revision: u64,
}

/// How long raft waits before it looks again, in milliseconds: about an election timeout.
const ROUND: u64 = 400;

impl Sim {
    /// Raft looks again soon: something changed that it goes by.
    pub(super) fn stir(&mut self) {
        if !self.stirred {
            self.stirred = true;
            let after = self.rng.u64(ROUND / 4..ROUND);
            self.push(after, Happening::Raft);
        }
    }

    fn linked(&self, one: usize, other: usize) -> bool {
        let cut = |at: usize| self.machines[at].cut_from_peers;
        one == other || (!cut(one) && !cut(other))
    }

    /// The machine that runs member `id` of `cluster`.
    fn home(&self, cluster: ClusterId, id: MemberId) -> Option<usize> {
        (0..self.machines.len()).find(|at| {
            let store = self.machines[*at].running().map(|(_, store)| store);
            store.is_some_and(|store| store.cluster == cluster && store.id == id)
        })
    }

    /// The machine of the leader that `machine`'s member follows and hears now.
    pub(super) fn live_leader(&self, machine: usize) -> Option<usize> {
        let (etcd, store) = self.machines[machine].running()?;
        let leader = match &etcd.role {
            Role::Leader(_) => return Some(machine),
            Role::Follower(leader) => self.home(store.cluster, (*leader)?)?,
        };
        let (its, other) = self.machines[leader].running()?;
        let leads = matches!(its.role, Role::Leader(_)) && other.term == store.term;
        (leads && self.linked(machine, leader)).then_some(leader)
    }

    /// Whether the member `id` of the cluster that runs on `machine` runs too and is reached from there.
    pub(super) fn reaches(&self, machine: usize, id: MemberId) -> bool {
        let store = self.machines[machine].running().map(|(_, store)| store);
        let home = store.and_then(|store| self.home(store.cluster, id));
        home.is_some_and(|home| self.linked(machine, home))
    }

    /// Whether the leader on `machine` reaches a quorum that goes by its term.
    fn has_quorum(&self, machine: usize) -> bool {
        let Some((_, store)) = self.machines[machine].running() else { return false };
        let all =
            || store.peers().into_iter().flat_map(|peers| peers.iter().filter(|p| !p.learner));
        let hears = |peer: &&Peer| {
            let home = self.home(store.cluster, peer.id).filter(|at| self.linked(machine, *at));
            let there = home.and_then(|at| self.machines[at].running());
            there.is_some_and(|(_, other)| other.term <= store.term)
        };
        all().filter(hears).count() >= quorum(all().count())
    }

    /// Whether a linearizable read through `machine`'s member comes back now.
    pub(super) fn is_linearizable(&self, machine: usize) -> bool {
        let Some(leader) = self.live_leader(machine) else { return false };
        let Some((_, store)) = self.machines[leader].running() else { return false };
        let mine = self.machines[machine].running().map(|(_, store)| store);
        let learner = mine.is_none_or(|mine| !store.has_voter(mine.id));
        let settled = store.commit > 0 && store.log.term(store.commit) == store.term;
        settled && !learner && self.has_quorum(leader)
    }

    /// One look at everybody: leaders step down or repeat themselves, the leaderless campaign.
    pub(super) fn raft(&mut self) {
        self.stirred = false;
        let mut order: Vec<usize> =
            (0..self.machines.len()).filter(|at| self.machines[*at].running().is_some()).collect();
        self.rng.shuffle(&mut order);
        let mut busy = false;
        for machine in order {
            let Some((etcd, _)) = self.machines[machine].running() else { continue };
            let leads = matches!(etcd.role, Role::Leader(_));
            busy |= match (leads, self.live_leader(machine)) {
                (true, _) if !self.has_quorum(machine) => {
                    self.follow(machine, None);
                    true
                }
                (true, _) => self.broadcast(machine),
                (false, Some(_)) => false,
                (false, None) => self.rng.bool() || self.campaign(machine),
            };
        }
        if busy {
            self.stir();
        }
    }

    fn follow(&mut self, machine: usize, leader: Option<MemberId>) {
        if let Some(etcd) = &mut self.machines[machine].etcd {
            etcd.role = Role::Follower(leader);
        }
    }

    /// Asks everybody at once; whether that changed anything.
    fn campaign(&mut self, machine: usize) -> bool {
        let Some((_, store)) = self.machines[machine].running() else { return false };
        let (me, cluster, last, all) = (store.id, store.cluster, store.last(), store.voters());
        if !all.contains(&me) {
            return false;
        }
        let grants = |at: &usize| {
            let Some((_, other)) = self.machines[*at].running() else { return false };
            let asked = other.cluster == cluster && all.contains(&other.id);
            let willing = *at == machine || self.live_leader(*at).is_none();
            asked && self.linked(machine, *at) && willing && other.last() <= last
        };
        let granted: Vec<usize> = (0..self.machines.len()).filter(grants).collect();
        if granted.len() < quorum(all.len()) {
            return false;
        }
        let terms = granted.iter().filter_map(|at| self.machines[*at].running());
        let term = terms.map(|(_, store)| store.term).max().unwrap_or(0) + 1;
        for at in granted {
            if let Some(store) = &mut self.machines[at].dir_mut().member {
                store.term = term;
            }
            self.follow(at, Some(me));
        }
        if let Some(Service { role, .. }) = &mut self.machines[machine].etcd {
            *role = Role::Leader(BTreeMap::new());
        }
        let name = self.machines[machine].instance.0.clone();
        self.say(&name, &format!("leads its cluster in term {term}"));
        self.propose(machine, Entry::Blank);
        true
    }

    /// Appends an entry to a leader's log and sends it to everybody; its index.
    pub(super) fn propose(&mut self, leader: usize, entry: Entry) -> usize {
        let Some(store) = &mut self.machines[leader].dir_mut().member else { return 0 };
        store.log.push(store.term, entry);
        let index = store.log.len();
        self.appended(leader);
        self.broadcast(leader);
        self.commit(leader);
        self.stir();
        index
    }

    /// Sends the log to all who may lack some of it; whether anybody did.
    fn broadcast(&mut self, leader: usize) -> bool {
        let Some((Service { role: Role::Leader(acked), .. }, store)) =
            self.machines[leader].running()
        else {
            return false;
        };
        let (cluster, from, term) = (store.cluster, store.id, store.term);
        let (last, commit) = (store.log.len(), store.commit);
        let peers = store.peers().into_iter().flat_map(|peers| peers.iter());
        let behind: Vec<(usize, MemberId)> = peers
            .filter(|peer| peer.id != from)
            .filter_map(|peer| Some((self.home(cluster, peer.id)?, peer.id)))
            .filter(|(home, id)| {
                let there = self.machines[*home].running();
                let knows = there.is_some_and(|(etcd, store)| {
                    let follows = etcd.role == Role::Follower(Some(from)) && store.term == term;
                    follows && store.commit == commit
                });
                acked.get(id) != Some(&last) || !knows
            })
            .filter(|(home, _)| self.linked(leader, *home))
            .collect();
        let base = Base {
            keys: Rc::clone(&store.base),
            sum: store.base_sum,
            revision: store.base_revision,
        };
        let appends: Vec<(usize, Message)> = behind
            .into_iter()
            .map(|(home, to)| {
                let index = acked.get(&to).copied().unwrap_or(0);
                let (before, tail) = ((index, store.log.term(index)), store.log.after(index));
                let what = What::Append { before, tail, commit, base: base.clone() };
                (home, Message { cluster, from, to, term, what })
            })
            .collect();
        let any = !appends.is_empty();
        for (home, message) in appends {
            self.send(home, message);
        }
        any
    }

    fn send(&mut self, to: usize, message: Message) {
        let (least, most) = self.options.latency;
        let after = self.rng.u64(least..=most);
        self.push(after, Happening::Message { to, message: Box::new(message) });
    }

    /// A message arrives at a machine; who it is for may not run there any more.
    pub(super) fn deliver(&mut self, to: usize, message: Message) {
        let Message { cluster, from, to: id, term, what } = message;
        let home = self.machines[to].running().map(|(_, store)| (store.cluster, store.id));
        if home != Some((cluster, id)) {
            return;
        }
        match what {
            What::Append { before, tail, commit, base } => {
                let Some(store) = &mut self.machines[to].dir_mut().member else { return };
                if store.log.is_empty() {
                    (store.base, store.base_sum) = (base.keys, base.sum);
                    store.base_revision = base.revision;
                }
                let matched = match store.append(term, before, &tail, commit) {
                    Appended::Stale => return,
                    Appended::Gap => None,
                    Appended::UpTo(index) => Some(index),
                };
                self.follow(to, Some(from));
                self.appended(to);
                self.applied(to);
                let Some(back) = self.home(cluster, from).filter(|at| self.linked(to, *at)) else {
                    return;
                };
                let what = What::Ack { matched };
                self.send(back, Message { cluster, from: id, to: from, term, what });
            }
            What::Ack { matched } => {
                let Some((etcd, store)) = self.machines[to].running() else { return };
                if store.term != term || !matches!(etcd.role, Role::Leader(_)) {
                    return;
                }
                if let Some(Service { role: Role::Leader(acked), .. }) = &mut self.machines[to].etcd
                {
                    match matched {
                        Some(index) => {
                            let known = acked.entry(from).or_default();
                            *known = index.max(*known);
                        }
                        None => _ = acked.remove(&from),
                    }
                }
                self.commit(to);
            }
        }
    }

    /// Commits what a quorum has, entry by entry: each may change who counts.
    fn commit(&mut self, leader: usize) {
        let mut moved = false;
        while let Some((Service { role: Role::Leader(acked), .. }, store)) =
            self.machines[leader].running()
        {
            let all = store.voters();
            let has = |id: &&MemberId, index: usize| {
                **id == store.id || acked.get(*id).is_some_and(|matched| *matched >= index)
            };
            let counted =
                |index: usize| all.iter().filter(|id| has(id, index)).count() >= quorum(all.len());
            // an entry of an earlier term is committed only with one of this term (Raft 5.4.2)
            let next = store.commit + 1;
            let own = (next..=store.log.len()).find(|at| store.log.term(*at) == store.term);
            if !own.is_some_and(counted) {
                break;
            }
            let cluster = store.cluster;
            if let Some(store) = &mut self.machines[leader].dir_mut().member {
                store.commit = next;
            }
            self.committed(leader, cluster, next);
            moved = true;
        }
        if moved {
            self.applied(leader);
            self.broadcast(leader);
            self.stir();
        }
    }

    /// A member that applies its own removal ends.
    fn applied(&mut self, machine: usize) {
        let gone = self.machines[machine].running().is_some_and(|(_, store)| store.is_left_out());
        if gone {
            self.machines[machine].etcd = None;
            let name = self.machines[machine].instance.0.clone();
            self.say(&name, "etcd ends: it was removed");
            self.stir();
        }
    }

    /// Proposes a membership through `leader` unless one is on its way; its index.
    pub(super) fn propose_members(&mut self, leader: usize, peers: Vec<Peer>) -> Option<usize> {
        let (_, store) = self.machines[leader].running()?;
        let settled = store.log.config(store.log.len()).is_none_or(|(at, _)| at <= store.commit);
        let fits = !voters(&peers).is_empty();
        (settled && fits).then(|| self.propose(leader, Entry::Members(Rc::new(peers))))
    }
}
