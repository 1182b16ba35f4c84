//! **mutant** — faults put into the core on purpose, one at a time, to see whether the checkers notice.
//!
//! Comes from `explore --mutants`, which switches one on. Goes to the places named here, each of
//! which asks [`is`]. A checker that lets a mutant live proves nothing about the core it was taken
//! from (protocol.md 1.12, 2.3 L5).
//!
//! All of M1 to M10 are here but one. M10, a fence record that is not bound to who ran the member (or, for
//! N, to the seat's owner), changes nothing that can be reached here, so it would be no mutant:
//!
//! * C and D. To count for another member than the one its machine ran, a fence of attempt a must land after
//!   `ran` changed while a is open. Within an incarnation `ran` changes by a first start alone, and that
//!   needs the seat's operation at `Added`: what it starts is a learner, in no configuration that counts.
//!   No membership write falls within FENCING, so none is promoted before a ends, and a fence of an attempt
//!   that ended counts nowhere (F1).
//! * N. If it lands before the first start on its seat, it has that start refused while it stands, whoever
//!   owns the seat; if it lands after, it stands for nobody (F2).
//!
//! The first model's bug needs a machine that takes another's `ran` over; there is no such write. What
//! would be left of M10 is `ran-by-owner`. M8 is more than that: the machine itself may have lost both
//! copies of its promise with its root disk, if its volume was not mounted when it promised.
//!
//! The switch exists only where debug assertions do: in a release build [`is`] is a constant `false`
//! and there is nothing to switch.

/// Declares the mutants with their names and what each takes away.
macro_rules! mutants {
    ($($variant:ident $name:literal $what:literal,)+) => {
        /// A fault of the core.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mutant {
            $(#[doc = $what] $variant,)+
        }

        impl Mutant {
            /// All of them, in the order of the argument.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its name on the command line.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What it does.
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$variant => $what,)+
                }
            }
        }
    };
}

mutants! {
    RecordBeforeMarker "record-before-marker" "M1: the fence is on record before the promise is on disk",
    CommitUnconditional "commit-unconditional" "M2: a leader's write asks for no epoch, version, phase or attempt",
    UnmarkUnasked "unmark-unasked" "M3: a promise is taken back without ABORTED",
    BlockingOneLess "blocking-one-less" "M4: one fence less than a blocking set is enough",
    StrangerNeverRan "stranger-never-ran" "M5: a new machine's word about a member it never ran counts",
    BootIgnoresMarker "boot-ignores-marker" "M6: etcd starts whatever was promised",
    MarkerOnVolumeOnly "marker-on-volume-only" "M7: the promise is kept on the data volume alone",
    FenceNotAdopted "fence-not-adopted" "M8: a machine does not take over the promise that its seat's fence stands for",
    AttestedUnwritten "attested-unwritten" "M9: an attested seat counts without a fence in its record",
    StaleToken "stale-token" "a leader's write asks for the version and not for its epoch",
    EvidenceOfAnyAttempt "evidence-of-any-attempt" "fences of earlier attempts count",
    UnmarkByAnyIncarnation "unmark-by-any-incarnation" "ABORTED of another incarnation frees a promise",
    AttemptReset "attempt-reset" "attempts begin anew with each incarnation",
    AttestUnbound "attest-unbound" "an attestation fences whoever sits on the seat now",
    NeverRetired "never-retired" "an incarnation that is over is not written off on the machine",
    NoSecondLook "no-second-look" "stopped before the promise counts as stopped after it",
    MarkedWhileRunning "marked-while-running" "the promise is made without stopping etcd",
    RequestKept "request-kept" "a committed attempt leaves its request standing",
    OpenedKept "opened-kept" "a committed attempt leaves `opened` standing",
    StartUnquarantined "start-unquarantined" "a restored member lets clients in at once",
    OpenUnverified "open-unverified" "clients are let in before anything was compared",
    CountedOnly "counted-only" "a fence that lands between the count and the commit is thrown away",
    ClosureOff "closure-off" "only the recorded configuration must be blocked",
    FixedBump "fixed-bump" "every restore adds the same bump",
    DoubtIgnored "doubt-ignored" "a doubtful snapshot is restored unasked",
    OldestSource "oldest-source" "the oldest snapshot is restored",
    RaftOrder "raft-order" "the longest log is salvaged, not the one that knows most to be committed",
    StaleListTrusted "stale-list-trusted" "a catalogue that lacked a snapshot once is not read again",
    SalvageSkipped "salvage-skipped" "a survivor that knows more than any snapshot is not waited for",
    VetoIgnored "veto-ignored" "a living or recoverable quorum does not call a guarded attempt off",
    HealthyConsents "healthy-consents" "a member that sees a quorum promises all the same",
    PausedIgnored "paused-ignored" "a pause holds nothing back",
    UnmountedIsLost "unmounted-is-lost" "an empty data dir is lost data on whatever file system",
    RestoresBeneath "restores-beneath" "a member is restored where its volume is to be mounted",
    RanByOwner "ran-by-owner" "the owner of a seat passes for the machine that ran its member",
    StartForeign "start-foreign" "another member's data is started and counted",
    ForeignLog "foreign-log" "a fence carries whatever log lies in the data dir",
    FirstStartUnguarded "first-start-unguarded" "a member that ran before is started as if it never had",
    UnmarkWhileAborted "unmark-while-aborted" "a promise is taken back only while ABORTED shows",
    FencingBarred "fencing-barred" "no attempt begins but from IDLE",
    NoReplan "no-replan" "a plan that can't be restored is never replaced",
    ConsentOverwritten "consent-overwritten" "a second consent takes the place of the first",
    SuccessorSilences "successor-silences" "a machine is not attested while its successor votes",
    OldSalvageAwaited "old-salvage-awaited" "the last incarnation's salvage is looked for in this one",
    BadForEver "bad-for-ever" "a snapshot that was unreadable once is not looked at again",
    ReplacesAtTheEdge "replaces-at-the-edge" "a member is taken out however few of the others are healthy",
    AsideEarly "aside-early" "a member's data is moved aside while it still votes",
    PromoteUnintended "promote-unintended" "a learner is promoted without an intent on record",
    NeverGivesWay "never-gives-way" "a replacement whose machine never comes holds up every other",
    TwoOperations "two-operations" "a replacement begins within another",
    StartUnrecorded "start-unrecorded" "etcd starts without the root disk's copy of `ran`",
    SilenceStops "silence-stops" "etcd is stopped because the stores say nothing",
    GatherOnly "gather-only" "a silent member that may make this a plain restart is not waited for",
    SeatForEver "seat-for-ever" "the seat of a machine that fell silent is never taken",
}

#[cfg(debug_assertions)]
static ACTIVE: core::sync::atomic::AtomicUsize = core::sync::atomic::AtomicUsize::new(usize::MAX);

impl Mutant {
    /// The one called so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|mutant| mutant.name() == name)
    }

    /// Switches the whole process to this mutant, or back to the sound core.
    #[cfg(debug_assertions)]
    pub fn switch(mutant: Option<Self>) {
        let index = mutant.map_or(usize::MAX, |mutant| mutant as usize);
        ACTIVE.store(index, core::sync::atomic::Ordering::Relaxed);
    }
}

/// Whether the core is this mutant.
#[cfg(debug_assertions)]
pub fn is(mutant: Mutant) -> bool {
    ACTIVE.load(core::sync::atomic::Ordering::Relaxed) == mutant as usize
}

/// Whether the core is this mutant: never, in a release build.
#[cfg(not(debug_assertions))]
pub const fn is(_: Mutant) -> bool {
    false
}
