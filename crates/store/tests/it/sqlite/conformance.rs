//! SQLite tells the conformance story.

use std::future::{Ready, ready};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use jeton_core::audit::AuditLog;
use jeton_store::conformance::{Stand, SteppedClock};
use jeton_store::{SqliteOptions, SqliteStore, Store};

/// An empty store, and the same once more for its other ports.
fn both() -> (Stand, Arc<SqliteStore>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jeton.db");
    let clock = Arc::new(SteppedClock::default());
    let options = SqliteOptions::new(clock.clone());
    let store = Arc::new(SqliteStore::open(&path, options.clone()).unwrap());
    let open = move || -> BoxFuture<'static, Arc<dyn Store>> {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, options.clone()).unwrap());
        Box::pin(ready(store))
    };
    (Stand::new(store.clone(), clock, open, folder), store)
}

async fn open_sqlite() -> Stand {
    both().0
}

fn open_with_record() -> Ready<(Stand, Arc<dyn AuditLog>)> {
    let (stand, store) = both();
    ready((stand, store))
}

jeton_store::tell_the_story_of_the_record!(open_with_record);
jeton_store::tell_the_story!(open_sqlite);

mod service_tokens {
    use jeton_core::access::ServiceTokenStore;
    use jeton_store::conformance::service_tokens::{Desk, Opening};

    use super::*;

    async fn open_sqlite() -> Desk {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jeton.db");
        let clock = Arc::new(SteppedClock::default());
        let options = SqliteOptions::new(clock.clone());
        let open = move || -> Opening {
            let store: Arc<dyn ServiceTokenStore> =
                Arc::new(SqliteStore::open(&path, options.clone()).unwrap());
            Box::pin(ready(store))
        };
        Desk::new(open().await, clock, open, folder)
    }

    jeton_store::tell_the_story_of_service_tokens!(open_sqlite);
}
