//! **wal_log** — what a member's log says: whose it is, how far it goes, who may vote.
//!
//! In: a member directory, records from [`wal`](super::wal), the newest snapshot's header from
//! `snap/*.snap`. Out: its head (cluster and member id) and its
//! [`LogSummary`](protocol::observation::LogSummary), the evidence of a fence (protocol.md 1.4).
//! Reads only. Memory is bounded by the number of membership changes and one record.
//!
//! The log is read as raft wrote it: an entry drops all that stood at its index or after it, and a
//! snapshot received from a leader replaces everything.

use super::{
    protobuf::{Fields, Malformed, Value},
    wal::{self, Go, Kind, WalError, WalFile},
    wal_members::{self, Act, Change, ConfState},
};
use protocol::{
    cluster::{ClusterId, MemberId},
    effect::Expected,
    observation::LogSummary,
};
use std::path::Path;

/// The largest `.snap` file we read. It holds the membership in JSON, a few KiB.
const SNAP_MAX: u64 = 64 << 20;

/// Whose log it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// etcd's cluster id.
    pub cluster_id: ClusterId,
    /// The member that wrote it.
    pub member_id: MemberId,
}

/// Reads whose log `member/wal` is, from its first records.
///
/// # Errors
/// It can't be read, or doesn't say.
pub fn head(member: &Path) -> Result<Head, WalError> {
    let dir = member.join("wal");
    let mut found = None;
    wal::read(&wal::files(&dir)?, |kind, data| {
        if kind != Kind::Metadata {
            return Ok(Go::On);
        }
        found = Some(metadata(data).map_err(|why| garbled("metadata", why))?);
        Ok(Go::Enough)
    })?;
    found.ok_or_else(|| nameless(&dir))
}

