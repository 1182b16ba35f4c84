//! **scenarios** — the stories a drill can play, one file each.
//!
//! Comes from a name on the command line. Goes to a report. A name may have variants
//! (`all-disks-lost:deleted-directory`); the bare name plays all of them, each on its own cluster.

mod stage;
mod disks;
mod evidence;
mod leader_killed;
mod lease;
mod no_restore;
mod snapshots;
mod damage;
mod sealed;
mod store_down;
mod twice;

use super::{cluster::Options, report::Report, timeline::Tell, trouble::Trouble};
use stage::Stage;

/// How disks are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disks {
    /// etcd is killed, the data volume emptied.
    Wiped,
    /// The agent's root state as well.
    WithRootState,
    /// The data is deleted under a running etcd, which acknowledges on until it is stopped.
    DeletedDirectory,
}

/// What brings a cluster back that lost machines without evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Empty machines take the seats.
    Replacements,
    /// `minMembers: 1`.
    MinMembersOne,
}

/// What befalls snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snapshots {
    /// All disks are lost, and the newest snapshot is the end of a chain.
    Chain,
    /// The same, sealed for whom they are meant.
    Sealed,
    /// The newest snapshots are damaged in the bucket.
    Damaged,
    /// Most keys are gone from the newest ones.
    Doubtful,
}

/// A story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// A majority killed and wiped, a survivor alive.
    QuorumLost {
        /// The load rests for a heartbeat before the cut.
        rested: bool,
    },
    /// All wiped.
    AllDisksLost(Disks),
    /// One wiped.
    OneMemberLost,
    /// All etcds killed, disks intact.
    AllKilled {
        /// The machines lose power while neither store can be reached.
        stores_silent: bool,
    },
    /// The leading agent killed in a phase.
    LeaderKilled(&'static str),
    /// A majority gone with their agents.
    NoEvidence(After),
    /// Wiped machines while another reboots.
    Reboot,
    /// Losses during HEALING and right after OPEN.
    Twice,
    /// An etcd lease ends between restore and OPEN.
    ShortLease,
    /// S3 unreachable for the whole outage.
    S3Down,
    /// All wiped, and the newest snapshots are not as simple as a file.
    Snapshots(Snapshots),
}

/// Every story, quick ones first.
pub const ALL: [Scenario; 26] = [
    Scenario::QuorumLost { rested: false },
    Scenario::QuorumLost { rested: true },
    Scenario::OneMemberLost,
    Scenario::AllKilled { stores_silent: false },
    Scenario::AllKilled { stores_silent: true },
    Scenario::AllDisksLost(Disks::Wiped),
    Scenario::AllDisksLost(Disks::WithRootState),
    Scenario::AllDisksLost(Disks::DeletedDirectory),
    Scenario::Snapshots(Snapshots::Chain),
    Scenario::Snapshots(Snapshots::Sealed),
    Scenario::Snapshots(Snapshots::Damaged),
    Scenario::Snapshots(Snapshots::Doubtful),
    Scenario::Reboot,
    Scenario::Twice,
    Scenario::ShortLease,
    Scenario::S3Down,
    Scenario::NoEvidence(After::Replacements),
    Scenario::NoEvidence(After::MinMembersOne),
    Scenario::LeaderKilled("fencing"),
    Scenario::LeaderKilled("committed"),
    Scenario::LeaderKilled("restoring"),
    Scenario::LeaderKilled("starting"),
    Scenario::LeaderKilled("verifying"),
    Scenario::LeaderKilled("open"),
    Scenario::LeaderKilled("healing"),
    Scenario::LeaderKilled("aborted"),
];

