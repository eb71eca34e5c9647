//! The file store passes the conformance tests.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use jeton_store::conformance::{Fixture, SteppedClock};
use jeton_store::{FileOptions, FileStore, Store};

async fn open_file() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.json");
    let clock = Arc::new(SteppedClock::default());
    let options = FileOptions::new(clock.clone());
    let open = move || -> BoxFuture<'static, Arc<dyn Store>> {
        let store: Arc<dyn Store> = Arc::new(FileStore::open(&path, options.clone()).unwrap());
        Box::pin(std::future::ready(store))
    };
    Fixture::new(open().await, clock, open, folder)
}

jeton_store::conformance_tests!(open_file);
