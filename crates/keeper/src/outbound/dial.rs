//! Reaching the hosts of a provider, and no others.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use jeton_core::address_race::{NEXT_ADDRESS_DELAY, describe, race};
use jeton_core::keep::provider::{ClientCertificate, Endpoint};
use rustix::io::Errno;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_rustls::TlsConnector;
use url::Url;

use super::proxy::Proxy;
use super::public_address::is_public;
use super::stream::{Stream, Transport};
use super::tls_client::TlsClient;
use crate::settings::OutboundSettings;

/// Connects to hosts of providers, by one set of rules for token endpoints and APIs.
#[derive(Clone, Debug)]
pub struct Dialer {
    tls: TlsClient,
    proxy: Option<Proxy>,
    allow_private_captured_hosts: bool,
}

/// How a host was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The address that the connection leads to: the host's, or the proxy's.
    pub address: SocketAddr,
    /// The proxy between, without its credentials.
    pub proxy: Option<String>,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.proxy {
            Some(proxy) => write!(f, "through the proxy {proxy} at {}", self.address),
            None => write!(f, "at {}", self.address),
        }
    }
}

/// Which addresses of a host may be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AddressRule {
    Any,
    /// A host that came from outside must not lead into this machine's network.
    Public,
    /// What goes there is readable on the way, so that it must not leave this machine's network.
    Private,
}

/// What connecting may take, and until when.
#[derive(Clone, Copy, Debug)]
struct TimeLimit {
    limit: Duration,
    deadline: Instant,
}

impl TimeLimit {
    fn new(limit: Duration) -> Self {
        Self { limit, deadline: Instant::now() + limit }
    }

    /// What `step` comes to, or what could not be done in time.
    async fn bound<T>(
        self,
        step: impl Future<Output = T>,
        late: impl FnOnce() -> String,
    ) -> Result<T, DialError> {
        timeout_at(self.deadline, step)
            .await
            .map_err(|_| DialError::timeout(format!("{} within {} s", late(), self.limit.as_secs_f32())))
    }
}

impl Dialer {
    /// Connects by these settings.
    pub fn new(settings: &OutboundSettings) -> Self {
        Self {
            tls: TlsClient::new(&settings.roots),
            proxy: settings.proxy.clone(),
            allow_private_captured_hosts: settings.allow_private_captured_hosts,
        }
    }

    /// Resolves the host, connects, and shakes hands for TLS where the URL says so; says how it reached the host. No byte of
    /// a request is sent.
    pub async fn probe(&self, to: &Endpoint, limit: Duration) -> Result<Route, DialError> {
        let proxy = self.proxy_for(to).map(Proxy::shown);
        self.dial(to, limit).await.map(|stream| Route { address: stream.peer, proxy })
    }

    /// A fresh connection to the host of an endpoint, within `limit`; with TLS where the scheme says so, and then through the
    /// proxy, if there is one for the host.
    pub async fn dial(&self, to: &Endpoint, limit: Duration) -> Result<Stream, DialError> {
        self.connect(to, QueuedBytes::Send, limit).await
    }

    pub(super) async fn connect(
        &self,
        to: &Endpoint,
        queued: QueuedBytes,
        limit: Duration,
    ) -> Result<Stream, DialError> {
        let time = TimeLimit::new(limit);
        let (host, port) = host_and_port(&to.url)?;
        let rule = match to.url.scheme() {
            "http" => AddressRule::Private,
            _ if to.captured_host && !self.allow_private_captured_hosts => AddressRule::Public,
            _ => AddressRule::Any,
        };
        let stream = match self.proxy_for(to) {
            None => connect_tcp(host, port, rule, queued, time).await?,
            Some(proxy) => {
                let tunnel = self.open_tunnel(proxy, host, port, rule, queued, time).await;
                tunnel.map_err(|error| DialError {
                    why: format!("no way to `{host}` through the proxy {}: {}", proxy.shown(), error.why),
                    ..error
                })?
            }
        };
        if to.url.scheme() != "https" {
            return Ok(stream);
        }
        self.start_tls(host, stream, to.certificate.as_deref(), time).await
    }

