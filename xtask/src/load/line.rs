//! One connection that is kept open: requests follow one another on it.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

/// A connection to one server on loopback that is kept open between requests.
pub(crate) struct Line {
    sender: SendRequest<Empty<Bytes>>,
    host: HeaderValue,
}

impl Line {
    /// Opens a connection to `http://ADDRESS:PORT`; its task is tracked by `tasks` and ends with the line.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) async fn open(base_url: &str, tasks: &TaskTracker) -> Result<Self> {
        let authority = base_url.strip_prefix("http://").context("plain http on loopback is spoken here")?;
        let address: SocketAddr = authority.parse().with_context(|| format!("reading {authority}"))?;
        let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tasks.spawn(async move {
            // How it ended is told by the request that meets the end.
            drop(connection.await);
        });
        Ok(Self { sender, host: HeaderValue::from_str(authority)? })
    }

    /// `GET` a path with one header; answers the status and the whole body.
    ///
    /// # Errors
    /// There was no whole answer.
    pub(crate) async fn get(
        &mut self,
        path: &str,
        header: Option<(HeaderName, HeaderValue)>,
    ) -> Result<(StatusCode, Bytes)> {
        let mut request = Request::get(path).body(Empty::new())?;
        request.headers_mut().insert(header::HOST, self.host.clone());
        request.headers_mut().extend(header);
        self.sender.ready().await?;
        let reply = self.sender.send_request(request).await?;
        let status = reply.status();
        Ok((status, reply.into_body().collect().await?.to_bytes()))
    }
}

/// The header that opens the doors of every process of a test home.
pub(crate) fn api_key() -> (HeaderName, HeaderValue) {
    let key = HeaderValue::from_static(jeton_testkit::TestInstallation::API_KEY);
    (HeaderName::from_static("x-api-key"), key)
}

#[cfg(test)]
mod tests {
    use jeton_emulator::{Emulator, Settings};

    use super::*;

    #[tokio::test]
    async fn one_connection_carries_many_requests_and_its_end_is_told() {
        let emulator = Emulator::start(Settings::default()).await.unwrap();
        let tasks = TaskTracker::new();
        let mut line = Line::open(&emulator.base_url(), &tasks).await.unwrap();
        for _ in 0..3 {
            assert_eq!(line.get("/api/x", None).await.unwrap().0, 401);
        }
        assert_eq!(emulator.stats().api_401, 3);
        emulator.shutdown().await;
        line.get("/api/x", None).await.unwrap_err();
        tasks.close();
        tasks.wait().await;
    }
}
