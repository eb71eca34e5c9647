//! The gateway, over real connections: a real vault on a real store, a provider that really rotates, and APIs that each test
//! plays.
#![expect(
    clippy::unwrap_used,
    reason = "the functions beside the tests are test code too: what goes wrong there fails the test"
)]

mod access;
mod aliases;
mod browsers;
mod failures;
mod fixture;
mod forwarding;
mod rates;
mod request_checks;
#[expect(
    dead_code,
    reason = "no test of the gateway copies a database, fills it up, or counts what it is sent"
)]
#[path = "../../../keeper/tests/it/stores.rs"]
mod stores;
mod streaming;
mod tls;
mod token_replacement;
mod upgrades;
mod wire;
