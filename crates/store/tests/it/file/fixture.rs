//! A folder with a token file, and the shortest way to refresh what is in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jeton_core::id::Generation;
use jeton_core::keep::claim::{Claim, ClaimAnswer};
use jeton_core::keep::connection::Connection;
use jeton_core::keep::ports::{Commit, CommitAnswer, ConnectionStore as _};
use jeton_core::time::SystemClock;
use jeton_store::{FileOptions, FileStore};
use tempfile::TempDir;

use crate::requests::{claim, commit};

pub(super) fn options() -> FileOptions {
    FileOptions::new(Arc::new(SystemClock))
}

pub(super) fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.json");
    (folder, path)
}

pub(super) fn open(path: &Path) -> FileStore {
    FileStore::open(path, options()).unwrap()
}

pub(super) async fn row(store: &FileStore) -> Connection {
    store.find(&"acme".parse().unwrap()).await.unwrap().unwrap()
}

/// A claim of what the row holds; of an attempt whose process died it is the recovery.
pub(super) fn claim_of(row: &Connection) -> Claim {
    Claim {
        generation: row.generation,
        spends: row.tokens.as_ref().and_then(|tokens| tokens.refresh_fingerprint),
        recovers: row.open_attempt,
        ..claim("acme", 1)
    }
}

/// What a claim brought: a token set that is told from its neighbours by its generation.
pub(super) fn commit_of(claim: &Claim) -> Commit {
    let number = u8::try_from((claim.generation.0 + 1) % 251).unwrap();
    Commit { replaces: claim.spends, ..commit(claim, number) }
}

/// Refreshes once, and answers the generation.
pub(super) async fn refresh(store: &FileStore) -> Generation {
    let claim = claim_of(&row(store).await);
    assert!(matches!(store.claim(claim.clone()).await.unwrap(), ClaimAnswer::Won { .. }));
    match store.commit(commit_of(&claim)).await.unwrap() {
        CommitAnswer::Committed { generation } => generation,
        CommitAnswer::Orphaned { .. } => panic!("nobody else refreshes"),
    }
}
