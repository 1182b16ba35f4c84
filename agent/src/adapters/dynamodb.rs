//! **dynamodb** — the lock table in DynamoDB.
//!
//! Comes in: [`ItemWrite`]s. Goes out: `UpdateItem` with a condition, or `TransactWriteItems` where
//! other rows must hold too; consistent `Query` reads. The table judges every condition, and
//! this file only finds out whether a refused write had been applied by an earlier try of the
//! same call (protocol.md 1.6): the row then carries the write's `op_id`.

use super::{
    attributes::{Attributes, to_json_map},
    aws_errors::meaning,
    expressions::{Expressions, ROW, UID},
    retrying::{Try, decided},
};
use crate::ports::{
    object_store::StoreError,
    registry::{Item, ItemWrite, Registry},
};
use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::{transact_write_items::TransactWriteItemsError, update_item::UpdateItemError},
    types::{
        AttributeDefinition, AttributeValue, BillingMode, CancellationReason, ConditionCheck,
        KeySchemaElement, KeyType, ReturnValuesOnConditionCheckFailure, ScalarAttributeType,
        TableDescription, TableStatus, TransactWriteItem, Update,
    },
};
use protocol::registry::{Guard, Written};
use std::time::Duration;

/// How long a new table may take to become active.
const CREATION: Duration = Duration::from_secs(120);
/// How often it is asked whether it is.
const CREATION_POLL: Duration = Duration::from_millis(250);
/// Longest client request token (DynamoDB TransactWriteItems).
const TOKEN_MAX: usize = 36;
/// The attribute that tags each write.
const OP_ID: &str = "op_id";

/// One DynamoDB table.
#[derive(Clone, Debug)]
pub struct DynamoTable {
    client: Client,
    table: String,
}

/// What one try of a write came to.
enum Outcome {
    /// Applied, now.
    Applied,
    /// A condition did not hold; the row as it is, if the table says so.
    Refused(Option<Attributes>),
    /// Another write was in the way.
    InTheWay(StoreError),
}

