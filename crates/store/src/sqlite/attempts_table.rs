//! The rows of the refresh log, as the tx calls use them.

use jeton_core::id::{AttemptId, ConnectionName, GrantId, OperationId};
use jeton_core::keep::attempt::{Attempt, AttemptStatus};
use jeton_core::keep::ports::StoreError;
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;
use rusqlite::{OptionalExtension as _, Row, named_params, params};

use super::boot_clock::ClockDrift;
use super::connections_table::first;
use super::errors::SqliteError;
use super::writer::SqliteTx;
use crate::row_reader::{self, ATTEMPT_COLUMNS, signed};
use crate::rules::Closing;

/// The columns of an attempt, in the order that [`row_reader::attempt`] reads them, with the drift that they were written at.
pub(super) fn columns() -> String {
    format!("{ATTEMPT_COLUMNS}, drift")
}

/// Reads [`columns`] at the drift that there is now.
pub(super) fn attempt(row: &Row<'_>, drift: ClockDrift) -> Result<(Attempt, GrantId), StoreError> {
    let (found, grant) = row_reader::attempt(row)?;
    if !matches!(found.status, AttemptStatus::Running | AttemptStatus::Interrupted) {
        // Nothing hangs on its times any more: they are history, as the civil clock showed them then.
        return Ok((found, grant));
    }
    let written = ClockDrift::of_row(row, "attempts", &found.id)?;
    let rebased = |instant: Timestamp| drift.rebased(instant, written);
    let found = Attempt {
        started_at: rebased(found.started_at),
        completed_at: found.completed_at.map(rebased),
        lease_until: found.lease_until.map(rebased),
        ..found
    };
    Ok((found, grant))
}

/// The attempt of that id, and the grant that it was made under.
pub(super) fn find(
    conn: &rusqlite::Connection,
    drift: ClockDrift,
    id: AttemptId,
) -> Result<Option<(Attempt, GrantId)>, SqliteError> {
    let sql = format!("SELECT {} FROM attempts WHERE id = ?", columns());
    first(conn, &sql, params![id.as_bytes()], |row| attempt(row, drift))
}

/// Writes an attempt, new or changed.
pub(super) fn write(tx: &SqliteTx<'_>, attempt: &Attempt, grant: GrantId) -> Result<(), SqliteError> {
    tx
        .conn
        .prepare_cached(
            "INSERT INTO attempts (id, connection, provider, grant_id, trigger, act, status, node, generation,
                new_generation, fingerprint, recovers, started_at, completed_at, lease_until, code, http_status,
                message, old_expires_at, new_expires_at, drift)
             VALUES (:id, :connection, :provider, :grant_id, :trigger, :act, :status, :node, :generation,
                :new_generation, :fingerprint, :recovers, :started_at, :completed_at, :lease_until, :code, :http_status,
                :message, :old_expires_at, :new_expires_at, :drift)
             ON CONFLICT (id) DO UPDATE SET status = excluded.status, new_generation = excluded.new_generation,
                completed_at = excluded.completed_at, code = excluded.code, http_status = excluded.http_status,
                message = excluded.message, new_expires_at = excluded.new_expires_at,
                started_at = excluded.started_at, lease_until = excluded.lease_until, drift = excluded.drift",
        )?
        .execute(named_params! {
            ":id": attempt.id.as_bytes(),
            ":connection": attempt.connection.as_str(),
            ":provider": attempt.provider.as_str(),
            ":grant_id": grant.as_bytes(),
            ":trigger": attempt.trigger.as_str(),
            ":act": attempt.act.as_str(),
            ":status": attempt.status.as_str(),
            ":node": attempt.node.as_bytes(),
            ":generation": signed(attempt.generation.0),
            ":new_generation": attempt.new_generation.map(|generation| signed(generation.0)),
            ":fingerprint": attempt.fingerprint.as_ref().map(Fingerprint::as_bytes),
            ":recovers": attempt.recovers.as_ref().map(AttemptId::as_bytes),
            ":started_at": attempt.started_at.as_micros(),
            ":completed_at": attempt.completed_at.map(Timestamp::as_micros),
            ":lease_until": attempt.lease_until.map(Timestamp::as_micros),
            ":code": attempt.code,
            ":http_status": attempt.http_status,
            ":message": attempt.message,
            ":old_expires_at": attempt.old_expires_at.map(Timestamp::as_micros),
            ":new_expires_at": attempt.new_expires_at.map(Timestamp::as_micros),
            ":drift": tx.drift.0,
        })?;
    Ok(())
}

/// Closes an attempt that is under way or open as interrupted. What is known of it stays.
pub(super) fn close(tx: &SqliteTx<'_>, closing: Closing) -> Result<(), SqliteError> {
    tx
        .conn
        .prepare_cached(
            "UPDATE attempts SET status = 'interrupted', completed_at = coalesce(completed_at, :steady - drift),
                code = coalesce(code, :code)
             WHERE id = :id AND status IN ('running', 'interrupted')",
        )?
        .execute(named_params! {
            ":id": closing.attempt.as_bytes(),
            ":code": closing.code,
            ":steady": tx.drift.steady(tx.now),
        })?;
    Ok(())
}

/// The last attempt, of whatever connection, that spent this refresh token or may have.
pub(super) fn spender(tx: &SqliteTx<'_>, fingerprint: Fingerprint) -> Result<Option<AttemptId>, SqliteError> {
    let found: Option<[u8; 16]> = tx
        .conn
        .prepare_cached(
            "SELECT id FROM attempts WHERE fingerprint = ? AND status IN ('running', 'interrupted', 'success')
             ORDER BY id DESC LIMIT 1",
        )?
        .query_row(params![fingerprint.as_bytes()], |row| row.get(0))
        .optional()?;
    Ok(found.map(AttemptId::from_bytes))
}

/// Keeps a sealed reply with its attempt.
pub(super) fn keep_reply(
    tx: &SqliteTx<'_>,
    attempt: AttemptId,
    connection: &ConnectionName,
    reply: &[u8],
) -> Result<(), SqliteError> {
    tx.conn
        .prepare_cached("INSERT OR REPLACE INTO kept_replies (attempt, connection, reply) VALUES (?, ?, ?)")?
        .execute(params![attempt.as_bytes(), connection.as_str(), reply])?;
    Ok(())
}

/// The reply of an attempt was read after all.
pub(super) fn drop_reply(tx: &SqliteTx<'_>, attempt: AttemptId) -> Result<(), SqliteError> {
    let mut statement = tx.conn.prepare_cached("DELETE FROM kept_replies WHERE attempt = ?")?;
    statement.execute(params![attempt.as_bytes()])?;
    Ok(())
}

/// A grant is given up, and with it what its replies held.
pub(super) fn drop_replies(tx: &SqliteTx<'_>, connection: &ConnectionName) -> Result<(), SqliteError> {
    let mut statement = tx.conn.prepare_cached("DELETE FROM kept_replies WHERE connection = ?")?;
    statement.execute(params![connection.as_str()])?;
    Ok(())
}

/// Records an operator's order. Answers whether it is new.
pub(super) fn record_operation(
    tx: &SqliteTx<'_>,
    operation: OperationId,
    connection: &ConnectionName,
    act: &'static str,
) -> Result<bool, SqliteError> {
    let inserted = tx
        .conn
        .prepare_cached(
            "INSERT OR IGNORE INTO operations (id, connection, act, done_at) VALUES (?, ?, ?, ?)",
        )?
        .execute(params![operation.as_bytes(), connection.as_str(), act, tx.now.as_micros()])?;
    Ok(inserted == 1)
}
