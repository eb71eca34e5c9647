//! What goes over the wire, byte for byte: header names, lengths, and how connections end on both sides.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jeton_testkit::TestServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::fixture::{API_KEY, Fixture, echo_api, error_code, raw_head, read_head, send};

const SOON: Duration = Duration::from_secs(20);

/// An API that sends these bytes to each request without a body, and closes.
async fn api_that_sends(answer: impl Into<String>) -> TestServer {
    let answer: Arc<str> = answer.into().into();
    TestServer::accepting(move |mut stream| {
        let answer = Arc::clone(&answer);
        async move {
            read_head(&mut stream).await;
            send(&mut stream, &answer).await;
        }
    })
    .await
}

/// What the gateway answers to a request for `/x` of an API that sends these bytes.
async fn passed_on(method: &str, answer: &str) -> String {
    let api = api_that_sends(answer).await;
    let fixture = Fixture::new(&api.base_url()).await;
    let line = format!("{method} /api/v1/proxy/acme/x");
    let answer = fixture.send_raw(raw_head(&line, API_KEY, "Connection: close\r\n")).await;
    answer.to_ascii_lowercase()
}

#[tokio::test]
async fn what_ends_at_jeton_ends_there_in_every_spelling_that_a_program_may_read() {
    let (api, fixture) = Fixture::with_echo().await;
    let headers = "X_HTTP_Method_Override: DELETE\r\nX-HTTP_METHOD-Override: DELETE\r\nX.HTTP.Method.Override: DELETE\r\n\
                   X_Original_URL: /admin\r\nX_Rewrite_URL: /admin\r\nX_Forwarded_For: 10.0.0.1\r\nX-Original-URI: /a\r\n\
                   X-Original-Method: DELETE\r\nX-Original-Host: a\r\nProxy: http://evil.example\r\nTrue-Client-IP: 10.0.0.1\r\n\
                   CF-Connecting-IP: 10.0.0.1\r\nX_Service_Token: x\r\nX_API_KEY: x\r\nContent_Length: 5\r\n\
                   Transfer_Encoding: chunked\r\napi_key: passes\r\nConnection: close, X-Hop\r\nX_Hop: 1\r\n";
    let answer = fixture.send_raw(raw_head("POST /api/v1/proxy/acme/leads/1", API_KEY, headers)).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let [request] = api.received().try_into().unwrap();
    let mut names: Vec<_> = request.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["api_key", "authorization", "host", "traceparent", "user-agent", "x-request-id"]);
}

#[tokio::test]
async fn what_ends_at_jeton_of_an_answer_ends_there_in_every_spelling() {
    let answer = passed_on(
        "GET",
        "HTTP/1.1 200 OK\r\nSet_Cookie: a=b\r\nX_Accel_Redirect: /internal\r\nX-Accel-Redirect: /internal\r\n\
         Content_Length: 5\r\nX_Jeton_Error: FALSE\r\nX-Accel-Buffering: no\r\nx_theirs: 1\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    for gone in ["set_cookie", "accel_redirect", "accel-redirect", "content_length", "x_jeton_error"] {
        assert!(!answer.contains(gone), "{gone}: {answer}");
    }
    for kept in ["\r\nx-accel-buffering: no\r\n", "\r\nx_theirs: 1\r\n", "\r\ncontent-length: 2\r\n"] {
        assert!(answer.contains(kept), "{kept}: {answer}");
    }
}

