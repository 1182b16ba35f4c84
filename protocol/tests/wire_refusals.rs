//! **wire_refusals** — what isn't as written is refused by name, and nothing makes a reader panic.
//!
//! Comes from the records of `tests/golden/`, broken in every place and in every way. Goes through
//! every reader.

mod records;

use protocol::{
    cluster::Digest,
    pack::Pack,
    wire::{self, WireError},
};
use serde_json::{Value, json};

/// A record as JSON, and its reader, which answers with what an encoder makes of the record.
struct Subject {
    name: &'static str,
    version: &'static str,
    full: Value,
    minimal: Value,
    again: fn(&[u8]) -> Result<Value, WireError>,
}

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("an encoder wrote it")
}

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("JSON serializes")
}

/// Rows come parsed from the lock table; what isn't a map can't come from there.
fn map(bytes: &[u8]) -> serde_json::Map<String, Value> {
    serde_json::from_slice(bytes).unwrap_or_default()
}

/// A pack's index without the trailer behind it.
fn index(pack: &Pack) -> Value {
    let mut tail = wire::encode_pack_tail(pack, pack.bytes());
    tail.truncate(tail.len() - wire::PACK_TRAILER);
    value(&tail)
}

/// Reads an index behind a trailer that fits it, as only a forger's would.
fn index_again(bytes: &[u8]) -> Result<Value, WireError> {
    let trailer = wire::PackTrailer {
        index_len: bytes.len() as u64,
        blocks_len: records::full_pack().bytes(),
        index_sha256: Digest::of(bytes),
    };
    wire::parse_pack_index(&trailer, bytes).map(|record| index(&record))
}

fn subjects() -> Vec<Subject> {
    let subject =
        |name, version, full, minimal, again| Subject { name, version, full, minimal, again };
    let cluster = value(&wire::encode_cluster(&records::cluster()));
    vec![
        subject("cluster", "v", cluster.clone(), cluster, |bytes| {
            wire::parse_cluster(bytes).map(|record| value(&wire::encode_cluster(&record)))
        }),
        subject(
            "vote",
            "v",
            value(&wire::encode_vote(&records::full_vote())),
            value(&wire::encode_vote(&records::minimal_vote())),
            |bytes| wire::parse_vote(bytes).map(|record| value(&wire::encode_vote(&record))),
        ),
        subject(
            "manifest",
            "v",
            value(&wire::encode_manifest(&records::demanding_manifest())),
            value(&wire::encode_manifest(&records::minimal_manifest())),
            |bytes| {
                wire::parse_manifest(bytes).map(|record| value(&wire::encode_manifest(&record)))
            },
        ),
        subject(
            "plan",
            "v",
            value(&wire::encode_plan(&records::full_plan())),
            value(&wire::encode_plan(&records::minimal_plan())),
            |bytes| wire::parse_plan(bytes).map(|record| value(&wire::encode_plan(&record))),
        ),
        subject(
            "pack",
            "v",
            index(&records::full_pack()),
            index(&records::minimal_pack()),
            index_again,
        ),
        subject(
            "ctrl",
            "layout",
            Value::Object(wire::encode_ctrl(&records::full_ctrl())),
            Value::Object(wire::encode_ctrl(&records::minimal_ctrl())),
            |bytes| {
                wire::parse_ctrl(&map(bytes))
                    .map(|record| Value::Object(wire::encode_ctrl(&record)))
            },
        ),
        subject(
            "slot",
            "layout",
            Value::Object(wire::encode_slot(&records::full_slot())),
            Value::Object(wire::encode_slot(&records::minimal_slot())),
            |bytes| {
                wire::parse_slot(&map(bytes))
                    .map(|record| Value::Object(wire::encode_slot(&record)))
            },
        ),
        subject(
            "save",
            "layout",
            Value::Object(wire::encode_save(&records::full_saver())),
            Value::Object(wire::encode_save(&records::minimal_saver())),
            |bytes| {
                wire::parse_save(&map(bytes))
                    .map(|record| Value::Object(wire::encode_save(&record)))
            },
        ),
    ]
}

