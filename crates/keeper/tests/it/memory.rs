//! Living tokens come from memory, and wait on nobody.

use std::time::Duration;

use futures_util::future::join_all;
use jeton_core::keep::provider::{OldAccess, PolicyOverrides};
use jeton_emulator::Fault;
use jeton_keeper::{Settings, TokenError, TokenRequest};
use tokio::time::{Instant, sleep};

use crate::fixture::{ACME, Fixture, Options};

fn old_access_dies() -> Options {
    let policy = PolicyOverrides { old_access: Some(OldAccess::Dies), ..PolicyOverrides::default() };
    let emulator = jeton_emulator::Settings { old_access: OldAccess::Dies, ..Default::default() };
    Options { emulator, policy, ..Options::default() }
}

#[tokio::test]
async fn a_token_that_lives_long_enough_is_given_without_a_read_of_the_store() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    let first = process.token(ACME).await.unwrap();
    process.probe.set_out_of_reach(true);
    process.store.faults().set_read_only(true);
    let before = process.probe.calls();
    for _ in 0..1_000 {
        assert_eq!(process.token(ACME).await.unwrap().access, first.access);
    }
    assert_eq!(process.probe.calls(), before);
}

#[tokio::test]
async fn nobody_waits_on_the_refresh_of_a_token_that_still_lives() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    let old = process.token(ACME).await.unwrap();
    fixture.clock.advance(Duration::from_secs(50));
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(2_800))]);
    let started = Instant::now();
    for _ in 0..100 {
        assert_eq!(process.token(ACME).await.unwrap().access, old.access);
    }
    assert!(started.elapsed() < Duration::from_millis(2_400), "{:?}", started.elapsed());
    while process.token(ACME).await.unwrap().access == old.access {
        assert!(started.elapsed() < Duration::from_secs(8), "the refresh went on behind the callers' backs");
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(fixture.requests(), 2);
}

#[tokio::test]
async fn where_the_old_token_dies_the_refresh_of_another_process_is_noticed_within_the_age_of_memory() {
    let (fixture, one) = Fixture::with(old_access_dies()).await;
    let two = fixture.process().await;
    one.connect(ACME, fixture.expired_grant()).await;
    let old = one.token(ACME).await.unwrap();
    assert_eq!(two.token(ACME).await.unwrap().access, old.access);
    one.force(ACME).await.unwrap();
    assert!(!fixture.emulator.accepts(old.access.reveal()));
    sleep(fixture.options.settings.memory_age + Duration::from_millis(5)).await;
    let new = two.token(ACME).await.unwrap();
    assert!(fixture.emulator.accepts(new.access.reveal()));
    assert_eq!(fixture.requests(), 2);
}

#[tokio::test]
async fn where_the_old_token_dies_a_store_out_of_reach_costs_a_read_and_no_wait() {
    let (fixture, process) = Fixture::with(old_access_dies()).await;
    process.connect(ACME, fixture.expired_grant()).await;
    let token = process.token(ACME).await.unwrap();
    sleep(fixture.options.settings.memory_age + Duration::from_millis(5)).await;
    process.probe.set_out_of_reach(true);
    let started = Instant::now();
    assert_eq!(process.token(ACME).await.unwrap().access, token.access);
    assert!(started.elapsed() < Duration::from_millis(800), "{:?}", started.elapsed());
}

