//! **trouble** — why a drill could not go on, in one sentence, and the one way of waiting.
//!
//! Comes from every part of the drill that touches a process or a socket. Goes to the report,
//! where it is a failed check: a drill that could not look has shown nothing.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// How often a condition is looked at. Short against every figure that is reported.
const GLANCE: Duration = Duration::from_millis(50);

/// What stopped a drill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble(pub String);

impl Trouble {
    /// `what` could not be done because of `why`.
    pub fn of(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self(format!("{what}: {why}"))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Trouble {}

/// Looks again until there is an answer; `what` completes "waited in vain until …".
///
/// # Errors
/// When `bound` has passed, or at once when a look itself says that waiting is in vain.
pub async fn until<T>(
    what: &str,
    bound: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>, Trouble>,
) -> Result<T, Trouble> {
    let begun = Instant::now();
    loop {
        if let Some(answer) = look().await? {
            return Ok(answer);
        }
        if begun.elapsed() >= bound {
            return Err(Trouble(format!("waited {} s in vain until {what}", bound.as_secs())));
        }
        tokio::time::sleep(GLANCE).await;
    }
}
