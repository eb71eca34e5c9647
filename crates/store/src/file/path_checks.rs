//! Whether a path may be a token file, and what its errors say.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use jeton_core::keep::ports::StoreError;

use crate::path_checks::{folder_of, make_private, refuse_network, refused};

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
    refuse_network(folder_of(&path), "token file")?;
    make_private(&path, "token file")?;
    Ok(path)
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
