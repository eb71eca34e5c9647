//! Service tokens on a real store: which are accepted, also when something changes or the store is down.
#![expect(
    clippy::unwrap_used,
    reason = "the functions beside the tests are test code too: what goes wrong there fails the test"
)]

mod authentication;
mod commands;
mod fixture;
mod load;
mod staleness;
#[expect(
    dead_code,
    reason = "no test of service tokens copies a database, fills it up, or counts its statements"
)]
#[path = "../../../keeper/tests/it/stores.rs"]
mod stores;
