//! **records** — one of each stored record with every field filled, and one with as few as can be.
//!
//! Comes from nothing. Goes to the tests of the wire. The values are pinned by `tests/golden/`:
//! change them only together with a new version of the record.

use protocol::{
    cluster::{ClusterId, Digest, Instance, Member, MemberId, Nonce, Seat, Slot},
    effect::Founding,
    manifest::{Doubt, Manifest, Reason},
    observation::{Check, InAttempt, LogSummary, Ran},
    pack::{BLOCK, Pack, Run, Stored},
    plan::Plan,
    registry::{
        Adoption, Approval, Attest, Ctrl, Evidence, Fence, Lease, Operation, Owner, Parked, Phase,
        Pin, Request, Restored, Salvage, Saver, SlotRecord, Source, Stage, Started, Why,
    },
    time::Span,
    vote::{Health, Vote},
};

const CHECK: Check = Check { revision: 1_000_004_242, hash_kv: u32::MAX, live_keys: 17 };
/// Larger than any double holds exactly: a number must not travel as one.
const LARGE: u64 = i64::MAX as u64;

fn text(text: &str) -> String {
    text.to_owned()
}

fn digest(of: &str) -> Digest {
    Digest::of(of.as_bytes())
}

fn seats() -> Vec<Seat> {
    (0..3)
        .map(|slot| Seat {
            slot: Slot(slot),
            name: format!("etcd{slot}"),
            peer_url: format!("https://etcd{slot}.example:2380"),
            client_url: format!("https://etcd{slot}.example:2379"),
        })
        .collect()
}

fn members() -> Vec<Member> {
    let ids = [0x8e9e_05c5_2164_694d, 0xf, u64::MAX];
    (0..3).map(Slot).zip(ids).map(|(slot, id)| Member { slot, id: MemberId(id) }).collect()
}

fn source() -> Source {
    Source {
        object: Some(Pin {
            key: text("inc/1/snap/00000000000000004242-0e5751c026e5.json"),
            sha256: digest("source"),
        }),
        revision: 4_242,
        bump: 1_000_000_000,
        live_keys: Some(0),
        size: LARGE,
    }
}

const fn empty_source() -> Source {
    Source { object: None, revision: 1, bump: 0, live_keys: None, size: 0 }
}

/// `cluster.json`; it has no optional fields.
pub(crate) fn cluster() -> Founding {
    Founding { uid: text("6f1d8a3e"), seats: 3 }
}

/// A vote with every field.
pub(crate) fn full_vote() -> Vote {
    Vote {
        slot: Slot(8),
        instance: Instance(text("i-0abc \"quoted\" \u{1f980}")),
        nonce: Nonce(text("n1")),
        seq: LARGE,
        inc: 2,
        health: Health::NoQuorum,
        quarantined: true,
        revision: 4_242,
        manifest: Some(text("inc/1/snap/x.json")),
        doubt: Some(Doubt::Differs),
    }
}

/// A vote with as few as can be.
pub(crate) fn minimal_vote() -> Vote {
    Vote {
        slot: Slot(0),
        instance: Instance(text("i")),
        nonce: Nonce(text("n")),
        seq: 0,
        inc: 0,
        health: Health::Unknown,
        quarantined: false,
        revision: 0,
        manifest: None,
        doubt: None,
    }
}

/// A manifest with every field.
pub(crate) fn full_manifest() -> Manifest {
    Manifest {
        uid: text("6f1d8a3e"),
        inc: 1,
        data: text("inc/1/data/5a.db"),
        sha256: digest("data"),
        size: 20_480,
        revision: 4_242,
        live_keys: Some(17),
        check: Some(CHECK),
        applied: 5_000,
        term: 3,
        cluster_id: ClusterId(0xcdf8_181d_1e5b_7f0a),
        taken_by: Slot(1),
        etcd_version: text("3.5.30"),
        reason: Reason::BeforeRollback,
        needs: Vec::new(),
        compact: Some(4_000),
        doubt: None,
        taken: Some(1_790_000_000),
    }
}

/// A manifest with as few as can be.
pub(crate) fn minimal_manifest() -> Manifest {
    Manifest {
        live_keys: None,
        check: None,
        applied: 0,
        term: 0,
        reason: Reason::Salvage,
        compact: None,
        taken: None,
        ..full_manifest()
    }
}

/// A manifest that an agent which does not know of chains and doubts must not read.
pub(crate) fn demanding_manifest() -> Manifest {
    Manifest {
        data: text("inc/1/data/5b.pack"),
        needs: vec![text("inc/1/data/5a.db"), text("inc/1/data/59.pack")],
        doubt: Some(Doubt::Shrunk),
        reason: Reason::Timer,
        ..full_manifest()
    }
}

/// Whose turn it is, where nobody sits out.
pub(crate) fn minimal_saver() -> Saver {
    Saver { passed: Vec::new(), ..full_saver() }
}

/// Whose turn it is.
pub(crate) fn full_saver() -> Saver {
    let passed = vec![Slot(2), Slot(0)];
    Saver { member: Slot(1), rvn: text("9f2c"), chain: text("77aa"), period: Span(60_000), passed }
}

/// A plan with every field.
pub(crate) fn full_plan() -> Plan {
    Plan {
        uid: text("6f1d8a3e"),
        inc: 2,
        attempt: 7,
        epoch: 9,
        token: text("6f1d8a3e-2-7"),
        seats: seats(),
        source: source(),
        fallbacks: vec![text("inc/1/snap/a.json"), text("inc/1/snap/b.json")],
        loss: 12,
        because: text("2 of 3 members can't run again"),
    }
}