#[tokio::test]
async fn an_answer_to_head_has_the_length_that_the_api_says_and_no_other() {
    for (headers, length) in [
        ("Content-Type: application/zip\r\nTransfer-Encoding: chunked\r\n", None),
        ("Content-Type: application/zip\r\n", None),
        ("Content-Length: 5\r\n", Some("content-length: 5\r\n")),
        ("Content-Length: 0\r\n", Some("content-length: 0\r\n")),
    ] {
        let answer = passed_on("HEAD", &format!("HTTP/1.1 200 OK\r\n{headers}\r\n")).await;
        assert!(answer.starts_with("http/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
        match length {
            Some(length) => assert!(answer.contains(length), "{answer}"),
            None => assert!(!answer.contains("content-length"), "{answer}"),
        }
    }
}

#[tokio::test]
async fn a_length_that_is_given_twice_goes_on_as_one_number_or_not_at_all() {
    for lengths in ["Content-Length: 2, 2\r\n", "Content-Length: 2\r\nContent-Length: 2\r\n"] {
        let answer = passed_on("GET", &format!("HTTP/1.1 200 OK\r\n{lengths}\r\nok")).await;
        assert!(answer.contains("\r\ncontent-length: 2\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");
        assert_eq!(answer.matches("content-length").count(), 1, "{answer}");
    }
    for lengths in ["Content-Length: 2, 3\r\n", "Content-Length: 2\r\nContent-Length: 3\r\n"] {
        let answer = passed_on("GET", &format!("HTTP/1.1 200 OK\r\n{lengths}\r\nok")).await;
        assert!(answer.starts_with("http/1.1 502 "), "{answer}");
    }
}

#[tokio::test]
async fn sloppy_header_lines_of_an_answer_go_on_clean_or_not_at_all() {
    let answer = passed_on("GET", "HTTP/1.1 200 OK\r\nServer : x\r\nContent-Length: 2\r\n\r\nok").await;
    assert!(answer.contains("\r\nserver: x\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");
    let answer = passed_on("GET", "HTTP/1.1 200 OK\r\nX-Long: a\r\n  b\r\nContent-Length: 2\r\n\r\nok").await;
    let folded = answer.lines().find(|line| line.starts_with("x-long:")).unwrap();
    assert_eq!(folded.split_whitespace().collect::<Vec<_>>(), ["x-long:", "a", "b"], "{answer}");
    let answer = passed_on("GET", "HTTP/1.1 200 OK\r\nNo colon\r\nContent-Length: 2\r\n\r\nok").await;
    assert!(answer.starts_with("http/1.1 502 "), "{answer}");
}

#[tokio::test]
async fn many_header_lines_of_an_answer_pass_and_more_than_the_limit_name_it() {
    let lines = |count: usize| "Link: </a>; rel=preload\r\n".repeat(count);
    let answer =
        passed_on("GET", &format!("HTTP/1.1 200 OK\r\n{}Content-Length: 2\r\n\r\nok", lines(200))).await;
    assert!(answer.starts_with("http/1.1 200 "), "{answer}");
    assert_eq!(answer.matches("\r\nlink: ").count(), 200);
    let wide = format!("X-Wide: {}\r\n", "x".repeat(70_000));
    for many in [lines(300), wide] {
        let answer = passed_on("GET", &format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 2\r\n\r\nok")).await;
        assert!(answer.starts_with("http/1.1 502 "), "{answer}");
        assert!(answer.contains("65536 bytes or 256 lines; see `gateway.max_header_bytes`"), "{answer}");
    }
}

#[tokio::test]
async fn a_caller_that_sends_no_more_gets_its_answer() {
    let api = TestServer::accepting(|mut stream| async move {
        read_head(&mut stream).await;
        let mut body = [0; 2];
        stream.read_exact(&mut body).await.unwrap();
        sleep(Duration::from_millis(300)).await;
        send(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    })
    .await;
    let fixture = Fixture::new(&api.base_url()).await;
    let request = raw_head("POST /api/v1/proxy/acme/x", API_KEY, "Content-Length: 2\r\n") + "hi";
    let mut caller = fixture.open(request).await;
    caller.shutdown().await.unwrap();
    let mut answer = String::new();
    timeout(SOON, caller.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok"), "{answer}");
}

/// An API that answers each request with these headers, keeps its connections, and counts them.
async fn keeping_api(headers: &'static str) -> (TestServer, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let connections = Arc::clone(&count);
    let api = TestServer::accepting(move |mut stream| {
        connections.fetch_add(1, Ordering::SeqCst);
        async move {
            while !read_head(&mut stream).await.is_empty() {
                send(&mut stream, &format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{headers}\r\nok")).await;
            }
        }
    })
    .await;
    (api, count)
}

#[tokio::test]
async fn a_post_does_not_meet_a_connection_that_the_api_is_about_to_close() {
    for (headers, pause, connections) in [
        ("Keep-Alive: timeout=1\r\n", 0, 2),
        ("Keep-Alive: timeout=30, max=0\r\n", 0, 2),
        ("Keep-Alive: timeout=30, max=99\r\n", 1_200, 1),
        ("", 0, 1),
        ("", 1_200, 2),
    ] {
        let (api, count) = keeping_api(headers).await;
        let fixture = Fixture::new(&api.base_url()).await;
        for pause in [0, pause] {
            sleep(Duration::from_millis(pause)).await;
            let line = "POST /api/v1/proxy/acme/x";
            let mut caller = fixture.open(raw_head(line, API_KEY, "Content-Length: 0\r\n")).await;
            assert!(read_head(&mut caller).await.starts_with("HTTP/1.1 200 "));
            let mut body = [0; 2];
            caller.read_exact(&mut body).await.unwrap();
        }
        assert_eq!(count.load(Ordering::SeqCst), connections, "{headers:?} after {pause} ms");
    }
}

#[tokio::test]
async fn a_get_uses_a_connection_as_long_as_the_api_keeps_it() {
    let (api, count) = keeping_api("Keep-Alive: timeout=3\r\n").await;
    let fixture = Fixture::new(&api.base_url()).await;
    for _ in 0..2 {
        assert_eq!(fixture.get("/x").await.status, 200);
        sleep(Duration::from_millis(1_200)).await;
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

/// Reads until the connection ends: the bytes, and whether it ended in good order.
async fn read_all(caller: &mut TcpStream) -> (String, bool) {
    let mut answer = Vec::new();
    let ended = timeout(SOON, caller.read_to_end(&mut answer)).await.expect("it ends");
    (String::from_utf8(answer).unwrap(), ended.is_ok())
}

#[tokio::test]
async fn a_torn_answer_never_looks_whole_to_a_caller_of_either_version() {
    for answer in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nhello",
    ] {
        let api = api_that_sends(answer).await;
        let fixture = Fixture::new(&api.base_url()).await;
        for version in ["1.1", "1.0"] {
            let request =
                format!("GET /api/v1/proxy/acme/x HTTP/{version}\r\nHost: x\r\nX-API-KEY: {API_KEY}\r\n\r\n");
            let (passed, in_order) = read_all(&mut fixture.open(request).await).await;
            let lower = passed.to_ascii_lowercase();
            let torn = !in_order
                || (lower.contains("chunked") && !passed.ends_with("0\r\n\r\n"))
                || (lower.contains("content-length: 9") && !passed.ends_with("hello1234"));
            assert!(torn, "HTTP/{version}: {passed}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_torn_by_a_reset() {
    let api = TestServer::accepting(|mut stream| async move {
        read_head(&mut stream).await;
        send(&mut stream, "HTTP/1.0 200 OK\r\n\r\nhello").await;
        sleep(Duration::from_millis(100)).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let fixture = Fixture::new(&api.base_url()).await;
    for version in ["1.1", "1.0"] {
        let request =
            format!("GET /api/v1/proxy/acme/x HTTP/{version}\r\nHost: x\r\nX-API-KEY: {API_KEY}\r\n\r\n");
        let (passed, in_order) = read_all(&mut fixture.open(request).await).await;
        let torn = !in_order || (passed.contains("chunked") && !passed.ends_with("0\r\n\r\n"));
        assert!(torn, "HTTP/{version}: {passed}");
    }
    // A regular end is the end of the answer, to both.
    let api = api_that_sends("HTTP/1.0 200 OK\r\n\r\nhello").await;
    let fixture = Fixture::new(&api.base_url()).await;
    for (version, end) in [("1.1", "0\r\n\r\n"), ("1.0", "\r\n\r\nhello")] {
        let request = format!(
            "GET /api/v1/proxy/acme/x HTTP/{version}\r\nHost: x\r\nConnection: close\r\nX-API-KEY: {API_KEY}\r\n\r\n"
        );
        let (passed, in_order) = read_all(&mut fixture.open(request).await).await;
        assert!(in_order && passed.ends_with(end), "HTTP/{version}: {passed}");
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_was_read_reaches_the_caller() {
    for round in 0..10 {
        let api = TestServer::accepting(|mut stream| async move {
            read_head(&mut stream).await;
            // It closes with most of the body unread, which resets the connection.
            send(&mut stream, "HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\n\r\ntoo large").await;
        })
        .await;
        let fixture = Fixture::new(&api.base_url()).await;
        let body = "x".repeat(8 * 1024 * 1024);
        let head = raw_head(
            "POST /api/v1/proxy/acme/x",
            API_KEY,
            &format!("Connection: close\r\nContent-Length: {}\r\n", body.len()),
        );
        // It sends everything before it reads.
        let answer = timeout(SOON, fixture.send_raw(head + &body)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 "), "round {round}: {answer}");
        assert!(answer.ends_with("\r\n\r\ntoo large"), "round {round}: {answer}");
    }
}

#[tokio::test]
async fn a_rejected_token_is_replaced_though_the_body_was_not_read() {
    for round in 0..10 {
        let count = Arc::new(AtomicUsize::new(0));
        let api = TestServer::accepting(move |mut stream| {
            let first = count.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                let head = read_head(&mut stream).await;
                if first {
                    send(&mut stream, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await;
                    return;
                }
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let mut body = vec![0; length.unwrap().parse().unwrap()];
                stream.read_exact(&mut body).await.unwrap();
                assert!(body.iter().all(|byte| *byte == b'x'));
                send(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
        })
        .await;
        let fixture = Fixture::new(&api.base_url()).await;
        let body = "x".repeat(1024 * 1024);
        let head = raw_head(
            "POST /api/v1/proxy/acme/x",
            API_KEY,
            &format!("Connection: close\r\nContent-Length: {}\r\n", body.len()),
        );
        let answer = timeout(SOON, fixture.send_raw(head + &body)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok"), "round {round}: {answer}");
    }
}

#[tokio::test]
async fn an_error_of_the_gateway_reaches_a_caller_that_is_still_sending() {
    let api = echo_api().await;
    let fixture = Fixture::new(&api.base_url()).await;
    let body = "x".repeat(4 * 1024 * 1024);
    for (path, key, error) in [
        ("/api/v1/proxy/acme/x", "wrong", "SERVICE_TOKEN_INVALID"),
        ("/api/v1/proxy/none/x", API_KEY, "UNKNOWN_CONNECTION"),
        ("/api/v1/proxy/acme/../x", API_KEY, "BAD_REQUEST"),
    ] {
        let length = format!("Content-Length: {}\r\n", body.len());
        let answer = fixture.send_raw(raw_head(&format!("POST {path}"), key, &length) + &body);
        let answer = timeout(SOON, answer).await.unwrap();
        assert!(answer.contains(&format!("x-jeton-error: {error}\r\n")), "{path}: {answer}");
    }
    assert!(api.received().is_empty());
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_in_the_format_of_all_errors() {
    let (api, fixture) = Fixture::with_echo().await;
    let cookie = format!("Cookie: {}\r\n", "x".repeat(200_000));
    let answer = fixture.send_raw(raw_head("GET /api/v1/proxy/acme/x", API_KEY, &cookie)).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert!(answer.contains("\r\nx-jeton-error: HEADERS_TOO_LARGE\r\n"), "{answer}");
    assert!(answer.contains("`server.max_header_bytes`"), "{answer}");
    assert!(api.received().is_empty());
    let reply = fixture.client_without_key().get("/api/v1/proxy/acme/x").await.unwrap();
    assert_eq!(error_code(&reply, 403), "SERVICE_TOKEN_REQUIRED");
}

#[tokio::test]
async fn an_upload_in_chunks_leaves_the_connection_open() {
    let (api, fixture) = Fixture::with_echo().await;
    let request = raw_head("POST /api/v1/proxy/acme/x", API_KEY, "Transfer-Encoding: chunked\r\n");
    let mut caller = fixture.open("").await;
    for _ in 0..2 {
        send(&mut caller, &format!("{request}2\r\nhi\r\n0\r\n\r\n")).await;
        let head = read_head(&mut caller).await.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200 ") && !head.contains("connection: close"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        caller.read_exact(&mut body).await.unwrap();
    }
    assert!(api.received().iter().all(|request| request.body == "hi"));
}

#[tokio::test]
async fn a_call_has_an_id_and_a_trace_on_its_way_and_they_are_those_of_its_caller() {
    let (api, fixture) = Fixture::with_echo().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let client = fixture.client().with_header("x-request-id", "order-7").with_header("traceparent", trace);
    let reply = client.get("/api/v1/proxy/acme/x").await.unwrap();
    assert_eq!(reply.headers["x-request-id"], "order-7");
    let made = fixture.client().get("/api/v1/proxy/acme/x").await.unwrap();
    let refused = fixture.client_without_key().get("/api/v1/proxy/acme/x").await.unwrap();
    assert!(refused.headers.contains_key("x-request-id"));
    let [own, other] = api.received().try_into().unwrap();
    assert_eq!((own.header("x-request-id"), own.header("traceparent")), ("order-7", trace));
    assert_eq!(made.headers["x-request-id"], other.header("x-request-id"));
    assert_eq!(other.header("traceparent").len(), trace.len());
    assert_ne!(other.header("traceparent"), trace);
}

#[tokio::test]
async fn header_names_are_written_in_title_case_where_the_settings_say_so() {
    let api = TestServer::accepting(|mut stream| async move {
        let head = read_head(&mut stream).await;
        send(&mut stream, &format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len())).await;
    })
    .await;
    let mut settings = jeton_gateway::Settings::default();
    for title_case in [false, true] {
        settings.calls.title_case_headers = title_case;
        let fixture = Fixture::with_settings(&api.base_url(), settings.clone()).await;
        let head = fixture
            .client()
            .with_header("x-mixed-case", "1")
            .get("/api/v1/proxy/acme/x")
            .await
            .unwrap()
            .text();
        assert_eq!(head.contains("\r\nX-Mixed-Case: 1\r\n"), title_case, "{head}");
        assert_eq!(head.contains("\r\nx-mixed-case: 1\r\n"), !title_case, "{head}");
    }
}

#[tokio::test]
async fn each_connection_has_its_own_times() {
    let api = TestServer::accepting(|mut stream| async move {
        read_head(&mut stream).await;
        sleep(Duration::from_millis(800)).await;
        send(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    })
    .await;
    let short = jeton_gateway::CallSettings {
        first_byte_timeout: Duration::from_millis(200),
        ..jeton_gateway::CallSettings::default()
    };
    let general = jeton_gateway::Settings { calls: short.clone(), ..jeton_gateway::Settings::default() };
    let own = jeton_gateway::CallSettings { first_byte_timeout: SOON, ..short };
    let longer =
        jeton_gateway::Settings { connections: [("acme".to_owned(), own)].into(), ..general.clone() };
    for (settings, status) in [(general, 504), (longer, 200)] {
        let fixture = Fixture::with_settings(&api.base_url(), settings).await;
        assert_eq!(fixture.get("/x").await.status, status);
    }
}

#[tokio::test]
async fn a_caller_may_speak_http2_from_the_first_byte() {
    use http_body_util::{BodyExt as _, Full};
    let (api, fixture) = Fixture::with_echo().await;
    let stream = TcpStream::connect(fixture.address()).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio_util::task::TaskTracker::new().spawn(connection);
    let large = bytes::Bytes::from(vec![b'x'; 3 * 1024 * 1024]);
    let call = |path: &str, key: &str, body: bytes::Bytes| {
        let request = http::Request::post(format!("http://jeton.example{path}")).header("x-api-key", key);
        let sent = sender.clone().send_request(request.body(Full::new(body)).unwrap());
        async move {
            let (head, body) = sent.await.unwrap().into_parts();
            assert_eq!(head.version, http::Version::HTTP_2);
            (head.status.as_u16(), body.collect().await.unwrap().to_bytes())
        }
    };
    // All at once, over one connection.
    let ((up, echo), (refused, problem), (bad, _), (health, _)) = tokio::join!(
        call("/api/v1/proxy/acme/x?a=1", API_KEY, large.clone()),
        call("/api/v1/proxy/acme/x", "wrong", large),
        call("/api/v1/proxy/acme/a/../b", API_KEY, bytes::Bytes::new()),
        call("/api/v1/proxy/acme/y", API_KEY, bytes::Bytes::new()),
    );
    assert_eq!((up, refused, bad, health), (200, 403, 400, 200));
    assert!(echo.len() > 3 * 1024 * 1024);
    assert!(String::from_utf8_lossy(&problem).contains("SERVICE_TOKEN_INVALID"));
    let received = api.received();
    let request = received.iter().find(|request| request.uri == "/x?a=1").unwrap();
    assert_eq!(request.headers["host"], api.address().to_string());
    assert_eq!(request.body.len(), 3 * 1024 * 1024);
}
