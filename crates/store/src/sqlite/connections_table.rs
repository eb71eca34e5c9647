//! Loading and saving one connection with its token set and its strays, inside one transaction.

use jeton_core::id::{AttemptId, ConnectionName};
use jeton_core::keep::attempt::Trigger;
use jeton_core::keep::connection::{
    Connection, Lease, OrphanReply, RejectionBackoff, Revision, SealedTokens,
};
use jeton_core::keep::ports::{ListedConnection, StoreError};
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;
use rusqlite::{OptionalExtension as _, Row, named_params, params};

use super::boot_clock::ClockDrift;
use super::errors::SqliteError;
use super::writer::SqliteTx;
use crate::row_reader::{self, CONNECTION_COLUMNS, RowReader, TOKEN_COLUMNS, signed};

/// The columns of a connection, in the order that [`row_reader::connection`] reads them, with the drift that they were written
/// at.
pub(super) fn columns() -> String {
    format!("{CONNECTION_COLUMNS}, drift")
}

/// Reads [`columns`] at the drift that there is now.
pub(super) fn connection(row: &Row<'_>, drift: ClockDrift) -> Result<Connection, StoreError> {
    let (found, _) = row_reader::connection(row)?;
    let written = ClockDrift::of_row(row, "connections", &found.name)?;
    let rebased = |until: Timestamp| drift.rebased(until, written);
    Ok(Connection {
        lease: found.lease.map(|lease| Lease { until: rebased(lease.until), ..lease }),
        cooling_until: found.cooling_until.map(rebased),
        backoff: found.backoff.map(|backoff| RejectionBackoff { until: rebased(backoff.until), ..backoff }),
        ..found
    })
}

/// The connection of that name.
pub(super) fn find(
    conn: &rusqlite::Connection,
    drift: ClockDrift,
    name: &ConnectionName,
) -> Result<Option<Connection>, SqliteError> {
    let sql = format!("SELECT {} FROM connections WHERE name = ?", columns());
    let found = first(conn, &sql, params![name.as_str()], |row| connection(row, drift))?;
    found.map(|row| complete(conn, row)).transpose()
}

/// Another connection than `name` that holds the refresh token of that fingerprint.
pub(super) fn other_holder(
    conn: &rusqlite::Connection,
    refresh: Fingerprint,
    name: &ConnectionName,
) -> Result<Option<ConnectionName>, SqliteError> {
    let sql = "SELECT connection FROM tokens WHERE refresh_fingerprint = ? AND connection <> ? LIMIT 1";
    let bound = params![refresh.as_bytes(), name.as_str()];
    first(conn, sql, bound, |row| {
        RowReader::new(row, "tokens").named("connection", |holder| holder.parse().ok())
    })
}

/// The connections that a SELECT of [`columns`] finds.
pub(super) fn select(
    conn: &rusqlite::Connection,
    drift: ClockDrift,
    sql: &str,
    params: impl rusqlite::Params,
) -> Result<Vec<ListedConnection>, SqliteError> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let read = match connection(row, drift).map_err(SqliteError::from).and_then(|row| complete(conn, row))
        {
            Err(SqliteError::Store(error)) => Err(error),
            read => Ok(read?),
        };
        found.push(row_reader::listed(row, read)?);
    }
    Ok(found)
}

/// The first row that a SELECT finds.
pub(super) fn first<T>(
    conn: &rusqlite::Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, SqliteError> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    Ok(rows.next()?.map(read).transpose()?)
}

