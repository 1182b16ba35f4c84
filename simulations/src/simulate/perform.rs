//! **perform** — a call arrives where it is carried out: at the machine or the table here, at etcd or the
//! bucket in [`remote`](super::remote). The stores answer as badly as the options say.

use super::{
    Call, Happening, Late, Sim,
    answers::{Deferred, unavailable},
};
use crate::world::{
    etcd::Store,
    log::Log,
    machine::{Role, Service},
};
use protocol::{
    effect::{Effect, Start},
    event::Outcome,
    observation::Status,
    registry::{Change, RecordChange, Written},
};
use std::rc::Rc;

impl Sim {
    pub(super) fn arrive(&mut self, call: Call) {
        let Call { process, machine, uid, lane, asked, effect } = call;
        if !self.machines[machine].on && self.agent(process).is_none() && !sent_before(&effect) {
            return;
        }
        self.tell_call(machine, &effect);
        let after = self.half_a_call(&effect);
        let came = self.carry_out(process, machine, &uid, effect);
        self.check_cluster();
        self.push(after, Happening::Answer { process, lane, asked, outcome: Box::new(came) });
    }

    /// Whether something that happens so often in a thousand happens now.
    pub(super) fn chance(&mut self, rate: u64) -> bool {
        !self.calm && rate > 0 && self.rng.u64(0..1000) < rate
    }

    fn table_answers(&mut self, machine: usize) -> bool {
        let cut = self.table_down || self.machines[machine].cut_from_table;
        !cut && !self.chance(self.options.rates.refused)
    }

    fn bucket_answers(&mut self, machine: usize) -> bool {
        let cut = self.bucket_down || self.machines[machine].cut_from_bucket;
        !cut && !self.chance(self.options.rates.refused)
    }

    fn carry_out(&mut self, process: u64, machine: usize, uid: &str, effect: Effect) -> Deferred {
        let of_table = matches!(effect, Effect::ReadRegistry | Effect::Write(_));
        if of_table && !self.table_answers(machine) {
            return Deferred::Ready(unavailable("the table does not answer"));
        }
        if is_of_bucket(&effect) && !self.bucket_answers(machine) {
            return Deferred::Ready(unavailable("the bucket does not answer"));
        }
        let outcome = match effect {
            Effect::Prove => Outcome::Ok,
            Effect::ReadRegistry => {
                let records = self.table.records(uid);
                if self.chance(self.options.rates.torn) {
                    return Deferred::Torn { uid: uid.to_owned(), records };
                }
                Outcome::Records(records)
            }
            Effect::Write(change) => self.call_write(uid, &change),
            Effect::Look { check_at } => Outcome::Looked(self.look(machine, check_at)),
            Effect::Start(start) => self.start_etcd(machine, &start),
            Effect::ReadLog => self.read_log(machine),
            effect @ (Effect::Stop
            | Effect::Mark(_)
            | Effect::Unmark(_)
            | Effect::Retire(_)
            | Effect::RememberOpened(_)
            | Effect::RememberSeat(..)
            | Effect::RememberRan(_)
            | Effect::MoveAside { .. }
            | Effect::Swap { .. }) => self.change_machine(machine, &effect),
            effect @ (Effect::ListMembers
            | Effect::RemoveMember(_)
            | Effect::AddLearner { .. }
            | Effect::Promote(_)
            | Effect::DisarmNoSpace) => return self.ask_etcd(machine, effect),
            effect @ (Effect::Discover
            | Effect::Found(_)
            | Effect::Exchange(_)
            | Effect::FetchPlan(_)
            | Effect::PutPlan(_)
            | Effect::Restore(..)
            | Effect::Save(_)
            | Effect::SalvageCopy { .. }
            | Effect::ReadCatalogue { .. }
            | Effect::Verify(_)) => self.call_bucket(process, machine, uid, effect),
        };
        Deferred::Ready(outcome)
    }

    // ------------------------------------------------------------ the table

    fn call_write(&mut self, uid: &str, change: &Change) -> Outcome {
        let uid = match &*change.record {
            RecordChange::Ctrl { before: None, after } => after.uid.clone(),
            RecordChange::Ctrl { .. } | RecordChange::Slot { .. } | RecordChange::Save { .. } => {
                uid.to_owned()
            }
        };
        let tag = self.table.tag();
        let again = |sim: &mut Self| {
            let after = sim.rng.u64(1..30_000);
            let late = Late { uid: uid.clone(), change: change.clone(), tag: tag.clone() };
            sim.push(after, Happening::Late(late.into()));
        };
        if self.chance(self.options.rates.late) {
            again(self);
            return Outcome::Written(Written::Unknown);
        }
        if self.chance(self.options.rates.twice) {
            again(self);
        }
        let written = self.write(&uid, change, &tag);
        if self.chance(self.options.rates.lost) {
            return Outcome::Written(Written::Unknown);
        }
        Outcome::Written(written)
    }

    /// A conditional write is judged, and what it does is checked.
    pub(super) fn write(&mut self, uid: &str, change: &Change, tag: &str) -> Written {
        let before = self.table.records(uid);
        let written = self.table.write(uid, change, tag);
        let after = self.table.records(uid);
        if before != after {
            self.changed(change, &before, &after);
            self.check_testimony(change, &before, &after);
        }
        written
    }

    // ------------------------------------------------------------ the machine

