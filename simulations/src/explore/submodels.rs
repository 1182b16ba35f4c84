//! **submodels** — the full model is too large for one run; these are the parts whose union covers
//! every fault. Each says what may go wrong, how often, and what it must be able to show.

use super::{
    action::{Action, Mishap},
    faults::{A_QUORUM, ALWAYS, Fault},
    witness::Witness,
};
use protocol::{
    cluster::blocking,
    registry::{Change, Records},
};

/// What bounds a sub-model, beside the count of each fault.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Attempts that may be opened.
    pub attempts: u64,
    /// Times the lease may be taken.
    pub leaders: u64,
    /// Incarnations that may end.
    pub incarnations: u64,
    /// Whether a restore goes on after its commit; otherwise a committed plan stays what it is, and
    /// what is left of the old incarnation goes on.
    pub restores: bool,
    /// Version of the decision head up to which a restore may be planned anew.
    pub replans: u64,
    /// States after which the search ends and says so.
    pub states: u64,
}

impl Bounds {
    /// Whether a write is within them. What is not seen is cut off at the one who asks, so a run
    /// within its bounds is complete.
    pub(super) fn allow(&self, change: &Change, records: &Records) -> bool {
        let Some(ctrl) = &records.ctrl else { return false };
        let epoch = ctrl.lease.as_ref().map_or(0, |lease| lease.epoch);
        match change.name {
            "start fencing" => ctrl.attempt < self.attempts,
            "acquire" => epoch < self.leaders,
            "commit" => ctrl.inc < self.incarnations,
            "replan" => ctrl.version < self.replans,
            "advance" | "report" => self.restores,
            "membership" => false,
            _other => true,
        }
    }
}

/// What has happened before a sub-model begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Nothing.
    Settled,
    /// The first seats have lost their data, just so many that no quorum is left.
    QuorumLost,
    /// One fewer.
    OneLessLost,
    /// The first seat's member leads and its agent has ended; the last seats have lost their data,
    /// one fewer than it takes.
    LeaderCutOff,
}

impl Begin {
    /// As actions.
    pub(super) fn actions(self, members: usize) -> Vec<Action> {
        let lost = blocking(members);
        match self {
            Self::Settled => Vec::new(),
            Self::QuorumLost => (0..lost).map(|seat| Action::Befall(Mishap::Wipe(seat))).collect(),
            Self::OneLessLost => {
                (0..lost - 1).map(|seat| Action::Befall(Mishap::Wipe(seat))).collect()
            }
            Self::LeaderCutOff => {
                let last = members - (lost - 1)..members;
                last.map(|seat| Action::Befall(Mishap::Wipe(seat)))
                    .chain([Action::Crash(0)])
                    .collect()
            }
        }
    }

    const fn in_words(self) -> &'static str {
        match self {
            Self::Settled => "all is well",
            Self::QuorumLost => "a quorum's data is lost",
            Self::OneLessLost => "one less than a quorum's data is lost",
            Self::LeaderCutOff => {
                "etcd's leader has no agent, one less than a quorum's data is lost"
            }
        }
    }
}

impl SubModel {
    /// The same with so many seats.
    #[must_use]
    pub fn with_members(self, members: usize) -> Self {
        Self { members, ..self }
    }

    /// Whether data or machines may be lost.
    pub fn hurts(&self) -> bool {
        let harmless = |fault: &Fault| {
            matches!(
                fault,
                Fault::Kill | Fault::Crash | Fault::PowerCut | Fault::Gate | Fault::Alarm
            ) || matches!(fault, Fault::Late | Fault::Twice | Fault::LoseAnswer | Fault::Cut)
        };
        self.begins != Begin::Settled || !self.faults.iter().all(|(fault, _)| harmless(fault))
    }

