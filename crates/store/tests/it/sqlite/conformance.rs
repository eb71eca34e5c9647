//! SQLite passes the conformance tests.

use std::future::ready;
use std::sync::Arc;

use jeton_store::conformance::{Fixture, ServerFixture, SteppedClock};
use jeton_store::{ServerStore, SqliteOptions, SqliteStore, Store};

use super::fixture::folder;

/// An empty store, of which the tests see what `share` lets them.
async fn fixture<S: Store + ?Sized + 'static>(share: fn(SqliteStore) -> Arc<S>) -> Fixture<S> {
    let (folder, path) = folder();
    let clock = Arc::new(SteppedClock::default());
    let options = SqliteOptions::new(clock.clone());
    // The civil clock was an hour ahead when the file was made: its rows are an hour ahead of what the tests see.
    clock.set(3_600);
    drop(SqliteStore::open(&path, options.clone()).unwrap());
    clock.set(-3_600);
    let open = move || ready(share(SqliteStore::open(&path, options.clone()).unwrap()));
    Fixture::open(clock, open, folder).await
}

async fn open_sqlite() -> Fixture {
    fixture(|store| Arc::new(store) as Arc<dyn Store>).await
}

jeton_store::conformance_tests!(open_sqlite);

mod server {
    use super::*;

    async fn open_sqlite() -> ServerFixture {
        fixture(|store| Arc::new(store) as Arc<dyn ServerStore>).await
    }

    jeton_store::server_conformance_tests!(open_sqlite);
}
