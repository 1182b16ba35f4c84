//! **alone** — what an agent does while the stores say nothing it could act on.
//!
//! Comes after the scene could not be had; goes before any other step. Normal operation never
//! depends on S3 or DynamoDB (protocol.md 1.4, boot rule 2): a promise is kept without them, and a
//! member that this machine's own durable record covers is started without them, once they were
//! tried for a while. The wait only makes stale reads from a minority rarer; safety rests on the
//! record and on the marker alone.

use super::{Coordinator, scene::Step};
use crate::{
    boot::{self, Gate, May, Table},
    effect::{Effect, Expected, Lane, Start},
    explanation::{Code, Note},
    mutant::{self, Mutant},
    observation::{Look, Memory, Process},
    time::{Moment, Span},
};

impl Coordinator {
    /// Whether it must still be proven that the stores honour conditions: before that nothing is
    /// written, founded or decided (design.md 1.8).
    pub(super) fn prove_stores(&self) -> Option<Step> {
        if self.policy.proven || self.known.proven {
            return None;
        }
        Some(Step::Do(Effect::Prove, self.unproven()))
    }

    pub(super) fn unproven(&self) -> Note {
        let failure = self.known.failures.get(&Lane::Registry);
        let why = failure.map_or("it was not tried yet", |failure| failure.text.as_str());
        let text = alloc::format!(
            "automation is off until both stores are proven to honour conditions: {why}"
        );
        Note::new(Code::StoresUnproven, text)
    }

    /// This machine's part of a turn without a scene; `why`: what keeps the scene from us.
    pub(super) fn without_scene(&self, now: Moment, why: &Note) -> Option<Step> {
        let silent = matches!(
            why.code,
            Code::Blind
                | Code::StoreUnreachable
                | Code::RecordUnreadable
                | Code::RegistryLost
                | Code::StoresUnproven
        );
        let look = self.known.look.as_ref().filter(|(looked_at, _)| {
            silent && !self.known.must_look && now.since(*looked_at) <= self.policy.timers.gap
        });
        let (_, look) = look?;
        let may = boot::may_start(
            &self.me.instance,
            &look.data,
            &self.remembered(look),
            &self.last_word(),
        );
        match (may, look.process) {
            (Err(Gate::Fenced(promise)), Process::Running { .. } | Process::Unknown) => {
                Step::act(Effect::Stop, Code::Fenced, alloc::format!("stops etcd: {promise}"))
            }
            (Ok(may), Process::Stopped) => self.start_alone(now, may),
            (Ok(_), _) if mutant::is(Mutant::SilenceStops) => {
                Step::act(Effect::Stop, Code::WithoutStores, "the stores are silent")
            }
            (Ok(_) | Err(_), _) => None,
        }
    }

    fn start_alone(&self, now: Moment, may: May) -> Option<Step> {
        let tried = self.known.blind_since.map_or(Span(0), |since| now.since(since));
        if tried < self.policy.timers.alone || self.known.rests(now, &self.policy.timers) {
            return None;
        }
        let text = alloc::format!(
            "the stores are silent; by its own record this machine runs incarnation {}",
            may.inc
        );
        let look = &self.known.look.as_ref()?.1;
        let cluster_id = look.data.log.owner().map(|(cluster_id, _)| cluster_id);
        let member_id = look.memory.ran.as_ref()?.member_id;
        let member = Expected { member_id, cluster_id };
        let start = Start { quarantined: may.quarantined, member, join: None };
        Step::act(Effect::Start(start), Code::WithoutStores, text)
    }

    /// What the table said last, however long ago: what was decided then stays decided.
    fn last_word(&self) -> Table {
        let ctrl = self.known.records.as_ref().and_then(|(_, records)| records.ctrl.clone());
        ctrl.map_or(Table::Unread, Table::Read)
    }

    /// The highest promises that the disks or this process know of.
    fn remembered(&self, look: &Look) -> Memory {
        Memory {
            marker: look.memory.marker.max(self.known.marker),
            retired: look.memory.retired.max(self.known.retired),
            ..(*look.memory).clone()
        }
    }

    /// What an observer has to do and to say: find the cluster, and tell how it stands.
    pub(super) fn observation(&self, now: Moment) -> alloc::vec::Vec<Step> {
        let find = self.known.discovered.is_none().then(|| {
            let text = "which cluster lives under this prefix?";
            Step::Do(Effect::Discover, Note::new(Code::Blind, text))
        });
        let (told, doubts) = match self.scene(now) {
            Ok(scene) => (scene.quiet(), scene.doubts()),
            Err(note) => (Some(Step::Wait(note)), None),
        };
        let text = "no agent runs on this machine; this is what the table and the votes say";
        let first = Step::Wait(Note::new(Code::Observing, text));
        [find, told, doubts, Some(first)].into_iter().flatten().collect()
    }
}
