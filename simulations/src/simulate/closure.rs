//! **closure** — when a configuration in a log is over, as an all-knowing onlooker judges it: from what
//! was ever committed and from the disks as they are, never by the core's own rule (protocol.md 1.4).
//!
//! Comes from the logs of fenced members. Goes to S7 and S8 in [`safety`](super::safety): a configuration
//! that is over need not be blocked, and brings nobody back.

use super::Sim;
use crate::world::{
    etcd::{Entry, Store},
    machine::Role,
};
use protocol::cluster::{MemberId, quorum};

impl Sim {
    /// What a member of an incarnation wrote: in place, or moved aside because another takes its seat.
    pub(super) fn log_of(&self, inc: u64, id: MemberId) -> Option<&Store> {
        let in_place = self.stores_of(inc).into_iter().map(|(_, store)| store);
        let here = self.machines.iter().filter(|machine| !machine.terminated);
        let aside = here.flat_map(|machine| machine.dir().aside.iter());
        let aside = aside.filter(|(of, _)| *of == inc).map(|(_, store)| store);
        in_place.chain(aside).find(|store| store.id == id)
    }

    /// Whether `config`, which stands in `log` at `place` at the latest, is over: two changes of members
    /// were committed after it, or another entry in its place; and none of those that `may_run` could
    /// rule by it now.
    pub(super) fn is_over(
        &self,
        log: &Store,
        config: &[MemberId],
        place: u64,
        may_run: impl Fn(&MemberId) -> bool,
    ) -> bool {
        let life = self.ghost.lives.get(&log.cluster);
        let committed = life.map_or(&[][..], |life| &life.committed);
        let at = usize::try_from(place).unwrap_or(usize::MAX);
        let is_change = |entry: &&(u64, Entry)| matches!(entry.1, Entry::Members(_));
        let later = committed.iter().skip(at).filter(is_change).count();
        let same =
            committed.get(at.wrapping_sub(1)).is_some_and(|(term, _)| log.log.term(at) == *term);
        let passed = later >= 2 || (committed.len() >= at && !same);
        passed && !self.could_rule(log, config, may_run)
    }

    /// Whether some member that goes by `config` leads a quorum of it, or would be elected by one: its
    /// log is at least as good as theirs.
    fn could_rule(
        &self,
        log: &Store,
        config: &[MemberId],
        may_run: impl Fn(&MemberId) -> bool,
    ) -> bool {
        let machines = self.machines.iter().filter(|machine| !machine.terminated);
        let here = machines.map(|machine| (machine.dir(), machine.etcd.as_ref()));
        let away = self.detached().map(|volume| (volume, None));
        let all: Vec<(&Store, bool)> = here
            .chain(away)
            .filter_map(|(volume, etcd)| Some((volume.member.as_ref()?, etcd)))
            .filter(|(store, _)| store.cluster == log.cluster && config.contains(&store.id))
            .filter(|(store, _)| may_run(&store.id))
            .map(|(store, etcd)| (store, etcd.is_some_and(|e| matches!(e.role, Role::Leader(_)))))
            .collect();
        all.iter().filter(|(store, _)| store.voters() == config).any(|(candidate, leads)| {
            let elects = |voter: &Store| voter.last() <= candidate.last();
            let follows = |voter: &Store| *leads && voter.term <= candidate.term;
            let votes = all.iter().filter(|(voter, _)| elects(voter) || follows(voter)).count();
            votes >= quorum(config.len())
        })
    }
}
