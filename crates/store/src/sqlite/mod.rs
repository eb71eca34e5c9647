//! The store inside the binary: one SQLite file with a write-ahead log, for any number of processes of one machine.
//!
//! * One thread writes, and calls that wait share one COMMIT (`writer`); reads go to a small pool (`read_pool`). What they
//!   say in SQL is in `crate::sql`; rows and parameters: `rows`. Who follows the changes: `feed`.
//! * Before SQLite sees the file: `path_checks`. Opening connections: `open`. The schema: `migrate`.
//! * What runs for a duration, whoever sets the civil clock: `boot_clock`.
//! * How it is opened: `options`, `store`. Looking at a file that may be wrong: `inspect`. Copies: `backup`.
//! * Where tests make it fail: [`faults`].

mod backup;
mod boot_clock;
mod errors;
pub mod faults;
mod feed;
mod inspect;
mod migrate;
mod open;
mod opened_files;
mod options;
mod path_checks;
mod read_pool;
mod rows;
mod store;
mod writer;

pub use backup::{backup, restore, usable};
pub use inspect::{SqliteInspection, inspect};
pub use migrate::MIGRATIONS;
pub use options::SqliteOptions;
pub use store::SqliteStore;