/// Refuses a data dir that holds another member's log than the one that is to be started. A log that
/// can't be read is etcd's to refuse.
///
/// # Errors
/// Whose log it is instead.
pub fn is_of(member: &Path, expected: &Expected) -> Result<(), String> {
    match head(member) {
        Ok(Head { cluster_id, member_id }) if !expected.is(cluster_id, member_id) => {
            let (dir, wanted) = (member.display(), expected.member_id);
            let found = format!("member {member_id} of cluster {cluster_id}");
            Err(format!(
                "{dir} holds {found} and not member {wanted}: is the right volume mounted?"
            ))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Reads the whole log of a stopped member.
///
/// # Errors
/// Any part of it can't be read or is damaged: then nothing is said of it.
pub fn summary(member: &Path) -> Result<LogSummary, WalError> {
    let dir = member.join("wal");
    let files = wal::files(&dir)?;
    let mut log = Log::starting_at(&files);
    wal::read(&files, |kind, data| {
        log.take(kind, data)?;
        Ok(Go::On)
    })?;
    if log.head.is_none() {
        return Err(nameless(&dir));
    }
    let (base, state) = log.base(&member.join("snap"))?;
    let last = log.last.unwrap_or(base);
    if log.commit > last.index {
        let (commit, last) = (log.commit, last.index);
        let why = format!("it ends at index {last} although {commit} was committed");
        return Err(WalError::Damaged(format!("{}: {why}", dir.display())));
    }
    let active = wal_members::may_be_active(&log.changes, &state, base.index, log.commit);
    let in_force = wal_members::in_force(&log.changes, &state, base.index, log.commit);
    Ok(LogSummary {
        last_term: last.term,
        last_index: last.index,
        commit: log.commit,
        in_force: in_force.into_iter().map(MemberId).collect(),
        places: active.configs.iter().map(|(_, place)| *place).collect(),
        settled: active.settled,
        configs: active
            .configs
            .into_iter()
            .map(|(voters, _)| voters.into_iter().map(MemberId).collect())
            .collect(),
    })
}

fn nameless(dir: &Path) -> WalError {
    WalError::Damaged(format!("{}: the log ends before it says whose it is", dir.display()))
}

fn garbled(what: &str, why: Malformed) -> WalError {
    WalError::Damaged(format!("the log's {what} can't be understood: {why}"))
}

/// A place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Position {
    term: u64,
    index: u64,
}

/// A snapshot that the log names.
struct Named {
    at: Position,
    /// Present since etcd 3.5.
    state: Option<ConfState>,
}

/// What has been read of the log so far.
struct Log {
    /// Index that the first file follows on; where older ones were purged, more than zero.
    follows: u64,
    head: Option<Head>,
    commit: u64,
    /// Where the log begins, as far as it is still there.
    first: Option<u64>,
    last: Option<Position>,
    changes: Vec<Change>,
    snapshots: Vec<Named>,
}

impl Log {
    fn starting_at(files: &[WalFile]) -> Self {
        let follows = files.first().map_or(0, |file| file.index);
        let (changes, snapshots) = (Vec::new(), Vec::new());
        Self { follows, head: None, commit: 0, first: None, last: None, changes, snapshots }
    }

    fn take(&mut self, kind: Kind, data: &[u8]) -> Result<(), WalError> {
        match kind {
            Kind::Metadata => {
                let head = metadata(data).map_err(|why| garbled("metadata", why))?;
                if self.head.is_some_and(|before| before != head) {
                    return Err(WalError::Damaged(
                        "the log's files are of different members".to_owned(),
                    ));
                }
                self.head = Some(head);
            }
            Kind::State => self.commit = commit(data).map_err(|why| garbled("state", why))?,
            Kind::Snapshot => {
                let named = named(data).map_err(|why| garbled("snapshot record", why))?;
                self.take_snapshot(named);
            }
            Kind::Entry => {
                let entry = Entry::parse(data).map_err(|why| garbled("entry", why))?;
                self.take_entry(&entry)?;
            }
        }
        Ok(())
    }

    fn take_entry(&mut self, entry: &Entry<'_>) -> Result<(), WalError> {
        let next = match self.last {
            Some(last) => last.index.saturating_add(1),
            None => self.follows.max(1),
        };
        if entry.at.index == 0 || entry.at.index > next {
            let at = entry.at.index;
            return Err(WalError::Damaged(format!(
                "the log's entries before index {at} are missing"
            )));
        }
        let acts = entry.acts().map_err(|why| garbled("membership change", why))?;
        let keep = self.changes.partition_point(|change| change.index < entry.at.index);
        self.changes.truncate(keep);
        if let Some(acts) = acts {
            self.changes.push(Change { index: entry.at.index, term: entry.at.term, acts });
        }
        self.first = Some(self.first.map_or(entry.at.index, |first| first.min(entry.at.index)));
        self.last = Some(entry.at);
        Ok(())
    }

    /// A snapshot of our own making changes nothing; one from the leader lies beyond our end and
    /// replaces all there was.
    fn take_snapshot(&mut self, named: Named) {
        let reaches = match self.last {
            Some(last) => named.at.index > last.index,
            None => named.at.index > 0 && named.at.index.saturating_add(1) >= self.follows,
        };
        if reaches {
            self.changes.clear();
            self.first = None;
            self.last = Some(named.at);
        }
        self.snapshots.push(named);
    }

    /// Where etcd would start reading, and the voters there: the newest committed snapshot whose
    /// file is whole, or the very beginning ([SRC] wal.ValidSnapshotEntries,
    /// snap.LoadNewestAvailable). Failing both, the newest record that names its voters itself.
    fn base(&self, snap: &Path) -> Result<(Position, ConfState), WalError> {
        let usable = || self.snapshots.iter().rev().filter(|named| named.at.index <= self.commit);
        let whole = usable().find_map(|named| {
            if named.at.index == 0 {
                return Some((named.at, ConfState::default()));
            }
            let state = read_snap(snap, named.at)?;
            let state = if state.voters.is_empty() { named.state.clone()? } else { state };
            Some((named.at, state))
        });
        let stated = || usable().find_map(|named| Some((named.at, named.state.clone()?)));
        let (at, state) = whole.or_else(stated).ok_or_else(|| {
            WalError::Damaged(format!("{}: no usable snapshot is in it", snap.display()))
        })?;
        if self.first.is_some_and(|first| first > at.index.saturating_add(1)) {
            let (at, first) = (at.index, self.first.unwrap_or(0));
            return Err(WalError::Damaged(format!(
                "the log lacks entries between {at} and {first}"
            )));
        }
        Ok((at, state))
    }
}

/// `etcdserverpb.Metadata`: node_id = 1, cluster_id = 2.
fn metadata(message: &[u8]) -> Result<Head, Malformed> {
    let (mut member_id, mut cluster_id) = (0, 0);
    for field in Fields::of(message) {
        match field? {
            (1, Value::Number(id)) => member_id = id,
            (2, Value::Number(id)) => cluster_id = id,
            (_, Value::Number(_) | Value::Bytes(_)) => {}
        }
    }
    if member_id == 0 || cluster_id == 0 {
        return Err(Malformed);
    }
    Ok(Head { cluster_id: ClusterId(cluster_id), member_id: MemberId(member_id) })
}

/// `raftpb.HardState`: term = 1, vote = 2, commit = 3.
fn commit(message: &[u8]) -> Result<u64, Malformed> {
    let mut commit = 0;
    for field in Fields::of(message) {
        match field? {
            (3, Value::Number(index)) => commit = index,
            (_, Value::Number(_) | Value::Bytes(_)) => {}
        }
    }
    Ok(commit)
}

/// `walpb.Snapshot`: index = 1, term = 2, conf_state = 3.
fn named(message: &[u8]) -> Result<Named, Malformed> {
    let mut named = Named { at: Position::default(), state: None };
    for field in Fields::of(message) {
        match field? {
            (1, Value::Number(index)) => named.at.index = index,
            (2, Value::Number(term)) => named.at.term = term,
            (3, Value::Bytes(state)) => {
                named.state =
                    Some(ConfState::parse(state)?).filter(|state| !state.voters.is_empty());
            }
            (_, Value::Number(_) | Value::Bytes(_)) => {}
        }
    }
    Ok(named)
}

/// `raftpb.Entry`: type = 1 (0 normal, 1 ConfChange, 2 ConfChangeV2), term = 2, index = 3, data = 4.
struct Entry<'a> {
    at: Position,
    kind: u64,
    data: &'a [u8],
}

impl<'a> Entry<'a> {
    fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut entry = Self { at: Position::default(), kind: 0, data: &[] };
        for field in Fields::of(message) {
            match field? {
                (1, Value::Number(kind)) => entry.kind = kind,
                (2, Value::Number(term)) => entry.at.term = term,
                (3, Value::Number(index)) => entry.at.index = index,
                (4, Value::Bytes(data)) => entry.data = data,
                (_, Value::Number(_) | Value::Bytes(_)) => {}
            }
        }
        Ok(entry)
    }

    /// What it changes in the membership; `None` for a write. A record's type is not under its
    /// checksum and a HardState looks like an entry without data, so a change must have some.
    fn acts(&self) -> Result<Option<Vec<Act>>, Malformed> {
        match self.kind {
            0 => Ok(None),
            _ if self.data.is_empty() => Err(Malformed),
            1 => wal_members::parse_v1(self.data).map(Some),
            2 => wal_members::parse_v2(self.data).map(Some),
            _ => Err(Malformed),
        }
    }
}

