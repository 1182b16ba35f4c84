//! **symmetry** — machines that are mirror images of each other.
//!
//! Comes in: a state. Goes out: the machines to go on with. Two seats mirror each other if their
//! machines, their agents and their records differ in names only, and neither leads nor waits for
//! anything. Exchanging them changes nothing but names, so what the second may do is what the
//! first may do. Exact but for one thing: where the core breaks a tie it prefers the lower seat;
//! a run without the reduction shows whether that hides anything.

use super::{
    intern::Memo,
    machine::Machine,
    world::{State, World, seat_name},
};
use protocol::{
    cluster::{Instance, MemberId, Nonce, Slot},
    observation::Ran,
    registry::SlotRecord,
};
use std::hash::{Hash, Hasher};

/// Nameless images of machines and records, as hashes: two of them are compared only to leave work
/// out that would be done again.
#[derive(Default)]
pub(super) struct Shapes {
    machines: Memo<u32, u64>,
    tables: Memo<u32, Vec<Option<u64>>>,
}

fn hash(thing: &impl Hash) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    thing.hash(&mut hasher);
    hasher.finish()
}

fn nameless(ran: &Ran) -> Ran {
    Ran {
        instance: Instance(String::new()),
        member_id: MemberId(0),
        fs: String::new(),
        ..ran.clone()
    }
}

/// A machine without its names; the number of agent processes is part of the name.
fn machine_shape(machine: &Machine) -> u64 {
    let mut bare = machine.clone();
    bare.seat = 0;
    bare.instance = Instance(String::new());
    bare.nonce = Nonce(String::new());
    bare.root.slot = bare.root.slot.map(|_| Slot(0));
    bare.root.ran = bare.root.ran.as_ref().map(nameless);
    if let Some(volume) = bare.volume.as_mut() {
        volume.fs = String::new();
        let restored = volume.restored.values_mut();
        for member in volume.member.iter_mut().chain(&mut volume.aside).chain(restored) {
            member.id = MemberId(0);
        }
    }
    hash(&bare)
}

/// A seat's record without its names; `None`: it is in the middle of something.
fn record_shape(record: &SlotRecord) -> Option<u64> {
    let quiet = record.fence.is_none() && record.attest.is_none() && record.salvage.is_none();
    let mut bare = record.clone();
    bare.owner = None;
    bare.ran = bare.ran.as_ref().map(nameless);
    quiet.then(|| hash(&bare))
}

impl World {
    /// The machines of which none is the image of an earlier one.
    pub(super) fn distinct(&mut self, state: &State) -> Vec<usize> {
        let present = self.present(state);
        if !self.sub.reduced || state.under_way != [0; super::world::UNDER_WAY] {
            return present;
        }
        let shapes: Vec<Option<(u64, u64)>> =
            present.iter().map(|at| self.shape(state, *at)).collect();
        let is_image =
            |place: usize| shapes[place].is_some() && shapes[..place].contains(&shapes[place]);
        (0..present.len()).filter(|place| !is_image(*place)).map(|place| present[place]).collect()
    }

    fn shape(&mut self, state: &State, at: usize) -> Option<(u64, u64)> {
        let first = state.agents[at] == self.first.agents[at] && at < self.sub.members;
        if !first {
            return None;
        }
        let lease = self.ctrl(state).lease.as_ref();
        if lease.is_some_and(|lease| seat_name(usize::from(lease.holder.0)) == seat_name(at)) {
            return None;
        }
        let records = self.tables.records(state.table);
        let record = *self
            .shapes
            .tables
            .entry(state.table)
            .or_insert_with(|| {
                records.slots.iter().map(|(_, record)| record_shape(record)).collect()
            })
            .get(at)?;
        let number = state.machines[at];
        let machine = self.machines.get(number);
        let machine = *self.shapes.machines.entry(number).or_insert_with(|| machine_shape(machine));
        Some((machine, record?))
    }
}
