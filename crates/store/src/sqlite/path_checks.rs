//! What is checked before SQLite sees the file: where it stands, and who may read it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jeton_core::keep::ports::StoreError;
use rustix::fs::Access;

use crate::network::network_file_system;

/// Only the owner may read and write.
const PRIVATE: u32 = 0o600;

/// Makes the file if it is missing, private from its first reading, and sees that it may be used as a store.
/// Answers its absolute path.
pub(super) fn prepare(path: &Path) -> Result<PathBuf, StoreError> {
    if path.is_dir() {
        return Err(refused(path, "is a folder", "name a file in it, such as jeton.db"));
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    check_folder(folder)?;
    create(path, folder)?;
    let path = path.canonicalize().map_err(|error| failed(path, &error))?;
    // The path behind a symbolic link counts: it is where the log of SQLite will stand.
    check_folder(path.parent().unwrap_or(folder))?;
    if !path.is_file() {
        return Err(refused(&path, "is not a plain file", "name a file for the database"));
    }
    tighten(&path)?;
    for suffix in ["-wal", "-shm"] {
        let mut beside = path.clone().into_os_string();
        beside.push(suffix);
        let beside = PathBuf::from(beside);
        if beside.exists() {
            tighten(&beside)?;
        }
    }
    Ok(path)
}

fn check_folder(folder: &Path) -> Result<(), StoreError> {
    if !folder.is_dir() {
        return Err(refused(
            folder,
            "is not a folder",
            "make it, or name a database file in one that is there",
        ));
    }
    let network = network_file_system(folder).map_err(|error| failed(folder, &error))?;
    if let Some(kind) = network {
        return Err(refused(
            folder,
            &format!("is on a network file system ({kind}), on which SQLite cannot keep tokens safe"),
            "name a database file on a local disk, or use PostgreSQL",
        ));
    }
    rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        let what = format!("cannot be written to ({})", io::Error::from(error));
        refused(folder, &what, "let this user write to it, or name a database file elsewhere")
    })
}

fn create(path: &Path, folder: &Path) -> Result<(), StoreError> {
    match OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(path) {
        Ok(file) => {
            // The mode above is cut by the umask; this one is not.
            file.set_permissions(Permissions::from_mode(PRIVATE))
                .and_then(|()| file.sync_all())
                .and_then(|()| File::open(folder)?.sync_all())
                .map_err(|error| failed(path, &error))
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(path, &error)),
    }
}

fn tighten(path: &Path) -> Result<(), StoreError> {
    let mode = match fs::metadata(path) {
        Ok(found) => found.permissions().mode() & 0o777,
        // The last process that used it has just closed it and taken its log away.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(path, &error)),
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
        "the database could be read by others; its mode is 600 now"
    );
    Ok(())
}

fn refused(path: &Path, what: &str, cure: &str) -> StoreError {
    StoreError::Refused(format!("{} {what}: {cure}", path.display()))
}

fn failed(path: &Path, error: &io::Error) -> StoreError {
    refused(
        path,
        &format!("cannot be used as a database ({error})"),
        "see that this user may read and write it",
    )
}
