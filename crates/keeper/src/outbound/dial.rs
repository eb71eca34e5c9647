//! Reaching the hosts of a provider, and no others.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::address_race::{NEXT_ADDRESS_DELAY, race};
use jeton_core::keep::provider::Endpoint;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use url::Url;

use super::public_address::is_public;
use super::roots::Roots;
use super::stream::{Stream, Transport};

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

    /// Resolves the host, connects, and shakes hands for TLS where the URL says so; says which address it reached. No byte
    /// of a request is sent.
    pub async fn probe(&self, endpoint: &Endpoint, limit: Duration) -> Result<SocketAddr, DialError> {
        self.dial(&endpoint.url, endpoint.captured_host, limit).await.map(|stream| stream.peer)
    }

    /// A fresh connection to the host of `url`, with TLS where its scheme says so, within `limit`. A host that was captured
    /// must be a public one.
    pub async fn dial(&self, url: &Url, captured_host: bool, limit: Duration) -> Result<Stream, DialError> {
        self.connect(url, captured_host, QueuedBytes::Send, limit).await
    }

    pub(super) async fn connect(
        &self,
        url: &Url,
        captured_host: bool,
        queued: QueuedBytes,
        limit: Duration,
    ) -> Result<Stream, DialError> {
        let deadline = Instant::now() + limit;
        let host = url.host_str().ok_or_else(|| DialError::new("the URL names no host"))?;
        let port = url.port_or_known_default().ok_or_else(|| DialError::new("the URL names no port"))?;
        let resolved = timeout_at(deadline, self.resolve(host, port, captured_host)).await;
        let addresses = resolved.map_err(|_| {
            DialError::timeout(format!("the name `{host}` was not resolved within {}", seconds(limit)))
        })??;
        let (tcp, peer) = connect_to_any(&addresses, host, limit, deadline).await?;
        prepare(&tcp, queued)
            .map_err(|error| DialError::new(format!("no connection to `{host}`: {error}")))?;
        if url.scheme() != "https" {
            return Ok(Stream { transport: Transport::Plain(tcp), peer });
        }
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| DialError::new(format!("`{host}` is not a name that a certificate can have")))?;
        let handshake = tokio_rustls::TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp);
        let failed = |why: String| format!("no TLS with `{host}` at {peer}: {why}");
        match timeout_at(deadline, handshake).await {
            Ok(Ok(tls)) => Ok(Stream { transport: Transport::Tls(Box::new(tls)), peer }),
            Ok(Err(error)) => Err(DialError::new(failed(error.to_string()))),
            Err(_) => Err(DialError::timeout(failed(format!("no answer within {}", seconds(limit))))),
        }
    }

    async fn resolve(&self, host: &str, port: u16, captured: bool) -> Result<Vec<SocketAddr>, DialError> {
        let plain = host.trim_matches(['[', ']']);
        let found = tokio::net::lookup_host((plain, port))
            .await
            .map_err(|error| DialError::new(format!("the host `{host}` is not known: {error}")))?;
        let public_only = captured && !self.allow_private_captured_hosts;
        let addresses: Vec<_> = found.filter(|address| !public_only || is_public(address.ip())).collect();
        if addresses.is_empty() {
            return Err(DialError::new(format!("the host `{host}` has no public address")));
        }
        Ok(addresses)
    }
}

/// Why a host was not reached. No byte of a request was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct DialError {
    why: String,
    timed_out: bool,
}

impl DialError {
    fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), timed_out: false }
    }

    fn timeout(why: String) -> Self {
        Self { why, timed_out: true }
    }

    /// Whether the time ran out, rather than that somebody refused.
    pub fn is_timeout(&self) -> bool {
        self.timed_out
    }
}

fn seconds(limit: Duration) -> String {
    format!("{} s", limit.as_secs_f32())
}

/// A connection to the address that accepts one first.
async fn connect_to_any(
    addresses: &[SocketAddr],
    host: &str,
    limit: Duration,
    deadline: Instant,
) -> Result<(TcpStream, SocketAddr), DialError> {
    let connect = async |address| TcpStream::connect(address).await.map(|tcp| (tcp, address));
    let pause = || sleep(NEXT_ADDRESS_DELAY);
    let raced = race(addresses, connect, pause, sleep_until(deadline)).await;
    raced.map_err(|tried| {
        let timed_out = tried.iter().any(|(_, error)| error.is_none());
        let within = if timed_out { format!(" within {}", seconds(limit)) } else { String::new() };
        let each = tried.iter().map(|(address, error)| match error {
            Some(error) => format!("{address} ({error})"),
            None => format!("{address} (no answer)"),
        });
        let why = format!("no connection to `{host}`{within}: {}", each.collect::<Vec<_>>().join(", "));
        DialError { why, timed_out }
    })
}

