//! Its transactions when something goes wrong around a COMMIT, and what they cost.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use jeton_core::audit::{AuditFilter, AuditLog as _};
use jeton_core::id::Generation;
use jeton_core::keep::claim::ClaimAnswer;
use jeton_core::keep::ports::{
    ChangeFeed as _, CommitAnswer, ConnectAnswer, ConnectionStore as _, StoreError,
};
use jeton_store::postgres::Counts;
use jeton_store::postgres::faults::PostgresHooks;
use jeton_store::{PostgresOptions, PostgresStore};
use jeton_testkit::{PgCluster, PgDatabase};

use super::fixture::{claim, commit, connect, connected, database, database_of, open, options};
use crate::requests;

/// Counts commits, and fails or cuts the connection before or after the next ones.
#[derive(Debug, Default)]
struct Scripted {
    url: String,
    commits: AtomicUsize,
    before: Mutex<Option<StoreError>>,
    cut_before: AtomicUsize,
    lose_after: AtomicUsize,
    panics: AtomicUsize,
}

fn one_of(count: &AtomicUsize) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1)).is_ok()
}

#[async_trait]
impl PostgresHooks for Scripted {
    async fn before_commit(&self) -> Result<(), StoreError> {
        assert!(!one_of(&self.panics), "broken on purpose");
        if one_of(&self.cut_before) {
            cut(&self.url);
        }
        self.before.lock().unwrap().take().map_or(Ok(()), Err)
    }

    async fn after_commit(&self) -> Result<(), StoreError> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        if one_of(&self.lose_after) { Err(broken()) } else { Ok(()) }
    }
}

fn broken() -> StoreError {
    StoreError::Unavailable("broken on purpose".into())
}

/// Ends all sessions of jeton in a database.
fn cut(name: &str) {
    let end = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND application_name = 'jeton'"
    );
    PgCluster::shared().unwrap().query("postgres", &end).unwrap();
}

