//! **effect** — everything the core can ask for, a closed list; each says what must precede it.
//!
//! Comes from the coordinator. Goes to the agent's driver, which performs it and answers with one
//! [`Event::Done`](crate::event::Event). An effect belongs to a [`Lane`]; a lane carries one
//! effect at a time, so "is it done yet?" is a fact the core always knows and no effect needs a
//! number of its own.

use crate::{
    cluster::{ClusterId, Digest, Member, MemberId},
    manifest::{Doubt, Reason},
    observation::{InAttempt, Ran},
    pack::{self, Extended},
    plan::Plan,
    registry::{Adoption, Change, Pin, Source},
    vote::Vote,
};
use alloc::{boxed::Box, string::String, vec::Vec};

/// Where an effect runs. Effects of different lanes run side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// The lock table.
    Registry,
    /// Votes in the bucket.
    Votes,
    /// Looking at etcd and the disk.
    Look,
    /// Changing the machine: processes and durable markers. Quick.
    Machine,
    /// Moving data: snapshots, downloads, restores. Slow.
    Data,
    /// Asking etcd to change: members, alarms.
    Etcd,
}

impl Lane {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::Etcd as usize + 1;
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Prove that both stores honour conditions. Must precede every other write.
    Prove,
    /// Read `cluster.json`: which uid lives under this prefix?
    Discover,
    /// Read all records of the uid, consistently.
    ReadRegistry,
    /// Apply a conditional write, with its checks in the same instant.
    Write(Change),
    /// Found the cluster: `cluster.json` if absent. Must follow the `ctrl` it names.
    Found(Founding),

    /// Publish my vote, then read everybody's.
    Exchange(Option<Vote>),

    /// Look at etcd, the process, the data dir and the durable memory; ask HashKV and live keys
    /// at this revision, if one is given.
    Look {
        /// The revision to check at.
        check_at: Option<u64>,
    },

    /// Kill etcd and wait until it is proven stopped.
    Stop,
    /// Write the marker to the root disk and the data volume, fsync both and their directories.
    /// Must precede the fence record.
    Mark(InAttempt),
    /// Remove the marker from both. Only after `ctrl.aborted` of the marker's incarnation was read.
    Unmark(InAttempt),
    /// Never run incarnation `inc` or older again; durable.
    Retire(u64),
    /// Remember that `inc` is open to clients; durable.
    RememberOpened(u64),
    /// Remember uid and seat; durable.
    RememberSeat(String, crate::cluster::Slot),
    /// The root disk's copy of `ran`. Must follow the CAS of `ran`, must precede the first start.
    RememberRan(Ran),
    /// Swap the member restored by this plan in; resumable. Must follow STARTING.
    Swap {
        /// The plan, already restored here.
        plan: Box<Plan>,
        /// Its digest.
        digest: Digest,
        /// The incarnation that is moved aside.
        old_inc: u64,
    },
    /// Move the member in place aside, delete nothing.
    MoveAside {
        /// The incarnation it belongs to.
        inc: u64,
    },
    /// Start etcd.
    Start(Start),
    /// Read the stopped member's log. Must follow the marker.
    ReadLog,

    /// Fetch and parse the pinned plan.
    FetchPlan(Pin),
    /// Write the plan once; answers with its pin.
    PutPlan(Box<Plan>),
    /// Download, verify and restore the plan's source into `.requorum/new/<plan>`.
    Restore(Box<Plan>, Digest),
    /// Take a verified snapshot from the live member and publish its manifest.
    Save(Box<Save>),
    /// Take a verified snapshot from a copy of the stopped member's data.
    SalvageCopy {
        /// The incarnation it belongs to.
        inc: u64,
    },
    /// Read the manifests of an incarnation: LIST, votes' pointers and salvages.
    ReadCatalogue {
        /// The incarnation.
        inc: u64,
        /// Keys known from votes and slots.
        pointers: Vec<String>,
    },
    /// Download a snapshot and prove that it is whole and holds the revision it should.
    Verify(Source),

