//! **registry_contract** — what the lock table promises, asked of every table there is: the embedded
//! server, through the real SDK client, and the one in memory by which walkthroughs are told.

mod memory;
mod probe;

use agent::{
    adapters::{
        aws::{Clients, Settings, clients},
        dynamodb::DynamoTable,
    },
    ports::{
        object_store::StoreError,
        registry::{Item, ItemWrite, Registry},
    },
};
use protocol::registry::{Guard, Scalar, Written};
use serde_json::{Map, Value, json};
use simulations::drill::table_server::TableServer;
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};
use tokio::task::JoinSet;

const RACERS: u64 = 32;
const ROUNDS: u64 = 20;

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

async fn client(s3: &str, dynamodb: &str) -> Clients {
    let settings = Settings {
        region: Some("us-east-1".into()),
        s3_endpoint: Some(s3.to_owned()),
        dynamodb_endpoint: Some(dynamodb.to_owned()),
        credentials: Some(("contract".into(), "secret".into())),
        transport: None,
        ..Settings::default()
    };
    clients(&settings).await.expect("a region is set")
}

/// A server in memory and a table on it.
async fn table() -> (TableServer, DynamoTable) {
    let server = TableServer::start(loopback(), None).await.expect("a server");
    let table =
        DynamoTable::new(client("http://127.0.0.1:9", &server.url()).await.dynamodb, "locks");
    table.create_table().await.expect("a table");
    (server, table)
}

/// Every table; the server ends when it is dropped.
async fn tables() -> (TableServer, [Arc<dyn Registry>; 2]) {
    let (server, table) = table().await;
    (server, [Arc::new(table), Arc::new(memory::MemoryTable::default())])
}

fn map(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("an object")
}

/// A write without checks.
fn write(row: &str, op: &str, guard: Guard, set: Value) -> ItemWrite {
    let mut set = map(set);
    set.insert("op_id".into(), op.into());
    ItemWrite { row: row.into(), guard, set, remove: Vec::new(), checks: Vec::new() }
}

fn always() -> Guard {
    Guard::All(Vec::new())
}

fn number(path: &'static str, number: u64) -> Guard {
    Guard::Is(path, Scalar::Number(number))
}

fn text(path: &'static str, text: &str) -> Guard {
    Guard::Is(path, Scalar::Text(text.into()))
}

async fn row(table: &dyn Registry, uid: &str, row: &str) -> Option<Map<String, Value>> {
    let items = table.read(uid).await.expect("reachable");
    items.into_iter().find(|item| item.row == row).map(|item| item.attributes)
}

#[tokio::test]
async fn values_survive_and_only_named_attributes_change() {
    let (_server, tables) = tables().await;
    for table in tables {
        values_survive(table).await;
    }
}

async fn values_survive(table: Arc<dyn Registry>) {
    let set = json!({
        "most": u64::MAX, "id": 9_007_199_254_740_993_u64, "text": "", "flag": true,
        "list": [{"slot": 1, "id": u64::MAX - 1}], "map": {"deep": {"er": "x"}}, "gone": 1
    });
    let first = write("ctrl", "op-1", Guard::Absent("op_id"), set.clone());
    assert_eq!(table.read("c").await, Ok(vec![]));
    assert_eq!(table.write("c", &first).await, Ok(Written::Applied));
    let mut second = write("ctrl", "op-2", number("most", u64::MAX), json!({"flag": false}));
    second.remove = vec!["gone".into(), "never was".into()];
    assert_eq!(table.write("c", &second).await, Ok(Written::Applied));
    let mut expected = map(set);
    expected.insert("op_id".into(), "op-2".into());
    expected.insert("flag".into(), false.into());
    expected.remove("gone");
    let item = Item { row: "ctrl".into(), attributes: expected };
    assert_eq!(table.read("c").await, Ok(vec![item]));
    assert_eq!(table.read("another").await, Ok(vec![]));

    let null = write("ctrl", "op-3", always(), json!({"x": null}));
    assert!(matches!(table.write("c", &null).await, Err(StoreError::Bad(_))));
    let mut untagged = write("ctrl", "", always(), json!({}));
    untagged.set.clear();
    assert!(matches!(table.write("c", &untagged).await, Err(StoreError::Bad(_))));
}

