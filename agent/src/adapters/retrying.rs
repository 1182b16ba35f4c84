//! **retrying** — the outermost IO shell's own retries, and the one place that uses `backoff`.
//!
//! Comes in: one try of a call to a store. Goes out: its answer, after other writes have let it
//! through. Only "somebody else is writing this very thing" is repeated here, for a moment: it says
//! nothing about the store and needs no decision. Whether and when anything else is tried again is
//! the core's business (design.md 1.10).

use crate::ports::object_store::StoreError;
use backoff::{Error, ExponentialBackoff, ExponentialBackoffBuilder};
use std::{future::Future, time::Duration};

/// Pause before the second try; doubles with each, give or take a half.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
/// How long it is tried; far below the patience of whoever waits for the call.
const IN_ALL: Duration = Duration::from_millis(1500);

/// What one try came to.
pub(super) enum Try<T> {
    /// The store has decided.
    Done(T),
    /// Another write was in the way.
    Again(StoreError),
}

/// Tries until the store has decided, or for as long as it makes sense.
///
/// # Errors
/// The store's own, at once; the last "in the way" when time is up.
pub(super) async fn decided<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<Try<T>, StoreError>>,
{
    let once = || {
        let attempt = attempt();
        async {
            match attempt.await {
                Ok(Try::Done(answer)) => Ok(answer),
                Ok(Try::Again(error)) => Err(Error::transient(error)),
                Err(error) => Err(Error::permanent(error)),
            }
        }
    };
    backoff::future::retry(policy(), once).await
}

fn policy() -> ExponentialBackoff {
    ExponentialBackoffBuilder::new()
        .with_initial_interval(FIRST_PAUSE)
        .with_multiplier(2.0)
        .with_max_elapsed_time(Some(IN_ALL))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn in_the_way() -> StoreError {
        StoreError::Unavailable("in the way".into())
    }

    #[tokio::test]
    async fn only_what_is_in_the_way_is_tried_again() {
        let tries = Cell::new(0);
        let answer = decided(|| async {
            tries.set(tries.get() + 1);
            Ok(if tries.get() < 3 { Try::Again(in_the_way()) } else { Try::Done(7) })
        });
        assert_eq!(answer.await, Ok(7));
        assert_eq!(tries.get(), 3);
        let refused: Result<u8, _> = decided(|| async {
            tries.set(tries.get() + 1);
            Err(StoreError::Forbidden("no".into()))
        })
        .await;
        assert_eq!((refused, tries.get()), (Err(StoreError::Forbidden("no".into())), 4));
    }
}
