//! The ports `ConnectionStore` and `AttemptLog` over a database: reads here, the writes in `refresh_writes` and `grant_writes`.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use jeton_core::audit::Actor;
use jeton_core::id::{AttemptId, ConnectionName, OperationId};
use jeton_core::keep::attempt::Attempt;
use jeton_core::keep::claim::{Claim, ClaimAnswer};
use jeton_core::keep::connection::Connection;
use jeton_core::keep::ports::{
    AttemptFilter, AttemptLog, Commit, CommitAnswer, Connect, ConnectAnswer, ConnectionStore, Due, Fail,
    ListedConnection, OperatorCommand, Skip, StoreError,
};
use jeton_core::keep::rejection::{self, Rejection, RejectionAnswer};
use jeton_core::time::Timestamp;

use super::connection_rows;
use super::database::{Database, Dialect, SqlTransaction};
use super::records::{self, ATTEMPT_COLUMNS};
use super::row_reader::RowReader;
use super::statement::{Statement, ToValue, Value, values};
use super::write_tx::{
    attempt_by_id, lock_connection, lock_store, operation_by_id, origin_of, other_holder_of, setting,
    spender_of, with_drift,
};
use crate::rules::LAST_GRANT;
use crate::{grant_writes, refresh_writes};

/// A store over a database.
pub struct SqlStore<D> {
    pub(crate) database: D,
}

impl<D: fmt::Debug> fmt::Debug for SqlStore<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.database.fmt(f)
    }
}

/// What is due at the instant `$1`.
///
/// No row is locked and none is skipped: whoever works on a connection claims it, and a claim under a live lease is refused.
pub(crate) fn due_sql(dialect: &Dialect) -> String {
    let Dialect { now, drift, .. } = dialect;
    let drift = drift.map_or(String::new(), |drift| format!(" + {drift}"));
    let unpaused = if dialect.drift.is_some() { "paused = 0" } else { "NOT paused" };
    format!(
        "SELECT due_at, name FROM connections
         WHERE {unpaused} AND due_at <= {now} + $2 AND (due_at, name) > ($3, $4)
            AND (lease_until IS NULL OR lease_until{drift} <= {now})
         ORDER BY due_at, name LIMIT $5"
    )
}

/// The attempts that a filter admits, newest first. Its first parameters are the instant and the limit.
fn attempts_sql(dialect: &Dialect, filter: &AttemptFilter, parameters: &mut Vec<Value>) -> String {
    let mut conditions = vec!["true".to_owned()];
    let mut add = |condition: &str, value: Option<Value>| {
        if let Some(value) = value {
            parameters.push(value);
            conditions.push(format!("{condition} ${}", parameters.len()));
        }
    };
    add("connection =", filter.connection.as_ref().map(ToValue::to_value));
    add("provider =", filter.provider.as_ref().map(ToValue::to_value));
    add("status =", filter.status.map(|status| status.as_str().to_value()));
    add("trigger =", filter.trigger.map(|trigger| trigger.as_str().to_value()));
    add("started_at >=", filter.since.map(ToValue::to_value));
    add("id <", filter.before.map(ToValue::to_value));
    if filter.failed_only {
        let Dialect { now, drift, .. } = dialect;
        let drift = drift.map_or(String::new(), |drift| format!(" + {drift}"));
        // What still runs under a lapsed lease is interrupted, though nobody has recorded it yet.
        conditions.push(format!(
            "(status IN ('failed', 'interrupted') OR (status = 'running' AND lease_until{drift} <= {now}))"
        ));
    }
    let (columns, conditions) = (with_drift(dialect, ATTEMPT_COLUMNS), conditions.join(" AND "));
    format!("SELECT {columns} FROM attempts WHERE {conditions} ORDER BY id DESC LIMIT $2")
}

impl<D: Database> SqlStore<D> {
    const DIALECT: &'static Dialect = D::Tx::DIALECT;

    /// What a call over a connection and an attempt begins with.
    pub(super) fn begin_with(connection: &ConnectionName, attempt: Option<AttemptId>) -> Vec<Statement> {
        let mut first = vec![
            lock_connection(Self::DIALECT, connection),
            connection_rows::by_name(connection, Self::DIALECT.drift),
        ];
        first.extend(attempt.map(|attempt| attempt_by_id(Self::DIALECT, attempt)));
        first
    }

    /// The parameter `$1` of a statement that reads by the clock of the store.
    fn now_of_reads(&self) -> Vec<Value> {
        values![self.database.now_of_reads()]
    }
}

#[async_trait]
impl<D: Database> ConnectionStore for SqlStore<D> {
    async fn find(&self, name: &ConnectionName) -> Result<Option<Connection>, StoreError> {
        let rows = self.database.read(connection_rows::by_name(name, Self::DIALECT.drift)).await?;
        Ok(connection_rows::read(&rows)?.pop())
    }

    async fn list(
        &self,
        after: Option<&ConnectionName>,
        limit: usize,
    ) -> Result<Vec<ListedConnection>, StoreError> {
        let page = "SELECT * FROM connections WHERE name > $1 ORDER BY name LIMIT $2";
        let parameters = values![after.map_or("", ConnectionName::as_str), limit];
        let list = connection_rows::select(page, "name", Self::DIALECT.drift, parameters);
        connection_rows::read_each(&self.database.read(list).await?)
    }

