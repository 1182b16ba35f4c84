//! **voices** — what an agent hears of the others and of its own etcd, and what operators say.
//!
//! Comes in: the machines as they are, and a mood. Goes out: votes. Votes are no part of a state:
//! safety must not depend on them (S21), so a turn is taken with true ones or with lies, whichever
//! the explorer likes.

use super::{
    action::Word,
    agent::Mood,
    machine::{Around, Machine},
    world::{MACHINES, Occurrence, State, World},
};
use protocol::{
    cluster::{MemberId, Slot, quorum},
    event::Command,
    registry::{Records, Request, SlotRecord},
    vote::{Health, Vote},
};

impl World {
    /// The machine whose member `id` runs.
    pub(super) fn runner(&self, state: &State, id: MemberId) -> Option<usize> {
        self.present(state)
            .into_iter()
            .find(|at| self.machine(state, *at).running().is_some_and(|member| member.id == id))
    }

    /// What the cluster of the member on machine `at` is like.
    pub(super) fn around(&self, state: &State, at: usize, mood: Mood) -> Around {
        let Some(member) = self.machine(state, at).running() else { return Around::default() };
        let voters = member.in_force();
        let running = voters.iter().filter(|id| self.runner(state, **id).is_some()).count();
        let served = voters.contains(&member.id) && mood != Mood::Alarmed;
        Around { quorum: running >= quorum(voters.len()) && served, ..Around::default() }
    }

    /// The health that each machine's agent tells, in a byte each; 0: nobody speaks there.
    pub(super) fn voices(&self, state: &State, hearer: usize, mood: Mood) -> [u8; MACHINES] {
        let records = self.records(state);
        let mut voices = [0; MACHINES];
        for at in self.present(state) {
            let machine = self.machine(state, at);
            let record = records.slots.get(machine.seat).map(|(_, record)| record);
            let owner = record.and_then(|record| record.owner.as_ref());
            let speaks = state.agents[at] != 0
                && owner.is_some_and(|owner| owner.nonce == machine.nonce)
                && (mood != Mood::Deaf || at == hearer);
            if let Some(record) = record.filter(|_| speaks) {
                let quorum = self.around(state, at, mood).quorum;
                let health = health(machine, record, self.ctrl(state).inc, quorum);
                let quarantined = machine.run.as_ref().is_some_and(|run| run.quarantined);
                voices[at] = 1 + 2 * health as u8 + u8::from(quarantined);
            }
        }
        voices
    }

    /// The votes that these voices come to.
    pub(super) fn votes(&self, occurrence: &Occurrence) -> Vec<Vote> {
        let records = self.tables.records(occurrence.table);
        let inc = records.ctrl.as_ref().map_or(0, |ctrl| ctrl.inc);
        let vote = |(at, voice): (usize, &u8)| {
            let told = voice.checked_sub(1)?;
            let health = HEALTHS[usize::from(told / 2)];
            let seat = seat_of(at, self.sub.members);
            let (slot, record) = records.slots.get(seat)?;
            let owner = record.owner.as_ref()?;
            Some(Vote {
                slot: *slot,
                instance: owner.instance.clone(),
                nonce: owner.nonce.clone(),
                seq: 0,
                inc,
                health,
                quarantined: told % 2 == 1,
                revision: 10,
                manifest: None,
                doubt: None,
            })
        };
        occurrence.voices.iter().enumerate().filter_map(vote).collect()
    }
}

/// In the order of their numbers.
const HEALTHS: [Health; 8] = [
    Health::Healthy,
    Health::NoQuorum,
    Health::Stopped,
    Health::StoppedByOperator,
    Health::DataLost,
    Health::NeverRan,
    Health::Unmounted,
    Health::Unknown,
];

/// The truth about a member.
fn health(machine: &Machine, record: &SlotRecord, inc: u64, quorum: bool) -> Health {
    let ran = record.ran.as_ref().filter(|ran| ran.inc == inc);
    let mine = ran.is_some_and(|ran| ran.instance == machine.instance);
    let current = machine.member().filter(|member| member.inc == inc);
    match (machine.running(), current) {
        (Some(member), _) if member.inc == inc && quorum => Health::Healthy,
        (Some(member), _) if member.inc == inc => Health::NoQuorum,
        (Some(_), _) => Health::Unknown,
        (None, _) if ran.is_none() && machine.disk().is_none() => Health::Unmounted,
        (None, _) if ran.is_none() => Health::NeverRan,
        (None, _) if !mine => Health::Unknown,
        (None, Some(_)) => Health::Stopped,
        (None, None) if machine.disk().is_none() => Health::Unmounted,
        (None, None) if machine.member().is_none() => Health::DataLost,
        (None, None) => Health::Unknown,
    }
}

/// An operator's word as a command.
pub(super) fn command(word: Word, records: &Records) -> Command {
    let (by, because) = ("an operator".to_owned(), "because".to_owned());
    match word {
        Word::Attest(seat) => Command::Attest { slot: Slot(seat as u8), by, because },
        Word::Replace(seat) => Command::Replace { slot: Slot(seat as u8), because },
        Word::Rollback => Command::Restore(Request {
            rollback: true,
            source: None,
            scope: records.slots.iter().map(|(slot, _)| *slot).collect(),
            by,
            because,
            attempt: None,
        }),
        Word::Pause => Command::Pause { because },
        Word::Resume => Command::Resume,
        Word::CallOff => Command::Abort,
    }
}

/// The seat of a machine: those that came later took the seats' names from the first one on.
pub(super) const fn seat_of(machine: usize, members: usize) -> usize {
    if machine < members { machine } else { machine - members }
}
