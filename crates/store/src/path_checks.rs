//! What stores that stand in a file check of its path: whose disk it is on, and who may read it.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use jeton_core::keep::ports::StoreError;

use crate::network::network_file_system;

/// Only the owner may read and write.
pub(crate) const PRIVATE: u32 = 0o600;

/// The folder of a file.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The path with `suffix` behind its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(suffix);
    beside.into()
}

/// Refuses a folder on a network file system. `thing` is what would stand in it, such as a database.
pub(crate) fn refuse_network(folder: &Path, thing: &str) -> Result<(), StoreError> {
    let network = network_file_system(folder).map_err(|error| unreadable(folder, thing, &error))?;
    network.map_or(Ok(()), |kind| {
        let what = format!("is on a network file system ({kind}), whose locks cannot be trusted");
        Err(refused(folder, &what, &format!("name a {thing} on a local disk, or use PostgreSQL")))
    })
}

/// Takes the right to read a file from everybody but its owner. A file that is not there is left out.
pub(crate) fn make_private(path: &Path, thing: &str) -> Result<(), StoreError> {
    let mode = match fs::metadata(path) {
        Ok(found) => found.permissions().mode() & 0o777,
        // The last process that used it may have just taken it away.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(path, thing, &error)),
    };
    if mode | 0o700 == 0o700 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(PRIVATE)).map_err(|error| {
        let what = format!("can be read by others (mode {mode:o}), and its mode cannot be changed ({error})");
        refused(path, &what, "as its owner run `chmod 600` on it")
    })?;
    tracing::warn!(
        path = %path.display(),
        was = format!("{mode:o}"),
        "the {thing} could be read by others; its mode is 600 now"
    );
    Ok(())
}

/// Gives a file that root made to the owner of its folder, who must be able to use it. A file system that knows no owners leaves
/// it as it is.
pub(crate) fn give_to_owner_of_folder(path: &Path) {
    let (Ok(folder), Ok(made)) = (fs::metadata(folder_of(path)), fs::metadata(path)) else { return };
    if !rustix::process::geteuid().is_root() || (folder.uid(), folder.gid()) == (made.uid(), made.gid()) {
        return;
    }
    if let Err(error) = chown(path, Some(folder.uid()), Some(folder.gid())) {
        tracing::warn!(path = %path.display(), %error, "a file stays root's: the owner of its folder may not be able to use it");
    }
}

/// It will not be used as it is.
pub(crate) fn refused(path: &Path, what: &str, cure: &str) -> StoreError {
    StoreError::Refused(format!("{} {what}: {cure}", path.display()))
}

/// The operating system does not let us use it.
pub(crate) fn unreadable(path: &Path, thing: &str, error: &io::Error) -> StoreError {
    let what = format!("cannot be used as a {thing} ({error})");
    refused(path, &what, "see that this user may read and write it")
}
