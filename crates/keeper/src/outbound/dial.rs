//! Reaching the hosts of a provider, and no others.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use jeton_core::keep::provider::Endpoint;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use url::Url;

use super::roots::Roots;

/// How long one address may take to accept a connection before the next is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects to hosts of providers, by one set of rules for token endpoints and APIs.
#[derive(Clone, Debug)]
pub struct Dialer {
    tls: Arc<rustls::ClientConfig>,
    allow_private_captured_hosts: bool,
}

impl Dialer {
    /// The arguments are the [settings](crate::Settings) of these names.
    ///
    /// # Panics
    /// Never: the crypto provider that is built in supports TLS 1.2 and 1.3.
    pub fn new(allow_private_captured_hosts: bool, roots: &Roots) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the crypto provider supports TLS 1.2 and 1.3")
            .with_root_certificates(roots.store())
            .with_no_client_auth();
        // HTTP/1.1 only: an HTTP/2 connection may be shared and its requests re-sent by layers below us.
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { tls: Arc::new(tls), allow_private_captured_hosts }
    }

    /// Resolves the host, connects, and shakes hands for TLS where the URL says so. No byte of a request is sent.
    ///
    /// # Errors
    /// What failed, in words, or that it took longer than `limit`.
    pub async fn probe(&self, endpoint: &Endpoint, limit: Duration) -> Result<(), String> {
        match timeout(limit, self.dial(&endpoint.url, endpoint.captured_host)).await {
            Ok(reached) => reached.map(drop),
            Err(_) => Err(format!("no answer within {} s", limit.as_secs_f32())),
        }
    }

    /// A fresh connection to the host of `url`, with TLS where its scheme says so. A host that was captured must be a
    /// public one.
    ///
    /// # Errors
    /// What failed, in words.
    pub async fn dial(&self, url: &Url, captured_host: bool) -> Result<Stream, String> {
        self.connect(url, captured_host, QueuedBytes::Send).await
    }

    pub(super) async fn connect(
        &self,
        url: &Url,
        captured_host: bool,
        queued: QueuedBytes,
    ) -> Result<Stream, String> {
        let host = url.host_str().ok_or("the URL names no host")?;
        let port = url.port_or_known_default().ok_or("the URL names no port")?;
        let addresses = self.resolve(host, port, captured_host).await?;
        let tcp = connect(&addresses, host).await?;
        tcp.set_nodelay(true).map_err(|error| format!("{host}: {error}"))?;
        if let QueuedBytes::DropAt(deadline) = queued {
            tcp.set_zero_linger().map_err(|error| format!("{host}: {error}"))?;
            give_up_at(&tcp, deadline).map_err(|error| format!("{host}: {error}"))?;
        }
        if url.scheme() != "https" {
            return Ok(Stream(Transport::Plain(tcp)));
        }
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| format!("{host} is not a name that a certificate can have"))?;
        let tls = tokio_rustls::TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, tcp)
            .await
            .map_err(|error| format!("no TLS with {host}: {error}"))?;
        Ok(Stream(Transport::Tls(Box::new(tls))))
    }

    async fn resolve(&self, host: &str, port: u16, captured: bool) -> Result<Vec<SocketAddr>, String> {
        let plain = host.trim_matches(['[', ']']);
        let found = tokio::net::lookup_host((plain, port))
            .await
            .map_err(|error| format!("the host {host} is not known: {error}"))?;
        let public_only = captured && !self.allow_private_captured_hosts;
        let addresses: Vec<_> = found.filter(|address| !public_only || is_public(address.ip())).collect();
        if addresses.is_empty() {
            return Err(format!("the host {host} has no public address"));
        }
        Ok(addresses)
    }
}