impl DynamoTable {
    /// The table `table`, which need not exist yet.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    fn at(&self, doing: &str, what: &str) -> String {
        format!("{doing} {what} in DynamoDB table {}", self.table)
    }

    async fn update(&self, uid: &str, write: &ItemWrite) -> Result<Outcome, StoreError> {
        let doing = self.at("writing", &write.row);
        let mut expressions = Expressions::default();
        let condition = expressions.condition(&write.guard);
        let update = expressions
            .update(&write.set, &write.remove)
            .map_err(|why| StoreError::Bad(format!("{doing}: {why}")))?;
        let answer = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(uid, &write.row)))
            .update_expression(update)
            .condition_expression(condition)
            .set_expression_attribute_names(Some(expressions.names()))
            .set_expression_attribute_values(expressions.values())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let Err(error) = answer else { return Ok(Outcome::Applied) };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                Ok(Outcome::Refused(failed.item.clone()))
            }
            Some(
                UpdateItemError::TransactionConflictException(_)
                | UpdateItemError::ReplicatedWriteConflictException(_),
            ) => Ok(Outcome::InTheWay(self.meaning(&error, &doing))),
            Some(_) | None => Err(self.meaning(&error, &doing)),
        }
    }

    async fn transact(
        &self,
        uid: &str,
        write: &ItemWrite,
        tag: &str,
    ) -> Result<Outcome, StoreError> {
        let doing =
            self.at("writing", &format!("{} under {} checks", write.row, write.checks.len()));
        let bad = |why: String| StoreError::Bad(format!("{doing}: {why}"));
        let update = self.update_part(uid, write).map_err(bad)?;
        let mut parts = vec![TransactWriteItem::builder().update(update).build()];
        for (row, guard) in &write.checks {
            let check = self.check_part(uid, row, guard).map_err(bad)?;
            parts.push(TransactWriteItem::builder().condition_check(check).build());
        }
        let token = Some(tag).filter(|tag| (1..=TOKEN_MAX).contains(&tag.len()));
        let answer = self
            .client
            .transact_write_items()
            .set_transact_items(Some(parts))
            .set_client_request_token(token.map(str::to_owned))
            .send()
            .await;
        let Err(error) = answer else { return Ok(Outcome::Applied) };
        match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                self.cancelled(cancelled.cancellation_reasons(), &doing)
            }
            Some(TransactWriteItemsError::TransactionInProgressException(_)) => {
                Ok(Outcome::InTheWay(self.meaning(&error, &doing)))
            }
            Some(_) | None => Err(self.meaning(&error, &doing)),
        }
    }

    /// Why a transaction was cancelled: one reason per part, ours first.
    fn cancelled(
        &self,
        reasons: &[CancellationReason],
        doing: &str,
    ) -> Result<Outcome, StoreError> {
        let codes: Vec<_> = reasons.iter().filter_map(CancellationReason::code).collect();
        if codes.contains(&"ConditionalCheckFailed") {
            return Ok(Outcome::Refused(reasons.first().and_then(|own| own.item.clone())));
        }
        let said: Vec<_> = codes.iter().filter(|code| **code != "None").copied().collect();
        let said = said.join(", ");
        let passing = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];
        if codes.iter().any(|code| passing.contains(code)) {
            return Ok(Outcome::InTheWay(StoreError::Unavailable(format!(
                "{doing}: not now ({said})"
            ))));
        }
        if codes.contains(&"AccessDenied") {
            return Err(StoreError::Forbidden(format!(
                "{doing}: the credentials in use do not allow it ({said})"
            )));
        }
        let why =
            reasons.iter().filter_map(CancellationReason::message).collect::<Vec<_>>().join("; ");
        Err(StoreError::Bad(format!("{doing}: the transaction was refused ({said}: {why})")))
    }

    fn update_part(&self, uid: &str, write: &ItemWrite) -> Result<Update, String> {
        let mut expressions = Expressions::default();
        let condition = expressions.condition(&write.guard);
        let update = expressions.update(&write.set, &write.remove)?;
        Update::builder()
            .table_name(&self.table)
            .set_key(Some(key(uid, &write.row)))
            .update_expression(update)
            .condition_expression(condition)
            .set_expression_attribute_names(Some(expressions.names()))
            .set_expression_attribute_values(expressions.values())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(|error| error.to_string())
    }

    fn check_part(&self, uid: &str, row: &str, guard: &Guard) -> Result<ConditionCheck, String> {
        let mut expressions = Expressions::default();
        ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(key(uid, row)))
            .condition_expression(expressions.condition(guard))
            .set_expression_attribute_names(Some(expressions.names()))
            .set_expression_attribute_values(expressions.values())
            .build()
            .map_err(|error| error.to_string())
    }

    async fn try_to_write(
        &self,
        uid: &str,
        write: &ItemWrite,
        tag: &str,
    ) -> Result<Try<Written>, StoreError> {
        let outcome = if write.checks.is_empty() {
            self.update(uid, write).await?
        } else {
            self.transact(uid, write, tag).await?
        };
        Ok(match outcome {
            Outcome::Applied => Try::Done(Written::Applied),
            Outcome::Refused(shown) => {
                let ours = self.carries(uid, &write.row, shown, tag).await?;
                Try::Done(if ours { Written::Applied } else { Written::Refused })
            }
            Outcome::InTheWay(error) => Try::Again(error),
        })
    }

    /// Whether the row carries `tag`: as the refusal showed it, or else as it is now. A refusal
    /// caused by a check alone does not show our row, and not every store shows it at all.
    async fn carries(
        &self,
        uid: &str,
        row: &str,
        shown: Option<Attributes>,
        tag: &str,
    ) -> Result<bool, StoreError> {
        let is_ours = |item: &Attributes| matches!(item.get(OP_ID), Some(AttributeValue::S(stored)) if stored == tag);
        if let Some(item) = shown.filter(|item| !item.is_empty()) {
            return Ok(is_ours(&item));
        }
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(uid, row)))
            .consistent_read(true)
            .send()
            .await;
        let answer = answer.map_err(|error| self.meaning(&error, &self.at("reading", row)))?;
        Ok(answer.item.as_ref().is_some_and(is_ours))
    }

    /// The table as it stands; `None`: there is none.
    async fn describe(&self) -> Result<Option<TableDescription>, StoreError> {
        match self.client.describe_table().table_name(&self.table).send().await {
            Ok(answer) => Ok(answer.table),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|e| e.is_resource_not_found_exception()) =>
            {
                Ok(None)
            }
            Err(error) => {
                Err(meaning(&error, &format!("describing DynamoDB table {}", self.table)))
            }
        }
    }

    /// Asks for the table; done if somebody else does so at the same time.
    async fn ask_for_table(&self) -> Result<(), StoreError> {
        let doing = format!("creating DynamoDB table {}", self.table);
        let mut request = self
            .client
            .create_table()
            .table_name(&self.table)
            .billing_mode(BillingMode::PayPerRequest);
        for (name, kind) in [(UID, KeyType::Hash), (ROW, KeyType::Range)] {
            let element = KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
            let attribute = AttributeDefinition::builder()
                .attribute_name(name)
                .attribute_type(ScalarAttributeType::S)
                .build();
            let built = |error: aws_sdk_dynamodb::error::BuildError| {
                StoreError::Bad(format!("{doing}: {error}"))
            };
            request = request
                .key_schema(element.map_err(built)?)
                .attribute_definitions(attribute.map_err(built)?);
        }
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error)
                if error.as_service_error().is_some_and(|e| e.is_resource_in_use_exception()) =>
            {
                Ok(())
            }
            Err(error) => Err(meaning(&error, &doing)),
        }
    }

    /// What an error means; a missing table comes with the command that makes it.
    fn meaning<E>(&self, error: &SdkError<E>, doing: &str) -> StoreError
    where
        E: aws_sdk_dynamodb::error::ProvideErrorMetadata + std::error::Error + 'static,
    {
        let meant = meaning(error, doing);
        if matches!(meant, StoreError::Missing(_)) {
            return StoreError::Missing(format!(
                "DynamoDB table {} does not exist in this account and region: for a new cluster `requorum create-table` makes it; one that had it needs its backup back",
                self.table
            ));
        }
        meant
    }
}

