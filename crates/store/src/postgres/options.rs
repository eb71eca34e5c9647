//! How a PostgreSQL store works.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::secret::Secret;
use jeton_core::time::Clock;

use super::faults::{NoPostgresHooks, PostgresHooks};
use super::migrations::MIGRATIONS;
use crate::migration::Migration;

/// How a PostgreSQL store works.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Where the database is: `postgres://user:password@host:port/database`, with the parameters of libpq that the driver
    /// knows, and `sslmode` and `sslrootcert` as libpq means them. Without `sslrootcert` the authorities of the web
    /// and those of the operating system are trusted.
    pub url: Secret,
    /// The most connections at once, besides the one that listens; at least 2. Half of them write.
    pub pool: usize,
    /// A pooler of transactions, such as PgBouncer, stands between: nothing is kept in a session, and other nodes' changes
    /// are looked for instead of listened to.
    pub pooler: bool,
    /// How long a call may take in all, reconnecting and sending again, before it gets [`jeton_core::keep::ports::StoreError::Unavailable`].
    pub patience: Duration,
    /// How many calls may wait to write before more get [`jeton_core::keep::ports::StoreError::Unavailable`].
    pub most_waiting: usize,
    /// What `pg_stat_activity` shows.
    pub application_name: String,
    /// Whether [`super::PostgresStore::open`] brings the schema up to date; otherwise it refuses a schema that is not.
    pub migrate: bool,
    /// Whether an empty database gets a schema; otherwise it gets [`jeton_core::keep::ports::StoreError::Missing`].
    pub create: bool,
    /// The migrations that this program knows. Tests leave some out, or add what a later program may bring; the statements are
    /// those of this build.
    pub migrations: &'static [Migration],
    /// Takes the place of the database's clock, in tests.
    pub clock: Option<Arc<dyn Clock>>,
    /// Where tests step in; [`NoPostgresHooks`] in earnest.
    pub hooks: Arc<dyn PostgresHooks>,
}

impl PostgresOptions {
    /// 8 connections, 10 s of patience, 4096 waiting calls.
    pub fn new(url: Secret) -> Self {
        Self {
            url,
            pool: 8,
            pooler: false,
            patience: Duration::from_secs(10),
            most_waiting: 4096,
            application_name: "jeton".into(),
            migrate: true,
            create: true,
            migrations: MIGRATIONS,
            clock: None,
            hooks: Arc::new(NoPostgresHooks),
        }
    }
}
