//! **membership** — one member after the other, as etcd does it for whoever asks (protocol.md 1.9).
//!
//! Comes in: what an agent asks of its own member's cluster. Goes out: the logs after it, or a no.
//! A change is committed at once by all members that run; one that is away hears of it later. etcd's
//! own checks are here as of 3.5.30: nobody is removed whose loss would leave no quorum, there is one
//! learner at most, and one that never started is not promoted. Whether one that *died* is promoted
//! etcd does not ask, so it is not asked here either.

use super::{
    agent::Mood,
    engine::Step,
    etcd::{Entry, Member, Run},
    happening::{After, step},
    invariants::{BEGUN_TWICE, ONE_OPERATION, WORSENED},
    machine::Around,
    witness::{Witness, bit_if},
    world::{Answer, State, World},
};
use protocol::{
    cluster::{MemberId, member_id, quorum},
    effect::{Effect, Lane, Listed, Start},
};

impl Member {
    /// Learners that its log has, after all that it knows to be committed.
    pub(super) fn learners(&self) -> Vec<MemberId> {
        let mut learners = Vec::new();
        for (_, entry) in self.log.iter().take(usize::from(self.commit)) {
            match entry {
                Entry::Learner(id) => learners.push(*id),
                Entry::Voters(voters) => learners.retain(|id| !voters.contains(id)),
                Entry::Gone(gone) => learners.retain(|id| id != gone),
                Entry::Put(_) | Entry::Started(_) => {}
            }
        }
        learners
    }

    /// Whether it ran while it had a vote.
    fn has_voted(&self, id: MemberId) -> bool {
        let votes = |(_, entry): &(u8, Entry)| match entry {
            Entry::Voters(voters) => voters.contains(&id),
            Entry::Put(_) | Entry::Learner(_) | Entry::Gone(_) | Entry::Started(_) => false,
        };
        let since = self.log.iter().skip_while(|entry| !votes(entry));
        self.founders.contains(&id)
            || since.into_iter().any(|(_, entry)| *entry == Entry::Started(id))
    }

    fn has_started(&self, id: MemberId) -> bool {
        let said = |(_, entry): &(u8, Entry)| *entry == Entry::Started(id);
        self.founders.contains(&id) || self.log.iter().any(said)
    }
}

impl World {
    /// What the member on machine `at` and its cluster answer.
    pub(super) fn around_and_listed(&mut self, state: &State, at: usize, mood: Mood) -> Around {
        let around = self.around(state, at, mood);
        if self.sub.bounds.replaces == 0 || !around.quorum {
            return around;
        }
        let listed = self.machine(state, at).running().map(|member| self.listing(member));
        Around { listed: listed.map_or(0, |listed| self.listings.put(listed)), ..around }
    }

    fn listing(&self, member: &Member) -> Vec<Listed> {
        let voters = member.in_force().iter().map(|id| (*id, false));
        let learners = member.learners().into_iter().map(|id| (id, true));
        let listed = |(id, learner): (MemberId, bool)| {
            let seat = &self.seats[self.objects.home(id)?];
            let started = member.has_started(id);
            Some(Listed { id, peer_url: seat.peer_url.clone(), learner, started })
        };
        voters.chain(learners).filter_map(listed).collect()
    }

    /// What an agent asks of etcd, or of a member that is to join; `None`: it is nothing of that.
    pub(super) fn perform_in_etcd(
        &mut self,
        before: &State,
        at: usize,
        index: usize,
        heard: bool,
    ) -> After {
        let effect = self.agents.get(before.agents[at]).pending[index].clone();
        let joins = |start: &Start| start.join.as_ref().is_some_and(|join| join.existing);
        let after = if effect.lane() == Lane::Etcd {
            self.change_members(before, at, &effect, self.leads(before, at))
        } else if matches!(&effect, Effect::Start(start) if joins(start)) {
            self.join(before, at)
        } else {
            return None;
        };
        let able = after.is_some();
        let mut after = after.or_else(|| step(before.clone()))?;
        self.answer(&mut after.state, at, index, Answer::Done(able && heard));
        Some(after)
    }

    /// The members that run beside `member`.
    fn beside(&self, state: &State, member: &Member) -> Vec<usize> {
        let same = |at: &usize| {
            let runs = self.machine(state, *at).running();
            runs.is_some_and(|other| other.cluster == member.cluster)
        };
        self.present(state).into_iter().filter(same).collect()
    }

    fn live(&self, state: &State, voters: &[MemberId]) -> usize {
        voters.iter().filter(|id| self.runner(state, **id).is_some()).count()
    }

    /// Whether the table has the agent on this machine down as the leader.
    fn leads(&self, state: &State, at: usize) -> bool {
        let lease = self.ctrl(state).lease.as_ref();
        lease.is_some_and(|lease| lease.nonce == self.machine(state, at).nonce)
    }

