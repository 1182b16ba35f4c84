//! **documents** — `status -o json` and `explain -o json`, field by field. They only grow.

use super::{rehearsed::Rehearsal, snapshots::Adopted};
use crate::driver::run::View;
use protocol::{coordinator as core, tally::Verdict};
use serde::{Deserialize, Serialize};

/// `requorum.status/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Always `requorum.status/1`.
    pub schema: String,
    /// The cluster; null until it is known.
    pub uid: Option<String>,
    /// The incarnation.
    pub inc: u64,
    /// `genesis`, `idle`, `fencing`, `aborted`, `committed`, `restoring`, `starting`, `verifying`,
    /// `open`, `healing`; `unknown` while nothing was read.
    pub phase: String,
    /// The latest attempt.
    pub attempt: u64,
    /// What the attempt waits for: null, or a name such as `min-members`.
    pub parked: Option<String>,
    /// Why we are paused, or null.
    pub paused: Option<String>,
    /// The restore that an operator asked for and that has not ended, or null.
    #[serde(default)]
    pub request: Option<Asked>,
    /// How etcd's voters differ from those on record, or null.
    #[serde(default)]
    pub drift: Option<String>,
    /// Who leads; null if nobody needs to.
    pub leader: Option<Leader>,
    /// `quorum-alive`, `quorum-lost` or `pending`; `unknown` while nothing was read.
    pub verdict: String,
    /// Clients are let in.
    pub opened: bool,
    /// Each seat.
    pub members: Vec<Member>,
    /// What this incarnation was restored from, or null.
    pub source: Option<Source>,
    /// The newest snapshot this agent took, or null.
    pub newest_snapshot: Option<Snapshot>,
    /// Operators' words for snapshots, the first said first.
    #[serde(default)]
    pub adopted: Vec<Adopted>,
    /// The last rehearsal of a snapshot on this machine, or null.
    #[serde(default)]
    pub rehearsed: Option<Rehearsal>,
    /// What an attempt lacks, one sentence per seat.
    pub missing: Vec<String>,
    /// Why nothing happens, or what happens: the weightiest reason.
    pub waiting: String,
    /// All reasons of the last turn.
    pub reasons: Vec<Reason>,
}

/// A restore that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Although a quorum lives.
    pub rollback: bool,
    /// Key of the manifest that was named, or null: the newest.
    pub source: Option<String>,
    /// Who asked.
    pub by: String,
    /// Why.
    pub because: String,
}

/// The holder of the lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// Its name.
    pub name: String,
    /// Its fencing token.
    pub epoch: u64,
}

/// One seat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its number.
    pub slot: u8,
    /// The machine that sits on it, or null.
    pub instance: Option<String>,
    /// A voter of the incarnation.
    pub member: bool,
    /// Its last vote, or null.
    pub vote: Option<String>,
    /// That vote's age in milliseconds, by this machine's clock; null if it was never seen to rise.
    pub vote_age_ms: Option<u64>,
    /// The vote counts.
    pub fresh: bool,
    /// The highest revision it voted.
    pub revision: u64,
    /// Its fence for the present attempt, or null.
    pub fence: Option<String>,
    /// The incarnation it last ran, or null.
    pub ran: Option<u64>,
}

/// What an incarnation was restored from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Key of the data; null: it began empty.
    pub key: Option<String>,
    /// Revision in it.
    pub revision: u64,
    /// What was added.
    pub bump: u64,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Key of its manifest.
    pub key: String,
    /// Its revision.
    pub revision: u64,
    /// Seconds since 1970, by the saver's clock, or null.
    #[serde(default)]
    pub taken: Option<u64>,
}

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// A closed list: protocol's `explanation.rs`.
    pub code: String,
    /// One sentence.
    pub text: String,
}

/// The document for what the agent sees.
pub fn status(view: &View) -> Status {
    let reasons: Vec<Reason> = view
        .notes
        .iter()
        .map(|note| Reason { code: note.code.name().into(), text: note.text.to_string() })
        .collect();
    let waiting = reasons.first().map(|reason| reason.text.clone()).unwrap_or_default();
    match &view.status {
        Ok(seen) => Status { reasons, waiting, ..seen_status(seen) },
        Err(note) => Status { reasons, waiting: note.text.to_string(), ..unknown() },
    }
}

fn unknown() -> Status {
    Status {
        schema: "requorum.status/1".into(),
        uid: None,
        inc: 0,
        phase: "unknown".into(),
        attempt: 0,
        parked: None,
        paused: None,
        request: None,
        drift: None,
        leader: None,
        verdict: "unknown".into(),
        opened: false,
        members: Vec::new(),
        source: None,
        newest_snapshot: None,
        adopted: Vec::new(),
        rehearsed: None,
        missing: Vec::new(),
        waiting: String::new(),
        reasons: Vec::new(),
    }
}

fn seen_status(seen: &core::Status) -> Status {
    Status {
        uid: Some(seen.uid.clone()),
        inc: seen.inc,
        phase: seen.phase.name().into(),
        attempt: seen.attempt,
        parked: seen.parked.map(|parked| parked.name().into()),
        paused: seen.paused.clone(),
        request: seen.request.as_ref().map(|asked| Asked {
            rollback: asked.rollback,
            source: asked.source.clone(),
            by: asked.by.clone(),
            because: asked.because.clone(),
        }),
        drift: seen.drift.clone(),
        leader: seen.leader.clone().map(|(name, epoch)| Leader { name, epoch }),
        verdict: verdict(seen.verdict).into(),
        opened: seen.opened,
        members: seen.members.iter().map(member).collect(),
        source: seen.source.as_ref().map(|source| Source {
            key: source.object.as_ref().map(|pin| pin.key.clone()),
            revision: source.revision,
            bump: source.bump,
        }),
        newest_snapshot: seen.newest.as_ref().map(|found| Snapshot {
            key: found.key(),
            revision: found.revision,
            taken: found.taken,
        }),
        adopted: seen.adopted.iter().map(Adopted::from).collect(),
        missing: seen.missing.clone(),
        ..unknown()
    }
}

const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::QuorumAlive => "quorum-alive",
        Verdict::QuorumLost => "quorum-lost",
        Verdict::Pending => "pending",
    }
}

fn member(member: &core::MemberStatus) -> Member {
    Member {
        name: member.name.clone(),
        slot: member.slot.0,
        instance: member.instance.clone(),
        member: member.member,
        vote: member.vote.map(|health| health.name().into()),
        vote_age_ms: member.age,
        fresh: member.fresh,
        revision: member.revision,
        fence: member.fence.map(|evidence| evidence.name().into()),
        ran: member.ran,
    }
}
