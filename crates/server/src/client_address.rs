//! Where a request comes from: the address of its connection, or what a trusted reverse proxy says.

use std::net::{IpAddr, SocketAddr};

use axum::http::{Extensions, HeaderMap, HeaderName};
use ipnet::IpNet;

/// Each proxy appends the address that it got the request from.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address of the program that sent a request; an extension of every request that [`serve`](crate::serve) takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// That of a request with these extensions; absent where it came over no connection.
    pub fn of(extensions: &Extensions) -> Option<IpAddr> {
        extensions.get::<Self>().map(|client| client.0)
    }
}

/// The reverse proxies whose `X-Forwarded-For` is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Reads addresses such as `10.0.0.7` and networks such as `10.0.0.0/8`.
    ///
    /// # Errors
    /// The text that is neither.
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self, &'t str> {
        let network = |text: &'t str| {
            let address = || text.parse::<IpAddr>().map(IpNet::from);
            text.parse::<IpNet>().or_else(|_| address()).map_err(|_| text)
        };
        texts.into_iter().map(network).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who sent a request over a connection from `peer`: the last address that no trusted proxy has. What stands before it
    /// could be made up.
    pub(crate) fn client_of(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        let mut client = peer.to_canonical();
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        let hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        for hop in hops {
            if !self.0.iter().any(|proxy| proxy.contains(&client)) {
                break;
            }
            let Some(before) = read_hop(hop.trim()) else { break };
            client = before.to_canonical();
        }
        ClientAddress(client)
    }
}

/// Some proxies add the port.
fn read_hop(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn client(trusted: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let headers = forwarded.iter().map(|line| (FORWARDED_FOR, HeaderValue::from_str(line).unwrap()));
        let proxies = TrustedProxies::parse(trusted.iter().copied()).unwrap();
        proxies.client_of(peer.parse().unwrap(), &headers.collect()).0.to_string()
    }

    #[test]
    fn only_a_trusted_proxy_says_who_the_client_is() {
        let of = |peer, forwarded: &[&str]| client(&["10.0.0.0/8", "192.0.2.1", "fd00::/8"], peer, forwarded);
        assert_eq!(of("203.0.113.5", &["198.51.100.7"]), "203.0.113.5", "anybody can send the header");
        assert_eq!(of("10.1.2.3", &[]), "10.1.2.3");
        assert_eq!(of("10.1.2.3", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(
            of("10.1.2.3", &["1.1.1.1, 198.51.100.7"]),
            "198.51.100.7",
            "what is before it may be made up"
        );
        assert_eq!(of("10.1.2.3", &["1.1.1.1", "198.51.100.7, 192.0.2.1"]), "198.51.100.7");
        assert_eq!(of("10.1.2.3", &["198.51.100.7:4711, 10.9.9.9"]), "198.51.100.7");
        assert_eq!(of("fd00::1", &["[2001:db8::7]:443"]), "2001:db8::7");
        assert_eq!(of("::ffff:10.1.2.3", &["::ffff:198.51.100.7"]), "198.51.100.7");
        assert_eq!(of("10.1.2.3", &["unknown, 10.9.9.9"]), "10.9.9.9", "as far as it can be read");
        assert_eq!(client(&[], "10.1.2.3", &["198.51.100.7"]), "10.1.2.3");
    }

    #[test]
    fn what_is_neither_address_nor_network_is_named() {
        for wrong in ["proxy.example.com", "10.0.0.0/33", "", "10.0.0.1:80"] {
            assert_eq!(TrustedProxies::parse(["10.0.0.1", wrong]), Err(wrong));
        }
    }
}
