//! A copy of a PostgreSQL database, which new data directories join by themselves: it is noticed all the same.

use std::path::Path;

use jeton_core::entropy::SystemEntropy;
use jeton_core::time::SystemClock;
use jeton_keeper::{Hold, Installation, JoinMode, KeySource};
use jeton_store::{PostgresOptions, PostgresStore};
use jeton_testkit::PgCluster;

/// A node with this data directory starts.
async fn start(url: &str, data_dir: &Path, key: &Path, joining: JoinMode) -> Option<Hold> {
    let store = PostgresStore::open(PostgresOptions::new(url.into())).await.expect("the database opens");
    Installation::join(&store, data_dir, joining, &SystemEntropy).await.expect("it joins");
    let key = KeySource::File(key.to_owned());
    let opened = Installation::open(&store, data_dir, &key, &SystemClock, &SystemEntropy).await;
    let hold = opened.expect("it opens").hold();
    store.close().await;
    hold
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_database_is_on_hold_for_new_nodes_too_until_one_of_them_adopts_it() {
    let original = PgCluster::shared().unwrap().empty_database().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let [one, two, three, four] = ["1", "2", "3", "4"].map(|name| folder.path().join(name));
    let key = folder.path().join("key");
    let there = original.url();
    assert_eq!(start(there, &one, &key, JoinMode::IfNew).await, None);
    assert_eq!(start(there, &two, &key, JoinMode::IfNew).await, None, "a new node of the same database");

    let copied = original.copy().unwrap();
    let here = copied.url();
    assert_eq!(
        start(here, &three, &key, JoinMode::IfNew).await,
        Some(Hold::Copied),
        "it has never seen the original"
    );
    assert_eq!(start(here, &two, &key, JoinMode::IfNew).await, Some(Hold::Copied), "it has come along");
    assert_eq!(start(here, &three, &key, JoinMode::InAnyCase).await, None, "it is adopted");
    for node in [&two, &three, &four] {
        assert_eq!(start(here, node, &key, JoinMode::IfNew).await, None, "for every node");
    }
    assert_eq!(start(there, &one, &key, JoinMode::IfNew).await, None, "the original is what it was");
}
