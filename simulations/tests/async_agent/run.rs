//! **run** — one plot played to its end: hosts are made, time is stepped, mishaps come and go, and at
//! last, with all of them healed, the cluster must serve again.
//!
//! Comes from a [plot](super::plot). Goes out: what happened, or the invariant that broke and when.

use super::{
    BUCKET, NAMES, PREFIX,
    direct::listed,
    host::{Host, seats},
    mishaps::{AWAY, DEAD},
    plot::{Dice, Mishap, Plot, What},
    shelf::Look,
    stores,
    world::{Shared, World},
};
use protocol::registry::Phase;
use simulations::drill::{
    object_files::Files,
    object_server::{self, Credentials},
    object_store,
};
use std::{
    cell::Cell,
    collections::BTreeMap,
    panic,
    sync::{Arc, Once},
    time::Duration,
};
use tempfile::TempDir;
use turmoil::Sim;

/// Simulated time goes by in steps of so many milliseconds.
const TICK: u64 = 10;
/// A client writes so often.
const PUT_EVERY: u64 = 200;
/// How long a cluster may take to come up.
const COMES_UP: u64 = 60_000;
/// How long it may take to serve again once all is healed. Longer than three attempts' cool-downs.
const COMES_BACK: u64 = 240_000;
/// How long it may take until a snapshot is saved again: three times its turn stands still before another
/// member takes over, and who failed rests for a while.
const SAVES: u64 = 90_000;

/// What became of a plot.
#[derive(Debug)]
pub(crate) struct Played {
    /// Digest of the trace.
    pub(crate) digest: String,
    /// Simulated milliseconds, in all and from the healing on.
    pub(crate) lasted: u64,
    pub(crate) recovery: u64,
    pub(crate) restores: u64,
    pub(crate) aborts: u64,
    pub(crate) declared_lost: u64,
    /// Decisions written by each agent since the disaster.
    pub(crate) decisions: BTreeMap<usize, u64>,
    /// Snapshots published, whole and as packs.
    pub(crate) whole: u64,
    pub(crate) packs: u64,
    /// Manifests and data deleted by retention.
    pub(crate) dropped: u64,
    pub(crate) swept: u64,
    /// Uploads in parts that were neither completed nor aborted.
    pub(crate) uploads: u64,
    /// Times that the saving changed hands.
    pub(crate) handovers: u64,
    /// Traps and pauses that somebody met.
    pub(crate) sprung: BTreeMap<String, u64>,
    pub(crate) trace: Vec<String>,
}

/// What broke, and what had happened until then.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) what: String,
    pub(crate) trace: Vec<String>,
}

thread_local! {
    /// A task of a simulated host panicked: tokio keeps that to itself.
    static PANICKED: Cell<bool> = const { Cell::new(false) };
}

fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICKED.set(true);
            tell(info);
        }));
    });
}

pub(crate) struct Stage<'a> {
    pub(crate) sim: Sim<'a>,
    pub(crate) shared: Shared,
    objects: Arc<object_store::Store>,
    pub(crate) now: u64,
    acked: u64,
    /// What is under way, and when it ends.
    going: Vec<(u64, What)>,
    /// When hosts come back.
    pub(crate) returns: BTreeMap<String, u64>,
    scratch: TempDir,
}

/// Plays a plot.
pub(crate) fn play(plot: &Plot) -> Result<Played, Broken> {
    watch_panics();
    PANICKED.set(false);
    fastrand::seed(plot.seed);
    let mut stage = Stage::new(plot);
    match stage.play(plot) {
        Ok(recovery) => Ok(stage.played(recovery)),
        Err(what) => Err(Broken { what, trace: stage.shared.lock().trace().to_vec() }),
    }
}

