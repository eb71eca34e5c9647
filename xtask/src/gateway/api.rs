//! An API on this machine that answers at once: a short text, as many bytes as the path says, or how many bytes it received.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// How large a frame is, in bytes.
const PIECE: usize = 64 * 1024;

static ZEROS: [u8; PIECE] = [0; PIECE];

/// A body of so many bytes.
pub(super) struct Zeros(pub(super) u64);

impl Body for Zeros {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.0 == 0 {
            return Poll::Ready(None);
        }
        let size = usize::try_from(self.0).unwrap_or(PIECE).min(PIECE);
        self.0 -= size as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&ZEROS[..size])))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

/// The API. It ends with the value.
pub(super) struct Api {
    address: SocketAddr,
    _running: DropGuard,
}

impl Api {
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listening")?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let (tasks, stopped) = (TaskTracker::new(), stop.clone());
        let inner = tasks.clone();
        tasks.spawn(async move {
            let accepting = async {
                while let Ok((stream, _)) = listener.accept().await {
                    // It is a little slower without.
                    let _ = stream.set_nodelay(true);
                    let (stopped, service) = (stopped.clone(), service_fn(answer));
                    inner.spawn(async move {
                        let connection =
                            http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                        tokio::select! {
                            () = stopped.cancelled() => {}
                            // Callers close it when they have their answer.
                            _ = connection => {}
                        }
                    });
                }
            };
            tokio::select! {
                () = stopped.cancelled() => {}
                () = accepting => {}
            }
        });
        Ok(Self { address, _running: stop.drop_guard() })
    }

    /// `http://127.0.0.1:PORT`.
    pub(super) fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Either<Full<Bytes>, Zeros>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let mut received = 0_u64;
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        received += frame?.data_ref().map_or(0, |piece| piece.len() as u64);
    }
    let asked = path.strip_prefix("/down/").and_then(|size| size.parse().ok());
    Ok(Response::new(match asked {
        Some(size) => Either::Right(Zeros(size)),
        None if received > 0 => Either::Left(Full::from(received.to_string())),
        // As long as a short answer of an API.
        None => Either::Left(Full::from(format!(r#"{{"id":1,"filling":"{}"}}"#, "y".repeat(180)))),
    }))
}