/// All rows that a SELECT finds; its LIMIT bounds them.
pub(super) fn all<T>(
    conn: &rusqlite::Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, SqliteError> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

fn complete(conn: &rusqlite::Connection, mut row: Connection) -> Result<Connection, SqliteError> {
    let sql = format!("SELECT generation, {TOKEN_COLUMNS} FROM tokens WHERE connection = ?");
    let tokens = first(conn, &sql, params![row.name.as_str()], |found| {
        let mut columns = RowReader::new(found, "tokens").keyed(&row.name);
        Ok((columns.count("generation")?, columns.tokens()?))
    })?;
    if let Some((generation, tokens)) = tokens {
        if generation != row.generation.0 {
            return Err(StoreError::Inconsistent {
                table: "tokens",
                column: "generation",
                row: row.name.to_string(),
                what: format!("is {generation}, and the connection has {}", row.generation.0),
            }
            .into());
        }
        row.tokens = Some(tokens);
    }
    let sql = format!(
        "SELECT attempt, grant_id, generation, {TOKEN_COLUMNS} FROM strays WHERE connection = ? ORDER BY attempt"
    );
    row.orphans = all(conn, &sql, params![row.name.as_str()], |found| {
        let mut columns = RowReader::new(found, "strays");
        let attempt = columns.bytes("attempt", AttemptId::from_bytes)?;
        row_reader::stray(attempt, &mut columns.keyed(&attempt))
    })?;
    Ok(row)
}

/// Writes what changed between `before` and `row` under the next revision; nothing, when nothing did.
///
/// `attempt` is named as the origin of a token set that is new.
pub(super) fn save(
    tx: &SqliteTx<'_>,
    before: Option<&Connection>,
    mut row: Connection,
    attempt: Option<AttemptId>,
) -> Result<(), SqliteError> {
    if before == Some(&row) {
        return Ok(());
    }
    row.revision = next_revision(tx)?;
    write_row(tx, &row)?;
    let tokens_before = before.and_then(|before| before.tokens.as_ref());
    // A generation names one token set: either both change or neither does.
    if tokens_before != row.tokens.as_ref() || before.is_none_or(|before| before.generation != row.generation)
    {
        write_tokens(tx, &row, attempt)?;
    }
    let strays_before = before.map_or(&[][..], |before| &before.orphans);
    write_strays(tx, strays_before, &row)
}

fn next_revision(tx: &SqliteTx<'_>) -> Result<Revision, SqliteError> {
    let revision: i64 = tx
        .conn
        .prepare_cached("UPDATE store SET revision = revision + 1 RETURNING revision")?
        .query_row((), |row| row.get(0))?;
    Ok(Revision(revision.unsigned_abs()))
}

fn write_row(tx: &SqliteTx<'_>, row: &Connection) -> Result<(), SqliteError> {
    tx
        .conn
        .prepare_cached(
            "INSERT INTO connections (name, provider, grant_id, state, state_code, paused, generation, revision,
                born_of, lease_attempt, lease_node, lease_until, open_attempt, due_at, cooling_until, failures,
                last_error, brake_generation, brake_until, brake_step, created_at, drift)
             VALUES (:name, :provider, :grant_id, :state, :state_code, :paused, :generation, :revision,
                :born_of, :lease_attempt, :lease_node, :lease_until, :open_attempt, :due_at, :cooling_until, :failures,
                :last_error, :brake_generation, :brake_until, :brake_step, :created_at, :drift)
             ON CONFLICT (name) DO UPDATE SET provider = excluded.provider, grant_id = excluded.grant_id,
                state = excluded.state, state_code = excluded.state_code, paused = excluded.paused,
                generation = excluded.generation, revision = excluded.revision, born_of = excluded.born_of,
                lease_attempt = excluded.lease_attempt, lease_node = excluded.lease_node,
                lease_until = excluded.lease_until, open_attempt = excluded.open_attempt, due_at = excluded.due_at,
                cooling_until = excluded.cooling_until, failures = excluded.failures, last_error = excluded.last_error,
                brake_generation = excluded.brake_generation, brake_until = excluded.brake_until,
                brake_step = excluded.brake_step, drift = excluded.drift",
        )?
        .execute(named_params! {
            ":name": row.name.as_str(),
            ":provider": row.provider.as_str(),
            ":grant_id": row.grant.as_bytes(),
            ":state": row.state.as_str(),
            ":state_code": row.state_code,
            ":paused": row.paused,
            ":generation": signed(row.generation.0),
            ":revision": signed(row.revision.0),
            ":born_of": row.refresh_trigger.map(Trigger::as_str),
            ":lease_attempt": row.lease.as_ref().map(|lease| lease.attempt.as_bytes()),
            ":lease_node": row.lease.as_ref().map(|lease| lease.node.as_bytes()),
            ":lease_until": row.lease.map(|lease| lease.until.as_micros()),
            ":open_attempt": row.open_attempt.as_ref().map(AttemptId::as_bytes),
            ":due_at": row.due_at.map(Timestamp::as_micros),
            ":cooling_until": row.cooling_until.map(Timestamp::as_micros),
            ":failures": row.failures,
            ":last_error": row.last_error,
            ":brake_generation": row.backoff.map(|brake| signed(brake.generation.0)),
            ":brake_until": row.backoff.map(|brake| brake.until.as_micros()),
            ":brake_step": row.backoff.map(|brake| row_reader::micros(brake.step)),
            ":created_at": row.created_at.as_micros(),
            ":drift": tx.drift.0,
        })?;
    Ok(())
}

