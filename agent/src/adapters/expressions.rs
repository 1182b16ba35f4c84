//! **expressions** — guards and changes in DynamoDB's expression language.
//!
//! Comes in: a [`Guard`], attributes to set and to remove. Goes out: expression texts with their
//! `#names` and `:values`. Every name is replaced by a placeholder, because DynamoDB reserves
//! hundreds of words; a dot in a guard's path leads into a map.

use super::attributes::to_attribute;
use aws_sdk_dynamodb::types::AttributeValue;
use protocol::registry::{Guard, Scalar};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// The hash key's attribute: every stored row has it.
pub const UID: &str = "pk";
/// The range key's attribute.
pub const ROW: &str = "sk";

/// Collects the names and values that the expressions of one request share.
#[derive(Debug, Default)]
pub struct Expressions {
    names: Vec<String>,
    values: Vec<AttributeValue>,
}

impl Expressions {
    /// The condition expression of a guard. An absent row satisfies `Absent` of every path and
    /// no comparison; an empty `All` always holds, an empty `Any` never.
    pub fn condition(&mut self, guard: &Guard) -> String {
        match guard {
            Guard::Absent(path) => format!("attribute_not_exists({})", self.path(path)),
            Guard::Is(path, scalar) => {
                let value = match scalar {
                    Scalar::Number(number) => AttributeValue::N(number.to_string()),
                    Scalar::Text(text) => AttributeValue::S(text.clone()),
                    Scalar::Flag(flag) => AttributeValue::Bool(*flag),
                };
                self.comparison(path, "=", value)
            }
            Guard::Below(path, bound) => {
                self.comparison(path, "<", AttributeValue::N(bound.to_string()))
            }
            Guard::AtMost(path, bound) => {
                self.comparison(path, "<=", AttributeValue::N(bound.to_string()))
            }
            Guard::All(guards) => self.joined(guards, "AND", "OR"),
            Guard::Any(guards) => self.joined(guards, "OR", "AND"),
        }
    }

    /// The update expression: `SET ... REMOVE ...`. The error names the attribute that DynamoDB
    /// can't hold.
    pub fn update(
        &mut self,
        set: &Map<String, Value>,
        remove: &[String],
    ) -> Result<String, String> {
        let mut clauses = Vec::new();
        if !set.is_empty() {
            let mut parts = Vec::with_capacity(set.len());
            for (name, value) in set {
                let value =
                    to_attribute(value).map_err(|why| format!("attribute {name}: {why}"))?;
                parts.push(format!("{} = {}", self.name(name), self.value(value)));
            }
            clauses.push(format!("SET {}", parts.join(", ")));
        }
        if !remove.is_empty() {
            let parts: Vec<_> = remove.iter().map(|name| self.name(name)).collect();
            clauses.push(format!("REMOVE {}", parts.join(", ")));
        }
        Ok(clauses.join(" "))
    }

    /// The names; never empty once a condition was rendered.
    pub fn names(&self) -> HashMap<String, String> {
        let numbered = self.names.iter().enumerate();
        numbered.map(|(at, name)| (format!("#n{at}"), name.clone())).collect()
    }

    /// The values; `None` if there are none, which DynamoDB wants left out.
    pub fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        if self.values.is_empty() {
            return None;
        }
        let numbered = self.values.iter().enumerate();
        Some(numbered.map(|(at, value)| (format!(":v{at}"), value.clone())).collect())
    }

    fn comparison(&mut self, path: &str, operator: &str, value: AttributeValue) -> String {
        format!("{} {operator} {}", self.path(path), self.value(value))
    }

    /// `(a AND b)`. DynamoDB has no word for true or false, so an empty list is said by what is
    /// always or never so of the hash key, joined by the `other` operator.
    fn joined(&mut self, guards: &[Guard], operator: &str, other: &str) -> String {
        if guards.is_empty() {
            let uid = self.name(UID);
            return format!("(attribute_exists({uid}) {other} attribute_not_exists({uid}))");
        }
        let parts: Vec<_> = guards.iter().map(|guard| self.condition(guard)).collect();
        format!("({})", parts.join(&format!(" {operator} ")))
    }

    fn path(&mut self, path: &str) -> String {
        let steps: Vec<_> = path.split('.').map(|step| self.name(step)).collect();
        steps.join(".")
    }

    fn name(&mut self, name: &str) -> String {
        let known = self.names.iter().position(|known| known == name);
        let at = known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        format!("#n{at}")
    }

    fn value(&mut self, value: AttributeValue) -> String {
        self.values.push(value);
        format!(":v{}", self.values.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_reads_as_it_is_said() {
        let mut expressions = Expressions::default();
        let guard = Guard::All(vec![
            Guard::Is("lease.epoch", Scalar::Number(7)),
            Guard::Any(vec![Guard::Absent("lease"), Guard::Below("epoch", 9)]),
        ]);
        assert_eq!(
            expressions.condition(&guard),
            "(#n0.#n1 = :v0 AND (attribute_not_exists(#n0) OR #n1 < :v1))"
        );
        assert_eq!(expressions.names()["#n1"], "epoch");
    }

    #[test]
    fn nothing_to_compare_needs_no_values() {
        let mut expressions = Expressions::default();
        expressions.condition(&Guard::All(Vec::new()));
        assert_eq!(expressions.values(), None);
    }
}
