//! Accepting connections, within limits, until it is time to stop.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
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

/// Serves HTTP/1.1 on `listener` until `shutdown` is ready. Then it accepts no more connections, answers running requests, and
/// returns when they are done or after [`Limits::drain`]. Each request has its [`ClientAddress`](crate::ClientAddress), which
/// `proxies` may say, and its [`RequestId`](crate::RequestId).
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
    protocol: http1::Builder,
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
        let mut protocol = http1::Builder::new();
        protocol
            .timer(TokioTimer::new())
            // A caller that sends no more may still wait for its answer (RFC 9112, section 9.6).
            .half_close(true)
            .max_headers(limits.header_lines)
            .header_read_timeout(limits.header_time)
            .max_header_size(limits.header_bytes)
            .max_buf_size(limits.header_bytes.max(MIN_BUFFER_BYTES));
        Self {
            router: TowerToHyperService::new(router),
            protocol,
            limits,
            open: OpenConnections::new(limits.connections),
            proxies: Arc::new(proxies),
            request_ids,
            connections: TaskTracker::new(),
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
        let io = TokioIo::new(CallerStream::new(stream, Arc::clone(&open), self.limits));
        let service = ConnectionService {
            router: self.router.clone(),
            open: Arc::clone(&open),
            peer,
            proxies: Arc::clone(&self.proxies),
            request_ids: self.request_ids.clone(),
        };
        let connection = self.protocol.serve_connection(io, service).with_upgrades();
        let (closing, closed) = (self.closing.clone(), self.closed.clone());
        self.connections.spawn(async move {
            tokio::select! {
                () = drive(connection, &open, closing) => {}
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
        self.open.note_version(request.version());
        let client = self.proxies.client_of(self.peer, request.headers());
        let id = self.request_ids.id_of(request.headers());
        request.extensions_mut().insert(Arc::clone(&self.open));
        request.extensions_mut().insert(client);
        request.extensions_mut().insert(id);
        let answer = self.router.call(request.map(|body| RequestBody::new(body, Arc::clone(&self.open))));
        Box::pin(
            async move { answer.await.map(|response| under_way.answered(without_false_length(response))) },
        )
    }
}

/// A 204 has no length, not even of nothing (RFC 9110, section 8.6).
fn without_false_length(mut response: Response) -> Response {
    if response.status() == StatusCode::NO_CONTENT {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    response
}

type HttpConnection = http1::UpgradeableConnection<TokioIo<CallerStream>, ConnectionService>;

/// Serves a connection until it ends, or gives way to another one.
async fn drive(connection: HttpConnection, open: &OpenConnection, closing: CancellationToken) {
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
        () = open.must_give_way() => {
            if !open.is_authenticated() {
                return;
            }
            connection.as_mut().graceful_shutdown();
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
