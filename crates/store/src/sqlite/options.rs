//! How a SQLite store works.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

#[cfg(doc)]
use jeton_core::keep::ports::StoreError;
use jeton_core::time::Clock;

use super::boot_clock;
use super::faults::{NoSqliteHooks, SqliteHooks};
use super::migrate::MIGRATIONS;
use crate::migration::Migration;

/// How a SQLite store works.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The clock of the store. All processes of one file read the clock of their one machine.
    pub clock: Arc<dyn Clock>,
    /// Whether a database that is missing or empty is created; otherwise it gets [`StoreError::Missing`], and nothing is
    /// changed.
    pub create: bool,
    /// Names this boot of the machine; without a name, leases and holds hang on the civil clock.
    pub boot: Option<String>,
    /// How long a call waits while another process writes, before it gets [`StoreError::Unavailable`].
    pub busy_timeout: Duration,
    /// How many connections read at once.
    pub readers: usize,
    /// How many calls may wait, to write and to read each, before more get [`StoreError::Unavailable`].
    pub most_waiting: usize,
    /// The migrations that this program knows. Tests leave some out, or add what a later program may bring; the statements are
    /// those of this build.
    pub migrations: &'static [Migration],
    /// Where tests step in; [`NoSqliteHooks`] in earnest.
    pub hooks: Arc<dyn SqliteHooks>,
    /// Counts the statements that are run once the store is open, where somebody wants to know.
    pub statements: Option<Arc<AtomicU64>>,
}

impl SqliteOptions {
    /// 10 s of patience, 4 readers, 4096 waiting calls.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            create: true,
            boot: boot_clock::boot(),
            busy_timeout: Duration::from_secs(10),
            readers: 4,
            most_waiting: 4096,
            migrations: MIGRATIONS,
            hooks: Arc::new(NoSqliteHooks),
            statements: None,
        }
    }
}
