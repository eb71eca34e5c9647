//! An API on this machine that answers at once: a short text, as many bytes as the path says, or how many bytes it received.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use jeton_testkit::TestServer;

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

/// Starts the API.
pub(super) async fn start() -> TestServer {
    TestServer::answering(answer).await
}

async fn answer(request: Request<Incoming>) -> Response<Either<Full<Bytes>, Zeros>> {
    let path = request.uri().path().to_owned();
    let mut received = 0_u64;
    let mut body = request.into_body();
    while let Some(Ok(frame)) = body.frame().await {
        received += frame.data_ref().map_or(0, |piece| piece.len() as u64);
    }
    let asked = path.strip_prefix("/down/").and_then(|size| size.parse().ok());
    Response::new(match asked {
        Some(size) => Either::Right(Zeros(size)),
        None if received > 0 => Either::Left(Full::from(received.to_string())),
        // As long as a short answer of an API.
        None => Either::Left(Full::from(format!(r#"{{"id":1,"filling":"{}"}}"#, "y".repeat(180)))),
    })
}
