//! **etcd_client** — one member's API through the `etcd-client` crate.
//!
//! Comes from the driver: a [`Door`] and a question. Goes to etcd: one fresh connection per
//! question, so that a member which was restarted a moment ago is seen at once and no state of an
//! old connection can answer for it. Nothing is retried here: retry timing is the core's decision
//! (design.md 1.10). Every answer has a deadline; what does not come in time is an error, and an
//! error is never a zero.
//!
//! Two deadlines: `call` for what a healthy member answers from memory, [`SLOW`] for what walks
//! its whole database. A probe ends within connect + 2 calls.

use crate::ports::etcd::{Door, Etcd, EtcdError, Snapshot};
use async_trait::async_trait;
use doors::{Unanswered, is_denied};
use etcd_client::{
    AlarmAction, AlarmOptions, AlarmType, Client, CompactionOptions, Error, GetOptions,
    GetResponse, Member, MemberAddOptions, StatusResponse,
};
use protocol::{
    cluster::{ClusterId, MemberId},
    effect::Listed,
    observation::{Alarm, Answer, Check, Status},
};
use snapshot::Stream;
use std::{future::Future, time::Duration};
use tokio::time::timeout;
use tonic::Code;

mod certificates;
mod doors;
mod pages;
mod snapshot;
mod trailer;

pub use certificates::Certificates;

/// How long a member may take over an answer that walks its whole database: HashKV, count,
/// defragmentation, and the silence between two pieces of a snapshot. HashKV of 1 GB takes about
/// one second, defragmentation of 8 GB (etcd's advised maximum) below a minute on a slow disk.
pub const SLOW: Duration = Duration::from_secs(120);
/// The key of quorum proofs, as `etcdctl endpoint health` uses it. Whether it exists is no matter.
const PROOF_KEY: &str = "health";

/// The adapter; knows deadlines and nothing of any member.
#[derive(Clone, Debug)]
pub struct EtcdClient {
    connect: Duration,
    call: Duration,
    certificates: Option<Certificates>,
}

impl EtcdClient {
    /// `connect`: how long a connection may take; `call`: how long an ordinary answer may take.
    /// Both 2 s in the field.
    pub const fn new(connect: Duration, call: Duration) -> Self {
        Self { connect, call, certificates: None }
    }

    /// The same, for members that speak TLS.
    #[must_use]
    pub fn trusting(self, certificates: Option<Certificates>) -> Self {
        Self { certificates, ..self }
    }

    /// A linearizable read: proof of a living quorum, and its header's revision.
    async fn prove(&self, door: &Door, client: &mut Client) -> Result<GetResponse, EtcdError> {
        let options = GetOptions::new().with_keys_only().with_limit(1);
        let reading = client.get(PROOF_KEY, Some(options));
        in_time(door, "linearizable read", self.call, reading).await
    }

    /// Whether a quorum lives. A refusal for want of permission comes after the read index was
    /// confirmed by a quorum ([SRC] v3_server.go Range), so it proves as much as an answer.
    async fn is_linearizable(&self, client: &mut Client) -> bool {
        let options = GetOptions::new().with_keys_only().with_limit(1);
        match timeout(self.call, client.get(PROOF_KEY, Some(options))).await {
            Ok(Ok(_)) => true,
            Ok(Err(Error::GRpcStatus(status))) => is_denied(&status),
            Ok(Err(_)) | Err(_) => false,
        }
    }

    async fn status(&self, door: &Door, client: &mut Client) -> Result<StatusResponse, EtcdError> {
        in_time(door, "status", self.call, client.status()).await
    }

    async fn look(&self, door: &Door) -> Result<Answer, Unanswered> {
        let mut client = self.open(door).await?;
        let answer = match self.first(door, "status", client.status()).await {
            Err(Unanswered::Denied(error)) => {
                // who is no user is told so by a read only after a quorum was heard
                let quorum = Some(self.is_linearizable(&mut client).await);
                return Ok(Answer::Refused { why: error.0, quorum });
            }
            answer => answer?,
        };
        let mut status = seen(door, &answer).map_err(Unanswered::Silent)?;
        status.linearizable = self.is_linearizable(&mut client).await;
        Ok(Answer::Status(status))
    }

    async fn list(&self, door: &Door, client: &mut Client) -> Result<Vec<Listed>, EtcdError> {
        // etcd-client's list is answered from the member's own view; the read before it makes the
        // member wait until it has applied all that was committed, so its view is fresh.
        self.prove(door, client).await?;
        let answer = in_time(door, "member list", self.call, client.member_list()).await?;
        Ok(answer.members().iter().map(listed).collect())
    }
}

