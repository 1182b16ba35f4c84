//! **boot** — may this machine's etcd start? The boot rule of protocol.md 1.4 in one place.
//!
//! Comes from what the machine holds and remembers and, where it could be read, the decision head.
//! Goes to the coordinator, which keeps etcd running while the stores are silent, and to
//! `reconfigure`, the gate that service managers ask. Neither may say "start" where the other says
//! no, so both ask here.
//!
//! Intuition: a machine whose own durable copy of `ran` covers its data, with no promise against
//! it, is outside every fence that was ever counted (Theorem (i)); it may start and ask nobody.
//! Every doubt is "not yet", never "start".

use crate::{
    cluster::Instance,
    mutant::{self, Mutant},
    observation::{Data, LogState, Memory, Ran},
    registry::{Ctrl, Phase},
};
use alloc::{format, string::String};

/// The gate's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// etcd may start.
    Start(String),
    /// Not yet, and why: the agent has to act first.
    Pending(String),
    /// A promise forbids it.
    Fenced(String),
}

/// What the stores say of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one lives for a moment")]
pub enum Table {
    /// They could not be read: a member with a durable copy of `ran` starts all the same.
    Unread,
    /// They say that no cluster was founded under this prefix.
    NotFounded,
    /// The decision head.
    Read(Ctrl),
}

/// How a member may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct May {
    /// The incarnation that its data is of.
    pub inc: u64,
    /// Only in quarantine: this machine does not know that clients may come in (boot rule 4).
    pub quarantined: bool,
}

/// The gate of service managers, which can't start etcd in quarantine: says "start" only where
/// it may serve clients at once and nothing has to be written before.
pub fn gate(me: &Instance, data: &Data, memory: &Memory, table: &Table) -> Gate {
    if is_untouched(data, memory) && *table == Table::NotFounded {
        return Gate::Start("Requorum has not adopted this etcd yet".into());
    }
    match may_start(me, data, memory, table) {
        Err(no) => no,
        Ok(May { inc, quarantined: true }) => {
            Gate::Pending(format!("incarnation {inc} is not open to clients yet"))
        }
        Ok(May { inc, quarantined: false }) => Gate::Start(format!(
            "this machine runs incarnation {inc}; no promise stands against it"
        )),
    }
}

/// Boot rules 1, 2 and 4, and what the table was heard to decide.
///
/// # Errors
/// Why not, or not yet.
pub fn may_start(me: &Instance, data: &Data, memory: &Memory, table: &Table) -> Result<May, Gate> {
    let inc = own_record(me, data, memory)?;
    let against = match table {
        Table::Read(ctrl) => decided_against(inc, ctrl),
        Table::Unread | Table::NotFounded => None,
    };
    match against {
        Some(decision) => Err(Gate::Pending(decision)),
        None => Ok(May { inc, quarantined: memory.opened < inc }),
    }
}

/// The incarnation whose member this machine's own record lets start, with no word from the stores.
fn own_record(me: &Instance, data: &Data, memory: &Memory) -> Result<u64, Gate> {
    let inc = incarnation(data, memory).ok_or_else(|| {
        Gate::Pending("this machine never ran a member that Requorum knows of".into())
    })?;
    if let Some(promise) = promise_against(inc, memory) {
        return Err(Gate::Fenced(promise));
    }
    if let Some(plan) = &data.swap {
        return Err(Gate::Pending(format!("the swap to plan {plan} was begun and not finished")));
    }
    match &data.log {
        LogState::Present { .. } => {}
        LogState::Missing => {
            let text = "this machine ran a member and its data dir is empty";
            return Err(Gate::Pending(text.into()));
        }
        LogState::Unreadable(why) => {
            return Err(Gate::Pending(format!("the member's log can't be read: {why}")));
        }
    }
    match &memory.ran {
        Some(ran) if covers(ran, me, inc, data) => Ok(inc),
        Some(_) | None => Err(Gate::Pending(format!(
            "no durable record says that this machine ran incarnation {inc} with this data"
        ))),
    }
}

/// Which incarnation the data in place is of, or what runs on a deleted directory, as far as this
/// machine alone can tell.
fn incarnation(data: &Data, memory: &Memory) -> Option<u64> {
    let noted = data.belongs.as_ref().map(|belongs| belongs.inc);
    noted.or_else(|| memory.ran.as_ref().map(|ran| ran.inc))
}

/// An etcd from before Requorum: its data bears no note of ours and this machine remembers
/// nothing. An old copy of such data looks the same once the cluster was adopted, so this counts
/// only where the stores say that it was not.
fn is_untouched(data: &Data, memory: &Memory) -> bool {
    data.belongs.is_none() && data.swap.is_none() && *memory == Memory::default()
}

/// Boot rule 1.
fn promise_against(inc: u64, memory: &Memory) -> Option<String> {
    if mutant::is(Mutant::BootIgnoresMarker) {
        return None;
    }
    if inc <= memory.retired {
        return Some(format!(
            "incarnation {} and older never run here again: they are over, or an operator attested \
             that this machine is gone",
            memory.retired
        ));
    }
    let marker = memory.marker.filter(|marker| inc <= marker.inc)?;
    Some(format!("this machine promised attempt {} not to run incarnation {inc}", marker.attempt))
}

