//! Refreshes that are joined, overtaken, or bring nothing new.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use jeton_core::keep::attempt::Act;
use jeton_core::keep::ports::StoreError;
use jeton_core::secret::Secret;
use jeton_emulator::Fault;
use jeton_keeper::{ApiVerdict, Grant, TokenError, TokenRequest};
use jeton_store::sqlite::faults::SqliteHooks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::acquire::EITHER;
use crate::fixture::{ACME, Fixture, Options, eventually, short_settings};

/// The access token that it gives to everybody, again and again.
pub(crate) const SAME: &str = "the-same-access-token-again";

/// A token endpoint that rotates refresh tokens and never the access token, and takes its time.
pub(crate) async fn stubborn() -> (String, Arc<AtomicUsize>, tokio::task::JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}/token", listener.local_addr().expect("it is bound"));
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            if stream.read(&mut request).await.is_err() {
                continue;
            }
            let number = counted.fetch_add(1, Ordering::SeqCst);
            sleep(Duration::from_millis(400)).await;
            let body = format!(
                "{{\"access_token\":\"{SAME}\",\"token_type\":\"Bearer\",\"expires_in\":3600,\
                 \"refresh_token\":\"a-refresh-token-{number}-that-is-long-enough\"}}"
            );
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: ";
            let reply = format!("{head}{}\r\n\r\n{body}", body.len());
            drop(stream.write_all(reply.as_bytes()).await);
        }
    });
    (url, requests, server)
}

#[tokio::test]
async fn who_joins_a_refresh_that_brings_the_refused_token_again_asks_the_store_and_does_not_spend_another() {
    let (token_url, requests, _server) = stubborn().await;
    let (fixture, process) =
        Fixture::with(Options { token_url: Some(token_url), ..Options::default() }).await;
    let access = Some(Secret::new(SAME));
    process.connect(ACME, Grant { access, ..fixture.living_grant(Duration::from_hours(1)) }).await;
    let token = process.token(ACME).await.unwrap();
    let late = async {
        eventually("the request is under way", || requests.load(Ordering::SeqCst) > 0).await;
        process.reject(ACME, &token).await
    };
    let (first, late) = tokio::join!(process.reject(ACME, &token), late);
    for answer in [first, late, process.reject(ACME, &token).await] {
        assert!(matches!(answer, Err(TokenError::RejectedAgain { .. })), "{answer:?}");
    }
    assert_eq!(requests.load(Ordering::SeqCst), 1);
    assert!(process.vault.token(ACME, TokenRequest::default()).await.is_ok());
}

/// A grant, and an API that is called with it.
const CALLED: &str = r#"
name = "own"
title = "Called"
hosts = ["api.example.com"]
[vars.token_url]
[client]
auth = "basic"
[refresh]
url = "${token_url}"
form = { grant_type = "refresh_token", refresh_token = "${refresh}" }
[policy]
rotation = "single_use"
[api]
base = "https://api.example.com"
"#;

#[tokio::test]
async fn what_helped_before_and_comes_again_unchanged_is_refreshed_once_and_then_backed_off() {
    let (token_url, requests, _server) = stubborn().await;
    let options = Options { token_url: Some(token_url), provider: Some(CALLED), ..Options::default() };
    let (fixture, process) = Fixture::with(options).await;
    process.connect(ACME, fixture.living_grant(Duration::from_hours(1))).await;
    let (vault, request) = (&process.vault, TokenRequest::default());
    let call = vault.call(ACME, request.clone()).await.unwrap();
    vault.note_verdict(ACME, &call, ApiVerdict::Refused);
    let cured = vault.replace_refused(ACME, &call, request.clone()).await.unwrap();
    vault.note_verdict(ACME, &cured, ApiVerdict::Accepted);
    assert_eq!((cured.token.access.reveal(), requests.load(Ordering::SeqCst)), (SAME, 1));
    let call = vault.call(ACME, request.clone()).await.unwrap();
    vault.note_verdict(ACME, &call, ApiVerdict::Refused);
    let refused = vault.replace_refused(ACME, &call, request.clone()).await;
    assert!(matches!(refused, Err(TokenError::RejectedAgain { .. })), "{refused:?}");
    assert_eq!(requests.load(Ordering::SeqCst), 2);
}

/// Holds the writer up after the next COMMIT.
#[derive(Debug, Default)]
struct Stall {
    armed: AtomicBool,
    committed: Notify,
}

impl SqliteHooks for Stall {
    fn after_commit(&self) -> Result<(), StoreError> {
        if self.armed.swap(false, Ordering::SeqCst) {
            self.committed.notify_one();
            std::thread::sleep(Duration::from_millis(400));
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_is_connected_meanwhile_is_not_taken_for_the_one_that_was_refused() {
    let fixture = Fixture::start(Options { provider: Some(EITHER), ..Options::default() }).await;
    let stall = Arc::new(Stall::default());
    let process = fixture.process_with(short_settings(), Arc::clone(&stall) as _).await;
    let other = fixture.process().await;
    let dead = fixture.expired_grant();
    process.connect(ACME, dead.clone()).await;
    fixture.emulator.revoke_grant(dead.refresh.expect("it has one").reveal());
    fixture.emulator.enqueue([Fault::none().slow_before(Duration::from_millis(300))]);
    let meanwhile = async {
        fixture.until_a_request_is_under_way().await;
        // What is committed next is that the grant was refused.
        stall.armed.store(true, Ordering::SeqCst);
        stall.committed.notified().await;
        other.connect(ACME, fixture.expired_grant()).await;
    };
    let (token, ()) = tokio::join!(process.token(ACME), meanwhile);
    assert!(fixture.emulator.accepts(token.unwrap().access.reveal()));
    let acts: Vec<_> = process.attempts(ACME).await.iter().map(|attempt| attempt.act).collect();
    assert_eq!(
        acts,
        [Act::Redeem, Act::Redeem],
        "the new grant is used, and nothing is acquired in its place"
    );
}
