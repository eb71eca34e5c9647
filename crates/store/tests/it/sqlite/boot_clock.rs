//! What runs for a duration, when somebody sets the civil clock or the machine starts anew.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jeton_core::id::{AttemptId, ConnectionName, Generation};
use jeton_core::keep::attempt::{Attempt, AttemptStatus, Trigger};
use jeton_core::keep::claim::{Claim, ClaimAnswer};
use jeton_core::keep::connection::Connection;
use jeton_core::keep::ports::{
    AttemptFilter, AttemptLog as _, Commit, ConnectionStore as _, Fail, FailureEffect, Maintenance as _,
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
            let until = machine.now() + Duration::from_secs(1);
            let second = claim("acme", 1);
            assert_eq!(other.claim(second.clone()).await.unwrap(), ClaimAnswer::Held { until });
            assert_eq!(other.claim(first.clone()).await.unwrap(), ClaimAnswer::Won { until });
            assert_eq!(row(&other).await.lease.unwrap().until, until);
            let under_way = attempt(&other, first.attempt).await;
            assert_eq!(
                (under_way.lease_until, under_way.status_at(machine.now())),
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
        let until = machine.now() + Duration::from_secs(1);
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
        let ago = |secs| machine.now() - Duration::from_secs(secs);
        let unknown = attempt(&other, first.attempt).await;
        assert_eq!(unknown.status, AttemptStatus::Interrupted);
        assert_eq!((unknown.started_at, unknown.completed_at), (ago(9), Some(ago(4))));

        // Its recovery closes it, and what is known of it stays; one whose process died is closed by the recovery.
        let second = Claim { recovers: Some(first.attempt), ..claim("acme", 1) };
        assert!(matches!(other.claim(second.clone()).await.unwrap(), ClaimAnswer::Won { .. }));
        machine.pass(60);
        machine.set(step);
        let third = Claim { recovers: Some(second.attempt), ..claim("acme", 1) };
        assert!(matches!(one.claim(third).await.unwrap(), ClaimAnswer::Won { .. }));
        assert_eq!(attempt(&other, first.attempt).await.completed_at, Some(ago(64)));
        let died = attempt(&one, second.attempt).await;
        assert_eq!(
            (died.started_at, died.lease_until, died.completed_at),
            (ago(60), Some(ago(15)), Some(ago(0)))
        );
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
        brought.obtained_at = machine.now();
        one.commit(Commit { tokens: brought, ..commit(&first, 2) }).await.unwrap();
        let rejection = Rejection { connection: name(), fingerprint: access, helped_before: false };
        let reject = async |store: &SqliteStore| store.reject(rejection.clone()).await.unwrap();
        let braked = |left| RejectionAnswer::BackingOff { until: machine.now() + Duration::from_secs(left) };
        assert_eq!(reject(&one).await, braked(60));
        machine.set(step);
        machine.pass(59);
        assert_eq!(reject(&other).await, braked(1));
        machine.pass(1);
        assert_eq!(reject(&other).await, RejectionAnswer::Refresh);
    }
}

#[tokio::test]
async fn due_times_and_expiries_mean_the_civil_time() {
    let (_folder, path) = folder();
    let (machine, one, _other) = two_processes(&path, 0);
    let mut order = connect("acme", 1);
    let at = machine.now() + Duration::from_secs(30);
    order.due_at = at;
    order.tokens.as_mut().unwrap().access_expires_at = Some(at);
    one.connect(order).await.unwrap();
    machine.set(TEN_MINUTES);
    let (now, due) = one.due(Duration::ZERO, None, 9).await.unwrap();
    assert_eq!((now, due.len(), due[0].due_at), (machine.now(), 1, at));
    assert_eq!(one.now().await.unwrap(), machine.now());
    let row = row(&one).await;
    assert_eq!((row.due_at, row.tokens.unwrap().access_expires_at), (Some(at), Some(at)));
}

#[tokio::test]
async fn a_machine_that_starts_anew_takes_durations_up_where_they_were_whatever_its_clock_says() {
    let half_a_century = -50 * 365 * 86_400;
    for (off, left) in [(0, 35), (20, 15), (half_a_century, 45)] {
        let (_folder, path) = folder();
        let (machine, one, other) = two_processes(&path, -3_600);
        one.connect(connect("acme", 1)).await.unwrap();
        let first = claim("acme", 1);
        one.claim(first.clone()).await.unwrap();
        machine.pass(10);
        drop((one, other));
        machine.start_anew(off);
        let store = open(&path, &machine, Some("boot 2"));
        // The clock is put right at last, which changes nothing.
        machine.set(-half_a_century);
        let until = machine.now() + Duration::from_secs(left);
        assert_eq!(store.claim(claim("acme", 1)).await.unwrap(), ClaimAnswer::Held { until }, "{off}");
        machine.pass(45);
        let interrupted = ClaimAnswer::Interrupted { attempt: first.attempt };
        assert_eq!(store.claim(claim("acme", 1)).await.unwrap(), interrupted);
        assert_eq!(row(&store).await.generation, Generation(1));
    }
}

#[tokio::test]
async fn where_boots_have_no_name_durations_hang_on_the_civil_clock() {
    let (_folder, path) = folder();
    let machine = Machine::new();
    let store = open(&path, &machine, None);
    store.connect(connect("acme", 1)).await.unwrap();
    let first = claim("acme", 1);
    store.claim(first.clone()).await.unwrap();
    machine.set(44);
    assert!(matches!(store.claim(claim("acme", 1)).await.unwrap(), ClaimAnswer::Held { .. }));
    machine.set(1);
    let interrupted = ClaimAnswer::Interrupted { attempt: first.attempt };
    assert_eq!(store.claim(claim("acme", 1)).await.unwrap(), interrupted);
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
