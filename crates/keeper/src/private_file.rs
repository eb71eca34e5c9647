//! New files: private, and of the owner of their folder. What root makes in a data directory, a service must be able to use.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::Path;

/// Opens a file as `options` say; one that is made has mode 0600. Where root does so, it belongs to the owner of its folder.
///
/// # Errors
/// What the operating system says.
pub fn open_private(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.mode(0o600).open(path)?;
    give_to_owner_of_folder(path);
    Ok(file)
}

/// Makes a folder, and those above it, that only its owner can open, unless it exists. Where root makes it, it belongs to the
/// owner of the folder that it is in.
///
/// # Errors
/// What the operating system says.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        create_private_dir(above)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            give_to_owner_of_folder(path);
            Ok(())
        }
    }
}

/// What root makes gets the owner of its folder. A file system that knows no owners leaves it as it is.
pub fn give_to_owner_of_folder(path: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let give = || {
        let (folder, made) = (fs::metadata(folder)?, fs::metadata(path)?);
        if (folder.uid(), folder.gid()) == (made.uid(), made.gid()) {
            return Ok(());
        }
        chown(path, Some(folder.uid()), Some(folder.gid()))
    };
    if let Err(error) = give() {
        tracing::warn!(path = %path.display(), %error, "a file stays root's: the owner of its folder may not be able to use it");
    }
}

/// What somebody does about a file that is another user's; empty where that is not the cause.
pub(crate) fn owner_cure(path: &Path, error: &io::Error) -> String {
    let me = rustix::process::geteuid().as_raw();
    match fs::metadata(path) {
        Ok(found) if error.kind() == io::ErrorKind::PermissionDenied && found.uid() != me => format!(
            "; it belongs to user {}, and this is user {me}: run `chown {me} {}` as root",
            found.uid(),
            path.display()
        ),
        _ => String::new(),
    }
}