fn write_tokens(tx: &SqliteTx<'_>, row: &Connection, attempt: Option<AttemptId>) -> Result<(), SqliteError> {
    let Some(tokens) = &row.tokens else {
        let mut wipe = tx.conn.prepare_cached("DELETE FROM tokens WHERE connection = ?")?;
        wipe.execute(params![row.name.as_str()])?;
        return Ok(());
    };
    let attempt = attempt.ok_or_else(|| StoreError::Inconsistent {
        table: "tokens",
        column: "attempt",
        row: row.name.to_string(),
        what: "a new token set comes from no attempt".into(),
    })?;
    // REPLACE deletes the row before: with secure_delete its bytes are overwritten.
    let sql = format!(
        "INSERT OR REPLACE INTO tokens (connection, generation, attempt, {TOKEN_COLUMNS})
         VALUES (:connection, :generation, :attempt, {TOKEN_VALUES})"
    );
    let mut statement = tx.conn.prepare_cached(&sql)?;
    statement.raw_bind_parameter(":connection", row.name.as_str())?;
    statement.raw_bind_parameter(":generation", signed(row.generation.0))?;
    statement.raw_bind_parameter(":attempt", attempt.as_bytes())?;
    bind_tokens(&mut statement, tokens)?;
    statement.raw_execute()?;
    Ok(())
}

/// The parameters that [`bind_tokens`] gives, in the order of [`TOKEN_COLUMNS`].
const TOKEN_VALUES: &str = ":access, :refresh, :extras, :access_fingerprint, :refresh_fingerprint, :obtained_at, \
    :access_expires_at, :refresh_expires_at";

fn bind_tokens(statement: &mut rusqlite::Statement<'_>, tokens: &SealedTokens) -> rusqlite::Result<()> {
    let fingerprint = |of: &Option<Fingerprint>| of.map(|of| *of.as_bytes());
    statement.raw_bind_parameter(":access", &tokens.access)?;
    statement.raw_bind_parameter(":refresh", &tokens.refresh)?;
    statement.raw_bind_parameter(":extras", &tokens.extras)?;
    statement.raw_bind_parameter(":access_fingerprint", fingerprint(&tokens.access_fingerprint))?;
    statement.raw_bind_parameter(":refresh_fingerprint", fingerprint(&tokens.refresh_fingerprint))?;
    statement.raw_bind_parameter(":obtained_at", tokens.obtained_at.as_micros())?;
    statement.raw_bind_parameter(":access_expires_at", tokens.access_expires_at.map(Timestamp::as_micros))?;
    statement.raw_bind_parameter(":refresh_expires_at", tokens.refresh_expires_at.map(Timestamp::as_micros))
}

fn write_strays(tx: &SqliteTx<'_>, before: &[OrphanReply], row: &Connection) -> Result<(), SqliteError> {
    for gone in before.iter().filter(|stray| !row.orphans.contains(stray)) {
        let mut wipe = tx.conn.prepare_cached("DELETE FROM strays WHERE attempt = ?")?;
        wipe.execute(params![gone.attempt.as_bytes()])?;
    }
    for stray in row.orphans.iter().filter(|stray| !before.contains(stray)) {
        let sql = format!(
            "INSERT INTO strays (attempt, connection, grant_id, generation, {TOKEN_COLUMNS})
             VALUES (:attempt, :connection, :grant_id, :generation, {TOKEN_VALUES})"
        );
        let mut statement = tx.conn.prepare_cached(&sql)?;
        statement.raw_bind_parameter(":attempt", stray.attempt.as_bytes())?;
        statement.raw_bind_parameter(":connection", row.name.as_str())?;
        statement.raw_bind_parameter(":grant_id", stray.grant.as_bytes())?;
        statement.raw_bind_parameter(":generation", signed(stray.generation.0))?;
        bind_tokens(&mut statement, &stray.tokens)?;
        statement.raw_execute()?;
    }
    Ok(())
}

/// The attempt that brought the token set of a connection.
pub(super) fn origin(tx: &SqliteTx<'_>, name: &ConnectionName) -> Result<Option<AttemptId>, SqliteError> {
    let found: Option<[u8; 16]> = tx
        .conn
        .prepare_cached("SELECT attempt FROM tokens WHERE connection = ?")?
        .query_row(params![name.as_str()], |row| row.get(0))
        .optional()?;
    Ok(found.map(AttemptId::from_bytes))
}
