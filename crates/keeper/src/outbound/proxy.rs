//! The proxy that hosts of providers are reached through, and the hosts that are reached without it.

use std::net::IpAddr;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jeton_core::secret::Secret;
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use url::Url;
use zeroize::Zeroizing;

/// The longest head of an answer of a proxy that is read, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// A proxy for TLS connections, which it passes on unread (`CONNECT`, RFC 9110, section 9.3.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Without credentials.
    url: Url,
    /// The value of `Proxy-Authorization`.
    authorization: Option<Secret>,
    bypass: NoProxy,
}

impl Proxy {
    /// The variables of the environment that name a proxy for https; the first that is not empty counts. `HTTP_PROXY` is for plain
    /// http, which goes to this machine and private networks only.
    pub const VARIABLES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];

    /// Reads the URL of a proxy, such as `http://user:password@proxy.example.com:3128`; without a scheme, `http` is meant.
    /// Hosts that `bypass` names, and this machine itself, are reached without it.
    ///
    /// # Errors
    /// What is wrong, without the text, which may hold a password.
    pub fn parse(text: &str, bypass: NoProxy) -> Result<Self, String> {
        const EXAMPLE: &str = "write one such as http://proxy.example.com:3128";
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let mut url =
            Url::parse(&text).map_err(|error| format!("is not the URL of a proxy ({error}); {EXAMPLE}"))?;
        match url.scheme() {
            "http" | "https" => {}
            other => {
                return Err(format!(
                    "a proxy of the kind `{other}` cannot be used, only http and https; {EXAMPLE}"
                ));
            }
        }
        if url.host().is_none() || url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(format!(
                "is not the URL of a proxy, which has a host and nothing behind the port; {EXAMPLE}"
            ));
        }
        let authorization = (!url.username().is_empty() || url.password().is_some()).then(|| {
            let mut pair: Zeroizing<Vec<u8>> = Zeroizing::default();
            pair.extend(percent_decode_str(url.username()));
            pair.push(b':');
            pair.extend(percent_decode_str(url.password().unwrap_or_default()));
            Secret::from(format!("Basic {}", STANDARD.encode(&*pair)))
        });
        let cleared = url.set_username("").and_then(|()| url.set_password(None));
        cleared.map_err(|()| format!("is not the URL of a proxy; {EXAMPLE}"))?;
        Ok(Self { url, authorization, bypass })
    }

    /// Whether the URL holds a user name or a password.
    pub fn has_credentials(&self) -> bool {
        self.authorization.is_some()
    }

    /// Its URL without credentials.
    pub fn shown(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Whether that host is reached through it.
    pub(super) fn serves(&self, host: &str, port: u16) -> bool {
        let host = host.trim_matches(['[', ']']);
        let is_this_machine = host == "localhost"
            || host.ends_with(".localhost")
            || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        !is_this_machine && !self.bypass.contains(host, port)
    }

    /// Has it pass on what is written to `stream`, its connection, to a host from now on.
    ///
    /// # Errors
    /// What it answered instead, in words that complete a sentence about it.
    pub(super) async fn open_tunnel(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        host: &str,
        port: u16,
    ) -> Result<(), String> {
        let broken = |error: std::io::Error| format!("the connection to it broke off ({error})");
        let mut request =
            Zeroizing::new(format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n"));
        if let Some(authorization) = &self.authorization {
            request.push_str("Proxy-Authorization: ");
            request.push_str(authorization.reveal());
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await.map_err(broken)?;
        stream.flush().await.map_err(broken)?;
        let head = read_head(stream).await?;
        let status = head.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
        let status = status.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u16>().ok());
        match status {
            Some(200..=299) => Ok(()),
            Some(407) if self.authorization.is_none() => {
                Err("it asks for a user name and a password, which its URL can hold (HTTP 407)".to_owned())
            }
            Some(407) => {
                Err("it does not accept the user name and password of its URL (HTTP 407)".to_owned())
            }
            Some(status) => Err(format!("it refuses to connect to `{host}:{port}` (HTTP {status})")),
            None => Err("it does not answer in HTTP/1.1".to_owned()),
        }
    }
}

/// Reads the head of an answer. Behind it nothing comes before we send something: the client speaks first in TLS.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, String> {
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_HEAD {
            return Err(format!("its answer is longer than {MAX_HEAD} bytes"));
        }
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Err("it closed the connection without an answer".to_owned());
            }
            Err(error) => return Err(format!("the connection to it broke off ({error})")),
        }
    }
    Ok(head)
}

/// Hosts that are reached without a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoProxy(Vec<Bypass>);

impl NoProxy {
    /// The variables of the environment that list hosts without a proxy; the first that is not empty counts.
    pub const VARIABLES: [&str; 2] = ["no_proxy", "NO_PROXY"];

    /// Reads the text of such a variable. Other programs read it too, and may understand what means nothing here.
    pub fn of_variable(text: &str) -> Self {
        let entries = text.split([',', ' ']).filter(|entry| !entry.is_empty());
        entries.filter_map(|entry| entry.parse::<Bypass>().ok()).collect()
    }

    /// Whether a host is among them. Names are not resolved.
    fn contains(&self, host: &str, port: u16) -> bool {
        self.0.iter().any(|bypass| bypass.matches(host, port))
    }
}

impl FromIterator<Bypass> for NoProxy {
    fn from_iter<T: IntoIterator<Item = Bypass>>(all: T) -> Self {
        Self(all.into_iter().collect())
    }
}