    /// The proxy that an endpoint is reached through. Plain http never leaves this machine's network, so that it needs none.
    fn proxy_for(&self, to: &Endpoint) -> Option<&Proxy> {
        let (host, port) = host_and_port(&to.url).ok()?;
        self.proxy.as_ref().filter(|proxy| to.url.scheme() == "https" && proxy.serves(host, port))
    }

    async fn open_tunnel(
        &self,
        proxy: &Proxy,
        host: &str,
        port: u16,
        rule: AddressRule,
        queued: QueuedBytes,
        time: TimeLimit,
    ) -> Result<Stream, DialError> {
        if rule == AddressRule::Public {
            refuse_private(host, port, time).await?;
        }
        let (proxy_host, proxy_port) = host_and_port(proxy.url())?;
        let mut stream = connect_tcp(proxy_host, proxy_port, AddressRule::Any, queued, time).await?;
        if proxy.url().scheme() == "https" {
            stream = self.start_tls(proxy_host, stream, None, time).await?;
        }
        let opened =
            time.bound(proxy.open_tunnel(&mut stream, host, port), || "it did not answer".to_owned());
        opened.await?.map_err(DialError::new)?;
        Ok(stream)
    }

    async fn start_tls(
        &self,
        host: &str,
        stream: Stream,
        certificate: Option<&ClientCertificate>,
        time: TimeLimit,
    ) -> Result<Stream, DialError> {
        let peer = stream.peer;
        let failed = |why: &str| format!("no TLS with `{host}` at {peer}: {why}");
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| DialError::new(failed("it is not a name that a certificate can have")))?;
        let config = self.tls.config(certificate).map_err(|why| DialError::new(failed(&why)))?;
        let handshake = TlsConnector::from(config).connect(name, stream);
        let tls = time.bound(handshake, || failed("no answer")).await?;
        let tls = tls.map_err(|error| DialError::new(failed(&error.to_string())))?;
        Ok(Stream { transport: Transport::Tls(Box::new(tls)), peer })
    }
}

fn host_and_port(url: &Url) -> Result<(&str, u16), DialError> {
    let host = url.host_str().ok_or_else(|| DialError::new("the URL names no host"))?;
    let port = url.port_or_known_default().ok_or_else(|| DialError::new("the URL names no port"))?;
    Ok((host, port))
}

/// A connection to a host, at an address that the rule allows.
async fn connect_tcp(
    host: &str,
    port: u16,
    rule: AddressRule,
    queued: QueuedBytes,
    time: TimeLimit,
) -> Result<Stream, DialError> {
    let addresses = resolve(host, port, time).await?;
    let allowed: Vec<_> = addresses
        .into_iter()
        .filter(|address| match rule {
            AddressRule::Any => true,
            AddressRule::Public => is_public(address.ip()),
            AddressRule::Private => !is_public(address.ip()),
        })
        .collect();
    if allowed.is_empty() {
        return Err(DialError::new(match rule {
            AddressRule::Private => format!(
                "plain http is for this machine and private networks, and `{host}` has a public address: use https"
            ),
            _ => format!("the host `{host}` has no public address"),
        }));
    }
    let (tcp, peer) = connect_to_any(&allowed, host, time).await?;
    prepare(&tcp, queued)
        .map_err(|error| DialError::system(format!("no connection to `{host}`: {error}"), &error))?;
    Ok(Stream { transport: Transport::Plain(tcp), peer })
}

/// Refuses a host that this machine knows under private addresses only. The proxy resolves its name again, and may know one
/// that this machine does not: there the rule is the proxy's.
async fn refuse_private(host: &str, port: u16, time: TimeLimit) -> Result<(), DialError> {
    match resolve(host, port, time).await {
        Ok(addresses) if !addresses.iter().any(|address| is_public(address.ip())) => {
            Err(DialError::new(format!("the host `{host}` has no public address")))
        }
        Err(error) if error.timed_out => Err(error),
        _ => Ok(()),
    }
}

