//! How ours are made, and who may come in by them.
//!
//! * [`Access`]: lets callers in by service token or key, from memory; makes, rotates and revokes service tokens.
//! * [`Caller`]: a program that was let in, and what it may do.
//! * [`Environment`]: what the environment lets in besides the store.
//!
//! The rules are those of `jeton_core::access`.
#![warn(missing_docs)]

mod access;
mod caller;
mod environment;
mod error;
mod header;
mod mirror;
mod order;
mod shown;
mod sync;
mod used;

pub use access::{Access, Settings};
pub use caller::Caller;
pub use environment::Environment;
pub use error::{AccessError, OrderError};
pub use header::CREDENTIAL_HEADERS;
pub use order::{Issued, NewToken, Rotated};
pub use shown::{RawToken, Shown};
