//! The store under any number of nodes: one PostgreSQL, 14 or later.
//!
//! * What is said in SQL is in `crate::sql`. The database as that sees it: `database`, and `transaction` with its two round
//!   trips; `shared` sends work again. Rows and parameters: `rows`.
//! * Who follows the changes: `feed`, and `change_cursor` for those that come late. Other nodes are told of changes, and listened
//!   to, by `notifications`.
//! * The way to the database: `options`, `address`, `tls`, `connect`, `session`, `errors`. Opening: `store`. The schema:
//!   `migrations`, `migrate`; what may be done in it: `privileges`; one of its own: `temporary_schema`.
//! * What tells a database from its copies: `database_identity`. Looking at a database that may be wrong: `inspect`. Where tests
//!   make it fail: [`faults`].

mod address;
mod change_cursor;
mod connect;
mod database;
mod database_identity;
mod errors;
pub mod faults;
mod feed;
mod inspect;
mod migrate;
mod migrations;
mod notifications;
mod options;
mod privileges;
mod rows;
mod session;
mod shared;
mod store;
mod temporary_schema;
mod tls;
mod transaction;

pub use inspect::{PostgresInspection, inspect};
pub use migrations::MIGRATIONS;
pub use options::PostgresOptions;
pub use session::Counts;
pub use store::PostgresStore;
