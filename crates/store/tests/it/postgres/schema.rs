//! Its schema: made by many at once, refused when it is not what this binary knows, changed under a running node.

use futures_util::future::{join_all, try_join_all};
use jeton_core::keep::ports::ConnectionStore as _;
use jeton_store::postgres::inspect;
use jeton_store::{PostgresOptions, PostgresStore};
use jeton_testkit::{PgCluster, PgDatabase};

use super::fixture::{claim, commit, connect, database, open, options};
use crate::requests;

fn empty() -> PgDatabase {
    PgCluster::shared().unwrap().empty_database().unwrap()
}

async fn refusal(database: &PgDatabase) -> String {
    requests::refusal(PostgresStore::open(options(database.url())).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_may_open_a_new_database_at_once() {
    let database = empty();
    let migrated = join_all(
        (0..8).map(|_| async { PostgresStore::migrate(&options(database.url())).await.unwrap().len() }),
    );
    let pending = PostgresStore::pending(&options(database.url())).await.unwrap().len();
    assert_eq!(migrated.await.iter().sum::<usize>(), pending, "each was applied once");
    try_join_all((0..4).map(|_| PostgresStore::open(options(database.url())))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_pending_is_told_and_applied_only_when_it_may_be() {
    let database = empty();
    let asked = options(database.url());
    let numbers = |migrations: Vec<jeton_store::migration::Migration>| {
        migrations.into_iter().map(|migration| migration.number).collect::<Vec<_>>()
    };
    let all = numbers(PostgresStore::pending(&asked).await.unwrap());
    assert_eq!(all[0], 1);
    let found = inspect(&asked).await.unwrap();
    assert_eq!((found.missing_migrations, found.identity), (all.len(), None));
    let cautious = PostgresOptions { migrate: false, ..asked.clone() };
    let refused = PostgresStore::open(cautious.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("lacks migration 1 (keep): migrate it"), "{refused}");
    assert_eq!(numbers(PostgresStore::migrate(&asked).await.unwrap()), all);
    assert!(PostgresStore::pending(&asked).await.unwrap().is_empty());
    let store = PostgresStore::open(cautious).await.unwrap();
    store.connect(connect("acme", 1)).await.unwrap();
    let found = inspect(&asked).await.unwrap();
    assert_eq!((found.missing_migrations, found.connections.len()), (0, 1));
    assert!(found.server_version.starts_with(|first: char| first.is_ascii_digit()), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_newer_than_the_binary_is_refused_in_words() {
    let database = database();
    database
        .query("INSERT INTO jeton_migrations (number, name, checksum) VALUES (900, 'later', 'x')")
        .unwrap();
    let text = refusal(&database).await;
    assert!(text.contains("has schema 900") && text.contains("start the newer jeton"), "{text}");
    assert!(PostgresStore::pending(&options(database.url())).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_is_not_whole_is_named() {
    let lost = database();
    lost.query("DROP TABLE jeton_migrations").unwrap();
    let text = refusal(&lost).await;
    assert!(text.contains("is not whole") && text.contains("\"store\" already exists"), "{text}");
    let partly = database();
    partly.query("DROP TABLE strays, kept_replies").unwrap();
    let text = refusal(&partly).await;
    assert!(text.contains("is not whole") && text.contains("\"strays\" does not exist"), "{text}");
    let edited = database();
    edited.query("UPDATE jeton_migrations SET checksum = 'x' WHERE number = 2").unwrap();
    assert!(refusal(&edited).await.contains("another migration 2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tables_of_another_program_are_left_alone() {
    let database = empty();
    database.query("CREATE TABLE settings (colour text)").unwrap();
    assert!(refusal(&database).await.contains("is not whole"));
    let columns = database
        .query("SELECT count(*) FROM pg_attribute WHERE attrelid = 'settings'::regclass AND attnum > 0");
    assert_eq!(columns.unwrap(), [[Some("1".to_owned())]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_goes_on_while_a_newer_one_changes_the_schema() {
    let database = database();
    let older = open(database.url()).await;
    older.connect(connect("acme", 1)).await.unwrap();
    let first = claim("acme", 1);
    older.claim(first.clone()).await.unwrap();
    // What a newer binary does first: it expands.
    database
        .query(
            "BEGIN;
             ALTER TABLE connections ADD COLUMN note text, ADD COLUMN weight bigint NOT NULL DEFAULT 1;
             ALTER TABLE attempts ADD COLUMN note text;
             CREATE TABLE notes (id bigint PRIMARY KEY);
             INSERT INTO jeton_migrations (number, name, checksum) VALUES (900, 'notes', 'x');
             COMMIT",
        )
        .unwrap();
    older.commit(commit(&first, 2)).await.unwrap();
    older.connect(connect("other", 3)).await.unwrap();
    let row = older.find(&first.connection).await.unwrap().unwrap();
    assert_eq!(row.generation, first.generation.next());
    assert_eq!(older.list(None, 10).await.unwrap().len(), 2);
    assert!(refusal(&database).await.contains("has schema 900"), "an older one does not start any more");
}
