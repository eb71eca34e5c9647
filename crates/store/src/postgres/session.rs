//! Connections and the pool that lends them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{Object, Pool};
use jeton_core::keep::ports::StoreError;
use tokio::time::{Instant, timeout};
use tokio_postgres::Client;

use super::address::{Address, SESSION};
use super::connect::{ConnectionTask, Connector};
use super::database_identity::{self, DatabaseIdentity, ExpectedDatabase};
use super::errors::PostgresError;
use super::options::PostgresOptions;
use super::rows;
use crate::sql::{SqlRow, Statement};

/// How long one try of several may take before its connection counts as dead. The server gives up waiting for a lock after 3 s,
/// and no statement of ours works long: what is silent for longer is no server that is busy. What is left of the patience
/// is for a fresh connection.
pub(super) const TRY: Duration = Duration::from_secs(4);

/// What was sent to the database so far.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) transactions: AtomicU64,
    pub(super) statements: AtomicU64,
    pub(super) round_trips: AtomicU64,
}

/// What was sent to the database by one opened store, without its listening connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Transactions that wrote, begun.
    pub transactions: u64,
    /// Statements, BEGIN and COMMIT among them.
    pub statements: u64,
    /// How often an answer was waited for.
    pub round_trips: u64,
}

impl Counters {
    pub(super) fn now(&self) -> Counts {
        Counts {
            transactions: self.transactions.load(Ordering::Relaxed),
            statements: self.statements.load(Ordering::Relaxed),
            round_trips: self.round_trips.load(Ordering::Relaxed),
        }
    }
}

/// The pool.
pub(super) struct Sessions {
    pool: Pool<Connector>,
    connector: Connector,
    expected: ExpectedDatabase,
    patience: Duration,
    /// How long an answer may take.
    limit: Duration,
    pooler: bool,
    pub(super) counters: Counters,
}

impl Sessions {
    /// Answers may take all of the patience.
    pub(super) fn new(address: &Address, options: &PostgresOptions) -> Result<Arc<Self>, StoreError> {
        Self::answering_within(options.patience, address, options)
    }

    /// For callers who try again: no try takes longer than [`TRY`].
    pub(super) fn trying(address: &Address, options: &PostgresOptions) -> Result<Arc<Self>, StoreError> {
        Self::answering_within(options.patience.min(TRY), address, options)
    }

    fn answering_within(
        limit: Duration,
        address: &Address,
        options: &PostgresOptions,
    ) -> Result<Arc<Self>, StoreError> {
        let connector = Connector::of(address, options.patience)?;
        let pool = Pool::builder(connector.clone())
            .max_size(options.pool.max(2))
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(options.patience))
            .build()
            .map_err(|error| StoreError::Unavailable(format!("no pool can be made: {error}")))?;
        let (patience, pooler) = (options.patience, address.pooler);
        let (expected, counters) = (ExpectedDatabase::default(), Counters::default());
        Ok(Arc::new(Self { pool, connector, expected, patience, limit, pooler, counters }))
    }

    /// Throws away the connections that nobody uses and that are as old as one that has just failed: what has cut one off
    /// has mostly cut off all, and whoever got them one after the other would find each of them dead.
    pub(super) fn invalidate(&self, begun: Instant) {
        let begun = begun.into_std();
        // Those that are removed are closed.
        let _ = self.pool.retain(|_, metrics| metrics.created >= begun);
    }

    /// A connection that answered a moment ago, or a new one, which is asked where it leads.
    pub(super) async fn acquire(self: &Arc<Self>) -> Result<Session, PostgresError> {
        let acquired = self.pool.get().await.map_err(|error| PostgresError::of_pool(error, self.patience))?;
        let is_new = Object::metrics(&acquired).recycled.is_none();
        let session =
            Session { client: Some(acquired), sessions: Arc::clone(self), counted: true, only_reads: false };
        if is_new {
            // Boxed, because hardly any caller needs it, and each future that holds one would grow by it.
            Box::pin(session.verify()).await?;
        }
        Ok(session)
    }

    /// A connection outside of the pool, which must be driven. Whoever has it verifies it before using it.
    pub(super) async fn open_one(&self) -> Result<(Client, ConnectionTask), PostgresError> {
        self.connector.open().await.map_err(PostgresError::Connect)
    }

    /// Sees that a connection leads where the first one led; answers where.
    ///
    /// # Errors
    /// [`PostgresError::WrongDatabase`]: it is of no use. Whoever connects next may get another host.
    pub(super) async fn verify(&self, client: &Client) -> Result<DatabaseIdentity, PostgresError> {
        let ask = async |with_system| {
            let ask = format!("SELECT {}", database_identity::columns(with_system));
            rows::pipeline(client, &[Statement::new(ask, Vec::new())]).await
        };
        let answers = match ask(true).await {
            Err(failure) if failure.is_withheld() => ask(false).await?,
            answered => answered?,
        };
        let row = answers.first().and_then(|rows| rows.first()).ok_or(PostgresError::Lost)?;
        let identity = DatabaseIdentity::read(row, 0)?;
        self.expected.verify(identity).inspect_err(|_| self.connector.take_turns())?;
        Ok(identity)
    }

    /// Where the database is.
    pub(super) async fn identity(self: &Arc<Self>) -> Result<DatabaseIdentity, PostgresError> {
        let session = self.acquire().await?;
        let identity = session.verify().await?;
        session.release();
        Ok(identity)
    }

    /// What begins a transaction that writes.
    pub(super) fn begin(&self) -> Vec<Statement> {
        self.counters.transactions.fetch_add(1, Ordering::Relaxed);
        let mut statements = vec![Statement::new(BEGIN, Vec::new())];
        if self.pooler {
            let identity = database_identity::columns(self.expected.names_its_system());
            statements.push(Statement::new(format!("{SET_LOCALLY}, {identity}"), Vec::new()));
        }
        statements
    }

    /// Sees in the answers to [`Sessions::begin`] where the transaction was led, which a pooler decides anew for each.
    ///
    /// # Errors
    /// [`PostgresError::WrongDatabase`].
    pub(super) fn verify_begun(&self, answers: &[Vec<SqlRow>]) -> Result<(), PostgresError> {
        if !self.pooler {
            return Ok(());
        }
        let row = answers.get(1).and_then(|rows| rows.first()).ok_or(PostgresError::Lost)?;
        Ok(self.expected.verify(DatabaseIdentity::read(row, SESSION.len())?)?)
    }

    /// The rows that one statement finds.
    pub(super) async fn rows(self: &Arc<Self>, statement: &Statement) -> Result<Vec<SqlRow>, PostgresError> {
        Ok(self.read(std::slice::from_ref(statement)).await?.pop().unwrap_or_default())
    }

    /// The rows that each of some statements finds, which are in no transaction. A caller who stops waiting leaves a
    /// connection that others can use: whatever still comes over it is dropped.
    pub(super) async fn read(
        self: &Arc<Self>,
        statements: &[Statement],
    ) -> Result<Vec<Vec<SqlRow>>, PostgresError> {
        let mut session = self.acquire().await?;
        session.only_reads = true;
        session.pipeline(statements).await
    }

    /// The same, for what goes on in the background whatever is asked of the store: it is not counted.
    pub(super) async fn read_uncounted(
        self: &Arc<Self>,
        statements: &[Statement],
    ) -> Result<Vec<Vec<SqlRow>>, PostgresError> {
        let mut session = self.acquire().await?;
        (session.only_reads, session.counted) = (true, false);
        session.pipeline(statements).await
    }

    pub(super) fn close(&self) {
        self.pool.close();
    }
}

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// Behind a pooler a session belongs to nobody: what it is told holds for one transaction. The values are [`SESSION`].
const SET_LOCALLY: &str = "SELECT set_config('synchronous_commit', 'on', true), set_config('statement_timeout', '5s', \
    true), set_config('lock_timeout', '3s', true), set_config('idle_in_transaction_session_timeout', '5s', true)";

