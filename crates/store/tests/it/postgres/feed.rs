//! How nodes learn of each other's changes.

use std::time::Duration;

use jeton_core::id::Revision;
use jeton_core::keep::connection::Connection;
use jeton_core::keep::ports::{ChangeFeed as _, ConnectionStore as _};
use jeton_store::PostgresStore;
use jeton_testkit::PgCluster;
use tokio::time::{Instant, timeout};

use super::fixture::{connect, connected, database, open, options, session};

const PATIENCE: Duration = Duration::from_secs(10);

/// Follows a store as the keeper does.
struct Follower<'s> {
    store: &'s PostgresStore,
    seen: Revision,
}

impl<'s> Follower<'s> {
    async fn of(store: &'s PostgresStore) -> Self {
        Self { store, seen: store.revision().await.unwrap() }
    }

    async fn next(&mut self) -> Vec<Connection> {
        timeout(PATIENCE, self.store.wait_for_change(self.seen)).await.expect("something changed");
        let rows = self.store.changed_since(self.seen, 100).await.unwrap();
        let rows: Vec<Connection> = rows.into_iter().collect::<Result<_, _>>().unwrap();
        self.seen = rows.iter().map(|row| row.revision).fold(self.seen, Revision::max);
        rows
    }

    /// Waits until a connection is handed in with this error.
    async fn hears_of(&mut self, name: &str, error: &str) {
        let heard = async {
            loop {
                let rows = self.next().await;
                let is_it =
                    |row: &Connection| row.name.as_str() == name && row.last_error.as_deref() == Some(error);
                if rows.iter().any(is_it) {
                    return;
                }
            }
        };
        timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("{name} was never handed in"));
    }
}

/// What a change does to the row, by whatever transaction.
fn change(name: &str, error: &str) -> String {
    format!(
        "UPDATE connections SET revision = nextval('revisions'), last_error = '{error}' WHERE name = '{name}'"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_known_to_other_nodes_within_a_tenth_of_a_second() {
    let database = database();
    let (here, there) = (open(database.url()).await, open(database.url()).await);
    let mut follower = Follower::of(&there).await;
    here.connect(connect("warm-up", 0)).await.unwrap();
    while follower.next().await.is_empty() {}
    let mut times = Vec::new();
    for number in 1..=20 {
        here.connect(connect(&format!("acme-{number}"), number)).await.unwrap();
        let began = Instant::now();
        while follower.next().await.is_empty() {}
        times.push(began.elapsed());
    }
    times.sort();
    assert!(times[times.len() / 2] < Duration::from_millis(100), "{times:?}");
    assert!(times[times.len() - 1] < Duration::from_millis(1500), "none had to be looked for: {times:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_becomes_visible_after_later_ones_is_handed_in() {
    let database = database();
    let store = open(database.url()).await;
    store.connect(connect("slow", 1)).await.unwrap();
    store.connect(connect("quick", 2)).await.unwrap();
    let mut follower = Follower::of(&store).await;
    let slow = session(&database).await;
    slow.batch_execute("BEGIN").await.unwrap();
    slow.batch_execute(&change("slow", "late")).await.unwrap();
    database.query(&change("quick", "early")).unwrap();
    follower.hears_of("quick", "early").await;
    slow.batch_execute("COMMIT").await.unwrap();
    let late = store.find(&"slow".parse().unwrap()).await.unwrap().unwrap();
    assert!(late.revision < follower.seen, "its revision is below what was handed in");
    follower.hears_of("slow", "late").await;
    let silence = timeout(Duration::from_millis(2500), follower.next()).await;
    assert!(silence.is_err(), "nothing is handed in twice: {silence:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_announced_is_found_by_looking() {
    let (database, store) = connected().await;
    let mut follower = Follower::of(&store).await;
    database.query(&change("acme", "unannounced")).unwrap();
    follower.hears_of("acme", "unannounced").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_lost_its_connection_listens_again_and_misses_nothing() {
    let database = database();
    let (here, there) = (open(database.url()).await, open(database.url()).await);
    here.connect(connect("acme", 1)).await.unwrap();
    let mut follower = Follower::of(&there).await;
    let listening =
        "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()";
    for round in 0..3 {
        let both = async {
            while database.query(listening).unwrap().len() < 2 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, both).await.expect("they listen, and listen again");
        let end = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}' AND query LIKE 'LISTEN%'",
            database.name()
        );
        assert_eq!(database.query(&end).unwrap().len(), 2, "both listen");
        let error = format!("error-{round}");
        database.query(&change("acme", &error)).unwrap();
        follower.hears_of("acme", &error).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_closed_has_told_others_of_its_last_change() {
    let database = database();
    let there = open(database.url()).await;
    let mut follower = Follower::of(&there).await;
    // A command that orders something and ends, with its runtime.
    let url = database.url().to_owned();
    let brief = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = open(&url).await;
            store.connect(connect("acme", 1)).await.unwrap();
            store.close().await;
        });
    };
    tokio::task::spawn_blocking(brief).await.unwrap();
    let began = Instant::now();
    while follower.next().await.is_empty() {}
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_installations_in_one_database_know_nothing_of_each_other() {
    let database = PgCluster::shared().unwrap().empty_database().unwrap();
    let mut urls = Vec::new();
    for name in ["one", "two"] {
        PostgresStore::make_schema(&options(database.url()), name).await.unwrap();
        urls.push(format!("{}?options=-c%20search_path%3D{name}", database.url()));
    }
    let (one, two) = (open(&urls[0]).await, open(&urls[1]).await);
    let mut follower = Follower::of(&two).await;
    for number in 0..5 {
        one.connect(connect(&format!("acme-{number}"), number)).await.unwrap();
    }
    assert!(two.list(None, 10).await.unwrap().is_empty());
    assert!(timeout(Duration::from_secs(1), follower.next()).await.is_err(), "it hears nothing");
    one.close().await;
    PostgresStore::drop_schema(&options(database.url()), "one").await.unwrap();
    two.connect(connect("acme", 1)).await.unwrap();
    let refused =
        PostgresStore::make_schema(&options(database.url()), "a; DROP TABLE store").await.unwrap_err();
    assert!(refused.to_string().contains("no name for a schema"), "{refused}");
}
