//! SQLite passes the conformance tests.

use std::future::{Ready, ready};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use jeton_core::audit::AuditLog;
use jeton_store::conformance::{Fixture, SteppedClock};
use jeton_store::{SqliteOptions, SqliteStore, Store};

/// An empty store, and the same once more for its other ports.
fn both() -> (Fixture, Arc<SqliteStore>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jeton.db");
    let clock = Arc::new(SteppedClock::default());
    let options = SqliteOptions::new(clock.clone());
    let store = Arc::new(SqliteStore::open(&path, options.clone()).unwrap());
    let open = move || -> BoxFuture<'static, Arc<dyn Store>> {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, options.clone()).unwrap());
        Box::pin(ready(store))
    };
    (Fixture::new(store.clone(), clock, open, folder), store)
}

async fn open_sqlite() -> Fixture {
    both().0
}

fn open_with_record() -> Ready<(Fixture, Arc<dyn AuditLog>)> {
    let (fixture, store) = both();
    ready((fixture, store))
}

jeton_store::audit_conformance_tests!(open_with_record);
jeton_store::conformance_tests!(open_sqlite);

mod service_tokens {
    use jeton_core::access::ServiceTokenStore;
    use jeton_store::conformance::service_tokens::{OpenTokenStore, TokenFixture};

    use super::*;

    async fn open_sqlite() -> TokenFixture {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jeton.db");
        let clock = Arc::new(SteppedClock::default());
        let options = SqliteOptions::new(clock.clone());
        let open = move || -> OpenTokenStore {
            let store: Arc<dyn ServiceTokenStore> =
                Arc::new(SqliteStore::open(&path, options.clone()).unwrap());
            Box::pin(ready(store))
        };
        TokenFixture::new(open().await, clock, open, folder)
    }

    jeton_store::service_token_conformance_tests!(open_sqlite);
}
