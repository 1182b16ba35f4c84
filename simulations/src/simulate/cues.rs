//! **cues** — plays a [plot](super::plots): looks every few moments whether the next step is due, and does
//! it. A word that was refused is said again.
//!
//! Comes in: the records and machines as they are. Goes out: the faults that chance strikes with too, an
//! operator's words, and members removed by hand.

use super::{
    Fault, Happening, Planned, Sim, Word,
    faults::Cure,
    plots::{Act, Cue, Who},
};
use crate::world::etcd::Peer;
use protocol::{
    cluster::{MemberId, Slot},
    registry::{Ctrl, Phase, Records},
};

/// After how long a word or a change by hand is tried again, in milliseconds.
const AGAIN: u64 = 2_000;

impl Sim {
    /// One look whether the next step is due.
    pub(super) fn follow_plot(&mut self) {
        let Some(plot) = self.options.plot.clone().filter(|_| !self.calm) else { return };
        let after = self.rng.u64(5..60);
        self.push(after, Happening::Cue);
        let Some(records) = Some(self.records()).filter(|records| records.ctrl.is_some()) else {
            return;
        };
        let steps = plot.kind.steps();
        let begun = self.played.begun;
        let last = begun.checked_sub(1).and_then(|at| steps.get(at)).map(|(_, act)| *act);
        let open = last.is_some_and(|act| !self.is_done(act, &records));
        if open {
            if self.now >= self.played.at + AGAIN {
                self.played.at = self.now;
                self.act(last.unwrap_or(Act::Relink));
            }
            return;
        }
        let Some((cue, act)) = steps.get(begun) else { return };
        if self.is_seen(*cue, &records) {
            self.played.begun += 1;
            self.played.at = self.now;
            self.act(*act);
        }
    }

    /// The machine that plays a role: the latest that lives on its seat.
    fn player(&self, role: usize) -> Option<usize> {
        let cast = &self.options.plot.as_ref()?.cast;
        let seat = cast[role % cast.len()];
        let lives = |at: &usize| !self.machines[*at].terminated;
        let here = |at: &usize| usize::from(self.seat_of(*at).0) == seat;
        (0..self.machines.len()).rev().filter(lives).find(here)
    }

    fn players(&self, who: Who) -> Vec<usize> {
        who.roles(self.options.members).filter_map(|role| self.player(role)).collect()
    }

    fn first_seat(&self) -> Slot {
        let cast = self.options.plot.as_ref().map_or(0, |plot| plot.cast[0]);
        Slot(u8::try_from(cast).unwrap_or(0))
    }

    // ------------------------------------------------------------ cues

    fn is_seen(&self, cue: Cue, records: &Records) -> bool {
        let Some(ctrl) = &records.ctrl else { return false };
        let slot = self.first_seat();
        let seat = records.slot(slot);
        let restored = ctrl.inc > 1;
        match cue {
            Cue::Settled => self.is_settled(ctrl),
            Cue::Unsaved => self.is_settled(ctrl) && self.is_unsaved(ctrl),
            Cue::Later(after) => self.now >= self.played.at + after,
            Cue::Restored(phase) => restored && ctrl.phase == phase,
            Cue::Acknowledged => restored && self.ghost.shown.contains_key(&ctrl.inc),
            Cue::Fenced => {
                let fenced = seat.fence.as_ref().is_some_and(|fence| fence.attempt == ctrl.attempt);
                ctrl.phase == Phase::Fencing && fenced
            }
            Cue::Paused => ctrl.paused.is_some(),
            Cue::Refilled(stage) => {
                ctrl.op.as_ref().is_some_and(|op| op.slot == slot && op.stage == stage)
            }
            Cue::Votes => {
                let added = ctrl.op.as_ref().filter(|op| op.slot == slot).and_then(|op| op.added);
                added.is_some_and(|id| self.votes(id))
            }
            Cue::Succeeded => {
                let machine = self.player(0).map(|at| &self.machines[at].instance);
                let ran = seat.ran.as_ref().map(|ran| &ran.instance);
                machine.is_some() && machine != ran
            }
            Cue::Reseated => {
                let machine = self.player(0).map(|at| &self.machines[at].instance);
                let ran = seat.ran.as_ref().filter(|ran| ran.inc == ctrl.inc);
                let sits = machine.is_some() && ran.map(|ran| &ran.instance) == machine;
                sits && ctrl.op.is_none() && self.is_settled(ctrl)
            }
        }
    }

    /// It rests, every seat serves, clients were told of a few writes, and there is a snapshot.
    fn is_settled(&self, ctrl: &Ctrl) -> bool {
        let serving: usize =
            (0..self.machines.len()).filter(|at| self.is_linearizable(*at)).count();
        let life = ctrl.cluster_id.and_then(|cluster| self.ghost.lives.get(&cluster));
        let mut saved = self.ghost.manifests.iter();
        ctrl.phase == Phase::Idle
            && ctrl.op.is_none()
            && serving == self.options.members
            && life.is_some_and(|life| life.acked.len() > 2)
            && saved.any(|(_, manifest)| manifest.inc == ctrl.inc)
    }

    /// The last few entries that were committed are in no snapshot.
    fn is_unsaved(&self, ctrl: &Ctrl) -> bool {
        let life = ctrl.cluster_id.and_then(|cluster| self.ghost.lives.get(&cluster));
        let committed = life.map_or(0, |life| life.committed.len()) as u64;
        let mut saved = self.ghost.manifests.iter().map(|(_, manifest)| manifest);
        saved.all(|manifest| manifest.inc < ctrl.inc || manifest.applied + 2 < committed)
    }

