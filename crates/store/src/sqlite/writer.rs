//! The one thread that writes. Calls that wait are committed together: one fsync serves up to 256 of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use jeton_core::keep::connection::Revision;
use jeton_core::keep::ports::StoreError;
use jeton_core::time::Timestamp;
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::boot_clock::{BootClock, ClockDrift, ClockReading};
use super::errors::{SqliteError, copy};
use super::faults::{AppliedFaults, Faults, SqliteHooks};
use super::open::{self, retry_while_busy};

/// The most calls that one COMMIT serves.
const MAX_BATCH: usize = 256;

/// How often the work of other processes is looked for while somebody waits for it.
const POLL: Duration = Duration::from_millis(50);

/// How often it is looked for while nobody waits.
const IDLE_POLL: Duration = Duration::from_secs(2);

/// What the writer is asked to do.
pub(super) enum WriterRequest {
    /// Run a call in the next transaction.
    WriteCall(Box<dyn WriteCall>),
    /// Somebody begins to wait for changes: look now, and often from now on.
    Look,
}

/// One waiting call.
pub(super) trait WriteCall: Send {
    /// Does the work and keeps the result; an error rolls back this call alone.
    fn run(&mut self, tx: &SqliteTx<'_>) -> Result<(), SqliteError>;
    /// Sends the answer.
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);
}

/// What a call works with: the connection, inside a transaction, and the instant by the clock of the store.
pub(super) struct SqliteTx<'c> {
    pub(super) conn: &'c Connection,
    pub(super) now: Timestamp,
    /// How far the steady clock is ahead of it.
    pub(super) drift: ClockDrift,
}

