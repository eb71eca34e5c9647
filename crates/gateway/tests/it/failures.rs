//! What goes wrong upstream, and how it is told from what the API says.

use std::time::Duration;

use axum::body::Body;
use http::Response;
use jeton_gateway::Settings;
use tokio::time::Instant;

use crate::api::{self, Api, read_head, say};
use crate::place::{API_KEY, Place, Plan, refusal};

fn hasty() -> Plan {
    let settings = Settings {
        connect_timeout: Duration::from_secs(2),
        first_byte_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(300),
        ..Settings::default()
    };
    Plan { settings, ..Plan::default() }
}

#[tokio::test]
async fn an_api_that_is_away_is_502() {
    let address = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let place = Place::at(&format!("http://{address}")).await;
    let reply = place.client().get("/api/v1/proxy/acme/x").await.unwrap();
    assert_eq!(refusal(&reply, 502), "UPSTREAM_UNREACHABLE");
}

#[tokio::test]
async fn an_api_without_tls_where_tls_is_said_is_502_and_gets_no_token() {
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = std::sync::Arc::clone(&heard);
    let address = api::raw(move |mut stream| {
        let kept = std::sync::Arc::clone(&kept);
        async move {
            use tokio::io::AsyncReadExt as _;
            let mut bytes = vec![0; 4096];
            let count = stream.read(&mut bytes).await.unwrap_or(0);
            kept.lock().unwrap().extend_from_slice(&bytes[..count]);
            say(&mut stream, "HTTP/1.1 200 OK\r\n\r\n").await;
        }
    })
    .await;
    let place = Place::at(&format!("https://{address}")).await;
    let token = place.access_token().await;
    let reply = place.client().get("/api/v1/proxy/acme/x").await.unwrap();
    assert_eq!(refusal(&reply, 502), "UPSTREAM_UNREACHABLE");
    let heard = String::from_utf8_lossy(&heard.lock().unwrap()).into_owned();
    assert!(!heard.is_empty() && !heard.contains(token.reveal()));
}

