//! Sends a call to an API: over an idle connection where there is one, else over a new one, by the keeper's rules on hosts
//! and addresses. It follows no redirect.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use jeton_core::keep::provider::Endpoint;
use jeton_keeper::Dialer;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::TaskTracker;

use crate::error::ProxyError;
use crate::read_after_reset::ReadAfterReset;
use crate::replay_body::ReplayBody;
use crate::settings::{CallSettings, Settings};
use crate::upstream_request::UpstreamBody;

/// The smallest read buffer that HTTP/1.1 works with.
const MIN_BUFFER_BYTES: usize = 8 * 1024;

/// How long an idle connection is kept for the next call.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The same for a call that must not be repeated where the API closes the connection just then. Servers that do not say how
/// long they keep a connection keep it for 2 s or more; [`CLOSING_MARGIN`] less is safe.
const IDLE_TIMEOUT_UNREPEATABLE: Duration = Duration::from_secs(1);

/// How long before an API closes an idle connection such a call does not use it any more: the way there and back, and what
/// both clocks differ by.
const CLOSING_MARGIN: Duration = Duration::from_secs(1);

/// How many idle connections are kept for one [`Origin`].
const MAX_IDLE_PER_ORIGIN: usize = 64;

/// How often connections that are idle for too long are closed, whether their API is called or not.
const SWEEP_PERIOD: Duration = Duration::from_secs(5);

/// How long a connection that has just answered may take to be ready for the next call.
const READY_TIMEOUT: Duration = Duration::from_millis(20);

/// Whose calls a connection carries, and where to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Origin {
    /// The connection of jeton: calls of two connections never share one.
    name: String,
    /// Scheme, host and port.
    host: String,
    /// The host came from a captured variable, so that stricter rules applied when it was dialled.
    captured: bool,
}

type Sender = SendRequest<Body>;

#[derive(Debug)]
struct Idle {
    sender: Sender,
    since: Instant,
    /// How long the API says it keeps the connection.
    promised: Option<Duration>,
}

/// Idle connections.
#[derive(Debug)]
struct Pool {
    /// The most that are kept in all.
    limit: usize,
    idle: Mutex<IdleConnections>,
}

#[derive(Debug)]
struct IdleConnections {
    /// By origin; `None` once the pool is closed.
    by_origin: Option<HashMap<Origin, Vec<Idle>>>,
    swept_at: Instant,
}

impl Idle {
    /// How long it can be used: for a call that can be repeated until it is closed, for others until that comes near.
    fn usable_for(&self, repeatable: bool) -> Duration {
        let promised = self.promised.unwrap_or(Duration::MAX);
        match (repeatable, self.promised) {
            (true, _) => IDLE_TIMEOUT.min(promised),
            (false, Some(promised)) => IDLE_TIMEOUT.min(promised.saturating_sub(CLOSING_MARGIN)),
            (false, None) => IDLE_TIMEOUT_UNREPEATABLE,
        }
    }

    fn is_usable(&self, repeatable: bool) -> bool {
        !self.sender.is_closed() && self.since.elapsed() < self.usable_for(repeatable)
    }
}

/// How long an API says that it keeps an idle connection: `Keep-Alive: timeout=5, max=100`, where `max` is the number of
/// requests that it still takes (RFC 2068, section 19.7.1.1). `None` where it says nothing.
fn promised_idle_time(headers: &HeaderMap) -> Option<Duration> {
    let mut promised = None;
    for line in headers.get_all("keep-alive") {
        for parameter in line.to_str().unwrap_or_default().split([',', ';']) {
            let Some((name, value)) = parameter.split_once('=') else { continue };
            let Ok(value) = value.trim().trim_matches('"').parse::<u64>() else { continue };
            match name.trim().to_ascii_lowercase().as_str() {
                "timeout" => {
                    promised = Some(promised.unwrap_or(Duration::MAX).min(Duration::from_secs(value)));
                }
                "max" if value == 0 => promised = Some(Duration::ZERO),
                _ => {}
            }
        }
    }
    promised
}

impl Pool {
    fn new(limit: usize) -> Self {
        let idle = IdleConnections { by_origin: Some(HashMap::new()), swept_at: Instant::now() };
        Self { limit, idle: Mutex::new(idle) }
    }

    /// A connection that is ready for a call, if there is one.
    async fn take(&self, origin: &Origin, method: &Method) -> Option<Sender> {
        while let Some(mut sender) = self.pop(origin, method.is_safe()) {
            if sender.is_ready() || matches!(timeout(READY_TIMEOUT, sender.ready()).await, Ok(Ok(()))) {
                return Some(sender);
            }
        }
        None
    }