impl Scenario {
    /// Name and variant, as the command line takes them.
    pub fn name(self) -> String {
        match self {
            Self::QuorumLost { rested: false } => "quorum-lost".into(),
            Self::QuorumLost { rested: true } => "quorum-lost:rested".into(),
            Self::AllDisksLost(Disks::Wiped) => "all-disks-lost".into(),
            Self::AllDisksLost(Disks::WithRootState) => "all-disks-lost:root-state".into(),
            Self::AllDisksLost(Disks::DeletedDirectory) => {
                "all-disks-lost:deleted-directory".into()
            }
            Self::OneMemberLost => "one-member-lost".into(),
            Self::AllKilled { stores_silent: false } => "all-killed".into(),
            Self::AllKilled { stores_silent: true } => "all-killed:stores-silent".into(),
            Self::LeaderKilled(point) => format!("leader-killed:{point}"),
            Self::NoEvidence(After::Replacements) => "no-evidence:replacements".into(),
            Self::NoEvidence(After::MinMembersOne) => "no-evidence:min-members-1".into(),
            Self::Reboot => "reboot".into(),
            Self::Twice => "twice".into(),
            Self::ShortLease => "short-lease".into(),
            Self::S3Down => "s3-down".into(),
            Self::Snapshots(Snapshots::Chain) => "snapshots:chain".into(),
            Self::Snapshots(Snapshots::Sealed) => "snapshots:sealed".into(),
            Self::Snapshots(Snapshots::Damaged) => "snapshots:damaged".into(),
            Self::Snapshots(Snapshots::Doubtful) => "snapshots:doubtful".into(),
        }
    }

    /// What it shows.
    pub const fn shows(self) -> &'static str {
        match self {
            Self::QuorumLost { rested: false } => {
                "a majority killed under load and wiped; all that a survivor knew is kept"
            }
            Self::QuorumLost { rested: true } => {
                "a majority killed and wiped after the load rested for a heartbeat; nothing is lost"
            }
            Self::AllDisksLost(Disks::Wiped) => {
                "all wiped; restored from the newest S3 snapshot, lost is exactly what came after"
            }
            Self::AllDisksLost(Disks::WithRootState) => {
                "all wiped, the agents' root state too; restored from the newest S3 snapshot"
            }
            Self::AllDisksLost(Disks::DeletedDirectory) => {
                "data deleted under running etcds, which acknowledge on until they are stopped"
            }
            Self::OneMemberLost => "one wiped; replaced without a restore, nothing is lost",
            Self::AllKilled { stores_silent: false } => {
                "all etcds killed, disks intact; restarted without a restore"
            }
            Self::AllKilled { stores_silent: true } => {
                "a power cut while S3 and DynamoDB are silent; etcd comes back all the same"
            }
            Self::LeaderKilled(_) => {
                "the leading agent is killed in this phase; another leads on to the end"
            }
            Self::NoEvidence(After::Replacements) => {
                "a majority gone with their agents; attested, then replaced by empty machines"
            }
            Self::NoEvidence(After::MinMembersOne) => {
                "a majority gone with their agents; attested, restored at once with minMembers 1"
            }
            Self::Reboot => {
                "a minority wiped while one machine reboots; it is waited for, nothing is restored"
            }
            Self::Twice => "the quorum is lost again during HEALING and right after OPEN",
            Self::ShortLease => "an etcd lease ends between restore and OPEN; no loop",
            Self::S3Down => "S3 unreachable for the whole outage; nothing is emptied meanwhile",
            Self::Snapshots(Snapshots::Chain) => {
                "all wiped; restored from a base and the packs that are laid over it"
            }
            Self::Snapshots(Snapshots::Sealed) => {
                "nothing in the bucket is readable without the key; all wiped, and restored with it"
            }
            Self::Snapshots(Snapshots::Damaged) => {
                "each damage to a snapshot is named; all wiped, the next older sound one is restored"
            }
            Self::Snapshots(Snapshots::Doubtful) => {
                "most keys are gone from the newest snapshots; all wiped, an operator is asked"
            }
        }
    }

    /// What the agents' environment needs for it.
    fn prepare(self, options: &mut Options) {
        options.hold = match self {
            Self::LeaderKilled(point) => Some(point),
            Self::ShortLease => Some("verifying"),
            Self::Twice => Some(twice::FIRST),
            Self::QuorumLost { .. }
            | Self::AllDisksLost(_)
            | Self::OneMemberLost
            | Self::AllKilled { .. }
            | Self::NoEvidence(_)
            | Self::Reboot
            | Self::S3Down
            | Self::Snapshots(_) => None,
        };
        if matches!(self, Self::Snapshots(_)) {
            options.settings = snapshots::SETTINGS;
            options.sealed = self == Self::Snapshots(Snapshots::Sealed);
        }
        if self == Self::NoEvidence(After::MinMembersOne) {
            options.min_members = Some(1);
        }
    }

    async fn play(self, stage: &mut Stage) -> Result<(), Trouble> {
        match self {
            Self::QuorumLost { rested } => disks::quorum_lost(stage, rested).await,
            Self::AllDisksLost(disks) => disks::all_lost(stage, disks).await,
            Self::OneMemberLost => no_restore::one_member_lost(stage).await,
            Self::AllKilled { stores_silent: false } => no_restore::all_killed(stage).await,
            Self::AllKilled { stores_silent: true } => no_restore::stores_silent(stage).await,
            Self::Reboot => no_restore::reboot(stage).await,
            Self::LeaderKilled(point) => leader_killed::play(stage, point).await,
            Self::NoEvidence(after) => evidence::play(stage, after).await,
            Self::Twice => twice::play(stage).await,
            Self::ShortLease => lease::play(stage).await,
            Self::S3Down => store_down::play(stage).await,
            Self::Snapshots(what) => snapshots::play(stage, what).await,
        }
    }
}

