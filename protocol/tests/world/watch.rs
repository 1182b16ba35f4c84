//! **watch** — what a reader of a story wants to know, and what must never happen. Comes from each
//! event, goes to the reply, or ends the test with the invariant that broke (protocol.md 1.11).

use super::World;
use protocol::{
    cluster::{MemberId, quorum},
    coordinator::Told,
    effect::Effect,
    explanation::{Code, Note},
    manifest::Reason,
    observation::InAttempt,
    registry::{Change, Ctrl, Evidence, Phase, RecordChange, Records, Row, SlotRecord, Written},
    wire,
};
use std::collections::{BTreeMap, BTreeSet};

/// What was last told.
#[derive(Default)]
pub(super) struct Watch {
    votes: BTreeMap<String, String>,
}

/// The note that most likely goes with an effect.
pub(super) fn reason(effect: &Effect, notes: &[Note]) -> String {
    let codes: &[Code] = match effect {
        Effect::Write(change) => match change.name {
            "start fencing" => &[Code::QuorumLost, Code::Verifying],
            "abort" => {
                &[Code::QuorumAlive, Code::Recoverable, Code::EvidenceMissing, Code::Requested]
            }
            "acquire" => &[Code::Leading],
            "release" => &[Code::AllWell],
            "resume" => &[Code::Recoverable],
            "membership" => &[Code::Replacing],
            "park" => &[Code::ApprovalNeeded, Code::MinMembers, Code::NoSnapshot],
            "replan" => &[Code::Restoring],
            "advance" => &[
                Code::Restoring,
                Code::Starting,
                Code::Verifying,
                Code::Opening,
                Code::Healing,
                Code::AllWell,
            ],
            _ => &[],
        },
        Effect::Stop | Effect::Start(_) => &[
            Code::Fenced,
            Code::Fencing,
            Code::Opening,
            Code::Restoring,
            Code::Restarting,
            Code::Replacing,
        ],
        _ => &[],
    };
    let advances = matches!(effect, Effect::Write(change) if change.name == "advance");
    let takes = matches!(effect, Effect::Write(change) if change.name == "acquire");
    let begins = if advances {
        "on to"
    } else if takes {
        "takes the lease"
    } else {
        ""
    };
    let found =
        notes.iter().find(|note| codes.contains(&note.code) && note.text.starts_with(begins));
    found.map(|note| note.text.to_string()).unwrap_or_default()
}

impl World {
    fn name(&self, agent: usize) -> String {
        let machine = &self.machines[self.agents[agent].machine];
        if machine.instance.0 == machine.name {
            machine.name.clone()
        } else {
            machine.instance.0.clone()
        }
    }

    /// Effects worth a line of their own.
    pub(super) fn narrate(&mut self, agent: usize, effect: &Effect, why: &str) {
        let who = self.name(agent);
        let text = match effect {
            Effect::Stop if self.machines[self.agents[agent].machine].etcd.is_some() => {
                format!("stops etcd: {why}")
            }
            Effect::Start(start) => {
                let how = if start.quarantined { " in quarantine" } else { "" };
                format!("starts etcd{how}")
            }
            Effect::Mark(marker) => format!("marks: inc {} attempt {}", marker.inc, marker.attempt),
            Effect::Unmark(marker) => format!("unmarks: attempt {}", marker.attempt),
            Effect::Swap { .. } => "swaps the restored member in".to_owned(),
            Effect::MoveAside { .. } => "moves its member aside".to_owned(),
            Effect::Save(save) => {
                let told = !self.differs.is_empty() && !save.peers.is_empty();
                let asks = if told { ", and asks the others what they hold" } else { "" };
                let exports = save.reason == Reason::Hand && save.export;
                let exports = if exports { ", and exports it" } else { "" };
                format!("saves a snapshot: {}{exports}{asks}", save.reason.name())
            }
            Effect::SalvageCopy { .. } => "salvages its data".to_owned(),
            Effect::PutPlan(plan) if plan.because.contains("passed over") => {
                format!("writes a plan: {}", plan.because)
            }
            Effect::RemoveMember(_) | Effect::AddLearner { .. } | Effect::Promote(_) => {
                format!("asks etcd to {}", effect.name())
            }
            _ => return,
        };
        self.say(&who, &text);
    }