impl Stage<'_> {
    fn new(plot: &Plot) -> Self {
        let shared = Shared::new(World::new(&NAMES, Dice::new(plot.seed ^ 1)));
        let objects = Arc::new(object_store::Store::default());
        objects.create_bucket(BUCKET);
        let scratch = tempfile::tempdir().expect("a scratch directory can be made");
        let mut sim = turmoil::Builder::new()
            .tick_duration(Duration::from_millis(TICK))
            .simulation_duration(Duration::from_secs(3600))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(plot.latency))
            .tcp_capacity(1024)
            .rng_seed(plot.seed)
            .build();
        let credentials = Credentials { access: "drill".into(), secret: "drill-secret".into() };
        // files would be read and written by threads of their own
        let files = Files::in_memory();
        let service = object_server::service(Arc::clone(&objects), &credentials, files);
        let world = shared.clone();
        sim.host("s3", move || stores::bucket(world.clone(), service.clone()));
        let database = stores::empty_table();
        let world = shared.clone();
        sim.host("table", move || stores::table(world.clone(), database.clone()));
        for (at, name) in NAMES.iter().enumerate() {
            let dir = scratch.path().join(name);
            std::fs::create_dir(&dir).expect("a scratch directory can be made");
            let (shared, name) = (shared.clone(), (*name).to_owned());
            let (min_members, timers) = (plot.min_members(), plot.timers());
            let host = Host { shared, at, name: name.clone(), scratch: dir, min_members, timers };
            sim.host(name, move || host.clone().live(seats(&NAMES)));
        }
        Self {
            sim,
            shared,
            objects,
            now: 0,
            acked: 0,
            going: Vec::new(),
            returns: BTreeMap::new(),
            scratch,
        }
    }

    /// Plays all of it; how long the recovery took.
    fn play(&mut self, plot: &Plot) -> Result<u64, String> {
        if !plot.early {
            self.until("the cluster comes up", COMES_UP, |stage| {
                stage.serves() && (!plot.needs_snapshot || stage.has_snapshot())
            })?;
        }
        let begun = self.now;
        {
            let mut world = self.shared.lock();
            world.reunites = plot.reunites;
            world.forsaken = plot.forsaken;
            world.unheard = plot.unheard;
        }
        self.shared.lock().decisions.clear();
        let mut coming = plot.mishaps.clone();
        coming.reverse();
        self.shared.lock().pages = plot.pages();
        while !(coming.is_empty() && self.going.is_empty()) {
            let now = self.now;
            let over: Vec<_> = self.going.extract_if(.., |(end, _)| *end <= now).collect();
            over.into_iter().for_each(|(_, what)| self.ends(what));
            while let Some(Mishap { lasts, what, .. }) =
                coming.pop_if(|mishap| begun + mishap.after <= self.now)
            {
                if self.begins(what) {
                    self.going.push((self.now + lasts, what));
                }
            }
            self.step()?;
        }
        self.heal();
        let (healed, acked) = (self.now, self.acked);
        self.until("the cluster serves again", COMES_BACK, |stage| {
            stage.serves() && stage.acked > acked
        })?;
        let recovery = self.now - healed;
        if plot.savers {
            self.until("whoever stood still goes on", COMES_BACK, |stage| {
                stage.shared.lock().standing == 0
            })?;
            let published = self.published();
            self.until("a snapshot is saved", SAVES, |stage| stage.published() > published)?;
            self.look().prune();
        }
        self.shared.lock().watch_end();
        self.look().watch(true);
        self.verdict()?;
        Ok(recovery)
    }

    fn until(
        &mut self,
        what: &str,
        patience: u64,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), String> {
        let end = self.now + patience;
        while !done(self) {
            if self.now >= end {
                return Err(format!("L1: within {patience} ms {what}: it does not"));
            }
            self.step()?;
        }
        Ok(())
    }

    /// One step of time.
    fn step(&mut self) -> Result<(), String> {
        self.sim.step().map_err(|error| format!("a host ended: {error}"))?;
        self.now += TICK;
        let dying = std::mem::take(&mut self.shared.lock().dying);
        for at in dying {
            self.goes_down(NAMES[at], DEAD);
        }
        let late = std::mem::take(&mut self.shared.lock().late);
        self.going.extend(late.into_iter().map(|(lasts, what)| (self.now + lasts, what)));
        let leaving = std::mem::take(&mut self.shared.lock().leaving);
        for at in leaving {
            self.goes_down(NAMES[at], AWAY);
        }
        let back: Vec<String> = self
            .returns
            .iter()
            .filter(|(_, at)| **at <= self.now)
            .map(|(n, _)| n.clone())
            .collect();
        for name in back {
            self.comes_back(&name);
        }
        if self.now.is_multiple_of(PUT_EVERY) && self.shared.lock().put() {
            self.acked += 1;
        }
        self.look().watch(false);
        self.verdict()
    }

    /// The bucket from outside.
    pub(super) fn look(&self) -> Look<'_> {
        let Self { shared, objects, now, scratch, .. } = self;
        Look { shared, objects, scratch: scratch.path(), now: *now }
    }

    fn verdict(&self) -> Result<(), String> {
        if PANICKED.get() {
            return Err("a task of a simulated host panicked".to_owned());
        }
        self.shared.lock().broken.clone().map_or(Ok(()), Err)
    }

    pub(super) fn say(&self, what: String) {
        self.shared.lock().say_at(u128::from(self.now), what);
    }

    /// All members run, with one leader, open to clients, and nothing is under way.
    fn serves(&self) -> bool {
        let world = self.shared.lock();
        let idle = world.ctrl().is_some_and(|ctrl| ctrl.phase == Phase::Idle && ctrl.op.is_none());
        let voters = |store: &super::etcd::Store| {
            store.peers().iter().filter(|peer| !peer.learner).count() == NAMES.len()
        };
        idle && world.machines.iter().all(|machine| {
            let open = machine.etcd.as_ref().is_some_and(|e| !e.quarantined && e.leader.is_some());
            open && machine.volume.member.as_ref().is_some_and(voters)
        })
    }

    fn has_snapshot(&self) -> bool {
        listed(&self.objects, PREFIX).iter().any(|key| key.contains("/snap/"))
    }

    fn published(&self) -> u64 {
        let shelf = &self.shared.lock().shelf;
        shelf.whole + shelf.packs
    }

    fn played(&self, recovery: u64) -> Played {
        let world = self.shared.lock();
        Played {
            digest: world.digest(),
            lasted: self.now,
            recovery,
            restores: world.watch.restores,
            aborts: world.watch.aborts,
            declared_lost: world.watch.declared_lost,
            decisions: world.decisions.clone(),
            whole: world.shelf.whole,
            packs: world.shelf.packs,
            dropped: world.shelf.dropped,
            swept: world.shelf.swept,
            handovers: world.shelf.handovers,
            uploads: self.objects.uploads(BUCKET).len() as u64,
            sprung: world.shelf.sprung.clone(),
            trace: world.trace().to_vec(),
        }
    }
}
