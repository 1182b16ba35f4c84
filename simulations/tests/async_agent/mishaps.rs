//! **mishaps** — what goes wrong with hosts, links, etcds and saves, begun and ended.
//!
//! Comes from a [plot](super::plot), at the moments that the [run](super::run) steps to. Goes to the
//! simulated network and the [world](super::world).

use super::{NAMES, plot::What, run::Stage, world::Fate};
use agent::adapters::aws;

/// How long an agent that goes away is away: longer than a silent member is waited for.
pub(crate) const AWAY: u64 = 40_000;
/// How long an agent that died stays dead.
pub(crate) const DEAD: u64 = 1_500;

impl Stage<'_> {
    pub(super) fn goes_down(&mut self, name: &str, lasts: u64) {
        if self.sim.is_host_running(name) {
            self.say(format!("{name} goes down"));
            self.sim.crash(name);
            self.returns.insert(name.to_owned(), self.now + lasts);
        }
    }

    pub(super) fn comes_back(&mut self, name: &str) {
        self.returns.remove(name);
        if !self.sim.is_host_running(name) {
            self.say(format!("{name} comes back"));
            self.sim.bounce(name);
        }
    }

    /// A mishap begins; false: another one is at work in the same place.
    pub(super) fn begins(&mut self, what: What) -> bool {
        if let What::Cut(at, store) | What::Mute(at, store) | What::Hold(at, store) = what
            && !self.shared.lock().busy.insert((at, store))
        {
            return false;
        }
        self.say(format!("{what:?} begins"));
        match what {
            What::Cut(at, store) => self.sim.partition(NAMES[at], store.host()),
            What::Mute(at, store) => self.sim.partition_oneway(store.host(), NAMES[at]),
            What::Hold(at, store) => self.sim.hold(NAMES[at], store.host()),
            What::Crash(at) => self.goes_down(NAMES[at], DEAD),
            What::Absent(at) => self.goes_down(NAMES[at], AWAY),
            What::Reboot(at) => {
                self.kill(at);
                self.goes_down(NAMES[at], DEAD);
            }
            What::Fuse(at, fuse) => drop(self.shared.lock().fuses.insert(at, fuse)),
            What::Down(store) => self.goes_down(store.host(), DEAD),
            What::Trouble(store, percent) => {
                self.shared.lock().trouble.insert(store, percent);
            }
            What::Kill(at) => self.kill(at),
            What::Isolate(at) => {
                let mut world = self.shared.lock();
                world.isolated.insert(at);
                world.changed();
            }
            What::Trap(moment, fate) => self.shared.lock().traps.push((moment, fate)),
            What::Silence(moment) => {
                let tries = (0..aws::ATTEMPTS).map(|_| (moment, Fate::Lost));
                self.shared.lock().traps.extend(tries);
            }
            What::Pause(moment, lasts) => self.shared.lock().pauses.push((moment, lasts)),
            What::Prune => self.look().prune(),
            What::Defragment(at) => self.shared.lock().defragment(at),
            What::Wipe(at) => {
                self.kill(at);
                let mut world = self.shared.lock();
                world.machines[at].volume = Default::default();
                world.half_swapped.remove(&at);
            }
        }
        true
    }

    fn kill(&self, at: usize) {
        let mut world = self.shared.lock();
        world.machines[at].etcd = None;
        world.watch.stopped_healthy.remove(&at);
        world.changed();
    }

    pub(super) fn ends(&mut self, what: What) {
        self.say(format!("{what:?} ends"));
        match what {
            What::Cut(at, store) => {
                self.sim.repair(NAMES[at], store.host());
                self.shared.lock().busy.remove(&(at, store));
            }
            What::Mute(at, store) => {
                self.sim.repair_oneway(store.host(), NAMES[at]);
                self.shared.lock().busy.remove(&(at, store));
            }
            What::Hold(at, store) => {
                self.sim.release(NAMES[at], store.host());
                self.shared.lock().busy.remove(&(at, store));
            }
            What::Trouble(store, _) => drop(self.shared.lock().trouble.remove(&store)),
            What::Isolate(at) => {
                let mut world = self.shared.lock();
                world.isolated.remove(&at);
                world.changed();
            }
            What::Absent(at) => self.comes_back(NAMES[at]),
            What::Crash(_)
            | What::Reboot(_)
            | What::Fuse(..)
            | What::Down(_)
            | What::Kill(_)
            | What::Trap(..)
            | What::Silence(_)
            | What::Pause(..)
            | What::Prune
            | What::Defragment(_)
            | What::Wipe(_) => {}
        }
    }

    /// Nothing goes wrong any more.
    pub(super) fn heal(&mut self) {
        self.say("all is healed".to_owned());
        {
            let mut world = self.shared.lock();
            world.fuses.clear();
            world.traps.clear();
            world.pauses.clear();
        }
        let down: Vec<String> = self.returns.keys().cloned().collect();
        for name in down {
            self.comes_back(&name);
        }
    }
}
