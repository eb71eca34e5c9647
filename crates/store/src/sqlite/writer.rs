//! A SQLite file as a database: a pool that reads, and the one thread that writes. Calls that wait are committed together:
//! one fsync serves up to 256 of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jeton_core::clocks::StoreReading;
use jeton_core::id::Revision;
use jeton_core::keep::ports::StoreError;
use jeton_core::time::Timestamp;
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::boot_clock::BootClock;
use super::errors::{SqliteError, is_busy};
use super::faults::{AppliedFaults, Faults, SqliteHooks};
use super::open::{self, retry_while_busy};
use super::opened_files::OpenedFiles;
use super::read_pool::ReadPool;
use super::rows;
use crate::changes::announce;
use crate::sql::{Database, Dialect, SqlRow, SqlTransaction, Statement, Work};
use crate::write_tx::run_ready;

/// The most calls that one COMMIT serves.
const MAX_BATCH: usize = 256;

/// One SQLite file.
#[derive(Debug)]
pub struct Sqlite {
    pub(super) shared: Arc<SqliteShared>,
    pub(super) readers: Arc<ReadPool>,
    calls: Option<SyncSender<Box<dyn WriteCall>>>,
    thread: Option<JoinHandle<()>>,
}

impl Sqlite {
    /// Starts the writer.
    pub(super) fn start(
        shared: SqliteShared,
        conn: Connection,
        readers: ReadPool,
        most_waiting: usize,
    ) -> Result<Self, StoreError> {
        let shared = Arc::new(shared);
        let (calls, waiting) = sync_channel(most_waiting.max(1));
        let writer = Writer::new(Arc::clone(&shared), conn);
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run(&waiting))
            .map_err(|error| StoreError::Unavailable(format!("its thread cannot be started: {error}")))?;
        Ok(Self { shared, readers: Arc::new(readers), calls: Some(calls), thread: Some(thread) })
    }
}

impl Database for Sqlite {
    type Tx = SqliteTx;

    fn now_of_reads(&self) -> Option<Timestamp> {
        Some(self.shared.clock.now())
    }

    async fn read(&self, statement: Statement) -> Result<Vec<SqlRow>, StoreError> {
        let shift = self.shared.clock.shift();
        self.readers.read(move |conn| rows::run(conn, &statement, shift)).await
    }

    async fn read_with_now(&self, statement: Statement) -> Result<(Vec<SqlRow>, Timestamp), StoreError> {
        let now = self.shared.clock.now();
        Ok((self.read(statement).await?, now))
    }

    async fn clock(&self) -> Result<StoreReading, StoreError> {
        Ok(self.shared.clock.reading())
    }

    /// Runs `work` in a transaction of the writer, together with other calls that wait.
    async fn write<R: Send + Sync + 'static, T: Send + 'static>(
        &self,
        _first: Vec<Statement>,
        request: R,
        work: Work<SqliteTx, R, T>,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let calls = self.calls.as_ref().ok_or_else(writer_ended)?;
        calls.try_send(Box::new(WaitingCall { request, work, result: None, reply })).map_err(|refused| {
            match refused {
                TrySendError::Full(_) => {
                    StoreError::Unavailable("too many calls wait to write to it: try again".into())
                }
                TrySendError::Disconnected(_) => writer_ended(),
            }
        })?;
        answer.await.unwrap_or_else(|_| Err(writer_ended()))
    }
}

fn writer_ended() -> StoreError {
    StoreError::Unavailable("its writer has ended: start the program anew".into())
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.calls = None;
        if let Some(thread) = self.thread.take() {
            // It ends once the last call is served; a panic of it was logged where it happened.
            let _ = thread.join();
        }
    }
}

/// What SQLite says differently. Its one writer needs no locks.
pub(super) const DIALECT: Dialect = Dialect {
    now: "$1",
    drift: Some("drift"),
    count_revision: Some("UPDATE store SET revision = revision + 1"),
    next_revision: "(SELECT revision FROM store)",
    for_update: "",
    lock_service_tokens: None,
};

/// The transaction of the writer, at the instant of one call.
pub struct SqliteTx {
    pub(super) conn: Connection,
    now: Timestamp,
    shift: i64,
}

