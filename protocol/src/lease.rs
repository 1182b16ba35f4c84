//! **lease** — who may lead, judged without any clock but our own.
//!
//! Comes from `ctrl.lease`, read again and again. Goes to the coordinator's `leading`.
//!
//! A watcher may take the lease over once it saw the same `rvn` for ttl + margin, with no gap in
//! its reading. A holder counts from *before* it sent its last renewal and stops acting at half
//! the ttl, so the two can't overlap by more than the pauses that fencing tokens are for
//! (protocol.md 1.6).

use crate::{
    cluster::Nonce,
    limits::Timers,
    registry::{Ctrl, Lease},
    time::{Moment, Span},
};
use alloc::string::String;

/// What a watcher has seen of the lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Watch {
    seen: Option<Seen>,
    held: Option<(u64, Moment)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Seen {
    rvn: Option<String>,
    since: Moment,
    read_at: Moment,
}

impl Watch {
    /// Takes one read of `ctrl`, asked and answered at these moments.
    pub fn record(&mut self, answered: Moment, lease: Option<&Lease>, timers: &Timers) {
        let rvn = lease.map(|lease| lease.rvn.clone());
        let since = match &self.seen {
            Some(seen) if seen.rvn == rvn && answered.since(seen.read_at) <= timers.gap => {
                seen.since
            }
            Some(_) | None => answered,
        };
        self.seen = Some(Seen { rvn, since, read_at: answered });
    }

    /// Notes a lease write of ours that was applied: it counts from when it was asked for.
    pub fn won(&mut self, asked: Moment, epoch: u64) {
        self.held = Some((epoch, asked));
    }

    /// The epoch won last.
    #[cfg(debug_assertions)]
    pub(crate) fn epoch(&self) -> Option<u64> {
        self.held.map(|(epoch, _)| epoch)
    }

    /// How long its `rvn` has not changed under an unbroken watch.
    pub fn unchanged_for(&self, now: Moment) -> Span {
        self.seen.as_ref().map_or(Span(0), |seen| now.since(seen.since))
    }

    /// Whether the lease may be taken.
    pub fn may_take(&self, now: Moment, ctrl: &Ctrl, timers: &Timers) -> bool {
        match (&ctrl.lease, &self.seen) {
            (None, _) => true,
            (Some(lease), _) if lease.released => true,
            (Some(lease), Some(seen)) => {
                seen.rvn.as_deref() == Some(lease.rvn.as_str())
                    && now.since(seen.since) >= timers.lease_ttl + timers.lease_margin
            }
            (Some(_), None) => false,
        }
    }

    /// The lease, if it is ours and young enough to act on.
    pub fn held<'a>(
        &self,
        now: Moment,
        ctrl: &'a Ctrl,
        me: &Nonce,
        timers: &Timers,
    ) -> Option<&'a Lease> {
        let lease = ctrl.lease.as_ref().filter(|lease| lease.nonce == *me && !lease.released)?;
        let (epoch, asked) = self.held?;
        (epoch == lease.epoch && now.since(asked) < timers.lease_ttl.half()).then_some(lease)
    }

    /// Whether it is ours and should be renewed now. One that lapsed may be renewed as well, as
    /// long as nobody took it: its guard says so.
    pub fn to_renew<'a>(
        &self,
        now: Moment,
        ctrl: &'a Ctrl,
        me: &Nonce,
        timers: &Timers,
    ) -> Option<&'a Lease> {
        let lease = ctrl.lease.as_ref().filter(|lease| lease.nonce == *me && !lease.released)?;
        let due = self.held.is_none_or(|(_, asked)| now.since(asked) >= timers.lease_renew);
        due.then_some(lease)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Slot;

    fn lease(rvn: &str) -> Lease {
        Lease {
            holder: Slot(0),
            nonce: Nonce("a".into()),
            epoch: 1,
            rvn: rvn.into(),
            released: false,
        }
    }

    fn ctrl(rvn: &str) -> Ctrl {
        Ctrl { lease: Some(lease(rvn)), ..Ctrl::seated("u".into(), alloc::vec::Vec::new()) }
    }

    #[test]
    fn a_silent_lease_is_taken_only_after_an_unbroken_watch() {
        let timers = Timers::PRODUCTION;
        let mut watch = Watch::default();
        for second in 0..=24 {
            watch.record(Moment(second * 1000), Some(&lease("x")), &timers);
            assert!(!watch.may_take(Moment(second * 1000), &ctrl("x"), &timers), "{second} s");
        }
        assert!(watch.may_take(Moment(25_000), &ctrl("x"), &timers));
        watch.record(Moment(60_000), Some(&lease("x")), &timers);
        assert!(!watch.may_take(Moment(60_000), &ctrl("x"), &timers), "we had not looked for 36 s");
        watch.record(Moment(61_000), Some(&lease("y")), &timers);
        assert!(
            !watch.may_take(Moment(85_000), &ctrl("x"), &timers),
            "another renewal than the one watched"
        );
    }

    #[test]
    fn a_holder_stops_long_before_anybody_may_take_over() {
        let timers = Timers::PRODUCTION;
        let mut watch = Watch::default();
        watch.won(Moment(0), 1);
        let me = Nonce("a".into());
        assert!(watch.held(Moment(9_999), &ctrl("x"), &me, &timers).is_some());
        assert!(watch.held(Moment(10_000), &ctrl("x"), &me, &timers).is_none());
        assert!(watch.held(Moment(1), &ctrl("x"), &Nonce("b".into()), &timers).is_none());
    }
}