async fn scripted(database: &PgDatabase) -> (PostgresStore, Arc<Scripted>) {
    let hooks = Arc::new(Scripted { url: database.name().to_owned(), ..Scripted::default() });
    let options = PostgresOptions { hooks: hooks.clone(), ..options(database.url()) };
    (PostgresStore::open(options).await.unwrap(), hooks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_and_a_commit_cost_one_transaction_of_two_round_trips_each() {
    let (_database, store) = connected().await;
    let spent = |before: Counts| {
        let now = store.counts();
        (
            now.transactions - before.transactions,
            now.round_trips - before.round_trips,
            now.statements - before.statements,
        )
    };
    let before = store.counts();
    let claim = claim("acme", 1);
    assert!(matches!(store.claim(claim.clone()).await, Ok(ClaimAnswer::Won { .. })));
    assert_eq!(spent(before), (1, 2, 8), "BEGIN, lock, row, attempt, instant; attempt, row, COMMIT");
    let before = store.counts();
    assert!(matches!(store.commit(commit(&claim, 2)).await, Ok(CommitAnswer::Committed { .. })));
    assert_eq!(spent(before), (1, 2, 10), "the same, the token set, and the reply that is not kept any more");
    let before = store.counts();
    store.find(&"acme".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(spent(before), (0, 1, 1), "a look");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_ended_before_its_commit_is_replaced_and_the_calls_are_sent_again() {
    let database = database();
    let (store, hooks) = scripted(&database).await;
    store.connect(connect("acme", 1)).await.unwrap();
    hooks.cut_before.store(2, Ordering::SeqCst);
    let claim = claim("acme", 1);
    assert!(matches!(store.claim(claim.clone()).await, Ok(ClaimAnswer::Won { .. })));
    assert_eq!(hooks.cut_before.load(Ordering::SeqCst), 0);
    hooks.cut_before.store(1, Ordering::SeqCst);
    let committed = CommitAnswer::Committed { generation: Generation(2) };
    assert_eq!(store.commit(commit(&claim, 2)).await.unwrap(), committed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_commit_that_nobody_was_told_of_every_call_finds_its_first_answer() {
    let database = database();
    let (store, hooks) = scripted(&database).await;
    let seen = store.revision().await.unwrap();
    hooks.lose_after.store(1, Ordering::SeqCst);
    let connected = ConnectAnswer::Connected { generation: Generation(1) };
    assert_eq!(store.connect(connect("acme", 1)).await.unwrap(), connected);
    assert_eq!(
        store.list_audit_rows(AuditFilter::default(), 10).await.unwrap().len(),
        1,
        "in the audit log once"
    );
    let claim = claim("acme", 1);
    hooks.lose_after.store(1, Ordering::SeqCst);
    assert!(matches!(store.claim(claim.clone()).await, Ok(ClaimAnswer::Won { .. })));
    hooks.lose_after.store(2, Ordering::SeqCst);
    let committed = CommitAnswer::Committed { generation: Generation(2) };
    assert_eq!(store.commit(commit(&claim, 2)).await.unwrap(), committed);
    assert_eq!(hooks.commits.load(Ordering::SeqCst), 7, "each was made again once, the last twice");
    // What was done and not known here is found all the same.
    store.wait_for_change(seen).await;
    assert_eq!(store.changed_since(seen, 10).await.unwrap()[0].as_ref().unwrap().generation, Generation(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_before_the_commit_fails_the_call_and_writes_nothing() {
    let database = database();
    let (store, hooks) = scripted(&database).await;
    *hooks.before.lock().unwrap() = Some(broken());
    requests::assert_fails_once_and_writes_nothing(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_one_call_spares_the_others() {
    let database = database();
    let options = PostgresOptions { pool: 2, ..options(database.url()) };
    let store = PostgresStore::open(options).await.unwrap();
    store.connect(connect("acme", 1)).await.unwrap();
    let nobody = commit(&claim("nobody", 9), 10);
    // There is one writer, for which the others wait.
    let (_, wrong, right) =
        tokio::join!(store.claim(claim("first", 3)), store.commit(nobody), store.claim(claim("acme", 1)));
    assert!(matches!(wrong, Err(StoreError::Inconsistent { .. })), "{wrong:?}");
    assert!(matches!(right, Ok(ClaimAnswer::Won { .. })), "{right:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_breaks_off_makes_room_for_the_next() {
    let database = database();
    let hooks = Arc::new(Scripted::default());
    // One writer: were it not given back, nobody would ever write again.
    let options = PostgresOptions { pool: 2, hooks: hooks.clone(), ..options(database.url()) };
    let store = PostgresStore::open(options).await.unwrap();
    hooks.panics.store(1, Ordering::SeqCst);
    let (one, other) = tokio::join!(store.connect(connect("acme", 1)), store.connect(connect("other", 2)));
    // The first to commit breaks off, whichever that is.
    let (broken, waiting) = if one.is_err() { (one, other) } else { (other, one) };
    let broken = broken.unwrap_err();
    assert!(broken.is_transient() && broken.to_string().contains("a fault of jeton"), "{broken}");
    waiting.unwrap();
    store.connect(connect("third", 3)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_work_of_a_call_goes_on_when_its_caller_has_gone() {
    let (database, store) = connected().await;
    {
        let ordered = store.claim(claim("acme", 1));
        // Polled once, so that it is ordered, and then given up by its caller.
        tokio::select! { biased; _ = ordered => {}, () = std::future::ready(()) => {} }
    }
    store.close().await;
    let store = open(database.url()).await;
    assert!(store.find(&"acme".parse().unwrap()).await.unwrap().unwrap().lease.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_do_not_notice_that_the_server_was_started_anew() {
    let cluster = PgCluster::private(&[("fsync", "off")], &[]).unwrap();
    let database = database_of(&cluster);
    let store = open(database.url()).await;
    let seen = store.revision().await.unwrap();
    store.connect(connect("acme", 1)).await.unwrap();
    cluster.stop().unwrap();
    let (answer, started) = tokio::join!(
        store.claim(claim("acme", 1)),
        tokio::task::spawn_blocking({
            // The claim is sent while nothing listens.
            move || {
                std::thread::sleep(Duration::from_millis(300));
                cluster.start().map(|()| cluster)
            }
        })
    );
    let _cluster = started.unwrap().unwrap();
    assert!(matches!(answer, Ok(ClaimAnswer::Won { .. })), "{answer:?}");
    assert_eq!(store.changed_since(seen, 10).await.unwrap().len(), 1);
    // It listens again: another node's change arrives.
    let other = open(database.url()).await;
    let seen = store.revision().await.unwrap();
    other.connect(connect("other", 2)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), store.wait_for_change(seen)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_come_back_is_unavailable_after_the_patience() {
    let cluster = PgCluster::private(&[("fsync", "off")], &[]).unwrap();
    let database = database_of(&cluster);
    let options = PostgresOptions { patience: Duration::from_millis(500), ..options(database.url()) };
    let store = PostgresStore::open(options).await.unwrap();
    store.connect(connect("acme", 1)).await.unwrap();
    cluster.pause().unwrap();
    let frozen = store.claim(claim("acme", 1)).await.unwrap_err();
    assert!(frozen.is_transient(), "{frozen}");
    cluster.resume().unwrap();
    cluster.kill().unwrap();
    let gone = store.claim(claim("acme", 1)).await.unwrap_err();
    assert!(gone.is_transient() && gone.to_string().contains("see that PostgreSQL runs there"), "{gone}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_connections_that_are_given_one_token_in_two_processes_exactly_one_gets_it() {
    let database = database();
    let (here, there) = (open(database.url()).await, open(database.url()).await);
    for round in 0..20 {
        let (left, right) = (format!("left-{round}"), format!("right-{round}"));
        let (one, other) =
            tokio::join!(here.connect(connect(&left, round)), there.connect(connect(&right, round)));
        let answers = [one.unwrap(), other.unwrap()];
        let connected = answers.iter().filter(|answer| matches!(answer, ConnectAnswer::Connected { .. }));
        assert_eq!(connected.count(), 1, "{answers:?}");
        assert!(answers.iter().any(|answer| matches!(answer, ConnectAnswer::HeldBy { .. })), "{answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_two_processes_over_the_same_connections_do_not_lock_each_other_up() {
    let database = database();
    let (here, there) = (open(database.url()).await, open(database.url()).await);
    let names: Vec<_> = (0..40).map(|number| format!("acme-{number}")).collect();
    for (name, number) in names.iter().zip(0..) {
        here.connect(connect(name, number)).await.unwrap();
    }
    for _ in 0..5 {
        let forward =
            try_join_all(names.iter().zip(0..).map(|(name, number)| here.claim(claim(name, number))));
        let backward = try_join_all(
            names
                .iter()
                .zip(0_u8..)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .map(|(name, number)| there.claim(claim(name, number))),
        );
        let (forward, backward) = tokio::join!(forward, backward);
        forward.unwrap();
        backward.unwrap();
    }
    let deadlocks = format!("SELECT deadlocks FROM pg_stat_database WHERE datname = '{}'", database.name());
    assert_eq!(database.query(&deadlocks).unwrap(), [[Some("0".to_owned())]]);
}