    /// What may go wrong and how often, with its bounds.
    pub fn bounds_in_words(&self) -> String {
        let often = |count: u8| match count {
            ALWAYS => "at will".to_owned(),
            A_QUORUM => format!("x{}", blocking(self.members)),
            count => format!("x{count}"),
        };
        let faults: Vec<String> = self
            .faults
            .iter()
            .map(|(fault, count)| format!("{fault:?} {}", often(*count)))
            .collect();
        let Bounds { attempts, leaders, incarnations, restores, states, .. } = self.bounds;
        format!(
            "{} seats; at first {}; {}; attempts {attempts}, leaders {leaders}, incarnations \
             {incarnations}{}; machine steps {}; at most {states} states",
            self.members,
            self.begins.in_words(),
            if faults.is_empty() { "no fault".to_owned() } else { faults.join(", ") },
            if restores { ", restores run" } else { ", up to the commit" },
            if self.coarse { "at once" } else { "one by one" },
        )
    }
}

/// All faults that these sub-models have in them.
pub fn covered(chosen: &[SubModel]) -> Vec<String> {
    let all: std::collections::BTreeSet<Fault> =
        chosen.iter().flat_map(|sub| sub.faults.iter().map(|(fault, _)| *fault)).collect();
    all.into_iter().map(|fault| format!("{fault:?}")).collect()
}

/// One part of the model.
#[derive(Clone, Debug)]
pub struct SubModel {
    /// Its name.
    pub name: &'static str,
    /// What it covers, in a sentence.
    pub covers: &'static str,
    /// Seats.
    pub members: usize,
    /// What has gone wrong before it begins.
    pub begins: Begin,
    /// What may go wrong, and how often.
    pub faults: &'static [(Fault, u8)],
    /// How far it goes.
    pub bounds: Bounds,
    /// Machine effects (stop, mark, start, swap) are done within the turn that asks for them.
    pub coarse: bool,
    /// What an agent writes into its own seat's record is applied within its turn.
    pub prompt: bool,
    /// Fewest live agents for a restore.
    pub min_members: Option<usize>,
    /// Mirror images are left out.
    pub reduced: bool,
    /// What it must be able to show.
    pub shows: &'static [Witness],
    /// An operator lies: S1 must break, and by nothing else than that.
    pub breaks: bool,
}

const fn bounds(attempts: u64, leaders: u64, incarnations: u64) -> Bounds {
    let states = 250_000;
    Bounds { attempts, leaders, incarnations, restores: true, replans: 0, states }
}

/// The same, up to the decision and what old members may do after it.
const fn decision(attempts: u64, leaders: u64, incarnations: u64) -> Bounds {
    Bounds { restores: false, ..bounds(attempts, leaders, incarnations) }
}

const BASE: SubModel = SubModel {
    name: "",
    covers: "",
    members: 3,
    begins: Begin::Settled,
    faults: &[],
    bounds: bounds(1, 1, 2),
    coarse: true,
    prompt: true,
    min_members: None,
    reduced: true,
    shows: &[],
    breaks: false,
};

