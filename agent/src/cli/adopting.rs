//! **adopting** — an operator answers for a snapshot: one of ours that is doubtful, or one that this cluster
//! did not make.
//!
//! Comes in: a key and a reason. Goes out: the digest on record, with who said so and why (`ctrl.adopted`),
//! which is what lets a restore choose it; for a foreign file before that a verified copy, and after it the manifest. Killed between any
//! two of these it leaves garbage, or a digest that nothing has; said again, it goes on.

use super::{
    Context,
    alone::failed,
    snapshots::{Shelf, in_bucket},
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
    adopting,
    cluster::{ClusterId, Digest},
    limits::BECAUSE_MAX,
    manifest::{Manifest, Reason},
    registry::adoption,
    source,
};

pub(super) async fn adopt(
    context: &Context<'_>,
    key: &str,
    because: String,
    force: Option<&str>,
) -> Result<(), Problem> {
    let shelf = Shelf::open(context).await?;
    let of = Manifest::inc_of(key).filter(|inc| key.starts_with(&Manifest::folder(*inc)));
    if let Some(inc) = of {
        may_matter(&shelf, inc)?;
        let manifest = shelf.find(Some(key)).await?;
        overrules(&shelf, &manifest, force)?;
        return record(context, &shelf, inc, manifest.sha256, because).await;
    }
    foreign(context, &shelf, key, because).await
}

/// The core knows which incarnation's snapshots a restore may choose among.
fn may_matter(shelf: &Shelf, inc: u64) -> Result<(), Problem> {
    let refusal = adopting::refusal(&shelf.ctrl, inc);
    refusal.map_or(Ok(()), |note| {
        let refused = Problem::new(Code::Refused, note.text).because(note.code.name());
        Err(refused.next("requorum snapshot ls"))
    })
}

/// The doubt must be named by whoever overrules it: what one has not read one can't answer for.
fn overrules(shelf: &Shelf, manifest: &Manifest, force: Option<&str>) -> Result<(), Problem> {
    let key = manifest.key();
    if adopting::is_free(&shelf.ctrl, manifest) {
        return Err(Problem::new(Code::Refused, format!("{key} needs nobody's word"))
            .because("a restore may choose it as it is")
            .next("requorum snapshot ls"));
    }
    let Some(doubt) = manifest.doubt else { return Ok(()) };
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
    inc: u64,
    sha256: Digest,
    because: String,
) -> Result<(), Problem> {
    let said = Some(shelf.hands.ports.clock.unix());
    let (sha256, by) = (sha256.to_string(), words::by());
    let request = Request::Adopt { sha256, inc, by, because, said };
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
    let ours = Manifest::inc_of(key).map(|_| shelf.hands.keys(&shelf.uid).under(key));
    let from = ours.as_deref().unwrap_or_else(|| in_bucket(&settings.bucket, key));
    let inc = source::lineage(&shelf.ctrl);
    may_matter(shelf, inc)?;
    if !adoption::is_short(&because) {
        let text = format!(
            "the reason is longer than the {BECAUSE_MAX} bytes that are kept with a snapshot"
        );
        return Err(Problem::new(Code::Usage, text).next("say it again in fewer words"));
    }
    let seat = shelf.ctrl.seat_named(&settings.name).ok_or_else(|| {
        Problem::new(Code::Foreign, format!("the cluster has no seat called {}", settings.name))
            .next("check ETCD_NAME")
    })?;
    render::talk(&format!("downloads and checks {from}"), context.output);
    let copied = shelf.hands.copy_foreign(&shelf.uid, inc, from).await;
    let (data, revision) = copied.map_err(|failure| {
        failed(failure, &format!("checking and copying {from}"))
            .next("bring a snapshot as `etcdctl snapshot save` makes it")
    })?;
    record(context, shelf, inc, data.moved.sha256, because).await?;
    let origin = Origin {
        inc,
        revision,
        applied: 0, // of another log
        term: 0,
        cluster_id: shelf.ctrl.cluster_id.filter(|_| inc == shelf.ctrl.inc).unwrap_or(ClusterId(0)),
        etcd_version: "not known".into(),
        reason: Reason::Adopted,
    };
    let published = shelf.hands.publish_alone(&shelf.uid, seat.slot, &data, origin).await;
    let manifest = published.map_err(|failure| failed(failure, "listing the snapshot"))?;
    let key = manifest.key();
    let mut text = format!(
        "adopted as {key}: a restore chooses it where the cluster has no snapshot of its own, and asks first"
    );
    if inc == shelf.ctrl.inc {
        text = format!("{text}; `requorum restore --from {key} --because TEXT` asks for it");
    }
    render::say(&text, context.output);
    Ok(())
}
