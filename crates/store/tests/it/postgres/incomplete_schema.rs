//! A schema of which something was lost: what is lost is named by whoever only looks, and nobody goes on by half of it.

use jeton_core::keep::ports::StoreError;
use jeton_store::postgres::inspect;
use jeton_store::{PostgresOptions, PostgresStore};
use jeton_testkit::{PgCluster, PgDatabase};

use super::fixture::{database, open, options};

/// What everybody is told who looks at the database, migrates it, or opens it.
async fn told(database: &PgDatabase) -> String {
    let options = options(database.url());
    let cautious = PostgresOptions { migrate: false, ..options.clone() };
    let refused = [
        PostgresStore::pending(&options).await.map(drop).unwrap_err(),
        PostgresStore::migrate(&options).await.map(drop).unwrap_err(),
        PostgresStore::open(cautious).await.map(drop).unwrap_err(),
        PostgresStore::open(options.clone()).await.map(drop).unwrap_err(),
        inspect(&options).await.map(drop).unwrap_err(),
    ];
    let texts = refused.map(|error| match error {
        StoreError::Refused(text) => text,
        other => panic!("{other:?}"),
    });
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    let [text, ..] = texts;
    assert!(text.contains("is not whole (") && text.contains("finish the restore that made it"), "{text}");
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_a_migration_that_is_not_on_record_are_named() {
    let database = database();
    database.query("DELETE FROM jeton_migrations WHERE number >= 6").unwrap();
    let text = told(&database).await;
    assert!(
        text.contains("its record of migrations does not hold 6, and it has audit under our names"),
        "{text}"
    );
    database.query("DROP TABLE audit").unwrap();
    assert_eq!(PostgresStore::migrate(&options(database.url())).await.unwrap().len(), 2);
    open(database.url()).await;
    database.query("DELETE FROM jeton_migrations").unwrap();
    assert!(told(&database).await.contains("does not hold 1, and it has attempts, audit, connections, "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_sequence_and_a_lost_column_are_named() {
    let database = database();
    database.query("DROP SEQUENCE revisions; ALTER TABLE attempts DROP COLUMN http_status").unwrap();
    let text = told(&database).await;
    assert!(text.contains("is complete, and it lacks attempts.http_status, revisions"), "{text}");
    let early = database.query("DELETE FROM jeton_migrations WHERE number >= 6; DROP TABLE audit");
    early.unwrap();
    let text = told(&database).await;
    assert!(text.contains("goes up to 5, and it lacks attempts.http_status, revisions"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_column_can_be_lost_without_being_missed() {
    let database = database();
    let columns = "SELECT table_name, column_name FROM information_schema.columns
                   WHERE table_schema = 'public' AND table_name <> 'jeton_migrations' ORDER BY table_name, column_name";
    let all: Vec<_> = database.query(columns).unwrap();
    assert!(all.len() > 80, "{} columns", all.len());
    let names = all.iter().map(|row| (row[0].as_deref().unwrap(), row[1].as_deref().unwrap()));
    let renaming = names
        .clone()
        .map(|(table, column)| format!("ALTER TABLE {table} RENAME COLUMN {column} TO lost_{column}"));
    database.query(&renaming.collect::<Vec<_>>().join("; ")).unwrap();
    let lost = names.map(|(table, column)| format!("{table}.{column}")).collect::<Vec<_>>().join(", ");
    let text = told(&database).await;
    assert!(text.contains(&format!("it lacks {lost})")), "{text}\n{lost}");
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
