//! Where tests make a store fail, late, full, read-only or of unknown outcome, and see what follows.
//!
//! A program that serves people leaves all of this alone.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use jeton_core::keep::ports::StoreError;
use rusqlite::Connection;

/// Called on the thread of the writer around each COMMIT. A hook may sleep, count, or end the process.
pub trait SqliteHooks: fmt::Debug + Send + Sync {
    /// Everything is written and nothing is durable. An error rolls the batch back, and every call of it gets the error.
    fn before_commit(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Everything is durable and nobody knows. An error is what every call of the batch gets, though it was done: a
    /// COMMIT of unknown outcome.
    fn after_commit(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// No hooks.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSqliteHooks;

impl SqliteHooks for NoSqliteHooks {}

/// Switches that make SQLite itself refuse to write; they hold from the next batch on.
#[derive(Debug, Default)]
pub struct Faults {
    full: AtomicBool,
    read_only: AtomicBool,
}

impl Faults {
    /// The database may not grow and has no free page: whatever writes fails with `SQLITE_FULL`.
    pub fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    /// Nothing can be written: whatever writes fails with `SQLITE_READONLY`.
    pub fn set_read_only(&self, read_only: bool) {
        self.read_only.store(read_only, Ordering::SeqCst);
    }

    /// Tells the connection, at the beginning of a batch.
    pub(super) fn apply(&self, conn: &Connection, applied: &mut AppliedFaults) -> rusqlite::Result<()> {
        let wanted = AppliedFaults {
            full: self.full.load(Ordering::SeqCst),
            read_only: self.read_only.load(Ordering::SeqCst),
        };
        if wanted.read_only != applied.read_only {
            conn.pragma_update(None, "query_only", wanted.read_only)?;
        }
        if wanted.full != applied.full {
            // SQLite takes the present size for any limit below it.
            let pages: i64 = if wanted.full { 1 } else { 0xffff_fffe };
            conn.query_row(&format!("PRAGMA max_page_count = {pages}"), (), |_| Ok(()))?;
        }
        *applied = wanted;
        Ok(())
    }
}

/// What a connection was last told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AppliedFaults {
    full: bool,
    read_only: bool,
}

impl AppliedFaults {
    /// Before a COMMIT that has something to write: small rows would still find room in half-empty pages, so this asks
    /// for more pages than there are, and SQLite answers as a full disk does.
    pub(super) fn exhaust(self, conn: &Connection) -> rusqlite::Result<()> {
        if !self.full {
            return Ok(());
        }
        let free: i64 = conn.query_row("PRAGMA freelist_count", (), |row| row.get(0))?;
        let size: i64 = conn.query_row("PRAGMA page_size", (), |row| row.get(0))?;
        conn.execute_batch(&format!("CREATE TABLE no_room AS SELECT zeroblob({})", (free + 8) * size))
    }
}
