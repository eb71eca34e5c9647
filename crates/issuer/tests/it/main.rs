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
