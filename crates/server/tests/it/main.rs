//! The HTTP API over real connections, with a real store and a provider that rotates its tokens.
#![expect(
    clippy::unwrap_used,
    reason = "the functions beside the tests are test code too: what goes wrong there fails the test"
)]

mod app;
mod audit;
mod consent;
mod consent_app;
mod consent_errors;
mod consent_exchange;
mod diagnostics;
mod endpoints;
mod errors;
mod force;
mod limits;
mod logs;
mod nginx;
mod old_gateway;
mod openapi;
mod service_tokens;
#[expect(dead_code, reason = "these tests neither copy nor fill a database, nor count its statements")]
#[path = "../../../keeper/tests/it/stores.rs"]
mod stores;
mod verify;
