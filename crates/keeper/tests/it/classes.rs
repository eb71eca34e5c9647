//! What each class of failure does to a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use jeton_core::keep::attempt::AttemptStatus;
use jeton_core::keep::connection::{Condition, GrantState};
use jeton_core::keep::provider::ErrorClass;
use jeton_emulator::{Fault, FaultKind};
use jeton_keeper::{Grant, TokenError};
use jeton_store::sqlite::faults::NoSqliteHooks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::fixture::{ACME, Fixture, Options, assert_spread, confirming};
use crate::process::Process;

fn class_of<T: std::fmt::Debug>(answer: Result<T, TokenError>) -> ErrorClass {
    match answer {
        Err(TokenError::Failed { class, .. }) => class,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn retry_after_of_a_429_is_obeyed() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::new(FaultKind::RateLimited { retry_after_secs: 40 })]);
    let failed = process.token(ACME).await;
    let after = failed.as_ref().unwrap_err().retry_after().unwrap();
    assert_spread(after, Duration::from_secs(40));
    assert_eq!(class_of(failed), ErrorClass::RateLimited);
    for _ in 0..3 {
        fixture.clock.advance(Duration::from_secs(12));
        let cooling = process.token(ACME).await;
        assert!(matches!(cooling, Err(TokenError::CoolingDown { .. })), "{cooling:?}");
    }
    assert_eq!(fixture.requests(), 1);
    fixture.clock.advance(Duration::from_secs(15));
    assert!(process.token(ACME).await.is_ok());
    assert_eq!((fixture.requests(), fixture.emulator.stats().rotations), (2, 1));
}

#[tokio::test]
async fn wrong_credentials_never_kill_the_grant_and_cool_down_for_a_minute() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::new(FaultKind::WrongClient)]);
    let failed = process.token(ACME).await;
    assert_spread(failed.as_ref().unwrap_err().retry_after().unwrap(), Duration::from_mins(1));
    assert_eq!(class_of(failed), ErrorClass::BadClient);
    fixture.clock.advance(Duration::from_secs(50));
    assert!(matches!(process.token(ACME).await, Err(TokenError::CoolingDown { .. })));
    assert_eq!(fixture.requests(), 1);
    assert_eq!(process.row(ACME).await.state, GrantState::Live);
    fixture.clock.advance(Duration::from_secs(26));
    assert!(process.token(ACME).await.is_ok());
}

/// A grant whose refusal is confirmed at once.
async fn confirmed_at_once() -> (Fixture, Process) {
    Fixture::with(Options { policy: confirming(Duration::ZERO), ..Options::default() }).await
}

#[tokio::test]
async fn a_dead_grant_is_said_to_be_dead_and_nothing_is_sent_any_more() {
    let (fixture, process) = confirmed_at_once().await;
    let grant = fixture.expired_grant();
    process.connect(ACME, grant.clone()).await;
    assert!(fixture.emulator.revoke_grant(grant.refresh.as_ref().unwrap().reveal()));
    for _ in 0..5 {
        let dead = process.token(ACME).await;
        assert!(matches!(&dead, Err(TokenError::Dead { code, .. }) if code == "invalid_grant"), "{dead:?}");
        fixture.clock.advance(Duration::from_hours(1));
    }
    assert_eq!(fixture.requests(), 2);
    let status = process.vault.status(ACME).await.unwrap();
    assert_eq!((status.condition, status.due_at), (Condition::Dead, None));
    // A new consent revives it.
    process.connect(ACME, fixture.expired_grant()).await;
    assert!(process.token(ACME).await.is_ok());
}

#[tokio::test]
async fn the_access_token_of_a_dead_grant_is_served_as_long_as_it_lives() {
    let (fixture, process) = confirmed_at_once().await;
    let grant = fixture.living_grant(Duration::from_mins(10));
    process.connect(ACME, grant.clone()).await;
    fixture.emulator.revoke_grant(grant.refresh.unwrap().reveal());
    assert!(matches!(process.force(ACME).await, Err(TokenError::Dead { .. })));
    assert!(process.token(ACME).await.is_ok());
    fixture.clock.advance(Duration::from_secs(601));
    assert!(matches!(process.token(ACME).await, Err(TokenError::Dead { .. })));
    assert_eq!(fixture.requests(), 2);
}

