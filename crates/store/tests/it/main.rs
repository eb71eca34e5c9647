//! The conformance tests of all stores, and what only one of them must show.
#![cfg(test)]

mod file;
mod postgres;
mod requests;
mod rolling_upgrade;
mod sqlite;

/// The memory store passes the conformance tests. Every handle of it is one store: there is no other process.
mod memory {
    use std::future::ready;
    use std::sync::Arc;

    use jeton_store::conformance::{Fixture, SteppedClock};
    use jeton_store::{MemoryStore, Store};

    async fn open_memory() -> Fixture {
        let clock = Arc::new(SteppedClock::default());
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
        Fixture::open(clock, move || ready(Arc::clone(&store)), ()).await
    }

    jeton_store::conformance_tests!(open_memory);
}