/// Every place below the root: as JSON pointer and as a refusal spells it.
fn places(value: &Value, pointer: &str, path: &str, out: &mut Vec<(String, String)>) {
    let inner: Vec<(String, String, &Value)> = match value {
        Value::Object(map) => map
            .iter()
            .map(|(name, inner)| {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                (format!("{pointer}/{name}"), path, inner)
            })
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(index, inner)| (format!("{pointer}/{index}"), format!("{path}[{index}]"), inner))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    for (pointer, path, inner) in inner {
        places(inner, &pointer, &path, out);
        out.push((pointer, path));
    }
}

fn all_places(value: &Value) -> Vec<(String, String)> {
    let mut out = Vec::new();
    places(value, "", "", &mut out);
    out
}

/// Removes the field at `pointer`; `false` for an element of a list.
fn remove(value: &mut Value, pointer: &str) -> bool {
    let (parent, name) = pointer.rsplit_once('/').expect("a place below the root");
    let parent = value.pointer_mut(parent).and_then(Value::as_object_mut);
    parent.is_some_and(|map| map.remove(name).is_some())
}

#[test]
fn a_value_of_another_kind_is_refused_and_named() {
    let wrong = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!("?"),
        json!([]),
        json!({}),
    ];
    for subject in subjects() {
        for (pointer, path) in all_places(&subject.full) {
            for wrong in &wrong {
                let mut broken = subject.full.clone();
                let place = broken.pointer_mut(&pointer).expect("it was found there");
                let kind = std::mem::discriminant(place);
                *place = wrong.clone();
                match (subject.again)(&bytes(&broken)) {
                    Ok(_) => {
                        assert_eq!(
                            kind,
                            std::mem::discriminant(wrong),
                            "{} {path} = {wrong}",
                            subject.name
                        );
                        assert!(
                            !wrong.is_number(),
                            "{} {path} = {wrong} is no number of ours",
                            subject.name
                        );
                    }
                    // A map with nothing in it misses a field inside.
                    Err(error) if *wrong == json!({}) => {
                        assert!(error.to_string().contains(&path), "{error}")
                    }
                    Err(error) => {
                        assert!(error.to_string().contains(&format!("`{path}`")), "{path}: {error}")
                    }
                }
            }
        }
    }
}

#[test]
fn a_missing_field_is_refused_and_named_unless_it_is_optional() {
    for subject in subjects() {
        let required = all_places(&subject.minimal);
        for (pointer, path) in all_places(&subject.full) {
            let mut broken = subject.full.clone();
            if !remove(&mut broken, &pointer) {
                continue;
            }
            match (subject.again)(&bytes(&broken)) {
                Ok(again) => {
                    assert!(
                        !required.iter().any(|(place, _)| *place == pointer),
                        "{} {path}",
                        subject.name
                    );
                    assert_eq!(again, broken, "{}: absent stays absent", subject.name);
                }
                Err(error) => {
                    assert!(error.to_string().ends_with(&format!("`{path}` is missing")), "{error}")
                }
            }
        }
    }
}

#[test]
fn an_unknown_version_is_refused_with_the_way_out() {
    for subject in subjects() {
        let known = if ["manifest", "pack"].contains(&subject.name) { 2 } else { 1 };
        for unknown in [0, known + 1, 1_000] {
            let mut newer = json!({}); // nothing else need be there: the version is read first
            newer[subject.version] = json!(unknown);
            let error = (subject.again)(&bytes(&newer)).expect_err("no such version");
            assert_eq!(
                error.to_string().split_once(" field ").map(|(_, what)| what),
                Some(
                    format!(
                        "`{}` is {unknown} and this program reads only {known}: upgrade requorum on this machine",
                        subject.version
                    )
                    .as_str()
                ),
                "{error}"
            );
        }
    }
}