    /// The connection that became idle last, of those that such a call can use.
    fn pop(&self, origin: &Origin, repeatable: bool) -> Option<Sender> {
        let mut idle = self.idle.lock();
        let idle = idle.by_origin.as_mut()?.get_mut(origin)?;
        idle.retain(|one| one.is_usable(true));
        let index = idle.iter().rposition(|one| one.is_usable(repeatable))?;
        Some(idle.remove(index).sender)
    }

    fn push(&self, origin: &Origin, sender: Sender, promised: Option<Duration>) {
        if sender.is_closed() || promised == Some(Duration::ZERO) {
            return;
        }
        let mut idle = self.idle.lock();
        let IdleConnections { by_origin: Some(by_origin), swept_at } = &mut *idle else { return };
        let now = Instant::now();
        let own = by_origin.entry(origin.clone()).or_default();
        own.push(Idle { sender, since: now, promised });
        let surplus = own.len().saturating_sub(MAX_IDLE_PER_ORIGIN);
        own.drain(..surplus);
        let too_many =
            |by_origin: &HashMap<_, Vec<Idle>>| by_origin.values().map(Vec::len).sum::<usize>() > self.limit;
        if now - *swept_at > SWEEP_PERIOD || too_many(by_origin) {
            *swept_at = now;
            by_origin.retain(|_, idle| {
                idle.retain(|one| one.is_usable(true));
                !idle.is_empty()
            });
        }
        if too_many(by_origin) {
            let oldest =
                by_origin.values_mut().filter(|idle| !idle.is_empty()).min_by_key(|idle| idle[0].since);
            oldest.map(|idle| idle.remove(0));
        }
    }
}

/// A connection that carries an answer, to be released once that has been read to its end.
pub(crate) struct PooledConnection {
    origin: Origin,
    sender: Sender,
    promised: Option<Duration>,
    pool: Arc<Pool>,
}

impl PooledConnection {
    /// Makes it available for the next call.
    pub(crate) fn release(self) {
        self.pool.push(&self.origin, self.sender, self.promised);
    }
}

/// The HTTP client for all APIs.
#[derive(Debug)]
pub(crate) struct UpstreamClient {
    dialer: Dialer,
    pool: Arc<Pool>,
    /// The tasks that move the bytes of connections.
    tasks: TaskTracker,
    protocol: http1::Builder,
    /// The largest head of an answer: bytes, and header lines.
    max_head: (usize, usize),
}

/// Why a request that was sent has no answer.
enum SendError {
    /// Not a byte of it was sent.
    NotSent,
    /// The connection ended, and nobody knows how much arrived.
    Interrupted(String),
    Other(ProxyError),
}

