//! Providers that give a token set for client credentials alone.

use std::time::Duration;

use jeton_core::keep::attempt::{Act, AttemptStatus, Trigger};
use jeton_core::keep::connection::Condition;
use jeton_core::keep::ports::{AttemptFilter, OperatorCommand};
use jeton_core::keep::provider::{OnUnknown, PolicyOverrides};
use jeton_emulator::{Fault, FaultKind};
use jeton_keeper::{Connected, Grant, TokenError};
use tokio::time::{Instant, sleep};

use crate::fixture::{ACME, Fixture, Options, PATIENCE};

/// Nothing but client credentials.
const MACHINE: &str = own_provider!(
    r#"
[acquire]
url = "${token_url}"
form = { grant_type = "client_credentials" }
"#
);

/// A grant where there is one, client credentials where there is none or it is dead.
pub(crate) const EITHER: &str = own_provider!(
    one_time_tokens,
    r#"
[acquire]
url = "${token_url}"
form = { grant_type = "client_credentials" }
"#
);

fn options(provider: &'static str) -> Options {
    Options { provider: Some(provider), ..Options::default() }
}

#[tokio::test]
async fn a_connection_of_the_client_alone_has_its_first_token_when_one_is_asked_for() {
    let (fixture, process) = Fixture::with(options(MACHINE)).await;
    let before = process.vault.status(ACME).await.unwrap();
    assert_eq!((before.condition, before.starts_itself), (Condition::Pending, true));
    let token = process.token(ACME).await.unwrap();
    assert!(fixture.emulator.accepts(token.access.reveal()));
    fixture.clock.advance(Duration::from_secs(61));
    assert_ne!(process.token(ACME).await.unwrap().access, token.access);
    let acts: Vec<_> = process.attempts(ACME).await.iter().map(|attempt| attempt.act).collect();
    assert_eq!(acts, [Act::Acquire, Act::Acquire]);
    assert_eq!(fixture.requests(), 2);
}

#[tokio::test]
async fn a_server_starts_what_needs_no_grant_and_waits_for_nobody() {
    let names = vec![ACME.to_owned(), "other".to_owned()];
    let fixture = Fixture::start(Options { names, ..options(MACHINE) }).await;
    let (one, two) = (fixture.process().await, fixture.process().await);
    one.vault.start().await.unwrap();
    two.vault.start().await.unwrap();
    for name in [ACME, "other"] {
        let begun = Instant::now();
        while one.vault.status(name).await.unwrap().generation.0 < 1 {
            assert!(begun.elapsed() < PATIENCE, "{name} got no token");
            sleep(Duration::from_millis(10)).await;
        }
    }
    let filter = AttemptFilter::default();
    let attempts = one.vault.attempts(&filter, 100).await.unwrap();
    let begun = attempts.iter().filter(|attempt| attempt.act == Act::Connect);
    let by_itself: Vec<_> = begun.map(|attempt| (attempt.trigger, attempt.asked_by.is_none())).collect();
    assert_eq!(by_itself, [(Trigger::Automatic, true); 2], "the second process finds the rows of the first");
    assert_eq!(fixture.requests(), 2);
    one.vault.drain().await;
    two.vault.drain().await;
}

#[tokio::test]
async fn what_was_disconnected_does_not_start_again_until_it_is_connected() {
    let (fixture, process) = Fixture::with(options(MACHINE)).await;
    process.token(ACME).await.unwrap();
    process.administer(ACME, OperatorCommand::Disconnect).await.unwrap();
    let status = process.vault.status(ACME).await.unwrap();
    assert_eq!((status.condition, status.starts_itself), (Condition::Pending, false));
    assert!(matches!(process.token(ACME).await, Err(TokenError::NotConnected { .. })));
    assert!(matches!(process.force(ACME).await, Err(TokenError::NotConnected { .. })));
    let again = fixture.process().await;
    again.vault.start().await.unwrap();
    again.vault.loaded().await;
    assert!(matches!(again.token(ACME).await, Err(TokenError::NotConnected { .. })));
    again.vault.drain().await;
    assert_eq!(fixture.requests(), 1);
    assert!(matches!(process.connect(ACME, Grant::default()).await, Connected::Stored { .. }));
    process.token(ACME).await.unwrap();
    assert_eq!(fixture.requests(), 2);
}

#[tokio::test]
async fn a_connection_whose_first_token_is_refused_is_failing_and_not_waiting_for_a_grant() {
    let (fixture, process) = Fixture::with(options(MACHINE)).await;
    fixture.emulator.enqueue([Fault::new(FaultKind::WrongClient)]);
    assert!(matches!(process.token(ACME).await, Err(TokenError::Failed { .. })));
    let status = process.vault.status(ACME).await.unwrap();
    assert_eq!((status.condition, status.failures), (Condition::Failing, 1));
    assert!(status.due_at.is_some(), "it is tried again by itself");
}

#[tokio::test]
async fn an_acquiring_that_was_interrupted_is_simply_done_again() {
    let (fixture, process) = Fixture::with(options(MACHINE)).await;
    process.connect(ACME, Grant::default()).await;
    fixture.emulator.enqueue([Fault::lose_reply()]);
    let failed = process.token(ACME).await;
    assert!(matches!(failed, Err(TokenError::Failed { .. })), "it spends nothing: {failed:?}");
    fixture.clock.advance(Duration::from_secs(10));
    assert!(process.token(ACME).await.is_ok());
}

#[tokio::test]
async fn in_place_of_a_dead_grant_a_token_set_is_acquired_and_the_caller_does_not_notice() {
    let (fixture, process) = Fixture::with(options(EITHER)).await;
    let grant = fixture.expired_grant();
    process.connect(ACME, grant.clone()).await;
    fixture.emulator.revoke_grant(grant.refresh.unwrap().reveal());
    let token = process.token(ACME).await.unwrap();
    assert!(fixture.emulator.accepts(token.access.reveal()));
    let attempts = process.attempts(ACME).await;
    let course: Vec<_> = attempts.iter().map(|attempt| (attempt.act, attempt.status)).collect();
    assert_eq!(course, [(Act::Redeem, AttemptStatus::Failed), (Act::Acquire, AttemptStatus::Success)]);
}

#[tokio::test]
async fn in_place_of_a_token_of_unknown_outcome_a_token_set_is_acquired_at_once() {
    let (fixture, process) = Fixture::with(options(EITHER)).await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::lose_reply()]);
    let token = process.token(ACME).await.unwrap();
    assert!(fixture.emulator.accepts(token.access.reveal()));
    assert_eq!(process.last_attempt(ACME).await.act, Act::Acquire);
    assert_eq!(fixture.emulator.stats().reuse_kills, 0, "the token is not sent again");
}

#[tokio::test]
async fn where_policy_says_ask_nobody_but_a_person_sends_a_token_of_unknown_outcome() {
    let policy = PolicyOverrides { on_unknown: Some(OnUnknown::Ask), ..PolicyOverrides::default() };
    let (fixture, process) = Fixture::with(Options { policy, ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::new(FaultKind::CutBefore)]);
    for _ in 0..3 {
        let asked = process.token(ACME).await;
        assert!(matches!(asked, Err(TokenError::Interrupted { until: None, .. })), "{asked:?}");
        fixture.clock.advance(Duration::from_hours(1));
    }
    assert_eq!(fixture.requests(), 1);
    process.force(ACME).await.unwrap();
    fixture.clock.advance(Duration::from_secs(61));
    process.token(ACME).await.unwrap();
}
