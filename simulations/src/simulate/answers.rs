//! **answers** — what a call comes to when its answer arrives, where that is not known before: a
//! proposal that may or may not have been committed meanwhile, a read of rows at different moments.

use super::Sim;
use protocol::{
    cluster::ClusterId,
    event::{Failure, FailureKind, Outcome},
    registry::Records,
};
use std::sync::Arc;

/// An answer on its way.
pub(super) enum Deferred {
    /// It is known.
    Ready(Outcome),
    /// It is `then` if the entry at `index` of `term` was committed.
    Proposed { cluster: ClusterId, index: usize, term: u64, then: Outcome },
    /// Rows as they were; some are read only now.
    Torn { uid: String, records: Arc<Records> },
}

pub(super) fn unavailable(text: &str) -> Outcome {
    Outcome::Failed(Failure { kind: FailureKind::Unavailable, text: text.to_owned() })
}

pub(super) fn bad(text: &str) -> Outcome {
    Outcome::Failed(Failure { kind: FailureKind::Bad, text: text.to_owned() })
}

impl Sim {
    pub(super) fn settle(&mut self, came: Deferred) -> Outcome {
        match came {
            Deferred::Ready(outcome) => outcome,
            Deferred::Proposed { cluster, index, term, then } => {
                let done = self.ghost.is_committed(cluster, index, term);
                if done { then } else { unavailable("etcd did not answer in time") }
            }
            Deferred::Torn { uid, mut records } => {
                let now = self.table.records(&uid);
                let torn = Arc::make_mut(&mut records);
                if self.rng.bool() {
                    torn.ctrl = now.ctrl.clone();
                }
                for (slot, record) in now.slots.iter().cloned() {
                    if self.rng.bool() {
                        continue;
                    }
                    match torn.slots.iter_mut().find(|(at, _)| *at == slot) {
                        Some(row) => row.1 = record,
                        None => torn.slots.push((slot, record)),
                    }
                }
                torn.slots.sort_by_key(|(slot, _)| *slot);
                Outcome::Records(records)
            }
        }
    }
}
