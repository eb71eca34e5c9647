//! Spill slots beyond the usual course: a slow store, fewer slots than there were, a reply that another one holds.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jeton_core::entropy::SystemEntropy;
use jeton_core::id::{AttemptId, ConnectionName};
use jeton_core::keep::ports::{OperatorCommand, StoreError};
use jeton_core::time::Clock as _;
use jeton_emulator::Fault;
use jeton_keeper::{Installation, KeySource, Settings, SlotState, TokenError, inspect_spill_slots};
use jeton_store::sqlite::faults::{NoSqliteHooks, SqliteHooks};

use crate::fixture::{ACME, Fixture, Options, eventually, names, short_settings};
use crate::spill::{die_with_a_filled_slot, filled_slots, lose_the_store};

fn long_lived() -> Options {
    let emulator = jeton_emulator::Settings { access_ttl: Duration::from_mins(10), ..Default::default() };
    Options { emulator, ..Options::default() }
}

/// Longer than the lease of a dead process and the hold of its attempt.
const UNTIL_RECOVERY: Duration = Duration::from_secs(70);

#[tokio::test]
async fn while_a_reply_lies_in_the_slot_of_another_process_its_token_is_not_sent_again() {
    let (fixture, one) = Fixture::with(long_lived()).await;
    let two = fixture.process().await;
    one.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(400))]);
    let other = async {
        lose_the_store(&fixture, &one, false).await;
        fixture.clock.advance(UNTIL_RECOVERY);
        let waits = two.token(ACME).await;
        assert!(
            matches!(&waits, Err(TokenError::Store { message }) if message.contains("waits in")),
            "{waits:?}"
        );
        assert_eq!(fixture.requests(), 1);
        one.store.faults().set_read_only(false);
        two.until_generation(ACME, 2).await;
    };
    let (token, ()) = tokio::join!(one.token(ACME), other);
    assert_eq!(two.token(ACME).await.unwrap().access, token.unwrap().access);
    fixture.assert_spent_once();
}

#[tokio::test]
async fn a_slot_that_cannot_be_read_stops_recoveries_and_nothing_else() {
    let (fixture, process) = Fixture::with(Options { names: names(2), ..long_lived() }).await;
    for name in names(2) {
        process.connect(&name, fixture.expired_grant()).await;
    }
    fixture.emulator.enqueue([Fault::lose_reply()]);
    assert!(matches!(process.token("c0").await, Err(TokenError::Interrupted { .. })));
    let slot = fixture.place().data_dir.join("spill").join("slot-01");
    let good = fs::read(&slot).unwrap();
    let mut damaged = good.clone();
    damaged[..12].copy_from_slice(b"\0\0\0\0\0\0\0\x04ruin");
    fs::write(&slot, damaged).unwrap();
    fixture.clock.advance(UNTIL_RECOVERY);
    let stopped = process.token("c0").await;
    assert!(
        matches!(&stopped, Err(TokenError::Store { message }) if message.contains("slot-01 cannot be read")),
        "{stopped:?}"
    );
    process.token("c1").await.unwrap();
    assert_eq!(fixture.requests(), 2);
    fs::write(&slot, good).unwrap();
    assert!(matches!(process.token("c0").await, Err(TokenError::Failed { .. })));
    assert_eq!(fixture.requests(), 3, "now it was sent again");
}

/// Takes its time over the next COMMIT, once armed.
#[derive(Debug, Default)]
struct SlowCommit {
    armed: AtomicBool,
    done: AtomicBool,
}

