//! What services force, and what people do.

use std::time::Duration;

use jeton_core::keep::provider::{OnUnknown, PolicyOverrides};
use jeton_emulator::{Behaviour, Fault, FaultKind};
use jeton_keeper::{RefreshMode, Refreshed, TokenError};

use crate::fixture::{ACME, Fixture, Options, confirming};
use crate::process::{Process, operator};
use crate::recovery::assert_interrupted;

/// A connection whose policy asks a person about an attempt of unknown outcome, and one such attempt.
async fn undecided() -> (Fixture, Process) {
    let policy = PolicyOverrides { on_unknown: Some(OnUnknown::Ask), ..PolicyOverrides::default() };
    let (fixture, process) = Fixture::with(Options { policy, ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue(vec![Fault::new(FaultKind::CutBefore); 40]);
    assert_interrupted(&process.token(ACME).await);
    (fixture, process)
}

fn wait(answer: &Result<Refreshed, TokenError>) -> Duration {
    match answer {
        Err(TokenError::CoolingDown { retry_after, .. }) => *retry_after,
        other => panic!("it was not held back: {other:?}"),
    }
}

#[tokio::test]
async fn a_service_does_not_send_a_refresh_token_of_unknown_outcome_in_a_loop() {
    let (fixture, process) = undecided().await;
    let by = operator();
    let force = || process.vault.refresh(ACME, RefreshMode::Forced, &by);
    let rows = process.attempts(ACME).await.len();
    for _ in 0..20 {
        assert!(wait(&force().await) <= Duration::from_secs(5));
    }
    assert_eq!((fixture.requests(), process.attempts(ACME).await.len()), (1, rows));
    for (sends, pause) in [(2, 5), (3, 10), (4, 20)] {
        fixture.clock.advance(Duration::from_secs(pause));
        assert_interrupted(&force().await);
        assert_eq!(fixture.requests(), sends, "whoever operates it may decide to send it again");
        assert!(wait(&force().await) > Duration::from_secs(pause), "and waits twice as long for the next");
    }
    for _ in 0..3 {
        assert_interrupted(&process.force(ACME).await);
    }
    assert_eq!(fixture.requests(), 7, "a person is not held back");
}

#[tokio::test]
async fn a_service_that_forces_keeps_the_pause_after_a_failure_and_a_person_does_not() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.living_grant(Duration::from_mins(10))).await;
    fixture.emulator.enqueue(vec![Fault::new(FaultKind::RateLimited { retry_after_secs: 20 }); 2]);
    let by = operator();
    let force = || process.vault.refresh(ACME, RefreshMode::Forced, &by);
    assert!(matches!(force().await, Err(TokenError::Failed { .. })));
    assert!(wait(&force().await) > Duration::from_secs(10));
    assert_eq!(fixture.requests(), 1);
    assert!(matches!(process.force(ACME).await, Err(TokenError::Failed { .. })));
    assert_eq!(fixture.requests(), 2);
}

#[tokio::test]
async fn what_a_service_forces_right_after_a_refresh_is_what_there_is() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    let token = process.token(ACME).await.unwrap();
    let by = operator();
    let force = || process.vault.refresh(ACME, RefreshMode::Forced, &by);
    let current = Refreshed::NotDue { expires_at: token.expires_at };
    assert_eq!(force().await, Ok(current));
    fixture.clock.advance(Duration::from_secs(6));
    assert!(matches!(force().await, Ok(Refreshed::Done { .. })));
    fixture.assert_spent_once();
    assert_eq!(fixture.requests(), 2);
}

#[tokio::test]
async fn asking_for_what_is_not_due_leaves_no_row_however_often_it_is_done() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    process.token(ACME).await.unwrap();
    let rows = process.attempts(ACME).await.len();
    for _ in 0..20 {
        let answer = process.vault.refresh(ACME, RefreshMode::IfDue, &operator()).await;
        assert!(matches!(answer, Ok(Refreshed::NotDue { .. })), "{answer:?}");
    }
    assert_eq!(process.attempts(ACME).await.len(), rows);
}

#[tokio::test]
async fn where_policy_asks_a_person_a_refusal_of_what_the_person_sent_promises_no_second_send() {
    let (fixture, process) = undecided().await;
    fixture.emulator.set_behaviour(Behaviour::from_queue([Fault::new(FaultKind::RefuseGrant)]));
    let Err(TokenError::Failed { message, retry_after, .. }) = process.force(ACME).await else {
        panic!("the provider refused it")
    };
    assert!(
        message.ends_with("whether the refresh token is sent once more is for a person to decide"),
        "{message}"
    );
    assert_eq!(retry_after, None, "nobody goes on by waiting");
    let (row, last) = (process.row(ACME).await, process.last_attempt(ACME).await);
    assert_eq!((row.due_at, last.message), (None, Some(message)));
    process.vault.start().await.unwrap();
    fixture.clock.advance(Duration::from_hours(1));
    assert_interrupted(&process.token(ACME).await);
    process.vault.drain().await;
    assert_eq!(fixture.requests(), 2, "nobody else sends it");
}

#[tokio::test]
async fn a_dead_grant_is_sent_again_by_an_administrator_with_growing_pauses_and_by_no_other_service() {
    let options = Options { policy: confirming(Duration::ZERO), ..Options::default() };
    let (fixture, process) = Fixture::with(options).await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue(vec![Fault::new(FaultKind::RefuseGrant); 3]);
    assert!(matches!(process.token(ACME).await, Err(TokenError::Dead { .. })));
    // A token set is not due in its first second, whatever its expiry.
    fixture.clock.advance(Duration::from_secs(1));
    let by = operator();
    let force = |mode| process.vault.refresh(ACME, mode, &by);
    let administrate = || force(RefreshMode::ForcedByAdministrator);
    let rows = process.attempts(ACME).await.len();
    for _ in 0..20 {
        assert!(matches!(force(RefreshMode::Forced).await, Err(TokenError::Dead { .. })));
        assert!(matches!(force(RefreshMode::IfDue).await, Err(TokenError::Dead { .. })));
        assert!(matches!(process.token(ACME).await, Err(TokenError::Dead { .. })));
        assert!(wait(&administrate().await) <= Duration::from_secs(10));
    }
    let sent = (fixture.requests(), process.attempts(ACME).await.len());
    assert_eq!(sent, (2, rows), "a loop of asking sends nothing and leaves no row");
    fixture.clock.advance(Duration::from_secs(10));
    assert!(matches!(administrate().await, Err(TokenError::Dead { .. })), "refused once more");
    assert_eq!(fixture.requests(), 3);
    assert!(wait(&administrate().await) > Duration::from_secs(10));
    fixture.clock.advance(Duration::from_secs(10));
    assert!(wait(&administrate().await) > Duration::ZERO, "the pauses grow");
    fixture.clock.advance(Duration::from_secs(10));
    assert!(matches!(administrate().await, Ok(Refreshed::Done { .. })), "it lives again");
    assert_eq!(fixture.requests(), 4);
}

#[tokio::test]
async fn a_person_has_the_token_of_a_dead_grant_sent_at_once() {
    let options = Options { policy: confirming(Duration::ZERO), ..Options::default() };
    let (fixture, process) = Fixture::with(options).await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue(vec![Fault::new(FaultKind::RefuseGrant); 3]);
    assert!(matches!(process.token(ACME).await, Err(TokenError::Dead { .. })));
    assert!(matches!(process.force(ACME).await, Err(TokenError::Dead { .. })));
    assert!(matches!(process.force(ACME).await, Ok(Refreshed::Done { .. })));
}
