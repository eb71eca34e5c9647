//! The answer of an API on its way to the caller: which of its headers go on, and how its body is passed on.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, DATE, RETRY_AFTER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, response};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use jeton_core::keep::provider::{Definition, read_retry_after};
use jeton_core::media_type::is_json;
use jeton_core::time::Timestamp;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::access_log::AccessLogEntry;
use crate::error::ProxyError;
use crate::header_names::{RETRY_HEADER, sanitize_answer};
use crate::replay_body::{AccessEnded, BodyAborted};
use crate::upstream::PooledConnection;

/// The longest body that is searched for a report that the token expired, in bytes.
const SEARCH_LIMIT: usize = 64 * 1024;

/// Headers for shared caches alone, beside `Cache-Control` (RFC 9213).
const FOR_SHARED_CACHES: [HeaderName; 4] = [
    HeaderName::from_static("cdn-cache-control"),
    HeaderName::from_static("surrogate-control"),
    HeaderName::from_static("cloudflare-cdn-cache-control"),
    HeaderName::from_static("x-accel-expires"),
];

/// Directives that let a shared cache store an answer; `private` with names would keep these headers from it alone.
const REPLACED: [&str; 5] = ["public", "s-maxage", "proxy-revalidate", "must-understand", "private"];

/// The answer of an API, as much of its body as was searched, and the rest of it.
pub(crate) struct UpstreamResponse {
    pub(crate) head: response::Parts,
    searched: VecDeque<Bytes>,
    body: Incoming,
    connection: PooledConnection,
    /// It answers a HEAD, so that the length of its body says nothing.
    to_head: bool,
}

impl UpstreamResponse {
    /// The answer to a request with this method.
    ///
    /// # Errors
    /// Two readers could see its end at different places (RFC 9112, section 6.3).
    pub(crate) fn new(
        (response, connection): (http::Response<Incoming>, PooledConnection),
        method: &Method,
    ) -> Result<Self, ProxyError> {
        let (mut head, body) = response.into_parts();
        check_framing(&mut head.headers).map_err(|problem| ProxyError::Broken(problem.to_owned()))?;
        let to_head = method == Method::HEAD;
        Ok(Self { head, searched: VecDeque::new(), body, connection, to_head })
    }

    /// Whether the answer says that the token is not accepted.
    ///
    /// # Errors
    /// The body broke off, or stalled for longer than `idle`, while it was searched.
    pub(crate) async fn reports_expired_token(
        &mut self,
        definition: &Definition,
        idle: Duration,
    ) -> Result<bool, ProxyError> {
        let status = self.head.status.as_u16();
        if definition.api_expired(status, None) {
            return Ok(true);
        }
        if !definition.api_wants_body(status) || !is_searchable(&self.head.headers) {
            return Ok(false);
        }
        let mut size = 0;
        while size <= SEARCH_LIMIT {
            let late =
                |_| ProxyError::TooSlow { what: "stopped answering", limit: idle, setting: "idle_timeout" };
            let Some(frame) = timeout(idle, self.body.frame()).await.map_err(late)? else {
                let whole: Vec<u8> = self.searched.iter().flatten().copied().collect();
                return Ok(definition.api_expired(status, Some(&whole)));
            };
            let frame = frame.map_err(|_| ProxyError::Broken("its answer broke off".to_owned()))?;
            if let Ok(piece) = frame.into_data() {
                size += piece.len();
                self.searched.push_back(piece);
            }
        }
        Ok(false)
    }

    /// How long the API asks callers to wait, where it answers 429 (RFC 6585, section 4).
    pub(crate) fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        let text = |name| self.head.headers.get(name).and_then(|value| value.to_str().ok());
        let asked = text(RETRY_AFTER).filter(|_| self.head.status == StatusCode::TOO_MANY_REQUESTS)?;
        read_retry_after(asked, text(DATE), now)
    }

    /// The answer as the caller gets it.
    pub(crate) fn into_response(
        self,
        mut entry: AccessLogEntry,
        idle: Duration,
        not_retried: Option<&'static str>,
        access_ended: AccessEnded,
    ) -> Response {
        let Self { mut head, searched, body, connection, to_head } = self;
        sanitize(&mut head);
        make_private(&mut head.headers);
        if let Some(reason) = not_retried {
            head.headers.insert(RETRY_HEADER, HeaderValue::from_static(reason));
        }
        entry.status = Some(head.status);
        let stalled = Box::pin(sleep_until(Instant::now() + idle));
        let connection = Some(connection);
        let mut body =
            PassThroughBody { searched, body, connection, to_head, idle, stalled, access_ended, entry };
        body.finish_if_ended();
        Response::from_parts(head, Body::new(body))
    }

    /// The head and the body of an answer that ends HTTP on its connection.
    pub(crate) fn into_upgrade(self) -> http::Response<Incoming> {
        http::Response::from_parts(self.head, self.body)
    }
}

