//! Bringing the schema up to date, whoever else is starting at the same time.

use std::path::Path;
use std::time::Duration;

use jeton_core::keep::ports::StoreError;
use jeton_core::time::Timestamp;
use rusqlite::{Connection, params};

use super::errors::SqliteError;
use super::open::retry_while_busy;
use crate::migration::{AppliedMigration, Migration, log_applied, missing};

/// The migrations of SQLite.
pub const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "keep", sql: include_str!("../../migrations/sqlite/0001_keep.sql") },
    Migration { number: 2, name: "consents", sql: include_str!("../../migrations/sqlite/0002_consents.sql") },
    Migration { number: 3, name: "steady", sql: include_str!("../../migrations/sqlite/0003_steady.sql") },
    Migration { number: 4, name: "nodes", sql: include_str!("../../migrations/sqlite/0004_nodes.sql") },
    Migration {
        number: 5,
        name: "service_tokens",
        sql: include_str!("../../migrations/sqlite/0005_service_tokens.sql"),
    },
    Migration { number: 6, name: "audit", sql: include_str!("../../migrations/sqlite/0006_audit.sql") },
    Migration {
        number: 7,
        name: "audit_by_subject",
        sql: include_str!("../../migrations/sqlite/0007_audit_by_subject.sql"),
    },
    Migration {
        number: 8,
        name: "node_tasks",
        sql: include_str!("../../migrations/sqlite/0008_node_tasks.sql"),
    },
    Migration {
        number: 9,
        name: "provider_words",
        sql: include_str!("../../migrations/sqlite/0009_provider_words.sql"),
    },
    Migration { number: 10, name: "outages", sql: include_str!("../../migrations/sqlite/0010_outages.sql") },
    Migration {
        number: 11,
        name: "node_hosts",
        sql: include_str!("../../migrations/sqlite/0011_node_hosts.sql"),
    },
];

/// Marks the file as ours (`PRAGMA application_id`): "jetn".
const APPLICATION_ID: i64 = 0x6a65_746e;

/// Applies what the database lacks of `schema`, all in one transaction.
pub(super) fn migrate(
    conn: &Connection,
    path: &Path,
    schema: &'static [Migration],
    now: Timestamp,
    busy_timeout: Duration,
) -> Result<(), SqliteError> {
    retry_while_busy(busy_timeout, || conn.execute_batch("BEGIN IMMEDIATE"))?;
    let done = apply_missing(conn, path, schema, now);
    let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = conn.execute_batch(end);
    let applied = done?;
    ended?;
    log_applied(applied);
    Ok(())
}

fn apply_missing(
    conn: &Connection,
    path: &Path,
    schema: &'static [Migration],
    now: Timestamp,
) -> Result<&'static [Migration], SqliteError> {
    if is_new(conn, path)? {
        conn.execute_batch(&format!("PRAGMA application_id = {APPLICATION_ID}"))?;
    }
    conn.execute_batch(
        "CREATE TABLE IF NOT EXISTS migrations (
            number     INTEGER PRIMARY KEY NOT NULL,
            name       TEXT NOT NULL,
            checksum   TEXT NOT NULL,
            applied_at INTEGER NOT NULL
        ) STRICT",
    )?;
    let lacking = lacking(conn, path, schema)?;
    for migration in lacking {
        conn.execute_batch(migration.sql)?;
        conn.execute(
            "INSERT INTO migrations (number, name, checksum, applied_at) VALUES (?, ?, ?, ?)",
            params![migration.number, migration.name, migration.checksum(), now.as_micros()],
        )?;
    }
    Ok(lacking)
}

/// The migrations of `schema` that a database of ours lacks.
pub(super) fn lacking(
    conn: &Connection,
    path: &Path,
    schema: &'static [Migration],
) -> Result<&'static [Migration], SqliteError> {
    let applied = conn
        .prepare("SELECT number, checksum FROM migrations ORDER BY number")?
        .query_map((), |row| Ok(AppliedMigration { number: row.get(0)?, checksum: row.get(1)? }))?
        .collect::<Result<Vec<_>, _>>()?;
    let missing = missing(schema, &applied)
        .map_err(|what| StoreError::Refused(format!("the database {} {what}", path.display())))?;
    Ok(missing)
}

/// Whether nobody has used the database yet. One that has tables and is not ours belongs to another program.
pub(super) fn is_new(conn: &Connection, path: &Path) -> Result<bool, SqliteError> {
    let id: i64 = conn.query_row("PRAGMA application_id", (), |row| row.get(0))?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    if id == APPLICATION_ID {
        return Ok(false);
    }
    if tables > 0 || id != 0 {
        let text = format!("{} is the database of another program: name another file", path.display());
        return Err(StoreError::Refused(text).into());
    }
    Ok(true)
}