#[async_trait]
impl Etcd for EtcdClient {
    async fn probe(&self, door: &Door) -> Answer {
        match self.look(door).await {
            Ok(answer) => answer,
            Err(Unanswered::Refused(error) | Unanswered::Denied(error)) => {
                Answer::Refused { why: error.0, quorum: None }
            }
            Err(Unanswered::Silent(error)) => {
                tracing::debug!(%error, "etcd gave no status");
                Answer::Silent
            }
        }
    }

    async fn check(&self, door: &Door, revision: u64) -> Result<Check, EtcdError> {
        check(door, &mut self.open(door).await?, revision).await
    }

    async fn snapshot(&self, door: &Door) -> Result<Box<dyn Snapshot>, EtcdError> {
        let mut client = self.open(door).await?;
        let status = self.status(door, &mut client).await?;
        let stream = in_time(door, "snapshot", SLOW, client.snapshot()).await?;
        Ok(Box::new(Stream::new(door.clone(), stream, &status)))
    }

    async fn hash_kv(&self, door: &Door, revision: u64) -> Result<(u64, u64, u32), EtcdError> {
        let mut client = self.open(door).await?;
        // etcd 3.5 does not say up to which revision it hashed, so one is always named.
        let revision = match revision {
            0 => {
                let status = self.status(door, &mut client).await?;
                let header = status.header().ok_or_else(|| empty(door, "status"))?;
                counted(door, "status", header.revision())?
            }
            named => named,
        };
        hash_at(door, &mut client, revision).await
    }

    async fn live_keys(&self, door: &Door, revision: u64) -> Result<u64, EtcdError> {
        count_at(door, &mut self.open(door).await?, revision).await
    }

    async fn members(&self, door: &Door) -> Result<Vec<Listed>, EtcdError> {
        let mut client = self.open(door).await?;
        self.list(door, &mut client).await
    }

    async fn add_learner(&self, door: &Door, peer_url: &str) -> Result<MemberId, EtcdError> {
        let mut client = self.open(door).await?;
        let listed = self.list(door, &mut client).await?;
        match listed.iter().find(|member| member.peer_url == peer_url) {
            Some(known) if known.learner => return Ok(known.id),
            Some(voter) => {
                let why = format!("{peer_url} is voter {}; remove it first", voter.id);
                return Err(at(door, "lists no learner", &why));
            }
            None => {}
        }
        let options = MemberAddOptions::new().with_is_learner();
        let adding = client.member_add([peer_url], Some(options));
        let answer = in_time(door, "member add", self.call, adding).await?;
        let member = answer.member().ok_or_else(|| empty(door, "member add"))?;
        Ok(MemberId(member.id()))
    }

    async fn promote(&self, door: &Door, id: MemberId) -> Result<(), EtcdError> {
        let mut client = self.open(door).await?;
        let listed = self.list(door, &mut client).await?;
        if listed.iter().any(|member| member.id == id && !member.learner) {
            return Ok(()); // an earlier promotion whose answer was lost
        }
        in_time(door, "member promote", self.call, client.member_promote(id.0)).await.map(drop)
    }

    async fn remove(&self, door: &Door, id: MemberId) -> Result<(), EtcdError> {
        let mut client = self.open(door).await?;
        let listed = self.list(door, &mut client).await?;
        if !listed.iter().any(|member| member.id == id) {
            return Ok(());
        }
        in_time(door, "member remove", self.call, client.member_remove(id.0)).await.map(drop)
    }

    async fn disarm_no_space(&self, door: &Door) -> Result<(), EtcdError> {
        let mut client = self.open(door).await?;
        let asking = client.alarm(AlarmAction::Get, AlarmType::None, None);
        let answer = in_time(door, "alarm list", self.call, asking).await?;
        for alarm in answer.alarms().iter().filter(|a| a.alarm() == AlarmType::Nospace) {
            let mut options = AlarmOptions::new();
            options.with_member(alarm.member_id());
            let disarming =
                client.alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(options));
            in_time(door, "alarm disarm", self.call, disarming).await?;
        }
        Ok(())
    }

    /// Answers with the revision compacted to; 0 if there are no more than `keep` revisions.
    async fn compact(&self, door: &Door, keep: u64) -> Result<u64, EtcdError> {
        let mut client = self.open(door).await?;
        let proof = self.prove(door, &mut client).await?;
        let header = proof.header().ok_or_else(|| empty(door, "linearizable read"))?;
        let target = counted(door, "linearizable read", header.revision())?.saturating_sub(keep);
        if target == 0 {
            return Ok(0);
        }
        let compacting = client.compact(asked(target)?, Some(CompactionOptions::new()));
        match timeout(self.call, compacting).await {
            Ok(Ok(_)) => Ok(target),
            // OutOfRange is said of the future too, but the target is never beyond the head.
            Ok(Err(Error::GRpcStatus(status))) if status.code() == Code::OutOfRange => Ok(target),
            Ok(Err(error)) => Err(at(door, "compaction failed", &error)),
            Err(_) => Err(at(door, "compaction", &late(self.call))),
        }
    }

    async fn defragment(&self, door: &Door) -> Result<(), EtcdError> {
        let mut client = self.open(door).await?;
        in_time(door, "defragmentation", SLOW, client.defragment()).await.map(drop)
    }
}

