//! How all test processes of a target folder come to use one cluster.
//!
//! Each process holds a shared lock for as long as it lives. The first that finds no server starts one, alone, with the
//! supervisor that ends it when the lock has been free for a while.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::statvfs;

use super::server::{SUPERUSER, Server};
use super::supervisor::{self, Supervisor};
use super::{PgCluster, sql};
use crate::paths::target_directory;

/// Longer than it takes from the last test of one program to the first of the next.
const LINGERS: Duration = Duration::from_secs(20);

/// More bytes than the databases of a test run and the log of their changes ever take together.
const ROOMY: u64 = 4 << 30;

/// Joins the shared cluster, once a process.
pub(super) fn join() -> Result<&'static PgCluster> {
    static JOINED: OnceLock<PgCluster> = OnceLock::new();
    static JOINING: Mutex<()> = Mutex::new(());
    let _alone = JOINING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(joined) = JOINED.get() {
        return Ok(joined);
    }
    let cluster = join_or_start(&folder()?, LINGERS)?;
    Ok(JOINED.get_or_init(|| cluster))
}

pub(super) fn join_or_start(folder: &Path, lingers: Duration) -> Result<PgCluster> {
    let lock = folder.with_extension("lock");
    // Waits while a supervisor is ending the server before.
    let needed = supervisor::need(&lock)?;
    let starting = supervisor::open(&folder.with_extension("start"))?;
    starting.lock().context("waiting for whoever starts PostgreSQL")?;
    let server = match running(folder)? {
        Some(server) => server,
        None => start(folder, &lock, lingers)?,
    };
    Ok(PgCluster { server, _needed: needed, private: false })
}

/// The server of this folder, if it answers.
fn running(folder: &Path) -> Result<Option<Server>> {
    let port = match fs::read_to_string(folder.join("ready")) {
        Ok(text) => text.trim().parse().context("reading the port of the shared PostgreSQL")?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context("looking for the shared PostgreSQL"),
    };
    let server = Server::at(folder, port)?;
    let answers = sql::run(&server.socket_url(SUPERUSER, "postgres"), "SELECT 1").is_ok();
    Ok(answers.then_some(server))
}

fn start(folder: &Path, lock: &Path, lingers: Duration) -> Result<Server> {
    // What lies here belongs to a server that is gone, or whose start was cut off.
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("removing {}", folder.display()));
        }
        _ => {}
    }
    fs::create_dir(folder).with_context(|| format!("making {}", folder.display()))?;
    let server = Server::found(folder)?;
    Supervisor { lock, folder, lingers }.start(server.user())?;
    server.create(&[], &[])?;
    server.start()?;
    fs::write(folder.join("ready"), server.port.to_string()).context("noting that PostgreSQL is ready")?;
    Ok(server)
}

/// One for each user and target folder; short, for the sake of its socket.
fn folder() -> Result<PathBuf> {
    let target = std::path::absolute(target_directory()).context("asking where the target folder is")?;
    let user = rustix::process::geteuid().as_raw();
    let name = super::database::digest(&format!("{user} {}", target.display()));
    let place = std::env::var_os("TMPDIR").map_or_else(usual_place, PathBuf::from);
    Ok(place.join(format!("jeton-pg-{name:08x}")))
}

/// A database is some 300 files, and a file system on a disk may take ten times as long to make them as memory does. How
/// large memory is decides, and not what is free of it: all processes must come to the same place.
fn usual_place() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let roomy = statvfs(memory).is_ok_and(|shape| shape.f_blocks.saturating_mul(shape.f_frsize) >= ROOMY);
    if roomy { memory.to_owned() } else { std::env::temp_dir() }
}
