//! **content** — what members hold at a snapshot's revision: the evidence that guards weigh
//! (`protocol/src/guards.rs`).
//!
//! Comes in: a revision, and the ways to members. Goes out: live keys and HashKV, each known or unknown. A
//! member that does not answer, or answers for other revisions, says nothing: it is never different.

use super::Hands;
use crate::ports::etcd::Door;
use protocol::{
    effect::Save,
    guards::{Around, Content},
    manifest::Manifest,
    observation::Check,
};
use std::time::Duration;
use tokio::{task::JoinSet, time::timeout};

/// How long peers are waited for. A frozen machine takes a question and never answers, and while a save
/// goes on nothing else moves data here.
const PEERS_PATIENCE: Duration = Duration::from_secs(30);

/// What was seen around one snapshot.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) live_keys: Option<u64>,
    pub(super) mine: Option<Content>,
    peers: Vec<Content>,
    corrupt: bool,
}

impl Seen {
    /// HashKV and live keys, where both are of this very revision.
    pub(super) fn check(&self, revision: u64) -> Option<Check> {
        let mine = self.mine.filter(|content| content.revision == revision)?;
        Some(Check { revision, hash_kv: mine.hash_kv, live_keys: self.live_keys? })
    }

    pub(super) fn around<'a>(&'a self, before: &'a [Manifest], save: &'a Save) -> Around<'a> {
        Around {
            before,
            source_keys: save.source_keys,
            adopted: &save.adopted,
            corrupt: self.corrupt,
            mine: self.mine,
            peers: &self.peers,
        }
    }
}

impl Hands {
    /// Asks the member that was saved, right after its stream, and the peers whose turn it is.
    pub(super) async fn seen(
        &self,
        door: &Door,
        revision: u64,
        peers: &[String],
        corrupt: bool,
    ) -> Seen {
        let mine = async {
            let live_keys = self.ports.etcd.live_keys(door, revision).await.ok();
            (live_keys, self.held(door, revision).await)
        };
        let others = timeout(PEERS_PATIENCE, self.held_by(peers, revision));
        let ((live_keys, mine), peers) = tokio::join!(mine, others);
        Seen { live_keys, mine, corrupt, peers: peers.unwrap_or_default() }
    }

    /// What those peers hold that answer; all are asked at once.
    async fn held_by(&self, peers: &[String], revision: u64) -> Vec<Content> {
        let mut asked = JoinSet::new();
        for url in peers.iter().cloned() {
            let hands = self.clone();
            asked.spawn(async move { hands.held(&Door::Client(url), revision).await });
        }
        let mut held = Vec::new();
        while let Some(answer) = asked.join_next().await {
            held.extend(answer.ok().flatten());
        }
        held
    }

    async fn held(&self, door: &Door, revision: u64) -> Option<Content> {
        let (revision, compact, hash_kv) = self.ports.etcd.hash_kv(door, revision).await.ok()?;
        Some(Content { revision, compact, hash_kv })
    }
}
