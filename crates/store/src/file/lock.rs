//! The lock beside a token file. It belongs to the operating system and dies with its holder.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use jeton_core::keep::ports::StoreError;

use super::path_checks;
use crate::path_checks::{PRIVATE, beside, give_to_owner_of_folder};

/// The first pause between two looks at a lock that others hold; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Who else may hold the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LockMode {
    /// Others that read.
    Shared,
    /// Nobody.
    Exclusive,
}

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the token file `path`, waiting for others for at most `patience`.
    pub(super) fn take(path: &Path, mode: LockMode, patience: Duration) -> Result<Self, StoreError> {
        let beside = beside(path, ".lock");
        let mut waited = Duration::ZERO;
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(lock) =
                try_take(&beside, mode).map_err(|error| path_checks::explain(&beside, "locked", &error))?
            {
                return Ok(lock);
            }
            if waited >= patience {
                return Err(StoreError::Unavailable(format!(
                    "another process holds the token file {}; if it lasts, look for a stopped process",
                    path.display()
                )));
            }
            std::thread::sleep(pause);
            waited += pause;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

fn try_take(path: &Path, mode: LockMode) -> io::Result<Option<Lock>> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(PRIVATE).open(path)?;
    give_to_owner_of_folder(path);
    let taken = match mode {
        LockMode::Shared => file.try_lock_shared(),
        LockMode::Exclusive => file.try_lock(),
    };
    match taken {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Somebody may have taken the file away before it was locked: then others lock another one of that name.
    let (held, there) = (file.metadata()?, fs::metadata(path));
    let same = there.is_ok_and(|there| (there.dev(), there.ino()) == (held.dev(), held.ino()));
    Ok(same.then_some(Lock { _file: file }))
}
