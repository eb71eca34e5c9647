//! Sending a call to an API: over an open connection where there is one, else over a fresh one, by the keeper's rules on
//! hosts and addresses. No redirect is followed.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jeton_core::keep::provider::ApiBase;
use jeton_core::time::Clock;
use jeton_keeper::Dialer;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::TaskTracker;

use crate::fault::Fault;
use crate::headers;
use crate::kept::Kept;
use crate::pool::{Origin, Pool, Sender};
use crate::settings::Settings;

/// How much of an answer's head is read at most, in bytes.
const HEAD: usize = 64 * 1024;

/// The body of a call.
pub(crate) struct Load {
    pub(crate) kept: Kept,
    /// The whole body as it is sent, where the token is put into it.
    pub(crate) whole: Option<Bytes>,
}

impl Load {
    fn sending(&self) -> Option<Body> {
        match &self.whole {
            Some(whole) => Some(Body::from(whole.clone())),
            None => self.kept.sending(),
        }
    }

    /// Whether it could be sent once more.
    pub(crate) fn can_repeat(&self) -> bool {
        self.whole.is_some() || self.kept.can_repeat()
    }
}

/// An answer whose body is still to be read, and the connection that it comes by.
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    pub(crate) lease: Lease,
}

/// An open connection, to be given back once its answer has been read to the end.
pub(crate) struct Lease {
    origin: Origin,
    sender: Sender,
    pool: Arc<Pool>,
}

impl Lease {
    pub(crate) fn give_back(self) {
        self.pool.put(&self.origin, self.sender);
    }
}

/// The way to all APIs.
#[derive(Debug)]
pub(crate) struct Upstreams {
    reach: Dialer,
    pool: Arc<Pool>,
    /// The tasks that move the bytes of connections.
    tasks: TaskTracker,
    connect: Duration,
    first_byte: Duration,
}

/// Why one sending has no answer.
enum Unanswered {
    /// Not a byte of it was sent.
    Unsent,
    /// The connection ended, and nobody knows what arrived.
    Cut(String),
    Fault(Fault),
}

impl Upstreams {
    pub(crate) fn new(clock: Arc<dyn Clock>, tasks: TaskTracker, settings: &Settings) -> Self {
        Self {
            reach: Dialer::new(clock, settings.allow_private_captured_hosts, &settings.roots),
            pool: Arc::default(),
            tasks,
            connect: settings.connect_timeout,
            first_byte: settings.first_byte_timeout,
        }
    }

    /// Closes the connections that carry nothing.
    pub(crate) fn close(&self) {
        self.pool.close();
    }

    /// Sends a call, and waits for the head of its answer. `make` makes its head around a body.
    ///
    /// A call goes out once. Only where an open connection turns out to have been closed meanwhile, it goes out again: on
    /// any method if not a byte of it was sent, else if it asks for nothing to be changed (RFC 9110, section 9.2.1). A PUT
    /// or a DELETE may be repeated by whoever knows that nobody else has written meanwhile; that is the caller.
    pub(crate) async fn send(
        &self,
        name: &str,
        base: &ApiBase,
        load: &Load,
        make: &(dyn Fn(Body) -> Request<Body> + Sync),
    ) -> Result<Answer, Fault> {
        let host = base.url.origin().ascii_serialization();
        let origin = Origin { name: name.to_owned(), host, captured: base.captured_host };
        let lost =
            || Fault::Broken("the connection ended, and the body is too large to be sent again".to_owned());
        let method = make(Body::empty()).method().clone();
        let mut open = if load.can_repeat() { self.pool.take(&origin, &method).await } else { None };
        loop {
            let fresh = open.is_none();
            let mut sender = match open.take() {
                Some(sender) => sender,
                None => self.open(base).await?,
            };
            let request = make(load.sending().ok_or_else(lost)?);
            match self.head(&mut sender, request, load).await {
                Ok(response) => {
                    headers::check_framing(response.headers()).map_err(Fault::Broken)?;
                    let lease = Lease { origin, sender, pool: Arc::clone(&self.pool) };
                    return Ok(Answer { response, lease });
                }
                Err(Unanswered::Fault(fault)) => return Err(fault),
                Err(Unanswered::Unsent) if !fresh => open = self.pool.take(&origin, &method).await,
                Err(Unanswered::Cut(_)) if !fresh && method.is_safe() && load.can_repeat() => {}
                Err(Unanswered::Unsent) => {
                    return Err(Fault::Broken("the connection ended before the call was sent".to_owned()));
                }
                Err(Unanswered::Cut(why)) => return Err(Fault::Broken(why)),
            }
        }
    }

    async fn open(&self, base: &ApiBase) -> Result<Sender, Fault> {
        let opening = async {
            let line = self.reach.dial(&base.url, base.captured_host).await.map_err(Fault::Unreachable)?;
            let handshake = http1::Builder::new().max_buf_size(HEAD).handshake::<_, Body>(TokioIo::new(line));
            handshake.await.map_err(|error| Fault::Unreachable(describe(&error)))
        };
        let late =
            |_| Fault::TooSlow { what: "was not reached", limit: self.connect, setting: "connect_timeout" };
        let (sender, connection) = timeout(self.connect, opening).await.map_err(late)??;
        self.tasks.spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                // Whoever waits for an answer is told by its own error.
                tracing::debug!(%error, "a connection to an API ended early");
            }
        });
        Ok(sender)
    }

    async fn head(
        &self,
        sender: &mut Sender,
        request: Request<Body>,
        load: &Load,
    ) -> Result<Response<Incoming>, Unanswered> {
        let answered = self.while_it_moves(&load.kept, sender.try_send_request(request)).await;
        match answered.map_err(Unanswered::Fault)? {
            Ok(response) => Ok(response),
            Err(_) if load.kept.is_torn() => Err(Unanswered::Fault(Fault::BodyBroken)),
            Err(mut error) => Err(match error.take_message() {
                Some(_) => Unanswered::Unsent,
                None => Unanswered::Cut(describe(error.error())),
            }),
        }
    }

    /// Waits for the head of an answer for as long as the body moves, and `first_byte` longer.
    async fn while_it_moves<F: Future>(&self, kept: &Kept, head: F) -> Result<F::Output, Fault> {
        let mut head = std::pin::pin!(head);
        loop {
            let (moved_at, _) = kept.stillness();
            tokio::select! {
                biased;
                head = &mut head => return Ok(head),
                () = sleep_until(moved_at + self.first_byte) => {
                    let (moved_at, for_caller) = kept.stillness();
                    if moved_at + self.first_byte > Instant::now() {
                        continue;
                    }
                    return Err(if for_caller {
                        Fault::BodyTooSlow(self.first_byte)
                    } else {
                        let limit = self.first_byte;
                        Fault::TooSlow { what: "did not answer", limit, setting: "first_byte_timeout" }
                    });
                }
            }
        }
    }
}

/// What went wrong, in words that hold nothing of the call.
fn describe(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
