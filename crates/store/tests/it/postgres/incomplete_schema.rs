//! A schema of which something was lost: it is named by whoever opens it or only looks, and nobody goes on by half of it.

use jeton_core::keep::ports::StoreError;
use jeton_store::PostgresStore;
use jeton_store::postgres::{MIGRATIONS, inspect};
use jeton_testkit::{PgCluster, PgDatabase};

use super::fixture::{database, open, options};
use crate::requests;

fn refusal<T>(answer: Result<T, StoreError>) -> String {
    let text = requests::refusal(answer);
    assert!(text.contains("is not whole (") && text.contains("finish the restore that made it"), "{text}");
    text
}

/// What everybody is told who looks at the database, or opens it.
async fn refused(database: &PgDatabase) -> String {
    let options = options(database.url());
    let opened = refusal(PostgresStore::open(options.clone()).await);
    assert_eq!(refusal(inspect(&options).await), opened);
    opened
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_whose_tables_are_there_without_a_record_changes_nothing() {
    let database = database();
    let options = options(database.url());
    database.query("DELETE FROM jeton_migrations WHERE number >= 6").unwrap();
    for _ in 0..2 {
        let text = refusal(PostgresStore::migrate(&options).await);
        assert!(text.contains("\"audit\" already exists"), "{text}");
        refusal(PostgresStore::open(options.clone()).await);
    }
    database.query("DROP TABLE audit").unwrap();
    let unrecorded = MIGRATIONS.iter().filter(|migration| migration.number >= 6).count();
    assert_eq!(PostgresStore::migrate(&options).await.unwrap().len(), unrecorded);
    open(database.url()).await;
    database.query("DELETE FROM jeton_migrations").unwrap();
    let text = refusal(PostgresStore::migrate(&options).await);
    assert!(text.contains("\"store\" already exists"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_sequence_and_a_lost_table_are_named() {
    let lost = database();
    lost.query("DROP SEQUENCE revisions").unwrap();
    assert!(refused(&lost).await.contains("\"revisions\" does not exist"));
    let lost = database();
    lost.query("DROP TABLE kept_replies").unwrap();
    assert!(refused(&lost).await.contains("\"kept_replies\" does not exist"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_column_can_be_lost_without_being_missed() {
    let database = database();
    let columns = "SELECT table_name, column_name FROM information_schema.columns
                   WHERE table_schema = 'public' AND table_name <> 'jeton_migrations' ORDER BY table_name, column_name";
    let all = database.query(columns).unwrap();
    assert!(all.len() > 80, "{} columns", all.len());
    for row in &all {
        let (table, column) = (row[0].as_deref().unwrap(), row[1].as_deref().unwrap());
        // One number that is always 1.
        if (table, column) == ("store", "single") {
            continue;
        }
        database.query(&format!("ALTER TABLE {table} RENAME COLUMN {column} TO lost")).unwrap();
        let text = refusal(inspect(&options(database.url())).await);
        assert!(text.contains(&format!("column \"{column}\" does not exist")), "{table}: {text}");
        database.query(&format!("ALTER TABLE {table} RENAME COLUMN lost TO {column}")).unwrap();
    }
    inspect(&options(database.url())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_somebody_is_making_is_not_taken_for_half_of_one() {
    for _ in 0..10 {
        let database = PgCluster::shared().unwrap().empty_database().unwrap();
        let options = options(database.url());
        let look = async || while !PostgresStore::pending(&options).await.unwrap().is_empty() {};
        let (migrated, ..) = tokio::join!(PostgresStore::migrate(&options), look(), look(), look());
        assert!(!migrated.unwrap().is_empty());
    }
}
