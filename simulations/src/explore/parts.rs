//! **parts** — the table of sub-models: the full model is too large for one run, and the union of
//! these covers every fault. Each says what may go wrong, how often, how far it goes, and what it
//! must be able to show.

use super::{
    faults::{A_QUORUM, ALWAYS, Fault},
    submodels::{Begin, Bounds, SubModel},
    witness::Witness,
};
use protocol::registry::Phase;

const fn bounds(attempts: u64, leaders: u64, incarnations: u64) -> Bounds {
    let states = 1_500_000;
    Bounds { attempts, leaders, incarnations, restores: true, replans: 0, replaces: 0, states }
}

/// The same, up to the decision and what old members may do after it.
const fn decision(attempts: u64, leaders: u64, incarnations: u64) -> Bounds {
    Bounds { restores: false, ..bounds(attempts, leaders, incarnations) }
}

/// The same, for so many states.
const fn up_to(states: u64, bounds: Bounds) -> Bounds {
    Bounds { states, ..bounds }
}

/// The same, and single members are replaced, with so many writes.
const fn replaces(writes: u64, bounds: Bounds) -> Bounds {
    Bounds { replaces: 1 + writes, ..bounds }
}

/// A third incarnation, from this phase of the first restore on.
const fn again(name: &'static str, phase: Phase, covers: &'static str) -> SubModel {
    // before its members run nothing but time is needed for a restore to be begun anew
    let early = matches!(phase, Phase::Committed | Phase::Restoring | Phase::Starting);
    // and when all is well the first leader's lease is given up
    let rests = matches!(phase, Phase::Idle);
    SubModel {
        name,
        covers,
        begins: Begin::Restored(phase),
        faults: if early { &[] } else { &[(Fault::Wipe, A_QUORUM)] },
        bounds: if rests { up_to(150_000, bounds(2, 2, 3)) } else { bounds(2, 1, 3) },
        swift: true,
        shows: &[Witness::Third, Witness::OpenedAgain],
        ..BASE
    }
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
    swift: false,
    min_members: None,
    reduced: true,
    shows: &[],
    breaks: false,
};

