//! **words** — an operator who asks, pauses, attests and answers, by what the cloud's API says, which may
//! be a lie. What is attested is true all the same (protocol.md A7): should the seat's machine live, the
//! operator makes it true, by destroying it.

use super::{Fault, Planned, Sim, Word, faults::Cure};
use protocol::{
    cluster::Slot,
    manifest::Manifest,
    observation::Ran,
    registry::{Parked, Request, SlotRecord, Why},
    source,
};

const BY: &str = "op";

impl Sim {
    pub(super) fn word(&mut self, planned: Planned) {
        let seats = self.options.members as u64;
        let slot = Slot(u8::try_from(planned.pick / 11 % seats).unwrap_or(0));
        let word = match planned.fault {
            Fault::Pause => {
                self.cure(planned.lasting, Cure::Unpause);
                Word::Pause { because: because() }
            }
            Fault::Restore => Word::Restore(request(false)),
            Fault::Rollback => Word::Restore(request(true)),
            Fault::Replace => Word::Replace { slot, because: because() },
            Fault::Save => Word::Save,
            Fault::Attest => {
                let gone = self.said_to_be_gone();
                let Some(slot) = gone.get(planned.pick as usize % gone.len().max(1)) else {
                    return;
                };
                Word::Attest { slot: *slot, by: BY.to_owned(), because: because() }
            }
            Fault::Answer => match self.operators_answer() {
                Some(word) => word,
                None => return,
            },
            _ => Word::Abort,
        };
        self.say_to_an_agent(word);
    }

    /// What an operator says to the attempt that waits for consent, if one does: now and then that a
    /// doubtful snapshot is all right, else yes.
    pub(super) fn operators_answer(&mut self) -> Option<Word> {
        let records = self.records();
        let ctrl = records.ctrl.as_ref()?;
        let doubts = ctrl.parked == Some(Parked::Approval(Why::Doubt));
        if doubts && self.rng.bool() {
            let inc = source::lineage(ctrl);
            let of_it = |manifest: &&Manifest| manifest.inc == inc && manifest.doubt.is_some();
            let all = self.ghost.manifests.iter().map(|(_, manifest)| manifest);
            let newest = all.filter(of_it).max_by_key(|manifest| manifest.revision)?;
            let (sha256, inc) = (newest.sha256, newest.inc);
            self.ghost.saw("adopted");
            return Some(Word::Adopt {
                sha256,
                inc,
                by: BY.to_owned(),
                because: because(),
                said: None,
            });
        }
        let asks = matches!(ctrl.parked, Some(Parked::Approval(_)));
        asks.then_some(Word::Approve { attempt: ctrl.attempt })
    }

    /// Seats whose machine is gone, says the cloud: of some that live too, and not of all that are gone.
    fn said_to_be_gone(&mut self) -> Vec<Slot> {
        let (gone, lies) = (self.gone_for_good(), self.options.rates.cloud);
        let seats: Vec<Slot> = self.policy.seats.iter().map(|seat| seat.slot).collect();
        seats.into_iter().filter(|slot| gone.contains(slot) != self.chance(lies)).collect()
    }

    /// Seats whose machine is terminated: the one that ran the member of the present incarnation, or
    /// that was to run it and ran the one before.
    pub(super) fn gone_for_good(&self) -> Vec<Slot> {
        let records = self.records();
        let inc = records.ctrl.as_ref().map_or(0, |ctrl| ctrl.inc);
        let gone = |record: &SlotRecord| {
            let owner = record.owner.as_ref().map(|owner| &owner.instance);
            let meant = |ran: &&Ran| ran.inc == inc || owner == Some(&ran.instance);
            let ran = record.ran.as_ref().filter(meant);
            let machine = ran.and_then(|ran| {
                self.machines.iter().find(|machine| machine.instance == ran.instance)
            });
            machine.is_some_and(|machine| machine.terminated)
        };
        let slots = records.slots.iter().filter(|(_, record)| gone(record));
        slots.map(|(slot, _)| *slot).collect()
    }

    /// An attestation is on record: what it says is made true if it is not.
    pub(super) fn attested(&mut self, record: &SlotRecord) {
        let Some(attest) = &record.attest else { return };
        self.ghost.saw("attested");
        let named = |at: &usize| self.machines[*at].instance == attest.instance;
        let Some(machine) = (0..self.machines.len()).find(named) else { return };
        if !self.machines[machine].terminated {
            let name = self.machines[machine].instance.0.clone();
            self.say(&name, "is destroyed, as the operator said");
            self.destroy(machine);
            // said before things stopped going wrong, and heard after: the loss is made good
            if self.calm {
                self.refill(machine);
            }
        }
    }
}

fn because() -> String {
    "the simulator says so".to_owned()
}

fn request(rollback: bool) -> Request {
    Request {
        rollback,
        source: None,
        scope: Vec::new(),
        by: BY.to_owned(),
        because: because(),
        attempt: None,
    }
}
