//! The port `AttemptLog`.

use async_trait::async_trait;
use jeton_core::id::AttemptId;
use jeton_core::keep::attempt::Attempt;
use jeton_core::keep::ports::{AttemptFilter, AttemptLog, StoreError};
use tokio_postgres::Row;

use super::PostgresStore;
use super::connections_table::{STATEMENT_INSTANT, capped};
use super::statement::Statement;
use crate::row_reader::{self, ATTEMPT_COLUMNS, RowReader};

/// The statement for a filter. Its first two parameters are the instant and the limit.
fn list(filter: &AttemptFilter, now: Option<i64>, limit: usize) -> Statement {
    let mut conditions: Vec<String> = Vec::new();
    let mut statement = Statement::new("").number(now).number(capped(limit));
    let mut count = 2;
    let mut add = |condition: &str| {
        count += 1;
        conditions.push(format!("{condition} ${count}"));
    };
    if let Some(name) = &filter.connection {
        add("connection =");
        statement = statement.text(name.as_str());
    }
    if let Some(provider) = &filter.provider {
        add("provider =");
        statement = statement.text(provider.as_str());
    }
    if let Some(status) = filter.status {
        add("status =");
        statement = statement.text(status.as_str());
    }
    if let Some(trigger) = filter.trigger {
        add("trigger =");
        statement = statement.text(trigger.as_str());
    }
    if let Some(since) = filter.since {
        add("started_at >=");
        statement = statement.number(since.as_micros());
    }
    if let Some(before) = filter.before {
        add("id <");
        statement = statement.bytes(&before.as_bytes()[..]);
    }
    if filter.failed_only {
        // What still runs under a lapsed lease is interrupted, though nobody has recorded it yet.
        conditions.push(format!(
            "(status IN ('failed', 'interrupted') OR (status = 'running' AND lease_until <= {STATEMENT_INSTANT}))"
        ));
    }
    // The instant stands in every statement, so that its parameter is always used.
    conditions.push(format!("{STATEMENT_INSTANT} IS NOT NULL"));
    let filtered = conditions.join(" AND ");
    statement.sql =
        format!("SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE {filtered} ORDER BY id DESC LIMIT $2").into();
    statement
}

/// The attempt in a row of [`ATTEMPT_COLUMNS`], without its grant.
pub(super) fn alone(row: &Row) -> Result<Attempt, StoreError> {
    row_reader::attempt(row).map(|(attempt, _)| attempt)
}

#[async_trait]
impl AttemptLog for PostgresStore {
    async fn find_attempt(&self, id: AttemptId) -> Result<Option<Attempt>, StoreError> {
        let find = Statement::new(format!("SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE id = $1"));
        let rows = self.rows(&find.bytes(&id.as_bytes()[..])).await?;
        rows.first().map(alone).transpose()
    }

    async fn list_attempts(&self, filter: &AttemptFilter, limit: usize) -> Result<Vec<Attempt>, StoreError> {
        let rows = self.rows(&list(filter, self.told_instant(), limit)).await?;
        rows.iter().map(alone).collect()
    }

    async fn find_kept_reply(&self, id: AttemptId) -> Result<Option<Vec<u8>>, StoreError> {
        let find = Statement::new("SELECT reply FROM kept_replies WHERE attempt = $1");
        let rows = self.rows(&find.bytes(&id.as_bytes()[..])).await?;
        Ok(rows
            .first()
            .map(|row| RowReader::new(row, "kept_replies").blob_or_null("reply"))
            .transpose()?
            .flatten())
    }
}
