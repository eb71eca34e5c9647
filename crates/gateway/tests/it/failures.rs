//! Failures of an API, and how they differ from what the API answers.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use http::Response;
use jeton_gateway::{CallSettings, Settings};
use jeton_testkit::{SilentListener, TestApi, TestServer};
use tokio::time::Instant;

use crate::fixture::{API_KEY, Fixture, echo_api, error_code, raw_head, read_head, send};

fn short_timeouts() -> Settings {
    let calls = CallSettings {
        connect_timeout: Duration::from_secs(2),
        first_byte_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(300),
        ..CallSettings::default()
    };
    Settings { calls, ..Settings::default() }
}

#[tokio::test]
async fn an_api_that_is_down_is_502() {
    let api = echo_api().await;
    api.end().await;
    let fixture = Fixture::new(&api.base_url()).await;
    let reply = fixture.get("/x").await;
    assert_eq!(error_code(&reply, 502), "UPSTREAM_UNREACHABLE");
}

#[tokio::test]
async fn an_api_whose_address_does_not_answer_is_504_within_the_time_for_connecting_and_names_the_address() {
    let api = SilentListener::bind("127.0.0.1").unwrap();
    let base = format!("http://{}", api.address());
    let mut settings = short_timeouts();
    settings.calls.connect_timeout = Duration::from_millis(400);
    let fixture = Fixture::with_settings(&base, settings).await;
    let reply = fixture.get("/x").await;
    assert_eq!(error_code(&reply, 504), "UPSTREAM_TIMEOUT");
    let said = reply.text();
    assert!(said.contains(&format!("{} (no answer)", api.address())), "{said}");
    assert!(said.contains("see `gateway.connect_timeout`"), "{said}");
}

#[tokio::test]
async fn an_api_without_tls_where_tls_is_expected_is_502_and_gets_no_token() {
    let received = Arc::new(Mutex::new(Vec::new()));
    let bytes_received = Arc::clone(&received);
    let api = TestServer::accepting(move |mut stream| {
        let bytes_received = Arc::clone(&bytes_received);
        async move {
            use tokio::io::AsyncReadExt as _;
            let mut bytes = vec![0; 4096];
            let count = stream.read(&mut bytes).await.unwrap_or(0);
            bytes_received.lock().unwrap().extend_from_slice(&bytes[..count]);
            send(&mut stream, "HTTP/1.1 200 OK\r\n\r\n").await;
        }
    })
    .await;
    let fixture = Fixture::new(&api.base_url().replace("http:", "https:")).await;
    let token = fixture.access_token().await;
    let reply = fixture.get("/x").await;
    assert_eq!(error_code(&reply, 502), "UPSTREAM_UNREACHABLE");
    let received = String::from_utf8_lossy(&received.lock().unwrap()).into_owned();
    assert!(!received.is_empty() && !received.contains(token.reveal()));
}

