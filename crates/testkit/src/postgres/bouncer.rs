//! A PgBouncer before a database, in transaction mode.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::programs::User;
use super::supervisor::{self, Supervisor};
use super::{PgCluster, PgDatabase, sql};
use crate::paths::pgbouncer_program;
use crate::port::FreePort;

/// A PgBouncer that runs: each transaction may meet another session of the server. It ends with the value.
#[derive(Debug)]
pub struct PgBouncer {
    folder: PathBuf,
    port: FreePort,
    database: String,
    _needed: File,
}

impl PgBouncer {
    /// Starts it before a database, with `sessions` of the server for all its clients.
    ///
    /// # Errors
    /// It is not installed (`cargo xtask test --only tools` installs it), or does not start.
    pub fn start(cluster: &PgCluster, database: &PgDatabase, sessions: u16) -> Result<Self> {
        let program = pgbouncer_program().context(
            "PgBouncer is not installed: `cargo xtask test --only tools` installs it on Debian; elsewhere install it",
        )?;
        let user = User::ordinary()?;
        let folder = TempDir::with_prefix("jeton-pgb-").context("making a folder for PgBouncer")?.keep();
        let lock = folder.join("lock");
        let needed = supervisor::hold_lock(&lock)?;
        user.own(&folder)?;
        Supervisor { lock: &lock, folder: &folder, linger: Duration::ZERO }.start(user)?;
        let port = FreePort::find()?;
        let settings = folder.join("pgbouncer.ini");
        let (place, name) = (folder.display(), database.name());
        let text = format!(
            "[databases]\n{name} = host={} port={} dbname={name}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\n\
             unix_socket_dir = {place}\nauth_type = any\npool_mode = transaction\ndefault_pool_size = {sessions}\n\
             max_client_conn = 1000\nlogfile = {place}/log\npidfile = {place}/pgbouncer.pid\n\
             ignore_startup_parameters = extra_float_digits\n",
            cluster.folder().display(),
            cluster.port(),
            port.number(),
        );
        // `auth_type = any` says who everyone is.
        let text = text.replace("dbname=", &format!("user={} dbname=", PgCluster::USER));
        fs::write(&settings, text).context("writing the settings of PgBouncer")?;
        user.own(&settings)?;
        let mut command = user.command(&program, &folder);
        let status = command.arg("--quiet").arg("--daemon").arg(&settings).status();
        let status = status.context("starting PgBouncer")?;
        let bouncer = Self { folder, port, database: name.to_owned(), _needed: needed };
        if !status.success() {
            bail!("PgBouncer does not start ({status}); its log says:\n{}", bouncer.log());
        }
        bouncer.ready()?;
        Ok(bouncer)
    }

    /// The URL of the database behind it.
    pub fn url(&self) -> String {
        let folder = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://{}@{folder}:{}/{}", PgCluster::USER, self.port.number(), self.database)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn ready(&self) -> Result<()> {
        for _ in 0..500 {
            if sql::run(&self.url(), "SELECT 1").is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("PgBouncer does not answer; its log says:\n{}", self.log())
    }
}
