//! Locks that somebody else holds: who waits for them, and who does not.

use std::time::Duration;

use jeton_core::keep::claim::ClaimAnswer;
use jeton_core::keep::ports::ConnectionStore as _;
use jeton_store::postgres::MIGRATIONS;
use jeton_store::{PostgresOptions, PostgresStore};
use jeton_testkit::PgCluster;
use tokio::time::sleep;

use super::fixture::{claim, connect, database, open, options, session};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_somebody_holds_delays_its_own_calls_and_no_others() {
    let database = database();
    let options = PostgresOptions { pool: 4, patience: Duration::from_secs(30), ..options(database.url()) };
    let store = PostgresStore::open(options).await.unwrap();
    let names = ["first", "a", "b", "held"];
    for (name, number) in names.into_iter().zip(1..) {
        store.connect(connect(name, number)).await.unwrap();
    }
    let holder = session(&database).await;
    holder.batch_execute("BEGIN; SELECT FROM connections WHERE name = 'held' FOR UPDATE").await.unwrap();
    // Those after the first two share a batch: they are ordered while both writers are busy.
    let others = async {
        let answers = tokio::join!(
            store.claim(claim("first", 1)),
            store.claim(claim("a", 2)),
            store.claim(claim("b", 3))
        );
        // Only now: the one call that needs the row is the only one that waits for it.
        holder.batch_execute("COMMIT").await.unwrap();
        answers
    };
    let ((first, a, b), held) = tokio::join!(others, store.claim(claim("held", 4)));
    for answer in [first, a, b, held] {
        assert!(matches!(answer, Ok(ClaimAnswer::Won { .. })), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_meets_a_lock_waits_for_it_and_is_tried_again() {
    let database = PgCluster::shared().unwrap().empty_database().unwrap();
    let (_, all_but_last) = MIGRATIONS.split_last().unwrap();
    let older = PostgresOptions { migrations: all_but_last, ..options(database.url()) };
    PostgresStore::migrate(&older).await.unwrap();
    let holder = session(&database).await;
    // What a migration writes in the end; reading it is free.
    holder.batch_execute("BEGIN; LOCK TABLE jeton_migrations IN SHARE MODE").await.unwrap();
    let released = async {
        // Longer than one statement waits for a lock.
        sleep(Duration::from_secs(5)).await;
        holder.batch_execute("COMMIT").await.unwrap();
    };
    let options = options(database.url());
    let (migrated, ()) = tokio::join!(PostgresStore::migrate(&options), released);
    assert_eq!(migrated.unwrap().len(), 1);
    open(database.url()).await;
}
