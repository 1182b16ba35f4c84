//! **plan** — what a committed restore does: immutable, written once, pinned by its digest.
//!
//! Comes from the leader in FENCING, before the commit. Goes to every agent, which obeys it only
//! because `ctrl.plan` names its key and its sha256 (protocol.md 1.6, S10).

use crate::{
    cluster::{ClusterId, Member, Seat, cluster_id, member_id},
    registry::Source,
};
use alloc::{string::String, vec::Vec};

/// A restore in full.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// The cluster.
    pub uid: String,
    /// The incarnation it creates.
    pub inc: u64,
    /// The attempt that commits it.
    pub attempt: u64,
    /// The leader's epoch when it was made.
    pub epoch: u64,
    /// The new incarnation's etcd token.
    pub token: String,
    /// The seats that become its voters.
    pub seats: Vec<Seat>,
    /// What they restore.
    pub source: Source,
    /// Manifest keys to fall back to if the source turns out unreadable, newest first.
    pub fallbacks: Vec<String>,
    /// Lower bound of the revisions lost: highest ever voted minus the source's.
    pub loss: u64,
    /// Why it was made, one sentence.
    pub because: String,
}

impl Plan {
    /// The voters it creates, with the ids that etcd will give them.
    pub fn members(&self) -> Vec<Member> {
        self.seats
            .iter()
            .map(|seat| Member { slot: seat.slot, id: member_id(&seat.peer_url, &self.token) })
            .collect()
    }

    /// The cluster id that etcd will give it.
    pub fn cluster_id(&self) -> ClusterId {
        cluster_id(self.members().iter().map(|member| member.id))
    }

    /// `name=url,name=url`, as `--initial-cluster` takes it.
    pub fn initial_cluster(&self) -> String {
        let pairs: Vec<String> = self
            .seats
            .iter()
            .map(|seat| alloc::format!("{}={}", seat.name, seat.peer_url))
            .collect();
        pairs.join(",")
    }

    /// R: the revision at which all restored members must agree.
    pub const fn agreed_revision(&self) -> u64 {
        self.source.revision + self.source.bump
    }
}
