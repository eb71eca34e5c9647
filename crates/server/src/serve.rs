//! Accepting connections, within limits, until it is time to stop.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, StatusCode, Uri, Version, header};
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::caller_stream::CallerStream;
use crate::client_address::TrustedProxies;
use crate::limits::Limits;
use crate::open_connections::{OpenConnection, OpenConnections, RequestBody};
use crate::request_id::RequestIds;

/// The pause when the process has no file descriptor left: an immediate retry would only burn the processor.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// How long an answer may still be written to a caller with a valid credential whose connection gives way to another.
const GIVE_WAY_TIME: Duration = Duration::from_secs(1);

/// The smallest read buffer that HTTP/1.1 works with.
const MIN_BUFFER_BYTES: usize = 8 * 1024;

/// How every connection of HTTP/2 begins (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The pause while only a part of [`HTTP2_PREFACE`] has come.
const PREFACE_DELAY: Duration = Duration::from_millis(10);

/// How many requests one connection of HTTP/2 carries at once.
const MAX_STREAMS: u32 = 100;

/// Serves HTTP/1.1, and HTTP/2 to callers that begin with it, on `listener` until `shutdown` is ready. Then it accepts no more
/// connections, answers running requests, and returns when they are done or after [`Limits::drain`]. Each request has its
/// [`ClientAddress`](crate::ClientAddress), which `proxies` may say, and its [`RequestId`](crate::RequestId).
///
/// # Errors
/// A permanent error of the listener. An error of one connection ends that connection only.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    proxies: TrustedProxies,
    request_ids: RequestIds,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let server = Server::new(router, limits, proxies, request_ids);
    let ended = tokio::select! {
        biased;
        () = shutdown => Ok(()),
        ended = server.accept(&listener) => ended.map(|never| match never {}),
    };
    // Closed before the wait, so that a load balancer sees at once that this node takes no more.
    drop(listener);
    server.drain().await;
    ended
}

struct Server {
    router: TowerToHyperService<Router>,
    http1: http1::Builder,
    http2: http2::Builder<TaskExecutor>,
    limits: Limits,
    open: Arc<OpenConnections>,
    proxies: Arc<TrustedProxies>,
    request_ids: RequestIds,
    connections: TaskTracker,
    /// Finish running requests.
    closing: CancellationToken,
    /// Cut all connections.
    closed: CancellationToken,
}

impl Server {
    fn new(router: Router, limits: Limits, proxies: TrustedProxies, request_ids: RequestIds) -> Self {
        let connections = TaskTracker::new();
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            // A caller that sends no more may still wait for its answer (RFC 9112, section 9.6).
            .half_close(true)
            .max_headers(limits.header_lines)
            .header_read_timeout(limits.header_time)
            .max_header_size(limits.header_bytes)
            .max_buf_size(limits.header_bytes.max(MIN_BUFFER_BYTES));
        let mut http2 = http2::Builder::new(TaskExecutor(connections.clone()));
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX));
        Self {
            router: TowerToHyperService::new(router),
            http1,
            http2,
            limits,
            open: OpenConnections::new(limits.connections),
            proxies: Arc::new(proxies),
            request_ids,
            connections,
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
        }
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<Infallible> {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.spawn_connection(stream, peer.ip(), self.open.admit().await),
                Err(error) if is_connection_error(&error) => {}
                Err(error) if is_listener_error(&error) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed; trying again");
                    self.open.close_one_idle();
                    sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
    }

    fn spawn_connection(&self, stream: TcpStream, peer: IpAddr, open: OpenConnection) {
        if let Err(error) = stream.set_nodelay(true) {
            // The caller is gone already, or only slower to serve.
            tracing::debug!(%error, "TCP_NODELAY cannot be set; small writes are delayed");
        }
        let open = Arc::new(open);
        let service = ConnectionService {
            router: self.router.clone(),
            open: Arc::clone(&open),
            peer,
            proxies: Arc::clone(&self.proxies),
            request_ids: self.request_ids.clone(),
        };
        let (http1, http2, limits) = (self.http1.clone(), self.http2.clone(), self.limits);
        let (closing, closed) = (self.closing.clone(), self.closed.clone());
        let serving = async move {
            let began = tokio::select! {
                began = timeout(limits.header_time, speaks_http2(&stream)) => began,
                () = open.must_give_way() => return,
                () = closing.cancelled() => return,
            };
            // A caller that says nothing, or has left, gets no answer.
            let Ok(Ok(speaks_http2)) = began else { return };
            let io = TokioIo::new(CallerStream::new(stream, Arc::clone(&open), limits));
            if speaks_http2 {
                let connection = http2.serve_connection(io, service);
                let idle = open.idle_for(limits.header_time);
                drive(connection, http2::Connection::graceful_shutdown, idle, &open, closing).await;
            } else {
                let connection = http1.serve_connection(io, service).with_upgrades();
                // HTTP/1.1 ends idle connections by itself.
                let idle = std::future::pending();
                drive(connection, http1::UpgradeableConnection::graceful_shutdown, idle, &open, closing)
                    .await;
            }
        };
        self.connections.spawn(async move {
            tokio::select! {
                () = serving => {}
                () = closed.cancelled() => {}
            }
        });
    }

    async fn drain(self) {
        self.closing.cancel();
        self.connections.close();
        if timeout(self.limits.drain, self.connections.wait()).await.is_err() {
            tracing::warn!(
                connections = self.connections.len(),
                "requests did not end in time; cutting their connections"
            );
            self.closed.cancel();
            self.connections.wait().await;
        }
    }
}

