//! **stores** — S3 and DynamoDB as simulated hosts: the drills' own S3 and dynoxide's engine behind
//! HTTP/1.1 on turmoil's TCP.
//!
//! What they hold lives outside their hosts and survives a crash. A store in trouble refuses some
//! requests, and answers others with 500 although it has done them. After each write the table's
//! records are shown to the [watch](super::watch).

use super::world::{Mood, Shared, Store};
use agent::adapters::expressions::{ROW, UID};
use bytes::Bytes;
use dynoxide::{Database, DynoxideError};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use protocol::{registry::Records, wire};
use s3s::service::S3Service;
use serde_json::{Map, Value, json};
use std::{error::Error, future::Future, io, net::Ipv4Addr};
use turmoil::net::TcpListener;

/// The port both listen on.
const PORT: u16 = 80;

/// S3, until its host ends.
pub(crate) async fn bucket(shared: Shared, service: S3Service) -> turmoil::Result {
    let answer = move |request: Request<Incoming>| {
        let (service, shared) = (service.clone(), shared.clone());
        async move {
            let mood = shared.lock().mood(Store::Bucket);
            if mood == Mood::Refuse {
                return plain(StatusCode::SERVICE_UNAVAILABLE, s3s::Body::empty());
            }
            // only what may change which snapshots there are; a vote a second is written besides
            let path = request.uri().path();
            let saves =
                !request.method().is_safe() && (path.contains("/snap/") || path.contains("/data/"));
            let answer = hyper::service::Service::call(&service, request).await;
            shared.lock().shelf.changed |= saves;
            match answer {
                Ok(_) if mood == Mood::Forget => {
                    plain(StatusCode::INTERNAL_SERVER_ERROR, s3s::Body::empty())
                }
                Ok(answer) => Ok(answer),
                Err(error) => Err(io::Error::other(format!("{error:?}"))),
            }
        }
    };
    serve(answer).await
}

/// DynamoDB, until its host ends.
pub(crate) async fn table(shared: Shared, database: Database) -> turmoil::Result {
    let answer = move |request: Request<Incoming>| {
        let (database, shared) = (database.clone(), shared.clone());
        async move {
            let mood = shared.lock().mood(Store::Table);
            if mood == Mood::Refuse {
                return plain(StatusCode::SERVICE_UNAVAILABLE, Full::default());
            }
            let target = request.headers().get("x-amz-target").and_then(|it| it.to_str().ok());
            let operation = target.and_then(|target| target.split_once('.'));
            let operation = operation.map(|(_, name)| name.to_owned()).unwrap_or_default();
            let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
            let (status, text) = match perform(&database, &operation, &body) {
                Ok(text) => (StatusCode::OK, text),
                Err(error) => (
                    StatusCode::from_u16(error.status_code()).map_err(io::Error::other)?,
                    error.to_json(),
                ),
            };
            if status == StatusCode::OK
                && let Some(uid) = written(&operation, &body)
            {
                let records = records(&database, &uid).map_err(io::Error::other)?;
                shared.lock().wrote(uid, records);
            }
            if mood == Mood::Forget {
                return plain(StatusCode::INTERNAL_SERVER_ERROR, Full::default());
            }
            plain(status, Full::new(Bytes::from(text)))
        }
    };
    serve(answer).await
}

/// An empty lock table.
pub(crate) fn empty_table() -> Database {
    let database = Database::memory().expect("SQLite in memory opens");
    let request = json!({
        "TableName": super::TABLE, "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [
            { "AttributeName": UID, "KeyType": "HASH" },
            { "AttributeName": ROW, "KeyType": "RANGE" },
        ],
        "AttributeDefinitions": [
            { "AttributeName": UID, "AttributeType": "S" },
            { "AttributeName": ROW, "AttributeType": "S" },
        ],
    });
    let request = serde_json::from_value(request).expect("the request is what dynoxide takes");
    database.create_table(request).expect("the table is new");
    database
}

fn plain<B>(status: StatusCode, body: B) -> io::Result<Response<B>> {
    let answer = Response::builder().status(status);
    answer.header("content-type", "application/x-amz-json-1.0").body(body).map_err(io::Error::other)
}

async fn serve<A, F, B>(answer: A) -> turmoil::Result
where
    A: Fn(Request<Incoming>) -> F + Clone + 'static,
    F: Future<Output = io::Result<Response<B>>> + 'static,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let answer = answer.clone();
        tokio::task::spawn_local(async move {
            let served = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .await;
            drop(served); // a connection that breaks is the client's to notice
        });
    }
}

/// What the adapter asks for, by dynoxide's engine.
fn perform(database: &Database, operation: &str, body: &[u8]) -> Result<String, DynoxideError> {
    fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, DynoxideError> {
        serde_json::from_slice(body)
            .map_err(|error| DynoxideError::SerializationException(error.to_string()))
    }
    let answer = match operation {
        "CreateTable" => json!(database.create_table(read(body)?)?),
        "DescribeTable" => json!(database.describe_table(read(body)?)?),
        "GetItem" => json!(database.get_item(read(body)?)?),
        "Query" => json!(database.query(read(body)?)?),
        "UpdateItem" => json!(database.update_item(read(body)?)?),
        "TransactWriteItems" => json!(database.transact_write_items(read(body)?)?),
        other => return Err(DynoxideError::ValidationException(format!("no {other} here"))),
    };
    Ok(answer.to_string())
}

/// The uid whose rows a request wrote.
fn written(operation: &str, body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let key = match operation {
        "UpdateItem" => &body["Key"],
        "TransactWriteItems" => &body["TransactItems"][0]["Update"]["Key"],
        _ => return None,
    };
    key[UID]["S"].as_str().map(str::to_owned)
}

/// All records of `uid`, read past the network.
fn records(database: &Database, uid: &str) -> Result<Records, String> {
    let query = json!({
        "TableName": super::TABLE, "ConsistentRead": true, "KeyConditionExpression": "#u = :u",
        "ExpressionAttributeNames": { "#u": UID },
        "ExpressionAttributeValues": { ":u": { "S": uid } },
    });
    let answer = perform(database, "Query", query.to_string().as_bytes());
    let answer: Value = serde_json::from_str(&answer.map_err(|error| error.to_string())?)
        .map_err(|error| error.to_string())?;
    let mut rows = Vec::new();
    for item in answer["Items"].as_array().into_iter().flatten() {
        let mut attributes = Map::new();
        for (name, value) in item.as_object().into_iter().flatten() {
            attributes.insert(name.clone(), untyped(value));
        }
        attributes.remove(UID);
        let row = attributes.remove(ROW).unwrap_or_default();
        rows.push((row.as_str().unwrap_or_default().to_owned(), attributes));
    }
    wire::parse_records(rows.iter().map(|(row, attributes)| (row.as_str(), attributes)))
        .map_err(|error| error.to_string())
}

/// DynamoDB's `{"S": "text"}` as the JSON that our records are written in.
fn untyped(value: &Value) -> Value {
    let Some((kind, value)) = value.as_object().and_then(|typed| typed.iter().next()) else {
        return Value::Null;
    };
    match (kind.as_str(), value) {
        ("N", Value::String(number)) => serde_json::from_str(number).unwrap_or_default(),
        ("L", Value::Array(list)) => list.iter().map(untyped).collect(),
        ("M", Value::Object(map)) => {
            map.iter().map(|(name, value)| (name.clone(), untyped(value))).collect()
        }
        _ => value.clone(),
    }
}
