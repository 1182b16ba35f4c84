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
    effect::Start,
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

/// The gate of service managers where nobody asked the agent: says "start" only where etcd may serve
/// clients at once and nothing has to be written before.
pub fn gate(me: &Instance, data: &Data, memory: &Memory, table: &Table) -> Gate {
    if is_untouched(data, memory) && *table == Table::NotFounded {
        return Gate::Start("Requorum has not adopted this etcd yet".into());
    }
    match may_start(me, data, memory, table) {
        Err(Gate::Fenced(promise)) if is_taken_back(data, memory, table) => Gate::Pending(format!(
            "{promise}; the agent starts etcd again once the restore is done or called off"
        )),
        Err(no) => no,
        Ok(May { inc, quarantined: true }) => {
            Gate::Pending(format!("incarnation {inc} is not open to clients yet"))
        }
        Ok(_) if matches!(table, Table::Read(ctrl) if ctrl.request.is_some()) => Gate::Pending(
            "a restore was asked for: the agents start etcd once it is done or `requorum abort` called it off"
                .into(),
        ),
        Ok(May { inc, quarantined: false }) => Gate::Start(format!(
            "this machine runs incarnation {inc}; no promise stands against it"
        )),
    }
}

/// Whether the agent ends a promise by itself: with the attempt that it was made to, or because another
/// incarnation was committed. Not where an operator attested that this machine is gone.
fn is_taken_back(data: &Data, memory: &Memory, table: &Table) -> bool {
    let (Table::Read(ctrl), Some(inc)) = (table, incarnation(data, memory)) else { return false };
    ctrl.inc > inc || inc > memory.retired
}

/// The gate where this machine's own agent starts etcd: its core has decided, perhaps on a quarantine or on
/// an empty data dir, so only what may have changed since counts. A promise made since, another volume, a
/// swap that is under way, a permit that outlived its agent.
pub fn permitted(me: &Instance, data: &Data, memory: &Memory, start: &Start) -> Gate {
    let member_id = start.member.member_id;
    let mine = memory.ran.as_ref().filter(|ran| &ran.instance == me && ran.member_id == member_id);
    let Some(ran) = mine else {
        let text = format!("no durable record says that this machine runs member {member_id}");
        return Gate::Pending(text);
    };
    if let Some(promise) = promise_against(ran.inc, memory) {
        return Gate::Fenced(promise);
    }
    if let Some(plan) = &data.swap {
        return Gate::Pending(format!("the swap to plan {plan} was begun and not finished"));
    }
    match &data.log {
        LogState::Present { cluster_id, member_id } if start.member.is(*cluster_id, *member_id) => {
            Gate::Start(format!("the agent starts its member of incarnation {}", ran.inc))
        }
        LogState::Missing if start.join.is_some() => {
            Gate::Start(format!("the agent begins a member of incarnation {}", ran.inc))
        }
        LogState::Present { member_id, .. } => {
            Gate::Pending(format!("the data dir holds member {member_id}, not the agent's"))
        }
        LogState::Missing => Gate::Pending("the data dir is empty".into()),
        LogState::Unreadable(why) => {
            Gate::Pending(format!("the member's log can't be read: {why}"))
        }
    }
}

