//! The emulator as a client on the wire sees it.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod client;
mod faults;
mod provider_server;
mod records;
mod strict;
