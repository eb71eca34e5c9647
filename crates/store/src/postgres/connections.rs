//! The port `ConnectionStore`.

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

use super::PostgresStore;
use super::connections_table::{self, STATEMENT_INSTANT, capped};
use super::statement::Statement;
use super::write_queue::Needs;
use crate::row_reader::{RowReader, micros};
use crate::{grant_writes, refresh_writes};

/// What is due, after the instant of the store in each row; one row with nothing else when nothing is.
///
/// No row is locked and none is skipped: whoever works on a connection claims it, and a claim under a live lease is refused;
/// a lock would end with this statement, before anybody has claimed anything.
pub(super) fn due_sql() -> String {
    format!(
        "SELECT clock.now, due.due_at, due.name FROM (SELECT {STATEMENT_INSTANT} AS now) AS clock
         LEFT JOIN LATERAL (
            SELECT due_at, name FROM connections
            WHERE NOT paused AND due_at <= {STATEMENT_INSTANT} + $2 AND (due_at, name) > ($3, $4)
                AND (lease_until IS NULL OR lease_until <= {STATEMENT_INSTANT})
            ORDER BY due_at, name LIMIT $5) AS due ON true
         ORDER BY due.due_at, due.name"
    )
}

fn read_due(rows: &[tokio_postgres::Row]) -> Result<(Timestamp, Vec<Due>), StoreError> {
    let now = connections_table::instant(rows)?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let mut columns = RowReader::new(row, "connections");
        columns.skip(1);
        let due_at = columns.instant_or_null("due_at")?;
        let connection = columns.named_or_null("name", |name| name.parse().ok())?;
        found.extend(due_at.zip(connection).map(|(due_at, connection)| Due { due_at, connection }));
    }
    Ok((now, found))
}

#[async_trait]
impl ConnectionStore for PostgresStore {
    async fn find(&self, name: &ConnectionName) -> Result<Option<Connection>, StoreError> {
        let rows = self.rows(&connections_table::by_name(std::iter::once(name.as_str()))).await?;
        Ok(connections_table::read_rows(&rows)?.pop())
    }

    async fn list(
        &self,
        after: Option<&ConnectionName>,
        limit: usize,
    ) -> Result<Vec<ListedConnection>, StoreError> {
        let page = "SELECT * FROM connections WHERE name > $1 ORDER BY name LIMIT $2";
        let list = Statement::new(connections_table::select(page, "name"))
            .text(after.map_or("", ConnectionName::as_str))
            .number(capped(limit));
        connections_table::read_each(&self.rows(&list).await?)
    }

    async fn due(
        &self,
        horizon: Duration,
        after: Option<&Due>,
        limit: usize,
    ) -> Result<(Timestamp, Vec<Due>), StoreError> {
        let due = Statement::new(due_sql())
            .number(self.told_instant())
            .number(micros(horizon))
            .number(after.map_or(i64::MIN, |after| after.due_at.as_micros()))
            .text(after.map_or("", |after| after.connection.as_str()))
            .number(capped(limit));
        read_due(&self.rows(&due).await?)
    }

    async fn connect(&self, connect: Connect) -> Result<ConnectAnswer, StoreError> {
        let brings = connect.tokens.as_ref().and_then(|tokens| tokens.refresh_fingerprint);
        let needs = Needs {
            attempt: Some(connect.attempt),
            connects: true,
            brings: brings.filter(|_| connect.single_use),
            ..Needs::of(&connect.connection)
        };
        self.write(needs, move |tx| grant_writes::connect(tx, &connect)).await
    }

    async fn claim(&self, claim: Claim) -> Result<ClaimAnswer, StoreError> {
        let needs = Needs { attempt: Some(claim.attempt), ..Needs::of(&claim.connection) };
        self.write(needs, move |tx| refresh_writes::claim(tx, &claim)).await
    }

    async fn commit(&self, commit: Commit) -> Result<CommitAnswer, StoreError> {
        let needs = Needs { attempt: Some(commit.attempt), ..Needs::of(&commit.connection) };
        self.write(needs, move |tx| refresh_writes::commit(tx, &commit)).await
    }

    async fn fail(&self, fail: Fail) -> Result<(), StoreError> {
        let needs = Needs { attempt: Some(fail.attempt), ..Needs::of(&fail.connection) };
        self.write(needs, move |tx| refresh_writes::fail(tx, &fail)).await
    }

    async fn skip(&self, skip: Skip) -> Result<(), StoreError> {
        let needs = Needs { attempt: Some(skip.attempt), ..Needs::of(&skip.connection) };
        self.write(needs, move |tx| refresh_writes::skip(tx, &skip)).await
    }

    async fn reject(&self, rejection: Rejection) -> Result<RejectionAnswer, StoreError> {
        // Most reports change nothing, and there may be one for every call of an API that is out of order.
        let (row, now) = {
            let row = connections_table::by_name(std::iter::once(rejection.connection.as_str()));
            let (rows, now) = self.rows_and_now(row).await?;
            (connections_table::read_rows(&rows)?.pop(), now)
        };
        if let (answer, None) = rejection::answer(row.as_ref(), &rejection, now) {
            return Ok(answer);
        }
        let needs = Needs::of(&rejection.connection);
        self.write(needs, move |tx| grant_writes::reject(tx, &rejection)).await
    }

