//! **perform** — one effect in, one outcome out, within a bound.
//!
//! Each lane has a deadline. What takes longer is answered with `Unavailable`: nothing is known,
//! and the core looks again. Effects are idempotent, so doing one twice costs time only.

use super::{Done, Hands, unavailable};
use protocol::{
    cluster::Slot,
    effect::{Effect, Lane},
    event::Outcome,
    registry::RecordChange,
};
use std::time::Duration;

/// The uid and the seat that effects are done for, as far as they are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct For {
    /// The cluster.
    pub(crate) uid: Option<String>,
    /// The seat.
    pub(crate) slot: Option<Slot>,
}

/// How long one effect of a lane may take. Longer than the ports' own bounds; data has to move a
/// whole snapshot.
const fn deadline(lane: Lane) -> Duration {
    Duration::from_secs(match lane {
        Lane::Registry | Lane::Votes | Lane::Etcd => 15,
        Lane::Look => 10,
        Lane::Machine => 60,
        Lane::Data => 1800,
    })
}

/// Performs `effect`.
pub(crate) async fn perform(hands: &Hands, whose: &For, effect: &Effect) -> Outcome {
    let bound = deadline(effect.lane());
    let done = tokio::time::timeout(bound, attempt(hands, whose, effect)).await;
    let done = done
        .unwrap_or_else(|_| Err(unavailable(format!("no answer within {} s", bound.as_secs()))));
    done.unwrap_or_else(|failure| {
        tracing::warn!(effect = effect.name(), kind = ?failure.kind, "{}", failure.text);
        Outcome::Failed(failure)
    })
}

async fn attempt(hands: &Hands, whose: &For, effect: &Effect) -> Done {
    let uid = uid_of(effect).or(whose.uid.as_deref()).unwrap_or_default().to_owned();
    match effect {
        Effect::Prove => hands.prove().await,
        Effect::Discover => hands.discover().await,
        Effect::Found(founding) => hands.found(founding).await,
        Effect::ReadRegistry => hands.read_registry(&uid).await,
        Effect::Write(change) => hands.write(&uid, change).await,
        Effect::Exchange(vote) => hands.exchange(&uid, vote.as_ref()).await,
        Effect::Look { check_at } => hands.look(*check_at).await,
        Effect::Stop
        | Effect::Mark(_)
        | Effect::Unmark(_)
        | Effect::Retire(_)
        | Effect::RememberOpened(_)
        | Effect::RememberSeat(..)
        | Effect::RememberRan(_)
        | Effect::Swap { .. }
        | Effect::MoveAside { .. }
        | Effect::Start(_)
        | Effect::ReadLog => hands.change_machine(effect).await,
        Effect::FetchPlan(pin) => hands.fetch_plan(&uid, pin).await,
        Effect::PutPlan(plan) => hands.put_plan(&uid, plan).await,
        Effect::Restore(plan, digest) => hands.restore(&uid, plan, *digest).await,
        Effect::Save(save) => hands.save(&uid, seat(whose)?, save).await,
        Effect::SalvageCopy { inc } => hands.salvage(&uid, seat(whose)?, *inc).await,
        Effect::ReadCatalogue { inc, pointers } => hands.read_catalogue(&uid, *inc, pointers).await,
        Effect::Verify(source) => hands.verify(&uid, source).await,
        Effect::ListMembers
        | Effect::RemoveMember(_)
        | Effect::AddLearner { .. }
        | Effect::Promote(_)
        | Effect::DisarmNoSpace => hands.change_etcd(effect).await,
    }
}

/// A founding writes under a uid that nobody else knows yet.
fn uid_of(effect: &Effect) -> Option<&str> {
    let Effect::Write(change) = effect else { return None };
    match &*change.record {
        RecordChange::Ctrl { after, .. } => Some(&after.uid),
        RecordChange::Slot { .. } | RecordChange::Save { .. } => None,
    }
}

fn seat(whose: &For) -> Result<Slot, protocol::event::Failure> {
    whose.slot.ok_or_else(|| unavailable("this agent has no seat yet"))
}
