//! SQLite tells the conformance story.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use jeton_store::conformance::{Stand, SteppedClock};
use jeton_store::{SqliteOptions, SqliteStore, Store};

async fn open_sqlite() -> Stand {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jeton.db");
    let clock = Arc::new(SteppedClock::default());
    let options = SqliteOptions::new(clock.clone());
    let open = move || -> BoxFuture<'static, Arc<dyn Store>> {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, options.clone()).unwrap());
        Box::pin(std::future::ready(store))
    };
    Stand::new(open().await, clock, open, folder)
}

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
            Box::pin(std::future::ready(store))
        };
        Desk::new(open().await, clock, open, folder)
    }

    jeton_store::tell_the_story_of_service_tokens!(open_sqlite);
}
