//! A primary and its standby: which of them is the store.

use std::time::Duration;

use jeton_core::keep::claim::ClaimAnswer;
use jeton_core::keep::ports::{ChangeFeed as _, ConnectionStore as _, Maintenance as _, StoreError};
use jeton_store::{PostgresOptions, PostgresStore};
use jeton_testkit::PgCluster;

use super::fixture::{claim, connect, database, database_of, of_hosts, open, options};
use super::proxy::SilentServer;

fn is_read_only(error: &StoreError) -> bool {
    matches!(error, StoreError::Unwritable(text) if text.contains("is read-only") && text.contains("name the primary"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_is_the_store_wherever_it_stands_and_a_standby_is_not_read() {
    let primary = PgCluster::private(&[], &[]).unwrap();
    let database = database_of(&primary);
    let standby = primary.standby().unwrap();
    standby.query("postgres", "SELECT pg_wal_replay_pause()").unwrap();
    // The standby is behind from here on.
    open(database.url()).await.connect(connect("acme", 1)).await.unwrap();

    let silent = SilentServer::new();
    let url = of_hosts(&primary, database.name(), &[silent.port(), standby.port(), primary.port()]);
    let patient = PostgresOptions { patience: Duration::from_mins(1), ..options(&url) };
    let store = PostgresStore::open(patient).await.unwrap();
    assert!(store.find(&"acme".parse().unwrap()).await.unwrap().is_some(), "the primary has it");
    assert!(matches!(store.claim(claim("acme", 1)).await, Ok(ClaimAnswer::Won { .. })));
    store.close().await;

    let alone = PostgresStore::open(options(&standby.tcp_url(database.name()))).await.unwrap_err();
    assert!(is_read_only(&alone), "{alone:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_the_store_once_it_is_promoted_and_not_before() {
    let primary = PgCluster::private(&[], &[]).unwrap();
    let database = database_of(&primary);
    let standby = primary.standby().unwrap();
    let url = of_hosts(&primary, database.name(), &[primary.port(), standby.port()]);
    let options = PostgresOptions { patience: Duration::from_secs(3), ..options(&url) };
    let store = PostgresStore::open(options.clone()).await.unwrap();
    store.connect(connect("acme", 1)).await.unwrap();
    assert!(!store.is_copy().await.unwrap());
    let seen = store.revision().await.unwrap();

    // In order, so that the standby has everything.
    primary.stop().unwrap();
    let name = "acme".parse().unwrap();
    for refused in [
        store.find(&name).await.map(drop).unwrap_err(),
        store.claim(claim("acme", 1)).await.map(drop).unwrap_err(),
        store.revision().await.map(drop).unwrap_err(),
        PostgresStore::open(options).await.map(drop).unwrap_err(),
    ] {
        assert!(is_read_only(&refused), "{refused:?}");
    }
    standby.promote().unwrap();
    assert!(store.find(&name).await.unwrap().is_some());
    assert_eq!(store.revision().await.unwrap(), seen, "it did not go back");
    assert!(!store.is_copy().await.unwrap(), "a failover makes no copy");
    assert!(matches!(store.claim(claim("acme", 1)).await, Ok(ClaimAnswer::Won { .. })));
}

/// A pooler, or an address that moves, may lead a session to a standby after it was asked. Here the server says so of itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_standby_shows_to_an_old_session_is_no_sign_that_the_store_went_back() {
    let database = database();
    database
        .query(
            "CREATE SCHEMA early;
             GRANT USAGE ON SCHEMA early TO PUBLIC;
             CREATE TABLE early.standby (yes boolean);
             GRANT SELECT ON early.standby TO PUBLIC;
             INSERT INTO early.standby VALUES (false);
             CREATE FUNCTION early.pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT yes FROM early.standby'",
        )
        .unwrap();
    let url = format!("{}?options=-c%20search_path%3Dpublic,early,pg_catalog", database.url());
    let options = PostgresOptions { patience: Duration::from_secs(1), ..options(&url) };
    let (store, newcomer) = (
        PostgresStore::open(options.clone()).await.unwrap(),
        PostgresStore::open(options.clone()).await.unwrap(),
    );
    store.connect(connect("acme", 1)).await.unwrap();
    let seen = store.revision().await.unwrap();
    let turn = |on: bool| {
        let revision = if on { 0 } else { seen.0 };
        let behind =
            format!("UPDATE early.standby SET yes = {on}; UPDATE connections SET revision = {revision}");
        database.query(&behind).unwrap();
    };
    turn(true);
    for refused in [
        store.revision().await.map(drop).unwrap_err(),
        newcomer.revision().await.map(drop).unwrap_err(),
        PostgresStore::open(options).await.map(drop).unwrap_err(),
    ] {
        assert!(is_read_only(&refused), "{refused:?}");
    }
    turn(false);
    assert_eq!(store.revision().await.unwrap(), seen);
    assert_eq!(newcomer.revision().await.unwrap(), seen);
}