    /// Some running member goes by a configuration in which `id` votes.
    fn votes(&self, id: MemberId) -> bool {
        let mut running = self.machines.iter().filter_map(|machine| machine.running());
        running.any(|(_, store)| store.has_voter(id))
    }

    // ------------------------------------------------------------ acts

    /// Whether what is done again and again came to what it was meant to.
    fn is_done(&self, act: Act, records: &Records) -> bool {
        let Some(ctrl) = &records.ctrl else { return true };
        let slot = self.first_seat();
        match act {
            Act::Say(Fault::Replace) => ctrl.op.is_some(),
            Act::Say(Fault::Attest) => records.slot(slot).attest.is_some(),
            Act::Say(Fault::Pause) => ctrl.paused.is_some(),
            Act::Say(_) => ctrl.inc > 1 || ctrl.request.is_some(),
            Act::Remove(who) => self.strangers(who).is_none(),
            Act::Strike(..)
            | Act::Silence(..)
            | Act::SwapVolumes(_)
            | Act::Remount
            | Act::Relink => true,
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Strike(fault, who, lasting) => {
                for machine in self.players(who) {
                    let (planned, known) = (self.planned(fault, lasting), self.machines.len());
                    self.befall(machine, planned);
                    // a copy is not cut off with the machine that it was made of
                    (known..self.machines.len()).for_each(|copy| self.relink(copy));
                }
            }
            Act::Silence(fault, lasting) => {
                let planned = self.planned(fault, lasting);
                self.befall(0, planned);
            }
            Act::SwapVolumes(lasting) => {
                if let (Some(one), Some(other)) = (self.player(0), self.player(1))
                    && self.swap_volumes(one, other, lasting)
                {
                    self.say("", "!! volumes are swapped");
                    self.cure(lasting * 20, Cure::SwapBack(one, other, lasting));
                }
            }
            Act::Remount => self.heal_now(|cure| matches!(cure, Cure::Remount(..))),
            Act::Relink => (0..self.machines.len()).for_each(|machine| self.relink(machine)),
            Act::Remove(who) => self.remove_by_hand(who),
            Act::Say(word) => self.say_on_stage(word),
        }
        self.stir();
    }

    /// A fault for about so long.
    fn planned(&mut self, fault: Fault, lasting: u64) -> Planned {
        let (at, pick) = (self.now, self.rng.u64(..));
        Planned { at, fault, pick, lasting: lasting + self.rng.u64(0..=lasting / 4) }
    }

    fn say_on_stage(&mut self, word: Fault) {
        let slot = self.first_seat();
        let because = || "the plot has it so".to_owned();
        let (by, planned) = ("op".to_owned(), self.planned(word, 6_000));
        match word {
            Fault::Replace => _ = self.say_to_an_agent(Word::Replace { slot, because: because() }),
            Fault::Attest => {
                _ = self.say_to_an_agent(Word::Attest { slot, by, because: because() });
            }
            _ => self.word(planned),
        }
    }

    /// Who votes although only these may, and through whose machine that can be ended.
    fn strangers(&self, who: Who) -> Option<(usize, Vec<Peer>)> {
        let urls: Vec<&String> =
            self.players(who).iter().map(|at| &self.machines[*at].peer_url).collect();
        let all = self.players(who).into_iter().find_map(|at| {
            let (_, store) = self.machines[at].running()?;
            Some((at, (**store.peers()?).clone()))
        });
        all.filter(|(_, peers)| peers.iter().any(|peer| !urls.contains(&&peer.peer_url)))
    }

    /// `etcdctl member remove`, one after the other.
    fn remove_by_hand(&mut self, who: Who) {
        let Some((door, peers)) = self.strangers(who) else { return };
        // in the order of the roles: the last keeps its data, and has seen all others go
        let members = self.options.members;
        let leave = who.roles(members).end..members;
        let leaving = leave.filter_map(|role| Some(&self.machines[self.player(role)?].peer_url));
        let listed = |url: &&String| peers.iter().any(|peer| peer.peer_url == **url);
        let Some(goes) = leaving.into_iter().find(listed).cloned() else { return };
        self.take_out(door, peers, &goes);
        self.played.at = self.now.saturating_sub(AGAIN - 300);
    }

    /// The member of a seat is taken out by hand.
    pub(super) fn take_out_by_hand(&mut self, slot: Slot) {
        let Some(seat) = self.policy.seats.iter().find(|seat| seat.slot == slot) else { return };
        let url = seat.peer_url.clone();
        let door = (0..self.machines.len()).find(|at| self.is_linearizable(*at));
        let Some((_, store)) = door.and_then(|door| self.machines[door].running()) else { return };
        if let (Some(door), Some(peers)) = (door, store.peers().map(|peers| (**peers).clone())) {
            self.take_out(door, peers, &url);
        }
    }

    fn take_out(&mut self, door: usize, mut peers: Vec<Peer>, url: &str) {
        let listed = peers.iter().position(|peer| peer.peer_url == url);
        let (Some(goes), Some(leader)) = (listed, self.live_leader(door)) else { return };
        let gone = peers.remove(goes);
        if self.propose_members(leader, peers).is_some() {
            self.say("op", &format!("removes member {} by hand", gone.id));
        }
    }
}
