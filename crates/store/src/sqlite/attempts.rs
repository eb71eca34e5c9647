//! The port `AttemptLog`.

use async_trait::async_trait;
use jeton_core::id::AttemptId;
use jeton_core::keep::attempt::Attempt;
use jeton_core::keep::ports::{AttemptFilter, AttemptLog, StoreError};
use rusqlite::types::Value;
use rusqlite::{OptionalExtension as _, params, params_from_iter};

use super::boot_clock::ClockReading;
use super::connections::capped;
use super::errors::SqliteError;
use super::{SqliteStore, attempts_table, connections_table};

/// The conditions of a filter and their parameters, in the same order.
fn conditions(filter: &AttemptFilter, reading: ClockReading) -> (Vec<&'static str>, Vec<Value>) {
    let mut conditions = Vec::new();
    let mut values = Vec::new();
    let mut add = |condition, value: Option<Value>| {
        if let Some(value) = value {
            conditions.push(condition);
            values.push(value);
        }
    };
    let text = |text: &str| Value::Text(text.to_owned());
    add("connection = ?", filter.connection.as_ref().map(|name| text(name.as_str())));
    add("provider = ?", filter.provider.as_ref().map(|name| text(name.as_str())));
    add("status = ?", filter.status.map(|status| text(status.as_str())));
    add("trigger = ?", filter.trigger.map(|trigger| text(trigger.as_str())));
    add("started_at >= ?", filter.since.map(|since| Value::Integer(since.as_micros())));
    add("id < ?", filter.before.map(|before| Value::Blob(before.as_bytes().to_vec())));
    // What still runs under a lapsed lease is interrupted, though nobody has recorded it yet.
    let failed = "(status IN ('failed', 'interrupted') OR (status = 'running' AND lease_until + drift <= ?))";
    let steady = reading.drift.steady(reading.now);
    add(failed, filter.failed_only.then_some(Value::Integer(steady)));
    (conditions, values)
}

fn list(
    conn: &rusqlite::Connection,
    filter: &AttemptFilter,
    limit: usize,
    reading: ClockReading,
) -> Result<Vec<Attempt>, SqliteError> {
    let (conditions, mut values) = conditions(filter, reading);
    let filtered = if conditions.is_empty() { "1".to_owned() } else { conditions.join(" AND ") };
    values.push(Value::Integer(capped(limit)));
    let sql = format!(
        "SELECT {} FROM attempts WHERE {filtered} ORDER BY id DESC LIMIT ?",
        attempts_table::columns()
    );
    connections_table::all(conn, &sql, params_from_iter(values), |row| {
        attempts_table::attempt(row, reading.drift).map(|(attempt, _)| attempt)
    })
}

#[async_trait]
impl AttemptLog for SqliteStore {
    async fn find_attempt(&self, id: AttemptId) -> Result<Option<Attempt>, StoreError> {
        let drift = self.shared.clock.read().drift;
        self.readers
            .read(move |conn| Ok(attempts_table::find(conn, drift, id)?.map(|(attempt, _)| attempt)))
            .await
    }

    async fn list_attempts(&self, filter: &AttemptFilter, limit: usize) -> Result<Vec<Attempt>, StoreError> {
        let filter = filter.clone();
        let reading = self.shared.clock.read();
        self.readers.read(move |conn| list(conn, &filter, limit, reading)).await
    }

    async fn find_kept_reply(&self, id: AttemptId) -> Result<Option<Vec<u8>>, StoreError> {
        let look = move |conn: &rusqlite::Connection| {
            let mut statement = conn.prepare_cached("SELECT reply FROM kept_replies WHERE attempt = ?")?;
            Ok(statement.query_row(params![id.as_bytes()], |row| row.get(0)).optional()?)
        };
        self.readers.read(look).await
    }
}
