//! Providers whose replies do not say how long an access token lives, and whose introspection does.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::keep::attempt::AttemptStatus;
use jeton_core::time::Clock as _;
use jeton_keeper::TokenError;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::fixture::{ACME, Fixture, Options, eventually};
use crate::process::Process;
use crate::spill::filled_slots;

/// How long access tokens really live.
const LIFE: Duration = Duration::from_mins(17);

/// A provider whose replies leave the expiry out, and that is asked for it at `url`.
pub(crate) fn provider(url: &str) -> &'static str {
    let file = format!(
        r#"
name = "own"
title = "Own"
hosts = []
[vars.token_url]
[refresh]
url = "${{token_url}}"
form = {{ grant_type = "refresh_token", refresh_token = "${{refresh}}" }}
[take]
expires = ["introspect", {{ fixed = "1h" }}]
[introspect]
url = "{url}"
form = {{ token = "${{access}}" }}
take = {{ active = "active", expires = {{ path = "exp", as = "epoch_s" }} }}
[policy]
rotation = "single_use"
"#
    );
    Box::leak(file.into_boxed_str())
}

async fn fixture(url: &str) -> (Fixture, Process) {
    let emulator = jeton_emulator::Settings { access_ttl: LIFE, ..jeton_emulator::Settings::default() };
    Fixture::with(Options { emulator, provider: Some(provider(url)), ..Options::default() }).await
}

/// How long the token lives that the row holds.
async fn believed_life(fixture: &Fixture, process: &Process) -> Duration {
    let tokens = process.row(ACME).await.tokens.expect("a token set is there");
    tokens.access_expires_at.expect("some expiry is believed").since(fixture.clock.now())
}

#[tokio::test]
async fn the_life_of_a_new_access_token_is_what_introspection_says() {
    let (fixture, process) = fixture("${token_url}/../introspect").await;
    process.connect(ACME, fixture.expired_grant()).await;
    process.token(ACME).await.unwrap();
    let life = believed_life(&fixture, &process).await;
    assert!(life <= LIFE && life > Duration::from_mins(16), "{life:?}");
    assert_eq!(process.last_attempt(ACME).await.message, None);
    assert_eq!(filled_slots(&fixture), []);
    fixture.assert_spent_once();
}

#[tokio::test]
async fn where_introspection_fails_the_token_lives_by_what_the_file_says_besides_and_the_log_tells() {
    for (url, why) in [
        ("${token_url}/../nowhere", "introspection did not tell how long the access token lives: "),
        // It says 200 and something else.
        ("${token_url}/../api/", "introspection did not tell how long the access token lives: "),
    ] {
        let (fixture, process) = fixture(url).await;
        process.connect(ACME, fixture.expired_grant()).await;
        process.token(ACME).await.unwrap();
        let life = believed_life(&fixture, &process).await;
        assert!(life > Duration::from_mins(55), "{life:?}");
        let attempt = process.last_attempt(ACME).await;
        assert_eq!(attempt.status, AttemptStatus::Success);
        assert!(attempt.message.as_deref().unwrap_or_default().starts_with(why), "{attempt:?}");
        fixture.assert_spent_once();
    }
}

/// A process in a runtime of its own, which dies while it waits for an introspection.
fn die_while_asking(fixture: &Arc<Fixture>) {
    let fixture = Arc::clone(fixture);
    let dying = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("the fixture is ready");
        runtime.block_on(async {
            let process = fixture.process().await;
            process.connect(ACME, fixture.expired_grant()).await;
            let brief = Duration::from_millis(20);
            assert!(matches!(process.token_within(ACME, brief).await, Err(TokenError::WaitTimeout { .. })));
            eventually("the reply is durable", || !filled_slots(&fixture).is_empty()).await;
            assert_eq!(process.row(ACME).await.generation.0, 1, "and the provider has not answered yet");
        });
        runtime.shutdown_timeout(Duration::from_secs(1));
    });
    dying.join().expect("the fixture is ready");
}

/// A way to the emulator on which every request but one for tokens gets stuck.
async fn stuck_but_for_tokens(emulator: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let tracker = TaskTracker::new();
    let connections = tracker.clone();
    tracker.spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut first = [0; 12];
                while from.peek(&mut first).await? < first.len() {}
                if first == *b"POST /token " {
                    let mut to = TcpStream::connect(emulator).await?;
                    copy_bidirectional(&mut from, &mut to).await?;
                } else {
                    pending::<()>().await;
                }
                std::io::Result::Ok(())
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_set_is_durable_while_introspection_is_waited_for() {
    let mut fixture = Fixture::start(Options::default()).await;
    let way = stuck_but_for_tokens(fixture.emulator.address()).await;
    fixture.options.token_url = Some(format!("http://{way}/token"));
    fixture.options.provider = Some(provider("${token_url}/../introspect"));
    let fixture = Arc::new(fixture);
    let dying = Arc::clone(&fixture);
    tokio::task::spawn_blocking(move || die_while_asking(&dying)).await.unwrap();
    let process = fixture.process().await;
    assert_eq!(process.row(ACME).await.generation.0, 2);
    assert_eq!(filled_slots(&fixture), []);
    assert!(fixture.emulator.accepts(process.token(ACME).await.unwrap().access.reveal()));
    fixture.assert_spent_once();
}

#[tokio::test]
async fn callers_wait_two_seconds_at_most_for_an_introspection_that_gets_stuck() {
    let mut fixture = Fixture::start(Options::default()).await;
    let way = stuck_but_for_tokens(fixture.emulator.address()).await;
    fixture.options.token_url = Some(format!("http://{way}/token"));
    fixture.options.provider = Some(provider("${token_url}/../introspect"));
    let process = fixture.process().await;
    process.connect(ACME, fixture.expired_grant()).await;
    let asked = Instant::now();
    process.token(ACME).await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    let attempt = process.last_attempt(ACME).await;
    assert!(attempt.message.unwrap().starts_with("introspection did not tell"), "the life is the file's");
    fixture.assert_spent_once();
}
