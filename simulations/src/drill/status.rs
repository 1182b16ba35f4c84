//! **status** — what a running agent says of itself: the one place that knows its document.
//!
//! Comes from `<state dir>/agent.sock`: one line `{"request":"status"}` is answered by one line of
//! JSON, schema `requorum.status/1`. Goes to the timeline and to the scenarios. The document only
//! grows, so a field is read by name and an unknown one is no concern of ours.

use super::trouble::Trouble;
use serde_json::Value;
use std::{path::Path, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    time::timeout,
};

/// A local socket answers at once or its agent stands still.
const PATIENCE: Duration = Duration::from_secs(1);
/// All phases in the order in which one attempt walks through them; idle ends it.
const PHASES: [&str; 10] = [
    "genesis",
    "fencing",
    "aborted",
    "committed",
    "restoring",
    "starting",
    "verifying",
    "open",
    "healing",
    "idle",
];

/// How far a recovery is: incarnation, attempt, place of the phase within the attempt. `ctrl` only
/// ever moves upwards in this order, so of several agents' views the greatest is the freshest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Progress {
    /// The incarnation.
    pub inc: u64,
    /// The attempt, which is never reset.
    pub attempt: u64,
    /// Index into the phases.
    pub place: usize,
}

/// Who leads, and under which fencing token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Its `ETCD_NAME`.
    pub name: String,
    /// Its epoch.
    pub epoch: u64,
}

/// One agent's document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status(pub Value);

impl Status {
    /// In lower case; empty if it does not say.
    pub fn phase(&self) -> String {
        self.0["phase"].as_str().unwrap_or_default().to_ascii_lowercase()
    }

    /// The incarnation; 0 before genesis.
    pub fn inc(&self) -> u64 {
        self.0["inc"].as_u64().unwrap_or(0)
    }

    /// The attempt; 0 before the first.
    pub fn attempt(&self) -> u64 {
        self.0["attempt"].as_u64().unwrap_or(0)
    }

    /// How far it is; a phase we do not know counts as the first.
    pub fn progress(&self) -> Progress {
        Progress { inc: self.inc(), attempt: self.attempt(), place: place(&self.phase()) }
    }

    /// Who leads.
    pub fn leader(&self) -> Option<Leader> {
        let leader = &self.0["leader"];
        Some(Leader { name: leader["name"].as_str()?.to_owned(), epoch: leader["epoch"].as_u64()? })
    }

    /// What the attempt is parked for, such as `min-members`.
    pub fn parked(&self) -> Option<String> {
        Some(text(&self.0["parked"])).filter(|why| !why.is_empty() && why != "false")
    }

    /// What the agent of this member voted last; `None`: nothing yet.
    pub fn vote_of(&self, name: &str) -> Option<String> {
        let mut members = self.0["members"].as_array()?.iter();
        let member = members.find(|member| member["name"].as_str() == Some(name))?;
        Some(member["vote"].as_str()?.to_owned())
    }

    /// The revision of the newest snapshot that this agent took.
    pub fn newest_snapshot(&self) -> Option<u64> {
        self.0["newest_snapshot"]["revision"].as_u64()
    }

    /// The codes of its reasons.
    pub fn codes(&self) -> Vec<String> {
        let notes = self.0["reasons"].as_array().map(Vec::as_slice).unwrap_or_default();
        notes.iter().filter_map(|note| Some(note["code"].as_str()?.to_owned())).collect()
    }

    /// The tally's verdict.
    pub fn verdict(&self) -> String {
        text(&self.0["verdict"])
    }

    /// The sentence that says what it waits for.
    pub fn waiting(&self) -> String {
        text(&self.0["waiting"])
    }

    /// What evidence is still missing, one text per slot.
    pub fn missing(&self) -> Vec<String> {
        self.0["missing"].as_array().into_iter().flatten().map(text).collect()
    }

    /// Revision of the snapshot that was restored, if it says.
    pub fn source_revision(&self) -> Option<u64> {
        self.0["source"]["revision"].as_u64()
    }
}

/// Where a phase stands within an attempt.
pub fn place(phase: &str) -> usize {
    PHASES.iter().position(|known| *known == phase).unwrap_or(0)
}

/// The phase at a place.
pub fn phase_at(place: usize) -> &'static str {
    PHASES.get(place).copied().unwrap_or("?")
}

/// Asks the agent behind a socket.
///
/// # Errors
/// When nobody listens, the agent stands still, or its answer is no JSON.
pub async fn ask(socket: &Path) -> Result<Status, Trouble> {
    match timeout(PATIENCE, exchange(socket)).await {
        Ok(answer) => answer,
        Err(_) => Err(Trouble(format!("{}: the agent stands still", socket.display()))),
    }
}

async fn exchange(socket: &Path) -> Result<Status, Trouble> {
    let at = |error: std::io::Error| Trouble::of(socket.display(), error);
    let mut stream = UnixStream::connect(socket).await.map_err(at)?;
    stream.write_all(b"{\"request\":\"status\"}\n").await.map_err(at)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await.map_err(at)?;
    let document = serde_json::from_str(&line).map_err(|e| Trouble::of(socket.display(), e))?;
    Ok(Status(document))
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ctrl_only_moves_upwards() {
        let walk = [(1, 0, "genesis"), (1, 0, "idle"), (1, 1, "fencing"), (1, 1, "aborted")];
        let on = [(1, 1, "idle"), (1, 2, "fencing"), (2, 2, "committed"), (2, 2, "starting")];
        let again = [(2, 3, "fencing"), (2, 3, "aborted"), (2, 3, "starting"), (2, 3, "idle")];
        let places: Vec<Progress> = [walk, on, again]
            .concat()
            .iter()
            .map(|(inc, attempt, phase)| {
                Status(json!({"inc": inc, "attempt": attempt, "phase": phase})).progress()
            })
            .collect();
        assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
    }

    #[test]
    fn nulls_and_absent_fields_say_nothing() {
        for document in [json!({}), json!({"leader": null, "parked": null, "missing": null})] {
            let status = Status(document);
            assert_eq!(status.leader(), None);
            assert_eq!(status.parked(), None);
            assert!(status.missing().is_empty() && status.waiting().is_empty());
        }
        assert_eq!(
            Status(json!({"parked": "min-members"})).parked().as_deref(),
            Some("min-members")
        );
    }
}
