//! Connecting: to the first host of the URL that can be written to. The driver tries hosts and addresses one after the other;
//! before that, the addresses of one host are raced, so that it begins with one that answers.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::Connect;
use jeton_core::address_race::{NEXT_ADDRESS_DELAY, race};
use jeton_core::keep::ports::StoreError;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::config::{Host, LoadBalanceHosts};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Error, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::TaskTracker;

use super::address::{Address, CONNECT_TIMEOUT, port};
use super::tls;

/// A connection that must be driven.
pub(super) type ConnectionTask = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// What connects.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    /// The hosts are tried in random order, because the first of the URL was of no use: silent, or another database.
    shuffled: Arc<AtomicBool>,
    tls: MakeRustlsConnect,
}

impl Connector {
    pub(super) fn of(address: &Address) -> Result<Self, StoreError> {
        Ok(Self { config: address.config.clone(), shuffled: Arc::default(), tls: tls::connector(address)? })
    }

    /// The host that let us in turned out to be of no use: from now on the others have their turn.
    pub(super) fn shuffle_hosts(&self) {
        self.shuffled.store(true, Ordering::Relaxed);
    }

    /// Connects. Where a host is silent, the hosts are tried again, for as long as the caller waits.
    pub(super) async fn open(&self) -> Result<(Client, ConnectionTask), Error> {
        let mut config = self.config.clone();
        // To connect to each of two addresses, and as long again to be let in.
        let limit = config.get_connect_timeout().map_or(Duration::MAX, |limit| limit.saturating_mul(3));
        loop {
            if self.shuffled.load(Ordering::Relaxed) {
                config.load_balance_hosts(LoadBalanceHosts::Random);
            }
            let connecting = async { with_fastest_first(&config).await.connect(self.tls.clone()).await };
            match timeout(limit, connecting).await {
                Ok(done) => return done,
                Err(_) => self.shuffle_hosts(),
            }
        }
    }
}

/// The same settings, with the addresses of a single host spelled out, the fastest first. Where there is only one address,
/// the driver finds it by itself.
async fn with_fastest_first(config: &Config) -> Config {
    let ([Host::Tcp(host)], []) = (config.get_hosts(), config.get_hostaddrs()) else { return config.clone() };
    match lookup_host((host.as_str(), port(config, 0))).await {
        Ok(found) => order_by_speed(config, host, found.collect()).await,
        // The driver says so.
        Err(_) => config.clone(),
    }
}

/// First the address that answers first, then the others, because the first may be a standby. Where none answers, the
/// driver says what is wrong.
async fn order_by_speed(config: &Config, host: &str, mut addresses: Vec<SocketAddr>) -> Config {
    let mut ordered = config.clone();
    if addresses.len() < 2 {
        return ordered;
    }
    let connect = async |address| TcpStream::connect(address).await.map(|_| address);
    let limit = config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT);
    let Ok(fastest) = race(&addresses, connect, || sleep(NEXT_ADDRESS_DELAY), sleep(limit)).await else {
        return ordered;
    };
    addresses.sort_by_key(|address| *address != fastest);
    for (index, address) in addresses.iter().enumerate() {
        ordered.hostaddr(address.ip());
        // The driver wants a name with each address, which TLS compares with the certificate.
        if index > 0 {
            ordered.host(host);
        }
    }
    ordered
}

impl Connect for Connector {
    fn connect(
        &self,
        _: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + '_>> {
        Box::pin(async {
            let (client, connection) = self.open().await?;
            let driver = TaskTracker::new().spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to the store ended");
                }
            });
            Ok((client, driver))
        })
    }
}

#[cfg(test)]
mod tests {
    use jeton_testkit::SilentListener;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_driver_begins_with_the_address_that_answers_and_keeps_the_others() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let silent = ["127.0.0.2", "127.0.0.3"].map(|ip| SocketAddr::new(ip.parse().unwrap(), good.port()));
        let _held = silent.map(|address| SilentListener::bind_at(address).unwrap());
        let mut config = Config::new();
        config.host("db.test").port(good.port());
        let ordered = order_by_speed(&config, "db.test", vec![silent[0], silent[1], good]).await;
        assert_eq!(ordered.get_hostaddrs(), [good, silent[0], silent[1]].map(|address| address.ip()));
        assert_eq!(ordered.get_hosts(), ["db.test"; 3].map(|name| Host::Tcp(name.to_owned())));
        let single = order_by_speed(&config, "db.test", vec![silent[0]]).await;
        assert!(single.get_hostaddrs().is_empty(), "nothing to choose from");
    }
}
