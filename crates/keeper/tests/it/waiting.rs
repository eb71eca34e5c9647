//! How long callers wait, and what they get then.

use std::time::Duration;

use futures_util::future::join_all;
use jeton_emulator::{Fault, FaultKind};
use jeton_keeper::{Settings, TokenError};
use tokio::time::Instant;

use crate::fixture::{ACME, Fixture, Options, assert_spread, short_settings};
use crate::recovery::claim_and_die;

#[tokio::test]
async fn waiting_on_a_refresh_is_bounded_by_the_caller() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(2_600))]);
    let started = Instant::now();
    let answer = process.token_within(ACME, Duration::from_millis(150)).await;
    assert!(matches!(answer, Err(TokenError::WaitTimeout { .. })), "{answer:?}");
    assert!(started.elapsed() < Duration::from_millis(2_200), "{:?}", started.elapsed());
    // A caller with more patience gets the token of that same refresh.
    assert!(process.token(ACME).await.is_ok());
    assert_eq!(fixture.requests(), 1);
}

#[tokio::test]
async fn waiting_on_the_redeem_of_another_process_is_bounded_by_the_caller_alone() {
    // Many more looks than the keeper would ever make at something that moves.
    let settings = Settings { poll: Duration::from_millis(2), ..short_settings() };
    let (fixture, one) = Fixture::with(Options { settings, ..Options::default() }).await;
    let two = fixture.process().await;
    one.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(1_300))]);
    let other = async {
        fixture.until_accepted(1).await;
        two.token(ACME).await.unwrap()
    };
    let (mine, other) = tokio::join!(one.token(ACME), other);
    assert_eq!(mine.unwrap().access, other.access);
    assert_eq!(fixture.requests(), 1);
}

#[tokio::test]
async fn after_the_wait_a_token_that_still_lives_is_given_with_a_warning() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    let old = process.token(ACME).await.unwrap();
    fixture.clock.advance(Duration::from_secs(30));
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_secs(1))]);
    let request = jeton_keeper::TokenRequest {
        min_ttl: Some(Duration::from_secs(40)),
        wait: Some(Duration::from_millis(100)),
        by: None,
    };
    let token = process.vault.token(ACME, request).await.unwrap();
    assert_eq!(token.access, old.access);
    assert!(token.warning.unwrap().contains("took longer"));
}

#[tokio::test]
async fn after_a_failure_a_token_that_still_lives_is_given_with_a_warning_and_the_error_otherwise() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    process.token(ACME).await.unwrap();
    fixture.clock.advance(Duration::from_secs(30));
    fixture.emulator.enqueue([Fault::new(FaultKind::RateLimited { retry_after_secs: 60 })]);
    let token = process.token_for(ACME, Duration::from_secs(40)).await.unwrap();
    assert!(token.warning.is_some());
    fixture.clock.advance(Duration::from_secs(31));
    assert!(matches!(process.token(ACME).await, Err(TokenError::CoolingDown { .. })));
}

#[tokio::test]
async fn min_ttl_is_capped_at_four_fifths_of_the_life() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    let first = process.token_for(ACME, Duration::from_hours(1)).await.unwrap();
    assert!(first.warning.as_ref().unwrap().contains("shorter"), "{first:?}");
    fixture.clock.advance(Duration::from_secs(10));
    // 50 of 60 seconds are left: more cannot be asked for, and the caller is told.
    let second = process.token_for(ACME, Duration::from_hours(1)).await.unwrap();
    assert_eq!(second.access, first.access);
    assert!(second.warning.is_some());
    assert_eq!(process.token_for(ACME, Duration::from_secs(45)).await.unwrap().warning, None);
    fixture.clock.advance(Duration::from_secs(5));
    let third = process.token_for(ACME, Duration::from_hours(1)).await.unwrap();
    assert_ne!(third.access, first.access);
    assert_eq!(fixture.requests(), 2);
}

#[tokio::test]
async fn a_token_set_born_after_the_request_satisfies_it_however_short_its_life() {
    let emulator = jeton_emulator::Settings { access_ttl: Duration::from_secs(1), ..Default::default() };
    let (fixture, process) = Fixture::with(Options { emulator, ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    // The reply takes longer than the token lives: spending one more would bring nothing better.
    let slow = Fault::none().slow_after(Duration::from_millis(1_100));
    fixture.emulator.enqueue([slow, slow]);
    let token = process.token(ACME).await.unwrap();
    assert!(token.warning.as_ref().unwrap().contains("past its expiry"), "{token:?}");
    assert_eq!(fixture.requests(), 1, "what is born dead is not spent for again and again");
    let other = process.reject(ACME, &token).await.unwrap();
    assert_ne!(other.access, token.access);
    assert_eq!(fixture.requests(), 2);
    fixture.assert_spent_once();
}

#[tokio::test]
async fn a_token_that_was_taken_over_dead_is_not_taken_for_a_new_one() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::new(FaultKind::CutBefore)]);
    // While somebody waits, a person connects another grant, whose access token has died as well.
    let replace = async {
        fixture.until_a_request_is_under_way_or_over().await;
        process.connect(ACME, fixture.expired_grant()).await;
    };
    let (token, ()) = tokio::join!(process.token(ACME), replace);
    assert!(fixture.emulator.accepts(token.unwrap().access.reveal()));
}

