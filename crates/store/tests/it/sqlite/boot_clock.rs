//! What time it is by the clock of the store, when somebody sets the civil clock or the machine starts anew.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jeton_core::id::{AttemptId, ConnectionName, Generation};
use jeton_core::keep::attempt::{Attempt, AttemptStatus, Trigger};
use jeton_core::keep::claim::{Claim, ClaimAnswer};
use jeton_core::keep::connection::Connection;
use jeton_core::keep::ports::{
    AttemptFilter, AttemptLog as _, ChangeFeed as _, Commit, ConnectionStore as _, Fail, FailureEffect,
};
use jeton_core::keep::rejection::{Rejection, RejectionAnswer};
use jeton_core::seal::Fingerprint;
use jeton_core::time::{Clock, SystemClock, Timestamp};
use jeton_store::sqlite::inspect;
use jeton_store::{SqliteOptions, SqliteStore};

use super::fixture::{claim, commit, connect, folder, tokens};

const TEN_MINUTES: i64 = 600;

/// A machine whose civil clock can be set.
#[derive(Debug)]
struct Machine {
    civil: AtomicI64,
    counted: AtomicI64,
}

impl Machine {
    fn new() -> Arc<Self> {
        let civil = AtomicI64::new(SystemClock.now().as_secs());
        Arc::new(Self { civil, counted: AtomicI64::new(5_000) })
    }

    /// Time passes.
    fn pass(&self, secs: i64) {
        self.set(secs);
        self.counted.fetch_add(secs, Ordering::SeqCst);
    }

    /// Somebody sets the civil clock.
    fn set(&self, by: i64) {
        self.civil.fetch_add(by, Ordering::SeqCst);
    }

    /// The machine starts anew, with a civil clock that is `off` by so much.
    fn start_anew(&self, off: i64) {
        self.set(off);
        self.counted.store(7, Ordering::SeqCst);
    }
}

impl Clock for Machine {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.civil.load(Ordering::SeqCst))
    }

    fn uptime(&self) -> Duration {
        Duration::from_secs(self.counted.load(Ordering::SeqCst).unsigned_abs())
    }
}

fn open(path: &Path, machine: &Arc<Machine>, boot: Option<&str>) -> SqliteStore {
    let mut options = SqliteOptions::new(Arc::clone(machine) as _);
    options.boot = boot.map(str::to_owned);
    SqliteStore::open(path, options).unwrap()
}

fn name() -> ConnectionName {
    "acme".parse().unwrap()
}

async fn now(store: &SqliteStore) -> Timestamp {
    store.clock().await.unwrap().now
}

/// How many seconds ago, or ahead where that is negative, an instant is by the clock of the store.
async fn ago(store: &SqliteStore, instant: Timestamp) -> i64 {
    now(store).await.as_secs() - instant.as_secs()
}

async fn row(store: &SqliteStore) -> Connection {
    store.find(&name()).await.unwrap().unwrap()
}

async fn attempt(store: &SqliteStore, id: AttemptId) -> Attempt {
    store.find_attempt(id).await.unwrap().unwrap()
}

fn failed(claim: &Claim, effect: FailureEffect, cooldown: u64) -> Fail {
    Fail {
        connection: claim.connection.clone(),
        attempt: claim.attempt,
        generation: claim.generation,
        effect,
        code: "no_reply".to_owned(),
        http_status: None,
        message: "it broke off".to_owned(),
        provider_message: None,
        cooldown: Duration::from_secs(cooldown),
        due_in: Some(Duration::from_secs(cooldown)),
        kept_reply: None,
    }
}

/// A store of one process and that of another, with a connection, on a machine whose clock was set before.
fn two_processes(path: &Path, set: i64) -> (Arc<Machine>, SqliteStore, SqliteStore) {
    let machine = Machine::new();
    let one = open(path, &machine, Some("boot 1"));
    machine.pass(100);
    machine.set(set);
    let other = open(path, &machine, Some("boot 1"));
    (machine, one, other)
}