/// Makes one number of a length that is given more than once (RFC 9110, section 8.6).
fn check_framing(headers: &mut HeaderMap) -> Result<(), &'static str> {
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    let first = lines.next();
    let is_plain = |line: &HeaderValue| line.as_bytes().iter().all(u8::is_ascii_digit);
    if lines.next().is_some() || !first.is_none_or(is_plain) {
        let length = one_length(headers).ok_or("its answer gives more than one length in Content-Length")?;
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    if headers.contains_key(CONTENT_LENGTH) {
        return Err("its answer gives its length twice, by Content-Length and by Transfer-Encoding");
    }
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err("the Transfer-Encoding of its answer is not `chunked` alone");
    }
    Ok(())
}

/// The length that all lines and all members of them give.
fn one_length(headers: &HeaderMap) -> Option<u64> {
    let mut length = None;
    for line in headers.get_all(CONTENT_LENGTH) {
        for member in line.to_str().ok()?.split(',') {
            let member = member.trim();
            let number =
                member.parse::<u64>().ok().filter(|_| member.bytes().all(|byte| byte.is_ascii_digit()))?;
            if length.replace(number).is_some_and(|before| before != number) {
                return None;
            }
        }
    }
    length
}

fn is_searchable(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let length = text(CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    text(CONTENT_TYPE).is_some_and(is_json) && length.is_none_or(|length| length <= SEARCH_LIMIT)
}

/// Removes what does not go on from the head of an answer. Beside headers that is its reason phrase, which HTTP keeps in the
/// extensions: it means nothing to programs (RFC 9112, section 4), and may hold anything, such as the token.
pub(crate) fn sanitize(head: &mut response::Parts) {
    sanitize_answer(&mut head.headers);
    head.extensions.clear();
    // Each connection has a version of its own (RFC 9110, section 2.5): an answer from HTTP/1.0 would end without a mark.
    head.version = Version::HTTP_11;
}

/// Forbids shared caches to store an answer.
///
/// A cache between jeton and its callers knows neither the token by which an answer was made nor the service token that
/// admitted the caller: it would give the answer to whoever asks next for the same URL. So no shared cache may store one,
/// whatever the API says, also where it says nothing, for caches guess then (RFC 9111, section 4.2.2). The caller's own
/// cache may, for as long as the API allows.
fn make_private(headers: &mut HeaderMap) {
    let mut values = vec!["private".to_owned()];
    for line in headers.get_all(CACHE_CONTROL) {
        // A line that is not text has no directive; one that opens a quote and does not close it may mean anything.
        let line = line.to_str().unwrap_or_default();
        if line.matches('"').count() % 2 == 1 || line.contains('\\') {
            values.push("no-store".to_owned());
        }
        values.extend(directives(line).filter(|directive| !is_replaced(directive)).map(str::to_owned));
    }
    // Then every other directive is without effect.
    if values.iter().any(|directive| directive.eq_ignore_ascii_case("no-store")) {
        values = vec!["no-store".to_owned()];
    }
    let value = HeaderValue::from_str(&values.join(", "));
    headers.insert(CACHE_CONTROL, value.unwrap_or(HeaderValue::from_static("no-store")));
    for name in &FOR_SHARED_CACHES {
        headers.remove(name);
    }
}

/// The directives of a line; a comma within quotes separates nothing.
fn directives(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let separates = move |character: char| {
        quoted ^= character == '"';
        character == ',' && !quoted
    };
    line.split(separates).map(str::trim).filter(|directive| !directive.is_empty())
}

fn is_replaced(directive: &str) -> bool {
    let name = directive.split('=').next().unwrap_or_default().trim();
    REPLACED.iter().any(|replaced| replaced.eq_ignore_ascii_case(name))
}

/// The body of an answer: passed on as the caller reads it, counted, and aborted where the API stalls.
struct PassThroughBody {
    searched: VecDeque<Bytes>,
    body: Incoming,
    connection: Option<PooledConnection>,
    to_head: bool,
    idle: Duration,
    stalled: Pin<Box<Sleep>>,
    access_ended: AccessEnded,
    entry: AccessLogEntry,
}

impl PassThroughBody {
    /// Releases the connection as soon as nothing more will come.
    fn finish_if_ended(&mut self) {
        if self.searched.is_empty() && self.body.is_end_stream() {
            self.finish();
        }
    }

    fn finish(&mut self) {
        self.entry.whole = true;
        if let Some(connection) = self.connection.take() {
            connection.release();
        }
    }

    fn pass_on(&mut self, piece: Bytes) -> Poll<Option<Result<Frame<Bytes>, BodyAborted>>> {
        self.entry.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        self.finish_if_ended();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl HttpBody for PassThroughBody {
    type Data = Bytes;
    type Error = BodyAborted;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyAborted>>> {
        let this = self.get_mut();
        if let Some(piece) = this.searched.pop_front() {
            return this.pass_on(piece);
        }
        if this.access_ended.poll_unpin(cx).is_ready() {
            return Poll::Ready(Some(Err(BodyAborted::AccessEnded)));
        }
        loop {
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers concern one connection, and do not go on.
                    let Ok(piece) = frame.into_data() else { continue };
                    this.stalled.as_mut().reset(Instant::now() + this.idle);
                    return this.pass_on(piece);
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(BodyAborted::ByApi))),
                Poll::Ready(None) => {
                    this.finish();
                    return Poll::Ready(None);
                }
                // Polled only where the API has sent nothing: a slow caller is no fault of the API.
                Poll::Pending => {
                    ready!(this.stalled.as_mut().poll(cx));
                    return Poll::Ready(Some(Err(BodyAborted::Stalled)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.searched.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // An answer to HEAD has the length that its header says, and no other (RFC 9110, section 9.3.2).
        if self.to_head {
            return SizeHint::default();
        }
        let searched: u64 = self.searched.iter().map(|piece| piece.len() as u64).sum();
        let rest = self.body.size_hint();
        let mut hint = SizeHint::default();
        hint.set_lower(rest.lower() + searched);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + searched);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing_of(lengths: &[&'static str]) -> Result<HeaderMap, &'static str> {
        let lines = lengths.iter().map(|line| (CONTENT_LENGTH, HeaderValue::from_static(line)));
        let mut headers = lines.collect::<HeaderMap>();
        check_framing(&mut headers)?;
        Ok(headers)
    }

    #[test]
    fn a_length_goes_on_as_one_number_or_not_at_all() {
        for lengths in [&["2"][..], &["2, 2"], &["2", "2"], &["2,2 ,2", "2"], &["02, 2"]] {
            let headers = framing_of(lengths).unwrap();
            assert_eq!(headers.get_all(CONTENT_LENGTH).iter().collect::<Vec<_>>(), ["2"], "{lengths:?}");
        }
        for lengths in [&["2, 3"][..], &["2", "3"], &["+2"], &["2,"], &["2 2"], &["0x2"], &["2;2"]] {
            assert!(framing_of(lengths).is_err(), "{lengths:?}");
        }
        assert!(framing_of(&[]).unwrap().is_empty());
    }

    fn cache_control_of(lines: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, HeaderValue::from_static(line));
        }
        headers.insert("cdn-cache-control", HeaderValue::from_static("max-age=600"));
        make_private(&mut headers);
        assert!(!headers.contains_key("cdn-cache-control"));
        assert_eq!(headers.get_all(CACHE_CONTROL).iter().count(), 1);
        headers[CACHE_CONTROL].to_str().unwrap().to_owned()
    }

    #[test]
    fn no_shared_cache_stores_an_answer_and_the_callers_own_may_as_the_api_says() {
        for (lines, left) in [
            (&[][..], "private"),
            (&["public, max-age=60"], "private, max-age=60"),
            (&["Public", "S-MaxAge=60, must-revalidate"], "private, must-revalidate"),
            (&["private=\"set-cookie, x\", no-cache=\"a, b\""], "private, no-cache=\"a, b\""),
            (&["proxy-revalidate, immutable, max-age=1"], "private, immutable, max-age=1"),
            (&["public, No-Store, max-age=60"], "no-store"),
            (&["no-cache=\"a, public"], "no-store"),
        ] {
            assert_eq!(cache_control_of(lines), left, "{lines:?}");
        }
    }
}
