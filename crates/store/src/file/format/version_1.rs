//! Version 1 of a token file: the same rows under other names, and in lists where version 2 has maps.

use serde_json::{Map, Value, json};

use crate::memory::snapshot::Snapshot;

/// The rows of a file of version 1.
pub(super) fn upgrade(mut file: Map<String, Value>) -> serde_json::Result<Snapshot> {
    let connections = file.get_mut("connections").and_then(Value::as_object_mut);
    let connections: Map<String, Value> =
        connections.map(std::mem::take).unwrap_or_default().into_iter().map(connection).collect();
    let attempts = by_id(&mut file, "attempts", |mut attempt| {
        let (grant, kept_reply) = (attempt.remove("grant"), attempt.remove("kept_reply"));
        json!({ "attempt": attempt, "grant": grant, "kept_reply": kept_reply })
    });
    let operations = by_id(&mut file, "operations", |mut operation| {
        operation.remove("id");
        Value::Object(operation)
    });
    let consents = by_id(&mut file, "consents", |mut consent| {
        rename(&mut consent, "asked", "authorization");
        rename(&mut consent, "ending", "outcome");
        if let Some(authorization) = consent.get_mut("authorization").and_then(Value::as_object_mut) {
            authorization.entry("verifier").or_insert(Value::Null);
        }
        Value::Object(consent)
    });
    let nodes = by_id(&mut file, "nodes", |mut node| {
        let live_until = node.remove("live_until");
        rename(&mut node, "id", "node");
        json!({ "node": node, "live_until": live_until })
    });
    serde_json::from_value(json!({
        "revision": file.remove("revision"),
        "installation": file.remove("installation"),
        "settings": file.remove("settings").unwrap_or_else(|| json!({})),
        "connections": connections,
        "attempts": attempts,
        "operations": operations,
        "consents": consents,
        "nodes": nodes,
    }))
}

fn rename(row: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = row.remove(from) {
        row.insert(to.to_owned(), value);
    }
}

/// A list of rows as a map by their ids.
fn by_id(
    file: &mut Map<String, Value>,
    list: &str,
    convert: impl Fn(Map<String, Value>) -> Value,
) -> Map<String, Value> {
    let rows = file.get_mut(list).and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
    let row = |row: Value| match row {
        Value::Object(row) => Some((row.get("id")?.as_str()?.to_owned(), convert(row))),
        _ => None,
    };
    rows.into_iter().filter_map(row).collect()
}

fn connection((name, row): (String, Value)) -> (String, Value) {
    let Value::Object(mut row) = row else { return (name, row) };
    let origin = row.remove("origin");
    rename(&mut row, "born_of", "refresh_trigger");
    rename(&mut row, "strays", "orphans");
    rename(&mut row, "brake", "backoff");
    if let Some(backoff) = row.get_mut("backoff").and_then(Value::as_object_mut) {
        let secs = backoff.remove("step_secs");
        backoff.insert("step".into(), json!({ "secs": secs, "nanos": 0 }));
    }
    // What was left out when it was nothing.
    for (field, nothing) in [("paused", json!(false)), ("failures", json!(0)), ("orphans", json!([]))] {
        row.entry(field).or_insert(nothing);
    }
    row.insert("name".into(), json!(name));
    (name, json!({ "connection": row, "origin": origin }))
}
