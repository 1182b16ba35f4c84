//! **verdict** — compares what etcd holds after a recovery with what it had acknowledged.
//!
//! Comes from the oracle, and from the members through their client URLs. Goes to the report as
//! checks that passed or failed, each with what was seen.

use super::{
    trouble::{Trouble, until},
    writer::{Ack, Oracle, PREFIX, connect, key},
};
use etcd_client::{Client, GetOptions};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::timeout;

/// Keys of one page of a linearizable read; far below gRPC's limit of 4 MiB.
const PAGE: i64 = 5_000;
/// How long one answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// One thing that had to hold.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What had to hold.
    pub what: String,
    /// Whether it did.
    pub passed: bool,
    /// What was seen.
    pub seen: String,
}

/// All checks of a run, in order.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Checks(pub Vec<Check>);

/// HashKV of one member.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Hash {
    /// The member.
    pub name: String,
    /// Asked at this revision.
    pub revision: u64,
    /// Hashes compare only at equal compact revisions.
    pub compacted: u64,
    /// The hash.
    pub hash: u32,
}

/// What the cluster holds of the oracle's keys.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Key to its revision and value.
    pub keys: BTreeMap<String, (u64, String)>,
    /// The head revision they were read at.
    pub revision: u64,
}

impl Checks {
    /// Notes whether something held.
    pub fn note(&mut self, what: impl Into<String>, passed: bool, seen: impl Into<String>) {
        self.0.push(Check { what: what.into(), passed, seen: seen.into() });
    }

    /// Notes that two things had to be equal.
    pub fn equal<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, seen: &T, wanted: &T) {
        let passed = seen == wanted;
        let told = if passed { format!("{seen:?}") } else { format!("{seen:?}, not {wanted:?}") };
        self.note(what, passed, told);
    }

    /// How many failed.
    pub fn failed(&self) -> usize {
        self.0.iter().filter(|check| !check.passed).count()
    }
}

/// Acknowledged writes that are not there.
pub fn lost<'a>(oracle: &'a Oracle, content: &Content) -> Vec<&'a Ack> {
    oracle.acks.iter().filter(|ack| !content.keys.contains_key(&key(ack.number))).collect()
}

/// What must hold of every recovery, whatever may be lost in it: kept writes are as they were
/// acknowledged, nothing is there that nobody wrote, revisions never went back.
pub fn always(checks: &mut Checks, oracle: &Oracle, content: &Content) {
    let altered: Vec<String> = oracle
        .acks
        .iter()
        .filter_map(|ack| Some((ack, content.keys.get(&key(ack.number))?)))
        .filter(|(ack, (revision, value))| {
            *revision != ack.revision || *value != ack.number.to_string()
        })
        .map(|(ack, found)| format!("{}: {found:?}, acknowledged at {}", ack.number, ack.revision))
        .collect();
    checks.note(
        "each kept write has its value and its revision",
        altered.is_empty(),
        some(&altered),
    );
    let written: BTreeSet<String> =
        oracle.acks.iter().map(|ack| ack.number).chain(oracle.unknown.clone()).map(key).collect();
    let foreign: Vec<String> =
        content.keys.keys().filter(|key| !written.contains(*key)).cloned().collect();
    checks.note("nothing is there that nobody wrote", foreign.is_empty(), some(&foreign));
    let back = went_back(oracle);
    checks.note("revisions never went back", back.is_empty(), some(&back));
    let head = oracle.acks.iter().map(|ack| ack.revision).max().unwrap_or(0);
    let seen = format!("{} after {head}", content.revision);
    checks.note("the head is not below any acknowledged write", content.revision >= head, seen);
}

/// Pairs of writes of which the later one, sent after the earlier one's answer, got no higher
/// revision.
fn went_back(oracle: &Oracle) -> Vec<String> {
    let mut by_sending: Vec<&Ack> = oracle.acks.iter().collect();
    by_sending.sort_by_key(|ack| ack.sent);
    let mut answered = oracle.acks.iter().peekable(); // already in the order of their answers
    let mut highest = 0;
    let mut back = Vec::new();
    for ack in by_sending {
        while let Some(earlier) = answered.next_if(|earlier| earlier.acked < ack.sent) {
            highest = highest.max(earlier.revision);
        }
        if ack.revision <= highest {
            back.push(format!("write {} at {} after {highest}", ack.number, ack.revision));
        }
    }
    back
}

/// Reads all of the oracle's keys at one revision, linearizably, through the first that answers.
///
/// # Errors
/// When no member gives the whole answer.
pub async fn read_all(urls: &[String]) -> Result<Content, Trouble> {
    let mut last = Trouble("there is no member to read from".into());
    for url in urls {
        match read_from(url).await {
            Ok(content) => return Ok(content),
            Err(trouble) => last = trouble,
        }
    }
    Err(last)
}

async fn read_from(url: &str) -> Result<Content, Trouble> {
    let mut client = connect(url).await?;
    let mut content = Content::default();
    let mut from = PREFIX.to_owned();
    loop {
        let mut options = GetOptions::new().with_range(end()).with_limit(PAGE);
        if content.revision > 0 {
            options = options.with_revision(signed(content.revision)?);
        }
        let answer = in_time(url, client.get(from.as_str(), Some(options))).await?;
        if content.revision == 0 {
            let header = answer.header().ok_or_else(|| Trouble::of(url, "no header"))?;
            content.revision = unsigned(header.revision());
        }
        for pair in answer.kvs() {
            let name = String::from_utf8_lossy(pair.key()).into_owned();
            let value = String::from_utf8_lossy(pair.value()).into_owned();
            from = format!("{name}\0");
            content.keys.insert(name, (unsigned(pair.mod_revision()), value));
        }
        if !answer.more() {
            return Ok(content);
        }
    }
}