/// All sub-models.
pub const ALL: &[SubModel] = &[
    SubModel {
        name: "wipes",
        covers: "two data volumes are emptied at any time; from the loss to a whole cluster",
        faults: &[(Fault::Wipe, A_QUORUM)],
        shows: &[Witness::Opened, Witness::Healed, Witness::LostData, Witness::Consented],
        ..BASE
    },
    SubModel {
        name: "lies",
        covers: "nothing is lost; every vote may be a lie, and two agents lead",
        faults: &[(Fault::Alarm, ALWAYS)],
        bounds: decision(1, 2, 2),
        shows: &[Witness::Aborted, Witness::RunsAgain, Witness::TwoLeaders],
        ..BASE
    },
    SubModel {
        name: "leaders",
        covers: "the lease changes hands twice, and whoever held it goes on unaware",
        begins: Begin::QuorumLost,
        bounds: decision(1, 3, 2),
        shows: &[Witness::TwoLeaders, Witness::Refused],
        ..BASE
    },
    SubModel {
        name: "attempts",
        covers: "agents end at any time; a second attempt after an abort",
        begins: Begin::QuorumLost,
        faults: &[(Fault::Crash, 2)],
        bounds: decision(2, 1, 2),
        shows: &[Witness::SecondAttempt, Witness::Reseated],
        ..BASE
    },
    SubModel {
        name: "late",
        covers: "a write is given up and applied later, by its sender's death or without it",
        begins: Begin::QuorumLost,
        faults: &[(Fault::Late, 2), (Fault::Crash, 1)],
        bounds: decision(2, 1, 2),
        shows: &[Witness::LateWrite],
        prompt: false,
        ..BASE
    },
    SubModel {
        name: "twice",
        covers: "a write is applied twice, the second time whenever it likes",
        begins: Begin::QuorumLost,
        faults: &[(Fault::Twice, 2)],
        bounds: decision(2, 2, 2),
        shows: &[Witness::LateWrite],
        prompt: false,
        ..BASE
    },
    SubModel {
        name: "answers",
        covers: "answers are lost, agents end between any two steps of their machine",
        begins: Begin::QuorumLost,
        faults: &[(Fault::LoseAnswer, 1), (Fault::Crash, 1)],
        bounds: decision(1, 1, 2),
        coarse: false,
        prompt: false,
        shows: &[Witness::Reseated],
        ..BASE
    },
    SubModel {
        name: "gates",
        covers: "power is cut, etcd is started behind the gate, the stores are silent",
        begins: Begin::OneLessLost,
        faults: &[(Fault::Wipe, 1), (Fault::PowerCut, 1), (Fault::Gate, 1), (Fault::Cut, 1)],
        bounds: decision(1, 1, 2),
        coarse: false,
        prompt: false,
        ..BASE
    },
    SubModel {
        name: "machines",
        covers: "machines are terminated, replaced, and their volumes mounted elsewhere",
        faults: &[
            (Fault::DestroyKeepVolume, A_QUORUM),
            (Fault::Replace, 2),
            (Fault::MoveVolume, 1),
            (Fault::AttestTrue, 1),
        ],
        bounds: decision(1, 1, 2),
        shows: &[Witness::Attested],
        ..BASE
    },
    SubModel {
        name: "disks",
        covers: "root disks are lost and volumes unmounted",
        begins: Begin::OneLessLost,
        faults: &[
            (Fault::Wipe, 1),
            (Fault::PowerCut, 1),
            (Fault::LoseRoot, 1),
            (Fault::Unmount, 1),
        ],
        bounds: decision(1, 1, 2),
        ..BASE
    },
    SubModel {
        name: "perjury",
        covers: "an operator says that a machine is gone which lives: only this may break S1",
        faults: &[(Fault::Wipe, 1), (Fault::AttestFalse, 1), (Fault::Deaf, ALWAYS)],
        bounds: decision(1, 1, 2),
        min_members: Some(1),
        breaks: true,
        ..BASE
    },
    SubModel {
        name: "rollback",
        covers: "an operator rolls a living cluster back",
        faults: &[(Fault::Rollback, 1)],
        shows: &[Witness::RolledBack, Witness::Opened],
        ..BASE
    },
    SubModel {
        name: "words",
        covers: "an operator pauses, resumes and calls off, at any time",
        begins: Begin::QuorumLost,
        faults: &[(Fault::Pause, 1), (Fault::CallOff, 1)],
        bounds: decision(1, 1, 2),
        shows: &[Witness::Paused, Witness::Aborted],
        ..BASE
    },
    SubModel {
        name: "recursion",
        covers: "a third incarnation: what was restored is given up again before it is opened",
        begins: Begin::QuorumLost,
        bounds: bounds(2, 1, 3),
        shows: &[Witness::Third, Witness::Opened],
        ..BASE
    },
    SubModel {
        name: "second-loss",
        covers: "a volume is emptied again while the restore goes on",
        begins: Begin::QuorumLost,
        faults: &[(Fault::Wipe, 1)],
        shows: &[Witness::Opened],
        ..BASE
    },
    SubModel {
        name: "logs",
        covers: "writes under way while the decision falls, acknowledged before or after it",
        begins: Begin::LeaderCutOff,
        faults: &[(Fault::Put, 1), (Fault::Alarm, ALWAYS)],
        bounds: decision(1, 1, 2),
        shows: &[Witness::Acknowledged, Witness::LateAcknowledgement],
        ..BASE
    },
    SubModel {
        name: "voters",
        covers: "voters changed by hand, known to some logs only",
        faults: &[(Fault::ByHand, 1), (Fault::Wipe, A_QUORUM)],
        bounds: decision(1, 1, 2),
        ..BASE
    },
];
