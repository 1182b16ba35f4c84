//! **plots** — stories that chance hardly ever tells: a few faults in a given order, each struck when the
//! records show that its moment has come.
//!
//! Comes from the seed: one in eight plays a plot, with the seats in an order of its own, moments that
//! vary, and few other faults or none. Goes to [`cues`](super::cues), which strikes. A plot is an attack
//! on one defence of the core that only such a story meets; the sound core must come through it like
//! through any other.

use super::{Fault, Options, options::Rates};
use protocol::{
    cluster::quorum,
    coordinator::Mode,
    effect::Effect,
    registry::{Phase, Stage},
};

/// When a plot first looks whether its time has come, in milliseconds.
pub(super) const BEGINS: u64 = 15_000;

/// How long things go wrong in a plotted seed at most, in milliseconds.
const LASTS: u64 = 360_000;

/// One seed in so many plays a plot in its turn.
const ONE_IN: u64 = 8;

/// Of so many seeds, beside the turns, these play what is rarer.
const BESIDE_IN: u64 = 64;
const BESIDE: [(u64, Kind); 4] =
    [(56, Kind::LateFence), (58, Kind::Beneath), (60, Kind::NeverComes), (62, Kind::AtTheEdge)];

/// What is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A restored cluster loses all of its data again before its first snapshot: one file is restored
    /// twice, and clients saw what the first restore led to.
    OneFileTwice,
    /// The survivor knows more than any snapshot and its data is refused, while every restore is asked
    /// for: two consents are needed.
    TwoConsents,
    /// Members are removed by hand while those that stay are cut off from the stores, and all but one of
    /// the removed lose their data: nothing but that one's log says how small a quorum is by now.
    RemovedByHand,
    /// A machine is gone, truly attested and replaced; its successor makes a quorum with others that are
    /// cut off from the stores, while copies of their machines speak for their seats.
    Successor,
    /// While a seat is refilled, its machine gets another member's volume.
    AnothersVolume,
    /// A member is fenced while its volume is not mounted, and then loses its root disk.
    Unmarked,
    /// A healthy member is to be replaced by word while no more than a quorum lives.
    AtTheEdge,
    /// A member that was just promoted makes a quorum with others in the same way.
    Promoted,
    /// The pinned snapshot can't be read any more while members restore it.
    Unreadable,
    /// A seat's machine falls silent for good while it is refilled, and another seat's data is lost.
    NeverComes,
    /// Those who survive a loss reach the table again while a commit is on its way, which takes long: a fence
    /// lands between the count and the commit.
    LateFence,
    /// A volume is lost sight of right before its member is restored.
    Beneath,
}

/// A plot and who plays in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plot {
    /// What is played.
    pub kind: Kind,
    /// The seats in the order of their roles.
    pub cast: Vec<usize>,
}

impl Plot {
    /// Whether a call takes long in it: the first plan, while those who were cut off come back, and then
    /// its commit, though no longer than a lease lives.
    pub(super) fn holds(&self, effect: &Effect, played: &Played) -> bool {
        let due = match effect {
            Effect::PutPlan(_) => LATE_FENCE.len(),
            Effect::Write(change) if change.name == "commit" => LATE_FENCE.len() + 1,
            _ => return false,
        };
        self.kind == Kind::LateFence && played.begun == due
    }
}

/// How far a plot is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Played {
    /// Steps that were begun.
    pub(super) begun: usize,
    /// When the latest was last done.
    pub(super) at: u64,
}

/// What must be seen before a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cue {
    /// The cluster rests, serves, and has a snapshot.
    Settled,
    /// The same, and clients were told of writes that no snapshot has.
    Unsaved,
    /// So many milliseconds have passed since the last step.
    Later(u64),
    /// A restored incarnation is in this phase.
    Restored(Phase),
    /// A client was told of a write to a restored incarnation.
    Acknowledged,
    /// The first role's seat is fenced for the open attempt.
    Fenced,
    /// Automation is paused.
    Paused,
    /// The first role's seat is being refilled, at this stage.
    Refilled(Stage),
    /// etcd's own members go by the promotion of what is added to the first role's seat.
    Votes,
    /// Another machine lives on the first role's seat.
    Succeeded,
    /// Its machine ran its member, and all is well again.
    Reseated,
}

/// Whom a step strikes, by roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// The first role.
    First,
    /// The roles from one to another.
    Of(usize, usize),
    /// So many that a quorum is lost.
    Blocking,
    /// All but those.
    Rest,
    /// After the first: one less than a quorum's loss takes.
    Others,
    /// The first, and all after those.
    Unhurt,
    /// So few that they are no quorum.
    Few,
    /// All but those and the last.
    Removed,
    /// Everybody.
    All,
}

