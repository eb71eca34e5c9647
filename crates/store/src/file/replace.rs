//! Putting a file in the place of another one: whole or not at all, durable before it returns.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use crate::path_checks::{PRIVATE, beside, folder_of, give_to_owner_of_folder};

/// Puts `text` in the place of what `path` holds, and answers the new file. Only one process may do so at a time.
///
/// The temporary file beside it always has the same name: what a process left that was killed is taken away by the next.
pub(super) fn replace(path: &Path, text: &[u8]) -> io::Result<File> {
    let temporary = beside(path, ".new");
    remove(&temporary)?;
    let written = write(&temporary, text).and_then(|file| {
        fs::rename(&temporary, path)?;
        Ok(file)
    });
    if written.is_err() {
        // On a full disk every byte counts; the error that matters is the first one.
        let _ = remove(&temporary);
    }
    let file = written?;
    File::open(folder_of(path))?.sync_all()?;
    Ok(file)
}

fn write(temporary: &Path, text: &[u8]) -> io::Result<File> {
    let mut file =
        OpenOptions::new().read(true).write(true).create_new(true).mode(PRIVATE).open(temporary)?;
    give_to_owner_of_folder(temporary);
    // The mode above is cut by the umask; this one is not.
    file.set_permissions(Permissions::from_mode(PRIVATE))?;
    file.write_all(text)?;
    file.sync_all()?;
    Ok(file)
}

fn remove(temporary: &Path) -> io::Result<()> {
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