#[tokio::test]
async fn an_api_that_never_answers_is_504_within_the_time_of_the_first_byte() {
    let api = TestServer::accepting(|mut stream| async move {
        read_head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let fixture = Fixture::with_settings(&api.base_url(), short_timeouts()).await;
    let started = Instant::now();
    let reply = fixture.get("/x").await;
    assert_eq!(error_code(&reply, 504), "UPSTREAM_TIMEOUT");
    assert!(reply.text().contains("gateway.first_byte_timeout"), "{}", reply.text());
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_slow_upload_is_waited_for_as_long_as_it_moves() {
    let api = echo_api().await;
    let fixture = Fixture::with_settings(&api.base_url(), short_timeouts()).await;
    let mut stream = fixture
        .open(raw_head("POST /api/v1/proxy/acme/x", API_KEY, "Content-Length: 8\r\nConnection: close\r\n"))
        .await;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(120)).await;
        send(&mut stream, "x").await;
    }
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(api.received()[0].body, "xxxxxxxx");
}

#[tokio::test]
async fn a_caller_that_stops_sending_is_408_and_not_the_fault_of_the_api() {
    let api = echo_api().await;
    let fixture = Fixture::with_settings(&api.base_url(), short_timeouts()).await;
    let answer = fixture
        .send_raw(
            raw_head("POST /api/v1/proxy/acme/x", API_KEY, "Content-Length: 8\r\nConnection: close\r\n")
                + "xx",
        )
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains("x-jeton-error: REQUEST_TIMEOUT"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_answer_that_stalls_is_cut_off_and_never_looks_whole() {
    let api = TestServer::accepting(|mut stream| async move {
        read_head(&mut stream).await;
        send(&mut stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
        std::future::pending::<()>().await;
    })
    .await;
    let fixture = Fixture::with_settings(&api.base_url(), short_timeouts()).await;
    let answer =
        fixture.send_raw(raw_head("GET /api/v1/proxy/acme/x", API_KEY, "Connection: close\r\n")).await;
    assert!(answer.contains("hello") && !answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn an_api_that_hangs_up_before_answering_is_502() {
    let api = TestServer::accepting(|mut stream| async move {
        read_head(&mut stream).await;
    })
    .await;
    let fixture = Fixture::new(&api.base_url()).await;
    let reply = fixture.get("/x").await;
    assert_eq!(error_code(&reply, 502), "UPSTREAM_BROKEN");
}

/// Calls an API that answers the first call of each connection, and closes the connection upon the second. Returns the
/// status of a second call with this method, and how often the API received it.
async fn close_on_second_call(method: &str) -> (u16, usize) {
    let count = Arc::new(AtomicUsize::new(0));
    let heads = Arc::clone(&count);
    let api = TestServer::accepting(move |mut stream| {
        let heads = Arc::clone(&heads);
        async move {
            for answered in [true, false] {
                let head = read_head(&mut stream).await;
                if head.contains(" /counted ") {
                    heads.fetch_add(1, Ordering::SeqCst);
                }
                if answered && !head.is_empty() {
                    send(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                }
            }
        }
    })
    .await;
    let fixture = Fixture::new(&api.base_url()).await;
    assert_eq!(fixture.get("/x").await.status, 200);
    let answer = fixture
        .send_raw(
            raw_head(
                &format!("{method} /api/v1/proxy/acme/counted"),
                API_KEY,
                "Content-Length: 2\r\nConnection: close\r\n",
            ) + "{}",
        )
        .await;
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, count.load(Ordering::SeqCst))
}

#[tokio::test]
async fn what_changes_something_is_never_sent_twice_because_a_connection_broke() {
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        assert_eq!(close_on_second_call(method).await, (502, 1), "{method}");
    }
    assert_eq!(close_on_second_call("GET").await, (200, 2), "a call that changes nothing is sent again");
}

#[tokio::test]
async fn an_answer_whose_end_two_readers_see_at_different_places_is_502_and_its_connection_is_not_used_again()
{
    for head in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
    ] {
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let api = TestServer::accepting(move |mut stream| {
            count.fetch_add(1, Ordering::SeqCst);
            async move {
                while !read_head(&mut stream).await.is_empty() {
                    send(&mut stream, &format!("HTTP/1.1 200 OK\r\n{head}\r\n5\r\nhello\r\n0\r\n\r\n")).await;
                }
            }
        })
        .await;
        let fixture = Fixture::new(&api.base_url()).await;
        for _ in 0..2 {
            let reply = fixture.get("/x").await;
            assert_eq!(error_code(&reply, 502), "UPSTREAM_BROKEN", "{head}");
        }
        assert_eq!(connections.load(Ordering::SeqCst), 2, "{head}");
    }
}

#[tokio::test]
async fn errors_of_the_api_pass_untouched() {
    let api = TestApi::answering(|_| {
        Response::builder()
            .status(502)
            .header("content-type", "text/html")
            .body(Body::from("<h1>Bad</h1>"))
            .unwrap()
    })
    .await;
    let fixture = Fixture::new(&api.base_url()).await;
    let reply = fixture.get("/x").await;
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (502, "<h1>Bad</h1>"));
    assert!(!reply.headers.contains_key("x-jeton-error"));
}

#[tokio::test]
async fn a_call_that_is_rejected_before_its_body_has_arrived_leaves_no_connection_open() {
    let (notify, mut events) = tokio::sync::mpsc::unbounded_channel();
    let calls = Arc::new(AtomicUsize::new(0));
    let api = TestServer::accepting(move |mut stream| {
        let notify = notify.clone();
        let first = calls.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            read_head(&mut stream).await;
            let status = if first { "401 Unauthorized" } else { "200 OK" };
            send(&mut stream, &format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")).await;
            // It waits for the rest of the body, as servers do that keep connections.
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            notify.send(status).unwrap();
        }
    })
    .await;
    let fixture = Fixture::new(&api.base_url()).await;
    let mut stream =
        fixture.open(raw_head("POST /api/v1/proxy/acme/x", API_KEY, "Content-Length: 9\r\n") + "first").await;
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    let closed = tokio::time::timeout(Duration::from_mins(1), events.recv()).await.expect("it is closed");
    assert_eq!(closed, Some("401 Unauthorized"));
}
