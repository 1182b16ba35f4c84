//! **names** — where everything stands: keys in the bucket, rows in the lock table, and the paths
//! that conditions are said of.
//!
//! Comes from protocol.md 1.7. Goes to whoever stores or finds a record. Keys are of two kinds:
//! complete ones, and ones "below the cluster's prefix" as records carry them, which
//! [`Keys::under`] completes. Records never carry a prefix, so a bucket can be copied.

use super::WireError;
use crate::{
    cluster::{Digest, Slot},
    limits::SLOTS_MAX,
    registry::Row,
};
use alloc::{borrow::ToOwned, format, string::String};

/// The complete keys of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    below: String,
}

impl Keys {
    /// The keys of the cluster `uid` below `prefix`, which may be empty; slashes around it don't
    /// count.
    pub fn new(prefix: &str, uid: &str) -> Self {
        Self { below: join(prefix, uid) }
    }

    /// The key of `cluster.json`: outside the uid, which is what it tells.
    pub fn cluster_json(prefix: &str) -> String {
        join(prefix, "cluster.json")
    }

    /// Where kube-aws looks for an exported snapshot.
    pub fn exported_snapshot(prefix: &str) -> String {
        join(prefix, "exported/etcd-snapshots/snapshot.db")
    }

    /// The vote of `slot`.
    pub fn vote(&self, slot: Slot) -> String {
        self.under(&format!("votes/{slot}.json"))
    }

    /// The complete key of one that a record carries, such as
    /// [`Manifest::key`](crate::manifest::Manifest::key) or [`Pin::key`](crate::registry::Pin).
    pub fn under(&self, key: &str) -> String {
        format!("{}/{key}", self.below)
    }

    /// A key without the cluster's prefix, as records carry it: [`Self::under`] backwards.
    /// `None`: it belongs to somebody else.
    pub fn strip<'a>(&self, key: &'a str) -> Option<&'a str> {
        key.strip_prefix(&self.below)?.strip_prefix('/')
    }

    /// Below the cluster's prefix: where the data of an incarnation's snapshots stands.
    pub fn data_folder(inc: u64) -> String {
        format!("inc/{inc}/data/")
    }

    /// Below the cluster's prefix: a snapshot's data. Its name must be known before its digest is.
    pub fn data(inc: u64, save_id: &str) -> String {
        format!("inc/{inc}/data/{save_id}.db")
    }

    /// Below the cluster's prefix: an incremental snapshot's data. Its name tells it from a base's.
    pub fn pack(inc: u64, save_id: &str) -> String {
        format!("inc/{inc}/data/{save_id}.pack")
    }

    /// Below the cluster's prefix: the plan that creates incarnation `inc_new`.
    pub fn plan(inc_new: u64, attempt: u64, epoch: u64, digest: &Digest) -> String {
        format!("inc/{inc_new}/plan/{attempt}-{epoch}-{}.json", digest.short())
    }
}

fn join(prefix: &str, rest: &str) -> String {
    match prefix.trim_matches('/') {
        "" => rest.to_owned(),
        prefix => format!("{prefix}/{rest}"),
    }
}

/// A row's name in the lock table: `ctrl`, `slot#<i>` or `save`.
pub fn row_name(row: Row) -> String {
    match row {
        Row::Ctrl => "ctrl".to_owned(),
        Row::Slot(slot) => format!("slot#{slot}"),
        Row::Save => "save".to_owned(),
    }
}

/// The row called `name`; `None`: one of another version's, to be left alone.
///
/// # Errors
/// A sentence if it begins like a seat's row and names none.
pub fn parse_row(name: &str) -> Result<Option<Row>, WireError> {
    match name {
        "ctrl" => return Ok(Some(Row::Ctrl)),
        "save" => return Ok(Some(Row::Save)),
        _ => {}
    }
    let Some(number) = name.strip_prefix("slot#") else {
        return Ok(None);
    };
    number
        .parse()
        .ok()
        .filter(|slot| usize::from(*slot) < SLOTS_MAX)
        .map(|slot| Row::Slot(Slot(slot)))
        .filter(|row| row_name(*row) == name) // one spelling only: `slot#01` would be a second row
        .map(Some)
        .ok_or_else(|| {
            WireError(format!("the row `{name}` names no seat from 0 to {}", SLOTS_MAX - 1))
        })
}

