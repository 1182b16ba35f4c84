//! **timeline** — the agents' own words, put in order: which phase when, and how long each took.
//!
//! Comes from the status sockets of all machines, asked ten times a second. Goes to the terminal
//! as it happens, to the scenarios as the freshest view, and to the report as figures. A phase
//! shorter than a glance may be missed; a figure is therefore "first seen at or beyond".

use super::status::{self, Leader, Progress, Status};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

const GLANCE: Duration = Duration::from_millis(100);

/// A line for the human who watches.
#[derive(Clone, Debug)]
pub enum Said {
    /// Worth keeping: a phase changed, a step of the drill was made.
    Line(String),
    /// Only for a terminal's last line.
    Live(String),
}

/// Where lines go; the binary alone prints.
pub type Tell = Arc<dyn Fn(Said) + Send + Sync>;

/// Something changed.
#[derive(Clone, Debug)]
pub struct Change {
    /// When it was seen.
    pub at: Instant,
    /// How far the recovery was.
    pub progress: Progress,
    /// Who led.
    pub leader: Option<Leader>,
    /// What it was parked for.
    pub parked: Option<String>,
}

/// Seconds from the cut to each milestone; `None`: it was not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// An agent's verdict is `quorum-lost`, or somebody leads for it, or the phase left idle.
    pub detect: Option<f64>,
    /// A leader with a newer epoch than at the cut.
    pub elect: Option<f64>,
    /// COMMITTED: the old incarnation is fenced for good.
    pub fence: Option<f64>,
    /// OPEN: restored and verified.
    pub restore: Option<f64>,
    /// The first write sent after the cut was acknowledged.
    pub first_write: Option<f64>,
}

#[derive(Debug)]
struct Track {
    begun: Instant,
    cut: Option<(Instant, Progress, u64)>,
    latest: Option<Status>,
    leader: Option<Leader>,
    suspected: Option<Instant>,
    source: Option<u64>,
    changes: Vec<Change>,
}

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Timeline {
    track: Arc<Mutex<Track>>,
    task: JoinHandle<()>,
}

impl Timeline {
    /// Begins to watch these sockets.
    pub fn follow(sockets: Vec<PathBuf>, tell: Tell) -> Self {
        let track = Arc::new(Mutex::new(Track {
            begun: Instant::now(),
            cut: None,
            latest: None,
            leader: None,
            suspected: None,
            source: None,
            changes: Vec::new(),
        }));
        let task = tokio::spawn(watch(sockets, Arc::clone(&track), tell));
        Self { track, task }
    }

    /// From now on all figures are counted from here; the last cut counts.
    pub fn cut(&self) -> Instant {
        let mut track = lock(&self.track);
        let now = Instant::now();
        let progress = track.latest.as_ref().map(Status::progress).unwrap_or_default();
        let epoch = track.leader.as_ref().map_or(0, |leader| leader.epoch);
        track.cut = Some((now, progress, epoch));
        track.suspected = None;
        now
    }

    /// The freshest status seen so far; `None`: no agent has answered yet.
    pub fn latest(&self) -> Option<Status> {
        lock(&self.track).latest.clone()
    }

    /// The leader with the highest epoch seen so far.
    pub fn leader(&self) -> Option<Leader> {
        lock(&self.track).leader.clone()
    }

    /// Revision of the snapshot that the last restore was made from, if an agent said so.
    pub fn source_revision(&self) -> Option<u64> {
        lock(&self.track).source
    }

    /// All changes so far.
    pub fn changes(&self) -> Vec<Change> {
        lock(&self.track).changes.clone()
    }