    /// A learner that an earlier leader asks for late, after its replacement was called off, is let be:
    /// it votes on nothing, and is removed before another is added.
    fn change_members(&mut self, before: &State, at: usize, effect: &Effect, leads: bool) -> After {
        let member = self.machine(before, at).running()?.clone();
        let voters = member.in_force().to_vec();
        let live = self.live(before, &voters);
        if live < quorum(voters.len()) || !voters.contains(&member.id) {
            return None;
        }
        let entry = self.entry(before, &member, live, effect)?;
        let mut leader = member.clone();
        leader.log.push((leader.term, entry));
        if let Effect::Promote(id) = effect
            && self.runner(before, *id).is_some()
        {
            leader.log.push((leader.term, Entry::Started(*id)));
        }
        leader.commit = leader.len();
        let learners = leader.learners();
        let after = self.spread(before, &leader);
        let ctrl = self.ctrl(before);
        let ours = ctrl.cluster_id == Some(member.cluster);
        let late = !leads && matches!(effect, Effect::AddLearner { .. });
        let strange = ours && ((ctrl.op.is_none() && !late) || learners.len() > 1);
        let now = leader.in_force();
        let worse = self.live(&after, now) < quorum(now.len());
        let mut after = step(after)?;
        after.shows = bit_if(Witness::LateLearner, ours && late && ctrl.op.is_none());
        after.broken = strange.then_some(ONE_OPERATION).or_else(|| worse.then_some(WORSENED));
        Some(after)
    }

    /// The entry that etcd would propose; `None`: it refuses.
    fn entry(
        &mut self,
        state: &State,
        member: &Member,
        live: usize,
        effect: &Effect,
    ) -> Option<Entry> {
        let voters = member.in_force().to_vec();
        let learners = member.learners();
        if let Effect::RemoveMember(id) = effect {
            if learners.contains(id) {
                return Some(Entry::Gone(*id));
            }
            let runs = self.runner(state, *id).is_some();
            let needed = runs && live - 1 < quorum(voters.len() - 1);
            let others: Vec<_> = voters.iter().copied().filter(|other| other != id).collect();
            return (others.len() < voters.len() && !needed).then_some(Entry::Voters(others));
        }
        if let Effect::AddLearner { peer_url } = effect {
            let seat = self.seats.iter().position(|seat| seat.peer_url == *peer_url)?;
            let mut listed = voters.iter().chain(&learners);
            let taken = listed.any(|id| self.objects.home(*id) == Some(seat));
            // etcd puts the time in; here it is the place in the log
            let id = member_id(peer_url, &format!("{}-{}", member.cluster, member.len()));
            self.objects.settle(id, seat);
            return (!taken && learners.is_empty()).then_some(Entry::Learner(id));
        }
        let Effect::Promote(id) = effect else { return None };
        let ready = learners.contains(id) && member.has_started(*id);
        let mut voters: Vec<_> = voters.into_iter().chain([*id]).collect();
        voters.sort_unstable();
        ready.then_some(Entry::Voters(voters))
    }

    /// All that run take a log over; whoever is not in it any more ends.
    fn spread(&mut self, before: &State, leader: &Member) -> State {
        let mut state = before.clone();
        for at in self.beside(before, leader) {
            state = self.follow(&state, at, leader);
        }
        state
    }

    fn follow(&mut self, before: &State, at: usize, leader: &Member) -> State {
        let learners = leader.learners();
        self.alter(before, at, |machine| {
            let Some(member) = machine.member_mut() else { return };
            member.follow(leader, leader.term);
            let gone = !leader.in_force().contains(&member.id) && !learners.contains(&member.id);
            if gone {
                machine.end_etcd();
            }
        })
    }

    /// The longest log of the same cluster, if it is ahead of the one on machine `at` and a quorum of
    /// its voters runs.
    pub(super) fn ahead_of(&self, state: &State, at: usize) -> Option<Member> {
        let member = self.machine(state, at).running()?;
        let others = self.beside(state, member).into_iter();
        let logs = others.filter_map(|other| self.machine(state, other).running());
        let best = logs.max_by_key(|other| other.last())?;
        let voters = best.in_force();
        let lives = self.live(state, voters) >= quorum(voters.len());
        (lives && best.last() > member.last()).then(|| best.clone())
    }

    pub(super) fn catch_up(&mut self, before: &State, at: usize) -> After {
        let leader = self.ahead_of(before, at)?;
        let state = self.follow(before, at, &leader);
        Some(Step { state, shows: Witness::CaughtUp.bit(), broken: None })
    }

    /// A member with an empty data dir is begun, as the one that its cluster lists at its seat.
    fn join(&mut self, before: &State, at: usize) -> After {
        let machine = self.machine(before, at);
        if machine.member().is_some() || machine.run.is_some() {
            return None;
        }
        let seat = machine.seat;
        let others = self.present(before).into_iter();
        let mut runs = others.filter_map(|other| self.machine(before, other).running());
        let source = runs
            .find(|member| {
                let voters = member.in_force();
                self.live(before, voters) >= quorum(voters.len())
            })?
            .clone();
        let listed = self.listing(&source);
        let me = listed.iter().find(|member| self.objects.home(member.id) == Some(seat))?;
        let mut leader = source.clone();
        leader.log.push((leader.term, Entry::Started(me.id)));
        leader.commit = leader.len();
        let mut state = self.spread(before, &leader);
        let mine = Member { id: me.id, ..leader };
        state = self.alter(&state, at, |machine| {
            if let Some(disk) = machine.disk_mut() {
                disk.member = Some(mine);
                machine.run = Some(Run::new(false));
            }
        });
        let mut after = step(state)?;
        // as a learner it voted on nothing, and what it acknowledged was not counted
        after.broken = source.has_voted(me.id).then_some(BEGUN_TWICE);
        Some(after)
    }
}
