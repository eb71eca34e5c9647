//! What SQLite says, in the words of the ports.

use std::path::Path;

use jeton_core::keep::ports::StoreError;
use rusqlite::{ErrorCode, ffi};

/// Why a call on a connection failed, before it is put into the words of the ports.
#[derive(Debug)]
pub enum SqliteError {
    /// SQLite says so.
    Sql(rusqlite::Error),
    /// We say so.
    Store(StoreError),
}

impl From<rusqlite::Error> for SqliteError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for SqliteError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl SqliteError {
    /// The error that callers get. It names the file and the cure; SQLite's own messages hold no values.
    pub(super) fn into_store_error(self, path: &Path) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Sql(error) => explain(&error, path),
        }
    }

    /// Whether the connection must be opened anew before it is used again.
    pub(super) fn breaks_connection(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::SystemIoFailure
                    | ErrorCode::CannotOpen
                    | ErrorCode::DatabaseCorrupt
                    | ErrorCode::NotADatabase
                    | ErrorCode::FileLockingProtocolFailed
                    | ErrorCode::ApiMisuse
                    | ErrorCode::OutOfMemory
            )
        )
    }
}

/// Whether another process or connection holds what is needed.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn explain(error: &rusqlite::Error, path: &Path) -> StoreError {
    let path = path.display();
    let Some(code) = error.sqlite_error_code() else {
        return StoreError::Refused(format!(
            "the database {path} answered what no statement of ours asks: {error}"
        ));
    };
    let full =
        || StoreError::Unwritable(format!("no space is left for the database {path}: free some on its disk"));
    // The index of the log, which even reading needs, finds no room.
    if error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_SHMSIZE) {
        return full();
    }
    match code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::Unavailable(format!(
            "another process holds the database {path}; if it lasts, look for a long transaction or a stopped process"
        )),
        ErrorCode::DiskFull => full(),
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied => {
            StoreError::Unwritable(format!(
                "the database {path} is read-only: let this user write to the file and to its folder"
            ))
        }
        ErrorCode::CannotOpen => StoreError::Unavailable(format!(
            "the database {path} cannot be opened: see that its folder is there and that this user may write to it"
        )),
        ErrorCode::NotADatabase => StoreError::Refused(format!(
            "{path} is not a SQLite database: name another file, or move this one away"
        )),
        ErrorCode::DatabaseCorrupt => {
            StoreError::Refused(format!("the database {path} is damaged: restore a backup ({error})"))
        }
        ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch => StoreError::Refused(format!(
            "the database {path} refused a row that breaks its rules, which is a fault of jeton: {error}"
        )),
        _ => StoreError::Unavailable(format!("the database {path} failed: {error}")),
    }
}
