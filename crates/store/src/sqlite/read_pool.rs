//! The connections that only read, a few of them, each used by one caller at a time.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use jeton_core::keep::ports::StoreError;
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::errors::SqliteError;
use super::open;
use super::opened_files::OpenedFiles;
use super::options::SqliteOptions;

/// The pool. Connections are opened when they are first needed.
#[derive(Debug)]
pub(super) struct ReadPool {
    path: PathBuf,
    files: Arc<OpenedFiles>,
    busy_timeout: Duration,
    idle: Mutex<Vec<Connection>>,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    most_waiting: usize,
    statements: Option<Arc<AtomicU64>>,
}

impl ReadPool {
    pub(super) fn new(path: PathBuf, files: Arc<OpenedFiles>, options: &SqliteOptions) -> Self {
        Self {
            path,
            files,
            busy_timeout: options.busy_timeout,
            idle: Mutex::new(Vec::new()),
            turns: Arc::new(Semaphore::new(options.readers.max(1))),
            waiting: AtomicUsize::new(0),
            most_waiting: options.most_waiting,
            statements: options.statements.clone(),
        }
    }

    /// Runs `look` on one snapshot of the database, on a thread that may block.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        look: impl FnOnce(&Connection) -> Result<T, SqliteError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = {
            let _queued = QueueTicket::enter(self)?;
            Arc::clone(&self.turns).acquire_owned().await
        };
        let readers = Arc::clone(self);
        let reading = tokio::task::spawn_blocking(move || {
            // Held to the end of the work, also when whoever asked has gone.
            let _turn = turn;
            readers.read_here(look)
        });
        reading.await.map_err(|error| {
            StoreError::Unavailable(format!(
                "a reader of the store broke off; the log has the place ({error})"
            ))
        })?
    }

    fn another(&self) -> Result<Connection, SqliteError> {
        let mut conn = open::reader(&self.path, self.busy_timeout)?;
        open::count(&mut conn, self.statements.as_ref())?;
        Ok(conn)
    }

    fn read_here<T>(
        &self,
        look: impl FnOnce(&Connection) -> Result<T, SqliteError>,
    ) -> Result<T, StoreError> {
        self.files.verify()?;
        let idle = self.idle.lock().pop();
        let read = || {
            let conn = idle.map_or_else(|| self.another(), Ok)?;
            let snapshot = conn.unchecked_transaction()?;
            let found = look(&snapshot);
            // Nothing was written: rolling back only lets the snapshot go.
            snapshot.rollback()?;
            let broken = found.as_ref().err().is_some_and(SqliteError::breaks_connection);
            if !broken {
                self.idle.lock().push(conn);
            }
            found
        };
        read().map_err(|failure| failure.into_store_error(&self.path))
    }
}

/// A place in the queue, left by dropping it.
struct QueueTicket<'r>(&'r ReadPool);

impl<'r> QueueTicket<'r> {
    fn enter(readers: &'r ReadPool) -> Result<Self, StoreError> {
        let place = Self(readers);
        if readers.waiting.fetch_add(1, Ordering::SeqCst) >= readers.most_waiting {
            return Err(StoreError::Unavailable("too many calls wait to read it: try again".into()));
        }
        Ok(place)
    }
}

impl Drop for QueueTicket<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}
