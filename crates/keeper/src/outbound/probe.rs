//! Reaching hosts of providers, without telling them anything.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::keep::provider::Endpoint;
use jeton_core::time::Clock;
use tokio::time::timeout;
use url::Url;

use super::dial::{QueuedBytes, Stream};
use super::exchange::Outbound;
use super::roots::Roots;

/// Reaches hosts of providers the way a redeem does, by the same rules.
#[derive(Debug)]
pub struct Dialer {
    outbound: Outbound,
}

impl Dialer {
    /// `allow_private_captured_hosts` and `roots` are the [settings](crate::Settings) of these names.
    pub fn new(clock: Arc<dyn Clock>, allow_private_captured_hosts: bool, roots: &Roots) -> Self {
        Self { outbound: Outbound::new(clock, allow_private_captured_hosts, roots) }
    }

    /// Looks the host up, connects, and shakes hands for TLS where the URL says so. No byte of a request is sent.
    ///
    /// # Errors
    /// What failed, in words, or that it took longer than `limit`.
    pub async fn reach(&self, endpoint: &Endpoint, limit: Duration) -> Result<(), String> {
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
        self.outbound.dial(url, captured_host, QueuedBytes::Send).await
    }
}

#[cfg(test)]
mod tests {
    use jeton_core::time::SystemClock;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_captured_host_is_dialled_only_where_it_is_public_whatever_its_name_says() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["localhost", "127.0.0.1", "[::ffff:127.0.0.1]"] {
            let url: Url = format!("http://{host}:{port}/").parse().unwrap();
            let strict = Dialer::new(Arc::new(SystemClock), false, &Roots::default());
            let refused = strict.dial(&url, true).await.unwrap_err();
            assert!(refused.contains("has no public address"), "{refused}");
            let lenient = Dialer::new(Arc::new(SystemClock), true, &Roots::default());
            assert!(lenient.dial(&url, true).await.is_ok(), "{host}");
            assert!(strict.dial(&url, false).await.is_ok(), "{host}");
        }
    }
}
