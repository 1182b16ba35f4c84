//! **rehearsing** — `snapshot rehearse`: is the newest snapshot worth what one hopes?
//!
//! Comes in: a snapshot's key. Goes out: the answer, and a note of it in the state directory, which `status`
//! shows: a snapshot that was never restored is a hope.

use super::{Context, snapshots::Shelf};
use crate::{
    exit::{Code, Problem},
    local::rehearsed::{Rehearsal, write},
    ports::snapshots::Verdict,
    render,
};

pub(super) async fn rehearse(context: &Context<'_>, key: Option<&str>) -> Result<(), Problem> {
    let shelf = Shelf::open(context).await?;
    let manifest = shelf.find(key).await?;
    render::talk(&format!("restores {} beside the live member", manifest.key()), context.output);
    let shown = shelf.hands.rehearse(&shelf.uid, &manifest).await;
    let mut noted = Rehearsal::new(&manifest, shelf.hands.ports.clock.unix());
    match &shown {
        Ok(shown) => {
            noted.passed = true;
            noted.hash_kv = said(&shown.hash_kv);
            noted.live_keys = said(&shown.live_keys);
        }
        Err(failure) => noted.failure = Some(failure.text.clone()),
    }
    if let Err(error) = write(&context.state_dir, &noted) {
        render::talk(&format!("`status` will not show it: {error}"), context.output);
    }
    match shown {
        Ok(_) => {
            render::rehearsal(&noted, context.output);
            Ok(())
        }
        Err(failure) => {
            let text = format!("{} was not proven to restore", manifest.key());
            Err(Problem::new(Code::Failed, text)
                .because(failure.text)
                .next("requorum snapshot ls, and rehearse the next older one"))
        }
    }
}

/// What was found, in a word or a sentence.
fn said(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Same => "same".into(),
        Verdict::Unknown(why) => format!("not compared: {why}"),
    }
}