    /// The figures of the last cut.
    pub fn figures(&self, first_write: impl Fn(Instant) -> Option<Instant>) -> Figures {
        let track = lock(&self.track);
        let Some((cut, before, epoch)) = track.cut else { return Figures::default() };
        let first = |is: &dyn Fn(&Change) -> bool| {
            let found = track.changes.iter().find(|change| change.at >= cut && is(change))?;
            Some(found.at.duration_since(cut).as_secs_f64())
        };
        let elected = |c: &Change| c.leader.as_ref().is_some_and(|leader| leader.epoch > epoch);
        let open = status::place("open");
        Figures {
            detect: track
                .suspected
                .map(|at| at.duration_since(cut).as_secs_f64())
                .or_else(|| first(&|c| elected(c) || c.progress > before)),
            elect: first(&elected),
            fence: first(&|c| c.progress.inc > before.inc),
            restore: first(&|c| c.progress.inc > before.inc && c.progress.place >= open),
            first_write: first_write(cut).map(|at| at.duration_since(cut).as_secs_f64()),
        }
    }
}

impl Drop for Timeline {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(sockets: Vec<PathBuf>, track: Arc<Mutex<Track>>, tell: Tell) {
    loop {
        for socket in &sockets {
            // An agent that is dead or stands still has nothing to say; its silence is no status.
            if let Ok(status) = status::ask(socket).await {
                take(&track, status, &tell);
            }
        }
        tell(Said::Live(live(&track)));
        tokio::time::sleep(GLANCE).await;
    }
}

fn take(track: &Mutex<Track>, status: Status, tell: &Tell) {
    let mut track = lock(track);
    let progress = status.progress();
    suspect(&mut track, &status, tell);
    let before = track.changes.last().map(|c| (c.progress, c.leader.clone(), c.parked.clone()));
    if track.latest.as_ref().is_some_and(|latest| latest.progress() > progress) {
        return; // an older view
    }
    if let Some(leader) = status.leader()
        && track.leader.as_ref().is_none_or(|known| known.epoch < leader.epoch)
    {
        track.leader = Some(leader);
    }
    track.source = status.source_revision().or(track.source);
    let now = (progress, track.leader.clone(), status.parked());
    track.latest = Some(status);
    if before.as_ref() == Some(&now) {
        return;
    }
    let (progress, leader, parked) = now;
    let change = Change { at: Instant::now(), progress, leader, parked };
    let since = track.cut.map_or(track.begun, |(cut, _, _)| cut);
    tell(Said::Line(describe(&change, change.at.duration_since(since))));
    track.changes.push(change);
}

/// The first agent to say so counts, however little the others have seen yet.
fn suspect(track: &mut Track, status: &Status, tell: &Tell) {
    let Some((cut, _, _)) = track.cut else { return };
    if track.suspected.is_none() && status.verdict() == "quorum-lost" {
        track.suspected = Some(Instant::now());
        let seconds = cut.elapsed().as_secs_f64();
        tell(Said::Line(format!("{seconds:7.1} s  QUORUM LOST, says an agent")));
    }
}

fn describe(change: &Change, after: Duration) -> String {
    let Progress { inc, attempt, place } = change.progress;
    let phase = status::phase_at(place).to_ascii_uppercase();
    let leader = change.leader.as_ref().map_or_else(
        || "no leader".to_owned(),
        |leader| format!("leader {} (epoch {})", leader.name, leader.epoch),
    );
    let parked = change.parked.as_ref().map(|why| format!(", parked: {why}")).unwrap_or_default();
    let seconds = after.as_secs_f64();
    format!("{seconds:7.1} s  {phase:<10}  inc {inc}  attempt {attempt}  {leader}{parked}")
}

fn live(track: &Mutex<Track>) -> String {
    let track = lock(track);
    let since = track.cut.map_or(track.begun, |(cut, _, _)| cut).elapsed().as_secs_f64();
    let (phase, waiting) = track
        .latest
        .as_ref()
        .map_or_else(Default::default, |s| (s.phase().to_ascii_uppercase(), s.waiting()));
    format!("{since:7.1} s  {phase}  {waiting}")
}

/// A panic while this is held would be a bug of the drill; what was seen up to then is true.
fn lock(track: &Mutex<Track>) -> MutexGuard<'_, Track> {
    track.lock().unwrap_or_else(PoisonError::into_inner)
}
