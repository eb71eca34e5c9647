//! A client for HTTP servers on this machine, which keeps its connections open.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jeton_core::secret::Secret;
use tokio::time::timeout;

/// The longest reply that is read, in bytes.
const MAX_REPLY: usize = 1024 * 1024;

#[derive(Debug)]
pub(crate) struct HttpReply {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

#[derive(Clone, Debug)]
pub(crate) struct HttpClient {
    client: Client<HttpConnector, Full<Bytes>>,
    timeout: Duration,
}

impl HttpClient {
    /// A client whose requests take at most `timeout`.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), timeout }
    }

    /// Sends a GET with these headers.
    ///
    /// # Errors
    /// Why there is no reply.
    pub(crate) async fn get(
        &self,
        address: SocketAddr,
        path: &Secret,
        headers: &[(&str, &str)],
    ) -> Result<HttpReply, String> {
        self.send("GET", address, path, headers, Bytes::new()).await
    }

    /// Sends a POST with these headers and this JSON.
    ///
    /// # Errors
    /// Why there is no reply.
    pub(crate) async fn post(
        &self,
        address: SocketAddr,
        path: &Secret,
        headers: &[(&str, &str)],
        json: String,
    ) -> Result<HttpReply, String> {
        self.send("POST", address, path, headers, json.into()).await
    }

    async fn send(
        &self,
        method: &str,
        address: SocketAddr,
        path: &Secret,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<HttpReply, String> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{address}{}", path.reveal()))
            .header(header::CONTENT_TYPE, "application/json");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let exchange = async {
            let reply = self.client.request(request).await.map_err(|error| error.to_string())?;
            let status = reply.status().as_u16();
            let body = Limited::new(reply.into_body(), MAX_REPLY).collect().await;
            Ok(HttpReply { status, body: body.map_err(|error| error.to_string())?.to_bytes() })
        };
        let reply = timeout(self.timeout, exchange).await;
        reply.unwrap_or_else(|_| Err(format!("no reply within {} s", self.timeout.as_secs())))
    }
}

/// The address at which programs of this machine reach a server that listens at `listen`.
pub(crate) fn local_address(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_on_all_addresses_is_reached_on_this_machine() {
        for (listen, address) in [
            ("0.0.0.0:9095", "127.0.0.1:9095"),
            ("[::]:9095", "[::1]:9095"),
            ("10.1.2.3:80", "10.1.2.3:80"),
            ("127.0.0.1:1", "127.0.0.1:1"),
        ] {
            assert_eq!(local_address(listen.parse().unwrap()), address.parse().unwrap());
        }
    }
}