    /// Read the member list behind a linearizable read.
    ListMembers,
    /// Remove a member. Must follow the intent.
    RemoveMember(MemberId),
    /// Add a learner at this peer URL, unless one is listed there already.
    AddLearner {
        /// Its peer URL.
        peer_url: String,
    },
    /// Promote a learner. Must follow the intent.
    Promote(MemberId),
    /// Disarm NOSPACE alarms left over from the old incarnation.
    DisarmNoSpace,
}

/// What is saved, and what it is held against (see [`guards`](crate::guards)).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Save {
    /// What for.
    pub reason: Reason,
    /// The incarnation it belongs to.
    pub inc: u64,
    /// The chain that it may continue; `None`: a whole file. A chain that the driver does not know
    /// begins with a whole file.
    pub chain: Option<String>,
    /// Whether the old URI's `snapshot.db` becomes this one, unless it is doubtful.
    pub export: bool,
    /// Client URLs of the members that are asked for their content at the same revision.
    pub peers: Vec<String>,
    /// Live keys of what the incarnation was restored from.
    pub source_keys: Option<u64>,
    /// Snapshots an operator answers for.
    pub adopted: Vec<Adoption>,
}

impl Save {
    /// Whether it is laid over this chain, `database` being the bytes of etcd's database now. What is
    /// exported is a whole file, for other tools read it.
    pub fn lays_over(&self, chain: &Extended<'_>, database: u64) -> bool {
        let same = self.chain.as_deref() == Some(chain.name) && self.inc == chain.inc;
        same && !self.export && pack::goes_on(chain, database)
    }

    /// Whether the old URI's `snapshot.db` becomes this one, now that it is saved: where that is asked for,
    /// and never in the place of a better one. `whole`: its data is a file and no pack.
    pub const fn exports(&self, doubt: Option<Doubt>, whole: bool) -> bool {
        self.export && doubt.is_none() && whole
    }

    /// A whole file, held against nothing but the manifests before it.
    pub const fn whole(reason: Reason, inc: u64) -> Self {
        Self {
            reason,
            inc,
            chain: None,
            export: false,
            peers: Vec::new(),
            source_keys: None,
            adopted: Vec::new(),
        }
    }
}

/// How etcd is started.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Start {
    /// Only the local socket leads to it.
    pub quarantined: bool,
    /// Whose data the data dir must hold, if it holds any, right before the start: another volume may
    /// have been mounted since the look.
    pub member: Expected,
    /// What it should know of the cluster if its data dir is empty; with data, etcd ignores it.
    pub join: Option<Join>,
}

/// A member as its log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Expected {
    /// Its id.
    pub member_id: MemberId,
    /// Its cluster, which is that of one incarnation; `None`: not known.
    pub cluster_id: Option<ClusterId>,
}

impl Expected {
    /// Whether a log with these ids is its log.
    pub fn is(&self, cluster_id: ClusterId, member_id: MemberId) -> bool {
        self.member_id == member_id && self.cluster_id.is_none_or(|id| id == cluster_id)
    }
}

/// How a member with an empty data dir finds its cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Join {
    /// `--initial-cluster`.
    pub initial_cluster: String,
    /// `--initial-cluster-token`.
    pub token: String,
    /// `--initial-cluster-state existing` instead of `new`.
    pub existing: bool,
}

/// A cluster's first word: `cluster.json`, which names the uid for machines that know nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Founding {
    /// The cluster.
    pub uid: String,
    /// Seats.
    pub seats: usize,
}

/// A member as etcd lists it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listed {
    /// Its id.
    pub id: MemberId,
    /// Its peer URL.
    pub peer_url: String,
    /// Not a voter yet.
    pub learner: bool,
    /// Has started once.
    pub started: bool,
}

