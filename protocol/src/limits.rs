//! **limits** — every bound and every timer in one place.
//!
//! Comes from protocol.md 1.1 (defaults) and 1.9. Goes to every stage. The relations between
//! timers that the safety or liveness argument needs are asserted when the program is compiled.

use crate::time::Span;

/// Most seats a cluster may have. etcd advises 7; 9 leaves room for growth and keeps the commit's
/// transaction far below DynamoDB's limit of 100 items.
pub const SLOTS_MAX: usize = 9;
/// Aborted attempts after which a leader waits a whole window (protocol.md L8).
pub const ABORTS_PER_WINDOW: u32 = 3;
/// Least `--bump-revision` of a restore (etcd.md 3.2; the customary value).
pub const BUMP_MIN: u64 = 1_000_000_000;
/// Highest revision that a vote is believed: etcd counts in int64, and 2^62 leaves room for some
/// 4 * 10^9 restores with their bumps. A vote may say anything (protocol.md S21).
pub const REVISION_MAX: u64 = 1 << 62;
/// Highest revision of a snapshot that may be restored: with its bump it still fits into int64. Well
/// above [`REVISION_MAX`], since a vote that claims as much moves all later revisions beyond it.
pub const REVISION_END: u64 = i64::MAX as u64 - 2 * BUMP_MIN;
/// Copies of a member's data that etcd must refuse before the data counts as lost, or as not to be
/// salvaged (protocol.md 1.4 "When data is lost").
pub const REFUSALS: u32 = 3;
/// Starts of etcd without an answer after which its data is tried on a copy.
pub const STARTS_IN_VAIN: u32 = 5;
/// Failures in a row after which a leader lets another try.
pub const FAILURES_OF_A_LEADER: u32 = 5;
/// Periods in which the saver's turn may stand still before another member takes it over: it may have
/// missed one, and a save may take longer than a period.
pub const TURNS_MISSED: u64 = 3;
/// A save takes at most one part in this many of the time: a file that streams for longer than a third of
/// the period is saved less often (etcd.md 7: a stream keeps a core of etcd's machine busy).
pub const SAVE_SHARE: u64 = 3;
/// Longest time between two saves by the clock, however long one takes: it may have been held up once.
pub const SAVE_PERIOD_MAX: Span = Span::seconds(1800);
/// Longest reason that is kept with an operator's word for a snapshot, in bytes: some sentences.
pub const BECAUSE_MAX: usize = 1024;
/// Most words for snapshots that are kept: with their reasons a tenth of what an item of DynamoDB holds.
pub const ADOPTED_MAX: usize = 32;
/// Manifests of an incarnation that are read at least, the newest by name first, beside those that are
/// pointed to.
pub const MANIFESTS_READ: usize = 32;
/// And of these so many that nobody doubts, however far back they are: a night of doubtful snapshots must
/// not hide the last sound one, which is the measure of the next and what a restore goes back to.
pub const MANIFESTS_SOUND: usize = 8;
/// Most older snapshots that a plan lists as the next candidates.
pub const FALLBACKS_MAX: usize = 4;

/// How long an operator's word waits for a scene to be weighed in; shorter than the asker's own
/// patience, so that a word that was given up is not obeyed later.
pub const WORD_PATIENCE: Span = Span::seconds(6);

/// Timers of one cluster, milliseconds. `PRODUCTION` is what ships.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timers {
    /// How often an agent reads the registry and looks at its own member.
    pub poll: Span,
    /// How often an agent publishes its vote and reads the others'.
    pub vote: Span,
    /// How long a linearizable read proves a living quorum.
    pub lin: Span,
    /// How long a suspicion must hold before anybody acts.
    pub confirm: Span,
    /// How long a complete blocking set waits for more evidence.
    pub gather: Span,
    /// How long a silent but possibly intact member is waited for.
    pub permanent: Span,
    /// How long an attempt that doesn't block may last.
    pub fence: Span,
    /// How long appends already sent may still arrive before the source is chosen (protocol.md 1.4).
    pub drain: Span,
    /// How long a lease lasts, as an observer counts it.
    pub lease_ttl: Span,
    /// How often the holder renews.
    pub lease_renew: Span,
    /// What an observer adds to the ttl.
    pub lease_margin: Span,
    /// Widest gap between two successful reads over which evidence goes on to accrue.
    pub gap: Span,
    /// How long the rest of the plan's members may lag behind the first q that are restored.
    pub restore: Span,
    /// First cool-down after an abort; doubles with each.
    pub recover: Span,
    /// How long a member must have been failed before it is replaced.
    pub replace: Span,
    /// How often a snapshot is taken while all is well; zero: never by itself.
    pub snapshot: Span,
    /// How often a save asks the other members whether they hold the same.
    pub peer_check: Span,
    /// How often a save renews the plain `snapshot.db` at its old URI.
    pub export: Span,
    /// How long the stores are tried before a member starts on its own record (boot rule 2).
    pub alone: Span,
    /// How often the recorded members are compared with etcd's own list (protocol.md 1.4).
    pub reconcile: Span,
}

impl Timers {
    /// The shipped defaults (protocol.md 1.1).
    pub const PRODUCTION: Self = Self {
        poll: Span::seconds(2),
        vote: Span::seconds(5),
        lin: Span::seconds(15),
        confirm: Span::seconds(60),
        gather: Span::seconds(120),
        permanent: Span::seconds(600),
        fence: Span::seconds(300),
        drain: Span::seconds(2),
        lease_ttl: Span::seconds(20),
        lease_renew: Span::seconds(5),
        lease_margin: Span::seconds(5),
        gap: Span::seconds(10),
        restore: Span::seconds(600),
        recover: Span::seconds(60),
        replace: Span::seconds(600),
        snapshot: Span::seconds(60),
        peer_check: Span::seconds(600),
        export: Span::seconds(900),
        alone: Span::seconds(30),
        reconcile: Span::seconds(60),
    };

    /// Short windows for drills. The relations between the timers are those of `PRODUCTION`.
    pub const QUICK: Self = Self {
        poll: Span(250),
        vote: Span(500),
        lin: Span(2_000),
        confirm: Span(3_000),
        gather: Span(3_000),
        permanent: Span::seconds(20),
        fence: Span::seconds(15),
        drain: Span(500),
        lease_ttl: Span(3_000),
        lease_renew: Span(750),
        lease_margin: Span(750),
        gap: Span(2_000),
        restore: Span::seconds(20),
        recover: Span::seconds(5),
        replace: Span::seconds(4),
        snapshot: Span::seconds(10),
        peer_check: Span::seconds(20),
        export: Span::seconds(30),
        alone: Span(3_000),
        reconcile: Span::seconds(5),
    };

    const fn is_consistent(&self) -> bool {
        self.lease_renew.0 * 2 < self.lease_ttl.half().0 * 2 // renewed before the holder stops acting
            && self.poll.0 * 2 <= self.gap.0 // two polls a gap
            && self.vote.0 * 2 <= self.gap.0
            && self.vote.0 * 2 < self.lin.0 // a veto is renewed before it ends
            && self.gather.0 < self.fence.0 // an attempt outlives its gathering
            && self.lin.0 <= self.confirm.0
            && self.drain.0 <= self.gather.0
            && self.gap.0 < self.alone.0 // a store that was slow once is no silent store
    }
}

const _: () = assert!(Timers::PRODUCTION.is_consistent());
const _: () = assert!(Timers::QUICK.is_consistent());
