//! The HTTP/1.1 client of all tests. It repeats nothing and follows no redirect, so that what is counted is what was sent.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use url::Url;

/// The whole answer of a server.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are those of HTTP")]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("status {}, not JSON: {:.200}", self.status, self.text()))
    }
}

/// Sends requests to one server on loopback, each on a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    base: Url,
    headers: HeaderMap,
    deadline: Duration,
}

impl Client {
    /// A client for the server at `base_url`.
    ///
    /// # Panics
    /// It is not an `http://` URL.
    pub fn new(base_url: &str) -> Self {
        let base: Url = base_url.parse().expect("the base URL is a URL");
        assert_eq!(base.scheme(), "http", "tests use plain http on loopback");
        Self { base, headers: HeaderMap::new(), deadline: Duration::from_secs(40) }
    }

    /// The same client, with this header in each request.
    ///
    /// # Panics
    /// It is not a header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        let (name, mut value) = parse_header(name, value);
        value.set_sensitive(true);
        self.headers.insert(name, value);
        self
    }

    /// The same client, which waits this long for a whole answer instead of 40 s.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// `GET` a path.
    pub async fn get(&self, path: &str) -> Result<Reply> {
        self.send(Method::GET, path, &[], "").await
    }

    /// `POST` JSON to a path.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Reply> {
        self.send(Method::POST, path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// `POST` a form to a path.
    pub async fn post_form(&self, path: &str, fields: &[(&str, &str)]) -> Result<Reply> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let kind = ("content-type", "application/x-www-form-urlencoded");
        self.send(Method::POST, path, &[kind], body).await
    }

    /// `DELETE` a path.
    pub async fn delete(&self, path: &str) -> Result<Reply> {
        self.send(Method::DELETE, path, &[], "").await
    }

    /// `GET` a path that must answer 2xx with JSON.
    pub async fn get_json(&self, path: &str) -> Result<Value> {
        let reply = self.get(path).await?;
        ensure!(reply.status.is_success(), "GET {path} answered {}: {}", reply.status, reply.text());
        reply.json()
    }

    /// Sends a request of any method, with headers besides those of the client.
    ///
    /// # Panics
    /// A header is not one.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Reply> {
        let context = format!("{method} {path} at {}", self.base);
        let request = self.request(method, path, headers, body.into())?;
        let exchange = async { self.connect().await?.exchange(request).await };
        let reply = timeout(self.deadline, exchange).await;
        reply.with_context(|| format!("{context}: no whole answer in {:?}", self.deadline))?.context(context)
    }

    /// Sends these bytes as they are, and reads until the server closes the connection; a reset ends the answer too.
    ///
    /// # Errors
    /// The server cannot be reached, does not take the bytes, or does not answer in text.
    pub async fn send_raw(&self, bytes: impl AsRef<[u8]>) -> Result<String> {
        let mut stream = self.dial().await?;
        stream.write_all(bytes.as_ref()).await?;
        let mut answer = Vec::new();
        // What came before a reset is an answer all the same: the test says whether it is whole.
        let _ = stream.read_to_end(&mut answer).await;
        Ok(String::from_utf8(answer)?)
    }

    /// Opens a connection for several requests, one after the other.
    pub async fn connect(&self) -> Result<ClientConnection> {
        let (sender, connection) = http1::handshake(TokioIo::new(self.dial().await?)).await?;
        // It ends with the sender; an error is returned by the request that meets it.
        TaskTracker::new().spawn(connection);
        Ok(ClientConnection { client: self.clone(), sender })
    }

    async fn dial(&self) -> Result<TcpStream> {
        let addresses = self.base.socket_addrs(|| None)?;
        let stream = TcpStream::connect(addresses.as_slice()).await;
        let stream = stream.with_context(|| format!("connecting to {}", self.base))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>> {
        let url = self.base.join(path).context("joining base URL and path")?;
        let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let request = Request::builder().method(method).uri(target).header(header::HOST, url.authority());
        let mut request = request.body(Full::new(body))?;
        request.headers_mut().extend(self.headers.clone());
        request.headers_mut().extend(headers.iter().map(|(name, value)| parse_header(name, value)));
        Ok(request)
    }
}

fn parse_header(name: &str, value: &str) -> (HeaderName, HeaderValue) {
    (name.parse().expect("a header name"), value.parse().expect("a header value"))
}

/// A connection that is kept open between requests.
#[derive(Debug)]
pub struct ClientConnection {
    client: Client,
    sender: SendRequest<Full<Bytes>>,
}

impl ClientConnection {
    /// `GET` a path, with headers besides those of the client.
    ///
    /// # Panics
    /// A header is not one.
    pub async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Reply> {
        let request = self.client.request(Method::GET, path, headers, Bytes::new())?;
        self.exchange(request).await
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Reply> {
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Reply { status: head.status, headers: head.headers, body })
    }
}

#[cfg(test)]
mod tests {
    use jeton_emulator::{Behaviour, Emulator, Fault, FaultKind, Settings};

    use super::*;

    #[tokio::test]
    async fn one_connection_carries_many_requests_and_returns_an_error_once_it_has_ended() {
        let emulator = Emulator::start(Settings::default()).await.unwrap();
        let mut connection = Client::new(&emulator.base_url()).connect().await.unwrap();
        for _ in 0..3 {
            assert_eq!(connection.get("/api/x", &[]).await.unwrap().status, 401);
        }
        assert_eq!(emulator.stats().api_401, 3);
        emulator.shutdown().await;
        connection.get("/api/x", &[]).await.unwrap_err();
    }

    #[tokio::test]
    async fn it_reads_whole_answers_and_names_what_failed() {
        let emulator = Emulator::start(Settings::default()).await.unwrap();
        let client = Client::new(&emulator.base_url());
        let token = emulator.mint(1).remove(0);
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token.reveal()),
            ("client_id", "emulated"),
            ("client_secret", "emulated-secret"),
        ];
        let reply = client.post_form("/token", &form).await.unwrap();
        assert_eq!(reply.status, 200);
        let access = reply.json().unwrap()["access_token"].as_str().unwrap().to_owned();
        let bearer = client.clone().with_header("authorization", &format!("Bearer {access}"));
        assert_eq!(bearer.get_json("/api/x?y=1").await.unwrap()["path"], "/api/x");
        let error = client.get_json("/api/x").await.unwrap_err().to_string();
        assert!(error.contains("401"), "{error}");
        emulator.set_behaviour(Behaviour::from_queue([Fault::new(FaultKind::CutReply)]));
        let error = client.post_form("/token", &form).await.unwrap_err();
        assert!(format!("{error:#}").contains("POST /token at http://127.0.0.1"), "{error:#}");
    }
}
