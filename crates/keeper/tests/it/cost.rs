//! What a refresh and a token request ask of the store. Processes are opened here and not started: nobody asks but the callers of a
//! test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jeton_core::keep::ports::StoreError;
use jeton_core::keep::provider::{OldAccess, PolicyOverrides};
use jeton_store::postgres::Counts;
use jeton_store::sqlite::faults::SqliteHooks;
use tokio::time::Instant;

use crate::fixture::{ACME, Fixture, Options};
use crate::process::Process;

/// Counts what is committed.
#[derive(Debug, Default)]
struct Commits(AtomicU64);

impl SqliteHooks for Commits {
    fn before_commit(&self) -> Result<(), StoreError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// What a process asked of its store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cost {
    calls: u64,
    commits: u64,
    statements: u64,
    /// What PostgreSQL was sent; nothing on SQLite.
    sent: Counts,
}

impl Cost {
    fn since(self, before: Self) -> Self {
        Self {
            calls: self.calls - before.calls,
            commits: self.commits - before.commits,
            statements: self.statements - before.statements,
            sent: Counts {
                transactions: self.sent.transactions - before.sent.transactions,
                statements: self.sent.statements - before.sent.statements,
                round_trips: self.sent.round_trips - before.sent.round_trips,
            },
        }
    }
}

/// A process whose store is watched.
struct Watched {
    process: Process,
    commits: Arc<Commits>,
}

impl Watched {
    async fn open(fixture: &Fixture) -> Self {
        let commits = Arc::new(Commits::default());
        let process = fixture.process_with(fixture.options.settings.clone(), commits.clone()).await;
        Self { process, commits }
    }

    fn cost(&self) -> Cost {
        Cost {
            calls: self.process.probe.calls(),
            commits: self.commits.0.load(Ordering::SeqCst),
            statements: self.process.store.statements(),
            sent: self.process.store.counts().unwrap_or_default(),
        }
    }

    fn is_postgres(&self) -> bool {
        self.process.store.counts().is_some()
    }

    #[expect(clippy::print_stdout, reason = "the figures are what the test is run for, besides its bounds")]
    fn print(&self, what: &str, cost: Cost) {
        let store = if self.is_postgres() { "PostgreSQL" } else { "SQLite" };
        println!("{store}, {what}: {cost:?}");
    }
}

#[tokio::test]
async fn an_undisturbed_refresh_costs_two_transactions_the_claim_and_the_commit() {
    const REFRESHES: u64 = 20;
    let fixture = Fixture::start(Options::default()).await;
    let watched = Watched::open(&fixture).await;
    watched.process.connect(ACME, fixture.expired_grant()).await;
    watched.process.token(ACME).await.unwrap();
    let before = watched.cost();
    for _ in 0..REFRESHES {
        fixture.clock.advance(Duration::from_mins(2));
        watched.process.token(ACME).await.unwrap();
    }
    let cost = watched.cost().since(before);
    watched.print("20 refreshes", cost);
    assert_eq!(fixture.requests() as u64, 1 + REFRESHES);
    assert_eq!(cost.commits, 2 * REFRESHES, "a claim and a commit: {cost:?}");
    assert_eq!(cost.calls, 5 * REFRESHES, "and looks before, after the commit and at the end: {cost:?}");
    // Those of SQLite begin and end the transactions of its readers, too, and two of them note how far its clock has come, which it
    // does every few seconds.
    let each = if watched.is_postgres() { 19 } else { 35 };
    assert_eq!(cost.statements, each * REFRESHES, "{cost:?}");
    if watched.is_postgres() {
        assert_eq!(cost.sent.transactions, 2 * REFRESHES, "{cost:?}");
        assert_eq!(cost.sent.round_trips, 7 * REFRESHES, "two for a transaction, one for a look: {cost:?}");
    }
}

#[tokio::test]
async fn a_vend_from_memory_costs_the_store_nothing() {
    let fixture = Fixture::start(Options::default()).await;
    let watched = Watched::open(&fixture).await;
    watched.process.connect(ACME, fixture.living_grant(Duration::from_hours(1))).await;
    watched.process.token(ACME).await.unwrap();
    let before = watched.cost();
    for _ in 0..1_000 {
        watched.process.token(ACME).await.unwrap();
    }
    let cost = watched.cost().since(before);
    watched.print("1,000 vends", cost);
    assert_eq!(cost, Cost::default());
}

#[tokio::test]
async fn where_the_old_token_dies_a_caller_costs_one_read_for_each_age_of_memory() {
    let policy = PolicyOverrides { old_access: Some(OldAccess::Dies), ..PolicyOverrides::default() };
    let fixture = Fixture::start(Options { policy, ..Options::default() }).await;
    let watched = Watched::open(&fixture).await;
    watched.process.connect(ACME, fixture.living_grant(Duration::from_hours(1))).await;
    watched.process.token(ACME).await.unwrap();
    let (before, started, mut vends) = (watched.cost(), Instant::now(), 0_u64);
    while started.elapsed() < Duration::from_millis(1_600) {
        watched.process.token(ACME).await.unwrap();
        vends += 1;
        // Lets the reading go on, which shares this thread.
        tokio::task::yield_now().await;
    }
    let ages = started.elapsed().as_millis() / fixture.options.settings.memory_age.as_millis();
    let cost = watched.cost().since(before);
    watched.print(&format!("{vends} vends in {ages} ages of memory, the old token dies"), cost);
    assert!(vends > 100, "{vends}");
    assert!((1..=ages + 1).contains(&u128::from(cost.calls)), "{cost:?} in {ages} ages of memory");
    assert_eq!(cost.commits, 0, "a look writes nothing");
    let each = if watched.is_postgres() { 1 } else { 3 };
    assert_eq!(cost.statements, each * cost.calls, "{cost:?}");
    if watched.is_postgres() {
        let looks = cost.calls;
        assert_eq!(cost.sent, Counts { transactions: 0, statements: looks, round_trips: looks });
    }
}