/// The router, for the requests of one connection.
struct ConnectionService {
    router: TowerToHyperService<Router>,
    open: Arc<OpenConnection>,
    peer: IpAddr,
    proxies: Arc<TrustedProxies>,
    request_ids: RequestIds,
}

impl Service<Request<Incoming>> for ConnectionService {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let Some(under_way) = self.open.begin_request() else {
            // The connection is closed before this is waited for in vain.
            return Box::pin(std::future::pending());
        };
        let version = request.version();
        self.open.note_version(version);
        if version == Version::HTTP_2 {
            name_host(&mut request);
        }
        let client = self.proxies.client_of(self.peer, request.headers());
        let id = self.request_ids.id_of(request.headers());
        request.extensions_mut().insert(Arc::clone(&self.open));
        request.extensions_mut().insert(client);
        request.extensions_mut().insert(id);
        let answer = self.router.call(request.map(|body| RequestBody::new(body, Arc::clone(&self.open))));
        Box::pin(async move {
            let mut response = answer.await?;
            remove_what_has_no_place(&mut response, version);
            Ok(under_way.answered(response))
        })
    }
}

/// Writes the host where HTTP/1.1 has it, and leaves the path alone in the target (RFC 9113, section 8.3.1).
fn name_host(request: &mut Request<Incoming>) {
    let host = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    if let Some(host) = host {
        request.headers_mut().insert(header::HOST, host);
    }
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map(Uri::from).unwrap_or_default();
}

/// A 204 has no length, not even of nothing (RFC 9110, section 8.6), and HTTP/2 has no options of connections (RFC 9113, section
/// 8.2.2).
fn remove_what_has_no_place(response: &mut Response, version: Version) {
    if response.status() == StatusCode::NO_CONTENT {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    if version == Version::HTTP_2 {
        response.headers_mut().remove(header::CONNECTION);
    }
}

/// Spawns the streams of HTTP/2 where shutdown waits for them.
#[derive(Clone, Debug)]
struct TaskExecutor(TaskTracker);

impl<F> Executor<F> for TaskExecutor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(async move {
            task.await;
        });
    }
}

/// Whether a caller begins with HTTP/2. What it sent is left to be read.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut start = [0; HTTP2_PREFACE.len()];
    loop {
        let count = stream.peek(&mut start).await?;
        if count == 0 || start[..count] != HTTP2_PREFACE[..count] {
            return Ok(false);
        }
        if count == HTTP2_PREFACE.len() {
            return Ok(true);
        }
        sleep(PREFACE_DELAY).await;
    }
}

/// Serves a connection until it ends, is idle for too long, or gives way to another one.
async fn drive<C>(
    connection: C,
    shut_down: fn(Pin<&mut C>),
    idle: impl Future<Output = ()>,
    open: &OpenConnection,
    closing: CancellationToken,
) where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            shut_down(connection.as_mut());
            tokio::select! {
                ended = connection.as_mut() => ended,
                // A caller of HTTP/2 that does not confirm it is not waited for.
                () = open.idle_for(GIVE_WAY_TIME) => return,
            }
        }
        () = async { tokio::select! { () = open.must_give_way() => {}, () = idle => {} } } => {
            if !open.is_authenticated() {
                return;
            }
            shut_down(connection.as_mut());
            match timeout(GIVE_WAY_TIME, connection.as_mut()).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        // The caller left, or sent garbage or nothing, which is common.
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The caller left before the connection was accepted.
fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// The socket does not listen (any more); waiting would not help.
fn is_listener_error(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected)
}
