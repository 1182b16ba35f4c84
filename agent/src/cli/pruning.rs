//! **pruning** — deletes what retention no longer wants (`protocol/src/retention.rs`).
//!
//! Comes in: everything that is listed, and everything that refers to it. Goes out: first the manifests of
//! snapshots that go, then, by a second look, data that no manifest needs: killed at any point it leaves
//! garbage, and never a snapshot without its data. Whatever can't be read or looked at ends it. What the store
//! refuses to delete (a policy, a legal hold) is named and stays, with all that it needs; the others go.

use super::{
    Context,
    alone::answer,
    snapshots::{Prune, Shelf},
};
use crate::{
    driver::perform,
    exit::{Code, Problem},
    local::snapshots::{Pruned, Refused, Verdict},
    ports::object_store::StoreError,
    render,
};
use protocol::{
    effect::Effect,
    event::Outcome,
    guards,
    manifest::{Manifest, Reason},
    registry::adoption,
    retention::{self, Datum, Entry, Judged, Policy, Protected},
    wire::Keys,
};
use std::collections::{BTreeMap, BTreeSet};

pub(super) async fn prune(context: &Context<'_>, what: &Prune) -> Result<(), Problem> {
    let dry_run = what.dry_run;
    let policy = Policy {
        all: what.all_for,
        hourly_for: what.hourly_for,
        daily_for: what.daily_for,
        least: what.least,
        most: what.most,
    };
    if !policy.is_consistent() {
        let text = "--least is at least 1, --most no less than it, and each time no shorter than the one before";
        return Err(Problem::new(Code::Usage, text).next("requorum snapshot prune --help"));
    }
    let mut shelf = Shelf::open(context).await?;
    // data first: what is uploaded after this look is no garbage of it
    let data = listed(&shelf, Keys::data_folder).await?;
    let data: Vec<Datum> = data.into_iter().map(|(key, age)| Datum { key, age }).collect();
    let (manifests, unreadable) = every(&shelf).await?;
    // records last: what they refer to must be no older than what was listed
    shelf.read_again().await?;
    if !retention::may_begin(&shelf.ctrl) {
        let text = "nothing is deleted while a recovery is under way or asked for";
        return Err(Problem::new(Code::Refused, text).next("requorum status"));
    }
    let protected = protected(&shelf, &manifests).await?;
    let ages: BTreeMap<_, _> = listed(&shelf, Manifest::folder).await?.into_iter().collect();
    let now = shelf.hands.ports.clock.unix();
    let entry = |manifest: &Manifest| {
        let age = ages.get(&manifest.key()).copied().flatten();
        entry(&shelf, manifest, age.map(|age| now.saturating_sub(age)))
    };
    let entries: Vec<Entry> = manifests.iter().map(entry).collect();
    let judged = retention::judge(&entries, now, &policy, &protected);
    let mut deletion =
        Deletion { shelf: &shelf, dry_run, gone: BTreeSet::new(), refused: Vec::new() };
    for dropped in judged.iter().filter(|judged| drops(judged)) {
        deletion.take(&dropped.key).await?;
    }
    // what stays after that; LIST is not asked again, since it may be behind
    let stays = |entry: &&Entry| !deletion.gone.contains(&entry.key);
    let left: Vec<Entry> = entries.iter().filter(stays).cloned().collect();
    let mut garbage = retention::garbage(&data, &left, &unreadable, &judged, &protected);
    for key in &garbage {
        deletion.take(key).await?;
    }
    let Deletion { gone, refused, .. } = deletion;
    garbage.retain(|key| gone.contains(key));
    let verdict = |judged: &Judged| Verdict::new(&judged.key, judged.verdict, &refused);
    let verdicts = judged.iter().map(verdict).collect();
    let problem = undeleted(&refused);
    render::pruned(&Pruned::new(dry_run, verdicts, garbage, refused), context.output);
    problem.map_or(Ok(()), Err)
}