async fn resolve(host: &str, port: u16, time: TimeLimit) -> Result<Vec<SocketAddr>, DialError> {
    let lookup = lookup_host((host.trim_matches(['[', ']']), port));
    let found = time.bound(lookup, || format!("the name `{host}` was not resolved")).await?;
    let found = found
        .map_err(|error| DialError::system(format!("the host `{host}` is not known: {error}"), &error))?;
    Ok(found.collect())
}

/// Why a host was not reached. No byte of a request was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct DialError {
    why: String,
    timed_out: bool,
    is_ours: bool,
}

impl DialError {
    fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), timed_out: false, is_ours: false }
    }

    fn timeout(why: String) -> Self {
        Self { why, timed_out: true, is_ours: false }
    }

    /// A system call failed, for a reason of this machine where it has run out of something.
    fn system(why: String, error: &io::Error) -> Self {
        Self { why, timed_out: false, is_ours: is_exhaustion(error) }
    }

    /// Whether the time ran out, rather than that somebody refused.
    pub fn is_timeout(&self) -> bool {
        self.timed_out
    }

    /// Whether this machine has run out of descriptors, ports or memory: that says nothing about the host.
    pub(super) fn is_ours(&self) -> bool {
        self.is_ours
    }
}

/// Whether this machine has run out of descriptors, ports or memory.
fn is_exhaustion(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];
    Errno::from_io_error(error).is_some_and(|errno| exhausted.contains(&errno))
}

