//! **table** — what the lock table does with a write, in pure code: DynamoDB's meaning of a
//! condition, and a table in memory that obeys it.
//!
//! Comes from protocol.md 1.6 and DynamoDB's ConditionExpression. Goes to every registry that
//! isn't DynamoDB: those of tests and of simulations, and one that keeps its rows as objects.

use super::WireChange;
use crate::registry::{Guard, Scalar, Written};
use alloc::{collections::BTreeMap, string::String};
use serde_json::{Map, Value};

/// Whether `guard` holds of a stored row, `None` being a row that isn't there.
///
/// As in DynamoDB: of an absent row every attribute is absent; a path through something absent, or
/// through something that is no map, is absent; a comparison with what is absent or of another
/// kind doesn't hold.
pub fn guard_holds(guard: &Guard, row: Option<&Map<String, Value>>) -> bool {
    let at = |path| row.and_then(|row| find(row, path));
    let number = |path| at(path).and_then(Value::as_u64);
    match guard {
        Guard::Absent(path) => at(path).is_none(),
        Guard::Is(path, scalar) => at(path).is_some_and(|value| is(value, scalar)),
        Guard::Below(path, bound) => number(path).is_some_and(|value| value < *bound),
        Guard::AtMost(path, bound) => number(path).is_some_and(|value| value <= *bound),
        Guard::All(guards) => guards.iter().all(|guard| guard_holds(guard, row)),
        Guard::Any(guards) => guards.iter().any(|guard| guard_holds(guard, row)),
    }
}

fn find<'a>(row: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        None => row.get(path),
        Some((name, rest)) => find(row.get(name)?.as_object()?, rest),
    }
}

fn is(value: &Value, scalar: &Scalar) -> bool {
    match scalar {
        Scalar::Number(number) => value.as_u64() == Some(*number),
        Scalar::Text(text) => value.as_str() == Some(text),
        Scalar::Flag(flag) => value.as_bool() == Some(*flag),
    }
}

/// The rows of one cluster, in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    rows: BTreeMap<String, Map<String, Value>>,
}

impl Table {
    /// All rows, by name: one consistent read.
    pub fn read(&self) -> impl Iterator<Item = (&str, &Map<String, Value>)> {
        self.rows.iter().map(|(name, row)| (name.as_str(), row))
    }

    /// Applies `change` if its guard and all its checks hold now. A refused write whose `op_id` the
    /// row already carries was applied before, and its answer was lost. Never `Unknown`.
    pub fn write(&mut self, change: &WireChange) -> Written {
        let row = self.rows.get(&change.row);
        let checked =
            change.checks.iter().all(|(name, guard)| guard_holds(guard, self.rows.get(name)));
        if checked && guard_holds(&change.guard, row) {
            let row = self.rows.entry(change.row.clone()).or_default();
            change.remove.iter().for_each(|name| drop(row.remove(name)));
            row.extend(change.set.clone());
            return Written::Applied;
        }
        let tag = change.set.get("op_id");
        match row.and_then(|row| row.get("op_id")) {
            stored if stored.is_some() && stored == tag => Written::Applied,
            Some(_) | None => Written::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{borrow::ToOwned, string::ToString, vec, vec::Vec};
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().expect("the test wrote a map").clone()
    }

    fn text(path: &'static str, value: &str) -> Guard {
        Guard::Is(path, Scalar::Text(value.to_owned()))
    }

    #[test]
    fn of_an_absent_row_only_absence_holds() {
        assert!(guard_holds(&Guard::Absent("lease.rvn"), None));
        assert!(!guard_holds(&text("phase", "idle"), None));
        assert!(!guard_holds(&Guard::Below("ran.inc", 9), None));
        assert!(!guard_holds(&Guard::AtMost("ran.inc", 9), None));
    }

    #[test]
    fn kinds_must_match() {
        let row = map(json!({ "n": 1, "t": "1", "f": true, "m": { "n": 0 }, "z": null }));
        let holds = |guard| guard_holds(&guard, Some(&row));
        assert!(holds(Guard::Is("n", Scalar::Number(1))));
        assert!(!holds(Guard::Is("t", Scalar::Number(1))));
        assert!(!holds(text("n", "1")));
        assert!(holds(Guard::Is("f", Scalar::Flag(true))));
        assert!(!holds(Guard::Below("t", 9)), "a text is below no number");
        assert!(holds(Guard::Below("m.n", 1)) && !holds(Guard::Below("m.n", 0)));
        assert!(holds(Guard::AtMost("m.n", 0)));
        assert!(holds(Guard::Absent("t.n")), "a text has nothing inside");
        assert!(!holds(Guard::Absent("z")), "null is there");
        assert!(holds(Guard::All(Vec::new())) && !holds(Guard::Any(Vec::new())));
        assert!(holds(Guard::Any(vec![Guard::Absent("n"), Guard::All(vec![text("t", "1")])])));
    }

    fn write(row: &str, guard: Guard, set: Value) -> WireChange {
        WireChange {
            row: row.to_string(),
            guard,
            set: map(set),
            remove: Vec::new(),
            checks: Vec::new(),
        }
    }

    #[test]
    fn of_two_racing_writes_one_is_applied_and_a_lost_answer_is_healed() {
        let mut table = Table::default();
        let first = write("ctrl", Guard::Absent("uid"), json!({ "uid": "a", "op_id": "1" }));
        let second = write("ctrl", Guard::Absent("uid"), json!({ "uid": "b", "op_id": "2" }));
        assert_eq!(table.write(&first), Written::Applied);
        assert_eq!(table.write(&second), Written::Refused);
        assert_eq!(table.write(&first), Written::Applied, "healed");
        assert_eq!(table.read().count(), 1);
        assert!(table.read().all(|(_, row)| row["uid"] == "a"));
    }

    #[test]
    fn a_check_that_fails_refuses_the_write() {
        let mut table = Table::default();
        table.write(&write("slot#0", Guard::Absent("ran"), json!({ "gen": 1, "op_id": "0" })));
        let mut commit = write("ctrl", Guard::Absent("uid"), json!({ "uid": "a", "op_id": "1" }));
        commit.checks = vec![("slot#0".to_owned(), Guard::Is("gen", Scalar::Number(2)))];
        assert_eq!(table.write(&commit), Written::Refused);
        commit.checks = vec![("slot#0".to_owned(), Guard::Is("gen", Scalar::Number(1)))];
        assert_eq!(table.write(&commit), Written::Applied);
    }

    #[test]
    fn removed_attributes_go_and_others_stay() {
        let mut table = Table::default();
        table.write(&write("ctrl", Guard::Absent("a"), json!({ "a": 1, "b": 2, "op_id": "0" })));
        let mut change = write("ctrl", Guard::Is("a", Scalar::Number(1)), json!({ "op_id": "1" }));
        change.remove = vec!["a".to_owned(), "never there".to_owned()];
        assert_eq!(table.write(&change), Written::Applied);
        let rows: Vec<_> = table.read().map(|(_, row)| row.clone()).collect();
        assert_eq!(rows, [map(json!({ "b": 2, "op_id": "1" }))]);
    }
}
