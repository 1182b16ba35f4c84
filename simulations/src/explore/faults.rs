//! **faults** — what may go wrong, and how often in one sub-model.
//!
//! Comes in: a sub-model's allowance. Goes out: whether a fault may still happen. Everything that
//! has no end by itself is counted here, so that the number of states is finite; the allowance is
//! the bound that a run states.

/// Something that happens a limited number of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// etcd is killed.
    Kill,
    /// An agent process ends; what it had asked for is not done.
    Crash,
    /// A machine loses its power, and comes back.
    PowerCut,
    /// A data volume is emptied in place.
    Wipe,
    /// A machine is terminated, its disks with it.
    Destroy,
    /// A machine is terminated, and its volume survives it.
    DestroyKeepVolume,
    /// A new machine takes the name of a seat.
    Replace,
    /// The volume of a terminated machine is mounted on a new one.
    MoveVolume,
    /// A machine that is down loses its root disk.
    LoseRoot,
    /// A data volume is not mounted any more.
    Unmount,
    /// Something was done, and the one who asked never hears of it.
    LoseAnswer,
    /// A write is given up, or its sender ends, and it is applied later.
    Late,
    /// A write is applied, and once more later.
    Twice,
    /// An operator truly says that a machine is gone.
    AttestTrue,
    /// An operator says so of a machine that lives.
    AttestFalse,
    /// An operator asks for a rollback.
    Rollback,
    /// An operator pauses everything, and may resume it.
    Pause,
    /// An operator calls an attempt off.
    CallOff,
    /// Nobody reaches the stores for long.
    Cut,
    /// Every voice says that its member failed, whatever is true.
    Alarm,
    /// An agent hears nobody but itself.
    Deaf,
    /// A service manager asks the gate and starts etcd by itself.
    Gate,
    /// A client writes.
    Put,
    /// Another member is elected beside a leader that does not know it yet.
    Elect,
    /// The voters are changed by hand.
    ByHand,
    /// An operator asks for a member's replacement.
    AskReplace,
}

/// As often as there is occasion.
pub const ALWAYS: u8 = u8::MAX;

/// As often as it takes to leave no quorum.
pub const A_QUORUM: u8 = u8::MAX - 1;

const KINDS: usize = Fault::AskReplace as usize + 1;

/// What may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Allowance([u8; KINDS]);

impl Allowance {
    /// These faults, so often each.
    pub fn of(faults: &[(Fault, u8)], members: usize) -> Self {
        let mut counts = [0; KINDS];
        for (fault, count) in faults {
            let lost = protocol::cluster::blocking(members) as u8;
            counts[*fault as usize] = if *count == A_QUORUM { lost } else { *count };
        }
        Self(counts)
    }

    /// Everything, always.
    pub const fn any() -> Self {
        Self([ALWAYS; KINDS])
    }

    /// Whether it may happen once more.
    pub const fn has(&self, fault: Fault) -> bool {
        self.0[fault as usize] > 0
    }

    /// The same after it happened; `None`: it may not.
    pub fn spend(&self, fault: Fault) -> Option<Self> {
        let mut rest = *self;
        let count = &mut rest.0[fault as usize];
        *count = match *count {
            ALWAYS => ALWAYS,
            count => count.checked_sub(1)?,
        };
        Some(rest)
    }
}
