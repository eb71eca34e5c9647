//! For tests only: real processes, real servers, and a client that shows what came back.
//!
//! * [`TestInstallation`] is a settings file with a data directory and a store; [`JetonCommand`] and [`ServerProcess`] are
//!   the binary run on it.
//! * [`Client`] sends HTTP requests to a server on loopback.
//! * [`TestApi`] is the API of a provider, played by a function; [`TestServer`] is any other server, and
//!   [`SilentListener`] an address that never answers.
//! * [`TestAuthority`] puts TLS in front of a server, and [`TestProxy`] is a way there.
//! * [`OidcRig`] is an OAuth server that others wrote.
//! * [`PgCluster`] is a PostgreSQL of the tests' own, and [`PgDatabase`] a fresh database of one test.
//! * [`Browser`] is a browser as a person uses it.
//! * [`ManualClock`] and [`OffsetClock`] are clocks that a test moves, [`ShiftedClock`] is that of other processes, and [`CapturedLog`] is what was logged.
//! * [`TestResolver`] decides which names other processes resolve.
//! * [`matches_template`] finds the path of an `OpenAPI` document that a request is about.
//! * [`grep_tree`] looks for secrets in everything that was written.
#![warn(missing_docs)]

mod api;
mod browser;
mod client;
mod clock;
mod installation;
mod leaks;
mod log;
mod oidc;
mod path_template;
mod paths;
mod port;
mod postgres;
mod preload;
mod process;
mod shifted_clock;
mod silent;
mod test_resolver;
mod tls;

pub use api::{Received, TestApi, TestServer};
pub use browser::{Browser, PageContent, PageLayout};
pub use client::{Client, ClientConnection, Reply};
pub use clock::{ManualClock, OffsetClock, RightClock};
pub use installation::{ConnectionSettings, TestInstallation};
pub use leaks::{Leak, grep_tree};
pub use log::CapturedLog;
pub use oidc::{OidcRig, OidcSettings, OidcStats};
pub use path_template::matches_template;
pub use paths::{
    chromium, jeton_binary, nginx_program, pgbouncer_program, project_root, python, rig_directory,
};
pub use port::FreePort;
pub use postgres::{PgBouncer, PgCluster, PgDatabase, postgres_programs, test_store_is_postgres};
pub use process::{CommandOutput, JetonCommand, ServerProcess, stop_nginx};
pub use shifted_clock::ShiftedClock;
pub use silent::SilentListener;
pub use test_resolver::TestResolver;
pub use tls::{TestAuthority, TestProxy};
