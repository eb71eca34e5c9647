//! For tests only: real processes, real servers, and a client that says what happened.
//!
//! * [`TempHome`] is a data directory with its `jeton.toml`; [`Command`] and [`Running`] are the binary run in it.
//! * [`Client`] speaks JSON over HTTP to whatever is on loopback.
//! * [`OidcRig`] is an OAuth server that others wrote.
//! * [`PgCluster`] is a PostgreSQL of the tests' own, and [`PgDatabase`] a fresh database of one test.
//! * [`Browser`] is a person's browser.
//! * [`StillClock`] is time that a test alone lets pass.
//! * [`leads_to`] finds the path of an `OpenAPI` document that a request is about.
//! * [`grep_tree`] looks for secrets in everything that was written.
#![warn(missing_docs)]

mod browser;
mod client;
mod clock;
mod command;
mod home;
mod leaks;
mod nginx;
mod oidc;
mod place;
mod port;
mod postgres;
mod running;
mod service_token;
mod template;

pub use browser::{Browser, Look, Seen, chromium};
pub use client::{Client, Reply};
pub use clock::StillClock;
pub use command::{Command, Finished};
pub use home::{Connection, TempHome};
pub use leaks::{Leak, grep_tree};
pub use nginx::{end_nginx, nginx};
pub use oidc::{Fault, OidcRig, OidcSettings, OidcStats};
pub use place::{jeton_binary, project_root, python, rig_directory};
pub use port::FreePort;
pub use postgres::{
    PgBouncer, PgCluster, PgDatabase, pgbouncer_program, postgres_programs, test_store_is_postgres,
};
pub use running::Running;
pub use template::leads_to;
