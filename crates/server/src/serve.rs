//! Accepting connections, within limits, until it is time to stop.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::write_timeout::WriteTimeout;

/// How long accepting rests when the process has no file descriptor left: trying at once would only burn the processor.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// The smallest read buffer that HTTP/1.1 works with.
const MIN_BUFFER_BYTES: usize = 8 * 1024;

/// What one caller, or all of them, may take of the server. A request has at most 100 headers besides, and the state
/// take bodies of at most 64 KiB within 10 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many connections stand at once; more wait in the backlog of the system until one ends.
    pub connections: usize,
    /// Request line and headers together, in bytes (431 beyond).
    pub header_bytes: usize,
    /// How long request line and headers may take to arrive; also how long an idle connection is kept.
    pub header_time: Duration,
    /// How long a caller may read nothing of an answer that is ready.
    pub write_stall: Duration,
    /// How long shutdown waits for the requests under way.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            header_bytes: 16 * 1024,
            header_time: Duration::from_secs(30),
            write_stall: Duration::from_secs(30),
            drain: Duration::from_secs(45),
        }
    }
}

/// Serves HTTP/1.1 on `listener` until `shutdown` is ready: then accepts no more, answers what is under way, and returns
/// when that is done or after [`Limits::drain`].
///
/// # Errors
/// None of one connection: those end that connection. An error of the listener itself that will not pass.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let server = Server::new(router, limits);
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
    permits: Arc<Semaphore>,
    connections: TaskTracker,
    /// Finish what is under way.
    closing: CancellationToken,
    /// Finish nothing.
    closed: CancellationToken,
}

impl Server {
    fn new(router: Router, limits: Limits) -> Self {
        let mut protocol = http1::Builder::new();
        protocol
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_time)
            .max_header_size(limits.header_bytes)
            .max_buf_size(limits.header_bytes.max(MIN_BUFFER_BYTES));
        Self {
            router: TowerToHyperService::new(router),
            protocol,
            limits,
            permits: Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS))),
            connections: TaskTracker::new(),
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
        }
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<Infallible> {
        loop {
            let permit =
                Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, _)) => self.spawn_connection(stream, permit),
                Err(error) if is_connection_error(&error) => {}
                Err(error) if is_listener_error(&error) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted now");
                    sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
    }

    fn spawn_connection(&self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        if let Err(error) = stream.set_nodelay(true) {
            // The caller is gone already, or only slower to serve.
            tracing::debug!(%error, "small writes of a connection are delayed");
        }
        let io = TokioIo::new(WriteTimeout::new(stream, self.limits.write_stall));
        let connection = self.protocol.serve_connection(io, self.router.clone()).with_upgrades();
        let (closing, closed) = (self.closing.clone(), self.closed.clone());
        self.connections.spawn(async move {
            let _permit = permit;
            drive(connection, closing, closed).await;
        });
    }

    async fn drain(self) {
        self.closing.cancel();
        self.connections.close();
        if timeout(self.limits.drain, self.connections.wait()).await.is_err() {
            tracing::warn!(
                connections = self.connections.len(),
                "requests did not end in time; their connections are cut"
            );
            self.closed.cancel();
            self.connections.wait().await;
        }
    }
}

type HttpConnection<S> = http1::UpgradeableConnection<TokioIo<WriteTimeout<TcpStream>>, S>;

async fn drive<S>(connection: HttpConnection<S>, closing: CancellationToken, closed: CancellationToken)
where
    S: hyper::service::Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
{
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = closed.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        // Callers leave, send garbage or nothing: that is theirs, and ordinary.
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The caller left between knocking and entering.
fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Nothing that waiting would cure: this is no listening socket (any more).
fn is_listener_error(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected)
}
