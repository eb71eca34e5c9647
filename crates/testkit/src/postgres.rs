//! A PostgreSQL of the tests' own: real, temporary, and run by an ordinary user.
//!
//! * Which programs, and which user? `programs`.
//! * How do the processes of a test run come to share one cluster, and who ends it? `shared`, `supervisor`.
//! * A fresh database for each test: [`PgDatabase`]. A pooler before it: [`PgBouncer`].

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
use tempfile::TempDir;

pub use bouncer::PgBouncer;
pub use database::PgDatabase;
pub use programs::postgres_programs;

use server::Server;
use supervisor::Supervisor;

/// The variable that says which store the tests of a run stand on: `sqlite`, as without it, or `postgres`.
const STORE_VARIABLE: &str = "JETON_TEST_STORE";

/// Whether the tests of this run stand on PostgreSQL, wherever they leave that open.
///
/// # Panics
/// `JETON_TEST_STORE` names a store that there is not.
pub fn test_store_is_postgres() -> bool {
    match std::env::var(STORE_VARIABLE).as_deref() {
        Ok("postgres") => true,
        Ok("sqlite") | Err(std::env::VarError::NotPresent) => false,
        other => panic!("{STORE_VARIABLE} must be `sqlite` or `postgres`, and is {other:?}"),
    }
}

/// A PostgreSQL cluster that is gone when nobody needs it any more, however the tests ended.
///
/// All calls block; they may be made within an async runtime, whose thread waits meanwhile.
#[derive(Debug)]
pub struct PgCluster {
    server: Server,
    /// Held for as long as this process needs the cluster: its supervisor waits for that to end.
    _needed: File,
    private: bool,
}

impl PgCluster {
    /// The owner of all databases of tests: an ordinary role, as an operator would make it.
    pub const USER: &'static str = "jeton";
    /// Its password, which only connections over TCP are asked for.
    pub const PASSWORD: &'static str = "jeton-test-password-4d1f";

    /// The cluster that all test processes of this target folder share: started by the first that asks, and stopped some
    /// seconds after the last has ended.
    ///
    /// It promises nothing about a crash of the machine (`fsync` is off), and is never stopped or changed by a test.
    ///
    /// # Errors
    /// PostgreSQL is not installed (`cargo xtask test --only tools` installs it), or does not start.
    pub fn shared() -> Result<&'static Self> {
        shared::join()
    }

    /// A cluster of the test's own, with settings that cover the usual ones, such as `("fsync", "on")`, and files beside
    /// its database, such as `("server.key", ..)`. It may be stopped, killed and paused.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or does not start; then the error holds what it said.
    pub fn private(settings: &[(&str, &str)], files: &[(&str, &[u8])]) -> Result<Self> {
        let folder = TempDir::with_prefix("jeton-pg-").context("making a folder for PostgreSQL")?.keep();
        let lock = folder.join("lock");
        let needed = supervisor::need(&lock)?;
        let server = Server::found(&folder)?;
        Supervisor { lock: &lock, folder: &folder, lingers: Duration::ZERO }.start(server.user())?;
        server.create(settings, files)?;
        server.start()?;
        Ok(Self { server, _needed: needed, private: true })
    }

    /// Another server that follows this one as a hot standby: it can be read and not written, until it is promoted.
    ///
    /// # Errors
    /// The copy cannot be made, or does not start; or this cluster is shared.
    pub fn standby(&self) -> Result<Self> {
        let followed = self.own()?;
        let folder = TempDir::with_prefix("jeton-pg-").context("making a folder for a standby")?.keep();
        let lock = folder.join("lock");
        let needed = supervisor::need(&lock)?;
        let server = Server::found(&folder)?;
        Supervisor { lock: &lock, folder: &folder, lingers: Duration::ZERO }.start(server.user())?;
        server.copy_of(followed)?;
        server.start()?;
        Ok(Self { server, _needed: needed, private: true })
    }

    /// Makes a standby a primary.
    ///
    /// # Errors
    /// It is none, or it is shared.
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
        format!("postgres://{}:{}@127.0.0.1:{}/{database}", Self::USER, Self::PASSWORD, self.port())
    }

    /// The URL of a database for the superuser, who may do what a database administrator does.
    pub fn superuser_url(&self, database: &str) -> String {
        self.server.socket_url(server::SUPERUSER, database)
    }

    /// Runs statements in a database as the superuser; answers the rows of the last that has any, as text.
    ///
    /// # Errors
    /// A statement fails, or the cluster cannot be reached.
    pub fn query(&self, database: &str, statements: &str) -> Result<Vec<Vec<Option<String>>>> {
        sql::run(&self.superuser_url(database), statements)
    }

    /// A new, empty database, dropped with the value.
    ///
    /// # Errors
    /// The cluster cannot be reached.
    pub fn empty_database(&self) -> Result<PgDatabase> {
        PgDatabase::create(&self.server, "template0")
    }

    /// A new database like the one that `prepare` makes: it is called once with the URL of an empty database, which then
    /// is the template of this and all later ones. `program` is the file whose schema it is: another build of it
    /// prepares a template of its own.
    ///
    /// # Errors
    /// Preparing fails, or the cluster cannot be reached.
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
    ///
    /// # Errors
    /// It does not stop, or it is shared.
    pub fn stop(&self) -> Result<()> {
        self.own()?.stop("fast")
    }

    /// Starts it again.
    ///
    /// # Errors
    /// It does not start, or it is shared.
    pub fn start(&self) -> Result<()> {
        self.own()?.start()
    }

    /// Kills all its processes (`SIGKILL`), as the machine's lack of memory would.
    ///
    /// # Errors
    /// It does not run, or it is shared.
    pub fn kill(&self) -> Result<()> {
        self.own()?.kill()
    }

    /// Stops all its processes where they are (`SIGSTOP`): connections stay open and nothing answers.
    ///
    /// # Errors
    /// It does not run, or it is shared.
    pub fn pause(&self) -> Result<()> {
        self.own()?.signal(rustix::process::Signal::STOP).map(drop)
    }

    /// Lets them go on (`SIGCONT`).
    ///
    /// # Errors
    /// It does not run, or it is shared.
    pub fn resume(&self) -> Result<()> {
        self.own()?.signal(rustix::process::Signal::CONT).map(drop)
    }

    fn own(&self) -> Result<&Server> {
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
