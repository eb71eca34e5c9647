//! Which SQL: the stores behind the ports of `jeton_core::keep::ports`.
//!
//! * [`sqlite`]: the store inside the binary, for one machine and any number of its processes.
//! * [`postgres`]: the store under any number of nodes.
//! * [`mod@file`]: one `tokens.json` for the processes of a machine, with no database.
//! * [`memory`]: no longer than its process; for tests and short programs.
//! * [`migration`]: numbered schema changes, whose numbers all stores share.
//! * [`conformance`] (feature `conformance`): the tests that every store must pass.
#![warn(missing_docs)]

mod changes;
#[cfg(feature = "conformance")]
pub mod conformance;
mod consent_writes;
pub mod file;
mod grant_writes;
pub mod memory;
pub mod migration;
mod network;
mod path_checks;
#[cfg(feature = "postgres")]
pub mod postgres;
mod refresh_writes;
mod rules;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub mod sql;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod write_tx;

use jeton_core::access::ServiceTokenStore;
use jeton_core::keep::ports::{
    AttemptLog, ChangeFeed, ConnectionStore, ConsentStore, Maintenance, NodeStore,
};

pub use file::{FileOptions, FileStore};
pub use memory::MemoryStore;
pub use network::network_file_system;
#[cfg(feature = "postgres")]
pub use postgres::{PostgresOptions, PostgresStore};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteOptions, SqliteStore};

/// All ports of one store together. Only what composes a program, and the conformance tests, sees the whole.
pub trait Store: ConnectionStore + ChangeFeed + AttemptLog + ConsentStore + Maintenance + NodeStore {}

impl<S: ConnectionStore + ChangeFeed + AttemptLog + ConsentStore + Maintenance + NodeStore> Store for S {}

/// What a server needs of a store: connections, and the service tokens of the programs that call it. The memory and file stores
/// keep no service tokens; what a server is told by its environment alone needs none of them.
pub trait ServerStore: Store + ServiceTokenStore {}

impl<S: Store + ServiceTokenStore> ServerStore for S {}