/// What is queued on a broken path must not arrive after `deadline`, though the path heals and this process was stopped
/// and closed nothing: the kernel itself drops the connection once something has been unacknowledged for that long
/// (`TCP_USER_TIMEOUT`, RFC 5482).
#[cfg(target_os = "linux")]
fn give_up_at(tcp: &TcpStream, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now()).as_millis();
    // Zero would mean the usual quarter of an hour.
    let millis = u32::try_from(left).unwrap_or(u32::MAX).max(1);
    Ok(rustix::net::sockopt::set_tcp_user_timeout(tcp, millis)?)
}

/// Other systems have no such option: there only closing the socket drops what is queued.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "as on Linux")]
fn give_up_at(_: &TcpStream, _: Instant) -> io::Result<()> {
    Ok(())
}

async fn connect(addresses: &[SocketAddr], host: &str) -> Result<TcpStream, String> {
    let mut last = format!("the host {host} has no address");
    for address in addresses {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => last = format!("no connection to {host} at {address}: {error}"),
            Err(_) => last = format!("no connection to {host} at {address} within {CONNECT_TIMEOUT:?}"),
        }
    }
    Err(last)
}

/// Whether an address is on the public internet. A name that came from outside must not lead a client secret to
/// this machine, to its local network, or to a cloud's metadata service.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped().or_else(|| translated(address)) {
            Some(inner) => is_public_v4(inner),
            None => is_public_v6(address),
        },
    }
}

/// Ranges of the IANA special-purpose registry (RFC 6890 and its updates).
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b)))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // Global unicast is 2000::/3; within it, the documentation, benchmarking and tunnelling prefixes are not hosts.
    (first & 0xe000) == 0x2000
        && first != 0x2002
        && !(first == 0x2001 && (second < 0x0200 || second == 0x0db8))
        && !(first == 0x3fff && second < 0x1000)
}

/// The IPv4 address inside one of the well-known translation prefix (`64:ff9b::/96`, RFC 6052).
fn translated(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    let prefix = [0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0];
    (octets[..12] == prefix).then(|| Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15]))
}

/// What becomes of bytes that are queued when a connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueuedBytes {
    /// They are dropped, at the latest at this instant: the kernel must not send a refresh token of its own accord, long
    /// after the lease.
    DropAt(Instant),
    /// The kernel sends them.
    Send,
}

/// A connection to a host of a provider.
#[derive(Debug)]
pub struct Stream(Transport);

#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Transport::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Transport::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_kernel_gives_up_no_later_than_the_redeem_and_keeps_nothing_of_it() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap()).parse().unwrap();
        let dialer = Dialer::new(false, &Roots::default());
        let dial = |left| dialer.connect(&url, false, QueuedBytes::DropAt(Instant::now() + left));
        let Stream(Transport::Plain(tcp)) = dial(Duration::from_secs(7)).await.unwrap() else {
            panic!("no TLS")
        };
        let millis = rustix::net::sockopt::tcp_user_timeout(&tcp).unwrap();
        assert!((1..=7_000).contains(&millis) && millis > 5_000, "{millis}");
        assert_eq!(rustix::net::sockopt::socket_linger(&tcp).unwrap(), Some(Duration::ZERO));
        let Stream(Transport::Plain(tcp)) = dial(Duration::ZERO).await.unwrap() else { panic!("no TLS") };
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(&tcp).unwrap(), 1, "0 would mean the usual one");
    }

    #[test]
    fn a_captured_host_never_leads_to_this_machine_its_neighbours_or_a_metadata_service() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::101:101"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[tokio::test]
    async fn a_captured_host_is_dialled_only_where_it_is_public_whatever_its_name_says() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["localhost", "127.0.0.1", "[::ffff:127.0.0.1]"] {
            let url: Url = format!("http://{host}:{port}/").parse().unwrap();
            let strict = Dialer::new(false, &Roots::default());
            let refused = strict.dial(&url, true).await.unwrap_err();
            assert!(refused.contains("has no public address"), "{refused}");
            let lenient = Dialer::new(true, &Roots::default());
            assert!(lenient.dial(&url, true).await.is_ok(), "{host}");
            assert!(strict.dial(&url, false).await.is_ok(), "{host}");
        }
    }
}
