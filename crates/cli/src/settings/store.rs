//! `[store]`: which store, and how it is reached.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jeton_core::secret::Secret;
use jeton_store::PostgresOptions;

use super::reader::{Reader, join, text};
use super::store_url::{self, StoreLocation};
use super::values::path;

/// The store of an installation.
#[derive(Debug)]
pub(crate) enum StoreSettings {
    /// SQLite in this file.
    Sqlite(PathBuf),
    /// PostgreSQL.
    Postgres(PostgresSettings),
}

/// How a database of PostgreSQL is reached.
#[derive(Clone, Debug)]
pub(crate) struct PostgresSettings {
    url: Secret,
    pool: usize,
    pooler: bool,
    patience: Duration,
    migrate: bool,
}

impl PostgresSettings {
    /// What the store is opened with.
    pub(crate) fn options(&self) -> PostgresOptions {
        let mut options = PostgresOptions::new(self.url.clone());
        options.pool = self.pool;
        options.pooler = self.pooler;
        options.patience = self.patience;
        options.migrate = self.migrate;
        options
    }
}

impl StoreSettings {
    /// For people, without a password.
    pub(crate) fn redacted(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
            Self::Postgres(settings) => store_url::redacted(settings.url.reveal()),
        }
    }
}

/// Fewer connections than this could wait for each other.
const LEAST_POOL: usize = 2;

/// Reads the section.
pub(super) fn store(reader: &mut Reader<'_>, data_dir: &Path) -> StoreSettings {
    let named = reader.read("store.url", |value| store_url::read(&text(value)?));
    let pool = reader.count("store.pool", 1_000);
    if pool < LEAST_POOL && reader.faults.iter().all(|fault| fault.setting != "store.pool") {
        reader.fault(&path("store.pool"), format!("must be at least {LEAST_POOL}"));
    }
    let pooler = reader.switch("store.pooler");
    let patience = reader.duration("store.patience", Duration::from_secs(1));
    let migrate = reader.switch("store.migrate");
    let password = password(reader);
    match named {
        Some(StoreLocation::Postgres(url)) => {
            let url = match password.map(|password| store_url::with_password(&url, &password)) {
                None => url,
                Some(Ok(whole)) => whole,
                Some(Err(problem)) => {
                    reader.fault(&path("store.password_file"), problem);
                    url
                }
            };
            StoreSettings::Postgres(PostgresSettings { url, pool, pooler, patience, migrate })
        }
        Some(StoreLocation::Sqlite(file)) => {
            if password.is_some() {
                let problem = "is set, and a file of SQLite has no password; leave it out";
                reader.fault(&path("store.password_file"), problem);
            }
            StoreSettings::Sqlite(join(data_dir, &file))
        }
        // A fault is noted, so that nobody uses it.
        None => StoreSettings::Sqlite(PathBuf::new()),
    }
}

fn password(reader: &mut Reader<'_>) -> Option<Secret> {
    let name = path("store.password_file");
    let origin = reader.values.origin(&name);
    let file = reader.read_at(&name, text)?;
    let file = reader.resolve(&file, origin.as_ref());
    match super::secret_from_file(&file) {
        Ok(secret) => Some(secret),
        Err(problem) => {
            reader.fault(&name, problem);
            None
        }
    }
}
