//! The store that the tests of a run stand on, here and in the tests of issuer, gateway and server: SQLite, or PostgreSQL where
//! `JETON_TEST_STORE` says `postgres`.

use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jeton_core::keep::ports::StoreError;
use jeton_core::time::Clock;
use jeton_store::sqlite::faults::SqliteHooks;
use jeton_store::{PostgresOptions, PostgresStore, ServerStore, SqliteOptions, SqliteStore, postgres};
use jeton_testkit::{PgCluster, PgDatabase, test_store_is_postgres};

/// How long a call of SQLite may wait.
const PATIENCE: Duration = Duration::from_secs(2);

/// A database that processes are opened on.
#[derive(Clone, Debug)]
pub(crate) enum Database {
    File(PathBuf),
    Postgres(Arc<PgDatabase>),
}

impl Database {
    /// A new one: this file, or one of the cluster that all tests of the run share.
    pub(crate) async fn new(file: PathBuf) -> Self {
        // Others on this runtime must not wait while PostgreSQL copies its files.
        tokio::task::spawn_blocking(|| Self::make(file)).await.expect("making it does not panic")
    }

    fn make(file: PathBuf) -> Self {
        if test_store_is_postgres() {
            let cluster = PgCluster::shared().expect("PostgreSQL is there");
            let program = std::env::current_exe().expect("this test is a program");
            let migrate = |url: String| async move {
                PostgresStore::migrate(&PostgresOptions::new(url.into())).await?;
                Ok(())
            };
            Self::Postgres(Arc::new(cluster.database(&program, migrate).expect("a database is made")))
        } else {
            Self::File(file)
        }
    }

    /// The same as a backup has it.
    pub(crate) fn copy(&self, file: PathBuf) -> Self {
        match self {
            Self::Postgres(database) => Self::Postgres(Arc::new(database.copy().expect("it is copied"))),
            Self::File(original) => {
                for suffix in ["", "-wal", "-shm"] {
                    let with = |path: &PathBuf| PathBuf::from(format!("{}{suffix}", path.display()));
                    if with(original).exists() {
                        std::fs::copy(with(original), with(&file)).expect("it is copied");
                    }
                }
                Self::File(file)
            }
        }
    }

    pub(crate) async fn open(&self, clock: Arc<dyn Clock>, hooks: Arc<dyn SqliteHooks>) -> Kept {
        match self {
            Self::File(file) => {
                let mut options = SqliteOptions::new(clock);
                options.hooks = hooks;
                options.busy_timeout = PATIENCE;
                let statements = Arc::<AtomicU64>::default();
                options.statements = Some(Arc::clone(&statements));
                let store = Arc::new(SqliteStore::open(file, options).expect("the database opens"));
                Kept { faults: Faults::Sqlite(Arc::clone(&store)), store, postgres: None, statements }
            }
            Self::Postgres(database) => {
                let switches = Arc::new(Switches { full: false.into(), read_only: false.into(), hooks });
                let mut options = PostgresOptions::new(database.url().into());
                options.clock = Some(clock);
                options.hooks = Arc::clone(&switches) as _;
                let store = Arc::new(PostgresStore::open(options).await.expect("the database opens"));
                let statements = Arc::default();
                Kept {
                    faults: Faults::Postgres(switches),
                    store: store.clone(),
                    postgres: Some(store),
                    statements,
                }
            }
        }
    }
}

/// An open store, whichever it is.
#[derive(Clone)]
pub(crate) struct Kept {
    store: Arc<dyn ServerStore>,
    faults: Faults,
    /// The same once more, where it stands on PostgreSQL.
    postgres: Option<Arc<PostgresStore>>,
    /// What a file was asked.
    statements: Arc<AtomicU64>,
}

impl Kept {
    pub(crate) fn shared(&self) -> Arc<dyn ServerStore> {
        Arc::clone(&self.store)
    }

    /// The switches by which it refuses to write.
    pub(crate) fn faults(&self) -> &Faults {
        &self.faults
    }

    /// How many statements it has run since it was opened.
    pub(crate) fn statements(&self) -> u64 {
        self.counts().map_or_else(|| self.statements.load(Ordering::SeqCst), |counts| counts.statements)
    }

    /// What it has sent so far, where it stands on PostgreSQL.
    pub(crate) fn counts(&self) -> Option<postgres::Counts> {
        Some(self.postgres.as_ref()?.counts())
    }
}

impl Deref for Kept {
    type Target = dyn ServerStore;

    fn deref(&self) -> &Self::Target {
        &*self.store
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Faults {
    Sqlite(Arc<SqliteStore>),
    Postgres(Arc<Switches>),
}

impl Faults {
    pub(crate) fn set_full(&self, full: bool) {
        match self {
            Self::Sqlite(store) => store.faults().set_full(full),
            Self::Postgres(switches) => switches.full.store(full, Ordering::SeqCst),
        }
    }

    pub(crate) fn set_read_only(&self, read_only: bool) {
        match self {
            Self::Sqlite(store) => store.faults().set_read_only(read_only),
            Self::Postgres(switches) => switches.read_only.store(read_only, Ordering::SeqCst),
        }
    }
}

/// The same refusals for PostgreSQL, which refuses for all tests of a cluster or for none; and the hooks of a test.
#[derive(Debug)]
pub(crate) struct Switches {
    full: AtomicBool,
    read_only: AtomicBool,
    hooks: Arc<dyn SqliteHooks>,
}

#[async_trait]
impl postgres::faults::PostgresHooks for Switches {
    async fn before_commit(&self) -> Result<(), StoreError> {
        for (switch, why) in [(&self.full, "no space is left"), (&self.read_only, "it is read-only")] {
            if switch.load(Ordering::SeqCst) {
                return Err(StoreError::Unwritable(why.to_owned()));
            }
        }
        let hooks = Arc::clone(&self.hooks);
        // Some of them sleep, which must not stop everybody else on this runtime.
        tokio::task::spawn_blocking(move || hooks.before_commit()).await.expect("no hook panics")
    }

    async fn after_commit(&self) -> Result<(), StoreError> {
        self.hooks.after_commit()
    }
}
