//! **run** — the only loop: wait, let the core decide, perform, tell.

use super::{
    Hands, Ports, Site,
    perform::{For, perform},
};
use crate::ports::heart::Heart;
use protocol::{
    coordinator::{Coordinator, Policy, Status, Told, Turn},
    effect::{Effect, Lane},
    event::{Command, Event, Outcome, Ticket},
    explanation::{Code, Note},
    observation::Identity,
    time::Moment,
};
use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

/// What the agent may be asked from outside its loop.
pub enum Ask {
    /// What do you see?
    Status(oneshot::Sender<View>),
    /// The operator's word; it is answered when it is done.
    Tell(Command, oneshot::Sender<Told>),
}

/// What the agent sees, and why it does what it does.
#[derive(Clone, Debug)]
pub struct View {
    /// The scene, or why there is none.
    pub status: Result<Status, Note>,
    /// The last turn's reasons, the weightiest first.
    pub notes: Vec<Note>,
}

struct Answer {
    lane: Lane,
    asked: Moment,
    outcome: Outcome,
}

/// One agent's life.
pub struct Agent {
    core: Coordinator,
    hands: Hands,
    identity: Identity,
    notes: Vec<Note>,
    /// Who waits for the answer to a word, and how many words were said.
    askers: BTreeMap<Ticket, oneshot::Sender<Told>>,
    words: u64,
    /// The last sentence logged for each code.
    spoken: BTreeMap<Code, Cow<'static, str>>,
    answers: (mpsc::Sender<Answer>, mpsc::Receiver<Answer>),
    /// Effects under way; they end with the agent.
    effects: JoinSet<()>,
    /// Who is told of each turn.
    heart: Option<Arc<dyn Heart>>,
}

impl Agent {
    /// An agent that has not looked around yet.
    pub fn new(policy: Policy, identity: Identity, ports: Ports, site: Site) -> Self {
        Self::with(Coordinator::new(policy, identity.clone()), identity, ports, site)
    }

    /// One that only looks, tells, and puts an operator's word on record, where no agent runs.
    pub fn observer(policy: Policy, identity: Identity, ports: Ports, site: Site) -> Self {
        Self::with(Coordinator::observer(policy, identity.clone()), identity, ports, site)
    }

    fn with(core: Coordinator, identity: Identity, ports: Ports, site: Site) -> Self {
        let hands = Hands::new(ports, site);
        Self {
            core,
            hands,
            identity,
            notes: Vec::new(),
            askers: BTreeMap::new(),
            words: 0,
            spoken: BTreeMap::new(),
            answers: mpsc::channel(64),
            effects: JoinSet::new(),
            heart: None,
        }
    }

    /// The same, watched.
    pub fn watched(self, heart: Arc<dyn Heart>) -> Self {
        Self { heart: Some(heart), ..self }
    }

    /// Runs until `stop` comes. etcd goes on running.
    pub async fn run(mut self, mut asks: mpsc::Receiver<Ask>, mut stop: oneshot::Receiver<()>) {
        let mut turn = self.core.handle(self.now(), Event::Tick);
        loop {
            self.hold().await;
            self.act(&turn);
            if let Some(heart) = &self.heart {
                heart.beat();
            }
            let rest = Duration::from_millis(turn.wake_at.since(self.now()).0.max(1));
            let event = tokio::select! {
                biased;
                _ = &mut stop => return,
                Some(answer) = self.answers.1.recv() => {
                    Event::Done { lane: answer.lane, asked: answer.asked, outcome: answer.outcome }
                }
                Some(ask) = asks.recv() => {
                    turn = self.answer(ask);
                    continue;
                }
                () = tokio::time::sleep(rest) => Event::Tick,
            };
            turn = self.core.handle(self.now(), event);
        }
    }

    fn now(&self) -> Moment {
        self.hands.ports.clock.now()
    }

    fn act(&mut self, turn: &Turn) {
        self.speak(&turn.notes);
        for (ticket, told) in &turn.told {
            if let Some(asker) = self.askers.remove(ticket) {
                drop(asker.send(told.clone())); // the asker may have gone
            }
        }
        let slot = self.core.status(self.now()).ok().and_then(|status| {
            status
                .members
                .iter()
                .find(|member| member.name == self.identity.name)
                .map(|member| member.slot)
        });
        let whose = For { uid: self.core.uid().map(ToOwned::to_owned), slot };
        for effect in &turn.effects {
            self.begin(effect.clone(), whose.clone());
        }
    }

    fn begin(&mut self, effect: Effect, whose: For) {
        let (hands, answers, asked) = (self.hands.clone(), self.answers.0.clone(), self.now());
        while self.effects.try_join_next().is_some() {} // each has told what came of it
        self.effects.spawn(async move {
            tracing::debug!(effect = effect.name(), "begins");
            let outcome = perform(&hands, &whose, &effect).await;
            // the loop is gone only when the agent ends
            drop(answers.send(Answer { lane: effect.lane(), asked, outcome }).await);
        });
    }

    /// One line for each change of mind. That a read is under way is no reason to show anybody.
    fn speak(&mut self, notes: &[Note]) {
        let telling: Vec<Note> =
            notes.iter().filter(|note| note.code != Code::Blind).cloned().collect();
        for note in &telling {
            let before = self.spoken.insert(note.code, note.text.clone());
            if before.as_ref() != Some(&note.text) {
                tracing::info!(reason = note.code.name(), "{}", note.text);
            }
        }
        if !telling.is_empty() {
            self.notes = telling;
        }
    }

    fn answer(&mut self, ask: Ask) -> Turn {
        match ask {
            Ask::Status(reply) => {
                let view = View { status: self.core.status(self.now()), notes: self.notes.clone() };
                drop(reply.send(view)); // the asker may have gone
                self.core.handle(self.now(), Event::Tick)
            }
            Ask::Tell(command, reply) => {
                self.words += 1;
                let ticket = Ticket(self.words);
                self.askers.insert(ticket, reply);
                self.core.handle(self.now(), Event::Operator(ticket, command))
            }
        }
    }

    /// A drill's hold point: the agent that leads in this phase stops here for ever, before it does
    /// anything about it.
    async fn hold(&self) {
        let Some(point) = &self.hands.site.hold else { return };
        let Ok(status) = self.core.status(self.now()) else { return };
        // a founding passes the same phases; it is no attempt
        if status.leading && status.attempt > 0 && status.phase.name() == point {
            let file = self.hands.site.state_dir.join("hold");
            if let Err(error) = std::fs::write(&file, format!("hold {point}\n")) {
                tracing::error!(%error, "the hold file can't be written");
            }
            tracing::warn!(point, "held, as REQUORUM_HOLD asks");
            std::future::pending::<()>().await;
        }
    }
}
