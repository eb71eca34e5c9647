//! Who ends a server when nobody needs it any more: a small program beside it, so that a test run that is killed leaves
//! nothing behind.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};

use super::programs::User;

const PROGRAM: &str = include_str!("supervisor.sh");

/// Waits until nobody holds `lock`, ends the server in `folder` and removes the folder.
pub(super) struct Supervisor<'a> {
    pub(super) lock: &'a Path,
    pub(super) folder: &'a Path,
    /// How long it waits for others who need the server; zero where there is one user.
    pub(super) linger: Duration,
}

impl Supervisor<'_> {
    /// Starts it as this user, in a process group of its own, where no Ctrl-C reaches it.
    pub(super) fn start(&self, user: User) -> Result<()> {
        let mut command = user.command(Path::new("sh"), Path::new("/"));
        command.arg("-c").arg(PROGRAM).arg("jeton-test-supervisor").arg(self.lock).arg(self.folder);
        command.arg(self.linger.as_secs().to_string());
        command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        // Nobody waits for it: it outlives whoever has started it.
        command.spawn().map(drop).context("starting the supervisor of a server")
    }
}

/// Says that this process needs what the lock file stands for, until the value is dropped.
pub(super) fn hold_lock(lock: &Path) -> Result<File> {
    let file = open_lock(lock)?;
    file.lock_shared().with_context(|| format!("locking {}", lock.display()))?;
    Ok(file)
}

/// Opens a lock file, which the user of servers can read too.
pub(super) fn open_lock(lock: &Path) -> Result<File> {
    let said = || format!("opening {}", lock.display());
    let file = File::options().create(true).append(true).open(lock).with_context(said)?;
    fs::set_permissions(lock, Permissions::from_mode(0o644)).with_context(said)?;
    Ok(file)
}