#[tokio::test]
async fn a_lease_of_another_process_runs_its_time_whoever_sets_the_clock() {
    for step in [TEN_MINUTES, -TEN_MINUTES] {
        for before in [0, -3_600, 3_600] {
            let (_folder, path) = folder();
            let (machine, one, other) = two_processes(&path, before);
            one.connect(connect("acme", 1)).await.unwrap();
            let first = claim("acme", 1);
            assert!(matches!(one.claim(first.clone()).await.unwrap(), ClaimAnswer::Won { .. }));
            machine.set(step);
            machine.pass(44);
            let until = now(&other).await + Duration::from_secs(1);
            let second = claim("acme", 1);
            assert_eq!(other.claim(second.clone()).await.unwrap(), ClaimAnswer::Held { until });
            assert_eq!(other.claim(first.clone()).await.unwrap(), ClaimAnswer::Won { until });
            assert_eq!(row(&other).await.lease.unwrap().until, until);
            let under_way = attempt(&other, first.attempt).await;
            assert_eq!(
                (under_way.lease_until, under_way.status_at(now(&other).await)),
                (Some(until), AttemptStatus::Running)
            );
            let due = async |store: &SqliteStore| {
                store.due(Duration::from_hours(2), None, 9).await.unwrap().1.len()
            };
            assert_eq!(due(&other).await, 0, "it is under a live lease");
            let failures = AttemptFilter { failed_only: true, ..AttemptFilter::default() };
            assert_eq!(other.list_attempts(&failures, 9).await.unwrap(), []);

            machine.pass(1);
            let interrupted = ClaimAnswer::Interrupted { attempt: first.attempt };
            assert_eq!(other.claim(second).await.unwrap(), interrupted, "and not longer");
            assert_eq!(other.list_attempts(&failures, 9).await.unwrap().len(), 1);
            machine.pass(900);
            assert_eq!(due(&one).await, 1);
        }
    }
}

#[tokio::test]
async fn a_cool_down_runs_its_time_whoever_sets_the_clock() {
    for step in [TEN_MINUTES, -TEN_MINUTES] {
        let (_folder, path) = folder();
        let (machine, one, other) = two_processes(&path, 77);
        one.connect(connect("acme", 1)).await.unwrap();
        let first = claim("acme", 1);
        one.claim(first.clone()).await.unwrap();
        one.fail(failed(&first, FailureEffect::Retry, 60)).await.unwrap();
        machine.set(step);
        machine.pass(59);
        let until = now(&other).await + Duration::from_secs(1);
        assert_eq!(other.claim(claim("acme", 1)).await.unwrap(), ClaimAnswer::CoolingDown { until });
        machine.pass(1);
        assert!(matches!(other.claim(claim("acme", 1)).await.unwrap(), ClaimAnswer::Won { .. }));
    }
}

#[tokio::test]
async fn what_a_hold_is_counted_from_stays_as_long_ago_as_it_is_whoever_sets_the_clock() {
    for step in [TEN_MINUTES, -TEN_MINUTES] {
        let (_folder, path) = folder();
        let (machine, one, other) = two_processes(&path, -77);
        one.connect(connect("acme", 1)).await.unwrap();
        let first = claim("acme", 1);
        one.claim(first.clone()).await.unwrap();
        machine.pass(3);
        machine.set(step);
        machine.pass(2);
        one.fail(failed(&first, FailureEffect::Unknown, 0)).await.unwrap();
        machine.set(step);
        machine.pass(4);
        let unknown = attempt(&other, first.attempt).await;
        assert_eq!(unknown.status, AttemptStatus::Interrupted);
        assert_eq!(ago(&other, unknown.started_at).await, 9);
        assert_eq!(ago(&other, unknown.completed_at.unwrap()).await, 4);

        // Its recovery closes it, and what is known of it stays; one whose process died is closed by the recovery.
        let second = Claim { recovers: Some(first.attempt), ..claim("acme", 1) };
        assert!(matches!(other.claim(second.clone()).await.unwrap(), ClaimAnswer::Won { .. }));
        machine.pass(60);
        machine.set(step);
        let third = Claim { recovers: Some(second.attempt), ..claim("acme", 1) };
        assert!(matches!(one.claim(third).await.unwrap(), ClaimAnswer::Won { .. }));
        let closed = attempt(&other, first.attempt).await.completed_at.unwrap();
        assert_eq!(ago(&other, closed).await, 64);
        let died = attempt(&one, second.attempt).await;
        for (instant, secs) in [(Some(died.started_at), 60), (died.lease_until, 15), (died.completed_at, 0)] {
            assert_eq!(ago(&one, instant.unwrap()).await, secs);
        }
    }
}

