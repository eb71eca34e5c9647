//! Service tokens: checked from memory; created, rotated and revoked in the store.
//!
//! * [`Access`]: checks the credentials of callers, and changes service tokens.
//! * [`Caller`]: a program whose credential is valid, and what it may do.
//! * [`Environment`]: the credentials that the environment defines besides the store.
//!
//! The rules are those of `jeton_core::access`.
#![warn(missing_docs)]

mod access;
mod cache;
mod caller;
mod commands;
mod credential;
mod environment;
mod error;
mod failure_limit;
mod shared_reload;
mod views;

pub use access::{Access, SYNC_PERIOD, Settings};
pub use caller::Caller;
pub use commands::{Issued, NewToken, Rotated};
pub use credential::{CREDENTIAL_HEADERS, SERVICE_TOKEN};
pub use environment::Environment;
pub use error::{AccessError, TokenCommandError};
pub use views::{RawToken, TokenView};
