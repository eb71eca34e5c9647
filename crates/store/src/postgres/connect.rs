//! Connecting: to the first host of the URL that can be written to. The driver tries them; none is raced.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::Connect;
use jeton_core::keep::ports::StoreError;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::LoadBalanceHosts;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Error, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::TaskTracker;

use super::address::Address;
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
            match timeout(limit, config.connect(self.tls.clone())).await {
                Ok(done) => return done,
                Err(_) => self.shuffle_hosts(),
            }
        }
    }
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
