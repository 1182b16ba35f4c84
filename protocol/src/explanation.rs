//! **explanation** — why: each decision, and each refusal to decide, with its reason.
//!
//! Comes from the coordinator, with every turn. Goes to the log, `status`, `explain`, the
//! walkthroughs. The codes are a closed list, so that a runbook can be kept for each.

use alloc::borrow::Cow;

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Note {
    /// The closed code.
    pub code: Code,
    /// One sentence for a human.
    pub text: Cow<'static, str>,
}

impl Note {
    /// A reason with its sentence.
    pub fn new(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, text: text.into() }
    }
}

/// Why something is done or not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// Nothing to do: all is well.
    AllWell,
    /// Fewer have failed than a quorum can spare.
    Degraded,
    /// This machine's member has no data.
    DataLost,
    /// Not enough was read yet, or not lately.
    Blind,
    /// etcd is there and does not let this agent ask.
    EtcdRefuses,
    /// The records or the data are of another cluster.
    Foreign,
    /// The bucket names a cluster that the table does not know.
    RegistryLost,
    /// The lock table or the bucket gives no answer, or forbids it.
    StoreUnreachable,
    /// A record can't be understood, by this version or by any.
    RecordUnreadable,
    /// The bucket no longer knows the cluster that the table has.
    BucketLost,
    /// More members failed than the configured threshold tolerates.
    AboveThreshold,
    /// It is not proven that the stores honour conditional writes.
    StoresUnproven,
    /// Nobody acts here: a command looks on its own.
    Observing,
    /// The stores are silent; this machine goes by its own record.
    WithoutStores,
    /// etcd's members are not those on record.
    MembershipDrift,
    /// This node's settings name other seats than the cluster has.
    SeatsDiffer,
    /// The cluster was never founded.
    NotFounded,
    /// This agent's name has no seat.
    NoSeat,
    /// The seat belongs to another machine that still speaks.
    SeatTaken,
    /// The operator paused us.
    Paused,
    /// A proof of a living quorum.
    QuorumAlive,
    /// A blocking number of members has failed.
    QuorumLost,
    /// Another agent leads.
    LeaseHeld,
    /// This agent leads.
    Leading,
    /// An earlier promise forbids this machine to run its data.
    Fenced,
    /// This machine does its part of a fence.
    Fencing,
    /// The attempt needs evidence that nobody gave.
    EvidenceMissing,
    /// The attempt waits for more evidence.
    Gathering,
    /// A machine that may hold intact data is waited for.
    WaitingForMachine,
    /// Enough intact members: they are restarted, nothing is restored.
    Recoverable,
    /// Attempts were aborted too often; the next waits.
    CoolingDown,
    /// The operator is asked.
    ApprovalNeeded,
    /// Too few live agents for a restore.
    MinMembers,
    /// Nothing to restore from.
    NoSnapshot,
    /// A newer snapshot is whole and doubtful: an operator answers for it, or for doing without it.
    DoubtfulSnapshot,
    /// A survivor's data is being saved first.
    Salvaging,
    /// A snapshot is being taken.
    Saving,
    /// A plan is being restored.
    Restoring,
    /// Restored members are being started.
    Starting,
    /// Restored members are being compared.
    Verifying,
    /// Clients are being let in.
    Opening,
    /// A member is being replaced.
    Replacing,
    /// A member can't be replaced yet.
    ReplaceWaits,
    /// Missing seats are being refilled.
    Healing,
    /// A plain restart.
    Restarting,
    /// An operator stopped this machine's etcd.
    StoppedByOperator,
    /// A step failed and will be tried again.
    Retrying,
    /// This machine can't do its part.
    Unable,
    /// The operator's request was recorded.
    Requested,
}

impl Code {
    /// It goes on only when somebody helps: such a reason is told first.
    pub const fn asks_for_help(self) -> bool {
        matches!(
            self,
            Self::ApprovalNeeded
                | Self::BucketLost
                | Self::EtcdRefuses
                | Self::Foreign
                | Self::DoubtfulSnapshot
                | Self::MembershipDrift
                | Self::MinMembers
                | Self::NoSeat
                | Self::NoSnapshot
                | Self::Paused
                | Self::RecordUnreadable
                | Self::RegistryLost
                | Self::SeatTaken
                | Self::SeatsDiffer
                | Self::StoreUnreachable
                | Self::StoppedByOperator
                | Self::StoresUnproven
        )
    }

    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AllWell => "ALL_WELL",
            Self::Degraded => "DEGRADED",
            Self::DataLost => "DATA_LOST",
            Self::Blind => "BLIND",
            Self::Foreign => "FOREIGN",
            Self::RegistryLost => "REGISTRY_LOST",
            Self::StoreUnreachable => "STORE_UNREACHABLE",
            Self::RecordUnreadable => "RECORD_UNREADABLE",
            Self::BucketLost => "BUCKET_LOST",
            Self::AboveThreshold => "ABOVE_THRESHOLD",
            Self::StoresUnproven => "STORES_UNPROVEN",
            Self::Observing => "OBSERVING",
            Self::WithoutStores => "WITHOUT_STORES",
            Self::MembershipDrift => "MEMBERSHIP_DRIFT",
            Self::SeatsDiffer => "SEATS_DIFFER",
            Self::NotFounded => "NOT_FOUNDED",
            Self::NoSeat => "NO_SEAT",
            Self::SeatTaken => "SEAT_TAKEN",
            Self::Paused => "PAUSED",
            Self::QuorumAlive => "QUORUM_ALIVE",
            Self::QuorumLost => "QUORUM_LOST",
            Self::LeaseHeld => "LEASE_HELD",
            Self::Leading => "LEADING",
            Self::Fenced => "FENCED",
            Self::Fencing => "FENCING",
            Self::EvidenceMissing => "EVIDENCE_MISSING",
            Self::Gathering => "GATHERING",
            Self::WaitingForMachine => "WAITING_FOR_MACHINE",
            Self::Recoverable => "RECOVERABLE",
            Self::CoolingDown => "COOLING_DOWN",
            Self::ApprovalNeeded => "APPROVAL_NEEDED",
            Self::MinMembers => "MIN_MEMBERS",
            Self::NoSnapshot => "NO_SNAPSHOT",
            Self::DoubtfulSnapshot => "DOUBTFUL_SNAPSHOT",
            Self::EtcdRefuses => "ETCD_REFUSES",
            Self::Salvaging => "SALVAGING",
            Self::Saving => "SAVING",
            Self::Restoring => "RESTORING",
            Self::Starting => "STARTING",
            Self::Verifying => "VERIFYING",
            Self::Opening => "OPENING",
            Self::Replacing => "REPLACING",
            Self::ReplaceWaits => "REPLACE_WAITS",
            Self::Healing => "HEALING",
            Self::Restarting => "RESTARTING",
            Self::StoppedByOperator => "STOPPED_BY_OPERATOR",
            Self::Retrying => "RETRYING",
            Self::Unable => "UNABLE",
            Self::Requested => "REQUESTED",
        }
    }
}