    pub(super) fn tell(&mut self, told: &Told) {
        let (word, note) = match told {
            Told::Accepted(note) => ("accepted", note),
            Told::Saved(manifest) => {
                self.lines.push(format!("saved: {}", manifest.key()));
                return;
            }
            Told::Refused(note) => ("refused", note),
        };
        self.lines.push(format!("{word}: {} {}", note.code.name(), note.text));
    }

    /// A write was judged: tell it, and check what it must not be.
    pub(super) fn wrote(
        &mut self,
        agent: usize,
        change: &Change,
        written: Written,
        before: &Records,
        why: &str,
    ) {
        if written != Written::Applied {
            return;
        }
        let who = self.name(agent);
        match &*change.record {
            RecordChange::Ctrl { after, .. } => {
                if let Some(old) = &before.ctrl {
                    self.check_ctrl(old, after, before);
                }
                let text = match change.name {
                    "renew" => return,
                    "acquire" => {
                        let epoch = after.lease.as_ref().map_or(0, |lease| lease.epoch);
                        format!("{why} (epoch {epoch})")
                    }
                    "commit" | "first commit" => {
                        let fenced: Vec<String> = before
                            .slots
                            .iter()
                            .filter(|(_, slot)| {
                                slot.fence.as_ref().is_some_and(|f| f.attempt == after.attempt)
                            })
                            .map(|(slot, _)| wire::row_name(Row::Slot(*slot)))
                            .collect();
                        format!(
                            "commits incarnation {}: {} members from revision {}, fenced {}",
                            after.inc,
                            after.members.len(),
                            after.source.as_ref().map_or(0, |source| source.revision),
                            if fenced.is_empty() { "nobody".into() } else { fenced.join(" ") },
                        )
                    }
                    name if why.is_empty() => name.to_owned(),
                    _ => why.to_owned(),
                };
                self.say(&who, &text);
            }
            RecordChange::Slot { after, .. } => self.wrote_slot(agent, change.name, after),
            // one line at each change of hands, none for each period
            RecordChange::Save { before: old, after } => {
                if old.as_ref().is_none_or(|old| old.chain != after.chain) {
                    self.say(&who, "saves snapshots from now on");
                }
            }
        }
    }

    fn wrote_slot(&mut self, agent: usize, name: &str, after: &SlotRecord) {
        let who = self.name(agent);
        let text = match (name, &after.fence, &after.restore) {
            ("fence", Some(fence), _) => {
                let slot = after.ran.as_ref().map(|ran| ran.instance.0.clone()).unwrap_or_default();
                let log = fence.log.as_ref().map(|log| format!(", log {}", log.last_index));
                self.check_fence(agent, fence.kind, fence.inc, fence.attempt);
                format!("fence of {slot}: {}{}", fence.kind.name(), log.unwrap_or_default())
            }
            ("report", _, Some(restored)) if restored.started.is_some() => {
                "reports: runs".to_owned()
            }
            ("report", _, Some(restored)) if restored.failed => "reports: can't".to_owned(),
            ("report", _, Some(_)) => "reports: restored".to_owned(),
            ("claim", _, _) => "takes its seat".to_owned(),
            ("first start", _, _) => "puts on record that it runs the member".to_owned(),
            _ => name.to_owned(),
        };
        self.say(&who, &text);
    }

    /// After each event: votes, services, and who serves.
    pub(super) fn watch(&mut self) {
        let uid = self.store.uid().unwrap_or_default();
        let mut lines = Vec::new();
        let keys = wire::Keys::new("p", &uid);
        for seat in &self.policy.seats {
            let Some(bytes) = self.store.objects.get(&keys.vote(seat.slot)) else { continue };
            let health = wire::parse_vote(bytes).expect("we wrote it").health.name().to_owned();
            if self.watch.votes.insert(seat.name.clone(), health.clone()).as_ref() != Some(&health)
            {
                lines.push((seat.name.clone(), format!("votes {health}")));
            }
        }
        for (who, line) in lines {
            self.say(&who, &line);
        }
        self.check_clusters();
    }