async fn keeps_the_refresh_token(ending: FaultKind) {
    let (fixture, process) = Fixture::usual().await;
    let grant = fixture.expired_grant();
    process.connect(ACME, grant.clone()).await;
    fixture.emulator.enqueue([Fault::new(ending)]);
    assert!(process.token(ACME).await.is_err(), "{ending:?}");
    assert_eq!(fixture.held_refresh(&process, ACME).await, grant.refresh, "{ending:?}");
    let status = process.last_attempt(ACME).await.status;
    assert!(matches!(status, AttemptStatus::Failed | AttemptStatus::Interrupted), "{ending:?}: {status:?}");
}

#[tokio::test]
async fn no_class_of_failure_deletes_a_refresh_token() {
    let endings = [
        FaultKind::CutBefore,
        FaultKind::ErrorIn200,
        FaultKind::RateLimited { retry_after_secs: 1 },
        FaultKind::FailBefore { status: 503 },
        FaultKind::Redirect,
        FaultKind::WrongClient,
        FaultKind::LoseReply,
        FaultKind::CutReply,
        FaultKind::FailAfter { status: 500 },
        FaultKind::Garbage,
        FaultKind::NoAccessToken,
    ];
    join_all(endings.map(keeps_the_refresh_token)).await;
    let (fixture, process) = confirmed_at_once().await;
    let grant = fixture.expired_grant();
    process.connect(ACME, grant.clone()).await;
    fixture.emulator.revoke_grant(grant.refresh.as_ref().unwrap().reveal());
    assert!(matches!(process.token(ACME).await, Err(TokenError::Dead { .. })));
    assert_eq!(fixture.held_refresh(&process, ACME).await, grant.refresh);
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_no_layer_sends_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let tasks = TaskTracker::new();
    let count = Arc::clone(&seen);
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 4096];
            let _read = stream.read(&mut request).await;
            let reply = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{address}/again\r\nContent-Length: 0\r\n\r\n"
            );
            let _written = stream.write_all(reply.as_bytes()).await;
        }
    });
    let token_url = Some(format!("http://{address}/token"));
    let (fixture, process) = Fixture::with(Options { token_url, ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    assert_eq!(class_of(process.token(ACME).await), ErrorClass::Unknown);
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_refresh_token_that_is_too_short_is_neither_taken_over_nor_sent() {
    let policy = jeton_core::keep::provider::PolicyOverrides {
        min_refresh_length: Some(50),
        ..jeton_core::keep::provider::PolicyOverrides::default()
    };
    let (fixture, process) = Fixture::with(Options { policy, ..Options::default() }).await;
    let short = Grant { refresh: Some("too-short".into()), ..Grant::default() };
    let refused = process.try_connect(ACME, short.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("has 9 characters"), "{refused}");

    // It came in before the rule was there.
    let lax = Fixture::start(Options::default()).await;
    let before = lax
        .process_at(&fixture.place(), lax.options.settings.clone(), Arc::new(NoSqliteHooks))
        .await
        .unwrap();
    before.connect(ACME, short).await;
    let unusable = process.token(ACME).await;
    assert!(matches!(unusable, Err(TokenError::GrantUnusable { .. })), "{unusable:?}");
    assert_eq!((fixture.requests(), lax.requests()), (0, 0));
    assert!(process.row(ACME).await.open_attempt.is_none());
}

#[tokio::test]
async fn a_provider_that_asks_for_no_wait_at_all_is_not_asked_without_one() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::new(FaultKind::RateLimited { retry_after_secs: 0 })]);
    assert!(process.token(ACME).await.is_err());
    assert!(matches!(process.token(ACME).await, Err(TokenError::CoolingDown { .. })));
    assert_eq!(fixture.requests(), 1);
}

#[tokio::test]
async fn what_one_provider_gave_is_not_shown_to_another() {
    let (mut fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.options.provider = Some(own_provider!(one_time_tokens, ""));
    let redefined = fixture.process().await;
    let refused = redefined.token(ACME).await;
    assert!(matches!(refused, Err(TokenError::GrantUnusable { .. })), "{refused:?}");
    assert_eq!(fixture.requests(), 0);
}