    async fn administer(
        &self,
        name: &ConnectionName,
        act: OperatorCommand,
        operation: OperationId,
        by: &Actor,
    ) -> Result<bool, StoreError> {
        let needs = Needs { operation: Some(operation), ..Needs::of(name) };
        let (name, by) = (name.clone(), by.clone());
        self.write(needs, move |tx| grant_writes::administer(tx, &name, act, operation, &by)).await
    }
}

#[cfg(test)]
mod tests {
    use jeton_core::id::{AttemptId, NodeId};
    use jeton_core::keep::attempt::{Act, Trigger};
    use jeton_core::keep::connection::Generation;
    use jeton_core::keep::ports::ChangeFeed as _;
    use jeton_core::secret::Secret;
    use jeton_testkit::{PgCluster, PgDatabase};
    use tokio::time::Instant;

    use super::super::{PostgresOptions, feed};
    use super::*;

    /// As many connections, one due each millisecond from now on.
    async fn with_many(count: u32) -> (PgDatabase, PostgresStore) {
        let database = PgCluster::shared().unwrap().empty_database().unwrap();
        let store = PostgresStore::open(PostgresOptions::new(Secret::new(database.url()))).await.unwrap();
        let fill = format!(
            "INSERT INTO connections (name, provider, grant_id, state, paused, generation, revision, due_at, failures,
                created_at)
             SELECT 'c' || i, 'p', decode(md5('g' || i), 'hex'), 'live', false, 1, nextval('revisions'),
                (extract(epoch FROM now()) * 1000000)::bigint + i * 1000, 0, 0
             FROM generate_series(1, {count}) AS i;
             INSERT INTO tokens (connection, generation, attempt, access, refresh, refresh_fingerprint, obtained_at)
             SELECT 'c' || i, 1, decode(md5('a' || i), 'hex'), decode(repeat(md5('t' || i), 8), 'hex'),
                decode(repeat(md5('r' || i), 8), 'hex'), decode(md5('f' || i), 'hex'), 0
             FROM generate_series(1, {count}) AS i;
             ANALYZE"
        );
        database.query(&fill).unwrap();
        (database, store)
    }

    async fn plan(store: &PostgresStore, statement: Statement) -> String {
        let mut explain = statement;
        explain.sql = format!("EXPLAIN {}", explain.sql).into();
        let rows = store.rows(&explain).await.unwrap();
        rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n")
    }

    fn claim(number: u32) -> Claim {
        let mut attempt = [0; 16];
        attempt[..4].copy_from_slice(&number.to_be_bytes());
        Claim {
            connection: format!("c{number}").parse().unwrap(),
            attempt: AttemptId::from_bytes(attempt),
            node: NodeId::from_bytes([1; 16]),
            trigger: Trigger::Automatic,
            act: Act::Redeem,
            generation: Generation(1),
            spends: None,
            lease_ttl: Duration::from_secs(45),
            through_cooldown: false,
            recovers: None,
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_hundred_thousand_connections_are_looked_at_through_indexes() {
        let (_database, store) = with_many(100_000).await;
        let due =
            Statement::new(due_sql()).number(None).number(10_000_000).number(i64::MIN).text("").number(100);
        let due = plan(&store, due).await;
        assert!(
            due.contains("Index Scan using connections_by_due")
                || due.contains("Index Only Scan using connections_by_due"),
            "{due}"
        );
        assert!(!due.contains("Seq Scan"), "{due}");
        let changed = plan(&store, Statement::new(feed::changed_sql()).number(99_900).number(100)).await;
        assert!(changed.contains("using connections_by_revision"), "{changed}");
        assert!(!changed.contains("Seq Scan on connections"), "{changed}");
        let row = plan(&store, connections_table::by_name(std::iter::once("c77"))).await;
        assert!(row.contains("connections_pkey") && !row.contains("Seq Scan on connections"), "{row}");
        assert!(!row.contains("Seq Scan on tokens"), "{row}");

        let (now, page) = store.due(Duration::from_secs(10), None, 100).await.unwrap();
        assert_eq!(page.len(), 100);
        assert!(
            page.windows(2).all(|pair| pair[0] < pair[1]) && page[0].due_at <= now + Duration::from_secs(10)
        );

        let began = Instant::now();
        store.revision().await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(2), "following begins in {:?}", began.elapsed());
        let mut times = Vec::new();
        for number in (1..=100_000).step_by(1_000) {
            let began = Instant::now();
            let answer = store.claim(claim(number)).await.unwrap();
            assert!(matches!(answer, ClaimAnswer::Won { .. }), "{answer:?}");
            times.push(began.elapsed());
        }
        times.sort();
        println!("100,000 connections: a claim takes {:?} (median), {:?} (longest)", times[50], times[99]);
        assert!(times[50] < Duration::from_millis(5), "{times:?}");
    }
}
