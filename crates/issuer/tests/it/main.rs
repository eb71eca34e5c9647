//! Service tokens on a real store: who comes in, and what becomes of that when something changes or goes away.
#![expect(
    clippy::unwrap_used,
    reason = "the functions beside the tests are test code too: what goes wrong there fails the test"
)]

mod admission;
mod load;
mod orders;
mod scene;
mod staleness;
#[expect(
    dead_code,
    reason = "no test of service tokens copies a database, fills it up, or counts what it is sent"
)]
#[path = "../../../keeper/tests/it/stores.rs"]
mod stores;