/// A call with its result and whoever waits for it.
pub(super) struct WaitingWrite<T, F> {
    work: F,
    result: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> WaitingWrite<T, F> {
    pub(super) fn new(work: F, reply: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self { work, result: None, reply }
    }
}

impl<T, F> WriteCall for WaitingWrite<T, F>
where
    T: Send,
    F: FnMut(&SqliteTx<'_>) -> Result<T, SqliteError> + Send,
{
    fn run(&mut self, tx: &SqliteTx<'_>) -> Result<(), SqliteError> {
        self.result = Some((self.work)(tx)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self { result, reply, .. } = *self;
        let unanswered = || StoreError::Unavailable("the call was not run".into());
        let answer = outcome.and_then(|()| result.ok_or_else(unanswered));
        // Nobody waits any more: what was done stays done, and its id tells whoever asks again.
        drop(reply.send(answer));
    }
}

/// What the writer and the store share.
#[derive(Debug)]
pub(super) struct SqliteShared {
    pub(super) path: PathBuf,
    pub(super) clock: BootClock,
    pub(super) busy_timeout: Duration,
    pub(super) hooks: Arc<dyn SqliteHooks>,
    pub(super) statements: Option<Arc<AtomicU64>>,
    pub(super) faults: Faults,
    /// The last revision that this process knows.
    pub(super) revision: watch::Sender<Revision>,
    /// How many wait for a change now.
    pub(super) watchers: AtomicUsize,
}

/// The writer, on its own thread.
pub(super) struct Writer {
    shared: Arc<SqliteShared>,
    conn: Option<Connection>,
    applied: AppliedFaults,
    /// SQLite's mark of what others committed, as last seen.
    data_version: i64,
}

impl Writer {
    pub(super) fn new(shared: Arc<SqliteShared>, conn: Connection) -> Self {
        Self { shared, conn: Some(conn), applied: AppliedFaults::default(), data_version: 0 }
    }

    /// Works until the store is dropped; what was ordered before that is still done.
    pub(super) fn run(mut self, orders: &Receiver<WriterRequest>) {
        loop {
            let watched = self.shared.watchers.load(Ordering::SeqCst) > 0;
            let mut look = false;
            match orders.recv_timeout(if watched { POLL } else { IDLE_POLL }) {
                Ok(first) => {
                    let mut calls = Vec::new();
                    for order in std::iter::once(first).chain(orders.try_iter().take(MAX_BATCH - 1)) {
                        match order {
                            WriterRequest::WriteCall(call) => calls.push(call),
                            WriterRequest::Look => look = true,
                        }
                    }
                    self.serve(calls, orders);
                }
                Err(RecvTimeoutError::Timeout) => look = true,
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if look {
                self.look();
            }
        }
    }

    fn serve(&mut self, mut calls: Vec<Box<dyn WriteCall>>, orders: &Receiver<WriterRequest>) {
        if calls.is_empty() {
            return;
        }
        let outcomes = match self.commit_together(&mut calls) {
            Ok(outcomes) => outcomes,
            Err(failure) => {
                let locked_out = matches!(&failure, SqliteError::Sql(error) if super::errors::is_busy(error));
                self.recover_connection(&failure);
                if locked_out {
                    // The lock was not to be had for the whole time that anyone may wait: nobody waits it out twice.
                    calls.extend(orders.try_iter().filter_map(|order| match order {
                        WriterRequest::WriteCall(call) => Some(call),
                        WriterRequest::Look => None,
                    }));
                }
                let error = failure.into_store_error(&self.shared.path);
                tracing::warn!(calls = calls.len(), %error, "a batch of the store failed");
                calls.iter().map(|_| Err(copy(&error))).collect()
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
        self.reopen_if_broken()?;
        let conn = self.conn.as_ref().expect("it was opened in the line above");
        shared.faults.apply(conn, &mut self.applied)?;
        retry_while_busy(shared.busy_timeout, || run_cached(conn, "BEGIN IMMEDIATE"))?;
        let changes_before = conn.total_changes();
        let mut outcomes = Vec::with_capacity(calls.len());
        for call in calls {
            let ClockReading { now, drift } = shared.clock.read();
            let tx = SqliteTx { conn, now, drift };
            let outcome = run_in_savepoint(&tx, call.as_mut())?;
            outcomes.push(outcome.map_err(|failure| failure.into_store_error(&shared.path)));
        }
        if conn.total_changes() != changes_before {
            self.applied.exhaust(conn)?;
        }
        shared.hooks.before_commit()?;
        run_cached(conn, "COMMIT")?;
        let unknown = shared.hooks.after_commit();
        match read_revision(conn) {
            Ok(revision) => publish(&shared, revision),
            // The work is done and stays done; the next look finds the revision.
            Err(_) => self.data_version = 0,
        }
        unknown?;
        Ok(outcomes)
    }

    fn reopen_if_broken(&mut self) -> Result<(), SqliteError> {
        if self.conn.is_none() {
            let mut conn = open::writer(&self.shared.path, self.shared.busy_timeout)?;
            open::count(&mut conn, self.shared.statements.as_ref())?;
            self.conn = Some(conn);
            self.applied = AppliedFaults::default();
            self.data_version = 0;
        }
        Ok(())
    }

    fn recover_connection(&mut self, failure: &SqliteError) {
        let Some(conn) = &self.conn else { return };
        let rolled_back = conn.is_autocommit() || conn.execute_batch("ROLLBACK").is_ok();
        if !rolled_back || failure.breaks_connection() {
            self.conn = None;
        }
    }

    /// Notices what other processes committed.
    fn look(&mut self) {
        let looked = self.reopen_if_broken().and_then(|()| {
            let conn = self.conn.as_ref().expect("it was opened in the line above");
            let version = conn
                .prepare_cached("SELECT data_version FROM pragma_data_version")?
                .query_row((), |row| row.get(0))?;
            if version != self.data_version {
                let revision = read_revision(conn)?;
                self.data_version = version;
                publish(&self.shared, revision);
            }
            Ok(())
        });
        if let Err(failure) = looked {
            self.recover_connection(&failure);
            let error = failure.into_store_error(&self.shared.path);
            tracing::warn!(%error, "the store could not be looked at for changes of other processes");
        }
    }
}

/// Runs one call so that its failure undoes only what it did. The outer error says that the whole transaction is lost.
fn run_in_savepoint(
    tx: &SqliteTx<'_>,
    call: &mut dyn WriteCall,
) -> Result<Result<(), SqliteError>, SqliteError> {
    run_cached(tx.conn, "SAVEPOINT one_call")?;
    // A panic is a fault of ours in one call; the other callers of the batch have nothing to do with it.
    let outcome = catch_unwind(AssertUnwindSafe(|| call.run(tx))).unwrap_or_else(|_| {
        Err(StoreError::Unavailable("a call of the store broke off; the log has the place".into()).into())
    });
    match outcome {
        Ok(()) => {
            run_cached(tx.conn, "RELEASE one_call")?;
            Ok(Ok(()))
        }
        // Some errors end the whole transaction, such as a full disk: then there is nothing to go back to.
        Err(failure) if tx.conn.is_autocommit() || failure.breaks_connection() => Err(failure),
        Err(failure) => {
            run_cached(tx.conn, "ROLLBACK TO one_call")?;
            run_cached(tx.conn, "RELEASE one_call")?;
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

fn publish(shared: &SqliteShared, revision: Revision) {
    // It may be lower than before: a backup was put in the place of the database.
    shared.revision.send_if_modified(|known| std::mem::replace(known, revision) != revision);
}
