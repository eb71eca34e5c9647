//! Reads `[store]`: which store, and how it is reached.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jeton_core::secret::Secret;
use jeton_store::PostgresOptions;

use super::connections::secret_from_file;
use super::reader::{Reader, join, text};
use super::store_url::{self, StoreLocation};
use super::values::path;

/// The store of an installation.
#[derive(Debug)]
pub(crate) enum StoreSettings {
    /// The file of an SQLite database.
    Sqlite(PathBuf),
    Postgres(Box<PostgresOptions>),
}

impl StoreSettings {
    /// The file, or the URL without its password.
    pub(crate) fn redacted(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
            Self::Postgres(options) => store_url::redacted(options.url.reveal()),
        }
    }
}

/// With fewer connections, calls could block each other.
const MIN_POOL: usize = 2;

/// Reads the section.
pub(super) fn store(reader: &mut Reader<'_>, data_dir: &Path) -> StoreSettings {
    let location = reader.read("store.url", |value| store_url::read(&text(value)?));
    let pool = reader.count("store.pool", 1_000);
    if pool < MIN_POOL && !reader.has_fault("store.pool") {
        reader.fault(&path("store.pool"), format!("must be at least {MIN_POOL}"));
    }
    let pooler = reader.boolean("store.pooler");
    let patience = reader.duration("store.patience", Duration::from_secs(1));
    let migrate = reader.boolean("store.migrate");
    let password = password(reader);
    match location {
        Some(StoreLocation::Postgres(url)) => {
            let url = password.map_or(Ok(url.clone()), |password| store_url::with_password(&url, &password));
            let url = url.unwrap_or_else(|problem| {
                reader.fault(&path("store.password_file"), problem);
                Secret::new("")
            });
            let options = PostgresOptions { pool, pooler, patience, migrate, ..PostgresOptions::new(url) };
            StoreSettings::Postgres(Box::new(options))
        }
        Some(StoreLocation::Sqlite(file)) => {
            if password.is_some() {
                let problem = "is set, and an SQLite file has no password; leave it out";
                reader.fault(&path("store.password_file"), problem);
            }
            StoreSettings::Sqlite(join(data_dir, &file))
        }
        // A placeholder beside the fault.
        None => StoreSettings::Sqlite(PathBuf::new()),
    }
}

fn password(reader: &mut Reader<'_>) -> Option<Secret> {
    let file = reader.file("store.password_file")?;
    secret_from_file(&file).map_err(|problem| reader.fault(&path("store.password_file"), problem)).ok()
}
