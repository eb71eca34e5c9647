//! PostgreSQL passes the conformance tests, to a user who has no more rights than are asked for.

use std::any::Any;
use std::sync::{Arc, LazyLock};

use futures_util::future::BoxFuture;
use jeton_core::audit::AuditLog;
use jeton_store::conformance::{Fixture, SteppedClock};
use jeton_store::{PostgresOptions, PostgresStore, Store};
use jeton_testkit::PgDatabase;

use super::fixture::{database, options};
use super::privileges::with_what_is_asked_for;

async fn open_postgres() -> Fixture {
    let database = database();
    let url = with_what_is_asked_for(&database).await;
    both(&url, database).await.0
}

async fn open_with_record() -> (Fixture, Arc<dyn AuditLog>) {
    let database = database();
    let url = with_what_is_asked_for(&database).await;
    let (fixture, store) = both(&url, database).await;
    (fixture, store)
}

/// The same database for each run, emptied before it.
async fn open_postgres_often() -> Fixture {
    static DATABASE: LazyLock<PgDatabase> = LazyLock::new(database);
    let empty = "TRUNCATE connections, tokens, strays, attempts, kept_replies, operations, audit";
    DATABASE.query(empty).unwrap();
    both(&with_what_is_asked_for(&DATABASE).await, ()).await.0
}

/// An empty store, and the same once more for its other ports.
async fn both(url: &str, holds: impl Any + Send + Sync) -> (Fixture, Arc<PostgresStore>) {
    let clock = Arc::new(SteppedClock::default());
    // two processes of a test, and as many tests at once as there are processors.
    let options = PostgresOptions { clock: Some(clock.clone()), pool: 4, ..options(url) };
    let store = Arc::new(PostgresStore::open(options.clone()).await.unwrap());
    let open = move || -> BoxFuture<'static, Arc<dyn Store>> {
        let options = options.clone();
        Box::pin(async move { Arc::new(PostgresStore::open(options).await.unwrap()) as Arc<dyn Store> })
    };
    (Fixture::new(store.clone(), clock, open, holds), store)
}

jeton_store::audit_conformance_tests!(open_with_record);
jeton_store::conformance_tests!(open_postgres, open_postgres_often);

mod service_tokens {
    use jeton_core::access::ServiceTokenStore;
    use jeton_store::conformance::service_tokens::{OpenTokenStore, TokenFixture};

    use super::*;

    async fn open_postgres() -> TokenFixture {
        let database = database();
        let clock = Arc::new(SteppedClock::default());
        let url = with_what_is_asked_for(&database).await;
        let options = PostgresOptions { clock: Some(clock.clone()), pool: 4, ..options(&url) };
        let open = move || -> OpenTokenStore {
            let options = options.clone();
            Box::pin(async move {
                Arc::new(PostgresStore::open(options).await.unwrap()) as Arc<dyn ServiceTokenStore>
            })
        };
        TokenFixture::new(open().await, clock, open, database)
    }

    jeton_store::service_token_conformance_tests!(open_postgres);
}
