//! **plot** — what happens to whom and when: everything in it is drawn from one seed.
//!
//! Comes from a number, goes to the [run](super::run). A plot is a disaster that the cluster must
//! recover from and a handful of mishaps on the way; it ends with all of them healed.

use super::{
    database::PAGES,
    traps::Moment,
    world::{Fate, Fuse, Store},
};
use protocol::{limits::Timers, time::Span};

/// Pages of a file that is more than one part.
const LARGE: u64 = 2_400;

/// Random numbers from a seed (splitmix64), the same on every machine.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) const fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    /// A number from `start` on, below `end`.
    pub(crate) const fn between(&mut self, start: u64, end: u64) -> u64 {
        start + self.below(end - start)
    }

    /// Which of `choices`.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        let index = self.below(choices.len() as u64);
        choices[usize::try_from(index).expect("an index below a length")]
    }

    fn machine(&mut self) -> usize {
        self.pick(&[0, 1, 2])
    }
}

/// Timers of a simulated cluster: the drills', but for calls, which cost real time: they are rarer.
const TIMERS: Timers = Timers { poll: Span(500), vote: Span(900), ..Timers::QUICK };

/// Something that goes wrong, and how long it does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mishap {
    /// Milliseconds after the disaster.
    pub(crate) after: u64,
    /// Milliseconds until it is over.
    pub(crate) lasts: u64,
    pub(crate) what: What,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Nothing passes between an agent and a store.
    Cut(usize, Store),
    /// Requests arrive, answers are lost.
    Mute(usize, Store),
    /// Everything is held back and arrives at the end, however late.
    Hold(usize, Store),
    /// The agent ends; etcd goes on.
    Crash(usize),
    /// The agent ends and stays away until the end.
    Absent(usize),
    /// The machine goes down, etcd with it.
    Reboot(usize),
    /// Something becomes of the agent at a store call.
    Fuse(usize, Fuse),
    /// A store is down; its data stays.
    Down(Store),
    /// A store refuses or forgets so many of a hundred requests.
    Trouble(Store, u64),
    /// etcd dies.
    Kill(usize),
    /// etcd's peers can't be reached from here; the stores can.
    Isolate(usize),
    /// The data volume is wiped, etcd dies with it.
    Wipe(usize),
    /// Something becomes of whoever comes to this moment of a save next.
    Trap(Moment, Fate),
    /// Whoever comes to this moment of a save next is never answered, however often it tries.
    Silence(Moment),
    /// The next save stands still before this moment, for so many milliseconds.
    Pause(Moment, u64),
    /// Retention deletes what it no longer wants.
    Prune,
    /// The member's file is written anew.
    Defragment(usize),
}

/// A whole plot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plot {
    pub(crate) seed: u64,
    /// Longest one-way latency in milliseconds.
    pub(crate) latency: u64,
    /// Mishaps begin with the first start of the agents, not when the cluster is up.
    pub(crate) early: bool,
    /// Wait for a snapshot first: all disks will be lost.
    pub(crate) needs_snapshot: bool,
    /// etcds that lost one another meet again the moment an attempt begins.
    pub(crate) reunites: bool,
    /// This machine alone sees the attempt it took part in: another one's agent is away, and the
    /// third's goes away the moment it begins, when their etcds meet again and serve (protocol.md
    /// 1.4, "Impossibility").
    pub(crate) forsaken: Option<usize>,
    /// What the others say to the table arrives late once an attempt begins: its leader is alone
    /// with its own fence, and hears their votes all the same.
    pub(crate) unheard: bool,
    /// It is about the savers: snapshots are saved more often, and one more after all is healed.
    pub(crate) savers: bool,
    /// Databases so large that they are uploaded in parts.
    pub(crate) large: bool,
    pub(crate) mishaps: Vec<Mishap>,
}

