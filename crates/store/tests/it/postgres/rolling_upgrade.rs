//! A rolling upgrade to a program that adds to the tables.

use std::sync::Arc;

use jeton_store::postgres::MIGRATIONS;
use jeton_store::{PostgresOptions, PostgresStore, Store};
use jeton_testkit::PgCluster;

use super::fixture::{database, open, options};
use crate::rolling_upgrade::{Columns, assert_needs_newer, assert_only_adds, later, upgrade_under};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_program_goes_on_beside_a_newer_one_that_has_migrated() {
    let database = database();
    let older = open(database.url()).await;
    let newest = later(MIGRATIONS);
    let upgrade = async {
        let newer = PostgresOptions { migrations: newest, ..options(database.url()) };
        let applied = PostgresStore::migrate(&newer).await.unwrap();
        assert_eq!(applied.len(), 1);
        Arc::new(PostgresStore::open(newer).await.unwrap()) as Arc<dyn Store>
    };
    upgrade_under(&older, upgrade).await;
    assert_needs_newer(PostgresStore::open(options(database.url())).await, newest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_migration_only_adds_what_older_programs_may_leave_out() {
    let database = PgCluster::shared().unwrap().empty_database().unwrap();
    let mut before = Columns::new();
    for (index, migration) in MIGRATIONS.iter().enumerate() {
        let program = PostgresOptions { migrations: &MIGRATIONS[..=index], ..options(database.url()) };
        PostgresStore::migrate(&program).await.unwrap();
        let rows = database
            .query(
                "SELECT table_name, column_name, (is_nullable = 'YES' OR column_default IS NOT NULL)::text
                 FROM information_schema.columns WHERE table_schema = current_schema()",
            )
            .unwrap();
        let after: Columns = rows
            .into_iter()
            .map(|row| match &row[..] {
                [Some(table), Some(column), Some(optional)] => {
                    ((table.clone(), column.clone()), optional == "true")
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_only_adds(migration, &before, &after);
        before = after;
    }
}