#[test]
fn unknown_fields_are_ignored_everywhere() {
    for subject in subjects() {
        let mut maps: Vec<String> =
            all_places(&subject.full).into_iter().map(|(pointer, _)| pointer).collect();
        maps.push(String::new());
        let mut newer = subject.full.clone();
        for pointer in maps {
            if let Some(Value::Object(map)) = newer.pointer_mut(&pointer) {
                map.insert("from a later version".to_owned(), json!([null, { "a": 1.5 }]));
            }
        }
        assert_eq!((subject.again)(&bytes(&newer)), Ok(subject.full), "{}", subject.name);
    }
}

#[test]
fn ids_and_digests_have_one_spelling() {
    let cases = [
        ("/fence/log/configs/0/0", "0A"),
        ("/fence/log/configs/0/0", "0a"),
        ("/fence/log/configs/0/0", "+a"),
        ("/fence/log/configs/0/0", "10000000000000000"),
        ("/ran/member_id", ""),
        ("/restore/plan", "00"),
        ("/fence/kind", "Consent"),
    ];
    let full = Value::Object(wire::encode_slot(&records::full_slot()));
    for (pointer, wrong) in cases {
        let mut broken = full.clone();
        *broken.pointer_mut(pointer).expect("it is there") = json!(wrong);
        assert!(wire::parse_slot(&map(&bytes(&broken))).is_err(), "{pointer} = {wrong}");
    }
}

#[test]
fn lists_that_would_break_arithmetic_are_refused() {
    let refused = |pointer: &str, wrong: Value| {
        let mut broken = Value::Object(wire::encode_ctrl(&records::full_ctrl()));
        *broken.pointer_mut(pointer).expect("it is there") = wrong;
        wire::parse_ctrl(&map(&bytes(&broken))).expect_err("it is refused").to_string()
    };
    assert_eq!(refused("/slots", json!([])), "the row `ctrl`'s field `slots` holds no seat");
    assert_eq!(
        refused("/members/1/slot", json!(0)),
        "the row `ctrl`'s field `members` holds slot 0 twice"
    );
    assert_eq!(
        refused("/slots/1/slot", json!(9)),
        "the row `ctrl`'s field `slots[1].slot` is 9 and slots are 0 to 8"
    );
    let nobody = json!([["a"], []]);
    let mut slot = Value::Object(wire::encode_slot(&records::full_slot()));
    *slot.pointer_mut("/fence/log/configs").expect("it is there") = nobody;
    let error = wire::parse_slot(&map(&bytes(&slot))).expect_err("nothing would block it");
    assert_eq!(error.to_string(), "the row `slot`'s field `fence.log.configs[1]` holds no voter");
}

#[test]
fn what_is_no_json_is_refused() {
    for wrong in [&b""[..], b"{", b"\xff", b"[1]", b"null", b"{\"v\":1}x", &[b'['; 100_000]] {
        assert!(wire::parse_vote(wrong).is_err());
        assert!(wire::parse_plan(wrong).is_err());
    }
}

/// SplitMix64: a mutation must be the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).expect("below a usize")
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        const TELLING: &[u8] = b"{}[]\",:-.eE0199\\untfals\x00\xff ";
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len().max(1));
            let byte = TELLING[self.below(TELLING.len())];
            match self.below(5) {
                0 if at < bytes.len() => drop(bytes.remove(at)),
                1 => bytes.insert(at, byte),
                2 => bytes.truncate(at),
                3 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                _ if at < bytes.len() => bytes[at] = byte,
                _ => bytes.push(byte),
            }
        }
    }
}

#[test]
fn no_mutation_makes_a_reader_panic_and_what_is_accepted_reads_back() {
    let mut random = Random(1);
    for subject in subjects() {
        let original = bytes(&subject.full);
        let mut accepted = 0;
        for _ in 0..4_000 {
            let mut broken = original.clone();
            random.mutate(&mut broken);
            if let Ok(again) = (subject.again)(&broken) {
                accepted += 1;
                assert_eq!((subject.again)(&bytes(&again)), Ok(again.clone()), "{}", subject.name);
            }
        }
        assert!(accepted > 0, "{}: some mutations only change a text", subject.name);
    }
}
