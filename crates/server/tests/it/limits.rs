//! Limits of one caller, and shutdown.

use std::time::Duration;

use jeton_emulator::{Behaviour, Fault};
use jeton_server::Limits;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::app::{API_KEY, TestEnv};

const SOON: Duration = Duration::from_secs(10);
const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n";

#[tokio::test]
async fn headers_beyond_the_limits_are_refused() {
    let (_env, server) = TestEnv::start(&[]).await;
    let large = server.raw(format!("{HEALTH}X-Large: {}\r\n\r\n", "x".repeat(65 * 1024))).await;
    let many = server.raw(format!("{HEALTH}{}\r\n", "X-Many: 1\r\n".repeat(256))).await;
    for refused in [large, many] {
        assert!(refused.starts_with("HTTP/1.1 431 "), "{refused}");
        assert!(refused.contains("\r\nx-jeton-error: HEADERS_TOO_LARGE\r\n"), "{refused}");
        let problem: Value = serde_json::from_str(refused.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!((&problem["status"], &problem["code"]), (&json!(431), &json!("HEADERS_TOO_LARGE")));
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains("65536 bytes and 256 lines") && detail.contains("`server.max_headers`"),
            "{detail}"
        );
    }
    let fits = format!(
        "{HEALTH}Connection: close\r\nX-Large: {}\r\n{}\r\n",
        "x".repeat(60 * 1024),
        "X-Many: 1\r\n".repeat(240)
    );
    assert!(server.raw(fits).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn what_is_not_http_is_answered_with_what_is_wrong() {
    let (_env, server) = TestEnv::start(&[]).await;
    for request in [
        "\x16\x03\x01 hello\r\n\r\n".to_owned(),
        "GET /x?a=<b> HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET /x HTTP/3.0\r\nHost: x\r\n\r\n".to_owned(),
        format!("{HEALTH}No colon here\r\n\r\n"),
        format!("{HEALTH}Content-Length: two\r\n\r\n"),
    ] {
        let refused = server.raw(&request).await;
        assert!(refused.starts_with("HTTP/1.1 400 "), "{request}: {refused}");
        assert!(refused.contains("\r\nx-jeton-error: BAD_REQUEST\r\n"), "{request}: {refused}");
        let problem: Value = serde_json::from_str(refused.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(problem["code"], "BAD_REQUEST", "{request}");
    }
    // What was read before is answered first.
    let second = server.raw(format!("{HEALTH}\r\nbroken \r\n\r\n")).await;
    assert!(second.starts_with("HTTP/1.1 200 ") && second.contains("HTTP/1.1 400 "), "{second}");
    assert!(second.contains("BAD_REQUEST"), "{second}");
}

#[tokio::test]
async fn a_caller_that_sends_no_more_gets_its_answer() {
    let (_env, server) = TestEnv::start(&[]).await;
    let mut caller = TcpStream::connect(server.address).await.unwrap();
    caller.write_all(format!("{HEALTH}\r\n").as_bytes()).await.unwrap();
    caller.shutdown().await.unwrap();
    let mut answer = String::new();
    timeout(SOON, caller.read_to_string(&mut answer)).await.expect("it is closed then").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn an_answer_without_a_body_has_no_length_of_one() {
    let (_env, server) = TestEnv::start(&[]).await;
    for method in ["GET", "HEAD"] {
        let request = format!(
            "{method} /api/v1/verify HTTP/1.1\r\nHost: x\r\nX-API-KEY: {API_KEY}\r\nConnection: close\r\n\r\n"
        );
        let answer = server.raw(request).await;
        assert!(answer.starts_with("HTTP/1.1 204 ") && !answer.contains("content-length"), "{answer}");
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_announced_or_not() {
    let (_env, server) = TestEnv::start(&["acme"]).await;
    let head = format!(
        "POST /api/v1/connections/acme/refresh HTTP/1.1\r\nHost: x\r\nX-API-KEY: {API_KEY}\r\nContent-Type: application/json\r\n"
    );
    let announced = server.raw(format!("{head}Content-Length: 65537\r\nConnection: close\r\n\r\n")).await;
    assert!(announced.starts_with("HTTP/1.1 413 ") && announced.contains("PAYLOAD_TOO_LARGE"), "{announced}");

    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let chunk = format!("10001\r\n{}\r\n", " ".repeat(65_537));
    stream.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}").as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn headers_that_trickle_in_end_their_connection() {
    let env = TestEnv::new().await;
    let limits = Limits { header_time: Duration::from_millis(300), ..Limits::default() };
    let server = env.serve(&[], limits).await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    let trickle = async {
        loop {
            if slow.write_all(b"G").await.is_err() {
                return;
            }
            let mut byte = [0];
            match timeout(Duration::from_millis(50), slow.read(&mut byte)).await {
                Err(_) => {}
                // A closed connection, with or without a last word, is what we wait for.
                Ok(Ok(0) | Err(_)) => return,
                Ok(Ok(_)) => sleep(Duration::from_millis(10)).await,
            }
        }
    };
    timeout(SOON, trickle).await.expect("the server ends a connection that never asks");
    assert_eq!(server.anonymous().get("/healthz").await.unwrap().status, 200);
}

#[tokio::test]
async fn one_connection_too_many_takes_the_place_of_an_idle_one() {
    let env = TestEnv::new().await;
    let server = env.serve(&[], Limits { connections: 3, ..Limits::default() }).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut halfway = TcpStream::connect(server.address).await.unwrap();
    halfway.write_all(HEALTH.as_bytes()).await.unwrap();
    let mut authenticated = TcpStream::connect(server.address).await.unwrap();
    let list = format!("GET /api/v1/connections HTTP/1.1\r\nHost: x\r\nX-API-KEY: {API_KEY}\r\n\r\n");
    authenticated.write_all(list.as_bytes()).await.unwrap();
    let mut answer = [0; 15];
    authenticated.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    let mut newcomers = Vec::new();
    for given_way in [&mut silent, &mut halfway] {
        let mut newcomer = TcpStream::connect(server.address).await.unwrap();
        newcomer.write_all(format!("{HEALTH}\r\n").as_bytes()).await.unwrap();
        timeout(SOON, newcomer.read_exact(&mut answer)).await.expect("it is admitted").unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        newcomers.push(newcomer);
        let mut byte = [0];
        let closed = timeout(SOON, given_way.read(&mut byte)).await.expect("it is closed");
        assert!(matches!(closed, Ok(0) | Err(_)));
    }
    authenticated.write_all(list.as_bytes()).await.unwrap();
    let mut rest = vec![0; 4096];
    let read = timeout(SOON, authenticated.read(&mut rest)).await.unwrap().unwrap();
    assert!(read > 0, "a caller with a credential keeps its connection while others can give way");
}

#[tokio::test]
async fn a_form_without_a_credential_that_does_not_end_gives_way_and_one_that_ends_is_answered() {
    let env = TestEnv::new().await;
    let server = env.serve(&[], Limits { connections: 3, ..Limits::default() }).await;
    let head =
        "POST /oauth/callback HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let begun = format!("{head}Content-Length: 100\r\n\r\nstate=");
    let mut slow = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    // Long before the time for a body is over.
    let client = server.anonymous().with_deadline(Duration::from_secs(6));
    for _ in 0..3 {
        assert_eq!(client.get("/healthz").await.unwrap().status, 200);
    }
    let mut ends = TcpStream::connect(server.address).await.unwrap();
    ends.write_all(format!("{head}Content-Length: 9\r\n\r\nstate").as_bytes()).await.unwrap();
    sleep(Duration::from_millis(200)).await;
    ends.write_all(b"=abc").await.unwrap();
    let mut answer = [0; 12];
    timeout(SOON, ends.read_exact(&mut answer)).await.expect("it is answered").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 "), "{answer:?}");
    // After its answer the connection is idle as any other.
    assert_eq!(client.get("/healthz").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_connection_with_a_request_under_way_never_gives_way() {
    let env = TestEnv::new().await;
    let server = env.serve(&["acme"], Limits { connections: 1, ..Limits::default() }).await;
    server.connect(&env, "acme").await;
    env.emulator.set_behaviour(Behaviour::from_queue([Fault::none().slow_after(Duration::from_secs(2))]));
    let client = server.client();
    let under_way = client.get("/api/v1/connections/acme/token");
    let another = async {
        while env.emulator.stats().in_flight == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        let short = server.anonymous().with_deadline(Duration::from_millis(300));
        assert!(short.get("/healthz").await.is_err(), "there is one place, and it is taken");
    };
    let (answer, ()) = tokio::join!(under_way, another);
    assert_eq!(answer.unwrap().status, 200);
    assert_eq!(server.anonymous().with_deadline(SOON).get("/healthz").await.unwrap().status, 200);
}

#[tokio::test]
async fn shutdown_answers_what_is_under_way_and_takes_no_more() {
    let (env, server) = TestEnv::start_connected().await;
    env.emulator.set_behaviour(Behaviour::from_queue([Fault::none().slow_after(Duration::from_millis(700))]));
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    let client = server.client();
    let address = server.address;
    let under_way = client.get("/api/v1/connections/acme/token");
    let stopping = async {
        while env.emulator.stats().requests == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        server.stop();
        let mut rest = Vec::new();
        let closed = timeout(SOON, idle.read_to_end(&mut rest)).await.expect("an idle connection is closed");
        assert_eq!(closed.unwrap(), 0);
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
        timeout(SOON, server.ended()).await.expect("it stops when the last request is answered").unwrap();
    };
    let (answer, ()) = tokio::join!(under_way, stopping);
    assert_eq!(answer.unwrap().status, 200);
}

#[tokio::test]
async fn shutdown_waits_no_longer_than_its_limit() {
    let env = TestEnv::new().await;
    let limits = Limits { drain: Duration::from_millis(200), ..Limits::default() };
    let server = env.serve(&["acme"], limits).await;
    server.connect(&env, "acme").await;
    env.emulator.set_behaviour(Behaviour::from_queue([Fault::none().slow_before(Duration::from_secs(20))]));
    let client = server.client();
    let hung = client.get("/api/v1/connections/acme/token");
    let stopping = async {
        while env.emulator.stats().in_flight == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        let told = Instant::now();
        server.stop();
        timeout(SOON, server.ended()).await.expect("it stops").unwrap();
        assert!(told.elapsed() >= Duration::from_millis(200));
    };
    let (answer, ()) = tokio::join!(hung, stopping);
    assert!(answer.is_err(), "the connection was cut");
}

#[tokio::test]
async fn an_idle_connection_of_http2_is_closed_like_any_other() {
    let env = TestEnv::new().await;
    let limits = Limits { header_time: Duration::from_millis(300), ..Limits::default() };
    let server = env.serve(&[], limits).await;
    // The preface in two parts, and an empty frame of settings.
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    sleep(Duration::from_millis(50)).await;
    idle.write_all(b"\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut said = Vec::new();
    let _ = timeout(SOON, idle.read_to_end(&mut said)).await.expect("it is closed");
    assert_eq!(said[3], 4, "it begins with settings");
}
