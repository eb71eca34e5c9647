//! The gateway, over real connections: a real vault on a real store, a provider that really rotates, and APIs that answer
//! what each test needs.
#![expect(
    clippy::unwrap_used,
    reason = "the functions beside the tests are test code too: what goes wrong there fails the test"
)]

mod aliases;
mod api;
mod callers;
mod carried;
mod cures;
mod failures;
mod heads;
mod place;
#[expect(
    dead_code,
    reason = "no test of the gateway copies a database, fills it up, or counts what it is sent"
)]
#[path = "../../../keeper/tests/it/stores.rs"]
mod stores;
mod streams;
mod tls;
mod upgrades;