impl SqliteHooks for SlowCommit {
    fn before_commit(&self) -> Result<(), StoreError> {
        if self.armed.swap(false, Ordering::SeqCst) {
            std::thread::sleep(Duration::from_secs(2));
            self.done.store(true, Ordering::SeqCst);
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_reply_that_a_slow_store_has_not_taken_in_half_a_second_is_spilled_and_the_caller_gets_it() {
    let fixture = Fixture::start(Options::default()).await;
    let hooks = Arc::new(SlowCommit::default());
    let process = fixture.process_with(short_settings(), Arc::clone(&hooks) as _).await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(300))]);
    let watch = async {
        fixture.until_accepted(1).await;
        hooks.armed.store(true, Ordering::SeqCst);
        eventually("the reply is spilled", || !filled_slots(&fixture).is_empty()).await;
        assert!(!hooks.done.load(Ordering::SeqCst), "it was durable before the store had taken it");
    };
    let (token, ()) = tokio::join!(process.token(ACME), watch);
    assert!(fixture.emulator.accepts(token.unwrap().access.reveal()));
    let row = process.row(ACME).await;
    assert_eq!((row.generation.0, row.orphans.len(), row.open_attempt), (2, 0, None));
    assert_eq!(filled_slots(&fixture), []);
    fixture.assert_spent_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_in_a_slot_beyond_a_lowered_setting_is_returned_all_the_same() {
    let fixture = Arc::new(Fixture::start(Options::default()).await);
    let dying = Arc::clone(&fixture);
    tokio::task::spawn_blocking(move || die_with_a_filled_slot(&dying)).await.unwrap();
    let slots = fixture.place().data_dir.join("spill");
    fs::rename(slots.join("slot-00"), slots.join("slot-02")).unwrap();
    let settings = Settings { spill_slots: 1, ..short_settings() };
    let process = fixture.process_with(settings, Arc::new(NoSqliteHooks)).await;
    assert_eq!(process.row(ACME).await.generation.0, 2);
    assert_eq!(filled_slots(&fixture), []);
    fixture.assert_spent_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn on_hold_a_reply_stays_in_its_slot_and_returns_once_the_database_is_known_to_be_the_right_one() {
    let fixture = Arc::new(Fixture::start(Options::default()).await);
    let dying = Arc::clone(&fixture);
    tokio::task::spawn_blocking(move || die_with_a_filled_slot(&dying)).await.unwrap();
    let place = fixture.place();
    fs::remove_file(place.data_dir.join("instance")).unwrap();
    let process = fixture.process().await;
    assert!(process.vault.on_hold());
    assert_eq!(process.row(ACME).await.generation.0, 1);
    assert_eq!(filled_slots(&fixture).len(), 1);

    let store = fixture.store_at(&place, Arc::new(NoSqliteHooks)).await;
    let key = KeySource::File(place.key.clone());
    let opened = Installation::open(&*store, &place.data_dir, &key, &*fixture.clock, &SystemEntropy).await;
    let mut installation = opened.unwrap();
    installation.adopt(&*store, &*fixture.clock, &SystemEntropy).await.unwrap();
    let adopted = fixture.process_of(store, installation, short_settings()).await;
    assert_eq!(adopted.row(ACME).await.generation.0, 2);
    assert_eq!(filled_slots(&fixture), []);
    fixture.assert_spent_once();
}

/// Fills a slot as a process did whose store is not this one: nobody here has heard of the connection.
fn fill_for_a_ghost(fixture: &Fixture) -> (ConnectionName, AttemptId) {
    let ghost: ConnectionName = "ghost".parse().expect("the fixture is ready");
    let attempt = AttemptId::generate(fixture.clock.now(), &SystemEntropy);
    let text = format!(
        r#"{{"fail": {{"connection": "ghost", "attempt": "{attempt}", "generation": 1, "verdict": "Unknown",
            "code": "ambiguous", "http_status": 200, "message": "kept", "cooldown": {{"secs": 0, "nanos": 0}},
            "due_in": null, "kept_reply": null}}}}"#
    );
    let slot = fixture.place().data_dir.join("spill").join("slot-00");
    let mut bytes = fs::read(&slot).expect("the fixture is ready");
    bytes[..8].copy_from_slice(&(text.len() as u64).to_be_bytes());
    bytes[8..8 + text.len()].copy_from_slice(text.as_bytes());
    fs::write(&slot, bytes).expect("the fixture is ready");
    (ghost, attempt)
}

fn seen(fixture: &Fixture) -> Vec<SlotState> {
    let seen = inspect_spill_slots(&fixture.place().data_dir).expect("the fixture is ready");
    seen.into_iter().map(|(_, state)| state).collect()
}

#[tokio::test]
async fn a_reply_that_the_store_refuses_for_good_is_kept_beside_the_slots_and_its_slot_is_free_again() {
    let settings = Settings { spill_slots: 1, ..short_settings() };
    let (fixture, process) = Fixture::with(Options { settings, ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    let (connection, attempt) = fill_for_a_ghost(&fixture);
    assert!(matches!(process.token(ACME).await, Err(TokenError::Busy { .. })), "the slot is taken");
    let aside = SlotState::SetAside { connection, attempt };

    let next = fixture.process().await;
    assert_eq!(seen(&fixture), [SlotState::Free, aside.clone()]);
    next.token(ACME).await.unwrap();
    // The slot is the same file for everybody who had it open.
    process.force(ACME).await.unwrap();
    fixture.assert_spent_once();

    // Offered again by a person, it is refused again.
    let spill = fixture.place().data_dir.join("spill");
    fs::rename(spill.join(format!("aside-{attempt}")), spill.join(format!("slot-{attempt}"))).unwrap();
    let again = fixture.process().await;
    assert_eq!(seen(&fixture), [SlotState::Free, SlotState::Free, aside]);
    again.force(ACME).await.unwrap();
}

#[tokio::test]
async fn a_reply_that_comes_when_the_store_is_on_hold_stays_in_its_slot_and_is_served_from_it() {
    let mut fixture = Fixture::start(Options { names: names(2), ..long_lived() }).await;
    let process = fixture.process().await;
    process.connect("c0", fixture.expired_grant()).await;
    process.connect("c1", fixture.living_grant(Duration::from_hours(1))).await;
    process.vault.drain().await;
    drop(process);
    let original = fixture.database.clone();
    let backup = original.copy(fixture.home.path().join("backup.db"));

    let process = fixture.process().await;
    process.administer("c1", OperatorCommand::Pause).await.unwrap();
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_secs(2))]);
    fixture.database = backup;
    let restored = fixture.store_at(&fixture.place(), Arc::new(NoSqliteHooks)).await;
    let restore = async {
        fixture.until_accepted(1).await;
        process.probe.lead_to(&restored);
        process.vault.status("c1").await.unwrap();
        assert!(
            process.vault.on_hold() && fixture.emulator.stats().in_flight == 1,
            "the reply is still to come"
        );
    };
    let (token, ()) = tokio::join!(process.token("c0"), restore);
    assert!(fixture.emulator.accepts(token.unwrap().access.reveal()));
    assert_eq!(filled_slots(&fixture).len(), 1);
    let name: ConnectionName = "c0".parse().unwrap();
    assert_eq!(restored.find(&name).await.unwrap().unwrap().generation.0, 1, "it was not offered");
    process.vault.drain().await;
    drop(process);

    fixture.database = original;
    let process = fixture.process().await;
    assert_eq!(process.vault.hold(), None, "the right database is back");
    assert_eq!(process.row("c0").await.generation.0, 2);
    assert_eq!(filled_slots(&fixture), []);
    process.force("c0").await.unwrap();
    fixture.assert_spent_once();
}