#[tokio::test]
async fn the_brake_on_rejections_holds_its_time_whoever_sets_the_clock() {
    for step in [TEN_MINUTES, -TEN_MINUTES] {
        let (_folder, path) = folder();
        let (machine, one, other) = two_processes(&path, 3);
        one.connect(connect("acme", 1)).await.unwrap();
        let first = Claim { trigger: Trigger::Rejected, ..claim("acme", 1) };
        one.claim(first.clone()).await.unwrap();
        let access = Fingerprint::from_bytes([9; 16]);
        let mut brought = tokens(2);
        brought.access_fingerprint = Some(access);
        brought.obtained_at = now(&one).await;
        one.commit(Commit { tokens: brought, ..commit(&first, 2) }).await.unwrap();
        let rejection = Rejection { connection: name(), fingerprint: access, helped_before: false };
        let reject = async |store: &SqliteStore| store.reject(rejection.clone()).await.unwrap();
        let braked = async |store: &SqliteStore, left| RejectionAnswer::BackingOff {
            until: now(store).await + Duration::from_secs(left),
        };
        assert_eq!(reject(&one).await, braked(&one, 60).await);
        machine.set(step);
        machine.pass(59);
        assert_eq!(reject(&other).await, braked(&other, 1).await);
        machine.pass(1);
        assert_eq!(reject(&other).await, RejectionAnswer::Refresh);
    }
}

/// Connects `acme` with an access token that lives for so many seconds, and is due then.
async fn connect_for(store: &SqliteStore, life: i64) {
    let (mut order, now) = (connect("acme", 1), now(store).await);
    let expiry = now + Duration::from_secs(life.unsigned_abs());
    order.due_at = expiry;
    let tokens = order.tokens.as_mut().unwrap();
    (tokens.obtained_at, tokens.access_expires_at) = (now, Some(expiry));
    store.connect(order).await.unwrap();
}

/// How many seconds the access token of `acme` has left, and whether the connection is due.
async fn left(store: &SqliteStore) -> (i64, bool) {
    let expiry = row(store).await.tokens.unwrap().access_expires_at.unwrap();
    let due = store.due(Duration::ZERO, None, 9).await.unwrap().1;
    (-ago(store, expiry).await, due.iter().any(|due| due.connection == name()))
}

/// Another change of the store, such as a heartbeat, by which it notices how its clocks do.
async fn something_else(store: &SqliteStore, number: u8) {
    store.connect(connect(&format!("other-{number}"), number)).await.unwrap();
}

#[tokio::test]
async fn a_life_lasts_as_long_as_it_does_whoever_sets_the_clock_back() {
    for before in [0, 86_400, -86_400] {
        let (_folder, path) = folder();
        let (machine, one, other) = two_processes(&path, before);
        connect_for(&one, 3_600).await;
        machine.set(-86_400);
        machine.pass(60);
        something_else(&one, 2).await;
        let late = open(&path, &machine, Some("boot 1"));
        for store in [&one, &other, &late] {
            assert_eq!(left(store).await, (3_540, false));
        }
        assert_eq!(now(&late).await, machine.now(), "what has just begun shows the civil time");
        machine.pass(3_540);
        assert_eq!(left(&late).await, (0, true));
    }
}

