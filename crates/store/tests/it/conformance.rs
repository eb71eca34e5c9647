//! SQLite tells the conformance story.

use std::sync::Arc;

use jeton_store::conformance::{Stand, SteppedClock};
use jeton_store::{SqliteOptions, SqliteStore, Store};

fn open_sqlite() -> Stand {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jeton.db");
    let clock = Arc::new(SteppedClock::default());
    let options = SqliteOptions::new(clock.clone());
    let open = move || -> Arc<dyn Store> { Arc::new(SqliteStore::open(&path, options.clone()).unwrap()) };
    Stand::new(open(), clock, open, folder)
}

jeton_store::tell_the_story!(open_sqlite);
