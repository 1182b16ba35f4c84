//! **raft** — what goes on between running members.
//!
//! Comes in: a client's write, a change of voters, an append, an election, or a leader that counts.
//! Goes out: the logs after it. A deposed leader goes on for as long as nobody reaches it.

use super::{
    action::Raft,
    engine::Step,
    etcd::{Entry, Leads},
    faults::Fault,
    happening::{After, spend, step},
    machine::Machine,
    witness::Witness,
    world::{State, World},
};

impl World {
    /// What goes on between members.
    pub(super) fn raft(&mut self, before: &State, action: Raft) -> After {
        match action {
            Raft::Put(at) => {
                let entry = Entry::Put(self.next_put(before));
                self.propose(&spend(before, Fault::Put)?, at, entry)
            }
            Raft::Remove(at, seat) => {
                let member = self.machine(before, at).running()?;
                let gone = self.machine(before, seat).volume.as_ref()?.member.as_ref()?.id;
                let mut voters = member.in_force().to_vec();
                voters.retain(|id| *id != gone);
                self.propose(&spend(before, Fault::ByHand)?, at, Entry::Voters(voters))
            }
            Raft::Append(from, to) => {
                let leader = self.machine(before, from).running()?.clone();
                let term = self.machine(before, from).run.as_ref()?.leads.as_ref()?.term;
                let follower = self.machine(before, to).running()?.id;
                let state = self.alter(before, to, |machine| {
                    if let Some(member) = machine.member_mut() {
                        member.follow(&leader, term);
                    }
                    if let Some(run) = machine.run.as_mut() {
                        run.leads = None;
                    }
                });
                step(self.alter(&state, from, |machine| {
                    if let Some(leads) = machine.run.as_mut().and_then(|run| run.leads.as_mut()) {
                        leads.acknowledge(follower, leader.len());
                    }
                }))
            }
            Raft::Commit(at) => self.commit(before, at),
            Raft::Elect(at) => self.elect(before, at),
            Raft::CatchUp(at) => self.catch_up(before, at),
        }
    }

    fn propose(&mut self, before: &State, at: usize, entry: Entry) -> After {
        let term = self.machine(before, at).run.as_ref()?.leads.as_ref()?.term;
        step(self.alter(before, at, |machine| {
            if let Some(member) = machine.member_mut() {
                member.log.push((term, entry));
            }
        }))
    }

    fn commit(&mut self, before: &State, at: usize) -> After {
        let member = self.machine(before, at).running()?.clone();
        let committed = self.machine(before, at).run.as_ref()?.leads.as_ref()?.committed(&member);
        let mut state = self.alter(before, at, |machine| {
            if let Some(member) = machine.member_mut() {
                member.commit = committed;
            }
        });
        let mut acked = (**self.acked.get(before.acked)).clone();
        for place in member.commit..committed {
            acked.push((member.inc, place, member.log[usize::from(place)].clone()));
        }
        acked.sort();
        acked.dedup();
        state.acked = self.acked.put(acked);
        let late = member.inc < self.ctrl(before).inc;
        let shows = if late { Witness::LateAcknowledgement.bit() } else { 0 };
        Some(Step { state, shows, broken: None })
    }

    fn elect(&mut self, before: &State, at: usize) -> After {
        let mut state = spend(before, Fault::Elect)?;
        let member = self.machine(before, at).running()?.clone();
        let voters = member.voters_at(member.len()).to_vec();
        let voting: Vec<usize> = voters.iter().filter_map(|id| self.runner(before, *id)).collect();
        let cluster = |at: &usize| self.machine(before, *at).running();
        let same = |at: &usize| cluster(at).is_some_and(|other| other.cluster == member.cluster);
        let voting: Vec<usize> = voting.into_iter().filter(same).collect();
        let heard = |at: &usize| cluster(at).map_or(0, |other| other.term);
        let term = voting.iter().map(heard).max()? + 1;
        for voter in voting {
            let better = cluster_last(self.machine(before, voter)) > member.last();
            if !better {
                state = self.alter(&state, voter, |machine| {
                    if let Some(member) = machine.member_mut() {
                        member.term = term;
                    }
                });
            }
        }
        step(self.alter(&state, at, |machine| {
            if let Some(run) = machine.run.as_mut() {
                run.leads = Some(Leads { term, acks: Vec::new() });
            }
        }))
    }
}

fn cluster_last(machine: &Machine) -> (u8, u8) {
    machine.running().map_or((0, 0), super::etcd::Member::last)
}