impl Who {
    /// The roles, of so many.
    pub(super) fn roles(self, members: usize) -> std::ops::Range<usize> {
        let blocking = protocol::cluster::blocking(members);
        match self {
            Self::First => 0..1,
            Self::Of(from, to) => from..to.min(members),
            Self::Blocking => 0..blocking,
            Self::Rest => blocking..members,
            Self::Others => 1..blocking,
            Self::Unhurt => blocking..members + 1, // the first follows the last
            Self::Few => 0..members - quorum(members),
            Self::Removed => members - quorum(members)..members - 1,
            Self::All => 0..members,
        }
    }
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// A fault, for about so many milliseconds.
    Strike(Fault, Who, u64),
    /// A fault that strikes the stores, or what lies in them.
    Silence(Fault, u64),
    /// The first role's machine and the next lose power and get each other's volumes.
    SwapVolumes(u64),
    /// Detached volumes are mounted again.
    Remount,
    /// Whoever was cut off is not any more.
    Relink,
    /// Members are removed by hand until only these are left.
    Remove(Who),
    /// An operator speaks, until that is on record.
    Say(Fault),
}

/// A cue and what follows it.
pub(super) type Step = (Cue, Act);

const ONE_FILE_TWICE: &[Step] = &[
    (Cue::Settled, Act::Strike(Fault::Wiped, Who::Blocking, 0)),
    (Cue::Restored(Phase::Verifying), Act::Silence(Fault::BucketDown, 8_000)),
    (Cue::Acknowledged, Act::Strike(Fault::Wiped, Who::All, 0)),
];

const TWO_CONSENTS: &[Step] = &[
    (Cue::Unsaved, Act::Strike(Fault::Wiped, Who::Blocking, 0)),
    (Cue::Later(0), Act::Strike(Fault::MemberSpoilt, Who::Rest, 0)),
    (Cue::Later(15_000), Act::Say(Fault::Answer)),
];

const REMOVED_BY_HAND: &[Step] = &[
    (Cue::Settled, Act::Strike(Fault::CutFromStores, Who::Few, 90_000)),
    (Cue::Later(0), Act::Remove(Who::Few)),
    (Cue::Later(200), Act::Strike(Fault::Wiped, Who::Removed, 0)),
    (Cue::Later(60_000), Act::Relink),
    (Cue::Later(3_000), Act::Say(Fault::Rollback)),
];

const SUCCESSOR: &[Step] = &[
    (Cue::Settled, Act::Strike(Fault::Destroyed, Who::First, 3_000)),
    (Cue::Succeeded, Act::Say(Fault::Attest)),
    (Cue::Reseated, Act::Strike(Fault::Wiped, Who::Others, 0)),
    (Cue::Later(0), Act::Strike(Fault::CutFromStores, Who::Unhurt, 30_000)),
    (Cue::Later(0), Act::Strike(Fault::Cloned, Who::Unhurt, 8_000)),
];

const ANOTHERS_VOLUME: &[Step] = &[
    (Cue::Settled, Act::Say(Fault::Replace)),
    (Cue::Refilled(Stage::Intent), Act::SwapVolumes(2_000)),
    (Cue::Later(0), Act::Strike(Fault::Wiped, Who::Of(2, 3), 0)),
];

const UNMARKED: &[Step] = &[
    (Cue::Settled, Act::Strike(Fault::Unmounted, Who::First, 60_000)),
    (Cue::Later(0), Act::Strike(Fault::Wiped, Who::Others, 0)),
    (Cue::Fenced, Act::Say(Fault::Pause)),
    (Cue::Paused, Act::Strike(Fault::RootLost, Who::First, 500)),
    (Cue::Later(0), Act::Remount),
];

const PROMOTED: &[Step] = &[
    (Cue::Settled, Act::Strike(Fault::Wiped, Who::First, 0)),
    (Cue::Votes, Act::Strike(Fault::Wiped, Who::Others, 0)),
    (Cue::Later(0), Act::Strike(Fault::CutFromStores, Who::Unhurt, 30_000)),
    (Cue::Later(0), Act::Strike(Fault::Cloned, Who::Unhurt, 8_000)),
];

const UNREADABLE: &[Step] = &[
    (Cue::Settled, Act::Strike(Fault::Wiped, Who::Blocking, 0)),
    (Cue::Restored(Phase::Restoring), Act::Silence(Fault::SnapshotSpoilt, 60_000)),
];