/// What kind of value stands at a path: a comparison with another kind never holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// A number.
    Number,
    /// A text; ids and digests among them, in lowercase hexadecimal digits.
    Text,
    /// True or false.
    Flag,
    /// A map: only its absence can be asked.
    Map,
}

/// The paths of `ctrl` that conditions may name. They keep kind and meaning in every layout.
pub const CTRL_PATHS: &[(&str, Attribute)] = &[
    ("v", Attribute::Number),
    ("uid", Attribute::Text),
    ("inc", Attribute::Number),
    ("lease", Attribute::Map),
    ("lease.epoch", Attribute::Number),
    ("lease.nonce", Attribute::Text),
    ("lease.rvn", Attribute::Text),
    ("lease.released", Attribute::Flag),
    ("phase", Attribute::Text),
    ("opened", Attribute::Flag),
    ("attempt", Attribute::Number),
    ("plan", Attribute::Map),
    ("plan.sha256", Attribute::Text),
    ("paused", Attribute::Text),
    ("op_id", Attribute::Text),
];

/// The paths of `slot#<i>` that conditions may name. They keep kind and meaning in every layout.
pub const SLOT_PATHS: &[(&str, Attribute)] = &[
    ("gen", Attribute::Number),
    ("owner", Attribute::Map),
    ("owner.instance", Attribute::Text),
    ("owner.nonce", Attribute::Text),
    ("owner.rvn", Attribute::Text),
    ("ran", Attribute::Map),
    ("ran.inc", Attribute::Number),
    ("ran.instance", Attribute::Text),
    ("ran.member_id", Attribute::Text),
    ("attest", Attribute::Map),
    ("attest.inc", Attribute::Number),
    ("attest.instance", Attribute::Text),
    ("fence", Attribute::Map),
    ("fence.inc", Attribute::Number),
    ("fence.attempt", Attribute::Number),
    ("salvage", Attribute::Map),
    ("salvage.attempt", Attribute::Number),
    ("salvage.manifest", Attribute::Text),
    ("op_id", Attribute::Text),
];

/// The paths of `save` that conditions may name. They keep kind and meaning in every layout.
pub const SAVE_PATHS: &[(&str, Attribute)] = &[("rvn", Attribute::Text)];

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn keys_stand_where_protocol_md_says() {
        let keys = Keys::new("/a/b/", "u1");
        assert_eq!(Keys::cluster_json("a/b"), "a/b/cluster.json");
        assert_eq!(Keys::exported_snapshot("a/b"), "a/b/exported/etcd-snapshots/snapshot.db");
        assert_eq!(keys.vote(Slot(2)), "a/b/u1/votes/2.json");
        assert_eq!(keys.under(&Keys::data(3, "s")), "a/b/u1/inc/3/data/s.db");
        assert_eq!(keys.under(&Keys::pack(3, "s")), "a/b/u1/inc/3/data/s.pack");
        let plan = Keys::plan(4, 7, 9, &Digest::of(b""));
        assert_eq!(plan, "inc/4/plan/7-9-e3b0c44298fc.json");
        assert_eq!(keys.strip(&keys.under(&plan)), Some(plan.as_str()));
        assert_eq!(keys.strip("a/b/u10/votes/2.json"), None, "u10 is not u1");
    }

    #[test]
    fn an_empty_prefix_leads_with_no_slash() {
        for prefix in ["", "/"] {
            assert_eq!(Keys::cluster_json(prefix), "cluster.json");
            assert_eq!(Keys::exported_snapshot(prefix), "exported/etcd-snapshots/snapshot.db");
            assert_eq!(Keys::new(prefix, "u1").vote(Slot(0)), "u1/votes/0.json");
        }
    }

    #[test]
    fn rows_read_back_and_have_one_spelling() {
        let last = Slot(8);
        for row in [Row::Ctrl, Row::Save, Row::Slot(Slot(0)), Row::Slot(last)] {
            assert_eq!(parse_row(&row_name(row)), Ok(Some(row)));
        }
        assert_eq!(parse_row("another version's"), Ok(None));
        for wrong in ["slot#", "slot#01", "slot#+1", "slot#9", "slot#256", "slot#x", "slot#-1"] {
            let error = parse_row(wrong).expect_err("no seat has this name");
            assert!(error.to_string().contains(wrong), "{error}");
        }
    }
}
