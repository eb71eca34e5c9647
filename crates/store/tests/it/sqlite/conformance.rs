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
