//! Bodies stream in both directions: nothing is piled up, and nobody waits for what is not needed.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::api::{self, read_head, say};
use crate::place::{API_KEY, Place, operator};

const PIECE: usize = 64 * 1024;
const PIECES: usize = 512;

fn endless(pieces: usize) -> Body {
    let piece = Bytes::from(vec![b'x'; PIECE]);
    Body::from_stream(stream::iter(
        (0..pieces).map(move |_| Ok::<_, std::convert::Infallible>(piece.clone())),
    ))
}

#[tokio::test]
async fn large_bodies_arrive_whole_in_both_directions() {
    let address = api::serve(|request| async move {
        let mut body = request.into_body();
        let mut size = 0;
        while let Some(frame) = body.frame().await {
            size += frame.unwrap().data_ref().map_or(0, Bytes::len);
        }
        if size == 0 { Response::new(endless(PIECES)) } else { Response::new(Body::from(size.to_string())) }
    })
    .await;
    let place = Place::at(&format!("http://{address}")).await;
    let down = place.client().get("/api/v1/proxy/acme/down").await.unwrap();
    assert_eq!(down.body.len(), PIECE * PIECES);
    let up = serde_json::json!("x".repeat(PIECE * PIECES));
    let up = place.client().post("/api/v1/proxy/acme/up", &up).await.unwrap();
    assert_eq!(up.text(), (PIECE * PIECES + 2).to_string());
}

#[tokio::test]
async fn the_first_bytes_of_an_answer_are_there_before_the_last_are_made() {
    let (tell, told) = tokio::sync::watch::channel(false);
    let address = api::serve(move |_| {
        let mut told = told.clone();
        async move {
            let first =
                stream::once(async { Ok::<_, std::convert::Infallible>(Bytes::from_static(b"first")) });
            let last = stream::once(async move {
                told.wait_for(|told| *told).await.unwrap();
                Ok(Bytes::from_static(b"last"))
            });
            Response::new(Body::from_stream(futures_util::StreamExt::chain(first, last)))
        }
    })
    .await;
    let place = Place::at(&format!("http://{address}")).await;
    let mut stream = TcpStream::connect(place.address).await.unwrap();
    let head = format!(
        "GET /api/v1/proxy/acme/x HTTP/1.1\r\nHost: j\r\nX-API-KEY: {API_KEY}\r\nConnection: close\r\n\r\n"
    );
    say(&mut stream, &head).await;
    assert!(read_head(&mut stream).await.contains("200 OK"));
    let mut first = [0; 10];
    timeout(Duration::from_secs(10), stream.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(&first, b"5\r\nfirst\r\n");
    tell.send(true).unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "4\r\nlast\r\n0\r\n\r\n");
}

#[tokio::test]
async fn the_first_bytes_of_a_request_are_there_before_the_last_are_sent() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let address = api::serve(move |request| {
        let tell = tell.clone();
        async move {
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                tell.send(frame.unwrap().into_data().unwrap()).unwrap();
            }
            Response::new(Body::from("done"))
        }
    })
    .await;
    let place = Place::at(&format!("http://{address}")).await;
    let mut stream = TcpStream::connect(place.address).await.unwrap();
    let head = format!(
        "POST /api/v1/proxy/acme/x HTTP/1.1\r\nHost: j\r\nX-API-KEY: {API_KEY}\r\nContent-Length: 9\r\nConnection: close\r\n\r\n"
    );
    say(&mut stream, &format!("{head}first")).await;
    assert_eq!(timeout(Duration::from_secs(10), told.recv()).await.unwrap().unwrap(), "first");
    say(&mut stream, "last").await;
    assert_eq!(told.recv().await.unwrap(), "last");
    assert!(read_head(&mut stream).await.contains("200 OK"));
}

#[tokio::test]
async fn an_api_is_not_read_faster_than_the_caller_reads() {
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&sent);
    let address = api::raw(move |mut stream| {
        let count = std::sync::Arc::clone(&count);
        async move {
            read_head(&mut stream).await;
            say(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n").await;
            let piece = vec![b'x'; PIECE];
            while stream.write_all(&piece).await.is_ok() {
                count.fetch_add(piece.len(), std::sync::atomic::Ordering::SeqCst);
            }
        }
    })
    .await;
    let place = Place::at(&format!("http://{address}")).await;
    let mut stream = TcpStream::connect(place.address).await.unwrap();
    let head = format!(
        "GET /api/v1/proxy/acme/x HTTP/1.1\r\nHost: j\r\nX-API-KEY: {API_KEY}\r\nConnection: close\r\n\r\n"
    );
    say(&mut stream, &head).await;
    read_head(&mut stream).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let taken = sent.load(std::sync::atomic::Ordering::SeqCst);
    // What the sockets of both ways hold; without back-pressure it would be hundreds of megabytes.
    assert!(taken < 64 * 1024 * 1024, "{taken} bytes were taken from the API while nobody read");
}