/// What the decision head says against starting data of `inc`.
fn decided_against(inc: u64, ctrl: &Ctrl) -> Option<String> {
    if ctrl.inc > inc {
        return Some(format!("incarnation {} was committed; this data is of {inc}", ctrl.inc));
    }
    (ctrl.phase == Phase::Fencing)
        .then(|| format!("attempt {} is collecting promises not to run {inc}", ctrl.attempt))
}

/// Boot rule 2: the root disk's own copy of `ran` names this machine and this very data.
fn covers(ran: &Ran, me: &Instance, inc: u64, data: &Data) -> bool {
    let plan = data.belongs.as_ref().and_then(|belongs| belongs.plan.as_deref());
    let same_member =
        matches!(data.log, LogState::Present { member_id, .. } if member_id == ran.member_id);
    &ran.instance == me && ran.inc == inc && ran.plan == plan.unwrap_or_default() && same_member
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::{ClusterId, MemberId},
        observation::{Belongs, InAttempt},
    };
    use alloc::vec::Vec;

    fn me() -> Instance {
        Instance("i-1".into())
    }

    fn sound() -> (Data, Memory) {
        let data = Data {
            fs: Some("fs".into()),
            writable: true,
            log: LogState::Present { cluster_id: ClusterId(1), member_id: MemberId(2) },
            swap: None,
            restored: Vec::new(),
            belongs: Some(Belongs { inc: 3, plan: Some("abc".into()) }),
        };
        let ran = Ran {
            inc: 3,
            instance: me(),
            member_id: MemberId(2),
            plan: "abc".into(),
            fs: "fs".into(),
        };
        let memory = Memory { ran: Some(ran), opened: 3, retired: 2, ..Memory::default() };
        (data, memory)
    }

    fn idle(inc: u64, phase: Phase) -> Table {
        let seated = Ctrl::seated("uid".into(), Vec::new());
        Table::Read(Ctrl { inc, phase, attempt: 9, ..seated })
    }

    #[test]
    fn a_member_in_order_starts_with_and_without_the_table() {
        let (data, memory) = sound();
        for table in [Table::Unread, Table::NotFounded, idle(3, Phase::Idle)] {
            let gate = gate(&me(), &data, &memory, &table);
            assert!(matches!(gate, Gate::Start(_)), "{gate:?}");
        }
    }

    #[test]
    fn a_promise_fences_whatever_else_is_said() {
        let (data, memory) = sound();
        let marked = Memory { marker: Some(InAttempt { inc: 3, attempt: 9 }), ..memory.clone() };
        let older = Memory { marker: Some(InAttempt { inc: 2, attempt: 9 }), ..memory.clone() };
        let retired = Memory { retired: 3, ..memory };
        assert!(matches!(gate(&me(), &data, &marked, &Table::Unread), Gate::Fenced(_)));
        assert!(matches!(gate(&me(), &data, &retired, &Table::Unread), Gate::Fenced(_)));
        assert!(
            matches!(gate(&me(), &data, &older, &Table::Unread), Gate::Start(_)),
            "never of a higher one"
        );
    }

    #[test]
    fn every_doubt_is_not_yet() {
        let (data, memory) = sound();
        let other = LogState::Present { cluster_id: ClusterId(1), member_id: MemberId(9) };
        let unread = |data: Data| (data, memory.clone(), Table::Unread);
        let doubts = [
            unread(Data { log: LogState::Missing, ..data.clone() }),
            unread(Data { log: LogState::Unreadable("cut".into()), ..data.clone() }),
            unread(Data { log: other, ..data.clone() }),
            unread(Data { swap: Some("abc".into()), ..data.clone() }),
            unread(Data { belongs: Some(Belongs { inc: 4, plan: None }), ..data.clone() }),
            unread(Data { belongs: Some(Belongs { inc: 3, plan: None }), ..data.clone() }),
            (data.clone(), Memory { ran: None, ..memory.clone() }, Table::Unread),
            (data.clone(), Memory { opened: 2, ..memory.clone() }, Table::Unread),
            (data.clone(), memory.clone(), idle(4, Phase::Restoring)),
            (data.clone(), memory.clone(), idle(3, Phase::Fencing)),
            (Data { belongs: None, ..data }, Memory::default(), Table::Unread),
        ];
        for (data, memory, table) in doubts {
            let gate = gate(&me(), &data, &memory, &table);
            assert!(matches!(gate, Gate::Pending(_)), "{gate:?} for {data:?} {memory:?}");
        }
        let (data, memory) = sound();
        let clone = gate(&Instance("i-2".into()), &data, &memory, &Table::Unread);
        assert!(matches!(clone, Gate::Pending(_)), "a copied disk is another machine");
    }

    #[test]
    fn an_etcd_from_before_us_starts_only_if_the_stores_know_no_cluster() {
        let (data, _) = sound();
        let data = Data { belongs: None, ..data };
        let at = |table| gate(&me(), &data, &Memory::default(), &table);
        assert!(matches!(at(Table::NotFounded), Gate::Start(_)));
        assert!(matches!(at(Table::Unread), Gate::Pending(_)));
        assert!(matches!(at(idle(1, Phase::Idle)), Gate::Pending(_)));
    }
}