const fn drops(judged: &Judged) -> bool {
    matches!(judged.verdict, retention::Verdict::Drop)
}

/// What is being deleted, and what came of it so far.
struct Deletion<'a> {
    shelf: &'a Shelf,
    dry_run: bool,
    /// In a dry run what would be gone.
    gone: BTreeSet<String>,
    refused: Vec<Refused>,
}

impl Deletion<'_> {
    /// Deletes one object, or notes that the store refused to.
    async fn take(&mut self, key: &str) -> Result<(), Problem> {
        let deleted = if self.dry_run { Ok(None) } else { delete(self.shelf, key).await };
        match deleted.map_err(|problem| broken_off(problem, self.gone.len()))? {
            None => drop(self.gone.insert(key.to_owned())),
            Some(because) => self.refused.push(Refused { key: key.to_owned(), because }),
        }
        Ok(())
    }
}

/// A pruning that ends before its time says what it did.
fn broken_off(problem: Problem, gone: usize) -> Problem {
    if gone == 0 {
        return problem;
    }
    let sentence = format!("{}; {gone} objects were deleted before that", problem.sentence);
    Problem { sentence, ..problem }.next("requorum snapshot ls, and prune again")
}

/// Deletes one object, unless anything was decided since it was judged: a restore that began meanwhile may
/// refer to it. Answers with the reason if the store refused.
async fn delete(shelf: &Shelf, key: &str) -> Result<Option<String>, Problem> {
    if shelf.was_decided().await? {
        let text = "something was decided while snapshots were being deleted; the rest is kept";
        return Err(Problem::new(Code::Refused, text).next("requorum status, and prune again"));
    }
    let full = shelf.hands.keys(&shelf.uid).under(key);
    match shelf.hands.ports.store.delete(&full).await {
        Ok(()) => Ok(None),
        Err(error) => refusal(error).map(Some).map_err(|error| unanswered(&error)),
    }
}

/// Whether the store said no to this one object: others may still go. Everything else ends the pruning.
fn refusal(error: StoreError) -> Result<String, StoreError> {
    match error {
        StoreError::Forbidden(why) | StoreError::Bad(why) => Ok(why),
        StoreError::Unavailable(_)
        | StoreError::Missing(_)
        | StoreError::Source(_)
        | StoreError::Local(_)
        | StoreError::NoSpace(_) => Err(error),
    }
}

/// What is said in the end if anything was refused.
fn undeleted(refused: &[Refused]) -> Option<Problem> {
    let first = refused.first()?;
    let number = refused.len();
    let text = format!("{number} of the objects that are no longer needed could not be deleted");
    let next = "let this role delete below the prefix (s3:DeleteObject), or release what holds them; \
                then requorum snapshot prune";
    Some(Problem::new(Code::Undeleted, text).because(&first.because).next(next))
}

fn unanswered(error: &StoreError) -> Problem {
    super::agent::store_problem("the bucket", error)
}

/// Its age is the store's word, not its saver's: a machine whose clock jumped would age all the others. What
/// an operator brought counts as no snapshot of ours; it is kept as long as it is on record.
fn entry(shelf: &Shelf, manifest: &Manifest, written: Option<u64>) -> Entry {
    let own = manifest.reason != Reason::Adopted;
    Entry {
        key: manifest.key(),
        inc: manifest.inc,
        revision: manifest.revision,
        taken: written,
        suspect: !own || !guards::is_trusted(manifest, &shelf.ctrl.adopted),
        needs: manifest.needs.iter().chain([&manifest.data]).cloned().collect(),
    }
}

/// Every manifest of every incarnation up to ours.
async fn every(shelf: &Shelf) -> Result<(Vec<Manifest>, Vec<String>), Problem> {
    let (mut manifests, mut unreadable) = (Vec::new(), Vec::new());
    for inc in 0..=shelf.ctrl.inc {
        let (read, refused) = shelf.manifests(inc).await?;
        manifests.extend(read);
        unreadable.extend(refused);
    }
    Ok((manifests, unreadable))
}