impl SqlTransaction for SqliteTx {
    type Error = SqliteError;

    const DIALECT: &'static Dialect = &DIALECT;

    fn now(&self) -> Timestamp {
        self.now
    }

    fn query(
        &mut self,
        statement: Statement,
    ) -> impl Future<Output = Result<Vec<SqlRow>, SqliteError>> + Send {
        std::future::ready(rows::run(&self.conn, &statement, self.shift))
    }

    fn execute(&mut self, statement: Statement) -> impl Future<Output = Result<(), SqliteError>> + Send {
        std::future::ready(rows::run(&self.conn, &statement, self.shift).map(|_| ()))
    }
}

/// One waiting call.
pub(super) trait WriteCall: Send {
    /// Does the work and keeps the result; an error rolls back this call alone.
    fn run(&mut self, tx: &mut SqliteTx) -> Result<(), SqliteError>;
    /// Sends the answer.
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);
}

/// A call with its result and whoever waits for it.
pub(super) struct WaitingCall<R, T> {
    pub(super) request: R,
    pub(super) work: Work<SqliteTx, R, T>,
    pub(super) result: Option<T>,
    pub(super) reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<R: Send, T: Send> WriteCall for WaitingCall<R, T> {
    fn run(&mut self, tx: &mut SqliteTx) -> Result<(), SqliteError> {
        let work: BoxFuture<'_, _> = (self.work)(tx, &self.request);
        self.result = Some(run_ready(work)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let unanswered = || StoreError::Unavailable("the call was not run".into());
        let Self { result, reply, .. } = *self;
        let answer = outcome.and_then(|()| result.ok_or_else(unanswered));
        // Where nobody waits any more, what was done stays done, and its id tells whoever asks again.
        let _ = reply.send(answer);
    }
}

/// What the writer and the store share.
#[derive(Debug)]
pub(super) struct SqliteShared {
    pub(super) path: PathBuf,
    pub(super) files: Arc<OpenedFiles>,
    pub(super) clock: BootClock,
    pub(super) busy_timeout: Duration,
    pub(super) hooks: Arc<dyn SqliteHooks>,
    pub(super) statements: Option<Arc<AtomicU64>>,
    pub(super) faults: Faults,
    /// The last revision that this process knows.
    pub(super) revision: watch::Sender<Revision>,
}

/// The writer, on its own thread.
pub(super) struct Writer {
    shared: Arc<SqliteShared>,
    tx: Option<SqliteTx>,
    applied: AppliedFaults,
}

impl Writer {
    pub(super) fn new(shared: Arc<SqliteShared>, conn: Connection) -> Self {
        let tx = Some(Self::idle(&shared, conn));
        Self { shared, tx, applied: AppliedFaults::default() }
    }

    fn idle(shared: &SqliteShared, conn: Connection) -> SqliteTx {
        SqliteTx { conn, now: shared.clock.now(), shift: shared.clock.shift() }
    }

    /// Works until the store is dropped; what was ordered before that is still done.
    pub(super) fn run(mut self, waiting: &Receiver<Box<dyn WriteCall>>) {
        while let Ok(first) = waiting.recv() {
            let calls = std::iter::once(first).chain(waiting.try_iter().take(MAX_BATCH - 1)).collect();
            self.serve(calls, waiting);
        }
        if let Some(tx) = &self.tx
            && let Err(error) = open::empty_log(&tx.conn)
        {
            // Nothing is lost: the next process reads the log.
            tracing::debug!(%error, "the log of the database is not emptied");
        }
    }

    fn serve(&mut self, mut calls: Vec<Box<dyn WriteCall>>, waiting: &Receiver<Box<dyn WriteCall>>) {
        let outcomes = match self.commit_together(&mut calls) {
            Ok(outcomes) => outcomes,
            Err(failure) => {
                let locked_out = matches!(&failure, SqliteError::Sql(error) if is_busy(error));
                self.recover_connection(&failure);
                if locked_out {
                    // The lock was not to be had for the whole time that anyone may wait: nobody waits it out twice.
                    calls.extend(waiting.try_iter());
                }
                let error = failure.into_store_error(&self.shared.path);
                tracing::warn!(calls = calls.len(), %error, "a batch of the store failed");
                calls.iter().map(|_| Err(error.clone())).collect()
            }
        };
        for (call, outcome) in calls.into_iter().zip(outcomes) {
            call.answer(outcome);
        }
    }

    /// Runs the calls in one transaction, and answers the outcome of each. An error is the outcome of them all.
    fn commit_together(
        &mut self,
        calls: &mut [Box<dyn WriteCall>],
    ) -> Result<Vec<Result<(), StoreError>>, SqliteError> {
        let shared = Arc::clone(&self.shared);
        if self.tx.is_some() {
            shared.files.verify()?;
        } else {
            shared.files.verify_database()?;
            let mut conn = open::writer(&shared.path, shared.busy_timeout)?;
            open::count(&mut conn, shared.statements.as_ref())?;
            shared.files.note_beside();
            self.tx = Some(Self::idle(&shared, conn));
            self.applied = AppliedFaults::default();
        }
        let tx = self.tx.as_mut().expect("it was opened in the lines above");
        shared.faults.apply(&tx.conn, &mut self.applied)?;
        retry_while_busy(shared.busy_timeout, || run_cached(&tx.conn, "BEGIN IMMEDIATE"))?;
        let changes_before = tx.conn.total_changes();
        let mut outcomes = Vec::with_capacity(calls.len());
        for call in calls {
            tx.now = shared.clock.now();
            let outcome = run_in_savepoint(tx, call.as_mut())?;
            outcomes.push(outcome.map_err(|failure| failure.into_store_error(&shared.path)));
        }
        if tx.conn.total_changes() != changes_before {
            shared.clock.mark(&tx.conn)?;
            self.applied.exhaust(&tx.conn)?;
        }
        shared.hooks.before_commit()?;
        run_cached(&tx.conn, "COMMIT")?;
        let unknown = shared.hooks.after_commit();
        if let Ok(revision) = read_revision(&tx.conn) {
            // Where it cannot be read the work is done all the same; whoever waits for a change looks for it.
            announce(&shared.revision, revision);
        }
        unknown?;
        Ok(outcomes)
    }

    fn recover_connection(&mut self, failure: &SqliteError) {
        let Some(tx) = &self.tx else { return };
        let rolled_back = tx.conn.is_autocommit() || tx.conn.execute_batch("ROLLBACK").is_ok();
        if !rolled_back || failure.breaks_connection() {
            self.shared.files.forget_beside();
            self.tx = None;
        }
    }
}

/// Runs one call so that its failure undoes only what it did. The outer error says that the whole transaction is lost.
fn run_in_savepoint(
    tx: &mut SqliteTx,
    call: &mut dyn WriteCall,
) -> Result<Result<(), SqliteError>, SqliteError> {
    run_cached(&tx.conn, "SAVEPOINT one_call")?;
    // A panic is a fault of ours in one call; the other callers of the batch have nothing to do with it.
    let outcome = catch_unwind(AssertUnwindSafe(|| call.run(tx))).unwrap_or_else(|_| {
        Err(StoreError::Unavailable("a call of the store broke off; the log has the place".into()).into())
    });
    match outcome {
        Ok(()) => {
            run_cached(&tx.conn, "RELEASE one_call")?;
            Ok(Ok(()))
        }
        // Some errors end the whole transaction, such as a full disk: then there is nothing to go back to.
        Err(failure) if tx.conn.is_autocommit() || failure.breaks_connection() => Err(failure),
        Err(failure) => {
            run_cached(&tx.conn, "ROLLBACK TO one_call")?;
            run_cached(&tx.conn, "RELEASE one_call")?;
            Ok(Err(failure))
        }
    }
}

fn run_cached(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.execute(()).map(|_| ())
}

/// The last change that is committed or, inside a transaction, written.
pub(super) fn read_revision(conn: &Connection) -> rusqlite::Result<Revision> {
    let revision: i64 = conn.prepare_cached("SELECT revision FROM store")?.query_row((), |row| row.get(0))?;
    Ok(Revision(revision.unsigned_abs()))
}