/// Sets the options of a new connection.
fn prepare(tcp: &TcpStream, queued: QueuedBytes) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    if let QueuedBytes::DropAt(deadline) = queued {
        tcp.set_zero_linger()?;
        give_up_at(tcp, deadline)?;
    }
    Ok(())
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

/// What becomes of bytes that are queued when a connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueuedBytes {
    /// They are dropped, at the latest at this instant: the kernel must not send a refresh token of its own accord, long
    /// after the lease.
    DropAt(Instant),
    /// The kernel sends them.
    Send,
}

#[cfg(test)]
mod tests {
    use jeton_testkit::SilentListener;
    use tokio::net::TcpListener;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_kernel_gives_up_no_later_than_the_redeem_and_keeps_nothing_of_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap()).parse().unwrap();
        let dialer = Dialer::new(false, &Roots::default());
        let dial = async |left| {
            let queued = QueuedBytes::DropAt(Instant::now() + left);
            let stream = dialer.connect(&url, false, queued, LONG).await.unwrap();
            let Transport::Plain(tcp) = stream.transport else { panic!("no TLS") };
            tcp
        };
        let tcp = dial(Duration::from_secs(7)).await;
        let millis = rustix::net::sockopt::tcp_user_timeout(&tcp).unwrap();
        assert!((1..=7_000).contains(&millis) && millis > 5_000, "{millis}");
        assert_eq!(rustix::net::sockopt::socket_linger(&tcp).unwrap(), Some(Duration::ZERO));
        let tcp = dial(Duration::ZERO).await;
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(&tcp).unwrap(), 1, "0 would mean the usual one");
    }

    #[tokio::test]
    async fn a_captured_host_is_dialled_only_where_it_is_public_whatever_its_name_says() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["localhost", "127.0.0.1", "[::ffff:127.0.0.1]"] {
            let url: Url = format!("http://{host}:{port}/").parse().unwrap();
            let strict = Dialer::new(false, &Roots::default());
            let refused = strict.dial(&url, true, LONG).await.unwrap_err().to_string();
            assert!(refused.contains("has no public address"), "{refused}");
            let lenient = Dialer::new(true, &Roots::default());
            assert!(lenient.dial(&url, true, LONG).await.is_ok(), "{host}");
            assert!(strict.dial(&url, false, LONG).await.is_ok(), "{host}");
        }
    }

    async fn race_to(addresses: &[SocketAddr], limit: Duration) -> Result<SocketAddr, DialError> {
        let raced = connect_to_any(addresses, "sso.test", limit, Instant::now() + limit).await;
        raced.map(|(_, address)| address)
    }

    #[tokio::test]
    async fn an_address_behind_silent_ones_is_reached_long_before_they_are_given_up() {
        let silent = [(); 3].map(|()| SilentListener::bind("127.0.0.1").unwrap());
        let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = good.local_addr().unwrap();
        let [a, b, c] = silent.each_ref().map(SilentListener::address);
        let begun = Instant::now();
        assert_eq!(race_to(&[a, b, c, good], LONG).await, Ok(good));
        let took = begun.elapsed();
        assert!(took >= NEXT_ADDRESS_DELAY * 3 && took < Duration::from_secs(5), "{took:?}");
    }

    #[tokio::test]
    async fn an_address_behind_one_that_refuses_is_reached_at_once() {
        let refuses = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = good.local_addr().unwrap();
        let begun = Instant::now();
        assert_eq!(race_to(&[refuses, good], LONG).await, Ok(good));
        assert!(begun.elapsed() < NEXT_ADDRESS_DELAY, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn every_address_that_was_tried_is_named_with_its_reason_once_the_time_is_over() {
        let silent = SilentListener::bind("127.0.0.1").unwrap();
        let refuses = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let limit = Duration::from_millis(600);
        let begun = Instant::now();
        let failed = race_to(&[silent.address(), refuses], limit).await.unwrap_err();
        assert!(begun.elapsed() >= limit && failed.is_timeout(), "{failed}");
        let said = failed.to_string();
        let expected = format!(
            "no connection to `sso.test` within 0.6 s: {} (no answer), {refuses} (",
            silent.address()
        );
        assert!(said.starts_with(&expected) && said.contains("refused"), "{said}");
        let failed = race_to(&[refuses], LONG).await.unwrap_err();
        assert!(!failed.is_timeout() && !failed.to_string().contains("within"), "{failed}");
    }
}
