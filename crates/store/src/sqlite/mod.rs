//! The store inside the binary: one SQLite file with a write-ahead log, for any number of processes of one machine.
//!
//! * One thread writes, and calls that wait share one COMMIT (`writer`); reads go to a small pool (`readers`).
//! * Before SQLite sees the file: `path_checks`. Opening connections: `opening`. The schema: `migrate`.
//! * The ports: `connections`, `attempts`, `audit`, `consents`, `service_tokens`, `feed`, `maintenance`, `nodes`. Rows: `table`,
//!   `log`, `cells`; as a transaction for the courses that all stores share: `desk`.
//! * What runs for a duration, whoever sets the civil clock: `steady`.
//! * Looking at a file that may be wrong: `inspect`.
//! * Where tests make it fail: [`faults`].

mod attempts;
mod attempts_table;
mod audit;
mod boot_clock;
mod connections;
mod connections_table;
mod consents;
mod errors;
pub mod faults;
mod feed;
mod inspect;
mod maintenance;
mod migrate;
mod nodes;
mod open;
mod path_checks;
mod read_pool;
mod rows;
mod service_tokens;
mod write_tx;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use jeton_core::keep::ports::StoreError;
use jeton_core::time::Clock;
use tokio::sync::{oneshot, watch};

pub use inspect::{SqliteInspection, inspect};

use crate::migration::up_to;
use errors::SqliteError;
use faults::{Faults, NoSqliteHooks, SqliteHooks};
use read_pool::ReadPool;
use writer::{SqliteShared, SqliteTx, WaitingWrite, Writer, WriterRequest};

/// How a SQLite store works.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The clock of the store. All processes of one file read the clock of their one machine.
    pub clock: Arc<dyn Clock>,
    /// Names this boot of the machine; without a name, leases and holds hang on the civil clock.
    pub boot: Option<String>,
    /// How long a call waits while another process writes, before it gets [`StoreError::Unavailable`].
    pub busy_timeout: Duration,
    /// How many connections read at once.
    pub readers: usize,
    /// How many calls may wait, to write and to read each, before more get [`StoreError::Unavailable`].
    pub most_waiting: usize,
    /// The last migration that this program knows, in tests: so an older one is opened beside it. Its statements are those
    /// of this build.
    pub last_migration: Option<u32>,
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
            boot: boot_clock::boot(),
            busy_timeout: Duration::from_secs(10),
            readers: 4,
            most_waiting: 4096,
            last_migration: None,
            hooks: Arc::new(NoSqliteHooks),
            statements: None,
        }
    }
}

/// A store in one SQLite file. It must be used within a tokio runtime, which reads for it.
///
/// Dropping it does what was ordered before, then closes the file; the drop waits for that.
#[derive(Debug)]
pub struct SqliteStore {
    shared: Arc<SqliteShared>,
    readers: Arc<ReadPool>,
    orders: Option<SyncSender<WriterRequest>>,
    thread: Option<JoinHandle<()>>,
}

impl SqliteStore {
    /// Opens the database, makes it when it is missing (mode 0600), and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Refused`], in one sentence that names the cure, for a path that cannot be a database: a folder, a
    /// folder that is missing or cannot be written, a network file system, another kind of file, the database of
    /// another program, a schema newer than this binary. [`StoreError::Unavailable`] when another process holds it for
    /// longer than `busy_timeout`.
    pub fn open(path: &Path, options: SqliteOptions) -> Result<Self, StoreError> {
        let path = path_checks::prepare(path)?;
        let open = || -> Result<_, SqliteError> {
            let mut conn = open::writer(&path, options.busy_timeout)?;
            let schema = up_to(migrate::MIGRATIONS, options.last_migration);
            migrate::migrate(&conn, &path, schema, options.clock.now(), options.busy_timeout)?;
            let revision = writer::read_revision(&conn)?;
            let civil = Arc::clone(&options.clock);
            let clock = boot_clock::open(&conn, civil, options.boot.as_deref(), options.busy_timeout)?;
            open::count(&mut conn, options.statements.as_ref())?;
            Ok((conn, revision, clock))
        };
        let (conn, revision, clock) = open().map_err(|failure| failure.into_store_error(&path))?;
        let readers = ReadPool::new(path.clone(), &options);
        let shared = Arc::new(SqliteShared {
            path,
            clock,
            busy_timeout: options.busy_timeout,
            hooks: options.hooks,
            statements: options.statements,
            faults: Faults::default(),
            revision: watch::Sender::new(revision),
            watchers: AtomicUsize::new(0),
        });
        let (orders, waiting) = sync_channel(options.most_waiting.max(1));
        let writer = Writer::new(Arc::clone(&shared), conn);
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run(&waiting))
            .map_err(|error| StoreError::Unavailable(format!("its thread cannot be started: {error}")))?;
        Ok(Self { shared, readers: Arc::new(readers), orders: Some(orders), thread: Some(thread) })
    }

    /// The switches by which tests make SQLite refuse to write.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Runs `work` in a transaction of the writer, together with other calls that wait.
    ///
    /// The work goes on when the caller stops waiting.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnMut(&SqliteTx<'_>) -> Result<T, SqliteError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.order(WriterRequest::WriteCall(Box::new(WaitingWrite::new(work, reply))))?;
        answer.await.unwrap_or_else(|_| Err(writer_ended()))
    }

    fn order(&self, order: WriterRequest) -> Result<(), StoreError> {
        let orders = self.orders.as_ref().ok_or_else(writer_ended)?;
        orders.try_send(order).map_err(|refused| match refused {
            TrySendError::Full(_) => {
                StoreError::Unavailable("too many calls wait to write to it: try again".into())
            }
            TrySendError::Disconnected(_) => writer_ended(),
        })
    }
}

fn writer_ended() -> StoreError {
    StoreError::Unavailable("its writer has ended: start the program anew".into())
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // It ends once the last order is served; a panic of it was logged where it happened.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use jeton_core::time::SystemClock;
    use rusqlite::ffi;

    use super::*;

    fn open(folder: &tempfile::TempDir) -> SqliteStore {
        SqliteStore::open(&folder.path().join("jeton.db"), SqliteOptions::new(Arc::new(SystemClock))).unwrap()
    }

    #[tokio::test]
    async fn the_writer_survives_a_broken_connection_and_opens_another() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        for code in [ffi::SQLITE_IOERR, ffi::SQLITE_CORRUPT, ffi::SQLITE_CANTOPEN] {
            let broken = store.write(move |tx| -> Result<(), SqliteError> {
                tx.conn.execute("UPDATE store SET revision = 100", ())?;
                Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into())
            });
            broken.await.unwrap_err();
            let revision = store.write(|tx| Ok(writer::read_revision(tx.conn)?)).await.unwrap();
            assert_eq!(revision.0, 0, "what broke was rolled back");
        }
    }

    #[tokio::test]
    async fn the_writer_survives_a_call_that_panics() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let broken = store.write(|tx| -> Result<(), SqliteError> {
            tx.conn.execute("UPDATE store SET revision = 100", ())?;
            panic!("a fault of ours");
        });
        assert!(broken.await.unwrap_err().to_string().contains("broke off"));
        let revision = store.write(|tx| Ok(writer::read_revision(tx.conn)?)).await.unwrap();
        assert_eq!(revision.0, 0);
    }
}
