//! A rolling upgrade to a program that adds to the tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use jeton_store::sqlite::MIGRATIONS;
use jeton_store::{SqliteOptions, SqliteStore, Store};

use super::fixture::{folder, open, options};
use crate::rolling_upgrade::{Columns, assert_needs_newer, assert_only_adds, later, upgrade_under};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_program_goes_on_beside_a_newer_one_that_has_migrated() {
    let (_folder, path) = folder();
    let older = open(&path);
    let newest = later(MIGRATIONS);
    let upgrade = async {
        let (path, newer) = (path.clone(), SqliteOptions { migrations: newest, ..options() });
        let newer = tokio::task::spawn_blocking(move || SqliteStore::open(&path, newer).unwrap()).await;
        Arc::new(newer.unwrap()) as Arc<dyn Store>
    };
    upgrade_under(&older, upgrade).await;
    assert_needs_newer(SqliteStore::open(&path, options()), newest);
}

#[test]
fn each_migration_only_adds_what_older_programs_may_leave_out() {
    let database = rusqlite::Connection::open_in_memory().unwrap();
    let mut before = Columns::new();
    for migration in MIGRATIONS {
        database.execute_batch(migration.sql).unwrap();
        let mut found = database
            .prepare(
                "SELECT t.name, c.name, c.\"notnull\" = 0 OR c.dflt_value IS NOT NULL
                 FROM sqlite_schema AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table'",
            )
            .unwrap();
        let rows = found.query_map((), |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?))).unwrap();
        let after: BTreeMap<_, _> = rows.collect::<Result<_, _>>().unwrap();
        assert_only_adds(migration, &before, &after);
        before = after;
    }
}
