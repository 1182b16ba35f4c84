//! **options** — what can happen next.
//!
//! Comes in: a state. Goes out: actions. Where two machines are mirror images of each other, what
//! happens to the second is what happens to the first under another name, and only the first is
//! tried (`symmetry`).

use super::{
    action::{Action, Mishap, Raft, Word},
    agent::Mood,
    etcd::Entry,
    faults::Fault,
    world::{MACHINES, State, World},
};
use protocol::{
    boot::{self, Gate, Table},
    effect::Effect,
    registry::Phase,
};

impl World {
    /// Everything that can happen in `state`.
    pub(super) fn options(&mut self, state: &State, into: &mut Vec<Action>) {
        for at in self.distinct(state) {
            self.of_agent(state, at, into);
            self.of_machine(state, at, into);
        }
        // whom an operator speaks to makes no difference to what is put on record
        let speaker = (0..MACHINES).rev().find(|at| state.agents[*at] != 0);
        let free = |at: &usize| self.agents.get(state.agents[*at]).pending.is_empty();
        if let Some(speaker) = speaker.filter(free) {
            self.of_operator(state, speaker, into);
        }
        for place in 0..state.under_way.len() {
            if state.under_way[place] != 0 {
                into.push(Action::Land(place));
            }
        }
        for at in self.present(state) {
            self.of_raft(state, at, into);
            self.of_volume(state, at, into);
        }
    }

    fn of_agent(&self, state: &State, at: usize, into: &mut Vec<Action>) {
        let machine = self.machine(state, at);
        let left = &state.left;
        if state.agents[at] == 0 {
            if !machine.gone {
                into.push(Action::StartAgent(at));
            }
            return;
        }
        let agent = self.agents.get(state.agents[at]);
        for (index, effect) in agent.pending.iter().enumerate() {
            let write = matches!(effect, Effect::Write(_));
            into.push(Action::Perform(at, index));
            if left.has(Fault::LoseAnswer) {
                into.push(Action::PerformUnheard(at, index));
            }
            if write && state.under_way.contains(&0) {
                into.extend(left.has(Fault::Late).then_some(Action::GiveUp(at, index)));
                into.extend(left.has(Fault::Twice).then_some(Action::PerformTwice(at, index)));
                let late = left.has(Fault::Late) && left.has(Fault::Crash);
                into.extend(late.then_some(Action::CrashLate(at)));
            }
        }
        if left.has(Fault::Crash) {
            into.push(Action::Crash(at));
        }
        if !agent.pending.is_empty() {
            return;
        }
        into.extend([Action::Turn(at, Mood::Patient), Action::Turn(at, Mood::Hasty)]);
        into.extend(left.has(Fault::Alarm).then_some(Action::Turn(at, Mood::Alarmed)));
        into.extend(left.has(Fault::Deaf).then_some(Action::Turn(at, Mood::Deaf)));
        into.extend(left.has(Fault::Cut).then_some(Action::Turn(at, Mood::Cut)));
    }

    fn of_operator(&self, state: &State, at: usize, into: &mut Vec<Action>) {
        let (ctrl, left) = (self.ctrl(state), &state.left);
        for seat in 0..self.sub.members {
            let Some(true_word) = self.is_gone_for_good(state, seat) else { continue };
            let fault = if true_word { Fault::AttestTrue } else { Fault::AttestFalse };
            let word = Word::Attest(seat);
            into.extend(left.has(fault).then_some(Action::Say(at, word)));
        }
        if left.has(Fault::AskReplace) && ctrl.op.is_none() {
            // of seats that are alike it makes no difference which is meant
            into.push(Action::Say(at, Word::Replace(self.sub.members - 1)));
        }
        let rollback = ctrl.request.is_none() && left.has(Fault::Rollback);
        into.extend(rollback.then_some(Action::Say(at, Word::Rollback)));
        match &ctrl.paused {
            None => into.extend(left.has(Fault::Pause).then_some(Action::Say(at, Word::Pause))),
            Some(_) => into.push(Action::Say(at, Word::Resume)),
        }
        let open = ctrl.phase == Phase::Fencing || ctrl.op.is_some();
        if open && left.has(Fault::CallOff) {
            into.push(Action::Say(at, Word::CallOff));
        }
    }

    /// Whether the machine that ran `seat` is gone; `None`: nobody could mean it.
    pub(super) fn is_gone_for_good(&self, state: &State, seat: usize) -> Option<bool> {
        let (_, record) = self.records(state).slots.get(seat)?;
        let ran = record.ran.as_ref()?;
        let is_it = |at: &usize| self.machine(state, *at).instance == ran.instance;
        let machine = self.present(state).into_iter().find(is_it)?;
        Some(self.machine(state, machine).gone)
    }

