//! The file store passes the conformance tests.

use std::future::ready;
use std::sync::Arc;

use jeton_store::conformance::{Fixture, SteppedClock};
use jeton_store::{FileOptions, FileStore, Store};

use super::fixture::folder;

async fn open_file() -> Fixture {
    let (folder, path) = folder();
    let clock = Arc::new(SteppedClock::default());
    let options = FileOptions::new(clock.clone());
    let open = move || ready(Arc::new(FileStore::open(&path, options.clone()).unwrap()) as Arc<dyn Store>);
    Fixture::open(clock, open, folder).await
}

jeton_store::conformance_tests!(open_file);