/// A connection to the address that accepts one first.
async fn connect_to_any(
    addresses: &[SocketAddr],
    host: &str,
    time: TimeLimit,
) -> Result<(TcpStream, SocketAddr), DialError> {
    let connect = async |address| TcpStream::connect(address).await.map(|tcp| (tcp, address));
    let pause = || sleep(NEXT_ADDRESS_DELAY);
    let raced = race(addresses, connect, pause, sleep_until(time.deadline)).await;
    raced.map_err(|tried| {
        let timed_out = tried.iter().any(|(_, error)| error.is_none());
        let within =
            if timed_out { format!(" within {} s", time.limit.as_secs_f32()) } else { String::new() };
        let why = format!("no connection to `{host}`{within}: {}", describe(&tried, ToString::to_string));
        let is_ours = tried.iter().all(|(_, error)| error.as_ref().is_some_and(is_exhaustion));
        DialError { why, timed_out, is_ours }
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
    use std::sync::Arc;

    use jeton_testkit::{SilentListener, TestServer};
    use parking_lot::Mutex;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::super::proxy::NoProxy;
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn what_this_machine_has_run_out_of_says_nothing_about_the_host() {
        for (errno, is_ours) in [
            (Errno::MFILE, true),
            (Errno::NFILE, true),
            (Errno::ADDRNOTAVAIL, true),
            (Errno::CONNREFUSED, false),
            (Errno::HOSTUNREACH, false),
        ] {
            let error = DialError::system("no connection".to_owned(), &errno.into());
            assert_eq!((error.is_ours(), error.is_timeout()), (is_ours, false), "{errno:?}");
        }
        assert!(!DialError::timeout("no answer".to_owned()).is_ours());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_kernel_gives_up_no_later_than_the_redeem_and_keeps_nothing_of_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = endpoint(&format!("http://{}/token", listener.local_addr().unwrap()), false);
        let dialer = Dialer::new(&OutboundSettings::default());
        let dial = async |left| {
            let queued = QueuedBytes::DropAt(Instant::now() + left);
            let stream = dialer.connect(&to, queued, LONG).await.unwrap();
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
            let captured = endpoint(&format!("https://{host}:{port}/"), true);
            let strict = Dialer::new(&OutboundSettings::default());
            let refused = strict.dial(&captured, LONG).await.unwrap_err().to_string();
            assert!(refused.contains("has no public address"), "{refused}");
            let settings =
                OutboundSettings { allow_private_captured_hosts: true, ..OutboundSettings::default() };
            let soon = Duration::from_millis(300);
            let no_tls = Dialer::new(&settings).dial(&captured, soon).await.unwrap_err().to_string();
            assert!(no_tls.contains("no TLS with"), "{host}: {no_tls}");
            let own = endpoint(&format!("http://{host}:{port}/"), false);
            assert!(strict.dial(&own, LONG).await.is_ok(), "{host}");
        }
    }

    #[tokio::test]
    async fn plain_http_never_goes_to_a_public_address() {
        let dialer = Dialer::new(&OutboundSettings::default());
        let refused = dialer.dial(&endpoint("http://1.1.1.1/token", false), LONG).await.unwrap_err();
        assert!(refused.to_string().contains("`1.1.1.1` has a public address: use https"), "{refused}");
    }

    /// A proxy that answers in one way, and what it was asked.
    async fn proxy_answering(answer: &'static str) -> (Proxy, Arc<Mutex<String>>) {
        let asked = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&asked);
        let server = TestServer::accepting(move |mut stream| {
            let heard = Arc::clone(&heard);
            async move {
                let mut bytes = vec![0; 4096];
                let count = stream.read(&mut bytes).await.unwrap_or(0);
                heard.lock().push_str(&String::from_utf8_lossy(&bytes[..count]));
                // Who dials may have gone.
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        })
        .await;
        let url = format!("http://me:hush@{}", server.address);
        (Proxy::parse(&url, NoProxy::default()).unwrap(), asked)
    }

    #[tokio::test]
    async fn a_proxy_is_asked_for_the_name_and_a_refusal_names_the_proxy_and_no_password() {
        for (answer, why) in [
            (
                "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
                "does not accept the user name and password",
            ),
            (
                "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
                "it refuses to connect to `sso.test:443` (HTTP 403)",
            ),
            ("SSH-2.0-OpenSSH\r\n\r\n", "it does not answer in HTTP/1.1"),
            ("", "it closed the connection without an answer"),
            ("HTTP/1.1 200 OK\r\n\r\n", "no TLS with `sso.test`"),
        ] {
            let (proxy, asked) = proxy_answering(answer).await;
            let shown = proxy.shown();
            let dialer = Dialer::new(&OutboundSettings { proxy: Some(proxy), ..OutboundSettings::default() });
            let failed = dialer.dial(&endpoint("https://sso.test/token", false), LONG).await.unwrap_err();
            let said = failed.to_string();
            assert!(said.contains(why) && !said.contains("hush"), "{said}");
            assert!(said.contains(&shown) || answer.contains("200"), "{said}");
            let asked = asked.lock().clone();
            assert!(asked.starts_with("CONNECT sso.test:443 HTTP/1.1\r\nHost: sso.test:443\r\n"), "{asked}");
            assert!(asked.contains("Proxy-Authorization: Basic bWU6aHVzaA==\r\n"), "{asked}");
        }
    }

    #[tokio::test]
    async fn a_captured_host_that_is_private_is_refused_before_the_proxy_is_asked() {
        let (proxy, asked) = proxy_answering("HTTP/1.1 200 OK\r\n\r\n").await;
        let dialer = Dialer::new(&OutboundSettings { proxy: Some(proxy), ..OutboundSettings::default() });
        let refused = dialer.dial(&endpoint("https://10.1.2.3/token", true), LONG).await.unwrap_err();
        assert!(refused.to_string().contains("has no public address"), "{refused}");
        assert_eq!(*asked.lock(), "");
    }

    fn endpoint(url: &str, captured_host: bool) -> Endpoint {
        Endpoint { url: url.parse().unwrap(), captured_host, certificate: None }
    }

    async fn race_to(addresses: &[SocketAddr], limit: Duration) -> Result<SocketAddr, DialError> {
        let raced = connect_to_any(addresses, "sso.test", TimeLimit::new(limit)).await;
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
