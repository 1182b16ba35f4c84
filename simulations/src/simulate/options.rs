//! **options** — what one seed plays: drawn once, printed first, and all that a run depends on.
//!
//! Comes from a seed. Goes to [`Sim`](super::Sim). Swarm testing: each seed switches a random part of
//! the faults off altogether, because the rarest stories need most of the others to keep quiet.
//! Faults are planned before anything runs, so that one can be left out and the rest stay (shrinking).

use super::plots::{self, Plot};
use crate::pace::Pace;
use protocol::coordinator::{Mode, Threshold};
use std::fmt;

/// What may go wrong. All of it keeps to the assumptions A1-A7 of protocol.md 1.3: the table is
/// linearizable, what was fsynced stays, a terminated machine never runs again, attestations are true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The agent is killed and started again.
    AgentKilled,
    /// The agent stands still.
    AgentPaused,
    /// etcd is killed.
    EtcdKilled,
    /// A service manager starts etcd beside the agent, its gate asked a moment earlier.
    GateRaces,
    /// The machine loses power and comes back.
    PowerCut,
    /// Every machine loses power at once.
    Blackout,
    /// The machine stands still, messages wait in its buffers.
    Frozen,
    /// The machine is destroyed with its disks; another takes its place later.
    Destroyed,
    /// The machine is destroyed, its volume goes to the one that takes its place.
    VolumeMoved,
    /// Its data dir is emptied.
    Wiped,
    /// Its root disk is lost, the volume stays.
    RootLost,
    /// Its volume is not mounted for a while.
    Unmounted,
    /// Two machines come back with each other's volumes.
    VolumesSwapped,
    /// A copy of the machine with both disks starts beside it.
    Cloned,
    /// It reaches no other member.
    CutFromPeers,
    /// It reaches the table no more.
    CutFromTable,
    /// It reaches the bucket no more.
    CutFromBucket,
    /// It reaches neither.
    CutFromStores,
    /// Nobody reaches the table.
    TableDown,
    /// Nobody reaches the bucket.
    BucketDown,
    /// No snapshot fits on its disk.
    DiskFull,
    /// The newest snapshot can't be read for a while.
    SnapshotSpoilt,
    /// etcd refuses the member's data and every copy of it.
    MemberSpoilt,
    /// Its clock jumps ahead.
    ClockJumps,
    /// Its clock runs at another pace.
    ClockDrifts,
    /// An operator pauses automation, and ends the pause.
    Pause,
    /// An operator asks for a restore.
    Restore,
    /// An operator asks for a rollback, though a quorum lives.
    Rollback,
    /// An operator has a member replaced.
    Replace,
    /// An operator saves by hand.
    Save,
    /// An operator attests a machine of which the cloud's API says that it is gone.
    Attest,
    /// An operator answers a parked attempt.
    Answer,
    /// An operator calls an attempt off.
    Abort,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 33] = [
        Self::AgentKilled,
        Self::AgentPaused,
        Self::EtcdKilled,
        Self::GateRaces,
        Self::PowerCut,
        Self::Blackout,
        Self::Frozen,
        Self::Destroyed,
        Self::VolumeMoved,
        Self::Wiped,
        Self::RootLost,
        Self::Unmounted,
        Self::VolumesSwapped,
        Self::Cloned,
        Self::CutFromPeers,
        Self::CutFromTable,
        Self::CutFromBucket,
        Self::CutFromStores,
        Self::TableDown,
        Self::BucketDown,
        Self::DiskFull,
        Self::SnapshotSpoilt,
        Self::MemberSpoilt,
        Self::ClockJumps,
        Self::ClockDrifts,
        Self::Pause,
        Self::Restore,
        Self::Rollback,
        Self::Replace,
        Self::Save,
        Self::Attest,
        Self::Answer,
        Self::Abort,
    ];
}

/// One fault that is going to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// When, in milliseconds.
    pub at: u64,
    /// What.
    pub fault: Fault,
    /// Where: a number that is read as a choice among what is there then.
    pub pick: u64,
    /// For how long, in milliseconds.
    pub lasting: u64,
}

/// How often, in thousandths, a call to a store goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// It is refused and nothing happened: throttled, or another write of the object is under way (409).
    pub refused: u64,
    /// It happened, and the answer is lost.
    pub lost: u64,
    /// It is answered with "nobody knows" and happens later.
    pub late: u64,
    /// It happens, and once more later.
    pub twice: u64,
    /// A read of several rows shows them as of different moments.
    pub torn: u64,
    /// A LIST shows nothing of the last minute.
    pub stale: u64,
    /// A vote that is read was never cast.
    pub forged: u64,
    /// It takes very long.
    pub slow: u64,
    /// The cloud's API says of a machine that it is gone, or that it lives, and that is not so.
    pub cloud: u64,
    /// A regular snapshot is whole and doubtful: keys seem to be gone.
    pub doubted: u64,
}

/// Everything a run depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Where its randomness begins.
    pub seed: u64,
    /// Seats.
    pub members: usize,
    /// Windows and periods.
    pub pace: Pace,
    /// What the agents may do by themselves.
    pub mode: Mode,
    /// From when on somebody leads.
    pub threshold: Threshold,
    /// Most that may be lost without asking.
    pub max_loss: Option<u64>,
    /// How long things go wrong, in milliseconds.
    pub safety: u64,
    /// Calls to stores.
    pub rates: Rates,
    /// Least and most that half a call takes, in milliseconds.
    pub latency: (u64, u64),
    /// How often a client writes, in milliseconds.
    pub writes: u64,
    /// What goes wrong, in order.
    pub faults: Vec<Planned>,
    /// Seats whose machine is destroyed for good when things stop going wrong.
    pub lost_for_good: usize,
    /// What is played on purpose, if anything is.
    pub plot: Option<Plot>,
}

