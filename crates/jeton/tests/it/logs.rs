//! What is logged about a refresh, and at which level.

use std::time::Duration;

use jeton::policy::{DurationText, PolicyOverrides};
use jeton::{TokenRequest, Vault};
use jeton_emulator::Fault;
use jeton_testkit::CapturedLog;
use tracing::Level;
use tracing::subscriber::DefaultGuard;

use crate::fixture::{ACME, Fixture};

/// Captures what this thread logs: the runtimes below have one thread.
fn capture() -> (CapturedLog, DefaultGuard) {
    CapturedLog::of_this_thread(Level::DEBUG)
}

/// A line of this level has these words about the connection.
fn assert_logged(log: &CapturedLog, level: &str, words: &str) {
    let text = log.text();
    let matches = |line: &str| {
        line.contains(&format!(" {level} ")) && line.contains(words) && line.contains("connection=acme")
    };
    assert!(text.lines().any(matches), "no {level} with `{words}` in\n{text}");
}

#[tokio::test]
async fn a_refresh_that_is_under_way_already_is_logged_at_debug() {
    let (log, _guard) = capture();
    let fixture = Fixture::new().await;
    let vault = fixture.connected().await;
    let (one, two) = tokio::join!(vault.token(ACME), vault.token(ACME));
    assert_eq!(one.unwrap().access, two.unwrap().access);
    assert_logged(&log, "DEBUG", "a refresh is under way already");
}

#[tokio::test]
async fn an_attempt_too_soon_after_a_failure_is_logged_at_debug_and_the_failure_at_warn() {
    let (log, _guard) = capture();
    let mut fixture = Fixture::new().await;
    let vault = fixture.connected().await;
    fixture.provider.refuse_connections().await;
    vault.token(ACME).await.unwrap_err();
    assert_logged(&log, "WARN", "refresh failed");
    vault.token(ACME).await.unwrap_err();
    assert_logged(&log, "DEBUG", "the last attempt failed too recently");
}

#[tokio::test]
async fn a_wait_that_took_too_long_and_going_on_with_the_current_token_are_logged_at_warn() {
    let (log, _guard) = capture();
    let fixture = Fixture::new().await;
    let vault = fixture.connected().await;
    vault.token(ACME).await.unwrap();
    fixture.clock.advance(Duration::from_secs(30));
    fixture.provider.enqueue([Fault::none().slow_after(Duration::from_millis(500))]);
    let request = TokenRequest {
        min_ttl: Some(Duration::from_secs(40)),
        wait: Some(Duration::from_millis(50)),
        by: None,
    };
    vault.token_with(ACME, request).await.unwrap();
    assert_logged(&log, "WARN", "waiting for the refresh took too long");
    assert_logged(&log, "WARN", "going on with the current token");
}

#[tokio::test]
async fn a_grant_that_is_dead_is_logged_at_error() {
    let (log, _guard) = capture();
    let fixture = Fixture::new().await;
    let at_once =
        PolicyOverrides { confirm_dead: Some(DurationText(Duration::ZERO)), ..PolicyOverrides::default() };
    let acme = fixture.acme().policy(at_once);
    let vault = Vault::in_memory().clock(fixture.clock.clone()).connection(ACME, acme).open().await.unwrap();
    let token = fixture.refresh_token();
    assert!(fixture.provider.revoke_grant(token.reveal()));
    vault.connect(ACME, token).await.unwrap();
    let error = vault.token(ACME).await.unwrap_err();
    assert!(error.to_string().contains("`Vault::connect` takes the new refresh token"), "{error}");
    assert_logged(&log, "ERROR", "re-authorization required");
}
