//! Failures before a byte of the request was written: the token is certainly unspent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jeton_core::keep::attempt::AttemptStatus;
use jeton_core::keep::ports::StoreError;
use jeton_core::keep::provider::ErrorClass;
use jeton_keeper::TokenError;
use jeton_store::sqlite::faults::SqliteHooks;
use tokio::net::TcpListener;

use crate::fixture::{ACME, Fixture, Options, short_settings};
use crate::process::Process;
use jeton_testkit::OffsetClock;

async fn assert_not_sent(process: &Process) {
    let failed = process.token(ACME).await;
    let Err(TokenError::Failed { class, code, .. }) = &failed else { panic!("{failed:?}") };
    assert_eq!((*class, code.as_str()), (ErrorClass::Transient, "not_sent"));
    let attempt = process.last_attempt(ACME).await;
    assert_eq!((attempt.status, attempt.code.as_deref()), (AttemptStatus::Failed, Some("not_sent")));
    let row = process.row(ACME).await;
    assert_eq!((row.open_attempt, row.lease, row.generation.0), (None, None, 1));
}

#[tokio::test]
async fn a_refused_connection_leaves_the_token_unspent() {
    let (mut fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.refuse_connections().await;
    assert_not_sent(&process).await;
    fixture.emulator.accept_connections().await.unwrap();
    fixture.clock.advance(Duration::from_secs(1));
    assert!(process.token(ACME).await.is_ok());
    fixture.assert_spent_once();
    assert_eq!(process.last_attempt(ACME).await.recovers, None);
}

#[tokio::test]
async fn a_tls_handshake_that_fails_leaves_the_token_unspent() {
    let plain = Fixture::start(Options::default()).await;
    let token_url = Some(format!("https://{}/token", plain.emulator.address()));
    let (fixture, process) = Fixture::with(Options { token_url, ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    assert_not_sent(&process).await;
    assert_eq!(plain.requests(), 0);
}

#[tokio::test]
async fn a_tls_handshake_that_never_answers_ends_at_the_deadline_and_leaves_the_token_unspent() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let token_url = Some(format!("https://{}/token", silent.local_addr().unwrap()));
    let settings = jeton_keeper::Settings { redeem_timeout: Duration::from_millis(300), ..short_settings() };
    let (fixture, process) = Fixture::with(Options { settings, token_url, ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    assert_not_sent(&process).await;
    drop(silent);
}

/// Lets the machine sleep right after the next COMMIT.
#[derive(Debug)]
struct SleepAfterCommit {
    clock: Arc<OffsetClock>,
    armed: AtomicBool,
}

impl SqliteHooks for SleepAfterCommit {
    fn after_commit(&self) -> Result<(), StoreError> {
        if self.armed.swap(false, Ordering::SeqCst) {
            self.clock.advance(Duration::from_mins(2));
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_redeemer_that_slept_through_its_lease_writes_nothing() {
    let fixture = Fixture::start(Options::default()).await;
    let hooks =
        Arc::new(SleepAfterCommit { clock: Arc::clone(&fixture.clock), armed: AtomicBool::new(false) });
    let process = fixture.process_with(short_settings(), Arc::clone(&hooks) as _).await;
    process.connect(ACME, fixture.expired_grant()).await;
    // The next commit is the claim.
    hooks.armed.store(true, Ordering::SeqCst);
    assert_not_sent(&process).await;
    assert_eq!(fixture.requests(), 0);
    fixture.clock.advance(Duration::from_secs(1));
    assert!(process.token(ACME).await.is_ok());
    fixture.assert_spent_once();
}
