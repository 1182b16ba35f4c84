//! A member is begun with an empty data dir once, and only by the process that is about to begin it:
//! empty under its old id it would have forgotten what it voted for and acknowledged (protocol.md 1.4,
//! boot rule 3).
//!
//! The explorer found the learner (its sub-model `learners`), reading for it the adopted member.

#![cfg(debug_assertions)] // the hooks of the model are not in a release

use protocol::{
    cluster::{ClusterId, Instance, Member, MemberId, Nonce, Seat, Slot},
    coordinator::{
        Coordinator, Mode, Policy, Threshold,
        model::{HASTY, Occasion},
    },
    effect::{Effect, Lane},
    event::{Failure, FailureKind, Outcome},
    observation::{Answer, Data, Identity, LogState, Look, Memory, Process, Ran},
    registry::{
        Change, Ctrl, Lease, Operation, Owner, Phase, Records, Row, SlotRecord, Stage, Written,
    },
};

const CLUSTER: ClusterId = ClusterId(7);

fn seats() -> Vec<Seat> {
    let seat = |(slot, name): (u8, &str)| Seat {
        slot: Slot(slot),
        name: name.to_owned(),
        peer_url: format!("http://{name}:2380"),
        client_url: format!("http://{name}:2379"),
    };
    [(0, "a"), (1, "b"), (2, "c")].map(seat).to_vec()
}

fn ran(member_id: u64) -> Ran {
    let (instance, fs) = (Instance("a1".into()), "fs-a1".into());
    Ran { inc: 1, instance, member_id: MemberId(member_id), plan: String::new(), fs }
}

/// Seat a's agent, which knows its cluster.
fn agent() -> Coordinator {
    let policy = Policy {
        timers: HASTY,
        mode: Mode::Automatic,
        threshold: Threshold::Quorum,
        min_members: None,
        max_loss: None,
        exports: true,
        seats: seats(),
        bootstrap: false,
        proven: true,
    };
    let (instance, nonce) = (Instance("a1".into()), Nonce("a1-1".into()));
    let mut core = Coordinator::new(policy, Identity { instance, nonce, name: "a".into() });
    let failed = || Failure { kind: FailureKind::Unavailable, text: "not now".into() };
    core.begin_turn(&Occasion { timers: HASTY, seed: 0, votes: &[], silent: None });
    let nothing = look(Process::Stopped, None, None);
    let asked = core.look_around_at_once(None, Outcome::Failed(failed()), nothing).effects;
    for effect in asked {
        let uid = Outcome::Discovered(Some("u".into()));
        let known = effect == Effect::Discover;
        core.hear(effect.lane(), if known { uid } else { Outcome::Failed(failed()) });
    }
    core
}

/// Its machine, with etcd on record as member `memory`, and member `data` in its data dir.
fn look(process: Process, memory: Option<u64>, data: Option<u64>) -> Look {
    let log = data.map_or(LogState::Missing, |id| LogState::Present {
        cluster_id: CLUSTER,
        member_id: MemberId(id),
    });
    Look {
        process,
        etcd: Answer::Silent,
        data: Data {
            fs: Some("fs-a1".into()),
            writable: true,
            log,
            swap: None,
            restored: Vec::new(),
            belongs: None,
        }
        .into(),
        memory: Memory {
            uid: Some("u".into()),
            slot: Some(Slot(0)),
            opened: 1,
            ran: memory.map(ran),
            ..Memory::default()
        }
        .into(),
    }
}

fn records(ctrl: Ctrl, ran: Option<Ran>) -> Outcome {
    let owner =
        Owner { instance: Instance("a1".into()), nonce: Nonce("a1-1".into()), rvn: String::new() };
    let mine = SlotRecord { gen_: 1, owner: Some(owner), ran, ..SlotRecord::default() };
    Outcome::Records(
        Records { ctrl: Some(ctrl), slots: vec![(Slot(0), mine)], ..Records::default() }.into(),
    )
}

fn members(slots: &[u8]) -> Vec<Member> {
    let member = |slot: &u8| Member { slot: Slot(*slot), id: MemberId(u64::from(*slot) + 1) };
    slots.iter().map(member).collect()
}

/// What the agent asks of its machine and of its seat's record.
fn turn(core: &mut Coordinator, records: Outcome, look: Look) -> Vec<&'static str> {
    core.begin_turn(&Occasion { timers: HASTY, seed: 0, votes: &[], silent: None });
    let effects = core.look_around_at_once(None, records, look).effects;
    let asked = effects.iter().filter(|effect| {
        let of_seat = |change: &Change| matches!(change.record.row(), Row::Slot(_));
        effect.lane() == Lane::Machine || matches!(effect, Effect::Write(change) if of_seat(change))
    });
    asked.map(Effect::name).collect()
}

#[test]
fn a_learner_that_joined_under_the_id_on_the_list_keeps_its_data() {
    // its start was under way when another learner took the place of the one that it was meant for:
    // etcd takes the id that the others list at its peer URL, 11 and not 10
    let op = Operation {
        slot: Slot(0),
        removed: Some(MemberId(10)),
        added: Some(MemberId(11)),
        stage: Stage::Added,
        elsewhere: false,
        because: "its data is lost".into(),
    };
    let (nonce, rvn) = (Nonce("b1-1".into()), String::new());
    let lease = Lease { holder: Slot(1), nonce, epoch: 1, rvn, released: false };
    let ctrl = Ctrl {
        inc: 1,
        phase: Phase::Idle,
        opened: true,
        cluster_id: Some(CLUSTER),
        members: members(&[1, 2]),
        op: Some(op),
        lease: Some(lease),
        ..Ctrl::seated("u".into(), seats())
    };
    let mut core = agent();
    let runs = Process::Running { quarantined: false };
    let now = records(ctrl.clone(), Some(ran(10)));
    assert_eq!(turn(&mut core, now, look(runs, Some(10), Some(11))), ["adopted"]);
    // and once that is on record it is never begun again, not even if the disk is lost at once
    core.hear(Lane::Registry, Outcome::Written(Written::Applied));
    let now = || records(ctrl.clone(), Some(ran(11)));
    let empty = |memory| look(Process::Stopped, Some(memory), None);
    assert_eq!(turn(&mut core, now(), empty(10)), ["remember ran"]);
    core.hear(Lane::Machine, Outcome::Ok);
    assert!(turn(&mut core, now(), empty(11)).is_empty());
}

#[test]
fn a_member_that_was_adopted_is_not_begun_anew_when_its_disk_is_lost() {
    let mut core = agent();
    let founding = Ctrl::seated("u".into(), seats());
    let runs = Process::Running { quarantined: false };
    let asked = turn(&mut core, records(founding.clone(), None), look(runs, None, Some(1)));
    assert_eq!(asked, ["adopted"]);
    core.hear(Lane::Registry, Outcome::Written(Written::Applied));
    let adopted = Ctrl {
        inc: 1,
        phase: Phase::Idle,
        opened: true,
        cluster_id: Some(CLUSTER),
        members: members(&[0, 1, 2]),
        ..founding
    };
    let now = records(adopted, Some(ran(1)));
    let asked = turn(&mut core, now, look(Process::Stopped, Some(1), None));
    assert!(asked.is_empty(), "it would start empty under its old id: {asked:?}");
}
