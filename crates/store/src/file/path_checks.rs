//! Where a token file stands, who may read it, and what its errors say.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use jeton_core::keep::ports::StoreError;

use crate::network::network_file_system;

/// Only the owner may read and write.
pub(super) const PRIVATE: u32 = 0o600;

/// The folder of a file.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The path with `suffix` behind its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(suffix);
    beside.into()
}

/// Sees that the path may be a token file; answers where it really is.
pub(super) fn prepare(path: &Path) -> Result<PathBuf, StoreError> {
    // The path behind a symbolic link counts: a new file would take the place of the link.
    let path = match path.canonicalize() {
        Ok(real) => real,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folder = folder_of(path);
            let name = path.file_name().filter(|_| folder.is_dir()).ok_or_else(|| {
                refused(folder, "is not a folder", "make it, or name a token file in one that is there")
            })?;
            folder.canonicalize().map_err(|error| explain(folder, "read", &error))?.join(name)
        }
        Err(error) => return Err(explain(path, "read", &error)),
    };
    if path.is_dir() {
        return Err(refused(&path, "is a folder", "name a file in it, such as tokens.json"));
    }
    if path.exists() && !path.is_file() {
        return Err(refused(&path, "is not a plain file", "name a file for the tokens"));
    }
    refuse_network(folder_of(&path))?;
    tighten(&path)?;
    Ok(path)
}

fn refuse_network(folder: &Path) -> Result<(), StoreError> {
    let network = network_file_system(folder).map_err(|error| explain(folder, "read", &error))?;
    network.map_or(Ok(()), |kind| {
        let what = format!("is on a network file system ({kind}), whose locks cannot be trusted");
        Err(refused(folder, &what, "name a token file on a local disk, or use PostgreSQL"))
    })
}

fn tighten(path: &Path) -> Result<(), StoreError> {
    let mode = match fs::metadata(path) {
        Ok(found) => found.permissions().mode() & 0o777,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(explain(path, "read", &error)),
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
        "the token file could be read by others; its mode is 600 now"
    );
    Ok(())
}

/// It will not be used as it is.
pub(super) fn refused(path: &Path, what: &str, cure: &str) -> StoreError {
    StoreError::Refused(format!("{} {what}: {cure}", path.display()))
}

/// What the operating system says when something could not be `done`, with the cure.
pub(super) fn explain(path: &Path, done: &str, error: &io::Error) -> StoreError {
    let shown = path.display();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            StoreError::Unwritable(format!("no space is left for {shown} ({error}): free some on its disk"))
        }
        ErrorKind::ReadOnlyFilesystem => {
            StoreError::Unwritable(format!("{shown} is on a disk that is read-only ({error})"))
        }
        ErrorKind::PermissionDenied => StoreError::Unwritable(format!(
            "{shown} cannot be {done} ({error}): let this user read and write the file and its folder"
        )),
        _ => StoreError::Unavailable(format!("{shown} cannot be {done} ({error})")),
    }
}
