//! **attributes** — JSON values and DynamoDB's, both ways.
//!
//! Comes in: the attributes of a row as JSON (`wire` makes them). Goes out: `AttributeValue`s, and
//! back. Every `u64` survives exactly: DynamoDB numbers carry 38 digits and travel as text. JSON
//! null and DynamoDB's sets, binaries and null are refused: no record of ours holds them.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Map, Number, Value};
use std::collections::HashMap;

/// A row or a map attribute as the SDK has it.
pub type Attributes = HashMap<String, AttributeValue>;

/// JSON to DynamoDB. The error says what has no counterpart.
pub fn to_attribute(value: &Value) -> Result<AttributeValue, String> {
    Ok(match value {
        Value::Null => return Err("a JSON null can't be stored: leave the attribute out".into()),
        Value::Bool(flag) => AttributeValue::Bool(*flag),
        Value::Number(number) => AttributeValue::N(number.to_string()),
        Value::String(text) => AttributeValue::S(text.clone()),
        Value::Array(values) => {
            AttributeValue::L(values.iter().map(to_attribute).collect::<Result<_, _>>()?)
        }
        Value::Object(map) => AttributeValue::M(to_attributes(map)?),
    })
}

/// A JSON object to DynamoDB.
pub fn to_attributes(map: &Map<String, Value>) -> Result<Attributes, String> {
    map.iter().map(|(name, value)| Ok((name.clone(), to_attribute(value)?))).collect()
}

/// DynamoDB to JSON. The error names the kind that no record of ours holds.
#[expect(clippy::wildcard_enum_match_arm, reason = "the SDK's enum may grow")]
pub fn to_json(value: &AttributeValue) -> Result<Value, String> {
    Ok(match value {
        AttributeValue::Bool(flag) => Value::Bool(*flag),
        AttributeValue::N(digits) => Value::Number(number(digits)?),
        AttributeValue::S(text) => Value::String(text.clone()),
        AttributeValue::L(values) => {
            Value::Array(values.iter().map(to_json).collect::<Result<_, _>>()?)
        }
        AttributeValue::M(map) => Value::Object(to_json_map(map)?),
        AttributeValue::B(_) | AttributeValue::Bs(_) => return Err("it is binary".into()),
        AttributeValue::Ns(_) | AttributeValue::Ss(_) => return Err("it is a set".into()),
        AttributeValue::Null(_) => return Err("it is null".into()),
        _ => return Err("its kind is unknown".into()),
    })
}

/// A row or a map attribute to a JSON object.
pub fn to_json_map(map: &Attributes) -> Result<Map<String, Value>, String> {
    map.iter()
        .map(|(name, value)| match to_json(value) {
            Ok(json) => Ok((name.clone(), json)),
            Err(why) => Err(format!("attribute {name}: {why}")),
        })
        .collect()
}

/// Whole numbers exactly; anything else as the nearest float.
fn number(digits: &str) -> Result<Number, String> {
    if let Ok(whole) = digits.parse::<u64>() {
        return Ok(whole.into());
    }
    if let Ok(whole) = digits.parse::<i64>() {
        return Ok(whole.into());
    }
    let float = digits.parse::<f64>().ok().and_then(Number::from_f64);
    float.ok_or_else(|| format!("the number {digits} can't be read"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_goes_in_comes_out() {
        let value = json!({
            "most": u64::MAX, "least": i64::MIN, "text": "", "flag": false, "part": 0.5,
            "list": [1, "two", {"three": [true]}], "empty": {}
        });
        let there = to_attribute(&value).expect("no null inside");
        assert_eq!(to_json(&there).expect("made by us"), value);
    }

    #[test]
    fn what_no_record_holds_is_refused() {
        assert!(to_attribute(&json!([null])).is_err());
        for foreign in [
            AttributeValue::Null(true),
            AttributeValue::Ss(vec!["a".into()]),
            AttributeValue::N("1e999".into()),
        ] {
            assert!(to_json(&foreign).is_err(), "{foreign:?}");
        }
    }
}