/// Which seat a listed member sits on is told by its peer URL.
pub fn voters_of(listed: &[Listed], seats: &[crate::cluster::Seat]) -> Vec<Member> {
    listed
        .iter()
        .filter(|member| !member.learner)
        .filter_map(|member| {
            let seat = seats.iter().find(|seat| seat.peer_url == member.peer_url)?;
            Some(Member { slot: seat.slot, id: member.id })
        })
        .collect()
}

impl Effect {
    /// What it does, in a word or two.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Prove => "prove the stores",
            Self::Discover => "discover",
            Self::ReadRegistry => "read the table",
            Self::Write(change) => change.name,
            Self::Found(_) => "found",
            Self::Exchange(_) => "exchange votes",
            Self::Look { .. } => "look",
            Self::Stop => "stop",
            Self::Mark(_) => "mark",
            Self::Unmark(_) => "unmark",
            Self::Retire(_) => "retire",
            Self::RememberOpened(_) => "remember opened",
            Self::RememberSeat(..) => "remember seat",
            Self::RememberRan(_) => "remember ran",
            Self::Swap { .. } => "swap",
            Self::MoveAside { .. } => "move aside",
            Self::Start(_) => "start",
            Self::ReadLog => "read log",
            Self::FetchPlan(_) => "fetch plan",
            Self::PutPlan(_) => "put plan",
            Self::Restore(..) => "restore",
            Self::Save(_) => "save",
            Self::SalvageCopy { .. } => "salvage",
            Self::ReadCatalogue { .. } => "read catalogue",
            Self::Verify(_) => "verify",
            Self::ListMembers => "list members",
            Self::RemoveMember(_) => "remove member",
            Self::AddLearner { .. } => "add learner",
            Self::Promote(_) => "promote",
            Self::DisarmNoSpace => "disarm NOSPACE",
        }
    }

    /// The lane it runs in.
    pub const fn lane(&self) -> Lane {
        match self {
            Self::Prove | Self::Discover | Self::ReadRegistry | Self::Write(_) | Self::Found(_) => {
                Lane::Registry
            }
            Self::Exchange(_) => Lane::Votes,
            Self::Look { .. } => Lane::Look,
            Self::Stop
            | Self::Mark(_)
            | Self::Unmark(_)
            | Self::Retire(_)
            | Self::RememberOpened(_)
            | Self::RememberSeat(..)
            | Self::RememberRan(_)
            | Self::Swap { .. }
            | Self::MoveAside { .. }
            | Self::Start(_)
            | Self::ReadLog => Lane::Machine,
            Self::FetchPlan(_)
            | Self::PutPlan(_)
            | Self::Restore(..)
            | Self::Save(_)
            | Self::SalvageCopy { .. }
            | Self::ReadCatalogue { .. }
            | Self::Verify(_) => Lane::Data,
            Self::ListMembers
            | Self::RemoveMember(_)
            | Self::AddLearner { .. }
            | Self::Promote(_)
            | Self::DisarmNoSpace => Lane::Etcd,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::Chain;
    use alloc::string::ToString;

    #[test]
    fn a_save_is_laid_over_its_own_chain_and_what_is_exported_is_whole() {
        let grown = Chain { base: 1000, packs: 0, bytes: 0 };
        let chain = Extended { name: "c", inc: 1, grown, database: 1000, outgrown: false };
        let save = Save { chain: Some("c".to_string()), ..Save::whole(Reason::Timer, 1) };
        assert!(save.lays_over(&chain, 1000));
        assert!(!save.lays_over(&Extended { name: "other", ..chain }, 1000));
        assert!(!save.lays_over(&Extended { inc: 2, ..chain }, 1000));
        assert!(!Save::whole(Reason::Timer, 1).lays_over(&chain, 1000));
        let exported = Save { export: true, ..save.clone() };
        assert!(!exported.lays_over(&chain, 1000));
        assert!(exported.exports(None, true) && !save.exports(None, true));
        assert!(!exported.exports(None, false) && !exported.exports(Some(Doubt::Empty), true));
    }
}
