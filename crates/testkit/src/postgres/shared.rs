//! The cluster that all test processes of a target folder share.
//!
//! Each process holds a shared lock until it ends. The first that finds no server starts one, with a supervisor that ends it
//! when the lock has been free for a while.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::statvfs;

use super::server::{PgServer, SUPERUSER};
use super::sql;
use super::supervisor::{self, Supervisor};
use crate::paths::target_directory;

/// Longer than the time from the last test of one program to the first of the next.
const LINGER: Duration = Duration::from_secs(20);

/// More bytes than the databases of a test run and their write-ahead log take together.
const ENOUGH_MEMORY: u64 = 4 << 30;

/// Joins the shared cluster of this user and target folder.
pub(super) fn join() -> Result<(PgServer, File)> {
    join_or_start(&folder()?, LINGER)
}

/// Joins the cluster of this folder, or starts it. Returns the server, and the lock that keeps it running.
pub(super) fn join_or_start(folder: &Path, linger: Duration) -> Result<(PgServer, File)> {
    let lock = folder.with_extension("lock");
    // Waits while a supervisor ends the previous server.
    let needed = supervisor::hold_lock(&lock)?;
    let starting = supervisor::open_lock(&folder.with_extension("start"))?;
    starting.lock().context("waiting for whoever starts PostgreSQL")?;
    let server = match running(folder)? {
        Some(server) => server,
        None => start(folder, &lock, linger)?,
    };
    Ok((server, needed))
}

/// The server of this folder, if it answers.
fn running(folder: &Path) -> Result<Option<PgServer>> {
    let port = match fs::read_to_string(folder.join("ready")) {
        Ok(text) => text.trim().parse().context("reading the port of the shared PostgreSQL")?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context("looking for the shared PostgreSQL"),
    };
    let server = PgServer::at(folder, port)?;
    let answers = sql::run(&server.socket_url(SUPERUSER, "postgres"), "SELECT 1").is_ok();
    Ok(answers.then_some(server))
}

fn start(folder: &Path, lock: &Path, linger: Duration) -> Result<PgServer> {
    // These files belong to a server that is gone, or whose start was interrupted.
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("removing {}", folder.display()));
        }
        _ => {}
    }
    fs::create_dir(folder).with_context(|| format!("making {}", folder.display()))?;
    let server = PgServer::new(folder)?;
    Supervisor { lock, folder, linger }.start(server.user())?;
    server.create(&[], &[])?;
    server.start()?;
    fs::write(folder.join("ready"), server.port.to_string()).context("noting that PostgreSQL is ready")?;
    Ok(server)
}

/// One for each user and target folder; short, for the path of its socket is limited.
fn folder() -> Result<PathBuf> {
    let target = std::path::absolute(target_directory()).context("asking where the target folder is")?;
    let user = rustix::process::geteuid().as_raw();
    let name = super::database::digest(&format!("{user} {}", target.display()));
    let place = std::env::var_os("TMPDIR").map_or_else(default_parent, PathBuf::from);
    Ok(place.join(format!("jeton-pg-{name:08x}")))
}

/// A database is some 300 files, which take ten times as long to create on some disks as in memory. The size of the memory
/// decides, and not its free part: all processes must choose the same folder.
fn default_parent() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let enough =
        statvfs(memory).is_ok_and(|shape| shape.f_blocks.saturating_mul(shape.f_frsize) >= ENOUGH_MEMORY);
    if enough { memory.to_owned() } else { std::env::temp_dir() }
}
