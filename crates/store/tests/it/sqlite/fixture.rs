//! Files of the tests, and the shortest way to open them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jeton_core::time::SystemClock;
use jeton_store::{SqliteOptions, SqliteStore};
use tempfile::TempDir;

pub(super) use crate::requests::{claim, commit, connect, tokens};

pub(super) fn options() -> SqliteOptions {
    SqliteOptions::new(Arc::new(SystemClock))
}

pub(super) fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jeton.db");
    (folder, path)
}

pub(super) fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, options()).unwrap()
}