/// What is listed in a folder of each incarnation, without the cluster's prefix, and its age in seconds, as
/// the store says.
async fn listed(
    shelf: &Shelf,
    folder: fn(u64) -> String,
) -> Result<Vec<(String, Option<u64>)>, Problem> {
    let keys = shelf.hands.keys(&shelf.uid);
    let mut listed = Vec::new();
    for inc in 0..=shelf.ctrl.inc {
        let stored = shelf.hands.ports.store.list_stored(&keys.under(&folder(inc))).await;
        for stored in stored.map_err(|error| unanswered(&error))? {
            listed.extend(keys.strip(&stored.key).map(|key| (key.to_owned(), stored.age)));
        }
    }
    Ok(listed)
}

/// All that anything refers to. What refers to something and can't be read keeps everything.
async fn protected(shelf: &Shelf, manifests: &[Manifest]) -> Result<Protected, Problem> {
    let ctrl = &shelf.ctrl;
    let whose = perform::For { uid: Some(shelf.uid.clone()), slot: None };
    let mut keys = BTreeSet::new();
    let source = ctrl.source.as_ref().and_then(|source| source.object.as_ref());
    keys.extend(source.map(|pin| pin.key.clone()));
    if let Some(pin) = &ctrl.plan {
        let fetched = perform::perform(&shelf.hands, &whose, &Effect::FetchPlan(pin.clone())).await;
        if let Outcome::Plan(plan) = answer(fetched, "reading the plan")? {
            keys.extend(plan.fallbacks.iter().cloned());
            keys.extend(plan.source.object.map(|pin| pin.key));
        }
    }
    let adopted =
        manifests.iter().filter(|manifest| adoption::of(&ctrl.adopted, &manifest.sha256).is_some());
    keys.extend(adopted.map(Manifest::key));
    let named = shelf.records.salvages().filter_map(|(_, salvage)| salvage.manifest.clone());
    keys.extend(named);
    let votes = perform::perform(&shelf.hands, &whose, &Effect::Exchange(None)).await;
    if let Outcome::Votes(votes) = answer(votes, "reading the votes")? {
        keys.extend(votes.iter().filter_map(|vote| vote.manifest.clone()));
    }
    // a vote or a plan of an earlier life may name what was rightly deleted since
    let there = |key: &String| {
        manifests.iter().any(|m| m.key() == *key || m.data == *key || m.needs.contains(key))
    };
    keys.retain(|key| there(key) || Some(key) == source.map(|pin| &pin.key));
    let own = |manifest: &&Manifest| manifest.inc == ctrl.inc && manifest.reason != Reason::Adopted;
    let newest = manifests.iter().filter(own);
    let newest = newest.max_by_key(|manifest| manifest.revision);
    let chain = newest.map(|newest| newest.needs.first().unwrap_or(&newest.data).clone());
    Ok(Protected { inc: ctrl.inc, keys, chain })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_lets_the_others_go_on() {
        let text = String::from("no");
        assert_eq!(refusal(StoreError::Forbidden(text.clone())), Ok(text.clone()));
        assert_eq!(refusal(StoreError::Bad(text.clone())), Ok(text.clone()));
        let unknown = StoreError::Unavailable(text);
        assert_eq!(refusal(unknown.clone()), Err(unknown));
        assert_eq!(undeleted(&[]), None);
    }

    #[test]
    fn what_broke_off_says_what_it_did() {
        let problem = Problem::new(Code::StoreUnreachable, "the bucket does not answer");
        assert_eq!(broken_off(problem.clone(), 0), problem);
        let told = broken_off(problem, 3);
        assert_eq!(told.sentence, "the bucket does not answer; 3 objects were deleted before that");
        assert_eq!(told.code, Code::StoreUnreachable);
    }
}