#[tokio::test]
async fn an_api_that_says_nothing_is_504_within_the_time_of_the_first_byte() {
    let address = api::raw(|mut stream| async move {
        read_head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let place = Place::built(&format!("http://{address}"), hasty()).await;
    let started = Instant::now();
    let reply = place.client().get("/api/v1/proxy/acme/x").await.unwrap();
    assert_eq!(refusal(&reply, 504), "UPSTREAM_TIMEOUT");
    assert!(reply.text().contains("gateway.first_byte_timeout"), "{}", reply.text());
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_slow_upload_is_waited_for_as_long_as_it_moves() {
    let api = Api::echo().await;
    let place = Place::built(&api.base(), hasty()).await;
    let mut stream = tokio::net::TcpStream::connect(place.address).await.unwrap();
    let head = format!(
        "POST /api/v1/proxy/acme/x HTTP/1.1\r\nHost: j\r\nX-API-KEY: {API_KEY}\r\nContent-Length: 8\r\nConnection: close\r\n\r\n"
    );
    say(&mut stream, &head).await;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(120)).await;
        say(&mut stream, "x").await;
    }
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(api.got()[0].body, "xxxxxxxx");
}

#[tokio::test]
async fn a_caller_that_stops_sending_is_408_and_not_the_fault_of_the_api() {
    let api = Api::echo().await;
    let place = Place::built(&api.base(), hasty()).await;
    let head = format!(
        "POST /api/v1/proxy/acme/x HTTP/1.1\r\nHost: j\r\nX-API-KEY: {API_KEY}\r\nContent-Length: 8\r\nConnection: close\r\n\r\nxx"
    );
    let answer = place.raw(head).await;
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains("x-jeton-error: REQUEST_TIMEOUT"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_answer_that_stands_still_is_cut_off_and_never_looks_whole() {
    let address = api::raw(|mut stream| async move {
        read_head(&mut stream).await;
        say(&mut stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
        std::future::pending::<()>().await;
    })
    .await;
    let place = Place::built(&format!("http://{address}"), hasty()).await;
    let answer = place
        .raw(format!("GET /api/v1/proxy/acme/x HTTP/1.1\r\nHost: j\r\nX-API-KEY: {API_KEY}\r\nConnection: close\r\n\r\n"))
        .await;
    assert!(answer.contains("hello") && !answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn an_api_that_hangs_up_before_answering_is_502() {
    let address = api::raw(|mut stream| async move {
        read_head(&mut stream).await;
    })
    .await;
    let place = Place::at(&format!("http://{address}")).await;
    let reply = place.client().get("/api/v1/proxy/acme/x").await.unwrap();
    assert_eq!(refusal(&reply, 502), "UPSTREAM_BROKEN");
}

/// What an API got that answers the first call of each connection, and ends the connection upon the second; and how it
/// was answered. The first call is a GET.
async fn cut_on_the_second_call(method: &str) -> (u16, usize) {
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let heads = std::sync::Arc::clone(&count);
    let address = api::raw(move |mut stream| {
        let heads = std::sync::Arc::clone(&heads);
        async move {
            for answered in [true, false] {
                let head = read_head(&mut stream).await;
                if head.contains(" /counted ") {
                    heads.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                }
                if answered && !head.is_empty() {
                    say(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                }
            }
        }
    })
    .await;
    let place = Place::at(&format!("http://{address}")).await;
    assert_eq!(place.client().get("/api/v1/proxy/acme/x").await.unwrap().status, 200);
    let answer = place
        .raw(format!(
            "{method} /api/v1/proxy/acme/counted HTTP/1.1\r\nHost: j\r\nX-API-KEY: {API_KEY}\r\nContent-Length: 2\r\n\
             Connection: close\r\n\r\n{{}}"
        ))
        .await;
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, count.load(std::sync::atomic::Ordering::SeqCst))
}

#[tokio::test]
async fn what_changes_something_is_never_sent_twice_because_a_connection_broke() {
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        assert_eq!(cut_on_the_second_call(method).await, (502, 1), "{method}");
    }
    assert_eq!(cut_on_the_second_call("GET").await, (200, 2), "what only asks is asked again");
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
        let connections = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = std::sync::Arc::clone(&connections);
        let address = api::raw(move |mut stream| {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            async move {
                while !read_head(&mut stream).await.is_empty() {
                    say(&mut stream, &format!("HTTP/1.1 200 OK\r\n{head}\r\n5\r\nhello\r\n0\r\n\r\n")).await;
                }
            }
        })
        .await;
        let place = Place::at(&format!("http://{address}")).await;
        for _ in 0..2 {
            let reply = place.client().get("/api/v1/proxy/acme/x").await.unwrap();
            assert_eq!(refusal(&reply, 502), "UPSTREAM_BROKEN", "{head}");
        }
        assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), 2, "{head}");
    }
}

#[tokio::test]
async fn errors_of_the_api_pass_untouched() {
    let api = Api::answering(|_| {
        Response::builder()
            .status(502)
            .header("content-type", "text/html")
            .body(Body::from("<h1>Bad</h1>"))
            .unwrap()
    })
    .await;
    let place = Place::at(&api.base()).await;
    let reply = place.client().get("/api/v1/proxy/acme/x").await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (502, "<h1>Bad</h1>"));
    assert!(!reply.headers.contains_key("x-jeton-error"));
}

#[tokio::test]
async fn a_429_is_passed_on_and_remembered_for_its_time() {
    let api = Api::answering(|got| match got.uri.path() {
        "/limited" => {
            Response::builder().status(429).header("retry-after", "2").body(Body::from("slow down")).unwrap()
        }
        "/vague" => Response::builder().status(429).body(Body::from("slow down")).unwrap(),
        _ => Response::new(Body::from("ok")),
    })
    .await;
    let place = Place::at(&api.base()).await;
    let reply = place.client().get("/api/v1/proxy/acme/vague").await.unwrap();
    assert_eq!(reply.status, 429);
    assert_eq!(
        place.client().get("/api/v1/proxy/acme/x").await.unwrap().status,
        200,
        "no time, nothing to remember"
    );

    let reply = place.client().get("/api/v1/proxy/acme/limited").await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (429, "slow down"), "the API's own answer");
    assert!(!reply.headers.contains_key("x-jeton-error"));
    let calls = api.got().len();
    let reply = place.client().get("/api/v1/proxy/acme/x").await.unwrap();
    assert_eq!(refusal(&reply, 429), "UPSTREAM_RATE_LIMITED");
    let wait: u64 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    assert_eq!(api.got().len(), calls, "the API is left alone");
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert_eq!(place.client().get("/api/v1/proxy/acme/x").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_call_that_is_refused_before_its_body_has_come_leaves_no_connection_open() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let address = api::raw(move |mut stream| {
        let tell = tell.clone();
        let first = calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        async move {
            read_head(&mut stream).await;
            let status = if first { "401 Unauthorized" } else { "200 OK" };
            say(&mut stream, &format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")).await;
            // It waits for the rest of the body, as servers do that keep connections.
            drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
            tell.send(status).unwrap();
        }
    })
    .await;
    let place = Place::at(&format!("http://{address}")).await;
    let mut stream = tokio::net::TcpStream::connect(place.address).await.unwrap();
    let head = format!(
        "POST /api/v1/proxy/acme/x HTTP/1.1\r\nHost: j\r\nX-API-KEY: {API_KEY}\r\nContent-Length: 9\r\n\r\nfirst"
    );
    say(&mut stream, &head).await;
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    let closed = tokio::time::timeout(Duration::from_mins(1), told.recv()).await.expect("it is closed");
    assert_eq!(closed, Some("401 Unauthorized"));
}