/// Boot rules 1, 2 and 4, and what the table was heard to decide.
///
/// # Errors
/// Why not, or not yet.
pub fn may_start(me: &Instance, data: &Data, memory: &Memory, table: &Table) -> Result<May, Gate> {
    let inc = own_record(me, data, memory)?;
    let against = match table {
        Table::Read(ctrl) => decided_against(inc, data, memory, ctrl),
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
fn decided_against(inc: u64, data: &Data, memory: &Memory, ctrl: &Ctrl) -> Option<String> {
    if ctrl.inc > inc {
        return Some(format!("incarnation {} was committed; this data is of {inc}", ctrl.inc));
    }
    if ctrl.phase == Phase::Fencing {
        return Some(format!("attempt {} is collecting promises not to run {inc}", ctrl.attempt));
    }
    let held = data.log.owner().map(|(_, member_id)| member_id);
    let refilled =
        ctrl.op.as_ref().is_some_and(|op| Some(op.slot) == memory.slot && op.added != held);
    refilled.then(|| "its seat is being refilled with a new member".into())
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
        cluster::{ClusterId, MemberId, Slot},
        effect::{Expected, Join},
        observation::{Belongs, InAttempt},
        registry::{Operation, Request, Stage},
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
        for (memory, table) in
            [(&marked, idle(3, Phase::Fencing)), (&retired, idle(4, Phase::Restoring))]
        {
            let gate = gate(&me(), &data, memory, &table);
            assert!(matches!(gate, Gate::Pending(_)), "its agent takes it back: {gate:?}");
        }
        let attested = gate(&me(), &data, &retired, &idle(3, Phase::Idle));
        assert!(matches!(attested, Gate::Fenced(_)), "{attested:?}");
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
        let seated = Memory { slot: Some(Slot(1)), ..memory.clone() };
        let refilling = |added| {
            let Table::Read(ctrl) = idle(3, Phase::Idle) else { unreachable!("it was read") };
            let op = Operation {
                slot: Slot(1),
                removed: None,
                added,
                stage: Stage::Added,
                elsewhere: false,
                because: String::new(),
            };
            Table::Read(Ctrl { op: Some(op), ..ctrl })
        };
        let Table::Read(ctrl) = idle(3, Phase::Idle) else { unreachable!("it was read") };
        let request = Request {
            rollback: true,
            source: None,
            scope: Vec::new(),
            by: "a".into(),
            because: "a drill".into(),
            attempt: None,
        };
        let asked = Table::Read(Ctrl { request: Some(request), ..ctrl });
        let learner = gate(&me(), &data, &seated, &refilling(Some(MemberId(2))));
        assert!(matches!(learner, Gate::Start(_)), "it is the new member: {learner:?}");
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
            (Data { belongs: None, ..data.clone() }, Memory::default(), Table::Unread),
            (data.clone(), seated.clone(), refilling(Some(MemberId(9)))),
            (data, memory.clone(), asked),
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
    fn a_permit_starts_what_the_agent_meant_and_nothing_else() {
        let (data, memory) = sound();
        let member = Expected { member_id: MemberId(2), cluster_id: Some(ClusterId(1)) };
        let with_data = Start { quarantined: true, member, join: None };
        let join =
            Join { initial_cluster: "a=http://a:1".into(), token: "t".into(), existing: false };
        let empty = Start { join: Some(join), ..with_data.clone() };
        let unopened = Memory { opened: 2, ..memory.clone() };
        let missing = Data { log: LogState::Missing, ..data.clone() };
        let other = LogState::Present { cluster_id: ClusterId(1), member_id: MemberId(9) };
        let says =
            |data: &Data, memory: &Memory, start: &Start| permitted(&me(), data, memory, start);
        for (data, memory, start) in [
            (&data, &memory, &with_data),
            (&data, &unopened, &with_data),
            (&missing, &memory, &empty),
        ] {
            assert!(matches!(says(data, memory, start), Gate::Start(_)), "{data:?} {start:?}");
        }
        let refused = [
            (missing, memory.clone(), with_data.clone()),
            (Data { log: other, ..data.clone() }, memory.clone(), with_data.clone()),
            (Data { swap: Some("abc".into()), ..data.clone() }, memory.clone(), with_data.clone()),
            (
                Data { log: LogState::Unreadable("cut".into()), ..data.clone() },
                memory.clone(),
                empty,
            ),
            (data.clone(), Memory { ran: None, ..memory.clone() }, with_data.clone()),
        ];
        for (data, memory, start) in refused {
            assert!(matches!(says(&data, &memory, &start), Gate::Pending(_)), "{data:?} {start:?}");
        }
        let marked = Memory { marker: Some(InAttempt { inc: 3, attempt: 9 }), ..memory.clone() };
        for memory in [marked, Memory { retired: 3, ..memory.clone() }] {
            assert!(matches!(says(&data, &memory, &with_data), Gate::Fenced(_)), "{memory:?}");
        }
        let clone = permitted(&Instance("i-2".into()), &data, &memory, &with_data);
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
