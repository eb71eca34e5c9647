//! Where PostgreSQL's programs lie, and the ordinary user who may run them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// Users that a root process runs servers as: PostgreSQL refuses root.
const ORDINARY: [&str; 2] = ["postgres", "nobody"];

/// The folder of PostgreSQL's programs: of the newest that Debian has installed, or in the search path.
pub fn postgres_programs() -> Option<PathBuf> {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let versions = debian.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let newest = versions.max().map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = newest.into_iter().chain(std::env::split_paths(&path)).collect();
    folders.into_iter().find(|folder| ["initdb", "pg_ctl"].iter().all(|name| folder.join(name).is_file()))
}

/// A user by whom servers are run.
#[derive(Clone, Copy, Debug)]
pub(super) struct User {
    /// Absent for the user of this very process.
    other: Option<(u32, u32)>,
}

impl User {
    /// This user, unless it is root.
    pub(super) fn ordinary() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { other: None });
        }
        let users = fs::read_to_string("/etc/passwd").context("reading the users of this machine")?;
        let found = ORDINARY.iter().find_map(|name| find(&users, name));
        let found = found
            .context("no server may run as root, and there is neither a user `postgres` nor `nobody`")?;
        Ok(Self { other: Some(found) })
    }

    /// A command that this user runs in a folder, with nothing of our environment but the search path.
    pub(super) fn command(self, program: &Path, folder: &Path) -> Command {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new(program);
        command.current_dir(folder).env_clear().env("LC_ALL", "C").stdin(Stdio::null());
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        if let Some((user, group)) = self.other {
            command.uid(user).gid(group);
        }
        command
    }

    /// Gives a file or folder to this user.
    pub(super) fn own(self, path: &Path) -> Result<()> {
        let Some((user, group)) = self.other else { return Ok(()) };
        std::os::unix::fs::chown(path, Some(user), Some(group))
            .with_context(|| format!("giving {} to the user of servers", path.display()))
    }
}

fn find(users: &str, name: &str) -> Option<(u32, u32)> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let users = "postgres2:x:1:2::/:/bin/sh\npostgres:x:101:104:Postgres,,,:/var:/bin/bash\n";
        assert_eq!(find(users, "postgres"), Some((101, 104)));
        assert_eq!(find(users, "nobody"), None);
    }
}
