//! One batch: locks and loads what its calls need, runs them in memory, writes what they changed. Two round trips, one
//! transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jeton_core::id::{AttemptId, ConnectionName};
use jeton_core::keep::connection::Revision;
use jeton_core::keep::ports::StoreError;
use jeton_core::seal::Fingerprint;
use tokio::time::{Instant, sleep};
use tokio_postgres::Row;

use super::batch_tx::{BatchTx, LoadedRows};
use super::errors::{PostgresError, copy};
use super::session::Session;
use super::statement::Statement;
use super::write_queue::{Needs, WriteCall};
use super::{PostgresShared, connections_table, writes};
use crate::row_reader::{self, ATTEMPT_COLUMNS, RowReader};

/// The first pause before work is sent again; it doubles.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest such pause.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What came of a batch.
pub(super) enum Served {
    /// Each call has its answer.
    All,
    /// Each call has its answer, and somebody else holds a row of theirs.
    Locked,
    /// One of several calls may be to blame for a failure of all: each is to be done alone.
    Split(Vec<Box<dyn WriteCall>>),
}

/// Does the calls and answers each of them, or gives all of them back.
pub(super) async fn serve(shared: &PostgresShared, mut calls: Vec<Box<dyn WriteCall>>) -> Served {
    match commit_together(shared, &mut calls).await {
        Ok(()) => {
            for call in calls {
                call.answer(Ok(()));
            }
            Served::All
        }
        Err(failure) if calls.len() > 1 && failure.may_be_of_one_call() => Served::Split(calls),
        Err(failure) => {
            let served = if failure.is_a_lock() { Served::Locked } else { Served::All };
            let error = failure.into_store_error(&shared.address);
            if error.is_transient() {
                tracing::warn!(calls = calls.len(), %error, "a batch of the store failed");
            }
            for call in calls {
                call.answer(Err(copy(&error)));
            }
            served
        }
    }
}

/// Runs the calls in one transaction, again and again while what stops it may pass: a connection that is lost, a deadlock.
/// Whether a transaction that was lost around its COMMIT was done does not matter: sent again, its calls find their first
/// answers.
async fn commit_together(
    shared: &PostgresShared,
    calls: &mut [Box<dyn WriteCall>],
) -> Result<(), PostgresError> {
    let deadline = Instant::now() + shared.patience;
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = Instant::now();
        match try_once(shared, calls).await {
            Err(failure) if calls.len() > 1 && failure.may_be_of_one_call() => return Err(failure),
            Err(failure) if failure.passes() && Instant::now() + pause < deadline => {
                tracing::debug!(?failure, "a batch of the store is sent again");
                shared.invalidate(&failure, begun);
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            done => return done,
        }
    }
}

async fn try_once(shared: &PostgresShared, calls: &mut [Box<dyn WriteCall>]) -> Result<(), PostgresError> {
    let mut session = shared.sessions.acquire().await?;
    match work(shared, &mut session, calls).await {
        Ok(changed) => {
            session.release();
            shared.announce(changed);
            Ok(())
        }
        Err(failure) => {
            if failure.leaves_the_connection() {
                session.rollback().await;
            }
            Err(failure)
        }
    }
}

/// The names that changed, with their new revisions.
pub(super) type Changed = Vec<(Revision, ConnectionName)>;

async fn work(
    shared: &PostgresShared,
    session: &mut Session<'_>,
    calls: &mut [Box<dyn WriteCall>],
) -> Result<Changed, PostgresError> {
    let needs: Vec<&Needs> = calls.iter().map(|call| call.needs()).collect();
    let mut batch = BatchTx::new(load(shared, session, &needs).await?);
    while let Some(attempt) = run(calls, &batch)? {
        let found = session.pipeline(&[attempts_of([attempt].iter())]).await?;
        batch.loaded.attempts.insert(attempt, None);
        read_attempts(found.first().map_or(&[], Vec::as_slice), &mut batch.loaded)?;
        batch.begin_again();
    }
    let (loaded, changes) = batch.end();
    let writes = writes::of(&loaded, &changes);
    shared.hooks.before_commit().await?;
    let mut statements = writes.statements;
    statements.push(Statement::new("COMMIT"));
    let answers = session.pipeline(&statements).await?;
    shared.hooks.after_commit().await.map_err(|_| PostgresError::Lost)?;
    let answer = if writes.rows > 0 { answers.first().map_or(&[][..], Vec::as_slice) } else { &[] };
    Ok(answer.iter().map(read_change).collect::<Result<_, _>>()?)
}

/// Runs all calls; answers an attempt that must be loaded before they can be.
fn run(calls: &mut [Box<dyn WriteCall>], batch: &BatchTx) -> Result<Option<AttemptId>, PostgresError> {
    for call in calls {
        match call.run(batch) {
            Ok(()) => {}
            Err(PostgresError::Unloaded(attempt)) => return Ok(Some(attempt)),
            Err(failure) => return Err(failure),
        }
    }
    Ok(None)
}

/// Reads `name, revision`.
pub(super) fn read_change(row: &Row) -> Result<(Revision, ConnectionName), StoreError> {
    let mut columns = RowReader::new(row, "connections");
    let name: ConnectionName = columns.named("name", |name| name.parse().ok())?;
    Ok((Revision(columns.keyed(&name).count("revision")?), name))
}

/// Puts what a statement found where it belongs.
type Read = fn(&[Row], &mut LoadedRows) -> Result<(), StoreError>;

