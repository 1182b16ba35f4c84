//! **traps** — faults that wait for a moment of somebody's save: whoever comes there first meets them.
//!
//! Comes from a [plot](super::plot). Goes to the [wire](super::wire), where calls leave an agent, and to
//! the [files](super::files), where a save goes from one call to the next. Who saves changes hands, so no
//! machine is named.

use super::{
    plot::What,
    world::{Fate, Shared, Store, World},
};

/// How long an agent that went deaf hears nothing of the bucket: longer than a call is tried.
const DEAF: u64 = 12_000;

/// A moment of a save.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    /// A whole file is stored, or a part of one.
    Base,
    /// What differs is stored.
    Pack,
    /// The parts of a large file become one object.
    Complete,
    /// The manifest of either is put.
    Manifest,
}

impl Moment {
    /// Whether a store call is of this moment, by what it is [called](super::wire).
    fn is(self, does: &str) -> bool {
        let (verb, folder, end) = match self {
            Self::Base => ("PUT", "/data/", ".db"),
            Self::Pack => ("PUT", "/data/", ".pack"),
            Self::Complete => ("COMPLETE", "/data/", ".db"),
            Self::Manifest => ("PUT", "/snap/", ".json"),
        };
        does.starts_with(verb) && does.contains(folder) && does.ends_with(end)
    }

    /// The moment before data of this name is stored.
    pub(crate) fn of_data(key: &str) -> Option<Self> {
        let does = format!("PUT {key}");
        [Self::Base, Self::Pack].into_iter().find(|moment| moment.is(&does))
    }
}

impl World {
    /// What becomes of the agent on machine `at` with a call, if a trap waits for it.
    pub(super) fn sprung(&mut self, at: usize, does: &str) -> Option<Fate> {
        let found = self.traps.iter().position(|(moment, _)| moment.is(does))?;
        let (moment, fate) = self.traps.remove(found);
        let who = self.machines[at].name.clone();
        self.say(&who, format!("meets a trap: {moment:?}, {fate:?}"));
        *self.shelf.sprung.entry(format!("{moment:?} {fate:?}")).or_default() += 1;
        if fate == Fate::Deaf {
            if !self.busy.insert((at, Store::Bucket)) {
                return None;
            }
            self.late.push((DEAF, What::Mute(at, Store::Bucket)));
        }
        Some(fate)
    }
}

/// A save stands still before this moment, if it is to, for as long as it is to: other agents go on, and so
/// does all else that this one does. Before the manifest means right behind the data.
pub(crate) async fn stand_still(shared: &Shared, at: usize, moment: Option<Moment>) {
    let lasts = {
        let mut world = shared.lock();
        let found = world.pauses.iter().position(|(waits, _)| Some(*waits) == moment);
        let Some((moment, lasts)) = found.map(|found| world.pauses.remove(found)) else { return };
        let who = world.machines[at].name.clone();
        world.say(&who, format!("stands still before {moment:?} for {lasts} ms"));
        *world.shelf.sprung.entry(format!("{moment:?} Pause")).or_default() += 1;
        world.standing += 1;
        lasts
    };
    let _goes_on = GoesOn(shared.clone());
    super::host::pause(lasts).await;
}

/// One that stands still and ends, or goes on.
struct GoesOn(Shared);

impl Drop for GoesOn {
    fn drop(&mut self) {
        self.0.lock().standing -= 1;
    }
}
