//! The committed description of the API is the one that the code generates.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Server, database};
use serde_json::Value;
use std::collections::BTreeSet;

/// At the root of the repository, for those who generate clients.
const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../openapi.json");
/// Set to anything, the test writes the file instead of comparing it.
const REFRESH: &str = "FAULTLINE_REFRESH";

#[test]
fn the_committed_description_is_current() {
    let generated = faultline_server::openapi();
    if std::env::var_os(REFRESH).is_some() {
        std::fs::write(COMMITTED, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(COMMITTED).unwrap_or_default();
    assert!(committed == generated, "openapi.json is out of date; run the tests once with {REFRESH}=1");
}

#[tokio::test]
async fn the_server_serves_it_and_points_at_it() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let served = server.get("/openapi.json").await.expect(200);
    assert_eq!(served, serde_json::from_str::<Value>(&faultline_server::openapi()).unwrap());
    assert_eq!(server.get("/").await.expect(200)["openapi"], "/openapi.json");
    assert!(served["openapi"].as_str().unwrap().starts_with("3.1"));
}

#[test]
fn every_reference_resolves() {
    let description: Value = serde_json::from_str(&faultline_server::openapi()).unwrap();
    let mut references = BTreeSet::new();
    collect(&description, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(description.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn every_operation_has_a_name_of_its_own() {
    let description: Value = serde_json::from_str(&faultline_server::openapi()).unwrap();
    let paths = description["paths"].as_object().unwrap();
    let operations: Vec<&str> = paths
        .values()
        .flat_map(|path| path.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(operations.iter().collect::<BTreeSet<_>>().len(), operations.len(), "{operations:?}");
}

fn collect(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            references.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| collect(value, references));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}
