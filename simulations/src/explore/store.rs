//! **store** — the lock table, which judges every write, and the bucket.
//!
//! Comes in: the core's conditional writes. Goes out: records. The judge is the protocol's own
//! table in memory, behind the real encoding: what a guard means is not said a second time here.
//! Objects that are written once and pinned by digest need no place in a state.

use super::intern::{Interned, Memo};
use protocol::{
    cluster::{Digest, MemberId},
    manifest::Manifest,
    plan::Plan,
    registry::{Change, Guard, Pin, Records, Written},
    wire,
};
use std::sync::Arc;

/// Every table there has been, and every write that was judged.
pub(super) struct Tables {
    records: Interned<Arc<Records>>,
    rows: Vec<wire::Table>,
    pub(super) changes: Interned<Change>,
    judged: Memo<(u32, u32), (u32, Written)>,
}

impl Tables {
    pub(super) fn new() -> Self {
        Self {
            records: Interned::new(),
            rows: Vec::new(),
            changes: Interned::new(),
            judged: Memo::default(),
        }
    }

    /// The records of a table.
    pub(super) fn records(&self, table: u32) -> &Arc<Records> {
        self.records.get(table)
    }

    /// A table that holds these records.
    pub(super) fn hold(&mut self, records: &Records) -> u32 {
        let mut rows = wire::Table::default();
        let ctrl = records.ctrl.iter().map(|ctrl| ("ctrl".to_owned(), wire::encode_ctrl(ctrl)));
        let slots = records.slots.iter().map(|(slot, record)| {
            (wire::row_name(protocol::registry::Row::Slot(*slot)), wire::encode_slot(record))
        });
        for (row, set) in ctrl.chain(slots) {
            write_over(&mut rows, row, set);
        }
        self.number(rows)
    }

    fn number(&mut self, rows: wire::Table) -> u32 {
        let records = wire::parse_records(rows.read()).expect("what was written can be read");
        let number = self.records.put(Arc::new(records));
        if number as usize > self.rows.len() {
            self.rows.push(rows);
        }
        number
    }

    /// What becomes of `table` by a write.
    pub(super) fn write(&mut self, table: u32, change: u32) -> (u32, Written) {
        if let Some(judged) = self.judged.get(&(table, change)) {
            return *judged;
        }
        let mut rows = self.rows[table as usize - 1].clone();
        let tagged = wire::changed(self.changes.get(change), "the explorer's");
        let written = rows.write(&tagged);
        let after = if written == Written::Applied { self.number(untagged(&rows)) } else { table };
        self.judged.insert((table, change), (after, written));
        (after, written)
    }
}

/// The same rows without the tag of the write that made them: whose it was makes no difference.
fn untagged(rows: &wire::Table) -> wire::Table {
    let mut bare = wire::Table::default();
    for (row, attributes) in rows.read() {
        let mut set = attributes.clone();
        if let Some(tag) = set.get_mut("op_id") {
            *tag = String::new().into();
        }
        write_over(&mut bare, row.to_owned(), set);
    }
    bare
}

fn write_over(
    rows: &mut wire::Table,
    row: String,
    set: serde_json::Map<String, serde_json::Value>,
) {
    let guard = Guard::All(Vec::new());
    rows.write(&wire::WireChange { row, guard, set, remove: Vec::new(), checks: Vec::new() });
}

/// Objects that are never changed.
#[derive(Default)]
pub(super) struct Objects {
    plans: Memo<Digest, Plan>,
    contents: Memo<Digest, u8>,
    /// Whose peer URL a member's id was made of, by seat.
    homes: Memo<MemberId, usize>,
}

impl Objects {
    pub(super) fn put_plan(&mut self, plan: &Plan) -> Pin {
        let sha256 = wire::plan_digest(plan);
        self.plans.insert(sha256, plan.clone());
        Pin { key: wire::Keys::plan(plan.inc, plan.attempt, plan.epoch, &sha256), sha256 }
    }

    pub(super) fn plan(&self, pin: &Pin) -> Option<&Plan> {
        self.plans.get(&pin.sha256)
    }

    /// Members are listed by their peer URLs.
    pub(super) fn settle(&mut self, id: MemberId, seat: usize) {
        self.homes.insert(id, seat);
    }

    /// The seat that a member was made for.
    pub(super) fn home(&self, id: MemberId) -> Option<usize> {
        self.homes.get(&id).copied()
    }

    pub(super) fn put_content(&mut self, sha256: Digest, content: u8) {
        self.contents.insert(sha256, content);
    }

    /// The writes that a snapshot holds, a bit each.
    pub(super) fn content(&self, sha256: &Digest) -> Option<u8> {
        self.contents.get(sha256).copied()
    }
}

/// The manifests in the bucket, by key; the first under a key stays.
pub(super) type Bucket = std::collections::BTreeMap<String, Manifest>;
