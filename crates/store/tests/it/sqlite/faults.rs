//! Its writer when something goes wrong around a COMMIT.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use jeton_core::audit::{AuditFilter, AuditLog as _};
use jeton_core::id::Generation;
use jeton_core::keep::claim::ClaimAnswer;
use jeton_core::keep::ports::{
    ChangeFeed as _, CommitAnswer, ConnectAnswer, ConnectionStore as _, StoreError,
};
use jeton_store::sqlite::faults::SqliteHooks;
use jeton_store::{SqliteOptions, SqliteStore};

use super::fixture::{claim, commit, connect, folder, open, options};
use crate::requests;

/// Counts commits, and fails before or after the next ones.
#[derive(Debug, Default)]
struct Scripted {
    commits: AtomicUsize,
    before: Mutex<Option<StoreError>>,
    after: Mutex<Option<StoreError>>,
    pause: Mutex<Duration>,
}

impl SqliteHooks for Scripted {
    fn before_commit(&self) -> Result<(), StoreError> {
        std::thread::sleep(*self.pause.lock().unwrap());
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.before.lock().unwrap().take().map_or(Ok(()), Err)
    }

    fn after_commit(&self) -> Result<(), StoreError> {
        self.after.lock().unwrap().take().map_or(Ok(()), Err)
    }
}

fn scripted(path: &Path) -> (SqliteStore, Arc<Scripted>) {
    let hooks = Arc::new(Scripted::default());
    (SqliteStore::open(path, SqliteOptions { hooks: hooks.clone(), ..options() }).unwrap(), hooks)
}

fn broken() -> StoreError {
    StoreError::Unavailable("broken on purpose".into())
}

#[tokio::test]
async fn calls_that_wait_share_one_commit() {
    let (_folder, path) = folder();
    let (store, hooks) = scripted(&path);
    *hooks.pause.lock().unwrap() = Duration::from_millis(50);
    let names: Vec<_> = (0..200).map(|number| format!("acme-{number}")).collect();
    let answers =
        join_all(names.iter().zip(0..).map(|(name, number)| store.connect(connect(name, number)))).await;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(ConnectAnswer::Connected { .. }))));
    let commits = hooks.commits.load(Ordering::SeqCst);
    assert!(commits < 20, "{commits} commits for 200 calls");
    assert_eq!(store.list(None, 1000).await.unwrap().len(), 200);
}

#[tokio::test]
async fn a_claim_and_a_commit_cost_one_transaction_each() {
    let (_folder, path) = folder();
    let (store, hooks) = scripted(&path);
    store.connect(connect("acme", 1)).await.unwrap();
    let claim = claim("acme", 1);
    store.claim(claim.clone()).await.unwrap();
    assert_eq!(hooks.commits.load(Ordering::SeqCst), 2);
    store.commit(commit(&claim, 2)).await.unwrap();
    assert_eq!(hooks.commits.load(Ordering::SeqCst), 3);
    store.find(&claim.connection).await.unwrap();
    assert_eq!(hooks.commits.load(Ordering::SeqCst), 3, "a look costs none");
}

#[tokio::test]
async fn a_failed_commit_fails_every_call_of_its_batch_and_writes_nothing() {
    let (_folder, path) = folder();
    let (store, hooks) = scripted(&path);
    *hooks.before.lock().unwrap() = Some(broken());
    requests::assert_fails_once_and_writes_nothing(&store).await;
}

#[tokio::test]
async fn after_a_commit_of_unknown_outcome_every_call_finds_its_first_answer() {
    let (_folder, path) = folder();
    let (store, hooks) = scripted(&path);
    let order = connect("acme", 1);
    *hooks.after.lock().unwrap() = Some(broken());
    store.connect(order.clone()).await.unwrap_err();
    assert_eq!(store.connect(order).await.unwrap(), ConnectAnswer::Connected { generation: Generation(1) });
    assert_eq!(
        store.list_audit_rows(AuditFilter::default(), 10).await.unwrap().len(),
        1,
        "in the audit log once"
    );
    let claim = claim("acme", 1);
    *hooks.after.lock().unwrap() = Some(broken());
    store.claim(claim.clone()).await.unwrap_err();
    assert!(matches!(store.claim(claim.clone()).await.unwrap(), ClaimAnswer::Won { .. }));
    let commit = commit(&claim, 2);
    let seen = store.revision().await.unwrap();
    *hooks.after.lock().unwrap() = Some(broken());
    store.commit(commit.clone()).await.unwrap_err();
    store.wait_for_change(seen).await;
    let answer = store.commit(commit).await.unwrap();
    assert_eq!(answer, CommitAnswer::Committed { generation: Generation(2) });
}

#[tokio::test]
async fn an_error_of_one_call_rolls_back_that_call_alone() {
    let (_folder, path) = folder();
    let (store, hooks) = scripted(&path);
    store.connect(connect("acme", 1)).await.unwrap();
    *hooks.pause.lock().unwrap() = Duration::from_millis(100);
    let nobody = commit(&claim("nobody", 9), 10);
    // The first call occupies the writer, so that the others share the next batch.
    let (_, wrong, right) =
        tokio::join!(store.connect(connect("first", 3)), store.commit(nobody), store.claim(claim("acme", 1)));
    assert!(matches!(wrong, Err(StoreError::Inconsistent { .. })));
    assert!(matches!(right, Ok(ClaimAnswer::Won { .. })));
}

#[tokio::test]
async fn a_full_disk_and_a_read_only_one_are_unwritable_and_pass() {
    let (_folder, path) = folder();
    let store = open(&path);
    store.connect(connect("acme", 1)).await.unwrap();
    let claim = claim("acme", 1);
    store.claim(claim.clone()).await.unwrap();
    let commit = commit(&claim, 2);
    store.faults().set_full(true);
    let full = store.commit(commit.clone()).await.unwrap_err();
    assert!(matches!(&full, StoreError::Unwritable(text) if text.contains("no space is left")), "{full}");
    assert_eq!(
        store.find(&commit.connection).await.unwrap().unwrap().generation,
        Generation(1),
        "it still reads"
    );
    store.faults().set_full(false);
    store.faults().set_read_only(true);
    let read_only = store.commit(commit.clone()).await.unwrap_err();
    assert!(
        matches!(&read_only, StoreError::Unwritable(text) if text.contains("is read-only")),
        "{read_only}"
    );
    store.faults().set_read_only(false);
    let answer = store.commit(commit).await.unwrap();
    assert_eq!(answer, CommitAnswer::Committed { generation: Generation(2) });
}

#[tokio::test]
async fn a_lock_that_another_process_keeps_is_waited_for_and_then_unavailable() {
    let (_folder, path) = folder();
    let store =
        SqliteStore::open(&path, SqliteOptions { busy_timeout: Duration::from_millis(200), ..options() })
            .unwrap();
    let rival = rusqlite::Connection::open(&path).unwrap();
    rival.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.connect(connect("acme", 1)).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Unavailable(text) if text.contains("another process holds")),
        "{error}"
    );
    assert_eq!(store.find(&"acme".parse().unwrap()).await.unwrap(), None, "reading goes on");
    let waiting = store.connect(connect("acme", 1));
    let release = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        rival.execute_batch("COMMIT").unwrap();
    };
    assert!(matches!(tokio::join!(waiting, release).0, Ok(ConnectAnswer::Connected { .. })));
}
