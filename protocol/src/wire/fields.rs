//! **fields** — a cursor over parsed JSON that knows where it is, so that every refusal names the
//! field it is about.
//!
//! Comes from bytes or a row. Goes to the readers of each record. Used instead of serde's derived
//! readers because those say "invalid type at line 3" and not which field is wrong.

use super::WireError;
use crate::{
    cluster::{ClusterId, Digest, MemberId, Slot},
    limits::SLOTS_MAX,
};
use alloc::{borrow::ToOwned, format, string::String, vec::Vec};
use core::{fmt::Display, ops::RangeInclusive};
use serde_json::{Map, Value};

/// The largest number a record may hold: etcd's are int64, and the sum of two fits in 64 bits.
const NUMBER_MAX: u64 = i64::MAX as u64;

/// Parses a file and hands its fields to `read`, after checking that its `v` is one of `versions`.
pub(super) fn parse_file<T>(
    record: &str,
    bytes: &[u8],
    versions: RangeInclusive<u64>,
    read: impl FnOnce(&Fields<'_>) -> Result<T, WireError>,
) -> Result<T, WireError> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| WireError(format!("the {record} is not JSON: {error}")))?;
    let root = Node { record, path: String::new(), value: Some(&value) };
    let fields = root.map()?;
    fields.version("v", versions)?;
    read(&fields)
}

/// Hands a row's attributes to `read`, after checking that its `layout` is `layout`.
pub(super) fn parse_row_of<T>(
    record: &str,
    map: &Map<String, Value>,
    layout: u64,
    read: impl FnOnce(&Fields<'_>) -> Result<T, WireError>,
) -> Result<T, WireError> {
    let fields = Fields { record, path: String::new(), map };
    fields.version("layout", layout..=layout)?;
    read(&fields)
}

/// A map inside a record.
pub(super) struct Fields<'a> {
    record: &'a str,
    path: String,
    map: &'a Map<String, Value>,
}

/// A place inside a record, and what stands there, if anything.
pub(super) struct Node<'a> {
    record: &'a str,
    path: String,
    value: Option<&'a Value>,
}

impl<'a> Fields<'a> {
    /// The field called `name`.
    pub(super) fn get(&self, name: &str) -> Node<'a> {
        let path =
            if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Node { record: self.record, path, value: self.map.get(name) }
    }

    fn version(&self, name: &str, known: RangeInclusive<u64>) -> Result<(), WireError> {
        let at = self.get(name);
        match at.number()? {
            found if known.contains(&found) => Ok(()),
            found => Err(at.wrong(format!(
                "is {found} and this program reads only {}: upgrade requorum on this machine",
                known.end()
            ))),
        }
    }
}

impl<'a> Node<'a> {
    /// Refuses what stands here: `problem` goes on where the field's name ends.
    pub(super) fn wrong(&self, problem: impl Display) -> WireError {
        match self.path.as_str() {
            "" => WireError(format!("the {} {problem}", self.record)),
            path => WireError(format!("the {}'s field `{path}` {problem}", self.record)),
        }
    }

    fn is_not(&self, wanted: &str) -> WireError {
        let Some(value) = self.value else {
            return self.wrong("is missing");
        };
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "a flag",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "a map",
        };
        self.wrong(format!("is {found} and not {wanted}"))
    }

    /// What `read` makes of it, or `None` where nothing stands.
    pub(super) fn optional<T>(
        &self,
        read: impl FnOnce(&Self) -> Result<T, WireError>,
    ) -> Result<Option<T>, WireError> {
        self.value.map(|_| read(self)).transpose()
    }

    /// A map.
    pub(super) fn map(&self) -> Result<Fields<'a>, WireError> {
        let map = self.value.and_then(Value::as_object).ok_or_else(|| self.is_not("a map"))?;
        Ok(Fields { record: self.record, path: self.path.clone(), map })
    }

    /// A list; each element is read by `read`.
    pub(super) fn list<T>(
        &self,
        read: impl Fn(&Self) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let list = self.value.and_then(Value::as_array).ok_or_else(|| self.is_not("a list"))?;
        list.iter()
            .enumerate()
            .map(|(index, value)| {
                let path = format!("{}[{index}]", self.path);
                read(&Node { record: self.record, path, value: Some(value) })
            })
            .collect()
    }

    fn str(&self) -> Result<&'a str, WireError> {
        self.value.and_then(Value::as_str).ok_or_else(|| self.is_not("a text"))
    }

    /// A text.
    pub(super) fn text(&self) -> Result<String, WireError> {
        self.str().map(ToOwned::to_owned)
    }

    /// True or false.
    pub(super) fn flag(&self) -> Result<bool, WireError> {
        self.value.and_then(Value::as_bool).ok_or_else(|| self.is_not("true or false"))
    }

    /// A whole number from 0 to 2^63-1.
    pub(super) fn number(&self) -> Result<u64, WireError> {
        let Some(Value::Number(number)) = self.value else {
            return Err(self.is_not("a number"));
        };
        number.as_u64().filter(|number| *number <= NUMBER_MAX).ok_or_else(|| {
            self.wrong(format!("is {number} and not a whole number from 0 to {NUMBER_MAX}"))
        })
    }

    /// A whole number from 0 to 2^32-1.
    pub(super) fn number32(&self) -> Result<u32, WireError> {
        let number = self.number()?;
        u32::try_from(number).map_err(|_| self.wrong(format!("is {number}, above {}", u32::MAX)))
    }

    /// A seat's number, below [`SLOTS_MAX`].
    pub(super) fn slot(&self) -> Result<Slot, WireError> {
        let number = self.number()?;
        u8::try_from(number)
            .ok()
            .filter(|slot| usize::from(*slot) < SLOTS_MAX)
            .map(Slot)
            .ok_or_else(|| self.wrong(format!("is {number} and slots are 0 to {}", SLOTS_MAX - 1)))
    }

    /// A SHA-256 in 64 lowercase hexadecimal digits.
    pub(super) fn digest(&self) -> Result<Digest, WireError> {
        Digest::parse(self.str()?)
            .ok_or_else(|| self.wrong("is not a digest of 64 lowercase hex digits"))
    }

    /// etcd's id of a member.
    pub(super) fn member_id(&self) -> Result<MemberId, WireError> {
        self.id().map(MemberId)
    }

    /// etcd's id of a cluster.
    pub(super) fn cluster_id(&self) -> Result<ClusterId, WireError> {
        self.id().map(ClusterId)
    }

    /// An id exactly as we write it: guards compare ids as texts, so each has one spelling only.
    fn id(&self) -> Result<u64, WireError> {
        let text = self.str()?;
        u64::from_str_radix(text, 16)
            .ok()
            .filter(|id| format!("{id:x}") == text)
            .ok_or_else(|| self.wrong("is not an id in lowercase hex digits without leading zeros"))
    }

    /// One of a closed list of names.
    pub(super) fn named<T>(&self, parse: fn(&str) -> Option<T>) -> Result<T, WireError> {
        parse(self.str()?).ok_or_else(|| self.wrong("is a name that this version doesn't know"))
    }
}
