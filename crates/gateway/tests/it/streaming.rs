//! Bodies stream in both directions: nothing is buffered as a whole, and nobody waits for what is not needed.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http_body_util::BodyExt as _;
use jeton_testkit::TestServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::fixture::{API_KEY, Fixture, operator, raw_head, read_head, send};

const PIECE: usize = 64 * 1024;
const PIECES: usize = 512;

fn endless(pieces: usize) -> Body {
    let piece = Bytes::from(vec![b'x'; PIECE]);
    Body::from_stream(stream::iter((0..pieces).map(move |_| Ok::<_, Infallible>(piece.clone()))))
}

#[tokio::test]
async fn large_bodies_arrive_whole_in_both_directions() {
    let api = TestServer::answering(|request| async move {
        let mut body = request.into_body();
        let mut size = 0;
        while let Some(frame) = body.frame().await {
            size += frame.unwrap().data_ref().map_or(0, Bytes::len);
        }
        if size == 0 { Response::new(endless(PIECES)) } else { Response::new(Body::from(size.to_string())) }
    })
    .await;
    let fixture = Fixture::new(&api.base_url()).await;
    let down = fixture.get("/down").await;
    assert_eq!(down.body.len(), PIECE * PIECES);
    let up = serde_json::json!("x".repeat(PIECE * PIECES));
    let up = fixture.client().post("/api/v1/proxy/acme/up", &up).await.unwrap();
    assert_eq!(up.text(), (PIECE * PIECES + 2).to_string());
}

#[tokio::test]
async fn the_first_bytes_of_an_answer_are_there_before_the_last_are_made() {
    let (notify, events) = tokio::sync::watch::channel(false);
    let api = TestServer::answering(move |_| {
        let mut events = events.clone();
        async move {
            let first = stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b"first")) });
            let last = stream::once(async move {
                events.wait_for(|released| *released).await.unwrap();
                Ok(Bytes::from_static(b"last"))
            });
            Response::new(Body::from_stream(futures_util::StreamExt::chain(first, last)))
        }
    })
    .await;
    let fixture = Fixture::new(&api.base_url()).await;
    let mut stream =
        fixture.open(raw_head("GET /api/v1/proxy/acme/x", API_KEY, "Connection: close\r\n")).await;
    assert!(read_head(&mut stream).await.contains("200 OK"));
    let mut first = [0; 10];
    timeout(Duration::from_secs(10), stream.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(&first, b"5\r\nfirst\r\n");
    notify.send(true).unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "4\r\nlast\r\n0\r\n\r\n");
}

#[tokio::test]
async fn the_first_bytes_of_a_request_are_there_before_the_last_are_sent() {
    let (notify, mut events) = tokio::sync::mpsc::unbounded_channel();
    let api = TestServer::answering(move |request| {
        let notify = notify.clone();
        async move {
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                notify.send(frame.unwrap().into_data().unwrap()).unwrap();
            }
            Response::new(Body::from("done"))
        }
    })
    .await;
    let fixture = Fixture::new(&api.base_url()).await;
    let mut stream = fixture
        .open(
            raw_head("POST /api/v1/proxy/acme/x", API_KEY, "Content-Length: 9\r\nConnection: close\r\n")
                + "first",
        )
        .await;
    assert_eq!(timeout(Duration::from_secs(10), events.recv()).await.unwrap().unwrap(), "first");
    send(&mut stream, "last").await;
    assert_eq!(events.recv().await.unwrap(), "last");
    assert!(read_head(&mut stream).await.contains("200 OK"));
}

#[tokio::test]
async fn an_api_is_not_read_faster_than_the_caller_reads() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let api = TestServer::accepting(move |mut stream| {
        let count = Arc::clone(&count);
        async move {
            read_head(&mut stream).await;
            send(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n").await;
            let piece = vec![b'x'; PIECE];
            while stream.write_all(&piece).await.is_ok() {
                count.fetch_add(piece.len(), Ordering::SeqCst);
            }
        }
    })
    .await;
    let fixture = Fixture::new(&api.base_url()).await;
    let mut stream =
        fixture.open(raw_head("GET /api/v1/proxy/acme/x", API_KEY, "Connection: close\r\n")).await;
    read_head(&mut stream).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let taken = sent.load(Ordering::SeqCst);
    // What the sockets of both ways hold; without back-pressure it would be hundreds of megabytes.
    assert!(taken < 64 * 1024 * 1024, "{taken} bytes were taken from the API while nobody read");
}