impl UpstreamClient {
    pub(crate) fn new(tasks: TaskTracker, settings: &Settings) -> Self {
        let mut protocol = http1::Builder::new();
        // A space before the colon is removed, and a folded line becomes one (RFC 9112, sections 5.1 and 5.2).
        protocol
            .max_header_size(settings.max_header_bytes)
            .max_headers(settings.max_headers)
            .max_buf_size(settings.max_header_bytes.max(MIN_BUFFER_BYTES))
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true);
        Self {
            protocol,
            max_head: (settings.max_header_bytes, settings.max_headers),
            dialer: Dialer::new(&settings.outbound),
            pool: Arc::new(Pool::new(settings.idle_connections)),
            tasks,
        }
    }

    /// Closes idle connections, and keeps none from now on.
    pub(crate) fn close(&self) {
        self.pool.idle.lock().by_origin = None;
    }

    /// Sends a call of the connection `name`, and waits for the head of its answer.
    ///
    /// It is sent once. Only where an idle connection turns out to be closed, it is sent again: with any method if not a byte
    /// was sent, else if the method changes nothing (RFC 9110, section 9.2.1). Whether a PUT or a DELETE may be repeated
    /// depends on what others wrote meanwhile, which only the caller can know.
    pub(crate) async fn send(
        &self,
        name: &str,
        settings: &CallSettings,
        base: &Endpoint,
        head: &Parts,
        body: &UpstreamBody,
    ) -> Result<(Response<Incoming>, PooledConnection), ProxyError> {
        let host = base.url.origin().ascii_serialization();
        let origin = Origin { name: name.to_owned(), host, captured: base.captured_host };
        let gone = || {
            ProxyError::Broken("the connection ended, and the body is too large to be sent again".to_owned())
        };
        let mut idle = if body.can_repeat() { self.pool.take(&origin, &head.method).await } else { None };
        loop {
            let is_new = idle.is_none();
            let mut sender = match idle.take() {
                Some(sender) => sender,
                None => self.connect(base, settings).await?,
            };
            let request = Request::from_parts(head.clone(), body.start().ok_or_else(gone)?);
            match self.exchange(&mut sender, request, &body.replay, settings.first_byte_timeout).await {
                Ok(response) => {
                    let promised = promised_idle_time(response.headers());
                    let pool = Arc::clone(&self.pool);
                    let connection = PooledConnection { origin, sender, promised, pool };
                    return Ok((response, connection));
                }
                Err(SendError::Other(error)) => return Err(error),
                Err(SendError::NotSent) if !is_new => {
                    idle = self.pool.take(&origin, &head.method).await;
                }
                Err(SendError::Interrupted(_)) if !is_new && head.method.is_safe() && body.can_repeat() => {}
                Err(SendError::NotSent) => {
                    return Err(ProxyError::Broken(
                        "the connection ended before the call was sent".to_owned(),
                    ));
                }
                Err(SendError::Interrupted(problem)) => return Err(ProxyError::Broken(problem)),
            }
        }
    }

    async fn connect(&self, base: &Endpoint, settings: &CallSettings) -> Result<Sender, ProxyError> {
        let stream = self.dialer.dial(base, settings.connect_timeout).await?;
        let (sender, connection) = self
            .protocol
            .clone()
            .title_case_headers(settings.title_case_headers)
            .handshake::<_, Body>(TokioIo::new(ReadAfterReset::new(stream)))
            .await
            .map_err(|error| ProxyError::Unreachable(self.describe(&error)))?;
        self.tasks.spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                // The call that waits for an answer gets an error of its own.
                tracing::debug!(%error, "a connection to an API ended early");
            }
        });
        Ok(sender)
    }

    async fn exchange(
        &self,
        sender: &mut Sender,
        request: Request<Body>,
        body: &ReplayBody,
        first_byte_timeout: Duration,
    ) -> Result<Response<Incoming>, SendError> {
        let answered =
            with_first_byte_timeout(body, first_byte_timeout, sender.try_send_request(request)).await;
        match answered.map_err(SendError::Other)? {
            Ok(response) => Ok(response),
            Err(_) if body.is_aborted() => Err(SendError::Other(ProxyError::BodyBroken)),
            Err(mut error) => Err(match error.take_message() {
                Some(_) => SendError::NotSent,
                None => SendError::Interrupted(self.describe(error.error())),
            }),
        }
    }

    /// What went wrong, in words that hold nothing of the request.
    fn describe(&self, error: &hyper::Error) -> String {
        if error.is_parse_too_large() {
            let (bytes, lines) = self.max_head;
            return format!(
                "the head of its answer has more than {bytes} bytes or {lines} lines; see `gateway.max_header_bytes` and \
                 `gateway.max_headers`"
            );
        }
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        text
    }
}

/// Waits for the head of an answer as long as the body moves, and `limit` longer.
async fn with_first_byte_timeout<F: Future>(
    body: &ReplayBody,
    limit: Duration,
    head: F,
) -> Result<F::Output, ProxyError> {
    let mut head = std::pin::pin!(head);
    loop {
        let (moved_at, _) = body.progress();
        tokio::select! {
            biased;
            head = &mut head => return Ok(head),
            () = sleep_until(moved_at + limit) => {
                let (moved_at, waits_for_caller) = body.progress();
                if moved_at + limit > Instant::now() {
                    continue;
                }
                return Err(if waits_for_caller {
                    ProxyError::BodyTooSlow(limit)
                } else {
                    ProxyError::TooSlow { what: "did not answer", limit, setting: "first_byte_timeout" }
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_api_says_of_its_idle_connections_is_read() {
        let said = |lines: &[&str]| {
            let lines =
                lines.iter().map(|line| (http::HeaderName::from_static("keep-alive"), line.parse().unwrap()));
            promised_idle_time(&lines.collect())
        };
        for (lines, seconds) in [
            (&["timeout=5"][..], Some(5)),
            (&["timeout=5, max=100"], Some(5)),
            (&["max=100;Timeout = \"15\""], Some(15)),
            (&["timeout=5", "timeout=3"], Some(3)),
            (&["timeout=5, max=0"], Some(0)),
            (&["max=100"], None),
            (&["timeout=soon"], None),
            (&["timeout=-1"], None),
            (&[], None),
        ] {
            assert_eq!(said(lines), seconds.map(Duration::from_secs), "{lines:?}");
        }
    }
}