#[tokio::test]
async fn a_clock_that_was_ahead_while_a_token_was_obtained_does_not_make_it_live_longer() {
    let (_folder, path) = folder();
    let machine = Machine::new();
    machine.set(86_400);
    let store = open(&path, &machine, Some("boot 1"));
    connect_for(&store, 3_600).await;
    machine.set(-86_400);
    machine.pass(3_599);
    let late = open(&path, &machine, Some("boot 1"));
    assert_eq!((left(&store).await, left(&late).await), ((1, false), (1, false)));
    assert_eq!(
        row(&late).await.tokens.unwrap().access_expires_at,
        Some(machine.now() + Duration::from_secs(1))
    );
}

#[tokio::test]
async fn time_that_the_steady_clock_may_have_missed_is_taken_off_what_was_obtained_before() {
    let (_folder, path) = folder();
    let (machine, one, other) = two_processes(&path, 0);
    connect_for(&one, 3_600).await;
    // The machine was paused for ten minutes, and its civil clock was put right.
    machine.set(TEN_MINUTES);
    something_else(&one, 2).await;
    something_else(&other, 3).await;
    assert_eq!((left(&one).await, left(&other).await), ((3_000, false), (3_000, false)), "and once only");
    connect_again(&one, 3_600).await;
    something_else(&one, 4).await;
    assert_eq!(left(&one).await, (3_600, false), "what came after that lost nothing");
    // Whoever opens the store notices it as well.
    machine.set(3_600);
    let late = open(&path, &machine, Some("boot 1"));
    assert_eq!((left(&late).await, left(&one).await), ((0, true), (0, true)));
}

/// A refresh that brings an access token which lives for so many seconds.
async fn connect_again(store: &SqliteStore, life: i64) {
    let claim = claim("acme", 1);
    assert!(matches!(store.claim(claim.clone()).await.unwrap(), ClaimAnswer::Won { .. }));
    let (mut commit, now) = (commit(&claim, 2), now(store).await);
    let expiry = now + Duration::from_secs(life.unsigned_abs());
    (commit.tokens.obtained_at, commit.tokens.access_expires_at) = (now, Some(expiry));
    commit.due_at = Some(expiry);
    store.commit(commit).await.unwrap();
}

#[tokio::test]
async fn a_machine_that_starts_anew_takes_durations_up_where_they_were_whatever_its_clock_says() {
    let half_a_century = -50 * 365 * 86_400;
    for (off, lease, life) in [(0, 35, 3_590), (20, 15, 3_570), (half_a_century, 45, 0)] {
        let (_folder, path) = folder();
        let (machine, one, other) = two_processes(&path, -3_600);
        connect_for(&one, 3_600).await;
        let first = claim("acme", 1);
        one.claim(first.clone()).await.unwrap();
        machine.pass(10);
        drop((one, other));
        machine.start_anew(off);
        let store = open(&path, &machine, Some("boot 2"));
        let until = now(&store).await + Duration::from_secs(lease);
        assert_eq!(store.claim(claim("acme", 1)).await.unwrap(), ClaimAnswer::Held { until }, "{off}");
        assert_eq!(
            left(&store).await.0,
            life,
            "{off}: of a clock that is behind nobody knows how long it was off"
        );
        // The clock is put right at last, which ends no lease.
        machine.set(-half_a_century);
        assert_eq!(store.claim(claim("acme", 1)).await.unwrap(), ClaimAnswer::Held { until }, "{off}");
        machine.pass(45);
        let interrupted = ClaimAnswer::Interrupted { attempt: first.attempt };
        assert_eq!(store.claim(claim("acme", 1)).await.unwrap(), interrupted);
        assert_eq!(row(&store).await.generation, Generation(1));
    }
}

