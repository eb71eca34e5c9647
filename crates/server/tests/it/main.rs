//! The doors, over real connections: a real vault on a real store, and a provider that really rotates.
#![expect(
    clippy::unwrap_used,
    reason = "the functions beside the tests are test code too: what goes wrong there fails the test"
)]

mod consent;
mod consent_exchange;
mod consent_refusals;
mod described;
mod diagnostics;
mod doors;
mod house;
mod limits;
mod logs;
mod nginx;
mod record;
mod refusals;
mod scene;
mod service_tokens;
#[expect(
    dead_code,
    reason = "no test of the doors copies a database, fills it up, or counts what it is sent"
)]
#[path = "../../../keeper/tests/it/stores.rs"]
mod stores;
mod verify;
