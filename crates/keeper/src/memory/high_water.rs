//! How far the store had come when this data directory last spent something.
//!
//! A backup that is put back in place of the database carries the right instance id, and refresh tokens that were spent
//! since it was made. So the data directory keeps a mark of its own, the *high-water mark*: a revision that the store
//! had reached when a claim was won. A store that is below it has gone back in time, and the installation is on hold.
//!
//! The mark is written before the claimed token is sent, without fsync: what a loss of power takes away is a mark a
//! little too low. A file that is missing or torn says nothing, and the next won claim writes it anew.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use jeton_core::id::Revision;

use crate::private_file::open_private;

const FILE: &str = "high-water";

/// The longest file that can be a mark, in bytes.
const LONGEST: u64 = 64;

/// Why nothing may be spent until a person says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The data directory does not know the instance id of the store: one of the two was copied or restored.
    Copied,
    /// The data directory was used on another machine before: one of the two has a copy of the disk.
    OtherMachine,
    /// Another data directory has the same identity, in another file: one of the two is on a clone of the disk.
    Cloned,
    /// The store is behind what this data directory has seen of it: a backup was put in its place.
    RolledBack {
        /// Where the store is.
        found: Revision,
        /// Where it had been.
        seen: Revision,
    },
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Copied => f.write_str("the database was copied or restored"),
            Self::OtherMachine => f.write_str("its data directory was used on another machine before"),
            Self::Cloned => f.write_str("its data directory is there twice, as on the clone of a disk"),
            Self::RolledBack { found, seen } if found >= seen => write!(
                f,
                "the store went back in time: a connection is older at change {} than it was at change {}",
                found.0, seen.0
            ),
            Self::RolledBack { found, seen } => write!(
                f,
                "the store went back in time: it is at change {}, and this installation has spent tokens up to change {}",
                found.0, seen.0
            ),
        }
    }
}

/// What this process knows of the mark, and of the store.
#[derive(Debug)]
pub(crate) struct HighWater {
    data_dir: PathBuf,
    seen: AtomicU64,
    marked: AtomicU64,
}

impl HighWater {
    /// `seen` is a revision that the store has reached.
    pub(crate) fn new(data_dir: PathBuf, seen: Revision) -> Self {
        Self { data_dir, seen: AtomicU64::new(seen.0), marked: AtomicU64::new(0) }
    }

    /// Where the mark is.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The store has reached this revision.
    pub(crate) fn see(&self, revision: Revision) {
        self.seen.fetch_max(revision.0, Ordering::AcqRel);
    }

    /// The last revision of the store that this process has seen.
    pub(crate) fn seen(&self) -> Revision {
        Revision(self.seen.load(Ordering::Acquire))
    }

    /// Writes the mark, unless it is as high already. A mark that cannot be written stops nobody: it is the second
    /// line of defence, and the log tells.
    pub(crate) fn mark(&self, revision: Revision) {
        if self.marked.load(Ordering::Acquire) >= revision.0 {
            return;
        }
        match raise(&self.data_dir, revision) {
            Ok(()) => {
                self.marked.fetch_max(revision.0, Ordering::AcqRel);
            }
            Err(error) => {
                let path = self.data_dir.join(FILE);
                tracing::warn!(path = %path.display(), %error, "the high-water mark cannot be written");
            }
        }
    }
}

/// The mark; `None` where there is none, or what is there was not written to its end.
pub(crate) fn read(data_dir: &Path) -> io::Result<Option<Revision>> {
    match File::open(data_dir.join(FILE)) {
        Ok(mut file) => {
            file.lock_shared()?;
            let mark = parse(&mut file)?;
            if mark.is_none() {
                tracing::warn!(
                    path = %data_dir.join(FILE).display(),
                    "the high-water mark is torn and tells nothing; the next refresh writes it anew"
                );
            }
            Ok(mark)
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Sets the mark, lower than before too: a person, or the founding of a new store, begins anew.
pub(crate) fn reset(data_dir: &Path, revision: Revision) -> io::Result<()> {
    write(data_dir, |_| Some(revision))
}

/// Sets the mark, unless it is as high already.
pub(crate) fn raise(folder: &Path, revision: Revision) -> io::Result<()> {
    write(folder, |mark| mark.max(Some(revision)))
}

/// Puts `change` of the mark in its place, while no other process looks.
fn write(data_dir: &Path, change: impl FnOnce(Option<Revision>) -> Option<Revision>) -> io::Result<()> {
    let path = data_dir.join(FILE);
    let mut file =
        open_private(OpenOptions::new().read(true).write(true).create(true).truncate(false), &path)?;
    file.lock()?;
    let before = parse(&mut file)?;
    let after = change(before);
    if let Some(mark) = after.filter(|_| after != before) {
        file.seek(SeekFrom::Start(0))?;
        file.write_all(text(mark).as_bytes())?;
        file.set_len(text(mark).len() as u64)?;
    }
    Ok(())
}

/// The number twice: what was torn differs.
fn text(mark: Revision) -> String {
    format!("{:020} {:020}\n", mark.0, mark.0)
}

fn parse(file: &mut File) -> io::Result<Option<Revision>> {
    let mut found = Vec::new();
    file.take(LONGEST).read_to_end(&mut found)?;
    let mark =
        std::str::from_utf8(&found).ok().and_then(|found| found.split_whitespace().next()?.parse().ok());
    Ok(mark.map(Revision).filter(|mark| text(*mark).as_bytes() == found))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_mark_is_private_and_goes_up_only() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), None);
        let (one, other) = (
            HighWater::new(folder.path().into(), Revision(0)),
            HighWater::new(folder.path().into(), Revision(0)),
        );
        one.mark(Revision(7));
        other.mark(Revision(5));
        assert_eq!(read(folder.path()).unwrap(), Some(Revision(7)), "another process never lowers it");
        one.mark(Revision(u64::MAX));
        assert_eq!(read(folder.path()).unwrap(), Some(Revision(u64::MAX)));
        reset(folder.path(), Revision(3)).unwrap();
        assert_eq!(read(folder.path()).unwrap(), Some(Revision(3)));
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
    }

    #[test]
    fn a_torn_mark_says_nothing_and_is_written_anew() {
        for torn in
            ["", "00000000000000000009 000000", "gibberish\n", "00000000000000000019 00000000000000000007\n"]
        {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(FILE), torn).unwrap();
            assert_eq!(read(folder.path()).unwrap(), None, "{torn:?}");
            HighWater::new(folder.path().into(), Revision(0)).mark(Revision(4));
            assert_eq!(read(folder.path()).unwrap(), Some(Revision(4)), "{torn:?}");
        }
    }
}