#[tokio::test]
async fn a_caller_that_leaves_ends_the_call_upstream_with_the_next_bytes_of_its_answer() {
    let (notify, mut events) = tokio::sync::mpsc::unbounded_channel();
    let api = TestServer::accepting(move |mut stream| {
        let notify = notify.clone();
        async move {
            read_head(&mut stream).await;
            send(&mut stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            notify.send("called").unwrap();
            while stream.write_all(b"4\r\nmore\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            notify.send("left").unwrap();
        }
    })
    .await;
    let fixture = Fixture::new(&api.base_url()).await;
    let stream = fixture.open(raw_head("GET /api/v1/proxy/acme/x", API_KEY, "")).await;
    assert_eq!(events.recv().await, Some("called"));
    drop(stream);
    assert_eq!(timeout(Duration::from_secs(10), events.recv()).await.unwrap(), Some("left"));
}

#[tokio::test]
async fn an_endless_answer_ends_when_the_service_token_of_its_caller_is_revoked_and_never_looks_whole() {
    for pause in [Duration::ZERO, Duration::from_millis(50), Duration::from_hours(1)] {
        let api = TestServer::answering(move |_| async move {
            let pieces = stream::unfold(0_u64, move |count| async move {
                if count > 0 {
                    tokio::time::sleep(pause).await;
                }
                Some((Ok::<_, Infallible>(Bytes::from_static(b"more")), count + 1))
            });
            Response::new(Body::from_stream(pieces))
        })
        .await;
        let fixture = Fixture::new(&api.base_url()).await;
        let (id, raw) = fixture.service_token(None).await;
        let mut stream =
            fixture.open(raw_head("GET /api/v1/proxy/acme/x", raw.reveal(), "Connection: close\r\n")).await;
        assert!(read_head(&mut stream).await.contains("200 OK"));
        let mut first = [0; 9];
        timeout(Duration::from_mins(1), stream.read_exact(&mut first)).await.unwrap().unwrap();
        assert_eq!(&first, b"4\r\nmore\r\n");
        fixture.access.revoke(id, &operator()).await.unwrap();
        let ended = async {
            let (mut buffer, mut last) = (vec![0; PIECE], Vec::new());
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                last = buffer[..count].to_vec();
            }
            last
        };
        let last = timeout(Duration::from_mins(1), ended).await.expect("it ends");
        assert!(!last.ends_with(b"0\r\n\r\n"), "cut off after pauses of {pause:?}");
    }
}

#[tokio::test]
async fn an_endless_upload_ends_when_the_service_token_of_its_caller_is_revoked() {
    let (notify, mut events) = tokio::sync::watch::channel(0);
    let api = TestServer::answering(move |request| {
        let notify = notify.clone();
        async move {
            let mut body = request.into_body();
            while let Some(Ok(_)) = body.frame().await {
                notify.send_modify(|count| *count += 1);
            }
            Response::new(Body::from("done"))
        }
    })
    .await;
    let fixture = Fixture::new(&api.base_url()).await;
    let (id, raw) = fixture.service_token(None).await;
    let mut stream = fixture
        .open(raw_head("POST /api/v1/proxy/acme/x", raw.reveal(), "Transfer-Encoding: chunked\r\n"))
        .await;
    let (mut answer, mut uploading) = stream.split();
    let upload = async {
        while uploading.write_all(b"4\r\nmore\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let ended = async {
        events.wait_for(|count| *count > 2).await.unwrap();
        fixture.access.revoke(id, &operator()).await.unwrap();
        let mut answer_text = Vec::new();
        let _ = answer.read_to_end(&mut answer_text).await;
        String::from_utf8(answer_text).unwrap()
    };
    let answer_text = tokio::select! {
        answer_text = ended => answer_text,
        () = async { upload.await; std::future::pending().await } => unreachable!("the answer is waited for"),
        () = tokio::time::sleep(Duration::from_mins(1)) => panic!("it does not end"),
    };
    assert!(
        answer_text.starts_with("HTTP/1.1 403 ") && answer_text.contains("SERVICE_TOKEN_INVALID"),
        "{answer_text}"
    );
}

#[tokio::test]
async fn an_upload_that_outlasts_its_answer_ends_when_the_service_token_of_its_caller_is_revoked() {
    let (notify, mut events) = tokio::sync::watch::channel((0, false));
    let api = TestServer::accepting(move |mut stream| {
        let notify = notify.clone();
        async move {
            read_head(&mut stream).await;
            send(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            let mut buffer = [0; 64];
            while let Ok(1..) = stream.read(&mut buffer).await {
                notify.send_modify(|(count, _)| *count += 1);
            }
            notify.send_modify(|(_, ended)| *ended = true);
        }
    })
    .await;
    let fixture = Fixture::new(&api.base_url()).await;
    let (id, raw) = fixture.service_token(None).await;
    let mut stream = fixture
        .open(raw_head("POST /api/v1/proxy/acme/x", raw.reveal(), "Transfer-Encoding: chunked\r\n"))
        .await;
    assert!(read_head(&mut stream).await.contains("200 OK"));
    let upload = async {
        while stream.write_all(b"4\r\nmore\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        std::future::pending::<()>().await;
    };
    let ended = async {
        events.wait_for(|(count, _)| *count > 20).await.unwrap();
        fixture.access.revoke(id, &operator()).await.unwrap();
        events.wait_for(|(_, ended)| *ended).await.unwrap();
    };
    tokio::select! {
        () = ended => {}
        () = upload => {}
        () = tokio::time::sleep(Duration::from_mins(1)) => panic!("it does not end"),
    }
}