/// All of them.
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
        name: "kills",
        covers: "etcd is killed, agents end; nothing is lost and nothing may be restored",
        faults: &[(Fault::Kill, A_QUORUM), (Fault::Crash, 1)],
        bounds: up_to(300_000, decision(1, 1, 2)),
        shows: &[Witness::Aborted, Witness::RunsAgain],
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
        faults: &[(Fault::Crash, 1)],
        bounds: decision(2, 1, 2),
        shows: &[Witness::SecondAttempt, Witness::Reseated],
        ..BASE
    },
    SubModel {
        name: "late",
        covers: "a write is given up and applied later, in another attempt perhaps",
        begins: Begin::QuorumLost,
        faults: &[(Fault::Late, 1)],
        bounds: decision(2, 1, 2),
        shows: &[Witness::LateWrite],
        prompt: false,
        ..BASE
    },
    SubModel {
        name: "testament",
        covers: "a write is applied after its sender ended",
        begins: Begin::QuorumLost,
        faults: &[(Fault::Late, 1), (Fault::Crash, 1)],
        bounds: up_to(250_000, decision(1, 1, 2)),
        prompt: false,
        shows: &[Witness::LateWrite],
        ..BASE
    },
    SubModel {
        name: "twice",
        covers: "a write is applied twice, the second time whenever it likes",
        begins: Begin::QuorumLost,
        faults: &[(Fault::Twice, 1)],
        bounds: decision(2, 1, 2),
        shows: &[Witness::LateWrite],
        prompt: false,
        ..BASE
    },
    SubModel {
        name: "answers",
        covers: "what was done is not heard of, at every step of table and machine",
        begins: Begin::QuorumLost,
        faults: &[(Fault::LoseAnswer, 1)],
        bounds: decision(1, 1, 2),
        coarse: false,
        prompt: false,
        ..BASE
    },
    SubModel {
        name: "steps",
        covers: "an agent ends between any two steps of its machine",
        begins: Begin::QuorumLost,
        faults: &[(Fault::Crash, 1)],
        bounds: decision(1, 1, 2),
        coarse: false,
        prompt: false,
        shows: &[Witness::Reseated],
        ..BASE
    },
    SubModel {
        name: "gates",
        covers: "etcd is started behind the gate between any two steps, while every vote may lie",
        begins: Begin::OneLessLost,
        faults: &[(Fault::Alarm, ALWAYS), (Fault::Gate, 1)],
        bounds: decision(1, 1, 2),
        coarse: false,
        shows: &[Witness::Aborted],
        ..BASE
    },
    SubModel {
        name: "silence",
        covers: "the stores are silent, and members start by their own records",
        begins: Begin::OneLessLost,
        faults: &[(Fault::Alarm, ALWAYS), (Fault::PowerCut, 1), (Fault::Cut, 1)],
        bounds: up_to(150_000, decision(1, 1, 2)),
        shows: &[Witness::Aborted],
        ..BASE
    },
    SubModel {
        name: "machines",
        covers: "machines are terminated, replaced, and their volumes mounted elsewhere",
        faults: &[
            (Fault::DestroyKeepVolume, A_QUORUM),
            (Fault::Replace, 1),
            (Fault::MoveVolume, 1),
            (Fault::AttestTrue, 1),
        ],
        bounds: decision(1, 1, 2),
        shows: &[Witness::Attested],
        ..BASE
    },
    SubModel {
        name: "graves",
        covers: "machines are terminated with their disks, and truly said to be gone",
        faults: &[(Fault::Destroy, A_QUORUM), (Fault::Replace, 1), (Fault::AttestTrue, 2)],
        bounds: up_to(300_000, decision(1, 1, 2)),
        shows: &[Witness::Attested],
        ..BASE
    },
    SubModel {
        name: "moves",
        covers: "a fence arrives late, its machine is gone, and its volume is mounted elsewhere",
        begins: Begin::OneLessLost,
        faults: &[
            (Fault::Alarm, ALWAYS),
            (Fault::Late, 1),
            (Fault::DestroyKeepVolume, 1),
            (Fault::Replace, 1),
            (Fault::MoveVolume, 1),
        ],
        bounds: up_to(600_000, decision(1, 1, 2)),
        prompt: false,
        shows: &[Witness::LateWrite, Witness::Reseated],
        ..BASE
    },
    SubModel {
        name: "disks",
        covers: "a root disk is lost, while every vote may lie",
        begins: Begin::OneLessLost,
        faults: &[(Fault::Alarm, ALWAYS), (Fault::PowerCut, 1), (Fault::LoseRoot, 1)],
        bounds: up_to(100_000, decision(1, 1, 2)),
        ..BASE
    },
    SubModel {
        name: "mounts",
        covers: "a volume is not mounted, and mounted again at any time",
        begins: Begin::OneLessLost,
        faults: &[(Fault::Alarm, ALWAYS), (Fault::Unmount, 1)],
        bounds: decision(1, 1, 2),
        ..BASE
    },
    SubModel {
        name: "perjury",
        covers: "an operator says that a machine is gone which lives: only this may break S1",
        begins: Begin::OneLessLost,
        faults: &[(Fault::AttestFalse, 1), (Fault::Deaf, ALWAYS), (Fault::Alarm, ALWAYS)],
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
    again(
        "again-commit",
        Phase::Committed,
        "a third incarnation: what was committed is given up again",
    ),
    again("again-restore", Phase::Restoring, "what is being restored is given up again"),
    again("again-start", Phase::Starting, "what is being started is given up again"),
    again("again-verify", Phase::Verifying, "a quorum is lost again while they are compared"),
    again("again-open", Phase::Open, "a quorum is lost again as clients are let in"),
    again("again-heal", Phase::Healing, "a quorum is lost again while the cluster heals"),
    again("again-rest", Phase::Idle, "a quorum is lost again when all is well"),
    SubModel {
        name: "replace",
        covers: "a lost member is replaced; agents end and answers are lost at any time",
        begins: Begin::OneLessLost,
        faults: &[(Fault::Crash, 1), (Fault::LoseAnswer, 1)],
        bounds: up_to(100_000, replaces(5, bounds(1, 2, 2))),
        shows: &[Witness::Replaced],
        ..BASE
    },
    SubModel {
        name: "learners",
        covers: "a disk is lost while a member is replaced: the learner's, or another",
        begins: Begin::OneLessLost,
        faults: &[(Fault::Wipe, 1)],
        bounds: up_to(150_000, replaces(8, decision(1, 1, 2))),
        shows: &[Witness::Replaced, Witness::BegunAgain, Witness::EndedAmid],
        ..BASE
    },
    SubModel {
        name: "away",
        covers: "etcd is killed while a member is replaced, and hears later what it missed",
        begins: Begin::OneLessLost,
        faults: &[(Fault::Kill, 1)],
        bounds: replaces(5, decision(1, 1, 2)),
        shows: &[Witness::Replaced, Witness::CaughtUp],
        ..BASE
    },
    SubModel {
        name: "by-word",
        covers: "an operator has a healthy member replaced, while everything lives",
        faults: &[(Fault::AskReplace, 1)],
        bounds: up_to(150_000, replaces(6, decision(1, 1, 2))),
        shows: &[Witness::Replaced],
        ..BASE
    },
    SubModel {
        name: "called-off",
        covers: "a replacement is called off, and its learner's machine, and who led before, go on unaware",
        begins: Begin::OneLessLost,
        faults: &[(Fault::CallOff, 1)],
        bounds: up_to(200_000, replaces(9, decision(1, 2, 2))),
        shows: &[Witness::CalledOff, Witness::LateLearner, Witness::Replaced],
        ..BASE
    },
    SubModel {
        name: "second-loss",
        covers: "a volume is emptied again while the restore goes on",
        begins: Begin::QuorumLost,
        faults: &[(Fault::Wipe, 1)],
        shows: &[Witness::Opened],
        bounds: up_to(120_000, bounds(1, 1, 2)),
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
        name: "elections",
        covers: "another leader is elected beside one that does not know it yet",
        begins: Begin::LeaderCutOff,
        faults: &[(Fault::Put, 1), (Fault::Elect, 1), (Fault::Alarm, ALWAYS)],
        bounds: up_to(100_000, decision(1, 1, 2)),
        shows: &[Witness::Acknowledged],
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