/// One entry of a list of hosts that are reached without a proxy: `*` (all), a name (with everything below it; a leading
/// `.` or `*.` changes nothing), an address, or a network such as `10.0.0.0/8`; but for a network, a port may follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bypass {
    hosts: BypassedHosts,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum BypassedHosts {
    All,
    Name(String),
    Network(IpAddr, u8),
}

impl FromStr for Bypass {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("{text:?} is not a host, an address, a network such as 10.0.0.0/8, or `*`");
        if let Some((address, length)) = text.split_once('/') {
            let address: IpAddr = address.parse().map_err(|_| invalid())?;
            let length = length.parse().ok().filter(|length| *length <= bits(address).1);
            let hosts = BypassedHosts::Network(address, length.ok_or_else(invalid)?);
            return Ok(Self { hosts, port: None });
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self { hosts: BypassedHosts::Network(address, bits(address).1), port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| invalid())?)),
            None => (text, None),
        };
        let host = host.trim_matches(['[', ']']);
        let hosts = match host.parse::<IpAddr>() {
            Ok(address) => BypassedHosts::Network(address, bits(address).1),
            Err(_) if host == "*" => BypassedHosts::All,
            Err(_) => {
                let name = host.strip_prefix('*').unwrap_or(host);
                let name = name.trim_matches('.').to_ascii_lowercase();
                if name.is_empty() || name.contains(['*', ':']) {
                    return Err(invalid());
                }
                BypassedHosts::Name(name)
            }
        };
        Ok(Self { hosts, port })
    }
}

impl Bypass {
    fn matches(&self, host: &str, port: u16) -> bool {
        let has_host = match &self.hosts {
            BypassedHosts::All => true,
            BypassedHosts::Name(name) => host
                .trim_end_matches('.')
                .strip_suffix(name.as_str())
                .is_some_and(|before| before.is_empty() || before.ends_with('.')),
            BypassedHosts::Network(network, length) => {
                host.parse::<IpAddr>().is_ok_and(|address| is_in(address, *network, *length))
            }
        };
        has_host && self.port.is_none_or(|only| only == port)
    }
}

/// An address as a number, and how many bits it has.
fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

fn is_in(address: IpAddr, network: IpAddr, length: u8) -> bool {
    let ((address, size), (network, network_size)) = (bits(address), bits(network));
    size == network_size && (length == 0 || (address ^ network) >> (size - length) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(text: &str) -> Result<Proxy, String> {
        Proxy::parse(text, NoProxy::default())
    }

    #[test]
    fn credentials_are_taken_out_of_the_url_and_never_shown() {
        let with = proxy("http://us%40er:p%3Ass@proxy.corp:3128").unwrap();
        assert_eq!(with.shown(), "http://proxy.corp:3128");
        let expected = format!("Basic {}", STANDARD.encode("us@er:p:ss"));
        assert_eq!(with.authorization.as_ref().unwrap().reveal(), expected);
        assert!(
            !format!("{with:?}").contains("p%3Ass") && !format!("{with:?}").contains("Basic"),
            "{with:?}"
        );
        assert!(!proxy("proxy.corp:3128").unwrap().has_credentials());
        assert_eq!(proxy("proxy.corp:3128").unwrap().shown(), "http://proxy.corp:3128");
    }

    #[test]
    fn what_is_no_http_proxy_is_refused_without_its_secret() {
        for (text, why) in [
            ("socks5://u:hushhush@proxy:1080", "`socks5`"),
            ("http://u:hushhush@proxy:port", "is not the URL of a proxy"),
            ("http://u:hushhush@proxy:3128/path", "nothing behind the port"),
            ("http://", "is not the URL of a proxy"),
        ] {
            let refused = proxy(text).unwrap_err();
            assert!(refused.contains(why) && !refused.contains("hushhush"), "{text}: {refused}");
        }
    }

    #[test]
    fn hosts_are_reached_without_the_proxy_by_name_suffix_address_network_and_port() {
        let listed =
            ["corp.test", ".dot.test", "*.star.test", "10.0.0.0/8", "fd00::/8", "1.2.3.4", "p.test:8443"];
        let bypass = listed.iter().map(|entry| entry.parse::<Bypass>().unwrap()).collect();
        let proxy = Proxy::parse("proxy:3128", bypass).unwrap();
        for direct in [
            "corp.test",
            "sso.corp.test",
            "corp.test.",
            "dot.test",
            "a.dot.test",
            "a.star.test",
            "10.9.8.7",
            "[fd12::1]",
            "1.2.3.4",
            "localhost",
            "x.localhost",
            "127.0.0.1",
            "[::1]",
        ] {
            assert!(!proxy.serves(direct, 443), "{direct}");
        }
        for proxied in
            ["xcorp.test", "corp.test.evil.com", "11.0.0.1", "[fe00::1]", "1.2.3.5", "p.test", "10.corp"]
        {
            assert!(proxy.serves(proxied, 443), "{proxied}");
        }
        assert!(!proxy.serves("p.test", 8443));
        let none = Proxy::parse("proxy:3128", NoProxy::from_iter(["*".parse().unwrap()])).unwrap();
        assert!(!none.serves("sso.example.com", 443));
    }

    #[test]
    fn entries_that_could_mean_nothing_are_refused() {
        for wrong in ["10.0.0.0/33", "corp.test/8", "", ".", "a*b", "corp.test:port"] {
            assert!(wrong.parse::<Bypass>().is_err(), "{wrong}");
        }
    }
}
