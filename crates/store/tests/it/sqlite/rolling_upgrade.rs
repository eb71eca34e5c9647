//! A rolling upgrade. What the older program is here knows the migrations up to the last but one, and speaks by the
//! statements of this build.

use std::sync::Arc;

use jeton_store::{SqliteOptions, SqliteStore, Store};

use super::fixture::{folder, open, options};
use crate::rolling_upgrade::{assert_needs_newer, upgrade_under};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_program_goes_on_beside_a_newer_one_that_has_migrated() {
    let (folder, path) = folder();
    let complete = folder.path().join("complete.db");
    drop(open(&complete));
    let number = |file| -> u32 {
        let look = rusqlite::Connection::open(file).unwrap();
        look.query_row("SELECT max(number) FROM migrations", (), |row| row.get(0)).unwrap()
    };
    let last = number(&complete);
    let old = SqliteOptions { last_migration: Some(last - 1), ..options() };
    let older = SqliteStore::open(&path, old.clone()).unwrap();
    assert_eq!(number(&path), last - 1);

    let upgrade = async {
        let path = path.clone();
        let newer = tokio::task::spawn_blocking(move || open(&path)).await.unwrap();
        Arc::new(newer) as Arc<dyn Store>
    };
    upgrade_under(&older, upgrade).await;
    assert_eq!(number(&path), last);

    assert_needs_newer(SqliteStore::open(&path, old), last);
}