/// HashKV of every member, by name and client URL, at the head revision.
///
/// # Errors
/// When a member does not reach the head or does not answer.
pub async fn hashes(members: &[(String, String)]) -> Result<Vec<Hash>, Trouble> {
    let Some((_, first)) = members.first() else { return Ok(Vec::new()) };
    let mut client = connect(first).await?;
    let head = in_time(first, client.get(PREFIX, None)).await?;
    let revision = unsigned(head.header().map_or(0, etcd_client::ResponseHeader::revision));
    let mut all = Vec::new();
    for (name, url) in members {
        let what = format!("{name} has applied revision {revision}");
        let look = async || Ok(hash(name, url, revision).await.ok());
        let hash = until(&what, PATIENCE, look).await?;
        all.push(hash);
    }
    Ok(all)
}

async fn hash(name: &str, url: &str, revision: u64) -> Result<Hash, Trouble> {
    let mut client = connect(url).await?.maintenance_client();
    let answer = in_time(url, client.hash_kv(signed(revision)?)).await?;
    Ok(Hash {
        name: name.to_owned(),
        revision,
        compacted: unsigned(answer.compact_version()),
        hash: answer.hash(),
    })
}

/// Notes that all members hold the same.
pub fn same_content(checks: &mut Checks, hashes: &[Hash]) {
    let differing = hashes
        .windows(2)
        .filter(|two| (two[0].hash, two[0].compacted) != (two[1].hash, two[1].compacted))
        .count();
    let seen: Vec<String> = hashes.iter().map(|h| format!("{} {:08x}", h.name, h.hash)).collect();
    let at = hashes.first().map_or(0, |h| h.revision);
    let what = format!("HashKV of all {} members is the same at revision {at}", hashes.len());
    checks.note(what, differing == 0 && !hashes.is_empty(), seen.join(", "));
}

/// What a member's own Status says, quorum or not: (revision, leader id, own id).
///
/// # Errors
/// When it does not answer.
pub async fn own_view(url: &str) -> Result<(u64, u64, u64), Trouble> {
    let mut client = connect(url).await?;
    let answer = in_time(url, client.status()).await?;
    let header = answer.header().ok_or_else(|| Trouble::of(url, "no header"))?;
    Ok((unsigned(header.revision()), answer.leader(), header.member_id()))
}

/// How many voters and learners the members list, behind a linearizable read.
///
/// # Errors
/// When there is no quorum or no answer.
pub async fn members(url: &str) -> Result<(usize, usize), Trouble> {
    let mut client: Client = connect(url).await?;
    in_time(url, client.get(PREFIX, None)).await?;
    let list = in_time(url, client.member_list()).await?;
    let learners = list.members().iter().filter(|member| member.is_learner()).count();
    Ok((list.members().len() - learners, learners))
}

async fn in_time<T>(
    url: &str,
    work: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, Trouble> {
    match timeout(PATIENCE, work).await {
        Ok(done) => done.map_err(|e| Trouble::of(url, e)),
        Err(_) => Err(Trouble(format!("{url}: no answer within {} s", PATIENCE.as_secs()))),
    }
}

/// The first key after the prefix: `0` follows `/`.
fn end() -> String {
    format!("{}0", PREFIX.trim_end_matches('/'))
}

fn signed(revision: u64) -> Result<i64, Trouble> {
    i64::try_from(revision).map_err(|_| Trouble(format!("{revision} is no revision")))
}

/// etcd counts in signed numbers; -1 is its "never".
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// The first few of what should not be.
fn some(items: &[String]) -> String {
    match items.len() {
        0 => "none".into(),
        n => format!("{n}: {}", items.iter().take(5).cloned().collect::<Vec<_>>().join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn ack(number: u64, revision: u64, sent: u64, acked: u64, zero: Instant) -> Ack {
        let at = |ms| zero + Duration::from_millis(ms);
        Ack { number, revision, cluster: 1, sent: at(sent), acked: at(acked) }
    }

    fn oracle(acks: Vec<Ack>) -> Oracle {
        Oracle { acks, ..Oracle::default() }
    }

    #[test]
    fn only_a_write_that_was_sent_after_an_answer_must_be_higher() {
        let zero = Instant::now();
        let side_by_side = oracle(vec![ack(1, 12, 0, 10, zero), ack(2, 11, 5, 12, zero)]);
        assert!(went_back(&side_by_side).is_empty());
        let back = oracle(vec![ack(1, 12, 0, 10, zero), ack(2, 11, 11, 20, zero)]);
        assert_eq!(went_back(&back).len(), 1);
        let again = oracle(vec![ack(1, 12, 0, 10, zero), ack(2, 12, 11, 20, zero)]);
        assert_eq!(went_back(&again).len(), 1, "the same revision twice");
    }

    #[test]
    fn altered_foreign_and_lost_keys_are_told() {
        let zero = Instant::now();
        let oracle = oracle(vec![ack(1, 5, 0, 1, zero), ack(2, 6, 2, 3, zero)]);
        let mut content = Content { revision: 9, ..Content::default() };
        content.keys.insert(key(1), (7, "1".into()));
        content.keys.insert(key(9), (8, "9".into()));
        let mut checks = Checks::default();
        always(&mut checks, &oracle, &content);
        assert_eq!(checks.failed(), 2, "{checks:?}");
        assert_eq!(lost(&oracle, &content).len(), 1);
    }
}
