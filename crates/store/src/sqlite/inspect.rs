//! Looking at a database that may be wrong, without changing anything about it.

use std::path::Path;
use std::time::Duration;

use jeton_core::id::Revision;
use jeton_core::keep::connection::Connection;
use jeton_core::keep::ports::{Identity, LiveNode, StoreError};
use jeton_core::time::SystemClock;

use super::errors::SqliteError;
use super::writer::{DIALECT, read_revision};
use super::{boot_clock, migrate, open, rows};
use crate::sql::{connection_rows, ports};

/// How many damages SQLite is asked to name.
const MAX_DAMAGE_LINES: usize = 5;

/// What a database says when it is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteInspection {
    /// What SQLite finds damaged, a few of it; empty when nothing is. A damaged database is not read any further.
    pub damage: Vec<String>,
    /// Whether it holds nothing of ours yet.
    pub is_empty: bool,
    /// How many changes of the schema this binary would make first. Until then nothing else is read.
    pub missing_migrations: usize,
    /// Which installation it belongs to, once there is one.
    pub identity: Option<Identity>,
    /// Its last change.
    pub revision: Revision,
    /// All connections, by name.
    pub connections: Vec<Connection>,
    /// The nodes that are alive.
    pub nodes: Vec<LiveNode>,
}

/// Opens the database read-only, checks it, and reads what it holds. Takes as long as reading the whole file does, on
/// the thread that calls. `None` where there is no file.
///
/// # Errors
/// As [`SqliteStore::open`](super::SqliteStore::open); also for rows that cannot be understood.
pub fn inspect(path: &Path, busy_timeout: Duration) -> Result<Option<SqliteInspection>, StoreError> {
    if !path.exists() {
        return Ok(None);
    }
    look(path, busy_timeout).map(Some).map_err(|failure| failure.into_store_error(path))
}

/// Sees that the database exists and has tables of ours, without changing it: an empty one may have lost all that it held with its
/// write-ahead log.
///
/// # Errors
/// [`StoreError::Missing`]; what keeps the file from being read.
pub(super) fn check_in_use(path: &Path, busy_timeout: Duration) -> Result<(), StoreError> {
    if !path.exists() {
        return Err(StoreError::Missing(format!("the database {} does not exist", path.display())));
    }
    let conn = open::reader(path, busy_timeout);
    match conn.and_then(|conn| migrate::is_new(&conn, path)) {
        Ok(false) => Ok(()),
        Ok(true) => Err(StoreError::Missing(format!("the database {} is empty", path.display()))),
        Err(failure) => Err(failure.into_store_error(path)),
    }
}

fn look(path: &Path, busy_timeout: Duration) -> Result<SqliteInspection, SqliteError> {
    let conn = open::reader(path, busy_timeout)?;
    // One snapshot for everything: a server may be writing.
    let snapshot = conn.unchecked_transaction()?;
    let mut found = SqliteInspection {
        damage: Vec::new(),
        is_empty: false,
        missing_migrations: 0,
        identity: None,
        revision: Revision::default(),
        connections: Vec::new(),
        nodes: Vec::new(),
    };
    if migrate::is_new(&snapshot, path)? {
        (found.is_empty, found.missing_migrations) = (true, migrate::MIGRATIONS.len());
        return Ok(found);
    }
    found.damage = damage(&snapshot)?;
    if !found.damage.is_empty() {
        return Ok(found);
    }
    found.missing_migrations = migrate::lacking(&snapshot, path, migrate::MIGRATIONS)?.len();
    if found.missing_migrations == 0 {
        let (now, shift) = boot_clock::inspect(&snapshot, &SystemClock)?;
        found.identity = ports::read_identity(&rows::run(&snapshot, &ports::identity(), shift)?)?;
        found.revision = read_revision(&snapshot)?;
        let all = connection_rows::select("SELECT * FROM connections", "name", DIALECT.drift, Vec::new());
        found.connections = connection_rows::read(&rows::run(&snapshot, &all, shift)?)?;
        let nodes = ports::live_nodes(now);
        found.nodes = ports::read_nodes(&rows::run(&snapshot, &nodes, shift)?)?;
    }
    snapshot.rollback()?;
    Ok(found)
}

fn damage(conn: &rusqlite::Connection) -> Result<Vec<String>, SqliteError> {
    let mut statement = conn.prepare(&format!("PRAGMA quick_check({MAX_DAMAGE_LINES})"))?;
    let found = statement.query_map((), |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    Ok(found.into_iter().filter(|line| line != "ok").collect())
}
