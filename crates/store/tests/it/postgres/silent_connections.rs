//! Connections that are silent, though nobody ended them.

use std::time::Duration;

use futures_util::future::try_join_all;
use jeton_core::keep::claim::ClaimAnswer;
use jeton_core::keep::ports::ConnectionStore as _;
use jeton_store::{PostgresOptions, PostgresStore};
use jeton_testkit::PgCluster;
use tokio::time::{sleep, timeout};

use super::fixture::{claim, connect, connected, database, open, options, session};
use super::proxy::Proxy;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_connection_is_thrown_away_and_its_call_goes_over_a_fresh_one() {
    let database = database();
    let server = PgCluster::shared().unwrap().port();
    let proxy = Proxy::to(server).await;
    let url = proxy.url(database.tcp_url(), server);
    // Less than it takes to try the connections one after the other.
    let patient = PostgresOptions { patience: Duration::from_secs(20), ..options(&url) };
    let store = PostgresStore::open(patient).await.unwrap();
    store.connect(connect("acme", 1)).await.unwrap();
    let name = "acme".parse().unwrap();
    // Several connections lie in the pool, and all of them fall silent.
    try_join_all((0..8).map(|_| store.find(&name))).await.unwrap();
    proxy.fall_silent();
    let found = store.find(&name).await;
    assert!(matches!(&found, Ok(Some(_))), "{found:?}");
    try_join_all((0..8).map(|_| store.find(&name))).await.unwrap();
    proxy.fall_silent();
    let claimed = store.claim(claim("acme", 1)).await;
    assert!(matches!(&claimed, Ok(ClaimAnswer::Won { .. })), "{claimed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_connects_to_silence_gives_up_and_connects_anew() {
    let database = database();
    let server = PgCluster::shared().unwrap().port();
    let proxy = Proxy::to(server).await;
    let store = open(&proxy.url(database.tcp_url(), server)).await;
    let listens = async |wanted: bool| {
        let ask = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'";
        let reached = async {
            while database.query(ask).unwrap().is_empty() == wanted {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(Duration::from_mins(1), reached).await.expect("it comes about");
    };
    listens(true).await;
    proxy.let_in(false);
    database
        .query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND query LIKE 'LISTEN%' AND pid <> pg_backend_pid()",
        )
        .unwrap();
    listens(false).await;
    // It has connected again by now, and waits.
    sleep(Duration::from_secs(1)).await;
    proxy.let_in(true);
    listens(true).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_who_stops_waiting_leaves_the_connection_to_others() {
    let (database, store) = connected().await;
    let name = "acme".parse().unwrap();
    store.find(&name).await.unwrap();
    let ours =
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'jeton'
                AND query NOT LIKE 'LISTEN%' ORDER BY pid";
    let holder = session(&database).await;
    holder.batch_execute("BEGIN; LOCK TABLE tokens IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let given_up = timeout(Duration::from_millis(300), store.find(&name)).await;
    assert!(given_up.is_err(), "it waits for the lock");
    let before = database.query(ours).unwrap();
    assert!(!before.is_empty());
    holder.batch_execute("COMMIT").await.unwrap();
    assert!(store.find(&name).await.unwrap().is_some());
    let after = database.query(ours).unwrap();
    assert!(before.iter().all(|session| after.contains(session)), "none was ended: {before:?}, {after:?}");
}
