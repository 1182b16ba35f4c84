//! **sealed** — snapshots that only their recipients read.
//!
//! Shows that nothing in the bucket tells what etcd holds, that whoever has no key is told which one is
//! wanted, and that with it the end of a chain is rehearsed and restored like any other.

use super::{
    damage::Shelf,
    snapshots::{BALLAST_PREFIX, end_of_a_chain, lose_all_disks, rehearse},
    stage::Stage,
};
use crate::drill::{
    cluster::{IDENTITY_FILE, RECIPIENTS},
    trouble::Trouble,
};
use agent::ports::object_store::ObjectStore;

/// What a stream that age sealed begins with.
const SEAL: &[u8] = b"age-encryption.org/v1";

pub(super) async fn play(stage: &mut Stage) -> Result<(), Trouble> {
    let end = end_of_a_chain(stage).await?;
    nothing_is_readable(stage).await?;
    refused_without_the_key(stage, &end.key).await?;
    rehearse(stage).await?;
    lose_all_disks(stage).await
}

/// All data is sealed, and no other object holds a key that was written.
async fn nothing_is_readable(stage: &mut Stage) -> Result<(), Trouble> {
    let shelf = Shelf::of(stage).await?;
    let keys = shelf.store.list("").await.map_err(|e| Trouble::of("the bucket", e))?;
    let (mut data, mut readable) = (0, Vec::new());
    for key in keys {
        let Some(object) = shelf.store.get(&key).await.map_err(|e| Trouble::of(&key, e))? else {
            continue; // pruned, or a vote that was replaced
        };
        let is_data = key.contains("/data/");
        data += usize::from(is_data);
        let is_sealed = object.bytes.starts_with(SEAL);
        let tells = object.bytes.windows(BALLAST_PREFIX.len());
        if (is_data && !is_sealed)
            || tells.into_iter().any(|seen| seen == BALLAST_PREFIX.as_bytes())
        {
            readable.push(key);
        }
    }
    let seen = format!("{data} objects of data, readable: {readable:?}");
    stage.checks.note("nothing in the bucket is readable", data > 1 && readable.is_empty(), seen);
    Ok(())
}

/// A node that holds no key says which setting names it, and not that anything is damaged.
async fn refused_without_the_key(stage: &mut Stage, key: &str) -> Result<(), Trouble> {
    let host = &mut stage.cluster.hosts[0];
    let before = host.env().clone();
    host.unset(IDENTITY_FILE);
    host.unset(RECIPIENTS);
    let output = host.run(&["snapshot", "verify", key]).await;
    for name in [IDENTITY_FILE, RECIPIENTS] {
        host.set(name, &before[name]);
    }
    let output = output?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let told = !output.status.success() && said.contains(IDENTITY_FILE);
    stage.checks.note("without the key it is said which one is wanted", told, said);
    Ok(())
}