#[tokio::test]
async fn a_caller_that_leaves_ends_the_call_upstream() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let address = api::raw(move |mut stream| {
        let tell = tell.clone();
        async move {
            read_head(&mut stream).await;
            tell.send("asked").unwrap();
            let mut byte = [0];
            drop(stream.read(&mut byte).await);
            tell.send("left").unwrap();
        }
    })
    .await;
    let place = Place::at(&format!("http://{address}")).await;
    let mut stream = TcpStream::connect(place.address).await.unwrap();
    say(
        &mut stream,
        &format!("GET /api/v1/proxy/acme/x HTTP/1.1\r\nHost: j\r\nX-API-KEY: {API_KEY}\r\n\r\n"),
    )
    .await;
    assert_eq!(told.recv().await, Some("asked"));
    drop(stream);
    assert_eq!(timeout(Duration::from_secs(10), told.recv()).await.unwrap(), Some("left"));
}

#[tokio::test]
async fn an_endless_answer_ends_when_the_service_token_of_its_caller_is_revoked_and_never_looks_whole() {
    for pause in [Duration::ZERO, Duration::from_millis(50), Duration::from_hours(1)] {
        let address = api::serve(move |_| async move {
            let pieces = stream::unfold(0_u64, move |count| async move {
                if count > 0 {
                    tokio::time::sleep(pause).await;
                }
                Some((Ok::<_, std::convert::Infallible>(Bytes::from_static(b"more")), count + 1))
            });
            Response::new(Body::from_stream(pieces))
        })
        .await;
        let place = Place::at(&format!("http://{address}")).await;
        let (id, raw) = place.service_token(None).await;
        let mut stream = TcpStream::connect(place.address).await.unwrap();
        let head = format!(
            "GET /api/v1/proxy/acme/x HTTP/1.1\r\nHost: j\r\nX-API-KEY: {}\r\nConnection: close\r\n\r\n",
            raw.reveal()
        );
        say(&mut stream, &head).await;
        assert!(read_head(&mut stream).await.contains("200 OK"));
        let mut first = [0; 9];
        timeout(Duration::from_mins(1), stream.read_exact(&mut first)).await.unwrap().unwrap();
        assert_eq!(&first, b"4\r\nmore\r\n");
        place.access.revoke(id, &operator()).await.unwrap();
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
    let (tell, mut told) = tokio::sync::watch::channel(0);
    let address = api::serve(move |request| {
        let tell = tell.clone();
        async move {
            let mut body = request.into_body();
            while let Some(Ok(_)) = body.frame().await {
                tell.send_modify(|count| *count += 1);
            }
            Response::new(Body::from("done"))
        }
    })
    .await;
    let place = Place::at(&format!("http://{address}")).await;
    let (id, raw) = place.service_token(None).await;
    let mut stream = TcpStream::connect(place.address).await.unwrap();
    let head = format!(
        "POST /api/v1/proxy/acme/x HTTP/1.1\r\nHost: j\r\nX-API-KEY: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        raw.reveal()
    );
    say(&mut stream, &head).await;
    let (mut answer, mut uploading) = stream.split();
    let upload = async {
        while uploading.write_all(b"4\r\nmore\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let ended = async {
        told.wait_for(|count| *count > 2).await.unwrap();
        place.access.revoke(id, &operator()).await.unwrap();
        let mut said = Vec::new();
        drop(answer.read_to_end(&mut said).await);
        String::from_utf8(said).unwrap()
    };
    let said = tokio::select! {
        said = ended => said,
        () = async { upload.await; std::future::pending().await } => unreachable!("the answer is waited for"),
        () = tokio::time::sleep(Duration::from_mins(1)) => panic!("it goes on"),
    };
    assert!(said.starts_with("HTTP/1.1 403 ") && said.contains("SERVICE_TOKEN_INVALID"), "{said}");
}

#[tokio::test]
async fn an_upload_that_outlasts_its_answer_ends_when_the_service_token_of_its_caller_is_revoked() {
    let (tell, mut told) = tokio::sync::watch::channel((0, false));
    let address = api::raw(move |mut stream| {
        let tell = tell.clone();
        async move {
            read_head(&mut stream).await;
            say(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            let mut buffer = [0; 64];
            while let Ok(1..) = stream.read(&mut buffer).await {
                tell.send_modify(|(count, _)| *count += 1);
            }
            tell.send_modify(|(_, ended)| *ended = true);
        }
    })
    .await;
    let place = Place::at(&format!("http://{address}")).await;
    let (id, raw) = place.service_token(None).await;
    let mut stream = TcpStream::connect(place.address).await.unwrap();
    let head = format!(
        "POST /api/v1/proxy/acme/x HTTP/1.1\r\nHost: j\r\nX-API-KEY: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        raw.reveal()
    );
    say(&mut stream, &head).await;
    assert!(read_head(&mut stream).await.contains("200 OK"));
    let upload = async {
        while stream.write_all(b"4\r\nmore\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        std::future::pending::<()>().await;
    };
    let ended = async {
        told.wait_for(|(count, _)| *count > 20).await.unwrap();
        place.access.revoke(id, &operator()).await.unwrap();
        told.wait_for(|(_, ended)| *ended).await.unwrap();
    };
    tokio::select! {
        () = ended => {}
        () = upload => {}
        () = tokio::time::sleep(Duration::from_mins(1)) => panic!("it goes on"),
    }
}