/// A guard judged the simple way.
fn holds(row: Option<&Value>, guard: &Guard) -> bool {
    let at = |path: &str| row.and_then(|row| row.pointer(&format!("/{}", path.replace('.', "/"))));
    match guard {
        Guard::Absent(path) => at(path).is_none(),
        Guard::Is(path, Scalar::Number(wanted)) => at(path) == Some(&json!(wanted)),
        Guard::Is(path, Scalar::Text(wanted)) => at(path) == Some(&json!(wanted)),
        Guard::Is(path, Scalar::Flag(wanted)) => at(path) == Some(&json!(wanted)),
        Guard::Below(path, bound) => at(path).and_then(Value::as_u64).is_some_and(|n| n < *bound),
        Guard::AtMost(path, bound) => at(path).and_then(Value::as_u64).is_some_and(|n| n <= *bound),
        Guard::All(guards) => guards.iter().all(|guard| holds(row, guard)),
        Guard::Any(guards) => guards.iter().any(|guard| holds(row, guard)),
    }
}

fn guards() -> Vec<Guard> {
    vec![
        Guard::Absent("n"),
        Guard::Absent("lease"),
        Guard::Absent("lease.epoch"),
        number("n", 7),
        number("lease.epoch", u64::MAX),
        text("lease.holder.nonce", "a"),
        text("name", "7"),
        Guard::Is("lease.released", Scalar::Flag(true)),
        Guard::Below("n", 7),
        Guard::Below("lease.epoch", u64::MAX),
        Guard::AtMost("n", 7),
        Guard::AtMost("n", 6),
        always(),
        Guard::Any(Vec::new()),
        Guard::All(vec![number("n", 7), Guard::Absent("lease")]),
        Guard::Any(vec![Guard::Absent("n"), Guard::Below("n", 8)]),
        Guard::All(vec![
            Guard::Any(vec![
                Guard::Absent("lease"),
                Guard::Is("lease.released", Scalar::Flag(true)),
            ]),
            Guard::AtMost("n", 7),
        ]),
    ]
}

#[tokio::test]
async fn every_guard_on_every_row_is_judged_as_it_reads() {
    let (_server, tables) = tables().await;
    for table in tables {
        guards_are_judged(table).await;
    }
}

