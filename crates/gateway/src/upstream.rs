//! Sends a call to an API: over an idle connection where there is one, else over a new one, by the keeper's rules on hosts
//! and addresses. It follows no redirect.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::request::Parts;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use jeton_core::keep::provider::Endpoint;
use jeton_keeper::Dialer;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::TaskTracker;

use crate::error::ProxyError;
use crate::replay_body::ReplayBody;
use crate::settings::Settings;
use crate::upstream_request::UpstreamBody;

/// The longest head of an answer that is read, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// How long an idle connection is kept for the next call.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The same for a call that must not be repeated where the API closes the connection just then: few servers close sooner.
const IDLE_TIMEOUT_UNREPEATABLE: Duration = Duration::from_secs(2);

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
    fn is_usable(&self) -> bool {
        !self.sender.is_closed() && self.since.elapsed() < IDLE_TIMEOUT
    }
}

impl Pool {
    fn new(limit: usize) -> Self {
        let idle = IdleConnections { by_origin: Some(HashMap::new()), swept_at: Instant::now() };
        Self { limit, idle: Mutex::new(idle) }
    }

    /// A connection that is ready for a call, if there is one.
    async fn take(&self, origin: &Origin, method: &Method) -> Option<Sender> {
        let longest = if method.is_safe() { IDLE_TIMEOUT } else { IDLE_TIMEOUT_UNREPEATABLE };
        while let Some(mut sender) = self.pop(origin, longest) {
            if sender.is_ready() || matches!(timeout(READY_TIMEOUT, sender.ready()).await, Ok(Ok(()))) {
                return Some(sender);
            }
        }
        None
    }

    /// The connection that became idle last, if it is idle for less than `longest`.
    fn pop(&self, origin: &Origin, longest: Duration) -> Option<Sender> {
        let mut idle = self.idle.lock();
        let idle = idle.by_origin.as_mut()?.get_mut(origin)?;
        idle.retain(Idle::is_usable);
        let index = idle.iter().rposition(|one| one.since.elapsed() < longest)?;
        Some(idle.remove(index).sender)
    }

    fn push(&self, origin: &Origin, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock();
        let IdleConnections { by_origin: Some(by_origin), swept_at } = &mut *idle else { return };
        let now = Instant::now();
        let own = by_origin.entry(origin.clone()).or_default();
        own.push(Idle { sender, since: now });
        let surplus = own.len().saturating_sub(MAX_IDLE_PER_ORIGIN);
        own.drain(..surplus);
        let too_many =
            |by_origin: &HashMap<_, Vec<Idle>>| by_origin.values().map(Vec::len).sum::<usize>() > self.limit;
        if now - *swept_at > SWEEP_PERIOD || too_many(by_origin) {
            *swept_at = now;
            by_origin.retain(|_, idle| {
                idle.retain(Idle::is_usable);
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
    pool: Arc<Pool>,
}

impl PooledConnection {
    /// Makes it available for the next call.
    pub(crate) fn release(self) {
        self.pool.push(&self.origin, self.sender);
    }
}

/// The HTTP client for all APIs.
#[derive(Debug)]
pub(crate) struct UpstreamClient {
    dialer: Dialer,
    pool: Arc<Pool>,
    /// The tasks that move the bytes of connections.
    tasks: TaskTracker,
    connect_timeout: Duration,
    first_byte_timeout: Duration,
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
        Self {
            dialer: Dialer::new(&settings.outbound),
            pool: Arc::new(Pool::new(settings.idle_connections)),
            tasks,
            connect_timeout: settings.connect_timeout,
            first_byte_timeout: settings.first_byte_timeout,
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
                None => self.connect(base).await?,
            };
            let request = Request::from_parts(head.clone(), body.start().ok_or_else(gone)?);
            match self.exchange(&mut sender, request, &body.replay).await {
                Ok(response) => {
                    let connection = PooledConnection { origin, sender, pool: Arc::clone(&self.pool) };
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

    async fn connect(&self, base: &Endpoint) -> Result<Sender, ProxyError> {
        let stream = self.dialer.dial(base, self.connect_timeout).await?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake::<_, Body>(TokioIo::new(stream))
            .await
            .map_err(|error| ProxyError::Unreachable(describe_http_error(&error)))?;
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
    ) -> Result<Response<Incoming>, SendError> {
        let answered = self.with_first_byte_timeout(body, sender.try_send_request(request)).await;
        match answered.map_err(SendError::Other)? {
            Ok(response) => Ok(response),
            Err(_) if body.is_aborted() => Err(SendError::Other(ProxyError::BodyBroken)),
            Err(mut error) => Err(match error.take_message() {
                Some(_) => SendError::NotSent,
                None => SendError::Interrupted(describe_http_error(error.error())),
            }),
        }
    }

    /// Waits for the head of an answer as long as the body moves, and `first_byte_timeout` longer.
    async fn with_first_byte_timeout<F: Future>(
        &self,
        body: &ReplayBody,
        head: F,
    ) -> Result<F::Output, ProxyError> {
        let limit = self.first_byte_timeout;
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
}

/// What went wrong, in words that hold nothing of the request.
fn describe_http_error(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
