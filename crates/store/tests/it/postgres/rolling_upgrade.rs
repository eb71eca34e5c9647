//! A rolling upgrade. What the older program is here knows the migrations up to the last but one, and speaks by the
//! statements of this build.

use std::sync::Arc;

use jeton_store::{PostgresOptions, PostgresStore, Store};
use jeton_testkit::PgCluster;

use super::fixture::{open, options};
use crate::rolling_upgrade::{assert_needs_newer, upgrade_under};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_program_goes_on_beside_a_newer_one_that_has_migrated() {
    let database = PgCluster::shared().unwrap().empty_database().unwrap();
    let newest = options(database.url());
    let last = PostgresStore::pending(&newest).await.unwrap().pop().unwrap().number;
    let old = PostgresOptions { last_migration: Some(last - 1), ..newest.clone() };
    let older = PostgresStore::open(old.clone()).await.unwrap();
    assert!(PostgresStore::pending(&old).await.unwrap().is_empty());

    let upgrade = async {
        let applied = PostgresStore::migrate(&newest).await.unwrap();
        assert_eq!(applied.iter().map(|migration| migration.number).collect::<Vec<_>>(), [last]);
        Arc::new(open(database.url()).await) as Arc<dyn Store>
    };
    upgrade_under(&older, upgrade).await;

    assert_needs_newer(PostgresStore::open(old).await, last);
}
