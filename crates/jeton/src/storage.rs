//! The stores that a vault can be on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jeton_core::entropy::Entropy;
use jeton_core::keep::ports::StoreError;
#[cfg(feature = "postgres")]
use jeton_core::secret::Secret;
use jeton_core::time::{Clock, SystemClock};
#[cfg(feature = "postgres")]
use jeton_keeper::JoinMode;
use jeton_keeper::{Host, Installation, InstallationError, KeySource};
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
    /// The database at `postgres://user:password@host:port/database`; `sslmode` and `sslrootcert` are those of libpq.
    pub fn at(url: impl Into<Secret>) -> Self {
        Self { url: url.into(), pool: None, pooler: false }
    }

    /// How many connections the vault opens at most, besides the one that listens for changes: 8 by default, at least 2.
    #[must_use]
    pub fn pool(mut self, connections: usize) -> Self {
        self.pool = Some(connections);
        self
    }

    /// For a database behind a pooler that shares sessions between transactions, such as PgBouncer in transaction mode: the
    /// vault polls for changes of other processes instead of listening.
    #[must_use]
    pub fn behind_pooler(mut self) -> Self {
        self.pooler = true;
        self
    }

    /// `clock` is that of a test; without it, the database's own clock counts.
    fn options(&self, clock: Option<Arc<dyn Clock>>) -> PostgresOptions {
        let defaults = PostgresOptions::new(self.url.clone());
        PostgresOptions { pool: self.pool.unwrap_or(defaults.pool), pooler: self.pooler, clock, ..defaults }
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

/// The store of a vault.
#[derive(Clone, Debug)]
pub(crate) enum Storage {
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

impl Storage {
    /// The data directory: `chosen`, else the default of this store; and the folder to delete with the vault.
    pub(crate) fn data_dir(&self, chosen: Option<PathBuf>) -> Result<(PathBuf, Option<TempDir>), OpenError> {
        if let Some(chosen) = chosen {
            reject_network(&chosen)?;
            return Ok((chosen, None));
        }
        Ok(match self {
            Self::Memory => {
                let folder = TempDir::with_prefix("jeton-").map_err(OpenError::Temporary)?;
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
                reject_network(data_dir)?;
                (data_dir.clone(), None)
            }
        })
    }

    /// Opens the store. Where the data directory belongs to one that is gone, only `adopt` makes another.
    pub(crate) async fn store(
        &self,
        data_dir: &Path,
        clock: Option<&Arc<dyn Clock>>,
        adopt: bool,
    ) -> Result<Arc<dyn Store>, OpenError> {
        let mut remembered = Installation::remembered(data_dir)?;
        if matches!(self, Self::Memory) && remembered.take().is_some() {
            // Every vault in memory is a new one.
            Installation::forget(data_dir)?;
        }
        let opened = self.open_store(clock, adopt || remembered.is_none()).await;
        opened.map_err(|error| match (error, remembered) {
            (StoreError::Missing(why), Some(remembered)) => {
                InstallationError::StoreLost { why, data_dir: data_dir.to_owned(), remembered }.into()
            }
            (error, _) => error.into(),
        })
    }

    #[cfg_attr(
        not(feature = "postgres"),
        expect(clippy::unused_async, reason = "a database over the network is waited for")
    )]
    async fn open_store(
        &self,
        clock: Option<&Arc<dyn Clock>>,
        create: bool,
    ) -> Result<Arc<dyn Store>, StoreError> {
        let clock_or_system = || clock.cloned().unwrap_or_else(|| Arc::new(SystemClock));
        Ok(match self {
            Self::Memory => Arc::new(MemoryStore::new(clock_or_system())),
            Self::File(path) => {
                let options = FileOptions { create, ..FileOptions::new(clock_or_system()) };
                Arc::new(FileStore::open(path, options)?)
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => {
                let options = SqliteOptions { create, ..SqliteOptions::new(clock_or_system()) };
                Arc::new(SqliteStore::open(path, options)?)
            }
            #[cfg(feature = "postgres")]
            Self::Postgres { database, .. } => {
                let options = PostgresOptions { create, ..database.options(clock.cloned()) };
                Arc::new(PostgresStore::open(options).await?)
            }
        })
    }

    /// What tells this machine from others; nothing where the store ends with the process.
    pub(crate) fn host(&self, bound_to_machine: bool, mark_dir: Option<PathBuf>) -> Host {
        if matches!(self, Self::Memory) {
            return Host::default();
        }
        let host = Host::system(mark_dir);
        if bound_to_machine { host } else { Host { machine: None, ..host } }
    }

    /// Opens the installation on this store; with `adopt`, takes over a copied or restored one.
    pub(crate) async fn installation(
        &self,
        opening: &Opening<'_>,
        adopt: bool,
    ) -> Result<Installation, InstallationError> {
        let open_or_begin_anew = async || match opening.open().await {
            Err(InstallationError::StoreLost { .. }) if adopt => {
                Installation::forget(opening.data_dir)?;
                opening.open().await
            }
            opened => opened,
        };
        #[cfg(feature = "postgres")]
        if let Self::Postgres { .. } = self {
            let Opening { store, data_dir, entropy, .. } = *opening;
            let join = |joining| Installation::join(store, data_dir, joining, entropy);
            join(JoinMode::IfNew).await?;
            let installation = open_or_begin_anew().await?;
            if !adopt || !installation.on_hold() {
                return Ok(installation);
            }
            // Other data directories belong to this database already: it keeps its identity, and this one joins it.
            join(JoinMode::InAnyCase).await?;
            return opening.open().await;
        }
        let mut installation = open_or_begin_anew().await?;
        if adopt && installation.on_hold() {
            installation.adopt(opening.store, opening.clock, opening.entropy).await?;
            installation.check_host(&opening.host)?;
        }
        Ok(installation)
    }
}

/// What an installation is opened with.
pub(crate) struct Opening<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) data_dir: &'a Path,
    pub(crate) key: &'a KeySource,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) entropy: &'a dyn Entropy,
    pub(crate) host: Host,
}

impl Opening<'_> {
    /// Opens it, and compares the machine with the one that is recorded.
    async fn open(&self) -> Result<Installation, InstallationError> {
        let mut installation =
            Installation::open(self.store, self.data_dir, self.key, self.clock, self.entropy).await?;
        installation.check_host(&self.host)?;
        Ok(installation)
    }
}

/// Rejects a data directory on a network file system: two machines could use one spill slot.
fn reject_network(data_dir: &Path) -> Result<(), StoreError> {
    // A folder that cannot be read is rejected by the installation, which says what to do.
    let Ok(Some(network)) = jeton_store::network_file_system(data_dir) else { return Ok(()) };
    Err(StoreError::Refused(format!(
        "the data directory {} is on a network file system ({network}), whose locks cannot be trusted; give \
         `Builder::data_dir` a path on a local disk",
        data_dir.display()
    )))
}