    /// S1: once an incarnation is committed, no older one has a leader that clients can reach.
    fn check_clusters(&self) {
        let Some(ctrl) = self.records().ctrl else { return };
        if ctrl.inc == 0 {
            return;
        }
        for machine in &self.machines {
            let (Some(etcd), Some(store)) = (&machine.etcd, &machine.volume.member) else {
                continue;
            };
            let old = Some(store.cluster) != ctrl.cluster_id;
            assert!(
                !old || etcd.leader.is_none(),
                "S1: {} serves an older incarnation beside incarnation {}",
                machine.instance,
                ctrl.inc
            );
        }
    }

    /// S11, S7: incarnations rise, and one that ends leaves no quorum that could still run.
    fn check_ctrl(&self, old: &Ctrl, after: &Ctrl, records: &Records) {
        assert!(after.inc >= old.inc, "S11");
        assert!(after.attempt >= old.attempt, "attempts rise");
        if after.inc == old.inc || old.inc == 0 {
            return;
        }
        let fenced: BTreeSet<MemberId> = old
            .seats
            .iter()
            .map(|seat| records.slot(seat.slot))
            .filter(|slot| {
                slot.fence.as_ref().is_some_and(|f| f.inc == old.inc && f.attempt == old.attempt)
            })
            .filter_map(|slot| slot.ran.as_ref())
            .map(|ran| ran.member_id)
            .collect();
        for machine in &self.machines {
            let Some(store) = &machine.volume.member else { continue };
            if Some(store.cluster) != old.cluster_id {
                continue;
            }
            let peers = store.peers();
            let voters: Vec<_> = peers.iter().filter(|peer| !peer.learner).collect();
            let never_ran = |peer: &&&super::etcd::Peer| {
                let holds =
                    |m: &super::Machine| m.volume.member.as_ref().is_some_and(|s| s.id == peer.id);
                self.machines.iter().any(holds)
            };
            let free =
                voters.iter().filter(|peer| !fenced.contains(&peer.id)).filter(never_ran).count();
            assert!(
                free < quorum(voters.len()),
                "S7: {} keeps a quorum unfenced",
                machine.instance
            );
        }
    }

    /// The promise stands before its record does, and etcd is stopped.
    fn check_fence(&self, agent: usize, kind: Evidence, inc: u64, attempt: u64) {
        if kind == Evidence::Attested {
            return;
        }
        let machine = &self.machines[self.agents[agent].machine];
        let promised = machine.memory().marker >= Some(InAttempt { inc, attempt });
        assert!(promised, "S2: {} is fenced without a durable promise", machine.instance);
        assert!(machine.etcd.is_none(), "S2: {} is fenced while etcd runs", machine.instance);
    }

    /// S20: who sees a quorum never promises anything to a guarded attempt.
    pub(super) fn check_promise(&self, agent: usize, effect: &Effect) {
        let agent = &self.agents[agent];
        let guarded = agent.read.as_ref().is_some_and(Ctrl::is_guarded);
        let promises = matches!(effect, Effect::Mark(_));
        assert!(
            !(promises && guarded && agent.saw_quorum),
            "S20: a member that sees a quorum promised"
        );
    }

    /// S9: only the recorded machine starts a member, of the incarnation its agent has read; S6: and
    /// no machine whose fence stands for the open attempt.
    pub(super) fn check_start(&self, agent: usize) {
        let agent = &self.agents[agent];
        let machine = &self.machines[agent.machine];
        let ran = machine.root.ran.as_ref().expect("S9: `ran` is remembered before the start");
        let Some(ctrl) = agent.read.as_ref() else {
            return; // by its own record, while the stores are silent; `Machine::start` checks that
        };
        assert!(ran.inc >= ctrl.inc, "{} starts an incarnation that is over", machine.instance);
        let seat = ctrl.seat_named(&machine.name).expect("each machine has a seat");
        let records = self.records();
        let open = records.ctrl.as_ref().filter(|ctrl| ctrl.phase == Phase::Fencing);
        let fence =
            records.slot(seat.slot).fence.as_ref().filter(|f| f.instance == machine.instance);
        let binds = open.zip(fence).is_some_and(|(ctrl, f)| {
            f.inc == ctrl.inc && f.attempt == ctrl.attempt && ran.inc == f.inc
        });
        assert!(!binds, "S6: {} starts although its fence stands", machine.instance);
        let stored = records.slot(seat.slot).ran.as_ref();
        assert_eq!(stored, Some(ran), "S9: the table names this machine before it starts");
    }
}
