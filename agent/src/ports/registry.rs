//! **registry** — the lock table: one item per row of a cluster, changed by conditional writes.
//!
//! Contract: reads are consistent (DynamoDB `ConsistentRead`); a write is applied at most once and
//! only if its guard and all its checks hold in that instant; of racing writes with the same
//! guard exactly one is applied. Each write carries an `op_id`; when the guard fails and the row
//! already carries this `op_id` (DynamoDB `ReturnValuesOnConditionCheckFailure=ALL_OLD`, else a
//! consistent read), the write had been applied by an earlier try whose answer was lost, and
//! `Applied` is the answer (protocol.md 1.6).

use super::object_store::StoreError;
use async_trait::async_trait;
use protocol::registry::{Guard, Written};
use serde_json::{Map, Value};

/// One row: its sort key (`ctrl`, `slot#0`) and its attributes as JSON (numbers, texts, booleans,
/// lists and maps; no attribute is JSON null).
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The sort key.
    pub row: String,
    /// The attributes, without the keys.
    pub attributes: Map<String, Value>,
}

/// A conditional change of one row: only these attributes are touched.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemWrite {
    /// The sort key.
    pub row: String,
    /// What must hold of the stored row (of an absent row every attribute is absent).
    pub guard: Guard,
    /// Attributes to set; includes `op_id`.
    pub set: Map<String, Value>,
    /// Attributes to remove.
    pub remove: Vec<String>,
    /// Conditions on other rows in the same instant.
    pub checks: Vec<(String, Guard)>,
}

/// The lock table.
#[async_trait]
pub trait Registry: Send + Sync {
    /// All rows of `uid`.
    async fn read(&self, uid: &str) -> Result<Vec<Item>, StoreError>;
    /// Applies a conditional write. `Written::Unknown` is never returned: an error says it.
    async fn write(&self, uid: &str, write: &ItemWrite) -> Result<Written, StoreError>;
    /// Creates the table (on-demand billing) and waits until it is active; done if it exists.
    async fn create_table(&self) -> Result<(), StoreError>;
}
