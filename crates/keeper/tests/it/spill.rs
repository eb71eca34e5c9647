//! A reply that the store cannot take is durable all the same.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::keep::attempt::AttemptStatus;
use jeton_emulator::{Fault, FaultKind};
use jeton_keeper::{Settings, SlotState, TokenError, inspect_spill_slots};
use jeton_store::sqlite::faults::NoSqliteHooks;
use tokio::time::{Instant, sleep};

use crate::fixture::{ACME, Fixture, Options, eventually, holding, names, short_settings};
use crate::process::Process;

/// The spill slots and what they hold; a free one begins with eight zeros.
pub(crate) fn filled_slots(fixture: &Fixture) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = fixture.place().data_dir.join("spill");
    let mut filled = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the slots were made") {
        let path = entry.expect("the folder can be read").path();
        let bytes = std::fs::read(&path).expect("the slot can be read");
        if bytes[..8] != [0; 8] {
            filled.push((path, bytes));
        }
    }
    filled
}

fn holds(bytes: &[u8], needle: &str) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}

/// Takes the store away from a process between the claim and the reply.
pub(crate) async fn lose_the_store(fixture: &Fixture, process: &Process, full: bool) {
    fixture.until_accepted(1).await;
    if full {
        process.store.faults().set_full(true);
    } else {
        process.store.faults().set_read_only(true);
    }
    eventually("the reply is spilled", || !filled_slots(fixture).is_empty()).await;
}

async fn a_spilled_reply_comes_back(full: bool) {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(400))]);
    let watch = async {
        lose_the_store(&fixture, &process, full).await;
        let slots = filled_slots(&fixture);
        let (path, bytes) = &slots[0];
        assert_eq!(
            std::fs::metadata(path).expect("the fixture is ready").permissions().mode() & 0o777,
            0o600
        );
        assert!(!holds(bytes, "emr_") && !holds(bytes, "ema_"), "the slot holds a token in clear");
        let seen = inspect_spill_slots(&fixture.place().data_dir).expect("the slots can be read");
        let (free, filled): (Vec<_>, Vec<_>) =
            seen.into_iter().map(|(_, state)| state).partition(|state| *state == SlotState::Free);
        assert_eq!(free.len() + 1, short_settings().spill_slots);
        assert!(
            matches!(&filled[..], [SlotState::Filled { connection, .. }] if connection.as_str() == ACME),
            "{filled:?}"
        );
        assert_eq!(process.row(ACME).await.generation.0, 1);
        process.store.faults().set_full(false);
        process.store.faults().set_read_only(false);
    };
    let (token, ()) = tokio::join!(process.token(ACME), watch);
    assert!(fixture.emulator.accepts(token.expect("the fixture is ready").access.reveal()));
    assert_eq!(process.row(ACME).await.generation.0, 2);
    assert_eq!(filled_slots(&fixture), []);
    fixture.assert_spent_once();
    // The chain goes on.
    process.force(ACME).await.expect("the fixture is ready");
    fixture.assert_spent_once();
}

#[tokio::test]
async fn a_reply_that_a_read_only_store_refuses_is_spilled_sealed_and_comes_back_by_itself() {
    a_spilled_reply_comes_back(false).await;
}

#[tokio::test]
async fn a_reply_that_a_full_disk_refuses_is_spilled_sealed_and_comes_back_by_itself() {
    a_spilled_reply_comes_back(true).await;
}

#[tokio::test]
async fn a_reply_that_cannot_be_read_is_spilled_too_and_kept_when_the_store_is_back() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    let late = Fault::new(FaultKind::Garbage).slow_after(Duration::from_millis(400));
    fixture.emulator.enqueue([late]);
    let watch = async {
        lose_the_store(&fixture, &process, false).await;
        let slots = filled_slots(&fixture);
        assert!(!holds(&slots[0].1, "It works!"), "what cannot be read may hold a token");
        process.store.faults().set_read_only(false);
    };
    let (token, ()) = tokio::join!(process.token(ACME), watch);
    assert!(matches!(token, Err(TokenError::Interrupted { .. })), "{token:?}");
    let attempt = process.last_attempt(ACME).await;
    assert_eq!(attempt.status, AttemptStatus::Interrupted);
    assert!(process.store.find_kept_reply(attempt.id).await.unwrap().is_some());
    assert_eq!(filled_slots(&fixture), []);
}

#[tokio::test]
async fn callers_get_the_living_token_while_a_reply_is_spilled() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    let old = process.token(ACME).await.unwrap();
    fixture.clock.advance(Duration::from_secs(50));
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(400))]);
    assert_eq!(process.token(ACME).await.unwrap().access, old.access);
    fixture.until_accepted(2).await;
    process.store.faults().set_read_only(true);
    eventually("the reply is spilled", || !filled_slots(&fixture).is_empty()).await;
    let started = Instant::now();
    assert_eq!(process.token(ACME).await.unwrap().access, old.access);
    assert!(started.elapsed() < Duration::from_millis(1_500));
    process.store.faults().set_read_only(false);
    process.until_generation(ACME, 3).await;
}

