//! Opening the store in one SQLite file.

use std::path::Path;
use std::sync::Arc;

use jeton_core::keep::ports::StoreError;
use tokio::sync::watch;

use super::errors::SqliteError;
use super::faults::Faults;
use super::opened_files::{OpenedFiles, file_id};
use super::options::SqliteOptions;
use super::read_pool::ReadPool;
use super::writer::{self, Sqlite, SqliteShared};
use super::{boot_clock, inspect, migrate, open, path_checks};
use crate::sql::SqlStore;

/// A store in one SQLite file. It must be used within a tokio runtime, which reads for it.
///
/// Dropping it does what was ordered before, then closes the file; the drop waits for that.
pub type SqliteStore = SqlStore<Sqlite>;

impl SqliteStore {
    /// Opens the database, makes it when it is missing (mode 0600) and `create` says so, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Refused`], in one sentence that names the cure, for a path that cannot be a database: a folder, a
    /// folder that is missing or cannot be written, a network file system, another kind of file, the database of
    /// another program, a schema newer than this binary. [`StoreError::Unavailable`] when another process holds it for
    /// longer than `busy_timeout`. [`StoreError::Missing`] for a database that is missing or empty, unless `create` is set.
    pub fn open(path: &Path, options: SqliteOptions) -> Result<Self, StoreError> {
        if !options.create {
            inspect::check_in_use(path, options.busy_timeout)?;
        }
        let path = path_checks::prepare(path)?;
        let id = file_id(&path);
        let open = || -> Result<_, SqliteError> {
            let mut conn = open::writer(&path, options.busy_timeout)?;
            migrate::migrate(&conn, &path, options.migrations, options.clock.now(), options.busy_timeout)?;
            let revision = writer::read_revision(&conn)?;
            let civil = Arc::clone(&options.clock);
            let clock = boot_clock::open(&conn, civil, options.boot.as_deref(), options.busy_timeout)?;
            open::count(&mut conn, options.statements.as_ref())?;
            Ok((conn, revision, clock))
        };
        let (conn, revision, clock) = open().map_err(|failure| failure.into_store_error(&path))?;
        let files = Arc::new(OpenedFiles::new(&path, id));
        let readers = ReadPool::new(path.clone(), Arc::clone(&files), &options);
        files.verify()?;
        let shared = SqliteShared {
            path,
            files,
            clock,
            busy_timeout: options.busy_timeout,
            hooks: options.hooks,
            statements: options.statements,
            faults: Faults::default(),
            revision: watch::Sender::new(revision),
        };
        Ok(Self { database: Sqlite::start(shared, conn, readers, options.most_waiting)? })
    }

    /// The switches by which tests make SQLite refuse to write.
    pub fn faults(&self) -> &Faults {
        &self.database.shared.faults
    }
}

#[cfg(test)]
mod tests {
    use jeton_core::id::Revision;
    use jeton_core::keep::ports::{ChangeFeed as _, ConnectionStore as _};
    use jeton_core::time::SystemClock;
    use rusqlite::ffi;

    use std::time::Duration;

    use jeton_core::time::Timestamp;

    use super::super::writer::SqliteTx;
    use super::*;
    use crate::sql::{Database as _, Work};

    fn open(folder: &tempfile::TempDir) -> SqliteStore {
        SqliteStore::open(&folder.path().join("jeton.db"), SqliteOptions::new(Arc::new(SystemClock))).unwrap()
    }

    /// Changes the revision, and then does `and_then`.
    async fn change<T: Send + 'static>(
        store: &SqliteStore,
        code: i32,
        and_then: Work<SqliteTx, i32, T>,
    ) -> Result<T, StoreError> {
        store.database.write(Vec::new(), code, and_then).await
    }

    fn revise(tx: &mut SqliteTx) -> Result<(), SqliteError> {
        tx.conn.execute("UPDATE store SET revision = 100", ())?;
        Ok(())
    }

    #[tokio::test]
    async fn the_writer_survives_a_broken_connection_and_opens_another() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        for code in [ffi::SQLITE_IOERR, ffi::SQLITE_CORRUPT, ffi::SQLITE_CANTOPEN] {
            let broken = change(&store, code, |tx, code| {
                Box::pin(async move {
                    revise(tx)?;
                    Err::<(), _>(rusqlite::Error::SqliteFailure(ffi::Error::new(*code), None).into())
                })
            });
            broken.await.unwrap_err();
            assert_eq!(store.revision().await.unwrap().0, 0, "what broke was rolled back");
        }
    }

    #[tokio::test]
    async fn the_writer_survives_a_call_that_panics() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let broken = change(&store, 0, |tx, _| {
            Box::pin(async move {
                revise(tx)?;
                panic!("a fault of ours");
            })
        });
        let broken: Result<(), _> = broken.await;
        assert!(broken.unwrap_err().to_string().contains("broke off"));
        assert_eq!(store.revision().await.unwrap().0, 0);
    }

    /// How SQLite would run a statement. Unbound parameters are NULL; the plan does not depend on their values.
    fn plan(sql: &str) -> String {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        migrate::migrate(&conn, Path::new("x"), migrate::MIGRATIONS, Timestamp::default(), Duration::ZERO)
            .unwrap();
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let mut rows = statement.raw_query();
        let mut details = String::new();
        while let Some(row) = rows.next().unwrap() {
            details.push_str(&row.get::<_, String>("detail").unwrap());
            details.push_str("; ");
        }
        details
    }

    #[test]
    fn what_is_due_changed_or_audited_is_found_by_an_index_and_in_its_order() {
        let due = plan(&crate::sql::store::due_sql(&writer::DIALECT));
        assert!(due.contains("SEARCH connections USING INDEX connections_by_due"), "{due}");
        assert!(!due.contains("TEMP B-TREE"), "no sorting: {due}");
        let changed = plan(&super::super::feed::changed_since(Revision(1), 10).sql);
        assert!(changed.contains("USING INDEX connections_by_revision (revision>?)"), "{changed}");
        let [all, one] = [false, true].map(|of_one| plan(&crate::sql::ports::audit_sql(of_one)));
        assert!(all.contains("SEARCH audit USING PRIMARY KEY (id<?)"), "{all}");
        assert!(one.contains("INDEX audit_by_subject (subject=? AND id<?)"), "{one}");
        assert!(!(all + &one).contains("TEMP B-TREE"), "no sorting: {one}");
    }

    #[tokio::test]
    async fn more_than_may_wait_are_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = SqliteOptions::new(Arc::new(SystemClock));
        options.most_waiting = 0;
        let store = SqliteStore::open(&folder.path().join("a.db"), options).unwrap();
        let refused = store.find(&"acme".parse().unwrap()).await.unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable(text) if text.contains("too many calls")));
    }
}
