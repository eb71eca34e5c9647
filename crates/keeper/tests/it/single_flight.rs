//! One refresh at a time, shared by all who need it.

use std::time::Duration;

use futures_util::future::join_all;
use jeton_core::keep::connection::Condition;
use jeton_emulator::{Fault, FaultKind};
use jeton_keeper::TokenError;
use tokio::time::Instant;

use crate::fixture::{ACME, Fixture, Options, names};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_tasks_with_an_expired_token_cause_one_spend_and_get_the_same_living_token() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(50))]);
    let answers = join_all((0..200).map(|_| process.token(ACME))).await;
    let tokens: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert!(tokens.iter().all(|token| token.access == tokens[0].access && token.warning.is_none()));
    assert!(fixture.emulator.accepts(tokens[0].access.reveal()));
    assert_eq!(fixture.emulator.stats().rotations, 1);
    fixture.assert_spent_once();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_on_one_store_spend_once_and_give_the_same_token() {
    let (fixture, one) = Fixture::usual().await;
    let two = fixture.process().await;
    one.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::none().slow_before(Duration::from_millis(80))]);
    let callers = (0..100).map(|index| if index % 2 == 0 { one.token(ACME) } else { two.token(ACME) });
    let tokens: Vec<_> = join_all(callers).await.into_iter().map(Result::unwrap).collect();
    assert!(tokens.iter().all(|token| token.access == tokens[0].access));
    assert_eq!(fixture.emulator.stats().rotations, 1);
    fixture.assert_spent_once();
}

#[tokio::test]
async fn whoever_wins_the_claim_after_somebody_refreshed_spends_nothing() {
    let (fixture, one) = Fixture::usual().await;
    let two = fixture.process().await;
    one.connect(ACME, fixture.expired_grant()).await;
    // The other process remembers the expired token set, and must look again before it spends.
    assert_eq!(two.vault.status(ACME).await.unwrap().generation.0, 1);
    let first = one.token(ACME).await.unwrap();
    let second = two.token(ACME).await.unwrap();
    assert_eq!(first.access, second.access);
    assert_eq!(fixture.requests(), 1);
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_cancel_the_redeem() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(400))]);
    tokio::select! {
        _ = process.token(ACME) => panic!("the reply is not there yet"),
        () = fixture.until_accepted(1) => {}
    }
    // The caller has gone.
    process.until_generation(ACME, 2).await;
    let token = process.token(ACME).await.unwrap();
    assert!(fixture.emulator.accepts(token.access.reveal()));
    assert_eq!(fixture.requests(), 1);
}

#[tokio::test]
async fn a_refresh_that_failed_leaves_nothing_behind_that_stops_the_next() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    for _ in 0..3 {
        fixture.emulator.enqueue([Fault::new(FaultKind::RateLimited { retry_after_secs: 5 })]);
        assert!(matches!(process.token(ACME).await, Err(TokenError::Failed { .. })));
        assert!(process.row(ACME).await.lease.is_none());
        fixture.clock.advance(Duration::from_secs(7));
    }
    assert!(process.token(ACME).await.is_ok());
    assert_eq!(fixture.emulator.stats().rotations, 1);
}

#[tokio::test]
async fn a_slow_connection_makes_no_other_wait() {
    let (fixture, process) = Fixture::with(Options { names: names(2), ..Options::default() }).await;
    process.connect("c0", fixture.expired_grant()).await;
    process.connect("c1", fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::none().slow_before(Duration::from_millis(2_600))]);
    let slow = process.token("c0");
    let quick = async {
        fixture.until_a_request_is_under_way().await;
        let started = Instant::now();
        let token = process.token("c1").await.unwrap();
        assert!(started.elapsed() < Duration::from_millis(2_200), "{:?}", started.elapsed());
        token
    };
    let (slow, quick) = tokio::join!(slow, quick);
    assert_ne!(slow.unwrap().access, quick.access);
}

#[tokio::test]
async fn a_failure_of_one_connection_touches_no_other() {
    let (fixture, process) = Fixture::with(Options { names: names(2), ..Options::default() }).await;
    process.connect("c0", fixture.expired_grant()).await;
    process.connect("c1", fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::new(FaultKind::WrongClient)]);
    assert!(process.token("c0").await.is_err());
    assert!(process.token("c1").await.is_ok());
    let other = process.row("c1").await;
    assert_eq!((other.failures, other.cooling_until), (0, None));
}

#[tokio::test]
async fn looking_at_the_state_never_waits_on_the_refresh() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(2_600))]);
    let look = async {
        fixture.until_accepted(1).await;
        let started = Instant::now();
        let status = process.vault.status(ACME).await.unwrap();
        assert!(started.elapsed() < Duration::from_millis(2_200));
        assert_eq!(status.condition, Condition::Refreshing);
    };
    let (token, ()) = tokio::join!(process.token(ACME), look);
    token.unwrap();
}
