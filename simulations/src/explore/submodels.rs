//! **submodels** — what a part of the model is made of, and how it says so; `parts` has the table.
//!
//! Comes in: counts of faults and bounds. Goes out: sentences, and whether a write is within them.

pub use super::parts::ALL;
use super::{
    action::{Action, Mishap},
    faults::{A_QUORUM, ALWAYS, Fault},
    witness::Witness,
};
use protocol::{
    cluster::blocking,
    registry::{Change, Phase, Records},
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
    /// Version of the decision head up to which single members are replaced; one takes five writes,
    /// and a replacement that begins again may do so for ever.
    pub replaces: u64,
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
            "membership" => ctrl.version < self.replaces,
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
    /// A quorum's data was lost, and the restore has just come to this phase: `drive` has the way.
    Restored(Phase),
}

impl Begin {
    /// As actions.
    pub(super) fn actions(self, members: usize) -> Vec<Action> {
        let lost = blocking(members);
        match self {
            Self::Settled => Vec::new(),
            Self::QuorumLost | Self::Restored(_) => {
                (0..lost).map(|seat| Action::Befall(Mishap::Wipe(seat))).collect()
            }
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

    fn in_words(self) -> String {
        match self {
            Self::Settled => "all is well".to_owned(),
            Self::QuorumLost => "a quorum's data is lost".to_owned(),
            Self::OneLessLost => "one less than a quorum's data is lost".to_owned(),
            Self::LeaderCutOff => {
                "etcd's leader has no agent, one less than a quorum's data is lost".to_owned()
            }
            Self::Restored(phase) => format!("a first restore has come to {}", phase.name()),
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
        let Bounds { attempts, leaders, incarnations, restores, replaces, states, .. } =
            self.bounds;
        format!(
            "{} seats; at first {}; {}; attempts {attempts}, leaders {leaders}, incarnations \
             {incarnations}{}{}; machine steps {}{}; at most {states} states",
            self.members,
            self.begins.in_words(),
            if faults.is_empty() { "no fault".to_owned() } else { faults.join(", ") },
            if restores { ", restores run" } else { ", up to the commit" },
            if replaces > 0 {
                format!(", replacements to version {replaces}")
            } else {
                String::new()
            },
            if self.coarse { "at once" } else { "one by one" },
            if self.swift { ", turns until there is nothing to do" } else { "" },
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
    /// An agent goes on, turn after turn, until it waits: for a write, for others, for time.
    pub swift: bool,
    /// Fewest live agents for a restore.
    pub min_members: Option<usize>,
    /// Mirror images are left out.
    pub reduced: bool,
    /// What it must be able to show.
    pub shows: &'static [Witness],
    /// An operator lies: S1 must break, and by nothing else than that.
    pub breaks: bool,
}