    async fn due(
        &self,
        horizon: Duration,
        after: Option<&Due>,
        limit: usize,
    ) -> Result<(Timestamp, Vec<Due>), StoreError> {
        let mut parameters = self.now_of_reads();
        parameters.extend(values![
            horizon,
            after.map_or(Timestamp::from_micros(i64::MIN), |after| after.due_at),
            after.map_or("", |after| after.connection.as_str()),
            limit,
        ]);
        let due = Statement::new(due_sql(Self::DIALECT), parameters);
        let (rows, now) = self.database.read_with_now(due).await?;
        let read = |row| {
            let mut columns = RowReader::new(row, "connections");
            Ok(Due {
                due_at: columns.instant("due_at")?,
                connection: columns.named("name", |name| name.parse().ok())?,
            })
        };
        Ok((now, rows.iter().map(read).collect::<Result<_, StoreError>>()?))
    }

    async fn connect(&self, connect: Connect) -> Result<ConnectAnswer, StoreError> {
        // Connects wait for each other, in all processes, so that two connections never take one refresh token.
        let mut first = vec![lock_store(Self::DIALECT), setting(LAST_GRANT)];
        first.extend(Self::begin_with(&connect.connection, Some(connect.attempt)));
        let refresh = connect.tokens.as_ref().and_then(|tokens| tokens.refresh_fingerprint);
        if let Some(refresh) = refresh.filter(|_| connect.single_use) {
            first.extend([spender_of(refresh), other_holder_of(refresh, &connect.connection)]);
        }
        self.database.write(first, connect, |tx, connect| Box::pin(grant_writes::connect(tx, connect))).await
    }

    async fn claim(&self, claim: Claim) -> Result<ClaimAnswer, StoreError> {
        let first = Self::begin_with(&claim.connection, Some(claim.attempt));
        self.database.write(first, claim, |tx, claim| Box::pin(refresh_writes::claim(tx, claim))).await
    }

    async fn commit(&self, commit: Commit) -> Result<CommitAnswer, StoreError> {
        let first = Self::begin_with(&commit.connection, Some(commit.attempt));
        self.database.write(first, commit, |tx, commit| Box::pin(refresh_writes::commit(tx, commit))).await
    }

    async fn fail(&self, fail: Fail) -> Result<(), StoreError> {
        let mut first = Self::begin_with(&fail.connection, Some(fail.attempt));
        first.push(origin_of(&fail.connection));
        self.database.write(first, fail, |tx, fail| Box::pin(refresh_writes::fail(tx, fail))).await
    }

    async fn skip(&self, skip: Skip) -> Result<(), StoreError> {
        let first = Self::begin_with(&skip.connection, Some(skip.attempt));
        self.database.write(first, skip, |tx, skip| Box::pin(refresh_writes::skip(tx, skip))).await
    }

    async fn reject(&self, rejection: Rejection) -> Result<RejectionAnswer, StoreError> {
        // Most reports change nothing, and there may be one for every call of an API that is out of order.
        let find = connection_rows::by_name(&rejection.connection, Self::DIALECT.drift);
        let (rows, now) = self.database.read_with_now(find).await?;
        let row = connection_rows::read(&rows)?.pop();
        if let (answer, None) = rejection::answer(row.as_ref(), &rejection, now) {
            return Ok(answer);
        }
        let first = Self::begin_with(&rejection.connection, None);
        self.database.write(first, rejection, |tx, report| Box::pin(grant_writes::reject(tx, report))).await
    }

    async fn administer(
        &self,
        name: &ConnectionName,
        act: OperatorCommand,
        operation: OperationId,
        by: &Actor,
    ) -> Result<bool, StoreError> {
        let mut first = Vec::new();
        if act == OperatorCommand::Disconnect {
            first.extend([lock_store(Self::DIALECT), setting(LAST_GRANT)]);
        }
        first.extend(Self::begin_with(name, None));
        first.push(operation_by_id(operation));
        let request = (name.clone(), act, operation, by.clone());
        self.database
            .write(first, request, |tx, (name, act, operation, by)| {
                Box::pin(grant_writes::administer(tx, name, *act, *operation, by))
            })
            .await
    }
}

#[async_trait]
impl<D: Database> AttemptLog for SqlStore<D> {
    async fn find_attempt(&self, id: AttemptId) -> Result<Option<Attempt>, StoreError> {
        let rows = self.database.read(attempt_by_id(Self::DIALECT, id)).await?;
        Ok(rows.first().map(records::attempt).transpose()?.map(|(attempt, _)| attempt))
    }

    async fn list_attempts(&self, filter: &AttemptFilter, limit: usize) -> Result<Vec<Attempt>, StoreError> {
        let mut parameters = self.now_of_reads();
        parameters.extend(values![limit]);
        let sql = attempts_sql(Self::DIALECT, filter, &mut parameters);
        let rows = self.database.read(Statement::new(sql, parameters)).await?;
        rows.iter().map(|row| Ok(records::attempt(row)?.0)).collect()
    }

    async fn find_kept_reply(&self, id: AttemptId) -> Result<Option<Vec<u8>>, StoreError> {
        let find = Statement::new("SELECT reply FROM kept_replies WHERE attempt = $1", values![id]);
        let rows = self.database.read(find).await?;
        let read = |row| RowReader::new(row, "kept_replies").blob_or_null("reply");
        Ok(rows.first().map(read).transpose()?.flatten())
    }
}
