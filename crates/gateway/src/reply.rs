//! The answer of an API on its way to the caller.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use http::{HeaderMap, HeaderValue, StatusCode, header, response};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use jeton_core::keep::provider::{Definition, read_retry_after};
use jeton_core::media_type::is_json;
use jeton_core::time::Timestamp;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::cached;
use crate::fault::Fault;
use crate::headers::{self, RETRY};
use crate::injected::essence;
use crate::journal::Entry;
use crate::upstream::{Answer, Lease};

/// Ends once a caller would not be let in any more, for all that hold it at once.
pub(crate) type Over = Shared<BoxFuture<'static, ()>>;

/// The longest body that is looked into for what it says of the token, in bytes.
const LOOKED_INTO: usize = 64 * 1024;

/// An answer, as much of its body as was looked into, and the rest of it.
pub(crate) struct Reply {
    pub(crate) head: response::Parts,
    seen: VecDeque<Bytes>,
    body: Incoming,
    lease: Lease,
}

impl From<Answer> for Reply {
    fn from(Answer { response, lease }: Answer) -> Self {
        let (head, body) = response.into_parts();
        Self { head, seen: VecDeque::new(), body, lease }
    }
}

impl Reply {
    /// Whether the answer says that the token is not accepted.
    ///
    /// # Errors
    /// The body broke off, or stood still for longer than `idle`, while it was looked into.
    pub(crate) async fn says_expired(
        &mut self,
        definition: &Definition,
        idle: Duration,
    ) -> Result<bool, Fault> {
        let status = self.head.status.as_u16();
        if definition.api_expired(status, None) {
            return Ok(true);
        }
        if !definition.api_wants_body(status) || !may_be_looked_into(&self.head.headers) {
            return Ok(false);
        }
        let mut size = 0;
        while size <= LOOKED_INTO {
            let late = |_| Fault::TooSlow { what: "stopped answering", limit: idle, setting: "idle_timeout" };
            let Some(frame) = timeout(idle, self.body.frame()).await.map_err(late)? else {
                let whole: Vec<u8> = self.seen.iter().flatten().copied().collect();
                return Ok(definition.api_expired(status, Some(&whole)));
            };
            let frame = frame.map_err(|_| Fault::Broken("its answer broke off".to_owned()))?;
            if let Ok(piece) = frame.into_data() {
                size += piece.len();
                self.seen.push_back(piece);
            }
        }
        Ok(false)
    }

    /// How long the API asks to be left alone, where it answers 429 (RFC 6585, section 4).
    pub(crate) fn asks_to_wait(&self, now: Timestamp) -> Option<Duration> {
        let text = |name| self.head.headers.get(name).and_then(|value| value.to_str().ok());
        let asked =
            text(header::RETRY_AFTER).filter(|_| self.head.status == StatusCode::TOO_MANY_REQUESTS)?;
        read_retry_after(asked, text(header::DATE), now)
    }

    /// The answer as the caller gets it.
    pub(crate) fn pass(
        self,
        mut entry: Entry,
        idle: Duration,
        not_retried: Option<&'static str>,
        over: Over,
    ) -> Response {
        let Self { mut head, seen, body, lease } = self;
        headers::clear_answer(&mut head);
        cached::make_private(&mut head.headers);
        if let Some(why) = not_retried {
            head.headers.insert(RETRY, HeaderValue::from_static(why));
        }
        entry.status = Some(head.status);
        let still = Box::pin(sleep_until(Instant::now() + idle));
        let mut relay = Relay { seen, body, lease: Some(lease), idle, still, over, entry };
        relay.notice_end();
        Response::from_parts(head, Body::new(relay))
    }

    /// The head and the body of an answer that ends HTTP on its connection.
    pub(crate) fn into_upgrade(self) -> http::Response<Incoming> {
        http::Response::from_parts(self.head, self.body)
    }
}

fn may_be_looked_into(headers: &HeaderMap) -> bool {
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    essence(headers).is_some_and(|kind| is_json(&kind)) && length.is_none_or(|length| length <= LOOKED_INTO)
}

/// Why an answer breaks off.
#[derive(Debug, thiserror::Error)]
enum Torn {
    #[error("the answer of the API broke off")]
    ByApi,
    #[error("the answer of the API stood still for too long")]
    Still,
    #[error("the caller would not be let in any more")]
    Over,
}

/// The body of an answer: passed on as the caller reads it, counted, and given up where it stands still.
struct Relay {
    seen: VecDeque<Bytes>,
    body: Incoming,
    lease: Option<Lease>,
    idle: Duration,
    still: Pin<Box<Sleep>>,
    over: Over,
    entry: Entry,
}

impl Relay {
    /// Gives the connection back at once, where nothing more will come.
    fn notice_end(&mut self) {
        if self.seen.is_empty() && self.body.is_end_stream() {
            self.end();
        }
    }

    fn end(&mut self) {
        self.entry.whole = true;
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }

    fn passed(&mut self, piece: Bytes) -> Poll<Option<Result<Frame<Bytes>, Torn>>> {
        self.entry.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        self.notice_end();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl HttpBody for Relay {
    type Data = Bytes;
    type Error = Torn;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Torn>>> {
        let this = self.get_mut();
        if let Some(piece) = this.seen.pop_front() {
            return this.passed(piece);
        }
        if this.over.poll_unpin(cx).is_ready() {
            return Poll::Ready(Some(Err(Torn::Over)));
        }
        loop {
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers are between neighbours.
                    let Ok(piece) = frame.into_data() else { continue };
                    this.still.as_mut().reset(Instant::now() + this.idle);
                    return this.passed(piece);
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(Torn::ByApi))),
                Poll::Ready(None) => {
                    this.end();
                    return Poll::Ready(None);
                }
                // Only asked for where the API has nothing: a slow caller is no fault of the API.
                Poll::Pending => {
                    ready!(this.still.as_mut().poll(cx));
                    return Poll::Ready(Some(Err(Torn::Still)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.seen.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let seen: u64 = self.seen.iter().map(|piece| piece.len() as u64).sum();
        let rest = self.body.size_hint();
        let mut hint = SizeHint::default();
        hint.set_lower(rest.lower() + seen);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + seen);
        }
        hint
    }
}
