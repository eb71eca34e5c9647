//! Where a vault keeps its tokens.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jeton_core::entropy::Entropy;
use jeton_core::keep::ports::StoreError;
#[cfg(feature = "postgres")]
use jeton_core::secret::Secret;
use jeton_core::time::{Clock, SystemClock};
#[cfg(feature = "postgres")]
use jeton_keeper::JoinMode;
use jeton_keeper::{Installation, InstallationError, KeySource};
use jeton_store::{FileOptions, FileStore, MemoryStore, Store};
#[cfg(feature = "postgres")]
use jeton_store::{PostgresOptions, PostgresStore};
#[cfg(feature = "sqlite")]
use jeton_store::{SqliteOptions, SqliteStore};
use tempfile::TempDir;

use crate::error::OpenError;

/// A PostgreSQL database, 14 or later: `"postgres://...".into()`, or with settings of its own.
#[cfg(feature = "postgres")]
#[derive(Clone, Debug)]
pub struct Postgres {
    url: Secret,
    pool: Option<usize>,
    pooler: bool,
}

#[cfg(feature = "postgres")]
impl Postgres {
    /// The database at `postgres://user:password@host:port/database`, with `sslmode` and `sslrootcert` as libpq means them.
    pub fn at(url: impl Into<Secret>) -> Self {
        Self { url: url.into(), pool: None, pooler: false }
    }

    /// How many connections the vault opens at most, besides the one that hears of changes: 8, and at least 2.
    #[must_use]
    pub fn pool(mut self, connections: usize) -> Self {
        self.pool = Some(connections);
        self
    }

    /// A pooler that shares sessions between transactions, such as PgBouncer in transaction mode, stands between: changes of
    /// other processes are looked for instead of heard of.
    #[must_use]
    pub fn behind_pooler(mut self) -> Self {
        self.pooler = true;
        self
    }

    /// `clock` is that of a test; in earnest the clock of the database counts.
    fn options(&self, clock: Option<Arc<dyn Clock>>) -> PostgresOptions {
        let usual = PostgresOptions::new(self.url.clone());
        PostgresOptions { pool: self.pool.unwrap_or(usual.pool), pooler: self.pooler, clock, ..usual }
    }
}

#[cfg(feature = "postgres")]
impl From<&str> for Postgres {
    fn from(url: &str) -> Self {
        Self::at(url)
    }
}

#[cfg(feature = "postgres")]
impl From<String> for Postgres {
    fn from(url: String) -> Self {
        Self::at(url)
    }
}

/// Where the tokens are kept.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Memory,
    File(PathBuf),
    #[cfg(feature = "sqlite")]
    Sqlite(PathBuf),
    #[cfg(feature = "postgres")]
    Postgres {
        database: Postgres,
        data_dir: PathBuf,
    },
}

impl Place {
    /// The data directory: the one that is asked for, else the usual one of this place; and what goes with the vault.
    pub(crate) fn data_dir(&self, asked: Option<PathBuf>) -> Result<(PathBuf, Option<TempDir>), OpenError> {
        if let Some(asked) = asked {
            refuse_network(&asked)?;
            return Ok((asked, None));
        }
        Ok(match self {
            Self::Memory => {
                let made = tempfile::Builder::new().prefix("jeton-").tempdir();
                let folder = made.map_err(OpenError::Temporary)?;
                (folder.path().to_owned(), Some(folder))
            }
            Self::File(path) => {
                let mut beside = path.clone().into_os_string();
                beside.push(".d");
                (beside.into(), None)
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                (folder.unwrap_or(Path::new(".")).to_owned(), None)
            }
            #[cfg(feature = "postgres")]
            Self::Postgres { data_dir, .. } => {
                refuse_network(data_dir)?;
                (data_dir.clone(), None)
            }
        })
    }

    #[cfg_attr(
        not(feature = "postgres"),
        expect(clippy::unused_async, reason = "a database over the network is waited for")
    )]
    pub(crate) async fn store(&self, clock: Option<&Arc<dyn Clock>>) -> Result<Arc<dyn Store>, StoreError> {
        let here = || clock.cloned().unwrap_or_else(|| Arc::new(SystemClock));
        Ok(match self {
            Self::Memory => Arc::new(MemoryStore::new(here())),
            Self::File(path) => Arc::new(FileStore::open(path, FileOptions::new(here()))?),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => Arc::new(SqliteStore::open(path, SqliteOptions::new(here()))?),
            #[cfg(feature = "postgres")]
            Self::Postgres { database, .. } => {
                Arc::new(PostgresStore::open(database.options(clock.cloned())).await?)
            }
        })
    }

    /// Opens the installation whose store this is; takes a copied or restored one over if `adopt` says so.
    pub(crate) async fn installation(
        &self,
        store: &dyn Store,
        home: Home<'_>,
        adopt: bool,
    ) -> Result<Installation, InstallationError> {
        let Home { data_dir, key, clock, entropy } = home;
        let open = || Installation::open(store, data_dir, key, clock, entropy);
        #[cfg(feature = "postgres")]
        if let Self::Postgres { .. } = self {
            let join = |joining| Installation::join(store, data_dir, joining, entropy);
            join(JoinMode::IfNew).await?;
            let installation = open().await?;
            if !adopt || !installation.on_hold() {
                return Ok(installation);
            }
            // Others belong to this database already: it stays what it is, and this data directory follows it.
            join(JoinMode::InAnyCase).await?;
            return open().await;
        }
        let mut installation = open().await?;
        if adopt && installation.on_hold() {
            installation.adopt(store, clock, entropy).await?;
        }
        Ok(installation)
    }
}

/// What an installation is opened with besides its store.
#[derive(Clone, Copy)]
pub(crate) struct Home<'a> {
    pub(crate) data_dir: &'a Path,
    pub(crate) key: &'a KeySource,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) entropy: &'a dyn Entropy,
}

/// Refuses a data directory on a network file system: two machines would use one slot for the replies that wait there.
fn refuse_network(data_dir: &Path) -> Result<(), StoreError> {
    // A folder that cannot even be looked at is refused by the installation, with its cure.
    let Ok(Some(network)) = jeton_store::network_file_system(data_dir) else { return Ok(()) };
    Err(StoreError::Refused(format!(
        "the data directory {} is on a network file system ({network}), whose locks cannot be trusted; give \
         `Builder::data_dir` a path on a local disk",
        data_dir.display()
    )))
}
