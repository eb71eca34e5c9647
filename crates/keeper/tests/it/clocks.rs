//! Clocks that are wrong: of the machine, of one node of several, of the store.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::keep::provider::PolicyOverrides;
use jeton_core::time::Clock as _;
use jeton_keeper::{Installation, KeySource};
use jeton_store::sqlite::faults::NoSqliteHooks;
use jeton_testkit::{OffsetClock, test_store_is_postgres};
use tokio::time::{Instant, sleep};

use crate::fixture::{ACME, Fixture, Options, PATIENCE};
use crate::process::Process;

const LIFE: Duration = Duration::from_mins(10);
const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;

/// A provider whose access tokens live for ten minutes.
fn options() -> Options {
    let emulator = jeton_emulator::Settings { access_ttl: LIFE, ..Default::default() };
    Options { emulator, policy: PolicyOverrides::default(), ..Options::default() }
}

/// What a process gives lives, and it says no longer life than it has.
async fn assert_gives_a_living_token(fixture: &Fixture, process: &Process, what: &str) -> u64 {
    let token = process.token(ACME).await.expect("a token is given");
    assert!(fixture.emulator.accepts(token.access.reveal()), "{what}: a dead token was given");
    assert!(token.expires_in.is_some_and(|left| left <= LIFE), "{what}: {:?}", token.expires_in);
    token.generation.0
}

#[tokio::test]
async fn a_token_that_was_obtained_while_the_clock_was_wrong_dies_when_it_does() {
    for off in [HOUR, -HOUR, DAY, -DAY] {
        let (fixture, process) = Fixture::with(options()).await;
        process.connect(ACME, fixture.expired_grant()).await;
        fixture.clock.set_civil(off);
        assert_gives_a_living_token(&fixture, &process, "while it is wrong").await;
        fixture.clock.set_civil(-off);
        assert_gives_a_living_token(&fixture, &process, "once it is right").await;
        let shown = process.token(ACME).await.unwrap().expires_at.unwrap();
        // A database whose clock was wrong said so itself.
        assert!(test_store_is_postgres() || shown <= fixture.clock.now() + LIFE, "{off}: {shown}");
        let begun_since = fixture.process().await;
        assert_gives_a_living_token(&fixture, &begun_since, "in a process that has just begun").await;
        fixture.clock.advance(LIFE + Duration::from_secs(1));
        for process in [&process, &begun_since] {
            assert_gives_a_living_token(&fixture, process, "after its life").await;
        }
        let attempts = process.attempts(ACME).await.len();
        assert!(
            attempts <= 4,
            "{off}: {attempts} refreshes, where one for each wrong clock and each life is enough"
        );
    }
}

#[tokio::test]
async fn a_node_whose_clock_is_off_writes_no_instant_of_its_own() {
    for off in [HOUR, 50, -50, -HOUR, DAY] {
        let (fixture, right) = Fixture::with(options()).await;
        right.connect(ACME, fixture.expired_grant()).await;
        let clock = Arc::new(OffsetClock::default());
        clock.set_civil(off);
        let (store, place) =
            (fixture.store_at(&fixture.place(), Arc::new(NoSqliteHooks)).await, fixture.place());
        let key = KeySource::File(place.key.clone());
        let entropy = jeton_core::entropy::SystemEntropy;
        let installation =
            Installation::open(&*store, &place.data_dir, &key, &*clock, &entropy).await.unwrap();
        let settings = fixture.options.settings.clone();
        let wrong = fixture.process_by(store, installation, settings, clock).await;
        let generation = assert_gives_a_living_token(&fixture, &wrong, "the wrong one").await;
        let row = right.row(ACME).await;
        let tokens = row.tokens.unwrap();
        let (now, expiry) = (fixture.clock.now(), tokens.access_expires_at.unwrap());
        assert!(expiry <= now + LIFE && tokens.obtained_at <= now, "{off}: {tokens:?}");
        assert!(expiry + Duration::from_secs(30) > now + LIFE, "{off}: and not much shorter: {expiry}");
        for process in [&right, &wrong] {
            let given = assert_gives_a_living_token(&fixture, process, "the same token").await;
            assert_eq!(given, generation, "{off}: neither refreshes what lives");
        }
        let attempt = right.last_attempt(ACME).await;
        assert!(attempt.started_at <= now && attempt.completed_at.unwrap() <= now, "{off}: {attempt:?}");
        assert!(attempt.started_at + Duration::from_secs(30) > now, "{off}: {attempt:?}");
    }
}

#[tokio::test]
async fn what_may_have_died_while_the_machine_was_paused_is_refreshed_once() {
    let (fixture, process) = Fixture::with(options()).await;
    process.connect(ACME, fixture.expired_grant()).await;
    let before = assert_gives_a_living_token(&fixture, &process, "before").await;
    // The steady clock of a virtual machine does not count a pause, and its civil clock is put right afterwards.
    fixture.clock.set_civil(HOUR);
    // A process on a database elsewhere learns of it when it asks what time it is.
    process.vault.start().await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while assert_gives_a_living_token(&fixture, &process, "after").await == before {
        assert!(Instant::now() < deadline, "it is not refreshed");
        sleep(Duration::from_millis(10)).await;
    }
    let begun_since = fixture.process().await;
    for process in [&process, &begun_since, &process] {
        let generation = assert_gives_a_living_token(&fixture, process, "once more").await;
        assert_eq!(generation, before + 1);
    }
    process.vault.drain().await;
}