/// The voters in `<term>-<index>.snap`; `None` if the file is absent, damaged or of another place:
/// etcd then takes the next older one, and so do we.
fn read_snap(snap: &Path, at: Position) -> Option<ConfState> {
    let path = snap.join(format!("{:016x}-{:016x}.snap", at.term, at.index));
    if path.metadata().ok()?.len() > SNAP_MAX {
        return None;
    }
    let (found, state) = parse_snap(&std::fs::read(path).ok()?).ok()?;
    (found == at).then_some(state)
}

/// `snappb.Snapshot`: crc = 1 (crc32c of data), data = 2 (`raftpb.Snapshot`: data = 1, metadata = 2
/// (conf_state = 1, index = 2, term = 3)).
fn parse_snap(message: &[u8]) -> Result<(Position, ConfState), Malformed> {
    let (mut crc, mut content) = (0, &[][..]);
    for field in Fields::of(message) {
        match field? {
            (1, Value::Number(number)) => crc = number,
            (2, Value::Bytes(bytes)) => content = bytes,
            (_, Value::Number(_) | Value::Bytes(_)) => {}
        }
    }
    if u64::from(crc32c::crc32c(content)) != crc {
        return Err(Malformed);
    }
    let mut metadata = &[][..];
    for field in Fields::of(content) {
        if let (2, Value::Bytes(bytes)) = field? {
            metadata = bytes;
        }
    }
    let (mut at, mut state) = (Position::default(), ConfState::default());
    for field in Fields::of(metadata) {
        match field? {
            (1, Value::Bytes(bytes)) => state = ConfState::parse(bytes)?,
            (2, Value::Number(index)) => at.index = index,
            (3, Value::Number(term)) => at.term = term,
            (_, Value::Number(_) | Value::Bytes(_)) => {}
        }
    }
    Ok((at, state))
}
