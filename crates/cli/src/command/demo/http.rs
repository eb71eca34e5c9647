//! An HTTP/1.1 connection that a caller keeps between its requests.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// Longer than any target makes a caller wait.
const PATIENCE: Duration = Duration::from_secs(45);

/// What was answered.
#[derive(Debug)]
pub(super) struct HttpReply {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

/// A connection to one server, made when it is needed.
#[derive(Debug)]
pub(super) struct HttpClient {
    address: SocketAddr,
    tasks: TaskTracker,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl HttpClient {
    /// A line to `address`; what keeps it open runs among `tasks`.
    pub(super) fn new(address: SocketAddr, tasks: TaskTracker) -> Self {
        Self { address, tasks, sender: None }
    }

    /// Sends a request without a body to `path`.
    pub(super) async fn get(&mut self, path: &str, header: (&str, &str)) -> Result<HttpReply, String> {
        self.send("GET", path, header, Bytes::new()).await
    }

    /// Sends JSON to `path`.
    pub(super) async fn post(
        &mut self,
        path: &str,
        header: (&str, &str),
        json: String,
    ) -> Result<HttpReply, String> {
        self.send("POST", path, header, json.into()).await
    }

    async fn send(
        &mut self,
        method: &str,
        path: &str,
        (name, value): (&str, &str),
        body: Bytes,
    ) -> Result<HttpReply, String> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .header(name, value)
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        let sent = timeout(PATIENCE, self.exchange(request)).await;
        let reply = sent.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())));
        if reply.is_err() {
            self.sender = None;
        }
        reply
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<HttpReply, String> {
        // The server may have closed a line that lay idle: then a new one says what is true.
        let mut kept = self.sender.take();
        if let Some(sender) = &mut kept
            && sender.ready().await.is_err()
        {
            kept = None;
        }
        let mut sender = match kept {
            Some(sender) => sender,
            None => self.open().await?,
        };
        let reply = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = reply.status().as_u16();
        let body = reply.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        self.sender = Some(sender);
        Ok(HttpReply { status, body })
    }

    async fn open(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let stream = TcpStream::connect(self.address).await.map_err(|error| error.to_string())?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        self.tasks.spawn(async move {
            // How the line ended is told to whoever sends on it next.
            drop(connection.await);
        });
        Ok(sender)
    }
}