/// The stories that a name on the command line means.
///
/// # Errors
/// When there is no such name; says which there are.
pub fn named(name: &str) -> Result<Vec<Scenario>, Trouble> {
    let whole = format!("{name}:");
    let found: Vec<Scenario> = ALL
        .into_iter()
        .filter(|scenario| scenario.name() == name || scenario.name().starts_with(&whole))
        .collect();
    if found.is_empty() {
        let known: Vec<String> = ALL.iter().map(|scenario| scenario.name()).collect();
        return Err(Trouble(format!("no drill is called {name}; there are: {}", known.join(", "))));
    }
    Ok(found)
}

/// Plays one story on its own cluster, which has ended when this returns or is dropped.
pub async fn run(scenario: Scenario, options: &Options, tell: Tell) -> Report {
    let mut options = options.clone();
    scenario.prepare(&mut options);
    let (name, shows) = (scenario.name(), scenario.shows());
    let mut stage = match Stage::open(&options, tell).await {
        Ok(stage) => stage,
        Err(trouble) => return unopened(&name, shows, &options, &trouble),
    };
    let played = scenario.play(&mut stage).await;
    let seen = played.as_ref().map_or_else(ToString::to_string, |()| "it was".to_owned());
    stage.checks.note("the story was played to its end", played.is_ok(), seen);
    stage.report(&name, shows, &options)
}

fn unopened(name: &str, shows: &str, options: &Options, trouble: &Trouble) -> Report {
    let mut report = Report::empty(name.to_owned(), shows, options);
    report.checks.note("a healthy cluster came up", false, trouble.to_string());
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_all_its_variants() {
        assert_eq!(named("leader-killed").expect("known").len(), 8);
        assert_eq!(named("all-disks-lost").expect("known").len(), 3);
        assert_eq!(named("all-disks-lost:root-state").expect("known").len(), 1);
        assert!(named("quorum").is_err(), "no name is guessed");
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<String> = ALL.iter().map(|scenario| scenario.name()).collect();
        names.sort();
        assert!(names.windows(2).all(|two| two[0] != two[1]), "{names:?}");
    }
}
