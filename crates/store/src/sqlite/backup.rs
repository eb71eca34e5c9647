//! A copy of a database, made while others use it, and put back.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jeton_core::keep::ports::StoreError;
use rusqlite::{Connection, OpenFlags};

use super::errors::SqliteError;
use super::inspect::{SqliteInspection, check_in_use, inspect};
use crate::path_checks::{PRIVATE, beside, folder_of, give_to_owner_of_folder, refused};

/// What a database is called while it is copied into its place.
const UNDER_WAY: &str = ".restoring";

/// What the database is called that another has taken the place of.
const REPLACED: &str = ".before-restore";

/// The files of a database, by what is behind its name.
const PARTS: [&str; 3] = ["", "-wal", "-shm"];

/// Copies the database as it is now into the new file `copy`, which only its owner can read. Others may read and write meanwhile.
/// Returns what the copy holds. What was made is removed again where that fails.
///
/// # Errors
/// There is no database, `copy` exists or cannot be made, or the copy is damaged.
pub fn backup(database: &Path, copy: &Path, busy_timeout: Duration) -> Result<SqliteInspection, StoreError> {
    check_in_use(database, busy_timeout)?;
    let file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(copy);
    let file = file.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => refused(copy, "exists already", "name a new file for the backup"),
        _ => unwritable(copy, &error),
    })?;
    let copied = copy_into(database, copy, busy_timeout)
        .map_err(|failure| failure.into_store_error(database))
        .and_then(|()| synced(&file, copy).map_err(|error| unwritable(copy, &error)))
        .and_then(|()| usable(copy, busy_timeout));
    copied.inspect_err(|_| {
        // The error that is reported says more than one about the rest of the copy.
        let _ = fs::remove_file(copy);
    })
}

/// `VACUUM INTO` reads one snapshot, and writes a whole database without a write-ahead log into an empty file.
fn copy_into(database: &Path, copy: &Path, busy_timeout: Duration) -> Result<(), SqliteError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(database, flags | OpenFlags::SQLITE_OPEN_EXRESCODE)?;
    conn.busy_timeout(busy_timeout)?;
    let name = copy.to_str().ok_or_else(|| refused(copy, "is no text in UTF-8", "name another file"))?;
    conn.execute("VACUUM INTO ?1", [name])?;
    Ok(())
}

/// Reads a backup through, and returns what it holds.
///
/// # Errors
/// It is not there, is damaged or empty, or belongs to another program or a newer jeton.
pub fn usable(copy: &Path, busy_timeout: Duration) -> Result<SqliteInspection, StoreError> {
    let wrong = |what: &str| refused(copy, what, "name a backup of a database of jeton");
    match inspect(copy, busy_timeout)? {
        None => Err(wrong("does not exist")),
        Some(found) if !found.damage.is_empty() => {
            Err(wrong(&format!("is damaged ({})", found.damage.join(", "))))
        }
        Some(found) if found.is_empty => Err(wrong("is an empty database")),
        Some(found) => Ok(found),
    }
}

/// Puts a copy of a backup in the place of the database, and keeps what was there under another name, which is returned. No process
/// may use the database.
///
/// # Errors
/// A file cannot be written or renamed, or one is there that an earlier restore kept. The database is as it was then.
pub fn restore(copy: &Path, database: &Path) -> Result<Option<PathBuf>, StoreError> {
    let kept = beside(database, REPLACED);
    if kept.exists() {
        return Err(refused(&kept, "is there since an earlier restore", "move it away, or remove it"));
    }
    let new = beside(database, UNDER_WAY);
    let put = || {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(&new)?;
        give_to_owner_of_folder(&new);
        io::copy(&mut File::open(copy)?, &mut file)?;
        synced(&file, &new)?;
        let replaced = database.exists();
        for part in PARTS {
            match fs::rename(beside(database, part), beside(&kept, part)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&new, database)?;
        synced(&file, database)?;
        Ok(replaced.then(|| kept.clone()))
    };
    put().map_err(|error| unwritable(database, &error))
}

/// Waits until the file and its entry in the folder are on the disk.
fn synced(file: &File, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    File::open(folder_of(path))?.sync_all()
}

fn unwritable(path: &Path, error: &io::Error) -> StoreError {
    refused(
        path,
        &format!("cannot be written ({error})"),
        "name a file in a folder that this user may write to, with space",
    )
}