#[tokio::test]
async fn where_the_old_token_lives_the_refresh_of_another_process_is_noticed_by_the_change_feed() {
    let (fixture, one) = Fixture::usual().await;
    let two = fixture.process().await;
    one.connect(ACME, fixture.expired_grant()).await;
    let old = one.token(ACME).await.unwrap();
    two.vault.start().await.unwrap();
    assert_eq!(two.token(ACME).await.unwrap().access, old.access);
    one.force(ACME).await.unwrap();
    let started = Instant::now();
    loop {
        if two.token(ACME).await.unwrap().access != old.access {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(4), "the change was not noticed");
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(fixture.requests(), 2);
    two.vault.drain().await;
}

#[tokio::test]
async fn a_started_vault_serves_from_memory_what_it_never_asked_for() {
    let (fixture, one) = Fixture::usual().await;
    one.connect(ACME, fixture.expired_grant()).await;
    let token = one.token(ACME).await.unwrap();
    let two = fixture.process().await;
    two.vault.start().await.unwrap();
    two.vault.loaded().await;
    two.probe.set_out_of_reach(true);
    assert_eq!(two.token(ACME).await.unwrap().access, token.access);
    two.vault.drain().await;
}

#[tokio::test]
async fn callers_of_a_connection_that_is_not_in_memory_share_one_read() {
    let (fixture, one) = Fixture::usual().await;
    one.connect(ACME, fixture.expired_grant()).await;
    let token = one.token(ACME).await.unwrap();
    let two = fixture.process().await;
    two.probe.delay_reads_by(Duration::from_secs(1));
    let before = two.probe.calls();
    let callers = (0..200).map(|_| two.token(ACME));
    for given in join_all(callers).await {
        assert_eq!(given.unwrap().access, token.access);
    }
    assert_eq!(two.probe.calls() - before, 1);
}

#[tokio::test]
async fn no_more_callers_than_may_wait_ask_for_a_connection_that_is_not_in_memory() {
    let settings = Settings { waiters: 3, ..Options::default().settings };
    let (fixture, one) = Fixture::with(Options { settings, ..Options::default() }).await;
    one.connect(ACME, fixture.living_grant(Duration::from_hours(1))).await;
    let two = fixture.process().await;
    two.probe.delay_reads_by(Duration::from_secs(1));
    let given = join_all((0..5).map(|_| two.token(ACME))).await;
    let busy = given.iter().filter(|given| matches!(given, Err(TokenError::Busy { .. }))).count();
    assert_eq!((busy, given.iter().filter(|given| given.is_ok()).count()), (2, 3), "{given:?}");
}

#[tokio::test]
async fn a_store_that_fails_while_the_connections_are_read_is_asked_again() {
    let (fixture, one) = Fixture::usual().await;
    one.connect(ACME, fixture.expired_grant()).await;
    let token = one.token(ACME).await.unwrap();
    let two = fixture.process().await;
    two.vault.start().await.unwrap();
    two.probe.set_out_of_reach(true);
    // Nothing was awaited in between: the tasks that read have not run yet.
    assert!(two.token(ACME).await.is_err(), "neither memory nor the store has it");
    two.probe.set_out_of_reach(false);
    two.vault.loaded().await;
    two.probe.set_out_of_reach(true);
    assert_eq!(two.token(ACME).await.unwrap().access, token.access);
    two.probe.set_out_of_reach(false);
    two.vault.drain().await;
}

#[tokio::test]
async fn where_the_old_token_dies_an_answer_of_the_store_is_as_old_as_its_question() {
    let (fixture, one) = Fixture::with(old_access_dies()).await;
    let two = fixture.process().await;
    one.connect(ACME, fixture.expired_grant()).await;
    let old = one.token(ACME).await.unwrap();
    two.probe.delay_reads_by(fixture.options.settings.memory_age + Duration::from_millis(100));
    assert_eq!(two.token(ACME).await.unwrap().access, old.access);
    one.force(ACME).await.unwrap();
    two.probe.delay_reads_by(Duration::ZERO);
    let new = two.token(ACME).await.unwrap();
    assert!(
        fixture.emulator.accepts(new.access.reveal()),
        "what was read before the refresh is not believed after it"
    );
}

#[tokio::test]
async fn a_caller_waits_no_longer_for_the_first_read_of_the_store_than_it_said() {
    let brief = Duration::from_millis(300);
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.living_grant(Duration::from_hours(1))).await;
    let token = process.token(ACME).await.unwrap();
    let fresh = fixture.process().await;
    fresh.probe.delay_reads_by(Duration::from_secs(3));
    let started = Instant::now();
    let refused = fresh.token_within(ACME, brief).await;
    assert!(matches!(refused, Err(TokenError::Store { .. })), "{refused:?}");
    assert!(started.elapsed() < Duration::from_millis(2_500), "{:?}", started.elapsed());
    fresh.probe.delay_reads_by(Duration::ZERO);
    fresh.probe.set_out_of_reach(true);
    let started = Instant::now();
    let request = TokenRequest { wait: Some(brief), ..TokenRequest::default() };
    let refused = fresh.vault.reject(ACME, token.fingerprint, request).await;
    assert!(matches!(refused, Err(TokenError::Store { .. })), "{refused:?}");
    assert!(started.elapsed() < Duration::from_millis(800), "{:?}", started.elapsed());
    fresh.probe.set_out_of_reach(false);
    // The look that hangs is still under way, and goes for all.
    assert_eq!(fresh.token(ACME).await.unwrap().access, token.access);
}

#[tokio::test]
async fn where_the_old_token_dies_a_store_that_hangs_keeps_a_caller_no_longer_than_it_waits() {
    let (fixture, process) = Fixture::with(old_access_dies()).await;
    process.connect(ACME, fixture.expired_grant()).await;
    let token = process.token(ACME).await.unwrap();
    sleep(fixture.options.settings.memory_age + Duration::from_millis(5)).await;
    process.probe.delay_reads_by(Duration::from_secs(3));
    let started = Instant::now();
    assert_eq!(process.token_within(ACME, Duration::from_millis(300)).await.unwrap().access, token.access);
    assert!(started.elapsed() < Duration::from_millis(2_500), "{:?}", started.elapsed());
}

#[tokio::test]
async fn where_the_old_token_dies_a_store_that_hangs_keeps_nobody_whose_token_lives_waiting() {
    let (fixture, process) = Fixture::with(old_access_dies()).await;
    process.connect(ACME, fixture.expired_grant()).await;
    let token = process.token(ACME).await.unwrap();
    sleep(fixture.options.settings.memory_age + Duration::from_millis(5)).await;
    process.probe.delay_reads_by(Duration::from_secs(20));
    let started = Instant::now();
    // This caller would wait for 30 s.
    assert_eq!(process.token_within(ACME, Duration::from_secs(30)).await.unwrap().access, token.access);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn where_the_old_token_dies_callers_at_one_time_share_one_read() {
    let (fixture, process) = Fixture::with(old_access_dies()).await;
    process.connect(ACME, fixture.expired_grant()).await;
    let token = process.token(ACME).await.unwrap();
    sleep(fixture.options.settings.memory_age + Duration::from_millis(5)).await;
    process.probe.delay_reads_by(Duration::from_millis(100));
    let before = process.probe.calls();
    let callers = (0..100).map(|_| process.token(ACME));
    for served in join_all(callers).await {
        assert_eq!(served.unwrap().access, token.access);
    }
    assert_eq!(process.probe.calls() - before, 1);
}
