//! PostgreSQL passes the conformance tests, to a user who has no more rights than are asked for.

use std::any::Any;
use std::sync::{Arc, LazyLock};

use jeton_store::conformance::{Fixture, ServerFixture, SteppedClock};
use jeton_store::{PostgresOptions, PostgresStore, ServerStore, Store};
use jeton_testkit::PgDatabase;

use super::fixture::{database, options};
use super::privileges::with_what_is_asked_for;

async fn open_postgres() -> Fixture {
    let database = database();
    let url = with_what_is_asked_for(&database).await;
    fixture(options(&url), |store| Arc::new(store) as Arc<dyn Store>, database).await
}

/// The same database for each run, emptied before it.
async fn open_postgres_often() -> Fixture {
    static DATABASE: LazyLock<PgDatabase> = LazyLock::new(database);
    let empty = "TRUNCATE connections, tokens, strays, attempts, kept_replies, operations, audit, settings";
    DATABASE.query(empty).unwrap();
    let url = with_what_is_asked_for(&DATABASE).await;
    fixture(options(&url), |store| Arc::new(store) as Arc<dyn Store>, ()).await
}

/// An empty store, of which the tests see what `share` lets them.
pub(super) async fn fixture<S: Store + ?Sized + 'static>(
    options: PostgresOptions,
    share: fn(PostgresStore) -> Arc<S>,
    holds: impl Any + Send + Sync,
) -> Fixture<S> {
    let clock = Arc::new(SteppedClock::default());
    // two processes of a test, and as many tests at once as there are processors.
    let options = PostgresOptions { clock: Some(clock.clone()), pool: 4, ..options };
    let open = move || {
        let options = options.clone();
        async move { share(PostgresStore::open(options).await.unwrap()) }
    };
    Fixture::open(clock, open, holds).await
}

jeton_store::conformance_tests!(open_postgres, open_postgres_often);

mod server {
    use super::*;

    async fn open_postgres() -> ServerFixture {
        let database = database();
        let url = with_what_is_asked_for(&database).await;
        fixture(options(&url), |store| Arc::new(store) as Arc<dyn ServerStore>, database).await
    }

    jeton_store::server_conformance_tests!(open_postgres);
}
