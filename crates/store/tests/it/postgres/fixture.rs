//! Databases of the tests, and the shortest way to open them.

use jeton_core::keep::ports::ConnectionStore as _;
use jeton_core::secret::Secret;
use jeton_store::{PostgresOptions, PostgresStore};
use jeton_testkit::{PgCluster, PgDatabase};

pub(super) use crate::requests::{claim, commit, connect};

/// A fresh database with the schema in it.
pub(super) fn database() -> PgDatabase {
    database_of(PgCluster::shared().unwrap())
}

/// The same in another cluster.
pub(super) fn database_of(cluster: &PgCluster) -> PgDatabase {
    let program = std::env::current_exe().unwrap();
    let migrate = |url: String| async move {
        PostgresStore::migrate(&options(&url)).await?;
        Ok(())
    };
    cluster.database(&program, migrate).unwrap()
}

pub(super) fn options(url: &str) -> PostgresOptions {
    PostgresOptions::new(Secret::new(url))
}

pub(super) async fn open(url: &str) -> PostgresStore {
    PostgresStore::open(options(url)).await.unwrap()
}

/// A fresh database in which `acme` is connected, and its store.
pub(super) async fn connected() -> (PgDatabase, PostgresStore) {
    let database = database();
    let store = open(database.url()).await;
    store.connect(connect("acme", 1)).await.unwrap();
    (database, store)
}

/// The URL of a database with several hosts of this machine, one port after the other.
pub(super) fn of_hosts(cluster: &PgCluster, name: &str, ports: &[u16]) -> String {
    let hosts: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    cluster.tcp_url(name).replace(&format!("127.0.0.1:{}", cluster.port()), &hosts.join(","))
}

/// Somebody's transaction, open for as long as the test wants.
pub(super) async fn session(database: &PgDatabase) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(database.url(), tokio_postgres::NoTls).await.unwrap();
    tokio_util::task::TaskTracker::new().spawn(async move { connection.await.unwrap() });
    client
}