    fn of_machine(&self, state: &State, at: usize, into: &mut Vec<Action>) {
        let (machine, left) = (self.machine(state, at), &state.left);
        if machine.gone {
            return;
        }
        let runs = machine.run.is_some() || machine.forking;
        let dark = !runs && state.agents[at] == 0;
        let mut may = |fault, when: bool, action| {
            into.extend((when && left.has(fault)).then_some(action));
        };
        let holds = machine.member().is_some();
        may(Fault::Kill, runs, Action::Befall(Mishap::Kill(at)));
        may(Fault::PowerCut, !dark, Action::Befall(Mishap::PowerCut(at)));
        may(Fault::Wipe, holds, Action::Befall(Mishap::Wipe(at)));
        may(Fault::Destroy, true, Action::Befall(Mishap::Destroy(at, false)));
        may(Fault::DestroyKeepVolume, true, Action::Befall(Mishap::Destroy(at, true)));
        may(
            Fault::LoseRoot,
            dark && machine.root.uid.is_some(),
            Action::Befall(Mishap::LoseRoot(at)),
        );
        may(Fault::Unmount, machine.disk().is_some(), Action::Befall(Mishap::Unmount(at)));
        let place = self.sub.members + machine.seat;
        let free = place < MACHINES && state.machines[place] == 0;
        may(Fault::Replace, free, Action::Befall(Mishap::Replace(machine.seat)));
        if !machine.mounted && machine.volume.is_some() {
            into.push(Action::Befall(Mishap::Mount(at)));
        }
        if left.has(Fault::Gate) && !runs {
            let (data, memory) = (machine.data(), machine.memory());
            let word = boot::gate(&machine.instance, &data, &memory, &Table::Unread);
            into.extend(
                matches!(word, Gate::Start(_)).then_some(Action::Befall(Mishap::AskGate(at))),
            );
        }
        into.extend(machine.forking.then_some(Action::Befall(Mishap::Fork(at))));
    }

    /// A terminated machine's seat is refilled, and its volume may be mounted there.
    fn of_volume(&self, state: &State, at: usize, into: &mut Vec<Action>) {
        let machine = self.machine(state, at);
        if !machine.gone {
            return;
        }
        let to = self.sub.members + machine.seat;
        if to >= MACHINES || to == at {
            return;
        }
        if state.machines[to] == 0 && state.left.has(Fault::Replace) {
            into.push(Action::Befall(Mishap::Replace(machine.seat)));
        }
        let moves = machine.volume.is_some() && state.left.has(Fault::MoveVolume);
        if moves && state.machines[to] != 0 && self.machine(state, to).run.is_none() {
            into.push(Action::Befall(Mishap::MoveVolume(at, to)));
        }
    }

    fn of_raft(&self, state: &State, at: usize, into: &mut Vec<Action>) {
        if self.sub.bounds.replaces > 0 && self.ahead_of(state, at).is_some() {
            into.push(Action::Raft(Raft::CatchUp(at)));
        }
        let machine = self.machine(state, at);
        let (Some(run), Some(member)) = (&machine.run, machine.running()) else { return };
        let left = &state.left;
        if left.has(Fault::Elect) && self.may_win(state, at) {
            into.push(Action::Raft(Raft::Elect(at)));
        }
        let Some(leads) = &run.leads else { return };
        if !run.quarantined {
            into.extend(left.has(Fault::Put).then_some(Action::Raft(Raft::Put(at))));
            let settled = member.commit == member.len();
            if settled && left.has(Fault::ByHand) {
                let seats = (0..self.sub.members).filter(|seat| *seat != machine.seat);
                into.extend(seats.map(|seat| Action::Raft(Raft::Remove(at, seat))));
            }
        }
        for other in self.present(state) {
            let Some(follower) = self.machine(state, other).running() else { continue };
            let hears = other != at && follower.cluster == member.cluster;
            let behind = follower.log != member.log
                || follower.commit < member.commit
                || follower.term < leads.term;
            if hears && behind && follower.term <= leads.term {
                into.push(Action::Raft(Raft::Append(at, other)));
            }
        }
        if leads.committed(member) > member.commit {
            into.push(Action::Raft(Raft::Commit(at)));
        }
    }

    /// A quorum of its voters runs, none of which has a better log.
    fn may_win(&self, state: &State, at: usize) -> bool {
        let Some(member) = self.machine(state, at).running() else { return false };
        let voters = member.voters_at(member.len());
        let votes = voters.iter().filter(|id| {
            let voter = self.runner(state, **id);
            voter.and_then(|at| self.machine(state, at).running()).is_some_and(|voter| {
                voter.cluster == member.cluster && voter.last() <= member.last()
            })
        });
        let votes = votes.count();
        voters.contains(&member.id) && votes >= protocol::cluster::quorum(voters.len())
    }

    /// The next client's write is numbered after those there are.
    pub(super) fn next_put(&self, state: &State) -> u8 {
        let logs = self.present(state).into_iter().filter_map(|at| {
            self.machine(state, at).volume.as_ref()?.member.as_ref().map(|member| &member.log)
        });
        let puts = logs.flatten().filter_map(|(_, entry)| match entry {
            Entry::Put(number) => Some(*number),
            Entry::Voters(_) | Entry::Learner(_) | Entry::Gone(_) | Entry::Started(_) => None,
        });
        puts.max().map_or(1, |number| number + 1)
    }
}
