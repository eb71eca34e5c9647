//! The port `ConnectionStore`: reads here, the writes in `flow` and `grants`.

use std::time::Duration;

use async_trait::async_trait;
use jeton_core::audit::Actor;
use jeton_core::id::{ConnectionName, OperationId};
use jeton_core::keep::claim::{Claim, ClaimAnswer};
use jeton_core::keep::connection::Connection;
use jeton_core::keep::ports::{
    Commit, CommitAnswer, Connect, ConnectAnswer, ConnectionStore, Due, Fail, ListedConnection,
    OperatorCommand, Skip, StoreError,
};
use jeton_core::keep::rejection::{self, Rejection, RejectionAnswer};
use jeton_core::time::Timestamp;
use rusqlite::named_params;

use super::boot_clock::ClockReading;
use super::errors::SqliteError;
use super::{SqliteStore, connections_table};
use crate::row_reader::RowReader;
use crate::{grant_writes, refresh_writes};

/// The most rows that one call answers, whatever it asks for.
const MAX_ROWS: usize = 10_000;

/// A limit as SQL takes it.
pub(super) fn capped(limit: usize) -> i64 {
    i64::try_from(limit.min(MAX_ROWS)).unwrap_or(0)
}

/// `paused = 0` and a bound on `due_at` are what lets SQLite use the index of that name.
const DUE: &str = "SELECT due_at, name FROM connections
     WHERE paused = 0 AND due_at <= :horizon AND (due_at, name) > (:after_due, :after_name)
        AND (lease_until IS NULL OR lease_until + drift <= :steady)
     ORDER BY due_at, name LIMIT :limit";

fn due(
    conn: &rusqlite::Connection,
    ClockReading { now, drift }: ClockReading,
    horizon: Duration,
    after: Option<&Due>,
    limit: usize,
) -> Result<Vec<Due>, SqliteError> {
    let params = named_params! {
        ":steady": drift.steady(now),
        ":horizon": (now + horizon).as_micros(),
        ":after_due": after.map_or(i64::MIN, |after| after.due_at.as_micros()),
        ":after_name": after.map_or("", |after| after.connection.as_str()),
        ":limit": capped(limit),
    };
    connections_table::all(conn, DUE, params, |row| {
        let mut columns = RowReader::new(row, "connections");
        Ok(Due {
            due_at: columns.instant("due_at")?,
            connection: columns.named("name", |name| name.parse().ok())?,
        })
    })
}

#[async_trait]
impl ConnectionStore for SqliteStore {
    async fn find(&self, name: &ConnectionName) -> Result<Option<Connection>, StoreError> {
        let name = name.clone();
        let drift = self.shared.clock.read().drift;
        self.readers.read(move |conn| connections_table::find(conn, drift, &name)).await
    }

    async fn list(
        &self,
        after: Option<&ConnectionName>,
        limit: usize,
    ) -> Result<Vec<ListedConnection>, StoreError> {
        let after = after.map_or(String::new(), ToString::to_string);
        let drift = self.shared.clock.read().drift;
        let list = move |conn: &rusqlite::Connection| {
            let sql = format!(
                "SELECT {} FROM connections WHERE name > ? ORDER BY name LIMIT ?",
                connections_table::columns()
            );
            connections_table::select(conn, drift, &sql, (after, capped(limit)))
        };
        self.readers.read(list).await
    }

    async fn due(
        &self,
        horizon: Duration,
        after: Option<&Due>,
        limit: usize,
    ) -> Result<(Timestamp, Vec<Due>), StoreError> {
        let after = after.cloned();
        let reading = self.shared.clock.read();
        let look = move |conn: &rusqlite::Connection| due(conn, reading, horizon, after.as_ref(), limit);
        Ok((reading.now, self.readers.read(look).await?))
    }

    async fn connect(&self, connect: Connect) -> Result<ConnectAnswer, StoreError> {
        self.write(move |tx| grant_writes::connect(tx, &connect)).await
    }

    async fn claim(&self, claim: Claim) -> Result<ClaimAnswer, StoreError> {
        self.write(move |tx| refresh_writes::claim(tx, &claim)).await
    }

    async fn commit(&self, commit: Commit) -> Result<CommitAnswer, StoreError> {
        self.write(move |tx| refresh_writes::commit(tx, &commit)).await
    }

    async fn fail(&self, fail: Fail) -> Result<(), StoreError> {
        self.write(move |tx| refresh_writes::fail(tx, &fail)).await
    }

    async fn skip(&self, skip: Skip) -> Result<(), StoreError> {
        self.write(move |tx| refresh_writes::skip(tx, &skip)).await
    }

    async fn reject(&self, rejection: Rejection) -> Result<RejectionAnswer, StoreError> {
        // Most reports change nothing, and there may be one for every call of an API that is out of order.
        let ClockReading { now, drift } = self.shared.clock.read();
        let name = rejection.connection.clone();
        let row = self.readers.read(move |conn| connections_table::find(conn, drift, &name)).await?;
        match rejection::answer(row.as_ref(), &rejection, now) {
            (answer, None) => Ok(answer),
            (_, Some(_)) => self.write(move |tx| grant_writes::reject(tx, &rejection)).await,
        }
    }

    async fn administer(
        &self,
        name: &ConnectionName,
        act: OperatorCommand,
        operation: OperationId,
        by: &Actor,
    ) -> Result<bool, StoreError> {
        let (name, by) = (name.clone(), by.clone());
        self.write(move |tx| grant_writes::administer(tx, &name, act, operation, &by)).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jeton_core::time::SystemClock;

    use super::super::migrate::{MIGRATIONS, migrate};
    use super::*;

    #[test]
    fn what_is_due_is_found_through_its_index_and_in_its_order() {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        migrate(&conn, std::path::Path::new("x"), MIGRATIONS, Timestamp::default(), Duration::ZERO).unwrap();
        let plan = |sql: &str| {
            let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            // Unbound parameters are NULL; the plan does not depend on their values.
            let mut rows = statement.raw_query();
            let mut details = String::new();
            while let Some(row) = rows.next().unwrap() {
                details.push_str(&row.get::<_, String>("detail").unwrap());
                details.push_str("; ");
            }
            details
        };
        let due = plan(DUE);
        assert!(due.contains("SEARCH connections USING INDEX connections_by_due"), "{due}");
        assert!(!due.contains("TEMP B-TREE"), "no sorting: {due}");
        let changed = plan(&super::super::feed::changed_sql());
        assert!(changed.contains("USING INDEX connections_by_revision (revision>?)"), "{changed}");
        assert!(!changed.contains("TEMP B-TREE"), "no sorting: {changed}");
    }

    #[tokio::test]
    async fn more_than_may_wait_are_turned_away_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = crate::SqliteOptions::new(Arc::new(SystemClock));
        options.most_waiting = 0;
        let store = SqliteStore::open(&folder.path().join("a.db"), options).unwrap();
        let refused = store.find(&"acme".parse().unwrap()).await.unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable(text) if text.contains("too many calls")));
    }
}