/// A process in a runtime of its own, which dies with a spilled reply.
pub(crate) fn die_with_a_filled_slot(fixture: &Arc<Fixture>) {
    let fixture = Arc::clone(fixture);
    let dying = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("the fixture is ready");
        runtime.block_on(async {
            let process = fixture.process().await;
            process.connect(ACME, fixture.expired_grant()).await;
            fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(400))]);
            let brief = Duration::from_millis(20);
            assert!(matches!(process.token_within(ACME, brief).await, Err(TokenError::WaitTimeout { .. })));
            lose_the_store(&fixture, &process, false).await;
        });
        // Every task is dropped where it stands.
        runtime.shutdown_timeout(Duration::from_secs(1));
    });
    dying.join().expect("the fixture is ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_process_left_in_a_slot_is_returned_when_another_opens() {
    let fixture = Arc::new(Fixture::start(Options::default()).await);
    let dying = Arc::clone(&fixture);
    tokio::task::spawn_blocking(move || die_with_a_filled_slot(&dying)).await.unwrap();
    assert_eq!(filled_slots(&fixture).len(), 1);
    let process = fixture.process().await;
    assert_eq!(process.row(ACME).await.generation.0, 2);
    assert_eq!(filled_slots(&fixture), []);
    assert!(fixture.emulator.accepts(process.token(ACME).await.unwrap().access.reveal()));
    assert_eq!(process.last_attempt(ACME).await.status, AttemptStatus::Success);
    fixture.assert_spent_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_looks_into_the_slots_before_it_sends_a_token_again() {
    let policy = holding(Duration::from_mins(1));
    let emulator = jeton_emulator::Settings { access_ttl: Duration::from_mins(10), ..Default::default() };
    let fixture = Arc::new(Fixture::start(Options { emulator, policy, ..Options::default() }).await);
    // It is open already, so it has looked once; and it is not started, so it does not look by itself.
    let process = fixture.process().await;
    let dying = Arc::clone(&fixture);
    tokio::task::spawn_blocking(move || die_with_a_filled_slot(&dying)).await.unwrap();
    fixture.clock.advance(Duration::from_secs(70));
    let token = process.token(ACME).await;
    assert_eq!(fixture.requests(), 1, "the reply was there all the time: {token:?}");
    assert!(fixture.emulator.accepts(token.unwrap().access.reveal()));
    assert_eq!(process.row(ACME).await.generation.0, 2);
    assert_eq!(filled_slots(&fixture), []);
}

#[tokio::test]
async fn closing_with_the_store_down_leaves_the_reply_in_its_slot() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(400))]);
    let close = async {
        lose_the_store(&fixture, &process, false).await;
        process.vault.drain().await;
    };
    let (token, ()) = tokio::join!(process.token(ACME), close);
    assert!(token.is_err());
    assert_eq!(filled_slots(&fixture).len(), 1);
    let next = fixture.process().await;
    assert_eq!(next.row(ACME).await.generation.0, 2);
    assert_eq!(filled_slots(&fixture), []);
    fixture.assert_spent_once();
}

#[tokio::test]
async fn with_no_free_slot_nothing_is_spent() {
    let settings = Settings { spill_slots: 1, claim_wait: Duration::from_millis(300), ..short_settings() };
    let (fixture, process) = Fixture::with(Options { settings, names: names(2), ..Options::default() }).await;
    process.connect("c0", fixture.expired_grant()).await;
    process.connect("c1", fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(1_500))]);
    let second = async {
        fixture.until_accepted(1).await;
        let busy = process.token("c1").await;
        assert!(matches!(busy, Err(TokenError::Busy { .. })), "{busy:?}");
        assert_eq!(fixture.requests(), 1);
        assert!(process.row("c1").await.open_attempt.is_none());
    };
    let (first, ()) = tokio::join!(process.token("c0"), second);
    first.unwrap();
    assert!(process.token("c1").await.is_ok());
    fixture.assert_spent_once();
}

#[tokio::test]
async fn a_slot_that_another_process_holds_is_not_taken_for_a_dead_ones() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(400))]);
    let other = async {
        lose_the_store(&fixture, &process, false).await;
        // Its own store works, and the slot is full: but whoever filled it still lives.
        let other = fixture.process_with(short_settings(), Arc::new(NoSqliteHooks)).await;
        sleep(Duration::from_millis(50)).await;
        assert_eq!(filled_slots(&fixture).len(), 1);
        assert_eq!(other.row(ACME).await.generation.0, 1);
        process.store.faults().set_read_only(false);
    };
    let (token, ()) = tokio::join!(process.token(ACME), other);
    token.unwrap();
    assert_eq!(process.row(ACME).await.generation.0, 2);
    assert_eq!(process.attempts(ACME).await.len(), 1);
}