#[async_trait]
impl Registry for DynamoTable {
    async fn read(&self, uid: &str) -> Result<Vec<Item>, StoreError> {
        let doing = self.at("reading", &format!("the rows of {uid}"));
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("#u = :u")
            .expression_attribute_names("#u", UID)
            .expression_attribute_values(":u", AttributeValue::S(uid.to_owned()))
            .into_paginator()
            .items()
            .send();
        let mut items = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| self.meaning(&error, &doing))?;
            let read = to_item(&item).map_err(|why| StoreError::Bad(format!("{doing}: {why}")))?;
            items.push(read);
        }
        Ok(items)
    }

    async fn write(&self, uid: &str, write: &ItemWrite) -> Result<Written, StoreError> {
        let tag = write.set.get(OP_ID).and_then(|tag| tag.as_str()).ok_or_else(|| {
            StoreError::Bad(format!("{}: the write has no op_id", self.at("writing", &write.row)))
        })?;
        decided(|| self.try_to_write(uid, write, tag)).await
    }

    async fn create_table(&self) -> Result<(), StoreError> {
        let waited = async {
            loop {
                match self.describe().await? {
                    None => self.ask_for_table().await?,
                    Some(table) => {
                        check_schema(&table).map_err(StoreError::Bad)?;
                        let usable = [TableStatus::Active, TableStatus::Updating];
                        if table.table_status().is_some_and(|status| usable.contains(status)) {
                            return Ok(());
                        }
                    }
                }
                tokio::time::sleep(CREATION_POLL).await;
            }
        };
        tokio::time::timeout(CREATION, waited).await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable(format!(
                "DynamoDB table {} is not active after {} s; look at its status in the console and try again",
                self.table,
                CREATION.as_secs()
            )))
        })
    }
}

/// The primary key of a row.
fn key(uid: &str, row: &str) -> Attributes {
    let pair = [(UID, uid), (ROW, row)];
    pair.map(|(name, value)| (name.to_owned(), AttributeValue::S(value.to_owned()))).into()
}

/// A stored row without its keys.
fn to_item(stored: &Attributes) -> Result<Item, String> {
    let mut attributes = to_json_map(stored)?;
    attributes.remove(UID);
    match attributes.remove(ROW) {
        Some(serde_json::Value::String(row)) => Ok(Item { row, attributes }),
        Some(_) | None => Err(format!("a row has no text in its key attribute `{ROW}`")),
    }
}

/// Whether a table's keys are ours: [`UID`] and [`ROW`], both text.
fn check_schema(table: &TableDescription) -> Result<(), String> {
    let is_text = |name: &str| {
        table.attribute_definitions().iter().any(|attribute| {
            attribute.attribute_name() == name
                && *attribute.attribute_type() == ScalarAttributeType::S
        })
    };
    let found: Vec<_> =
        table.key_schema().iter().map(|key| (key.attribute_name(), key.key_type())).collect();
    let fits = found == [(UID, &KeyType::Hash), (ROW, &KeyType::Range)];
    if fits && is_text(UID) && is_text(ROW) {
        return Ok(());
    }
    let name = table.table_name().unwrap_or("?");
    Err(format!(
        "DynamoDB table {name} has other keys ({found:?}) than the lock table's {UID} (S, hash) and {ROW} (S, range); name another in REQUORUM_TABLE; `requorum create-table` then makes it"
    ))
}
