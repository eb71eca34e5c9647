//! Which SQL: the stores behind the ports of `jeton_core::keep::ports`.
//!
//! * [`sqlite`]: the store inside the binary, for one machine and any number of its processes.
//! * [`migration`]: numbered schema changes, whose numbers all stores share.
//! * [`conformance`] (feature `conformance`): the one story that every store must be able to tell.
#![warn(missing_docs)]

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod migration;
mod network;
mod rules;
pub mod sqlite;

use jeton_core::keep::ports::{AttemptLog, ChangeFeed, ConnectionStore, ConsentStore, Maintenance};

pub use network::network_file_system;
pub use sqlite::{SqliteOptions, SqliteStore};

/// All ports of one store together. Only what composes a program, and the conformance story, sees the whole.
pub trait Store: ConnectionStore + ChangeFeed + AttemptLog + ConsentStore + Maintenance {}

impl<S: ConnectionStore + ChangeFeed + AttemptLog + ConsentStore + Maintenance> Store for S {}