/// A connection that is in use. Dropped before it is released, it is closed, so that nobody finds a transaction of ours open.
pub(super) struct Session {
    client: Option<Object<Connector>>,
    sessions: Arc<Sessions>,
    counted: bool,
    /// No transaction is opened in it, so that it may be given back at any time.
    only_reads: bool,
}

impl Session {
    /// Sends the statements in one go, and answers the rows of each.
    pub(super) async fn pipeline(
        &mut self,
        statements: &[Statement],
    ) -> Result<Vec<Vec<SqlRow>>, PostgresError> {
        let client = self.client.as_ref().ok_or(PostgresError::Lost)?;
        let counters = &self.sessions.counters;
        if self.counted {
            counters.statements.fetch_add(u64::try_from(statements.len()).unwrap_or(0), Ordering::Relaxed);
            counters.round_trips.fetch_add(1, Ordering::Relaxed);
        }
        let limit = self.sessions.limit;
        let answered = timeout(limit, rows::pipeline(client, statements)).await;
        answered.unwrap_or_else(|_| {
            self.only_reads = false;
            Err(PostgresError::Silent(limit))
        })
    }

    /// Sees that it leads where the first one led; answers where.
    async fn verify(&self) -> Result<DatabaseIdentity, PostgresError> {
        let client = self.client.as_ref().ok_or(PostgresError::Lost)?;
        let limit = self.sessions.limit;
        timeout(limit, self.sessions.verify(client)).await.map_err(|_| PostgresError::Silent(limit))?
    }

    /// Sends text that holds no parameters, several statements of it as one transaction.
    pub(super) async fn script(&mut self, sql: &str) -> Result<(), PostgresError> {
        let client = self.client.as_ref().ok_or(PostgresError::Lost)?;
        let limit = self.sessions.limit;
        Ok(timeout(limit, client.batch_execute(sql)).await.map_err(|_| PostgresError::Silent(limit))??)
    }

    /// Undoes what the transaction did and gives the connection back.
    pub(super) async fn rollback(mut self) {
        if self.script("ROLLBACK").await.is_ok() {
            self.release();
        }
    }

    /// No transaction is open: the connection goes back to the pool.
    pub(super) fn release(mut self) {
        self.client = None;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(unreleased) = self.client.take().filter(|_| !self.only_reads) {
            // Taken out of the pool, it is closed.
            let _ = Object::take(unreleased);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_pooler_a_transaction_is_told_what_a_session_is_told_else() {
        for (name, value) in SESSION {
            assert!(SET_LOCALLY.contains(&format!("set_config('{name}', '{value}', true)")), "{name}");
        }
    }
}
