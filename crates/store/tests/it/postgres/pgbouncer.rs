//! Behind PgBouncer in transaction mode: the tests in which sessions matter most.

use std::sync::Arc;

use jeton_core::keep::ports::StoreError;
use jeton_store::conformance::Fixture;
use jeton_store::{PostgresOptions, PostgresStore, Store};
use jeton_testkit::{PgBouncer, PgCluster};

use super::conformance::fixture;
use super::fixture::{database, options};

/// Fewer sessions than connections: what one transaction leaves in a session, another would find.
const SESSIONS: u16 = 3;

async fn open_behind_a_bouncer() -> Fixture {
    let database = database();
    let bouncer = PgBouncer::start(PgCluster::shared().unwrap(), &database, SESSIONS).unwrap();
    let options = PostgresOptions { pooler: true, ..options(&bouncer.url()) };
    fixture(options, |store| Arc::new(store) as Arc<dyn Store>, (bouncer, database)).await
}

jeton_store::conformance_tests! { @tests open_behind_a_bouncer;
    claims::the_first_claim_wins_and_opens_the_attempt,
    commits::the_reply_of_a_beaten_recovery_is_kept_as_an_orphan_of_the_same_grant,
    consents::an_exchange_that_succeeds_connects_under_its_attempt,
    grants::a_single_use_refresh_token_that_another_connection_holds_is_refused,
    listing::waiting_ends_when_another_process_changes_something,
    listing::waiting_ends_when_this_process_changes_something,
    refresh_log::what_is_written_is_there_after_opening_again,
    nodes::a_node_hears_of_the_others_that_live,
    concurrency::of_many_claims_in_two_processes_exactly_one_wins_each_generation,
    concurrency::calls_of_many_connections_do_not_mix,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_database_is_migrated_through_it() {
    let database = PgCluster::shared().unwrap().empty_database().unwrap();
    let bouncer = PgBouncer::start(PgCluster::shared().unwrap(), &database, SESSIONS).unwrap();
    let options = PostgresOptions { pooler: true, ..options(&bouncer.url()) };
    let lacking = PostgresStore::pending(&options).await.unwrap().len();
    assert!(lacking > 0);
    assert_eq!(PostgresStore::migrate(&options).await.unwrap().len(), lacking);
    PostgresStore::open(options).await.unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_the_settings_do_not_name_is_told() {
    let database = database();
    let bouncer = PgBouncer::start(PgCluster::shared().unwrap(), &database, SESSIONS).unwrap();
    let refused = PostgresStore::open(options(&bouncer.url())).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Refused(text) if text.contains("`pooler = true`")), "{refused:?}");
}