impl Plot {
    /// The plot of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let latency = dice.pick(&[5, 5, 20, 60]);
        let early = dice.below(5) == 0;
        let wiped = if early { 0 } else { dice.pick(&[0, 1, 2, 2, 2, 3]) };
        if !early && dice.below(8) == 0 {
            let alone = dice.machine();
            return if dice.below(2) == 0 {
                Self::forsaken(seed, latency, alone)
            } else {
                Self::unheard(seed, latency)
            };
        }
        let mut mishaps = disaster(&mut dice, wiped, early);
        let number = dice.between(2, 8);
        for _ in 0..number {
            let after = dice.below(14_000);
            let lasts = dice.between(300, 7_000);
            mishaps.push(Mishap { after, lasts, what: mishap(&mut dice) });
        }
        mishaps.sort_by_key(|mishap| mishap.after);
        let reunites = dice.below(2) == 0;
        let needs_snapshot = wiped == 3;
        Self { seed, latency, early, needs_snapshot, reunites, mishaps, ..Self::default() }
    }

    /// Where a leader is left alone, it may restore alone: nothing but the fences keeps it from that.
    pub(crate) fn min_members(&self) -> Option<usize> {
        (self.unheard || self.forsaken.is_some()).then_some(1)
    }

    pub(crate) fn timers(&self) -> Timers {
        if self.savers { Timers { snapshot: Span(2_500), ..TIMERS } } else { TIMERS }
    }

    /// Pages of an empty database: with few of them a chain soon grows too long.
    pub(crate) const fn pages(&self) -> u64 {
        match (self.large, self.savers) {
            (true, _) => LARGE,
            (false, true) => PAGES / 2 + self.seed % PAGES,
            (false, false) => PAGES,
        }
    }

    /// No disaster: savers that die, hear nothing, stand still and give way, and a bucket that is pruned.
    pub(crate) fn of_savers(seed: u64) -> Self {
        let mut dice = Dice::new(!seed);
        let latency = dice.pick(&[5, 5, 20]);
        let mut mishaps = Vec::new();
        let mut after = dice.between(6_000, 12_000);
        while after < 70_000 {
            let (lasts, what) = (dice.between(300, 4_000), mishap_of_savers(&mut dice));
            mishaps.push(Mishap { after, lasts, what });
            after += dice.between(1_500, 9_000);
        }
        let prunes = (4..).map(|times| times * 5_000 + 777).take_while(|after| *after < 80_000);
        mishaps.extend(prunes.map(|after| Mishap { after, lasts: 0, what: What::Prune }));
        mishaps.sort_by_key(|mishap| mishap.after);
        Self { seed, latency, savers: true, mishaps, ..Self::default() }
    }

    /// Large files: all tries of two parts at once come to nothing, and later the answer to a completion.
    pub(crate) fn of_large_files() -> Self {
        let (lasts, wait) = (0, 3_000);
        let new_base = [0, 1, 2].map(What::Defragment);
        let stuck = [What::Silence(Moment::Base); 2];
        let lost = [What::Trap(Moment::Complete, Fate::Lost)];
        let first =
            stuck.into_iter().chain(new_base).map(|what| Mishap { after: 8_000, lasts, what });
        let then =
            lost.into_iter().chain(new_base).map(|what| Mishap { after: 25_000, lasts, what });
        let end = Mishap { after: 45_000, lasts: wait, what: What::Prune };
        let mishaps = first.chain(then).chain([end]).collect();
        Self { seed: 1, latency: 5, savers: true, large: true, mishaps, ..Self::default() }
    }

    fn unheard(seed: u64, latency: u64) -> Self {
        let apart = |at| Mishap { after: 0, lasts: 35_000, what: What::Isolate(at) };
        let mishaps = [0, 1, 2].map(apart).to_vec();
        Self { seed, latency, unheard: true, mishaps, ..Self::default() }
    }

    fn forsaken(seed: u64, latency: u64, alone: usize) -> Self {
        let [next, last] = [1, 2].map(|further| (alone + further) % 3);
        let what = [What::Isolate(alone), What::Isolate(next), What::Absent(last)];
        let mishaps = what.map(|what| Mishap { after: 0, lasts: 45_000, what }).to_vec();
        Self { seed, latency, forsaken: Some(alone), mishaps, ..Self::default() }
    }

    /// Two disks are lost, and one agent meets its fate at a store call.
    pub(crate) fn two_disks_lost(fuse: Option<(usize, Fuse)>) -> Self {
        let fuse = fuse.map(|(at, fuse)| What::Fuse(at, fuse));
        let what = [What::Wipe(1), What::Wipe(2)].into_iter().chain(fuse);
        let mishaps = what.map(|what| Mishap { after: 0, lasts: 14_000, what }).collect();
        Self { seed: 1, latency: 5, mishaps, ..Self::default() }
    }
}

/// So many disks are lost within a few seconds; if none is, all etcds die or lose one another.
fn disaster(dice: &mut Dice, wiped: u64, early: bool) -> Vec<Mishap> {
    let first = dice.machine();
    let mut found = Vec::new();
    for next in 0..usize::try_from(wiped).expect("at most three") {
        let after = dice.below(4_000);
        found.push(Mishap { after, lasts: 0, what: What::Wipe((first + next) % 3) });
    }
    if wiped > 0 || early {
        return found;
    }
    let kills = dice.below(2) == 0;
    for at in 0..3 {
        let what = if kills { What::Kill(at) } else { What::Isolate(at) };
        found.push(Mishap { after: dice.below(1_000), lasts: dice.between(1_000, 12_000), what });
    }
    found
}

fn mishap(dice: &mut Dice) -> What {
    let (at, store) = (dice.machine(), dice.pick(&[Store::Bucket, Store::Table]));
    let fuse = Fuse {
        calls: dice.between(1, 60),
        fate: dice.pick(&[Fate::DieBefore, Fate::DieAfter, Fate::Late]),
        decisions_only: dice.below(2) == 0,
    };
    let fuse = if fuse.decisions_only { Fuse { calls: 1 + fuse.calls % 12, ..fuse } } else { fuse };
    match dice.below(13) {
        0 | 1 => What::Cut(at, store),
        2 => What::Mute(at, store),
        3 | 4 => What::Hold(at, store),
        5 => What::Crash(at),
        6 => What::Reboot(at),
        7 | 8 => What::Fuse(at, fuse),
        9 => What::Down(store),
        10 => What::Trouble(store, dice.between(10, 60)),
        11 => What::Isolate(at),
        _ => What::Kill(at),
    }
}

/// What goes wrong with whoever saves, or near it. One that stands still does so until others have taken
/// over and what it saves is laid over is old, or for a moment.
fn mishap_of_savers(dice: &mut Dice) -> What {
    let at = dice.machine();
    let moment = dice.pick(&[Moment::Pack, Moment::Pack, Moment::Manifest, Moment::Base]);
    match dice.below(12) {
        0 | 1 => What::Trap(Moment::Manifest, Fate::DieBefore),
        2 => What::Trap(moment, dice.pick(&[Fate::DieBefore, Fate::DieAfter])),
        3 => What::Trap(moment, Fate::Lost),
        4 | 5 => What::Silence(moment),
        6 => What::Trap(moment, Fate::Deaf),
        7 | 8 => What::Pause(moment, dice.pick(&[9_000, 20_000, 45_000])),
        9 => What::Crash(at),
        10 => What::Trouble(Store::Bucket, dice.between(10, 60)),
        _ => What::Defragment(at),
    }
}
