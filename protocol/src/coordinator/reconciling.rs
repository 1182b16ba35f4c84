//! **reconciling** — are etcd's voters those on record? (protocol.md 1.4 "Configuration closure").
//!
//! Comes in: etcd's own list, behind a linearizable read. Goes out: `ctrl.drift`, which keeps
//! automation from counting fences against a membership that nobody recorded: a member that left
//! no readable log says nothing of a change made by hand. An operator's request overrides it.

use super::{Scene, Step};
use crate::{
    change,
    cluster::MemberId,
    effect::{Effect, Listed},
    explanation::Code,
    registry::{Ctrl, Phase},
};
use alloc::{string::String, vec::Vec};

impl Scene<'_> {
    /// The comparer's part of the turn: one member does it for all, the lowest that is healthy.
    pub(super) fn comparer_part(&self) -> Option<Step> {
        let at_rest = matches!(self.ctrl.phase, Phase::Idle | Phase::Healing) && self.ctrl.opened;
        let mine = self.owner().is_some() && self.i_see_a_quorum() && self.is_first_healthy();
        if !at_rest || !mine {
            return None;
        }
        if let Some(drift) = self.compared() {
            if drift == self.ctrl.drift {
                return None;
            }
            let text = match &drift {
                Some(drift) => alloc::format!("puts on record: {drift}"),
                None => "etcd's members are those on record again".into(),
            };
            let after = Ctrl { drift, ..self.ctrl.clone() };
            let change = change::word(self.ctrl, after);
            return Step::act(Effect::Write(change), Code::MembershipDrift, text);
        }
        Step::act(
            Effect::ListMembers,
            Code::AllWell,
            "compares etcd's members with those on record",
        )
    }

    /// How a list that is young enough differs from the records. It must have been asked for after
    /// the present records were first read: then no operation of ours got further in between,
    /// and the write's guard on `v` says that none has since.
    fn compared(&self) -> Option<Option<String>> {
        let known = &self.core.known;
        let (asked, listed) = known.listed.as_ref()?;
        let (_, since) = known.version_since?;
        let young = self.now.since(*asked) < self.timers().reconcile;
        (young && *asked >= since).then(|| self.drift_of(listed))
    }

    /// How etcd's voters differ from those on record, beside what the operation under way is doing.
    pub(super) fn drift_of(&self, listed: &[Listed]) -> Option<String> {
        let op = self.ctrl.op.as_ref();
        let moves = |id: MemberId| op.is_some_and(|op| [op.removed, op.added].contains(&Some(id)));
        let voters = || listed.iter().filter(|member| !member.learner && !moves(member.id));
        let recorded = |id| self.ctrl.members.iter().any(|member| member.id == id);
        let mut unknown: Vec<_> = voters().filter(|member| !recorded(member.id)).collect();
        unknown.sort_by_key(|member| member.id); // what is put on record does not change with a list's order
        let unknown = unknown.into_iter().map(unrecorded);
        let listed_as = |id| voters().any(|member| member.id == id);
        let stays = self.ctrl.members.iter().filter(|member| !moves(member.id));
        let gone = stays.filter(|member| !listed_as(member.id));
        let gone = gone.map(|member| {
            alloc::format!("etcd no longer lists {} as {}", self.name(member.slot), member.id)
        });
        let all: Vec<String> = unknown.chain(gone).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// What keeps an attempt from beginning by itself.
    pub(super) fn drift(&self) -> Option<Step> {
        let drift = self.ctrl.drift.as_ref().filter(|_| self.ctrl.request.is_none())?;
        let text = alloc::format!(
            "members were changed by hand ({drift}): no restore begins by itself; \
             `requorum restore --because ...` asks for one"
        );
        Step::wait(Code::MembershipDrift, text)
    }
}

/// A voter that etcd lists and no record knows.
pub(super) fn unrecorded(member: &Listed) -> String {
    let (id, url) = (member.id, &member.peer_url);
    alloc::format!("etcd lists voter {id} at {url}, which is not on record")
}