#[tokio::test]
async fn a_failure_cools_down_for_as_long_as_the_settings_say_and_every_process_sees_it() {
    let settings = Settings { cooldown: Duration::from_secs(10), ..short_settings() };
    let (mut fixture, one) = Fixture::with(Options { settings, ..Options::default() }).await;
    let two = fixture.process().await;
    one.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.refuse_connections().await;
    let failed = one.token(ACME).await.unwrap_err();
    assert_spread(failed.retry_after().unwrap(), fixture.options.settings.cooldown);
    fixture.emulator.accept_connections().await.unwrap();
    let cooling = two.token(ACME).await.unwrap_err();
    assert!(matches!(&cooling, TokenError::CoolingDown { code, .. } if code == "not_sent"), "{cooling:?}");
    assert!(cooling.retry_after() <= failed.retry_after());
    assert_eq!(fixture.requests(), 0);
    fixture.clock.advance(failed.retry_after().unwrap());
    assert!(two.token(ACME).await.is_ok());
}

#[tokio::test]
async fn a_person_need_not_wait_for_the_cool_down() {
    let (mut fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.refuse_connections().await;
    assert!(process.token(ACME).await.is_err());
    fixture.emulator.accept_connections().await.unwrap();
    assert!(process.force(ACME).await.is_ok());
}

#[tokio::test]
async fn there_is_no_cool_down_after_a_success() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    for _ in 0..3 {
        process.force(ACME).await.unwrap();
        assert_eq!(process.row(ACME).await.cooling_until, None);
    }
    assert_eq!(fixture.requests(), 3);
    fixture.assert_spent_once();
}

#[tokio::test]
async fn a_store_that_takes_no_claim_is_an_error_after_the_claim_wait_and_nothing_is_spent() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    process.store.faults().set_read_only(true);
    let started = Instant::now();
    let answer = process.token(ACME).await;
    assert!(matches!(answer, Err(TokenError::Store { .. })), "{answer:?}");
    let waited = started.elapsed();
    let patience = fixture.options.settings.claim_wait;
    assert!(waited >= patience && waited < patience + Duration::from_secs(2), "{waited:?}");
    assert_eq!(fixture.requests(), 0);
    process.store.faults().set_read_only(false);
    assert!(process.token(ACME).await.is_ok());
}

#[tokio::test]
async fn a_store_out_of_reach_is_an_error_after_the_claim_wait() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    process.probe.set_out_of_reach(true);
    let started = Instant::now();
    assert!(matches!(process.token(ACME).await, Err(TokenError::Store { .. })));
    assert!(started.elapsed() < fixture.options.settings.claim_wait + Duration::from_secs(2));
    assert_eq!(fixture.requests(), 0);
}

#[tokio::test]
async fn more_callers_than_may_wait_are_turned_away_at_once() {
    let settings = Settings { waiters: 10, ..short_settings() };
    let (fixture, process) = Fixture::with(Options { settings, ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(100))]);
    let answers = join_all((0..25).map(|_| process.token(ACME))).await;
    let busy = answers.iter().filter(|answer| matches!(answer, Err(TokenError::Busy { .. }))).count();
    let served = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!((served, busy), (10, 15));
    // They are counted out again.
    assert!(process.force(ACME).await.is_ok());
    assert_eq!(fixture.requests(), 2);
}

#[tokio::test]
async fn whoever_waits_for_a_lease_of_a_dead_process_learns_of_it_when_the_lease_lapses() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    let attempt = claim_and_die(&fixture, &process, Duration::from_millis(400)).await;
    let started = Instant::now();
    let answer = process.token(ACME).await;
    assert!(matches!(answer, Err(TokenError::Interrupted { attempt: found, .. }) if found == attempt));
    let waited = started.elapsed();
    assert!(waited > Duration::from_millis(250) && waited < Duration::from_secs(2), "{waited:?}");
}

#[tokio::test]
async fn an_unknown_name_is_refused_with_the_nearest_right_one_and_an_unconnected_one_at_once() {
    let (_world, process) = Fixture::usual().await;
    let unknown = process.token("acmee").await.unwrap_err().to_string();
    assert!(unknown.contains("did you mean acme?"), "{unknown}");
    let started = Instant::now();
    let unconnected = process.token_within(ACME, Duration::ZERO).await;
    assert!(matches!(unconnected, Err(TokenError::NotConnected { .. })), "{unconnected:?}");
    assert!(started.elapsed() < Duration::from_secs(3));
}
