//! **action** — one thing that can happen, and how a walkthrough says it.

use super::agent::Mood;

/// One thing that can happen. Machines are numbered: the seats' first ones, then those that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// An agent takes a turn.
    Turn(usize, Mood),
    /// An operator speaks to an agent.
    Say(usize, Word),
    /// What an agent asked for is done, and it hears so.
    Perform(usize, usize),
    /// It is done, and nobody hears of it.
    PerformUnheard(usize, usize),
    /// A write is applied, and a copy of it stays on its way.
    PerformTwice(usize, usize),
    /// A write is given up and stays on its way.
    GiveUp(usize, usize),
    /// A write that was on its way reaches the table.
    Land(usize),
    /// The agent ends.
    Crash(usize),
    /// The agent ends, and its write stays on its way.
    CrashLate(usize),
    /// Another agent process begins.
    StartAgent(usize),
    /// Something befalls a machine.
    Befall(Mishap),
    /// Members speak to each other, or to a client.
    Raft(Raft),
}

/// What befalls machines, and what service managers do on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mishap {
    /// etcd is killed.
    Kill(usize),
    /// The machine loses its power.
    PowerCut(usize),
    /// The data volume is emptied.
    Wipe(usize),
    /// The machine is terminated; whether its volume survives.
    Destroy(usize, bool),
    /// A new machine takes a seat's name.
    Replace(usize),
    /// A volume moves from a machine to another.
    MoveVolume(usize, usize),
    /// The root disk is lost.
    LoseRoot(usize),
    /// The data volume is not mounted any more.
    Unmount(usize),
    /// It is mounted again.
    Mount(usize),
    /// The service manager's gate is asked, and says yes.
    AskGate(usize),
    /// etcd is forked by the service manager.
    Fork(usize),
}

/// What goes on between members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Raft {
    /// A client's write reaches a leader.
    Put(usize),
    /// A leader's log reaches a follower, who acknowledges it.
    Append(usize, usize),
    /// A leader counts the acknowledgements it has.
    Commit(usize),
    /// A member wins an election.
    Elect(usize),
    /// The voters are changed by hand: this seat's is removed.
    Remove(usize, usize),
    /// A member that was away hears what the others have committed since.
    CatchUp(usize),
}

/// What an operator may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Word {
    /// The machine of this seat is gone for good.
    Attest(usize),
    /// Replace this seat's member, whatever it is like.
    Replace(usize),
    /// Roll back.
    Rollback,
    /// Begin nothing.
    Pause,
    /// Go on.
    Resume,
    /// Call the attempt off.
    CallOff,
}
