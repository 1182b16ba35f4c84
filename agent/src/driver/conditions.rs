//! **conditions** — the start-up probe: do both stores honour conditions?
//!
//! Comes in: the two ports. Goes out: nothing, or which condition was ignored and by whom.
//! Why: servers that accept conditional writes and ignore the condition, or refuse every one, exist
//! in the field (components.md). With either of them two leaders could both believe they won, so no
//! agent may act before this probe has passed (design.md 1.8).
//!
//! The probe's objects and rows are its own and are left in place; several agents may probe at the
//! same time and only make each other look again.

use crate::ports::{
    object_store::{Object, ObjectStore, Put, StoreError},
    registry::{ItemWrite, Registry},
};
use protocol::cluster::Instance;
use protocol::registry::{Guard, Scalar, Written};
use serde_json::{Map, Value};
use std::fmt;

/// How often a step is repeated because another agent's probe got in between.
const TRIES: u32 = 10;
/// Where the probe's token stands in its rows.
const TOKEN: &str = "token";
/// The row that the probe writes.
const PROBED: &str = "probe";
/// The row that its transactions check.
const CHECKED: &str = "probe#checked";

/// Why automation may not begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// The store did not answer as needed to find out; try again.
    #[error("whether conditional writes are honoured could not be found out: {0}")]
    Unknown(#[from] StoreError),
    /// The store does not do what safety rests on.
    #[error(
        "{by} does not honour conditional writes: {what}; use a store that does, automation stays off with this one"
    )]
    Broken {
        /// Which store.
        by: By,
        /// What it did.
        what: &'static str,
    },
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The bucket.
    ObjectStore,
    /// The lock table.
    Registry,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ObjectStore => "the object store",
            Self::Registry => "the lock table",
        })
    }
}

/// The rows in which an agent of `instance` probes: never a cluster's uid, whose rows are records.
pub fn rows_of(instance: &Instance) -> String {
    format!("probe/{instance}")
}

/// Proves that both stores honour conditions. `prefix`: the cluster's, without a slash at its end;
/// `uid`: rows of the probe's own (never a cluster's uid, whose rows are records).
pub async fn probe(
    store: &dyn ObjectStore,
    prefix: &str,
    registry: &dyn Registry,
    uid: &str,
) -> Result<(), ProbeError> {
    let key = format!("{prefix}/probe/conditions");
    probe_store(store, key.trim_start_matches('/')).await?;
    probe_registry(registry, uid).await
}

async fn probe_store(store: &dyn ObjectStore, key: &str) -> Result<(), ProbeError> {
    let broken = |what| ProbeError::Broken { by: By::ObjectStore, what };
    store.put_if_absent(key, fresh().into_bytes()).await?;
    if store.put_if_absent(key, fresh().into_bytes()).await? != Put::Conflict {
        return Err(broken("If-None-Match: * replaced an existing object"));
    }
    for _ in 0..TRIES {
        let before = stored(store, key).await?;
        let Put::Done { etag } =
            store.put_if_match(key, fresh().into_bytes(), &before.etag).await?
        else {
            if stored(store, key).await?.etag != before.etag {
                continue; // another agent's probe was faster
            }
            return Err(broken("If-Match was refused although the version was current"));
        };
        if etag == before.etag {
            return Err(broken("two different objects had the same ETag"));
        }
        if store.put_if_match(key, fresh().into_bytes(), &before.etag).await? != Put::Conflict {
            return Err(broken("If-Match with a stale ETag replaced a newer object"));
        }
        return Ok(());
    }
    Err(StoreError::Unavailable(format!("{key} was rewritten by others {TRIES} times")).into())
}

async fn stored(store: &dyn ObjectStore, key: &str) -> Result<Object, ProbeError> {
    let object = store.get(key).await?;
    object.ok_or(ProbeError::Broken {
        by: By::ObjectStore,
        what: "an object that was just written is not there",
    })
}

async fn probe_registry(registry: &dyn Registry, uid: &str) -> Result<(), ProbeError> {
    let broken = |what| ProbeError::Broken { by: By::Registry, what };
    make_probe_row(registry, uid).await?;
    let refused = [
        (never(), "a write was applied although the guarded value differs"),
        (Guard::Absent(TOKEN), "a write was applied although the attribute is there"),
    ];
    for (guard, what) in refused {
        if registry.write(uid, &write(guard, Vec::new())).await? != Written::Refused {
            return Err(broken(what));
        }
    }
    let checks = vec![(CHECKED.to_owned(), never())];
    let failing = write(always(), checks);
    if registry.write(uid, &failing).await? != Written::Refused {
        return Err(broken("a transaction was applied although a check on another row failed"));
    }
    if token(registry, uid).await? == failing.set.get(TOKEN).cloned() {
        return Err(broken("a transaction that was refused left its write behind"));
    }
    let checks = vec![(CHECKED.to_owned(), Guard::Absent(TOKEN))];
    if registry.write(uid, &write(always(), checks)).await? != Written::Applied {
        return Err(broken("a transaction was refused although all its checks hold"));
    }
    Ok(())
}

/// Replaces the probe row's token under a guard that names the token as read, which must be
/// applied unless another agent's probe was faster.
async fn make_probe_row(registry: &dyn Registry, uid: &str) -> Result<(), ProbeError> {
    for _ in 0..TRIES {
        let before = token(registry, uid).await?;
        let guard = match &before {
            Some(Value::String(text)) => Guard::Is(TOKEN, Scalar::Text(text.clone())),
            Some(_) | None => Guard::Absent(TOKEN),
        };
        let change = write(guard, Vec::new());
        let written = registry.write(uid, &change).await?;
        let after = token(registry, uid).await?;
        if written == Written::Applied && after != before {
            return Ok(());
        }
        if after == before {
            return Err(ProbeError::Broken {
                by: By::Registry,
                what: "a write was not applied although its guard holds",
            });
        }
    }
    let what = format!("the row {PROBED} was rewritten by others {TRIES} times");
    Err(StoreError::Unavailable(what).into())
}

async fn token(registry: &dyn Registry, uid: &str) -> Result<Option<Value>, StoreError> {
    let items = registry.read(uid).await?;
    let item = items.into_iter().find(|item| item.row == PROBED);
    Ok(item.and_then(|item| item.attributes.get(TOKEN).cloned()))
}

fn write(guard: Guard, checks: Vec<(String, Guard)>) -> ItemWrite {
    let set: Map<_, _> = [("op_id", fresh()), (TOKEN, fresh())]
        .map(|(k, v)| (k.to_owned(), v.into()))
        .into_iter()
        .collect();
    ItemWrite { row: PROBED.to_owned(), guard, set, remove: Vec::new(), checks }
}

/// A guard that no row fulfils: its value was never stored.
fn never() -> Guard {
    Guard::Is(TOKEN, Scalar::Text(fresh()))
}

/// A guard that every row fulfils.
fn always() -> Guard {
    Guard::All(Vec::new())
}

fn fresh() -> String {
    uuid::Uuid::new_v4().to_string()
}
