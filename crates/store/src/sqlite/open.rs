//! Opening connections: what every one of them is told, and how long they wait for each other.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use jeton_core::keep::ports::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::trace::{TraceEvent, TraceEventCodes};
use rusqlite::{Connection, OpenFlags};

use super::errors::{SqliteError, is_busy};

/// The longest sleep between two tries for a lock: short, because whoever holds it holds it for one group commit.
const MAX_PAUSE: Duration = Duration::from_millis(5);

/// Prepared statements that a connection keeps.
const STATEMENTS: usize = 96;

/// Tries again while another process holds the lock, for as long as `limit`.
pub(super) fn retry_while_busy<T>(
    limit: Duration,
    mut attempt: impl FnMut() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let mut waited = Duration::ZERO;
    let mut nap = Duration::from_micros(500);
    loop {
        match attempt() {
            Err(error) if is_busy(&error) && waited < limit => {
                thread::sleep(nap);
                waited += nap;
                nap = (nap * 2).min(MAX_PAUSE);
            }
            done => return done,
        }
    }
}

/// The connection that writes. The file must be there.
pub(super) fn writer(path: &Path, busy_timeout: Duration) -> Result<Connection, SqliteError> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE,
    )?;
    // We wait ourselves, with shorter naps than SQLite's.
    conn.busy_timeout(Duration::ZERO)?;
    let mode: String =
        retry_while_busy(busy_timeout, || conn.query_row("PRAGMA journal_mode = WAL", (), |row| row.get(0)))?;
    if mode != "wal" {
        let text = format!(
            "the database {} cannot have a write-ahead log (its journal mode stays {mode:?}): put it on a local disk",
            path.display()
        );
        return Err(StoreError::Refused(text).into());
    }
    conn.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA secure_delete = ON;
         PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;
         PRAGMA temp_store = MEMORY;
         PRAGMA journal_size_limit = 67108864;",
    )?;
    // The last connection would remove the files beside the database, and on a full disk nobody could make them again: not even
    // to read. The writer empties the log itself when it ends.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    keep_statements(&conn)?;
    Ok(conn)
}

/// Copies the log into the database and empties it: whoever copies the database file of a stopped program has all of it. Where
/// another process is in the way, it does so at its end.
pub(super) fn empty_log(conn: &Connection) -> rusqlite::Result<()> {
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))
}

/// A connection that only reads.
pub(super) fn reader(path: &Path, busy_timeout: Duration) -> Result<Connection, SqliteError> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE,
    )?;
    conn.busy_timeout(busy_timeout)?;
    conn.execute_batch("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY;")?;
    keep_statements(&conn)?;
    Ok(conn)
}

/// Has every statement of a connection counted, where somebody wants to know.
pub(super) fn count(conn: &mut Connection, statements: Option<&Arc<AtomicU64>>) -> rusqlite::Result<()> {
    let Some(statements) = statements.cloned() else { return Ok(()) };
    let one_more = move |_: TraceEvent<'_>| {
        statements.fetch_add(1, Ordering::Relaxed);
    };
    conn.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(one_more))
}

/// Statements are prepared once. Without the promise of stable plans SQLite looks at the values that are bound, and prepares
/// a statement anew for each value that its plan could depend on: nearly every time that a key is looked up.
fn keep_statements(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}
