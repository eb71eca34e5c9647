//! A plain HTTP/1.1 client: one connection a request, no retry, no redirect, so that what is counted is what was sent.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// It is not JSON; the error shows its beginning.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| {
            format!(
                "status {}, not JSON: {:?}",
                self.status,
                self.text().chars().take(200).collect::<String>()
            )
        })
    }
}

/// Speaks to one server on loopback.
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
    /// The URL is not an `http://` one.
    pub fn new(base_url: &str) -> Self {
        let base: Url = base_url.parse().expect("the base URL is a URL");
        assert_eq!(base.scheme(), "http", "tests speak plain http on loopback");
        Self { base, headers: HeaderMap::new(), deadline: Duration::from_secs(40) }
    }

    /// The same client, sending this header each time.
    ///
    /// # Panics
    /// The header is not one.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a header name");
        let mut value: HeaderValue = value.parse().expect("a header value");
        value.set_sensitive(true);
        self.headers.insert(name, value);
        self
    }

    /// The same client, waiting this long for a whole answer (40 s else).
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// `GET` a path.
    ///
    /// # Errors
    /// There was no whole answer in time.
    pub async fn get(&self, path: &str) -> Result<Reply> {
        self.send(Method::GET, path, None, Bytes::new()).await
    }

    /// `POST` JSON to a path.
    ///
    /// # Errors
    /// There was no whole answer in time.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Reply> {
        self.send(Method::POST, path, Some("application/json"), body.to_string().into()).await
    }

    /// `POST` a form to a path.
    ///
    /// # Errors
    /// There was no whole answer in time.
    pub async fn post_form(&self, path: &str, fields: &[(&str, &str)]) -> Result<Reply> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.send(Method::POST, path, Some("application/x-www-form-urlencoded"), body.into()).await
    }

    /// `DELETE` a path.
    ///
    /// # Errors
    /// There was no whole answer in time.
    pub async fn delete(&self, path: &str) -> Result<Reply> {
        self.send(Method::DELETE, path, None, Bytes::new()).await
    }

    /// `GET` a path that must answer 2xx with JSON.
    ///
    /// # Errors
    /// It did not.
    pub async fn get_json(&self, path: &str) -> Result<Value> {
        let reply = self.get(path).await?;
        ensure!(reply.status.is_success(), "GET {path} answered {}: {}", reply.status, reply.text());
        reply.json()
    }

    async fn send(&self, method: Method, path: &str, kind: Option<&str>, body: Bytes) -> Result<Reply> {
        let said = format!("{method} {path} at {}", self.base);
        let sent = timeout(self.deadline, self.exchange(method, path, kind, body)).await;
        sent.with_context(|| format!("{said}: no whole answer in {:?}", self.deadline))?.context(said)
    }

    async fn exchange(&self, method: Method, path: &str, kind: Option<&str>, body: Bytes) -> Result<Reply> {
        let url = self.base.join(path).context("joining base URL and path")?;
        let authority = url.authority();
        let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let mut request = Request::builder().method(method).uri(target).header(header::HOST, authority);
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let mut request = request.body(Full::new(body))?;
        request.headers_mut().extend(self.headers.clone());

        let stream = TcpStream::connect(url.socket_addrs(|| None)?.as_slice()).await.context("connecting")?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let exchange = async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Reply { status: head.status, headers: head.headers, body })
        };
        tokio::pin!(exchange);
        tokio::select! {
            biased;
            reply = &mut exchange => reply,
            ended = connection => {
                ended?;
                exchange.await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jeton_emulator::{Emulator, Ending, Mood, Settings, Temper};

    use super::*;

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
        emulator.set_temper(Temper::next([Mood::ending(Ending::CutReply)]));
        let error = client.post_form("/token", &form).await.unwrap_err();
        assert!(format!("{error:#}").contains("POST /token at http://127.0.0.1"), "{error:#}");
    }
}
