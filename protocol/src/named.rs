//! **named** — the stable name of every state that leaves the program: in records, in guards, in
//! what the operator reads.
//!
//! Comes from the enums of [`registry`](crate::registry), [`vote`](crate::vote),
//! [`manifest`](crate::manifest) and [`pack`](crate::pack). Goes to the wire and to the guards that compare with it. One
//! table serves both directions, so a name can't be written that isn't read, and the compiler
//! asks for a name when a variant is added. A name, once released, never changes its meaning.

use crate::{
    manifest::{Doubt, Reason},
    pack::Stored,
    registry::{Evidence, Parked, Phase, Stage, Why},
    vote::Health,
};

/// `name` and `parse` from one table.
macro_rules! names {
    ($type:ident { $($variant:ident $(($inner:path))? = $name:literal,)+ }) => {
        impl $type {
            /// Every value, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant $(($inner))?),+];

            /// Its stable name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant $(($inner))? => $name,)+
                }
            }

            /// The value called `name`; `None`: no value this version knows.
            pub fn parse(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant $(($inner))?),)+
                    _ => None,
                }
            }
        }
    };
}

names!(Phase {
    Genesis = "genesis",
    Idle = "idle",
    Fencing = "fencing",
    Aborted = "aborted",
    Committed = "committed",
    Restoring = "restoring",
    Starting = "starting",
    Verifying = "verifying",
    Open = "open",
    Healing = "healing",
});

names!(Stage {
    Intent = "intent",
    Removed = "removed",
    Added = "added",
    Promoting = "promoting",
    CalledOff = "called-off",
});

names!(Parked {
    Approval(Why::NoSource) = "approval-no-source",
    Approval(Why::Loss) = "approval-loss",
    Approval(Why::Salvage) = "approval-salvage",
    Approval(Why::Ask) = "approval-ask",
    Approval(Why::Doubt) = "approval-doubt",
    MinMembers = "min-members",
});

names!(Evidence {
    Consent = "consent",
    DataLost = "data-lost",
    NeverRan = "never-ran",
    Attested = "attested",
});

names!(Health {
    Healthy = "healthy",
    NoQuorum = "no-quorum",
    Stopped = "stopped",
    StoppedByOperator = "stopped-by-operator",
    DataLost = "data-lost",
    NeverRan = "never-ran",
    Unmounted = "unmounted",
    Unknown = "unknown",
});

names!(Reason {
    Timer = "timer",
    Hand = "hand",
    Suspicion = "suspicion",
    Salvage = "salvage",
    Opened = "opened",
    BeforeRollback = "before-rollback",
    Adopted = "adopted",
});

names!(Doubt {
    Empty = "empty",
    Shrunk = "shrunk",
    Rewound = "rewound",
    Differs = "differs",
    Corrupt = "corrupt",
});

names!(Stored {
    Plain = "plain",
    Zstd = "zstd",
    SealedZstd = "sealed-zstd",
});

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    macro_rules! reads_back {
        ($($type:ident),+) => {$(
            let names: BTreeSet<&str> = $type::ALL.iter().map(|value| value.name()).collect();
            assert_eq!(names.len(), $type::ALL.len(), "two values share a name");
            for value in $type::ALL {
                assert_eq!($type::parse(value.name()), Some(*value));
                assert_eq!($type::parse(&value.name().to_uppercase()), None, "names are exact");
            }
        )+};
    }

    #[test]
    fn every_name_reads_back() {
        reads_back!(Phase, Stage, Parked, Evidence, Health, Reason, Doubt, Stored);
    }
}
