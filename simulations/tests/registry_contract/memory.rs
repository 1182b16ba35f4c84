//! **memory** — the table in memory behind the same port, so that both are held to one contract.

use agent::ports::{
    object_store::StoreError,
    registry::{Item, ItemWrite, Registry},
};
use async_trait::async_trait;
use protocol::{
    registry::Written,
    wire::{Table, WireChange},
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// Rows by cluster.
#[derive(Default)]
pub(crate) struct MemoryTable(Mutex<BTreeMap<String, Table>>);

#[async_trait]
impl Registry for MemoryTable {
    async fn read(&self, uid: &str) -> Result<Vec<Item>, StoreError> {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = tables.get(uid).into_iter().flat_map(Table::read);
        let item = |(row, attributes): (&str, &serde_json::Map<_, _>)| Item {
            row: row.to_owned(),
            attributes: attributes.clone(),
        };
        Ok(rows.map(item).collect())
    }

    async fn write(&self, uid: &str, write: &ItemWrite) -> Result<Written, StoreError> {
        if !write.set.contains_key("op_id") || write.set.values().any(serde_json::Value::is_null) {
            return Err(StoreError::Bad("a write has an op_id and no null".into()));
        }
        let change = WireChange {
            row: write.row.clone(),
            guard: write.guard.clone(),
            set: write.set.clone(),
            remove: write.remove.clone(),
            checks: write.checks.clone(),
        };
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(tables.entry(uid.to_owned()).or_default().write(&change))
    }

    async fn create_table(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