/// A plan with as few as can be: the first incarnation.
pub(crate) fn minimal_plan() -> Plan {
    Plan { inc: 1, source: empty_source(), fallbacks: Vec::new(), ..full_plan() }
}

/// A decision head with every field.
pub(crate) fn full_ctrl() -> Ctrl {
    Ctrl {
        version: 41,
        uid: text("6f1d8a3e"),
        inc: 1,
        token: text("6f1d8a3e-1"),
        cluster_id: Some(ClusterId(0xcdf8_181d_1e5b_7f0a)),
        seats: seats(),
        members: members(),
        intent: Some(members().split_off(1)),
        lease: Some(Lease {
            holder: Slot(1),
            nonce: Nonce(text("n1")),
            epoch: 9,
            rvn: text("r9"),
            released: true,
        }),
        phase: Phase::Fencing,
        resume: Some(Phase::Healing),
        opened: true,
        attempt: 7,
        aborted: Some(InAttempt { inc: 1, attempt: 6 }),
        plan: Some(Pin { key: text("inc/1/plan/3-4-5feceb66ffc8.json"), sha256: digest("plan") }),
        source: Some(source()),
        request: Some(Request {
            rollback: true,
            source: Some(text("inc/1/snap/a.json")),
            scope: vec![Slot(0), Slot(2)],
            by: text("ada"),
            because: text("a bad deploy"),
            attempt: Some(7),
        }),
        op: Some(Operation {
            slot: Slot(2),
            removed: Some(MemberId(0xa)),
            added: Some(MemberId(0xb)),
            stage: Stage::Promoting,
            elsewhere: true,
            because: text("its machine is gone"),
        }),
        drift: Some(text("etcd lists voter 9")),
        paused: Some(text("maintenance")),
        aborts: 2,
        parked: Some(Parked::Approval(Why::Loss)),
        adopted: vec![Adoption {
            sha256: digest("adopted"),
            inc: 2,
            by: text("ada"),
            because: text("the keys were deleted on purpose"),
            said: Some(1_790_000_000),
        }],
        approved: vec![
            Approval { attempt: 7, parked: Parked::Approval(Why::Loss), about: None },
            Approval { attempt: 7, parked: Parked::Approval(Why::Salvage), about: Some(Slot(2)) },
        ],
        op_id: text("op-41"),
    }
}

/// A decision head with as few as can be: genesis.
pub(crate) fn minimal_ctrl() -> Ctrl {
    Ctrl {
        version: 1,
        inc: 0,
        token: String::new(),
        cluster_id: None,
        members: Vec::new(),
        intent: None,
        lease: None,
        phase: Phase::Genesis,
        resume: None,
        opened: false,
        attempt: 0,
        aborted: None,
        plan: None,
        source: None,
        request: None,
        op: None,
        drift: None,
        paused: None,
        aborts: 0,
        parked: None,
        adopted: Vec::new(),
        approved: Vec::new(),
        op_id: text("op-1"),
        ..full_ctrl()
    }
}

/// A pack of the largest file, with its first block and its last, which is short by one byte.
pub(crate) fn full_pack() -> Pack {
    let last = LARGE / BLOCK as u64;
    let run = |first, count| Run { first, count };
    Pack {
        before: Some(Pin { key: text("inc/1/data/s1.pack"), sha256: digest("before") }),
        size: LARGE,
        sha256: digest("after"),
        stored: Stored::Zstd,
        stored_sha256: digest("stored"),
        blocks_sha256: digest("blocks"),
        runs: vec![run(0, 1), run(17, 300), run(last, 1)],
    }
}

/// A pack that holds a whole file, and is laid over nothing.
pub(crate) fn minimal_pack() -> Pack {
    let runs = vec![Run { first: 0, count: 1 }];
    Pack { before: None, size: 32, stored: Stored::Plain, runs, ..full_pack() }
}

/// A seat with every field.
pub(crate) fn full_slot() -> SlotRecord {
    let instance = || Instance(text("i-0abc"));
    SlotRecord {
        gen_: 3,
        owner: Some(Owner { instance: instance(), nonce: Nonce(text("n1")), rvn: text("r1") }),
        ran: Some(Ran {
            inc: 1,
            instance: instance(),
            member_id: MemberId(0x8e9e_05c5_2164_694d),
            plan: digest("plan").short(),
            fs: text("uuid:1b2c"),
        }),
        attest: Some(Attest {
            inc: 1,
            instance: instance(),
            by: text("ada"),
            because: text("terminated"),
        }),
        fence: Some(Fence {
            inc: 1,
            attempt: 7,
            kind: Evidence::Consent,
            instance: instance(),
            log: Some(LogSummary {
                last_term: 3,
                last_index: 5_010,
                commit: 5_009,
                in_force: vec![MemberId(1), MemberId(0xf)],
                configs: vec![
                    vec![MemberId(0xa), MemberId(0xb), MemberId(0xc)],
                    vec![MemberId(0xa)],
                ],
                places: vec![4_001, 5_010],
                settled: true,
            }),
        }),
        salvage: Some(Salvage { attempt: 7, manifest: Some(text("inc/1/snap/s.json")) }),
        restore: Some(Restored {
            plan: digest("plan"),
            attempt: 7,
            started: Some(Started {
                cluster_id: ClusterId(0xcdf8_181d_1e5b_7f0a),
                leader: Some(MemberId(0xa)),
                revision: 1_000_004_242,
                check: Some(CHECK),
            }),
            failed: true,
        }),
        op_id: text("op-9"),
    }
}

/// A seat with as few as can be.
pub(crate) fn minimal_slot() -> SlotRecord {
    SlotRecord { gen_: 1, op_id: text("op-1"), ..SlotRecord::default() }
}
