//! One exchange with a token endpoint: on a fresh connection, sent once, and never sent late.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use jeton_core::keep::provider::{OutboundRequest, Reply};
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::dial::{Dialer, QueuedBytes};
use super::guard::{GuardedStream, WriteWindow};
use crate::node::Node;

/// How long connecting may take: name lookup, TCP and TLS together. An endpoint that does not answer gives its turn to
/// others long before the end of the exchange.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest reply that is read, in bytes.
pub(crate) const MAX_REPLY: usize = 1024 * 1024;

/// What became of an exchange.
#[derive(Debug)]
pub(crate) enum ExchangeOutcome {
    /// A whole reply came.
    Replied(Reply),
    /// Not a byte of the request was written.
    NotSent(String),
    /// Something was written, and no whole reply came.
    Broken(String),
}

/// Sends requests to token endpoints.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) node: Arc<Node>,
    dialer: Dialer,
}

impl Outbound {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        let dialer = Dialer::new(node.settings.allow_private_captured_hosts, &node.settings.roots);
        Self { node, dialer }
    }

    /// Sends `request` once, within `timeout`. No byte of it is written once the clock that counts suspension has
    /// reached `write_until`, nor when `recheck`, which runs once the connection is ready, objects.
    pub(crate) async fn exchange(
        &self,
        request: OutboundRequest,
        timeout: Duration,
        write_until: Duration,
        recheck: impl Future<Output = Result<(), String>>,
    ) -> ExchangeOutcome {
        let window = Arc::new(WriteWindow::new(Arc::clone(&self.node.clock), write_until));
        let deadline = Instant::now() + timeout;
        let outcome = match timeout_at(deadline, self.send(request, deadline, &window, recheck)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no whole reply within {} s", timeout.as_secs_f32())),
        };
        match outcome {
            Ok(reply) => ExchangeOutcome::Replied(reply),
            Err(why) if window.untouched() => ExchangeOutcome::NotSent(why),
            Err(why) => ExchangeOutcome::Broken(why),
        }
    }

    async fn send(
        &self,
        request: OutboundRequest,
        deadline: Instant,
        window: &Arc<WriteWindow>,
        recheck: impl Future<Output = Result<(), String>>,
    ) -> Result<Reply, String> {
        let queued = QueuedBytes::DropAt(deadline);
        let limit = CONNECT_TIMEOUT.min(deadline.saturating_duration_since(Instant::now()));
        let dialled = self.dialer.connect(&request.url, request.captured_host, queued, limit).await;
        let stream = dialled.map_err(|error| error.to_string())?;
        recheck.await?;
        let guarded = GuardedStream::new(stream, Arc::clone(window));
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(64 * 1024)
            .handshake::<_, Full<Bytes>>(TokioIo::new(guarded))
            .await
            .map_err(|error| describe_http_error(&error))?;
        let request = outgoing(&request)?;
        let mut exchange = pin!(async move {
            let response = sender.send_request(request).await.map_err(|error| describe_http_error(&error))?;
            read_reply(response).await
        });
        let connection = pin!(connection);
        tokio::select! {
            biased;
            reply = &mut exchange => reply,
            // The connection is done first when the server closes it behind its reply; what it read is still there.
            _ = connection => exchange.await,
        }
    }
}

fn outgoing(request: &OutboundRequest) -> Result<hyper::Request<Full<Bytes>>, String> {
    let mut path = request.url.path().to_owned();
    if let Some(query) = request.url.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut builder = hyper::Request::builder()
        .method(request.method.as_str())
        .uri(path)
        .header("host", host_header(&request.url))
        .header("user-agent", concat!("jeton/", env!("CARGO_PKG_VERSION")))
        // One request per connection: a connection that was idle may be gone, and then nobody knows what arrived.
        .header("connection", "close");
    for (name, value) in &request.headers {
        let mut value = http::HeaderValue::from_str(value.reveal()).map_err(|_| {
            format!("the value of the header `{name}` holds a character that headers cannot hold")
        })?;
        value.set_sensitive(true);
        builder = builder.header(name, value);
    }
    builder
        .body(Full::new(Bytes::copy_from_slice(&request.body)))
        .map_err(|error| format!("the request cannot be built: {error}"))
}

fn host_header(url: &url::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

async fn read_reply(response: hyper::Response<hyper::body::Incoming>) -> Result<Reply, String> {
    let header = |name: http::HeaderName| {
        response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let mut reply = Reply {
        status: response.status().as_u16(),
        retry_after: header(http::header::RETRY_AFTER),
        content_type: header(http::header::CONTENT_TYPE),
        date: header(http::header::DATE),
        body: Zeroizing::default(),
    };
    let mut body = Limited::new(response.into_body(), MAX_REPLY);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                format!("the reply is longer than {MAX_REPLY} bytes")
            } else {
                "the reply broke off".to_owned()
            }
        })?;
        if let Some(piece) = frame.data_ref() {
            reply.body.extend_from_slice(piece);
        }
    }
    Ok(reply)
}

/// What went wrong, in words that hold nothing of the request.
pub fn describe_http_error(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