#[tokio::test]
async fn a_clock_that_stood_still_while_the_machine_was_off_costs_the_tokens_what_it_jumps_ahead() {
    let (_folder, path) = folder();
    let machine = Machine::new();
    let store = open(&path, &machine, Some("boot 1"));
    connect_for(&store, 3_600).await;
    drop(store);
    // A machine without a clock of its own begins where it ended, and learns the time a little later.
    machine.start_anew(1);
    let store = open(&path, &machine, Some("boot 2"));
    assert_eq!(left(&store).await, (3_599, false));
    machine.set(8 * 3_600);
    something_else(&store, 2).await;
    let (left, due) = left(&store).await;
    assert!(left < 0 && due, "{left}");
}

#[tokio::test]
async fn where_boots_have_no_name_each_process_takes_the_clock_up_where_the_civil_clock_says() {
    let (_folder, path) = folder();
    let machine = Machine::new();
    let store = open(&path, &machine, None);
    store.connect(connect("acme", 1)).await.unwrap();
    let first = claim("acme", 1);
    store.claim(first.clone()).await.unwrap();
    machine.pass(44);
    assert!(matches!(store.claim(claim("acme", 1)).await.unwrap(), ClaimAnswer::Held { .. }));
    machine.set(-600);
    machine.pass(1);
    let interrupted = ClaimAnswer::Interrupted { attempt: first.attempt };
    assert_eq!(store.claim(claim("acme", 1)).await.unwrap(), interrupted);
}

#[tokio::test]
async fn rows_of_an_earlier_version_mean_what_they_meant() {
    let (_folder, path) = folder();
    let machine = Machine::new();
    let store = open(&path, &machine, Some("boot 1"));
    connect_for(&store, 3_600).await;
    store.claim(claim("acme", 1)).await.unwrap();
    drop(store);
    // As an earlier version wrote them: civil instants, an hour behind a steady clock that said so.
    let editor = rusqlite::Connection::open(&path).unwrap();
    let hour = 3_600_000_000_i64;
    for (table, columns) in [
        ("tokens", "obtained_at access_expires_at"),
        ("connections", "due_at lease_until created_at"),
        ("attempts", "started_at lease_until old_expires_at"),
    ] {
        for column in columns.split(' ') {
            editor.execute(&format!("UPDATE {table} SET {column} = {column} - ?"), [hour]).unwrap();
        }
        if table != "tokens" {
            editor.execute(&format!("UPDATE {table} SET drift = ?"), [hour]).unwrap();
        }
    }
    editor.execute("DELETE FROM settings WHERE name = 'steady_mark'", ()).unwrap();
    drop(editor);
    for _ in 0..2 {
        let store = open(&path, &machine, Some("boot 1"));
        assert_eq!(left(&store).await.0, 3_600);
        let row = row(&store).await;
        assert_eq!(ago(&store, row.lease.unwrap().until).await, -45);
        let attempt = attempt(&store, row.open_attempt.unwrap()).await;
        assert_eq!(ago(&store, attempt.started_at).await, 0);
    }
}

#[tokio::test]
async fn whoever_only_looks_at_the_file_sees_a_lease_as_its_users_do() {
    let (_folder, path) = folder();
    let store = SqliteStore::open(&path, super::fixture::options()).unwrap();
    store.connect(connect("acme", 1)).await.unwrap();
    store.claim(claim("acme", 1)).await.unwrap();
    // As if the civil clock had been set back by an hour since.
    let editor = rusqlite::Connection::open(&path).unwrap();
    editor.execute("UPDATE store SET steady_offset = steady_offset + 3600000000", ()).unwrap();
    drop(store);
    let seen = inspect(&path, Duration::from_secs(1)).unwrap().unwrap().connections.remove(0);
    let until = seen.lease.unwrap().until;
    let store = SqliteStore::open(&path, super::fixture::options()).unwrap();
    let users = row(&store).await.lease.unwrap().until;
    assert!(until.since(users).max(users.since(until)) < Duration::from_secs(1), "{until} {users}");
    assert!(until < SystemClock.now());
}
