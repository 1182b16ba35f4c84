//! **adopting** — an operator answers for a snapshot: one of ours that is doubtful, or one that this cluster
//! did not make.
//!
//! Comes in: a key and a reason. Goes out: the digest on record, with who said so and why (`ctrl.adopted`),
//! which is what lets a restore choose it; for a foreign file before that a verified copy, and after it the manifest. Killed between any
//! two of these it leaves garbage, or a digest that nothing has; said again, it goes on.

use super::{
    Context,
    alone::failed,
    snapshots::{Shelf, in_bucket, is_manifest},
    voice::{Voice, Watch},
    words,
};
use crate::{
    driver::Origin,
    exit::{Code, Problem},
    local::{Request, Told},
    render,
};
use protocol::{
    cluster::{ClusterId, Digest},
    manifest::{Manifest, Reason},
};

pub(super) async fn adopt(
    context: &Context<'_>,
    key: &str,
    because: String,
    force: Option<&str>,
) -> Result<(), Problem> {
    let shelf = Shelf::open(context).await?;
    if is_manifest(key, shelf.ctrl.inc) {
        let manifest = shelf.find(Some(key)).await?;
        overrules(&manifest, force)?;
        return record(context, &shelf, manifest.sha256, because).await;
    }
    foreign(context, &shelf, key, because).await
}

/// The doubt must be named by whoever overrules it: what one has not read one can't answer for.
fn overrules(manifest: &Manifest, force: Option<&str>) -> Result<(), Problem> {
    let key = manifest.key();
    let Some(doubt) = manifest.doubt else {
        return Err(Problem::new(Code::Refused, format!("nobody doubts {key}"))
            .because("a restore may choose it as it is")
            .next("requorum snapshot ls"));
    };
    if force == Some(doubt.name()) {
        return Ok(());
    }
    let text = format!("{key} is doubtful: {} ({})", doubt.sentence(), doubt.name());
    Err(Problem::new(Code::Refused, text).next(format!(
        "requorum snapshot adopt {key} --force {} --because TEXT, if it is right all the same",
        doubt.name()
    )))
}

async fn record(
    context: &Context<'_>,
    shelf: &Shelf,
    sha256: Digest,
    because: String,
) -> Result<(), Problem> {
    let said = Some(shelf.hands.ports.clock.unix());
    let request = Request::Adopt { sha256: sha256.to_string(), by: words::by(), because, said };
    let told: Told = Voice::find(context, Watch::ForFreshness).await?.ask(&request).await?;
    words::show(context, told)
}

/// A file that is not ours: verified, copied, put on record, and only then listed.
async fn foreign(
    context: &Context<'_>,
    shelf: &Shelf,
    key: &str,
    because: String,
) -> Result<(), Problem> {
    let settings = context.settings()?;
    let from = in_bucket(&settings.bucket, key);
    if key.starts_with("inc/") {
        let text = format!("{key} is not of incarnation {}", shelf.ctrl.inc);
        return Err(Problem::new(Code::Refused, text)
            .because("what an earlier incarnation saved is older than what this one began with")
            .next("requorum snapshot ls"));
    }
    let seat = shelf.ctrl.seat_named(&settings.name).ok_or_else(|| {
        Problem::new(Code::Foreign, format!("the cluster has no seat called {}", settings.name))
            .next("check ETCD_NAME")
    })?;
    render::talk(&format!("downloads and checks {from}"), context.output);
    let inc = shelf.ctrl.inc;
    let copied = shelf.hands.copy_foreign(&shelf.uid, inc, from).await;
    let (data, revision) = copied.map_err(|failure| {
        failed(failure, &format!("checking and copying {from}"))
            .next("bring a snapshot as `etcdctl snapshot save` makes it")
    })?;
    record(context, shelf, data.moved.sha256, because).await?;
    let origin = Origin {
        inc,
        revision,
        applied: 0, // of another log
        term: 0,
        cluster_id: shelf.ctrl.cluster_id.unwrap_or(ClusterId(0)),
        etcd_version: "not known".into(),
        reason: Reason::Adopted,
    };
    let published = shelf.hands.publish_alone(&shelf.uid, seat.slot, &data, origin).await;
    let manifest = published.map_err(|failure| failed(failure, "listing the snapshot"))?;
    let text = format!(
        "adopted as {}: a restore chooses it where the cluster has no snapshot of its own; \
         `requorum restore --from {} --because TEXT` asks for it",
        manifest.key(),
        manifest.key()
    );
    render::say(&text, context.output);
    Ok(())
}
