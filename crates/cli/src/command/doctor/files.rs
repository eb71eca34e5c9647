//! The data directory and its files: usable, and by nobody else.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jeton_keeper::KeySource;
use rustix::fs::Access;

use super::report::Report;
use crate::settings::{Settings, StoreSettings};

const DIRECTORY: &str = "data dir";
const FILES: &str = "files";

/// Mode bits that let others read, or write.
const OTHERS_READ: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;

pub(super) fn check(settings: &Settings, report: &mut Report) {
    if directory(&settings.data_dir, report) {
        files(settings, report);
    }
}

/// Checks the data directory. Returns whether its files can be checked.
fn directory(path: &Path, report: &mut Report) -> bool {
    let shown = path.display();
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let text =
                format!("{shown} does not exist yet; the first `jeton connect` or `jeton serve` creates it");
            report.warning(DIRECTORY, text);
            return false;
        }
        Err(error) => {
            report.fault(DIRECTORY, format!("{shown} cannot be read: {error}; {CURE}"));
            return false;
        }
    };
    if !found.is_dir() {
        report.fault(DIRECTORY, format!("{shown} is not a folder; {CURE}"));
        return false;
    }
    match jeton_store::network_file_system(path) {
        Ok(None) => {}
        Ok(Some(network)) => {
            let text = format!(
                "{shown} is on a network file system ({network}), whose locks are unreliable; give `data_dir` a path on a \
                 local disk"
            );
            report.fault(DIRECTORY, text);
        }
        Err(error) => report.warning(DIRECTORY, format!("the file system of {shown} is unknown: {error}")),
    }
    if let Err(error) = rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK) {
        let error = io::Error::from(error);
        report.fault(DIRECTORY, format!("{shown} cannot be written to: {error}; {CURE}"));
        return true;
    }
    if !is_owned(path, &found, report) {
        return true;
    }
    let mode = found.permissions().mode();
    if mode & OTHERS_WRITE != 0 {
        let text = format!("others can put files into {shown}; run `chmod 700 {shown}`");
        report.fault(DIRECTORY, text);
    } else if mode & OTHERS_READ != 0 {
        report.warning(DIRECTORY, format!("others can list {shown}; run `chmod 700 {shown}`"));
    } else {
        report.ok(DIRECTORY, format!("{shown} is private and can be written to"));
    }
    true
}

const CURE: &str = "give `data_dir` (or JETON__DATA_DIR) a folder that this user may write to";

/// Whether this user owns the folder: another user cannot read the files that root creates there.
fn is_owned(path: &Path, found: &Metadata, report: &mut Report) -> bool {
    let (owner, me) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner != me {
        let text = format!(
            "{} belongs to user {owner} and this command runs as user {me}; run every jeton of this installation as user \
             {owner}, or one cannot read the files of the other",
            path.display()
        );
        report.warning(DIRECTORY, text);
    }
    owner == me
}

fn files(settings: &Settings, report: &mut Report) {
    let mut all = Vec::new();
    if let Err(error) = files_below(&settings.data_dir, &mut all) {
        report.fault(FILES, format!("{} cannot be read: {error}", settings.data_dir.display()));
        return;
    }
    if let StoreSettings::Sqlite(database) = &settings.store {
        for suffix in ["", "-wal", "-shm"] {
            let mut path = database.clone().into_os_string();
            path.push(suffix);
            all.push(PathBuf::from(path));
        }
    }
    all.sort();
    all.dedup();
    // The key is checked with the store that it opens.
    if let KeySource::File(key) = &settings.key {
        all.retain(|path| path != key);
    }
    let mut count = 0;
    for path in all {
        match fs::metadata(&path) {
            // An empty file shows nothing; SQLite gives its empty log the mode that the database has.
            Ok(found) if found.permissions().mode() & OTHERS_READ == 0 || found.len() == 0 => count += 1,
            Ok(_) => {
                let shown = path.display();
                let text = format!(
                    "{shown} can be read by others; run `chmod 600 {shown}`, and consider who may have read it"
                );
                report.fault(FILES, text);
                count += 1;
            }
            // Log files of the database exist only while a process uses it.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => report.fault(FILES, format!("{} cannot be read: {error}", path.display())),
        }
    }
    report.ok(FILES, format!("{count} files are private"));
}

/// The files of a folder and of all folders in it.
fn files_below(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_below(&entry.path(), files)?,
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    Ok(())
}
