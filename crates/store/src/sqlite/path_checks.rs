//! What is checked before SQLite sees the file: where it stands, and who may read it.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jeton_core::keep::ports::StoreError;
use rustix::fs::Access;

use crate::path_checks::{
    PRIVATE, beside, folder_of, give_to_owner_of_folder, make_private, refuse_network, refused, unreadable,
};

/// What the file is called in messages.
const THING: &str = "database";

/// Makes the file if it is missing, private from its first reading, and sees that it may be used as a store.
/// Answers its absolute path.
pub(super) fn prepare(path: &Path) -> Result<PathBuf, StoreError> {
    if path.is_dir() {
        return Err(refused(path, "is a folder", "name a file in it, such as jeton.db"));
    }
    let folder = folder_of(path);
    check_folder(folder)?;
    create(path, folder)?;
    let path = path.canonicalize().map_err(|error| unreadable(path, THING, &error))?;
    // The path behind a symbolic link counts: it is where the log of SQLite will stand.
    check_folder(path.parent().unwrap_or(folder))?;
    if !path.is_file() {
        return Err(refused(&path, "is not a plain file", "name a file for the database"));
    }
    for suffix in ["", "-wal", "-shm"] {
        make_private(&beside(&path, suffix), THING)?;
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
    refuse_network(folder, THING)?;
    rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        let what = format!("cannot be written to ({})", io::Error::from(error));
        refused(folder, &what, "let this user write to it, or name a database file elsewhere")
    })
}

fn create(path: &Path, folder: &Path) -> Result<(), StoreError> {
    match OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(path) {
        Ok(file) => {
            give_to_owner_of_folder(path);
            // The mode above is cut by the umask; this one is not.
            file.set_permissions(Permissions::from_mode(PRIVATE))
                .and_then(|()| file.sync_all())
                .and_then(|()| File::open(folder)?.sync_all())
                .map_err(|error| unreadable(path, THING, &error))
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(unreadable(path, THING, &error)),
    }
}