/// Statements with the reader of what each finds.
#[derive(Default)]
struct LoadPlan {
    statements: Vec<Statement>,
    readers: Vec<Read>,
}

impl LoadPlan {
    fn ask(&mut self, statement: Statement, read: Read) {
        self.statements.push(statement);
        self.readers.push(read);
    }
}

/// Begins the transaction, locks the rows, and only then reads: under READ COMMITTED each statement sees what was committed
/// before it, so what is read after the locks are had is what nobody else can change.
async fn load(
    shared: &PostgresShared,
    session: &mut Session<'_>,
    needs: &[&Needs],
) -> Result<LoadedRows, PostgresError> {
    let names: BTreeSet<&str> = needs.iter().map(|needs| needs.connection.as_str()).collect();
    let attempts: BTreeSet<AttemptId> = needs.iter().filter_map(|needs| needs.attempt).collect();
    let operations: BTreeSet<_> = needs.iter().filter_map(|needs| needs.operation).collect();
    let brings: BTreeSet<_> = needs.iter().filter_map(|needs| needs.brings).collect();
    let mut loaded = LoadedRows {
        attempts: attempts.iter().map(|attempt| (*attempt, None)).collect(),
        ..LoadedRows::default()
    };

    let mut plan = LoadPlan::default();
    for statement in shared.sessions.begin() {
        plan.ask(statement, |_, _| Ok(()));
    }
    if needs.iter().any(|needs| needs.connects) {
        plan.ask(Statement::new("SELECT single FROM store FOR UPDATE"), |_, _| Ok(()));
    }
    let lock = Statement::new("SELECT name FROM connections WHERE name = ANY ($1) ORDER BY name FOR UPDATE");
    plan.ask(lock.texts(names.iter().map(|name| Some(*name))), |_, _| Ok(()));
    if shared.clock.is_none() {
        plan.ask(Statement::new(connections_table::INSTANT), |rows, loaded| {
            loaded.now = connections_table::instant(rows)?;
            Ok(())
        });
    }
    plan.ask(connections_table::by_name(names.iter().copied()), |rows, loaded| {
        loaded.rows =
            connections_table::read(rows)?.into_iter().map(|held| (held.row.name.clone(), held)).collect();
        Ok(())
    });
    if !attempts.is_empty() {
        plan.ask(attempts_of(attempts.iter()), read_attempts);
    }
    if !operations.is_empty() {
        let ask = Statement::new("SELECT id FROM operations WHERE id = ANY ($1)");
        plan.ask(ask.blobs(operations.iter().map(|id| Some(&id.as_bytes()[..]))), |rows, loaded| {
            let read =
                |row| RowReader::new(row, "operations").bytes("id", jeton_core::id::OperationId::from_bytes);
            loaded.operations = rows.iter().map(|row| read(row)).collect::<Result<_, _>>()?;
            Ok(())
        });
    }
    if !brings.is_empty() {
        plan.ask(owners_of(&brings, &names), read_owners);
    }

    let answers = session.pipeline(&plan.statements).await?;
    shared.sessions.begun(&answers)?;
    if let Some(clock) = &shared.clock {
        loaded.now = clock.now();
    }
    for (rows, read) in answers.iter().zip(plan.readers) {
        read(rows, &mut loaded)?;
    }
    Ok(loaded)
}

fn attempts_of<'a>(attempts: impl Iterator<Item = &'a AttemptId>) -> Statement {
    Statement::new(format!("SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE id = ANY ($1)"))
        .blobs(attempts.map(|attempt| Some(&attempt.as_bytes()[..])))
}

fn read_attempts(rows: &[Row], loaded: &mut LoadedRows) -> Result<(), StoreError> {
    for row in rows {
        let (attempt, grant) = row_reader::attempt(row)?;
        loaded.attempts.insert(attempt.id, Some((attempt, grant)));
    }
    Ok(())
}

/// Who spent these refresh tokens, or may have, and which connections outside of the batch hold them: in one statement, so
/// that no refresh between two of them takes a token out of both answers.
fn owners_of(brings: &BTreeSet<Fingerprint>, names: &BTreeSet<&str>) -> Statement {
    Statement::new(
        "SELECT brought.fingerprint,
            (SELECT id FROM attempts WHERE attempts.fingerprint = brought.fingerprint
                AND status IN ('running', 'interrupted', 'success') ORDER BY id DESC LIMIT 1) AS spender,
            holder.connection
         FROM unnest($1) AS brought (fingerprint)
         LEFT JOIN tokens AS holder
            ON holder.refresh_fingerprint = brought.fingerprint AND holder.connection <> ALL ($2)",
    )
    .blobs(brings.iter().map(|print| Some(&print.as_bytes()[..])))
    .texts(names.iter().map(|name| Some(*name)))
}

fn read_owners(rows: &[Row], loaded: &mut LoadedRows) -> Result<(), StoreError> {
    let mut holders: BTreeMap<Fingerprint, ConnectionName> = BTreeMap::new();
    for row in rows {
        let mut columns = RowReader::new(row, "tokens");
        let refresh = columns.bytes("refresh_fingerprint", Fingerprint::from_bytes)?;
        let spender = columns.bytes_or_null("spender", AttemptId::from_bytes)?;
        let holder = columns.named_or_null("connection", |name| name.parse().ok())?;
        loaded.spenders.extend(spender.map(|spender| (refresh, spender)));
        holders.extend(holder.map(|holder| (refresh, holder)));
    }
    loaded.holders = holders;
    Ok(())
}
