//! Bodies of answers: whole, cut half way, or a byte at a time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use hyper::body::{Body, Frame, SizeHint};
use jeton_core::keep::provider::Reply;
use serde_json::{Value, json};
use tokio::time::{Sleep, sleep};

use crate::socket::Delivery;

/// How long half an answer stands on the wire before the connection is cut, so that the half really leaves.
const HALF_STANDS: Duration = Duration::from_millis(20);

/// The connection is cut here on purpose.
#[derive(Debug)]
pub(crate) struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is cut here on purpose")
    }
}

impl std::error::Error for Cut {}

enum Pace {
    Whole,
    Half { pause: Option<Pin<Box<Sleep>>> },
    Trickle { every: Duration, pause: Pin<Box<Sleep>> },
}

/// The body of an answer.
pub(crate) struct ReplyBody {
    /// What is still to be said.
    rest: Bytes,
    pace: Pace,
    delivery: Option<Arc<Delivery>>,
}

impl ReplyBody {
    fn whole(text: impl Into<Bytes>) -> Self {
        Self { rest: text.into(), pace: Pace::Whole, delivery: None }
    }

    /// Says half of its text, then cuts the connection.
    pub(crate) fn cut_half_way(self) -> Self {
        Self { pace: Pace::Half { pause: None }, ..self }
    }

    /// Says a byte, pauses, says the next.
    pub(crate) fn trickle(self, every: Duration) -> Self {
        Self { pace: Pace::Trickle { every, pause: Box::pin(sleep(every)) }, ..self }
    }

    /// The same text, followed by white space up to `size`.
    pub(crate) fn padded(self, size: usize) -> Self {
        let mut bytes = self.rest.to_vec();
        bytes.resize(size.max(bytes.len()), b' ');
        Self { rest: bytes.into(), ..self }
    }

    /// Tells `delivery` when the last byte has been taken. The text must not be empty: nobody asks for an empty body.
    pub(crate) fn tracked(self, delivery: Arc<Delivery>) -> Self {
        debug_assert!(!self.rest.is_empty(), "an empty body is never asked for");
        Self { delivery: Some(delivery), ..self }
    }

    fn say(&mut self, length: usize) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let said = self.rest.split_to(length);
        if self.rest.is_empty()
            && let Some(delivery) = &self.delivery
        {
            delivery.body_taken();
        }
        Poll::Ready(Some(Ok(Frame::data(said))))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = &mut *self;
        let length = this.rest.len();
        if length == 0 {
            return Poll::Ready(None);
        }
        match &mut this.pace {
            Pace::Whole => this.say(length),
            Pace::Half { pause: pause @ None } => {
                *pause = Some(Box::pin(sleep(HALF_STANDS)));
                this.say(length / 2)
            }
            Pace::Half { pause: Some(pause) } => {
                ready!(pause.as_mut().poll(cx));
                Poll::Ready(Some(Err(Cut)))
            }
            Pace::Trickle { every, pause } => {
                ready!(pause.as_mut().poll(cx));
                *pause = Box::pin(sleep(*every));
                this.say(1)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.rest.len()).expect("a body in memory fits 64 bits"))
    }
}

/// An answer that nobody may cache (RFC 6749, section 5.1).
pub(crate) fn text(
    status: StatusCode,
    content_type: &'static str,
    text: impl Into<Bytes>,
) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::whole(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    response
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, value: &Value) -> Response<ReplyBody> {
    text(status, "application/json", value.to_string())
}

/// The reply of a provider file as a response.
pub(crate) fn own(reply: &Reply) -> Response<ReplyBody> {
    // An empty body is never asked for, and white space says as little.
    let body = if reply.body.is_empty() { b" ".to_vec() } else { reply.body.to_vec() };
    let mut response = text(
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        "application/json",
        body,
    );
    let given = [(header::CONTENT_TYPE, &reply.content_type), (header::RETRY_AFTER, &reply.retry_after)];
    for (name, value) in given {
        if let Some(value) = value.as_deref().and_then(|value| http::HeaderValue::from_str(value).ok()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// An error as RFC 6749, section 5.2, shapes it.
pub(crate) fn error(status: StatusCode, code: &str, description: &str) -> Response<ReplyBody> {
    json(status, &json!({ "error": code, "error_description": description }))
}