async fn guards_are_judged(table: Arc<dyn Registry>) {
    let rows = [
        None,
        Some(json!({})),
        Some(json!({"n": 0})),
        Some(json!({"n": 6, "name": "7"})),
        Some(json!({"n": 7, "name": 7})),
        Some(json!({"n": "7"})),
        Some(json!({"n": u64::MAX, "lease": {}})),
        Some(
            json!({"n": 7, "lease": {"epoch": u64::MAX, "released": true, "holder": {"nonce": "a"}}}),
        ),
        Some(json!({"n": 8, "lease": {"epoch": u64::MAX - 1, "released": false, "holder": "a"}})),
    ];
    let mut judged = [0, 0];
    for (r, stored) in rows.iter().enumerate() {
        for (g, guard) in guards().into_iter().enumerate() {
            let uid = format!("{r}-{g}");
            if let Some(stored) = stored {
                let there = write("ctrl", "before", Guard::Absent("op_id"), stored.clone());
                assert_eq!(table.write(&uid, &there).await, Ok(Written::Applied));
            }
            let expected = holds(stored.as_ref(), &guard);
            let change = write("ctrl", "after", guard, json!({"changed": true}));
            let written = table.write(&uid, &change).await.expect("an answer");
            assert_eq!(written == Written::Applied, expected, "{:?} on {stored:?}", change.guard);
            let now = row(&*table, &uid, "ctrl").await;
            assert_eq!(now.is_some_and(|row| row.contains_key("changed")), expected);
            judged[usize::from(expected)] += 1;
        }
    }
    assert!(judged[0] > 40 && judged[1] > 40, "both answers must occur: {judged:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_writes_is_applied() {
    let (_server, tables) = tables().await;
    for table in tables {
        one_is_applied(table).await;
    }
}

async fn one_is_applied(table: Arc<dyn Registry>) {
    // Plain writes and writes under checks race each other: the guard is the same.
    for round in 0..ROUNDS {
        let mut racers = JoinSet::new();
        for racer in 0..RACERS {
            let table = table.clone();
            let guard =
                if round == 0 { Guard::Absent("version") } else { number("version", round) };
            let set = json!({"version": round + 1, "winner": racer});
            let mut change = write("ctrl", &format!("op-{round}-{racer}"), guard, set);
            if racer % 2 == 0 {
                change.checks = vec![("slot#0".into(), Guard::Absent("version"))];
            }
            racers
                .spawn(async move { (racer, table.write("c", &change).await.expect("an answer")) });
        }
        let outcomes = racers.join_all().await;
        let won: Vec<_> =
            outcomes.iter().filter(|(_, written)| *written == Written::Applied).collect();
        assert_eq!(won.len(), 1, "round {round}: {won:?}");
        // A consistent read sees at once what was answered.
        let now = row(&*table, "c", "ctrl").await.expect("written");
        assert_eq!((&now["version"], &now["winner"]), (&json!(round + 1), &json!(won[0].0)));
    }
}

#[tokio::test]
async fn checks_on_other_rows_hold_or_nothing_is_written() {
    let (_server, tables) = tables().await;
    for table in tables {
        checks_hold(table).await;
    }
}

async fn checks_hold(table: Arc<dyn Registry>) {
    let seat = write("slot#0", "op-s", Guard::Absent("gen"), json!({"gen": 3}));
    assert_eq!(table.write("c", &seat).await, Ok(Written::Applied));
    let mut commit = write("ctrl", "op-1", Guard::Absent("version"), json!({"version": 1}));
    for failing in [
        vec![("slot#0".to_owned(), number("gen", 2))],
        vec![("slot#0".to_owned(), number("gen", 3)), ("slot#1".to_owned(), number("gen", 1))],
        vec![("slot#1".to_owned(), Guard::Any(vec![]))],
    ] {
        commit.checks = failing;
        assert_eq!(table.write("c", &commit).await, Ok(Written::Refused), "{:?}", commit.checks);
        assert_eq!(row(&*table, "c", "ctrl").await, None);
    }
    commit.set.insert("op_id".into(), "op-2".into());
    commit.checks =
        vec![("slot#0".into(), Guard::AtMost("gen", 3)), ("slot#1".into(), Guard::Absent("gen"))];
    assert_eq!(table.write("c", &commit).await, Ok(Written::Applied));
    commit.set.insert("op_id".into(), "op-3".into());
    assert_eq!(table.write("c", &commit).await, Ok(Written::Refused), "its own guard fails now");
    assert_eq!(row(&*table, "c", "slot#0").await, Some(map(json!({"gen": 3, "op_id": "op-s"}))));
}

#[tokio::test]
async fn a_lost_answer_is_healed() {
    let (server, table) = table().await;
    let long = "an op_id that is longer than a client request token may be";
    for (round, op) in ["op-plain", "op-short", long].into_iter().enumerate() {
        let uid = format!("c{round}");
        let mut change = write("ctrl", op, Guard::Absent("version"), json!({"version": 1}));
        if round > 0 {
            change.checks = vec![("slot#0".into(), Guard::Absent("gen"))];
        }
        server.relay().lose_answers(1);
        assert_eq!(table.write(&uid, &change).await, Ok(Written::Applied), "{op}");
        assert_eq!(server.relay().answers_to_lose(), 0);
        // Asked again later, it is still known as applied; somebody else's is not.
        assert_eq!(table.write(&uid, &change).await, Ok(Written::Applied), "{op} again");
        change.set.insert("op_id".into(), format!("other-{round}").into());
        assert_eq!(table.write(&uid, &change).await, Ok(Written::Refused));

        server.relay().lose_answers(u32::MAX);
        change.guard = number("version", 1);
        change.set.insert("version".into(), 2.into());
        change.set.insert("op_id".into(), format!("next-{round}").into());
        let unknown = table.write(&uid, &change).await;
        assert!(matches!(unknown, Err(StoreError::Unavailable(_))), "{unknown:?}");
        server.relay().lose_answers(0);
        assert_eq!(table.write(&uid, &change).await, Ok(Written::Applied));
        assert_eq!(row(&table, &uid, "ctrl").await.expect("written")["version"], 2);
    }
}

/// A refusal by a check alone does not show our own row: the adapter reads it back.
#[tokio::test]
async fn a_refusal_that_shows_nothing_is_healed_by_reading_back() {
    let (_server, tables) = tables().await;
    for table in tables {
        refusals_are_healed(table).await;
    }
}

async fn refusals_are_healed(table: Arc<dyn Registry>) {
    let op = "an op_id that is longer than a client request token may be";
    let mut change = write("ctrl", op, always(), json!({"version": 1}));
    change.checks = vec![("slot#0".into(), Guard::Absent("gen"))];
    assert_eq!(table.write("c", &change).await, Ok(Written::Applied));
    let seat = write("slot#0", "op-s", always(), json!({"gen": 1}));
    assert_eq!(table.write("c", &seat).await, Ok(Written::Applied));
    assert_eq!(table.write("c", &change).await, Ok(Written::Applied), "it carries our op_id");
    change.set.insert("op_id".into(), "op-other".into());
    assert_eq!(table.write("c", &change).await, Ok(Written::Refused));
}

#[tokio::test]
async fn reads_have_all_pages() {
    let (_server, table) = table().await;
    let large = "x".repeat(200 << 10); // ten of them exceed a page's 1 MB
    for slot in 0..10 {
        let seat = write(&format!("slot#{slot}"), "op", always(), json!({"large": large}));
        assert_eq!(table.write("c", &seat).await, Ok(Written::Applied));
    }
    assert_eq!(table.read("c").await.expect("reachable").len(), 10);
}

#[tokio::test]
async fn a_table_is_made_once_and_kept() {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let server = TableServer::start(loopback(), Some(dir.path())).await.expect("a server");
    let dynamodb = client("http://127.0.0.1:9", &server.url()).await.dynamodb;
    let table = DynamoTable::new(dynamodb.clone(), "locks");
    let missing = table.read("c").await.expect_err("no table yet");
    assert!(
        matches!(&missing, StoreError::Missing(why) if why.contains("requorum create-table")),
        "{missing:?}"
    );
    let change = write("ctrl", "op-1", always(), json!({}));
    assert!(matches!(table.write("c", &change).await, Err(StoreError::Missing(_))));
    let (one, other) = tokio::join!(table.create_table(), table.create_table());
    assert_eq!((one, other, table.create_table().await), (Ok(()), Ok(()), Ok(())));
    assert_eq!(table.write("c", &change).await, Ok(Written::Applied));

    use aws_sdk_dynamodb::types::{
        AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    };
    let id = AttributeDefinition::builder().attribute_name("id");
    let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash);
    let foreign = dynamodb
        .create_table()
        .table_name("foreign")
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(id.attribute_type(ScalarAttributeType::S).build().expect("complete"))
        .key_schema(key.build().expect("complete"));
    foreign.send().await.expect("another table");
    let refused = DynamoTable::new(dynamodb, "foreign").create_table().await;
    assert!(
        matches!(&refused, Err(StoreError::Bad(why)) if why.contains("foreign") && why.contains("pk (S, hash) and sk (S, range)")),
        "{refused:?}"
    );

    server.cut(true);
    for error in [table.read("c").await.err(), table.write("c", &change).await.err()] {
        assert!(matches!(error, Some(StoreError::Unavailable(_))), "{error:?}");
    }
    server.stop().await.expect("a clean stop");
    let again = TableServer::start(loopback(), Some(dir.path())).await.expect("a server");
    let dynamodb = client("http://127.0.0.1:9", &again.url()).await.dynamodb;
    let table = DynamoTable::new(dynamodb, "locks");
    assert_eq!(row(&table, "c", "ctrl").await.expect("kept")["op_id"], "op-1");
    again.stop().await.expect("a clean stop");
}
