//! **check** — `check -o json`, field by field: one look at etcd itself. It only grows.

use protocol::observation::{Alarm, Answer};
use serde::Serialize;

/// `requorum.check/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Always `requorum.check/1`.
    pub schema: &'static str,
    /// `healthy`, `degraded`, or `no-quorum-proven`: no linearizable read came back through any
    /// member, which one look can't tell from a network that is cut; `not-allowed`: none came back,
    /// and a member that may serve others does not let us ask.
    pub verdict: &'static str,
    /// Every seat.
    pub members: Vec<Looked>,
}

/// What one seat's client URL answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Looked {
    /// Its name.
    pub name: String,
    /// Where it was asked.
    pub client_url: String,
    /// It answered within the deadline; `false` proves nothing.
    pub answers: bool,
    /// Why it does not let us ask; null: it does, or is silent.
    pub refused: Option<String>,
    /// A linearizable read came back through it: a quorum lives.
    pub linearizable: bool,
    /// It leads etcd; null: no answer.
    pub leads: Option<bool>,
    /// It is a learner; null: no answer.
    pub learner: Option<bool>,
    /// Its revision; null: no answer.
    pub revision: Option<u64>,
    /// Its version; null: no answer.
    pub version: Option<String>,
    /// Its alarms: `no-space`, `corrupt`.
    pub alarms: Vec<&'static str>,
}

impl Check {
    /// The document for one look.
    pub fn new(members: Vec<Looked>) -> Self {
        let sound = |member: &Looked| member.linearizable && member.alarms.is_empty();
        let verdict = if !members.iter().any(|member| member.linearizable) {
            let hidden = members.iter().any(|member| member.refused.is_some());
            if hidden { "not-allowed" } else { "no-quorum-proven" }
        } else if members.iter().all(sound) {
            "healthy"
        } else {
            "degraded"
        };
        Self { schema: "requorum.check/1", verdict, members }
    }

    /// Whether some member reports an alarm.
    pub fn has_alarm(&self) -> bool {
        self.members.iter().any(|member| !member.alarms.is_empty())
    }
}

impl Looked {
    /// The row for a seat's answer.
    pub fn new(name: String, client_url: String, answer: &Answer) -> Self {
        let status = match answer {
            Answer::Status(status) => Some(status),
            Answer::Refused { .. } | Answer::Silent => None,
        };
        let alarms = status.map(|status| status.alarms.iter().map(alarm).collect());
        Self {
            name,
            client_url,
            answers: status.is_some(),
            refused: answer.hides_a_quorum().map(ToOwned::to_owned),
            linearizable: status.is_some_and(|status| status.linearizable),
            leads: status.map(|status| status.leader == Some(status.member_id)),
            learner: status.map(|status| status.learner),
            revision: status.map(|status| status.revision),
            version: status.map(|status| status.version.clone()),
            alarms: alarms.unwrap_or_default(),
        }
    }
}

const fn alarm(alarm: &Alarm) -> &'static str {
    match alarm {
        Alarm::NoSpace => "no-space",
        Alarm::Corrupt => "corrupt",
    }
}
