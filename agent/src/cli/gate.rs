//! **gate** — may this machine's etcd start? The boot rule of protocol.md 1.4 as one function.
//!
//! Comes from the data dir, the durable memory and, if it could be read, the decision head. Goes to
//! `reconfigure`, which service managers ask. It only says "start" where the agent would start
//! etcd with its client URLs and nothing would have to be written before; every doubt is "not yet",
//! since the agent resolves it and the gate can't.

use protocol::{
    cluster::Instance,
    observation::{Data, LogState, Memory, Ran},
    registry::{Ctrl, Phase},
};

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
pub enum Table {
    /// They could not be read: a member with a durable copy of `ran` starts all the same.
    Unread,
    /// They say that no cluster was founded under this prefix.
    NotFounded,
    /// The decision head.
    Read(Box<Ctrl>),
}

/// Applies the boot rule to this machine.
pub fn gate(me: &Instance, data: &Data, memory: &Memory, table: &Table) -> Gate {
    if is_untouched(data, memory) && *table == Table::NotFounded {
        return Gate::Start("Requorum has not adopted this etcd yet".into());
    }
    let inc = data.belongs.as_ref().map(|belongs| belongs.inc);
    let Some(inc) = inc.or_else(|| memory.ran.as_ref().map(|ran| ran.inc)) else {
        return Gate::Pending("this machine never ran a member that Requorum knows of".into());
    };
    if let Some(promise) = promise_against(inc, memory) {
        return Gate::Fenced(promise);
    }
    if let Some(plan) = &data.swap {
        return Gate::Pending(format!("the swap to plan {plan} was begun and not finished"));
    }
    match &data.log {
        LogState::Present { .. } => {}
        LogState::Missing => {
            return Gate::Pending("this machine ran a member and its data dir is empty".into());
        }
        LogState::Unreadable(why) => {
            return Gate::Pending(format!("the member's log can't be read: {why}"));
        }
    }
    let against = match table {
        Table::Read(ctrl) => decided_against(inc, ctrl),
        Table::Unread | Table::NotFounded => None,
    };
    match (&memory.ran, against) {
        (_, Some(pending)) => Gate::Pending(pending),
        (Some(ran), None) if covers(ran, me, inc, data) => opened(inc, memory),
        (Some(_) | None, None) => Gate::Pending(format!(
            "no durable record says that this machine ran incarnation {inc} with this data"
        )),
    }
}

/// An etcd from before Requorum: its data bears no note of ours and this machine remembers
/// nothing. An old copy of such data looks the same once the cluster was adopted, so this counts
/// only where the stores say that it was not.
fn is_untouched(data: &Data, memory: &Memory) -> bool {
    data.belongs.is_none() && data.swap.is_none() && *memory == Memory::default()
}

/// Boot rule 1.
fn promise_against(inc: u64, memory: &Memory) -> Option<String> {
    if inc <= memory.retired {
        return Some(format!(
            "incarnation {inc} is over: {} and older never run here again",
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
    &ran.instance == me && ran.inc == inc && ran.plan == plan.unwrap_or_default()
}

/// Boot rule 4: before clients may come in only the agent starts etcd, in quarantine.
fn opened(inc: u64, memory: &Memory) -> Gate {
    if memory.opened < inc {
        return Gate::Pending(format!("incarnation {inc} is not open to clients yet"));
    }
    Gate::Start(format!("this machine runs incarnation {inc}; no promise stands against it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{
        cluster::{ClusterId, MemberId},
        observation::{Belongs, InAttempt},
    };

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
        Table::Read(Box::new(Ctrl { inc, phase, attempt: 9, ..seated }))
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
        let doubts = [
            (Data { log: LogState::Missing, ..data.clone() }, memory.clone(), Table::Unread),
            (
                Data { log: LogState::Unreadable("cut".into()), ..data.clone() },
                memory.clone(),
                Table::Unread,
            ),
            (Data { swap: Some("abc".into()), ..data.clone() }, memory.clone(), Table::Unread),
            (
                Data { belongs: Some(Belongs { inc: 4, plan: None }), ..data.clone() },
                memory.clone(),
                Table::Unread,
            ),
            (
                Data { belongs: Some(Belongs { inc: 3, plan: None }), ..data.clone() },
                memory.clone(),
                Table::Unread,
            ),
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
