//! Servers that a test plays: the API of a provider, or anything that accepts connections.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A request as a [`TestApi`] received it.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are those of HTTP")]
pub struct Received {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    /// A header as text; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The access token, where it is a bearer token.
    pub fn bearer(&self) -> &str {
        self.header("authorization").strip_prefix("Bearer ").unwrap_or_default()
    }
}

/// An API on loopback that reads each request whole and remembers it.
#[derive(Clone, Debug)]
pub struct TestApi {
    server: TestServer,
    received: Arc<Mutex<Vec<Received>>>,
}

impl TestApi {
    /// An API that answers by a function.
    pub async fn answering<B>(
        answer: impl Fn(&Received) -> Response<B> + Clone + Send + Sync + 'static,
    ) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let all = Arc::clone(&received);
        let server = TestServer::answering(move |request: Request<Incoming>| {
            let (answer, all) = (answer.clone(), Arc::clone(&all));
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                let received = Received { method: head.method, uri: head.uri, headers: head.headers, body };
                let answer = answer(&received);
                all.lock().push(received);
                answer
            }
        });
        Self { server: server.await, received }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// `http://127.0.0.1:PORT`
    pub fn base_url(&self) -> String {
        self.server.base_url()
    }

    /// The requests so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().clone()
    }

    /// Answers nobody from now on.
    pub async fn end(&self) {
        self.server.end().await;
    }
}

/// A server on loopback whose behaviour is a function.
#[derive(Clone, Debug)]
pub struct TestServer {
    /// Its address.
    pub address: SocketAddr,
    tasks: TaskTracker,
    ended: CancellationToken,
}

impl TestServer {
    /// A server that calls a function with each connection.
    ///
    /// # Panics
    /// No port of loopback can be listened at.
    pub async fn accepting<F, Fut>(each: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let server = Self { address, tasks: TaskTracker::new(), ended: CancellationToken::new() };
        let (tasks, ended) = (server.tasks.clone(), server.ended.clone());
        server.tasks.spawn(server.ended.clone().run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // It is a little slower without.
                let _ = stream.set_nodelay(true);
                tasks.spawn(ended.clone().run_until_cancelled_owned(each(stream)));
            }
        }));
        server
    }

    /// An HTTP/1.1 server that answers each request by a function; upgrades are possible.
    pub async fn answering<F, Fut, B>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        Self::accepting(move |stream| {
            let answer = answer.clone();
            async move {
                let service = service_fn(move |request| {
                    let answered = answer(request);
                    async move { Ok::<_, Infallible>(answered.await) }
                });
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                // A client that leaves early ends its connection with an error that the test does not ask for.
                let _ = connection.with_upgrades().await;
            }
        })
        .await
    }

    /// `http://127.0.0.1:PORT`
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes all connections, and accepts none from now on.
    pub async fn end(&self) {
        self.ended.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
