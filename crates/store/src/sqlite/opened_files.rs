//! Whether the files of an open database are still where they were: SQLite goes on with a file that has lost its name, and all that it
//! writes there is lost when the process ends.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use jeton_core::keep::ports::StoreError;
use parking_lot::Mutex;

use crate::path_checks::beside;

/// What tells one file from another: its device and its number there.
type FileId = Option<(u64, u64)>;

/// The files of an open database, as they were when it was opened.
#[derive(Debug)]
pub(super) struct OpenedFiles {
    database: PathBuf,
    id: FileId,
    /// The write-ahead log and its index.
    beside: Mutex<[(PathBuf, FileId); 2]>,
}

impl OpenedFiles {
    /// `id` is what [`file_id`] said before the database was opened. A connection is open, so that the files beside it exist.
    pub(super) fn new(database: &Path, id: FileId) -> Self {
        let files = Self {
            database: database.to_owned(),
            id,
            beside: Mutex::new(["-wal", "-shm"].map(|suffix| (beside(database, suffix), None))),
        };
        files.note_beside();
        files
    }

    /// The log may be another one since the database was opened again.
    pub(super) fn note_beside(&self) {
        for (path, id) in &mut *self.beside.lock() {
            *id = file_id(path);
        }
    }

    /// The writer has closed the database: SQLite removes the log with its last connection.
    pub(super) fn forget_beside(&self) {
        for (_, id) in &mut *self.beside.lock() {
            *id = None;
        }
    }

    /// Sees that the database file is the one that was opened.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], until the very file is back.
    pub(super) fn verify_database(&self) -> Result<(), StoreError> {
        verify(&self.database, self.id)
    }

    /// Sees that all files are those that were opened.
    ///
    /// # Errors
    /// As [`OpenedFiles::verify_database`].
    pub(super) fn verify(&self) -> Result<(), StoreError> {
        self.verify_database()?;
        self.beside.lock().iter().filter(|(_, id)| id.is_some()).try_for_each(|(path, id)| verify(path, *id))
    }
}

/// The file that a path leads to now.
pub(super) fn file_id(path: &Path) -> FileId {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

fn verify(path: &Path, id: FileId) -> Result<(), StoreError> {
    let now = file_id(path);
    if now == id {
        return Ok(());
    }
    let what = if now.is_none() { "removed" } else { "replaced" };
    Err(StoreError::Unavailable(format!(
        "{} was {what} while it was open: put the same file back, or stop this program and restore the database",
        path.display()
    )))
}
