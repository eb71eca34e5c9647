//! Providers that give a token set for client credentials alone.

use std::time::Duration;

use jeton_core::keep::attempt::{Act, AttemptStatus};
use jeton_core::keep::provider::{OnUnknown, PolicyOverrides};
use jeton_emulator::{Fault, FaultKind};
use jeton_keeper::{Connected, Grant, TokenError};

use crate::fixture::{ACME, Fixture, Options};

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
async fn a_provider_that_acquires_needs_nothing_but_to_be_connected() {
    let (fixture, process) = Fixture::with(options(MACHINE)).await;
    assert!(matches!(process.token(ACME).await, Err(TokenError::NotConnected { .. })));
    assert!(matches!(process.connect(ACME, Grant::default()).await, Connected::Stored { .. }));
    let token = process.token(ACME).await.unwrap();
    assert!(fixture.emulator.accepts(token.access.reveal()));
    fixture.clock.advance(Duration::from_secs(61));
    assert_ne!(process.token(ACME).await.unwrap().access, token.access);
    assert!(process.attempts(ACME).await.iter().all(|attempt| attempt.act == Act::Acquire));
    assert_eq!(fixture.requests(), 2);
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
