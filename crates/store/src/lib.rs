//! Which SQL: the stores behind the ports of `jeton_core::keep::ports`.
//!
//! * [`sqlite`]: the store inside the binary, for one machine and any number of its processes.
//! * [`postgres`]: the store under any number of nodes.
//! * [`migration`]: numbered schema changes, whose numbers all stores share.
//! * [`conformance`] (feature `conformance`): the one story that every store must be able to tell.
#![warn(missing_docs)]

#[cfg(feature = "conformance")]
pub mod conformance;
mod consents;
mod desk;
mod flow;
mod grants;
pub mod migration;
mod network;
pub mod postgres;
mod rows;
mod rules;
pub mod sqlite;

use jeton_core::keep::ports::{
    AttemptLog, ChangeFeed, ConnectionStore, ConsentStore, Maintenance, NodeStore,
};

pub use network::network_file_system;
pub use postgres::{PostgresOptions, PostgresStore};
pub use sqlite::{SqliteOptions, SqliteStore};

/// All ports of one store together. Only what composes a program, and the conformance story, sees the whole.
pub trait Store: ConnectionStore + ChangeFeed + AttemptLog + ConsentStore + Maintenance + NodeStore {}

impl<S: ConnectionStore + ChangeFeed + AttemptLog + ConsentStore + Maintenance + NodeStore> Store for S {}