    fn look(&mut self, machine: usize, check_at: Option<u64>) -> protocol::observation::Look {
        let linearizable = self.is_linearizable(machine);
        let leader = self.live_leader(machine).and_then(|at| self.machines[at].running());
        let leader = leader.map(|(_, store)| store.id);
        let status = self.machines[machine].running().map(|(_, store)| Status {
            cluster_id: store.cluster,
            member_id: store.id,
            leader,
            term: store.term,
            applied: store.commit as u64,
            revision: store.revision(),
            linearizable,
            learner: !store.log.is_empty() && !store.has_voter(store.id),
            alarms: Vec::new(),
            version: "3.5.30".to_owned(),
            check: check_at.and_then(|revision| store.check(revision)),
        });
        self.machines[machine].look(status)
    }

    /// A machine reads the log that lies in its data dir.
    fn read_log(&mut self, machine: usize) -> Outcome {
        let read = self.machines[machine].dir().member.as_ref();
        let Some((id, summary)) = read.map(|store| (store.id, store.summary())) else {
            return unavailable("the log is gone");
        };
        self.ghost.logs_read.insert(machine, id);
        Outcome::Log(summary)
    }

    fn change_machine(&mut self, machine: usize, effect: &Effect) -> Outcome {
        if let Effect::Swap { digest, .. } = effect
            && !self.machines[machine].restored().any(|plan| *plan == digest.short())
        {
            return unavailable("the restored member is gone");
        }
        self.check_change(machine, effect);
        self.check_kept(machine, effect);
        let had = self.kept(machine);
        self.machines[machine].change(effect);
        if self.kept(machine) < had {
            self.broke(format!("S16: {} loses what its data dir held", effect.name()));
        }
        self.stir();
        Outcome::Ok
    }

    fn start_etcd(&mut self, machine: usize, start: &Start) -> Outcome {
        if self.machines[machine].etcd.is_some() {
            return Outcome::Ok;
        }
        if self.machines[machine].dir().spoiled {
            return Outcome::Ok; // it was started, and has ended again
        }
        if self.machines[machine].dir().member.is_none() {
            // the data went after the core had seen it: our service refuses to start etcd empty
            let Some(join) = &start.join else { return unavailable("the data dir is empty") };
            let url = self.machines[machine].peer_url.clone();
            let store = if join.existing {
                self.joined(&url)
            } else {
                Some(Store::founded(&url, &join.initial_cluster, &join.token))
            };
            let Some(store) = store else {
                return unavailable("no member of the cluster answers the one that joins");
            };
            self.machines[machine].dir_mut().member = Some(store);
        }
        let held = self.machines[machine].dir().member.as_ref();
        if held.is_some_and(|held| !start.member.is(held.cluster, held.id)) {
            self.ghost.saw("a volume changed under a start");
            return unavailable("the data dir holds another member than the one to be started");
        }
        self.check_start(machine, start.quarantined);
        self.check_bound(machine);
        let role = Role::Follower(None);
        self.machines[machine].kept_down = false;
        self.machines[machine].etcd = Some(Service { quarantined: start.quarantined, role });
        self.stir();
        Outcome::Ok
    }

    /// The empty member that a running cluster lists at `url`.
    fn joined(&self, url: &str) -> Option<Store> {
        let leaders = (0..self.machines.len()).filter(|at| {
            let running = self.machines[*at].running();
            running.is_some_and(|(etcd, _)| matches!(etcd.role, Role::Leader(_)))
        });
        let stores = leaders.filter_map(|at| self.machines[at].running()).map(|(_, store)| store);
        let mut listing = stores.filter_map(|store| {
            let id = store.peers()?.iter().find(|peer| peer.peer_url == url)?.id;
            let base = Rc::clone(&store.base);
            let (log, term, commit) = (Log::default(), 0, 0);
            Some(Store { id, base, log, term, commit, ..store.clone() })
        });
        listing.next()
    }

    /// Calls worth a line of the story.
    fn tell_call(&mut self, machine: usize, effect: &Effect) {
        let said = match effect {
            Effect::ReadRegistry | Effect::Look { .. } | Effect::Discover | Effect::Write(_) => {
                return;
            }
            Effect::Exchange(vote) => {
                let health = vote.as_ref().map(|vote| (vote.slot, vote.health, vote.inc));
                match health {
                    Some(health) if self.ghost.votes.insert(machine, health) != Some(health) => {
                        format!("votes {}", health.1.name())
                    }
                    Some(_) | None => return,
                }
            }
            Effect::Start(start) if start.quarantined => "starts etcd in quarantine".to_owned(),
            Effect::Mark(marker) => format!("marks inc {} attempt {}", marker.inc, marker.attempt),
            other => other.name().to_owned(),
        };
        let name = self.machines[machine].instance.0.clone();
        self.say(&name, &said);
    }
}

/// What reaches a store although its sender is gone.
fn sent_before(effect: &Effect) -> bool {
    matches!(effect, Effect::Write(_) | Effect::Found(_) | Effect::PutPlan(_))
}

const fn is_of_bucket(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Prove
            | Effect::Discover
            | Effect::Found(_)
            | Effect::Exchange(_)
            | Effect::FetchPlan(_)
            | Effect::PutPlan(_)
            | Effect::Restore(..)
            | Effect::Save(_)
            | Effect::SalvageCopy { .. }
            | Effect::ReadCatalogue { .. }
            | Effect::Verify(_)
    )
}