async fn check(door: &Door, client: &mut Client, revision: u64) -> Result<Check, EtcdError> {
    let (revision, _, hash_kv) = hash_at(door, client, revision).await?;
    Ok(Check { revision, hash_kv, live_keys: count_at(door, client, revision).await? })
}

async fn hash_at(
    door: &Door,
    client: &mut Client,
    revision: u64,
) -> Result<(u64, u64, u32), EtcdError> {
    let answer = in_time(door, "HashKV", SLOW, client.hash_kv(asked(revision)?)).await?;
    // etcd says -1 for "never compacted" ([SRC] mvcc/kvstore.go NewStore).
    let compacted = u64::try_from(answer.compact_version()).unwrap_or(0);
    Ok((revision, compacted, answer.hash()))
}

async fn count_at(door: &Door, client: &mut Client, revision: u64) -> Result<u64, EtcdError> {
    // Serializable: this member's own content is asked for, quorum or not.
    let options = GetOptions::new()
        .with_all_keys()
        .with_count_only()
        .with_serializable()
        .with_revision(asked(revision)?);
    let answer = in_time(door, "count", SLOW, client.get("", Some(options))).await?;
    counted(door, "count", answer.count())
}

/// What `Status` says; nothing was read through a quorum yet.
fn seen(door: &Door, answer: &StatusResponse) -> Result<Status, EtcdError> {
    let header = answer.header().ok_or_else(|| empty(door, "status"))?;
    Ok(Status {
        cluster_id: ClusterId(header.cluster_id()),
        member_id: MemberId(header.member_id()),
        leader: Some(answer.leader()).filter(|id| *id != 0).map(MemberId),
        term: answer.raft_term(),
        applied: answer.raft_applied_index(),
        revision: counted(door, "status", header.revision())?,
        linearizable: false,
        learner: answer.is_learner(),
        alarms: alarms_in(answer.errors()),
        version: answer.version().to_owned(),
        check: None,
    })
}

fn listed(member: &Member) -> Listed {
    Listed {
        id: MemberId(member.id()),
        peer_url: member.peer_urls().first().cloned().unwrap_or_default(),
        learner: member.is_learner(),
        // A member publishes its name when it first starts.
        started: !member.name().is_empty(),
    }
}

/// `Status.errors` names each alarm as `memberID:<id> alarm:<NAME> ` ([SRC] v3rpc/maintenance.go).
fn alarms_in(errors: &[String]) -> Vec<Alarm> {
    let raised = |name: &str| errors.iter().any(|error| error.contains(name));
    let mut alarms = Vec::new();
    if raised("alarm:NOSPACE") {
        alarms.push(Alarm::NoSpace);
    }
    if raised("alarm:CORRUPT") {
        alarms.push(Alarm::Corrupt);
    }
    alarms
}

async fn in_time<T, E: std::error::Error>(
    door: &Door,
    what: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, EtcdError> {
    match timeout(limit, work).await {
        Ok(done) => done.map_err(|error| at(door, &format!("{what} failed"), &chain(&error))),
        Err(_) => Err(at(door, what, &late(limit))),
    }
}

/// An error with its causes: tonic's outermost one says "transport error" and no more.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

fn at(door: &Door, what: &str, why: &dyn std::fmt::Display) -> EtcdError {
    match door {
        Door::Client(url) => EtcdError(format!("etcd at {url}: {what}: {why}")),
        Door::Socket(path) => EtcdError(format!("etcd at {}: {what}: {why}", path.display())),
    }
}

fn late(limit: Duration) -> String {
    format!("no answer within {} ms", limit.as_millis())
}

fn empty(door: &Door, what: &str) -> EtcdError {
    at(door, what, &"the answer lacks its header or body")
}

/// etcd counts in signed numbers; a negative one is no answer.
fn counted(door: &Door, what: &str, number: i64) -> Result<u64, EtcdError> {
    u64::try_from(number).map_err(|_| at(door, what, &format!("{number} is no count")))
}

fn asked(revision: u64) -> Result<i64, EtcdError> {
    i64::try_from(revision).map_err(|_| EtcdError(format!("{revision} is no revision of etcd")))
}