const NEVER_COMES: &[Step] = &[
    (Cue::Settled, Act::Say(Fault::Replace)),
    (Cue::Refilled(Stage::Intent), Act::Strike(Fault::PowerCut, Who::First, 300_000)),
    (Cue::Refilled(Stage::Added), Act::Strike(Fault::Wiped, Who::Of(1, 2), 0)),
];

const BENEATH: &[Step] = &[
    (Cue::Settled, Act::Strike(Fault::Wiped, Who::Blocking, 0)),
    (Cue::Restored(Phase::Restoring), Act::Strike(Fault::Unmounted, Who::First, 60_000)),
];

const LATE_FENCE: &[Step] = &[
    (Cue::Unsaved, Act::Strike(Fault::CutFromTable, Who::Rest, 60_000)),
    (Cue::Later(0), Act::Strike(Fault::Wiped, Who::Blocking, 0)),
];

const AT_THE_EDGE: &[Step] = &[
    (Cue::Settled, Act::Strike(Fault::PowerCut, Who::Others, 90_000)),
    (Cue::Later(30_000), Act::Say(Fault::Replace)),
];

impl Kind {
    /// Those that take turns.
    const IN_TURN: [Self; 8] = [
        Self::OneFileTwice,
        Self::TwoConsents,
        Self::RemovedByHand,
        Self::Successor,
        Self::AnothersVolume,
        Self::Unmarked,
        Self::Promoted,
        Self::Unreadable,
    ];

    /// Its name in a report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OneFileTwice => "one file twice",
            Self::TwoConsents => "two consents",
            Self::RemovedByHand => "removed by hand",
            Self::Successor => "successor",
            Self::AnothersVolume => "another's volume",
            Self::Unmarked => "unmarked",
            Self::Promoted => "promoted",
            Self::Unreadable => "unreadable",
            Self::NeverComes => "never comes",
            Self::Beneath => "beneath",
            Self::LateFence => "late fence",
            Self::AtTheEdge => "at the edge",
        }
    }

    pub(super) const fn steps(self) -> &'static [Step] {
        match self {
            Self::OneFileTwice => ONE_FILE_TWICE,
            Self::TwoConsents => TWO_CONSENTS,
            Self::RemovedByHand => REMOVED_BY_HAND,
            Self::Successor => SUCCESSOR,
            Self::AnothersVolume => ANOTHERS_VOLUME,
            Self::Unmarked => UNMARKED,
            Self::Promoted => PROMOTED,
            Self::Unreadable => UNREADABLE,
            Self::NeverComes => NEVER_COMES,
            Self::Beneath => BENEATH,
            Self::LateFence => LATE_FENCE,
            Self::AtTheEdge => AT_THE_EDGE,
        }
    }
}

const fn takes_turn(seed: u64) -> bool {
    seed % ONE_IN == ONE_IN - 1
}

fn beside(seed: u64) -> Option<Kind> {
    let mut all = BESIDE.iter();
    all.find(|(at, _)| seed % BESIDE_IN == *at).map(|(_, kind)| *kind)
}

/// Whether a seed plays a plot.
pub(super) fn is_plotted(seed: u64) -> bool {
    takes_turn(seed) || beside(seed).is_some()
}

/// The options of a plotted seed, made of those that chance drew. The plots take turns; what is drawn for
/// one comes from a stream of its own, so that all other seeds stay the stories that they were.
pub(super) fn plotted(drawn: Options) -> Options {
    let mut rng = fastrand::Rng::with_seed(drawn.seed ^ 0x0CA57);
    let turn = drawn.seed / ONE_IN % Kind::IN_TURN.len() as u64;
    let in_turn = Kind::IN_TURN[usize::try_from(turn).unwrap_or(0)];
    let kind = beside(drawn.seed).unwrap_or(in_turn);
    let mut cast: Vec<usize> = (0..drawn.members).collect();
    rng.shuffle(&mut cast);
    let mut options =
        Options { safety: drawn.safety.min(LASTS), plot: Some(Plot { kind, cast }), ..drawn };
    options.mode = if kind == Kind::TwoConsents { Mode::Ask } else { Mode::Automatic };
    options.max_loss = None;
    if kind == Kind::NeverComes {
        options.lost_for_good = 1;
    }
    options.rates.forged = 0; // a forged sign of life would hold every attempt back
    if rng.bool() {
        options.rates = Rates::default();
    }
    let others = if rng.bool() { 0 } else { rng.usize(0..4) };
    options.faults.truncate(others);
    options
}
