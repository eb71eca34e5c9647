//! PostgreSQL for tests: real, temporary, and run by an ordinary user.
//!
//! * `programs` finds the programs and the user; `server` runs them.
//! * `shared` is the cluster that all processes of a test run share, and `supervisor` ends it.
//! * [`PgDatabase`] is a fresh database for each test, and [`PgBouncer`] a pooler before it.

mod bouncer;
mod database;
mod programs;
mod server;
mod shared;
mod sql;
mod supervisor;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use tempfile::TempDir;

pub use bouncer::PgBouncer;
pub use database::PgDatabase;
pub use programs::postgres_programs;

use crate::shifted_clock::ShiftedClock;
use server::PgServer;
use supervisor::Supervisor;

/// The variable that selects the store of a test run: `sqlite` (the default) or `postgres`.
const STORE_VARIABLE: &str = "JETON_TEST_STORE";

/// Whether tests that leave the store open use PostgreSQL in this run.
///
/// # Panics
/// `JETON_TEST_STORE` has another value.
pub fn test_store_is_postgres() -> bool {
    match std::env::var(STORE_VARIABLE).as_deref() {
        Ok("postgres") => true,
        Ok("sqlite") | Err(std::env::VarError::NotPresent) => false,
        other => panic!("{STORE_VARIABLE} must be `sqlite` or `postgres`, and is {other:?}"),
    }
}

/// A PostgreSQL cluster that is removed when no test needs it any more, however the tests ended.
///
/// All calls block. They may be made within an async runtime.
#[derive(Debug)]
pub struct PgCluster {
    server: PgServer,
    /// Held for as long as this process needs the cluster: its supervisor waits for that to end.
    _needed: File,
    private: bool,
}

impl PgCluster {
    /// The owner of all databases of tests: an ordinary role, as an operator would make it.
    pub const USER: &'static str = server::ROLE;
    /// Its password, which only connections over TCP are asked for.
    pub const PASSWORD: &'static str = server::PASSWORD;

    /// The cluster that all test processes of this target folder share: started by the first that asks, and stopped some
    /// seconds after the last has ended.
    ///
    /// It promises nothing about a crash of the machine (`fsync` is off), and is never stopped or changed by a test.
    ///
    /// # Errors
    /// PostgreSQL is not installed (`cargo xtask test --only tools` installs it), or does not start.
    pub fn shared() -> Result<&'static Self> {
        static JOINED: Mutex<Option<&'static PgCluster>> = Mutex::new(None);
        let mut joined = JOINED.lock();
        if joined.is_none() {
            let (server, needed) = shared::join()?;
            // It is needed until the process ends.
            *joined = Some(Box::leak(Box::new(Self { server, _needed: needed, private: false })));
        }
        (*joined).context("it was just joined")
    }

    /// A cluster of the test's own, with settings that cover the usual ones, such as `("fsync", "on")`, and files beside
    /// its database, such as `("server.key", ..)`. It may be stopped, killed and paused.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or does not start; then the error holds what it said.
    pub fn private(settings: &[(&str, &str)], files: &[(&str, &[u8])]) -> Result<Self> {
        Self::start_private(Vec::new(), |server| server.create(settings, files))
    }

    /// A cluster of the test's own that goes by a clock which the test sets.
    pub fn with_clock(clock: &ShiftedClock) -> Result<Self> {
        Self::start_private(clock.environment().to_vec(), |server| server.create(&[], &[]))
    }

    fn start_private(
        environment: Vec<(&'static str, String)>,
        create: impl FnOnce(&PgServer) -> Result<()>,
    ) -> Result<Self> {
        let folder = TempDir::with_prefix("jeton-pg-").context("creating a folder for PostgreSQL")?.keep();
        let lock = folder.join("lock");
        let needed = supervisor::hold_lock(&lock)?;
        let server = PgServer::new(&folder)?.with_environment(environment);
        Supervisor { lock: &lock, folder: &folder, linger: Duration::ZERO }.start(server.user())?;
        create(&server)?;
        server.start()?;
        Ok(Self { server, _needed: needed, private: true })
    }

    /// A hot standby of this server: it can be read and not written, until it is promoted.
    pub fn standby(&self) -> Result<Self> {
        let primary = self.own()?;
        Self::start_private(Vec::new(), |server| server.copy_from(primary))
    }

    /// Makes a standby a primary.
    pub fn promote(&self) -> Result<()> {
        self.own()?.promote()
    }

    /// Where its socket and its data lie.
    pub fn folder(&self) -> &Path {
        &self.server.folder
    }

    /// Its port: on 127.0.0.1, and in the name of its socket.
    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// The URL of a database over the socket, for the ordinary role.
    pub fn url(&self, database: &str) -> String {
        self.server.socket_url(Self::USER, database)
    }

    /// The URL of a database over TCP, with the password.
    pub fn tcp_url(&self, database: &str) -> String {
        self.server.tcp_url(database)
    }

    /// The URL of a database for the superuser, who may do what a database administrator does.
    pub fn superuser_url(&self, database: &str) -> String {
        self.server.socket_url(server::SUPERUSER, database)
    }

    /// Runs statements in a database as the superuser; returns the rows of the last that has any, as text.
    pub fn query(&self, database: &str, statements: &str) -> Result<Vec<Vec<Option<String>>>> {
        sql::run(&self.superuser_url(database), statements)
    }

    /// A new, empty database, dropped with the value.
    pub fn empty_database(&self) -> Result<PgDatabase> {
        PgDatabase::create(&self.server, "template0")
    }

    /// A new database like the one that `prepare` makes: it is called once with the URL of an empty database, which then
    /// is the template of this and all later ones. `program` is the file whose schema it is: another build of it
    /// prepares a template of its own.
    pub fn database<F>(
        &self,
        program: &Path,
        prepare: impl FnOnce(String) -> F + Send + 'static,
    ) -> Result<PgDatabase>
    where
        F: Future<Output = Result<()>>,
    {
        let template = database::template(&self.server, program, prepare)?;
        PgDatabase::create(&self.server, &template)
    }

    /// Stops it in order: sessions are ended at once (`fast`).
    pub fn stop(&self) -> Result<()> {
        self.own()?.stop()
    }

    /// Starts it again.
    pub fn start(&self) -> Result<()> {
        self.own()?.start()
    }

    /// Kills all its processes (`SIGKILL`), as the machine's lack of memory would.
    pub fn kill(&self) -> Result<()> {
        self.own()?.kill()
    }

    /// Stops all its processes where they are (`SIGSTOP`): connections stay open and nothing answers.
    pub fn pause(&self) -> Result<()> {
        self.own()?.signal(rustix::process::Signal::STOP).map(drop)
    }

    /// Lets them go on (`SIGCONT`).
    pub fn resume(&self) -> Result<()> {
        self.own()?.signal(rustix::process::Signal::CONT).map(drop)
    }

    fn own(&self) -> Result<&PgServer> {
        ensure!(self.private, "the cluster is shared with other tests: use PgCluster::private");
        Ok(&self.server)
    }

    /// Where its data lies.
    pub fn data(&self) -> PathBuf {
        self.server.data()
    }
}

#[cfg(test)]
mod tests;