impl Options {
    /// Three, four or five seats, by the seed.
    pub fn seats(seed: u64) -> usize {
        3 + usize::try_from(seed % 3).unwrap_or(0)
    }

    /// The options of one seed, `minutes` of quick windows long.
    pub fn drawn(seed: u64, members: usize, pace: Pace, minutes: u64) -> Self {
        let safety = minutes * 60_000;
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut rate = |most: u64| if rng.bool() { 0 } else { rng.u64(0..=most) };
        let rates = Rates {
            refused: rate(50),
            lost: rate(50),
            late: rate(50),
            twice: rate(50),
            torn: rate(200),
            stale: rate(300),
            forged: rate(100),
            slow: rate(20),
            cloud: 0,
            doubted: 0,
        };
        let latency = (1, *rng.choice(&[5, 20, 100, 300]).unwrap_or(&20));
        let mode = if rng.u8(0..8) == 0 { Mode::Ask } else { Mode::Automatic };
        let threshold = if rng.u8(0..4) == 0 { Threshold::OneNth } else { Threshold::Quorum };
        let max_loss = (rng.u8(0..4) == 0).then(|| rng.u64(0..20));
        let writes = *rng.choice(&[500, 2_000, 10_000]).unwrap_or(&2_000);
        let stretch = pace.stretch();
        let faults = faults(&mut rng, safety);
        let slower = |planned: Planned| Planned {
            at: planned.at * stretch,
            lasting: planned.lasting * stretch,
            ..planned
        };
        let faults = faults.into_iter().map(slower).collect();
        let spare = members - protocol::cluster::quorum(members);
        let lost_for_good = if rng.bool() { 0 } else { rng.usize(0..=spare) };
        let lies = seed.is_multiple_of(2); // where it does not, more of what is attested is so
        let mut of_lies = |most| if lies { rng.u64(0..=most) } else { 0 };
        let rates = Rates { cloud: of_lies(500), doubted: of_lies(300), ..rates };
        let drawn = Self {
            seed,
            members,
            pace,
            mode,
            threshold,
            max_loss,
            safety: safety * stretch,
            rates,
            latency,
            writes: writes * stretch,
            faults,
            lost_for_good,
            plot: None,
        };
        // a plot looks every few moments whether its time has come: it is played with quick windows
        let plotted = pace == Pace::Quick && plots::is_plotted(seed);
        if plotted { plots::plotted(drawn) } else { drawn }
    }
}

/// Which faults at all, how often, and where they fall.
fn faults(rng: &mut fastrand::Rng, safety: u64) -> Vec<Planned> {
    let mut kinds = Fault::ALL.to_vec();
    rng.shuffle(&mut kinds);
    // half of the seeds play a few faults again and again, the others whatever there is
    let few = rng.bool();
    kinds.truncate(if few { rng.usize(2..6) } else { rng.usize(8..24) });
    let some: Vec<(Fault, u64)> =
        kinds.into_iter().map(|fault| (fault, 1 << rng.u64(0..4))).collect();
    let weight: u64 = some.iter().map(|(_, weight)| weight).sum();
    let gap = *rng.choice(&[1_000, 5_000, 20_000, 60_000]).unwrap_or(&20_000);
    let mut planned = Vec::new();
    let mut at = 20_000;
    if weight == 0 {
        return planned;
    }
    loop {
        at += rng.u64(0..2 * gap);
        if at >= safety {
            break;
        }
        let mut left = rng.u64(0..weight);
        let chosen = some.iter().find(|(_, weight)| {
            let found = left < *weight;
            left = left.saturating_sub(*weight);
            found
        });
        let Some((fault, _)) = chosen else { break };
        let lasting = 50 << rng.u64(0..11);
        planned.push(Planned { at, fault: *fault, pick: rng.u64(..), lasting });
    }
    planned
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rates { refused, lost, late, twice, torn, stale, forged, slow, cloud, doubted } =
            self.rates;
        let (least, most) = self.latency;
        writeln!(
            f,
            "seed {}: {} members, {:?} windows, {} s of faults, {:?}, threshold {:?}, max loss {:?}, {} lost for good",
            self.seed,
            self.members,
            self.pace,
            self.safety / 1000,
            self.mode,
            self.threshold,
            self.max_loss,
            self.lost_for_good
        )?;
        writeln!(
            f,
            "  stores, in thousandths: refused {refused}, answer lost {lost}, late {late}, twice {twice}, torn {torn}, \
             stale list {stale}, forged votes {forged}, slow {slow}; the cloud lies {cloud}, snapshots are doubted {doubted}; half a call \
             {least}-{most} ms; a write each {} ms",
            self.writes
        )?;
        if let Some(plot) = &self.plot {
            writeln!(f, "  plot {}, seats in the order {:?}", plot.kind.name(), plot.cast)?;
        }
        let mut kinds: Vec<(Fault, usize)> = Fault::ALL
            .iter()
            .map(|fault| {
                (*fault, self.faults.iter().filter(|planned| planned.fault == *fault).count())
            })
            .filter(|(_, count)| *count > 0)
            .collect();
        kinds.sort_by_key(|(fault, count)| (usize::MAX - count, *fault));
        let kinds: Vec<String> =
            kinds.iter().map(|(fault, count)| format!("{fault:?} {count}")).collect();
        write!(f, "  faults: {}", kinds.join(", "))
    }
}
