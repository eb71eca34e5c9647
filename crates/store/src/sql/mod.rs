//! The store over SQL: what SQLite and PostgreSQL have in common, which is nearly all of it.
//!
//! * `store`: the ports over one [`Database`]; `store.rs` has connections and attempts, `ports.rs` consents, nodes, audit and
//!   maintenance, `service_tokens.rs` the tokens of services.
//! * `write_tx`: the writing calls that all stores share, as statements of one [`SqlTransaction`].
//! * `records`, `connection_rows`, `row_reader`: rows and what they mean. `statement`: a statement with its parameters.
//!
//! A database brings a [`Dialect`], a way to read, and transactions.

pub(crate) mod connection_rows;
mod database;
pub(crate) mod ports;
pub(crate) mod records;
pub(crate) mod row_reader;
mod service_tokens;
pub(crate) mod statement;
pub(crate) mod store;
mod write_tx;

pub use database::{Database, Dialect, SqlTransaction, Work};
pub use row_reader::SqlRow;
pub use statement::{Statement, Value};
pub use store::SqlStore;
