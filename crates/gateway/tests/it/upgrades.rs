//! `WebSocket`s pass through.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use jeton_testkit::TestServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::fixture::{API_KEY, Fixture, echo_api, error_code, operator, raw_head, read_head, send};

const TIMEOUT: Duration = Duration::from_mins(1);

/// An API that switches protocols for the tokens that are good, and then echoes everything.
async fn echo_server(good: impl Fn(&str) -> bool + Clone + Send + 'static) -> TestServer {
    TestServer::accepting(move |mut stream| {
        let good = good.clone();
        async move {
            let head = read_head(&mut stream).await.to_ascii_lowercase();
            if !good(&head) {
                send(&mut stream, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
                return;
            }
            assert!(head.contains("\r\nupgrade: websocket\r\n") && head.contains("\r\nconnection: upgrade\r\n"), "{head}");
            assert!(head.contains("\r\nsec-websocket-key: abc\r\n"), "{head}");
            send(
                &mut stream,
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: xyz\r\n\r\n",
            )
            .await;
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        }
    })
    .await
}

async fn open(fixture: &Fixture) -> (TcpStream, String) {
    open_with_key(fixture, API_KEY).await
}

async fn open_with_key(fixture: &Fixture, key: &str) -> (TcpStream, String) {
    let mut stream = fixture
        .open(raw_head(
            "GET /api/v1/proxy/acme/live",
            key,
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: abc\r\n",
        ))
        .await;
    let head = read_head(&mut stream).await;
    (stream, head)
}

/// What is sent comes back.
async fn assert_echoes(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut back = vec![0; text.len()];
    timeout(TIMEOUT, stream.read_exact(&mut back)).await.unwrap().unwrap();
    assert_eq!(back, text.as_bytes());
}

async fn assert_ended(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // Ended or reset: both are an end.
    let _ = timeout(TIMEOUT, stream.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_web_socket_passes_through_in_both_directions() {
    let fixture = Fixture::new(&echo_server(|_| true).await.base_url()).await;
    let (mut stream, head) = open(&fixture).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("sec-websocket-accept: xyz"), "{head}");
    assert_echoes(&mut stream, "hello").await;
    assert_echoes(&mut stream, "again").await;
    stream.shutdown().await.unwrap();
    assert_ended(&mut stream).await;
}

#[tokio::test]
async fn a_web_socket_is_opened_with_a_fresh_token_where_the_first_was_refused() {
    let refused = Arc::new(Mutex::new(String::new()));
    let known = Arc::clone(&refused);
    let api = echo_server(move |head| {
        let refused = known.lock().unwrap().to_ascii_lowercase();
        refused.is_empty() || !head.contains(&refused)
    })
    .await;
    let fixture = Fixture::new(&api.base_url()).await;
    fixture.access_token().await.reveal().clone_into(&mut refused.lock().unwrap());
    let (mut stream, head) = open(&fixture).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_echoes(&mut stream, "hello").await;
}

#[tokio::test]
async fn an_api_that_does_not_switch_answers_as_usual() {
    let (_api, fixture) = Fixture::with_echo().await;
    let (_, head) = open(&fixture).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

#[tokio::test]
async fn an_api_that_switches_unasked_is_502() {
    let api = TestServer::accepting(|mut stream| async move {
        read_head(&mut stream).await;
        send(&mut stream, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
            .await;
    })
    .await;
    let fixture = Fixture::new(&api.base_url()).await;
    let reply = fixture.get("/x").await;
    assert_eq!(error_code(&reply, 502), "UPSTREAM_BROKEN");
}

#[tokio::test]
async fn a_tunnel_ends_when_nothing_moves_and_at_the_latest_with_the_gateway() {
    let settings = jeton_gateway::Settings {
        tunnel_idle_timeout: Duration::from_millis(200),
        ..jeton_gateway::Settings::default()
    };
    let base = echo_server(|_| true).await.base_url();
    let idle = Fixture::with_settings(&base, settings).await;
    let (mut stream, _) = open(&idle).await;
    assert_ended(&mut stream).await;

    let fixture = Fixture::new(&base).await;
    let (mut stream, _) = open(&fixture).await;
    fixture.gateway.drain().await;
    assert_ended(&mut stream).await;
}

#[tokio::test]
async fn a_tunnel_ends_when_the_service_token_of_its_caller_is_revoked_and_others_go_on() {
    let fixture = Fixture::new(&echo_server(|_| true).await.base_url()).await;
    let (id, raw) = fixture.service_token(None).await;
    let (mut stream, head) = open_with_key(&fixture, raw.reveal()).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let (mut other, _) = open(&fixture).await;
    assert_echoes(&mut stream, "hello").await;
    fixture.access.revoke(id, &operator()).await.unwrap();
    assert_ended(&mut stream).await;
    assert_echoes(&mut other, "hello").await;
}

#[tokio::test]
async fn a_tunnel_ends_when_the_service_token_of_its_caller_expires() {
    let fixture = Fixture::new(&echo_server(|_| true).await.base_url()).await;
    let (_, raw) = fixture.service_token(Some(Duration::from_secs(3))).await;
    let (mut stream, head) = open_with_key(&fixture, raw.reveal()).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_ended(&mut stream).await;
}

#[tokio::test]
async fn one_tunnel_too_many_is_503_with_a_time_and_another_opens_when_one_ends() {
    let settings = jeton_gateway::Settings { tunnels: 1, ..jeton_gateway::Settings::default() };
    let base = echo_server(|_| true).await.base_url();
    let fixture = Fixture::with_settings(&base, settings).await;
    let (first, head) = open(&fixture).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let (_, head) = open(&fixture).await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(head.contains("x-jeton-error: BUSY\r\n") && head.contains("retry-after: 10\r\n"), "{head}");
    drop(first);
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    loop {
        let (_again, head) = open(&fixture).await;
        if head.starts_with("HTTP/1.1 101 ") {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{head}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn calls_that_open_no_tunnel_take_no_permit_from_those_that_do() {
    let settings = jeton_gateway::Settings { tunnels: 1, ..jeton_gateway::Settings::default() };
    let api = echo_api().await;
    let fixture = Fixture::with_settings(&api.base_url(), settings).await;
    for _ in 0..3 {
        // The API does not agree to the upgrade.
        let (_, head) = open(&fixture).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }
}
