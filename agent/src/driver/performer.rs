//! **performer** — the hands without the core: one effect at a time, done as an agent does it.
//!
//! Comes in: ports, and an effect that somebody else decided on. Goes out: what came of it. Why: what a
//! save or a restore costs is measured on the code that agents run (`simulations/src/bench`), with what
//! one process remembers from one save to the next.

use super::{
    Hands, Ports, Site,
    perform::{For, perform},
};
use protocol::{cluster::Slot, effect::Effect, event::Outcome};

/// Hands that do what they are told.
pub struct Performer {
    hands: Hands,
    whose: For,
}

impl Performer {
    /// For the cluster `uid`, as the member on `slot`.
    pub fn new(ports: Ports, site: Site, uid: &str, slot: Slot) -> Self {
        let whose = For { uid: Some(uid.to_owned()), slot: Some(slot) };
        Self { hands: Hands::new(ports, site), whose }
    }

    /// Performs one effect, within its lane's deadline.
    pub async fn perform(&self, effect: &Effect) -> Outcome {
        perform(&self.hands, &self.whose, effect).await
    }
}
